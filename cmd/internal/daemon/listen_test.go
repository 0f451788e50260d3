package daemon

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"wakebridge/config"
	"wakebridge/sipua"
)

// certificate writes a self-signed one for 127.0.0.1 and its key.
func certificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for file, data := range map[string][]byte{certFile: certPEM, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return certFile, keyFile, pool
}

func tlsListener(cert, key string) config.Listener {
	return config.Listener{Transport: "tls", Bind: netip.MustParseAddrPort("127.0.0.1:0"), CertFile: cert, KeyFile: key}
}

func TestTLSWorks(t *testing.T) {
	cert, key, pool := certificate(t)
	d := start(t, func(c *config.Config) { c.Listen = append(c.Listen, tlsListener(cert, key)) })
	at := d.Addr(sipua.TLS)
	conn, err := tls.Dial("tcp", at.String(), &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TLS h;branch=z9hG4bKt\r\nMax-Forwards: 70\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:127.0.0.1>\r\n"+
		"Call-ID: t\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil || !strings.HasPrefix(string(buf[:n]), "SIP/2.0 200") {
		t.Errorf("%v %s", err, buf[:n])
	}
	old, err := tls.Dial("tcp", at.String(), &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
	if err == nil {
		old.Close()
		t.Error("TLS 1.1 is spoken")
	}
}

func TestBadTLSFilesNameTheirKeys(t *testing.T) {
	cert, key, _ := certificate(t)
	_, otherKey, _ := certificate(t)
	dev := development(t)
	for name, l := range map[string]config.Listener{
		"no such certificate": tlsListener(cert+".gone", key),
		"no such key":         tlsListener(cert, key+".gone"),
		"not its key":         tlsListener(cert, otherKey),
		"no key at all":       tlsListener(cert, cert),
	} {
		cfg := *dev.Config
		cfg.Listen = []config.Listener{dev.Config.Listen[0], l}
		d, err := New(t.Context(), &cfg, quiet())
		if err == nil {
			stop(d)
			t.Fatalf("%s: it starts", name)
		}
		for _, want := range []string{"listen[1] (tls 127.0.0.1:0)", "cert_file " + l.CertFile, "key_file " + l.KeyFile} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: no %q in: %v", name, want, err)
			}
		}
	}
}

func TestFamily(t *testing.T) {
	l := func(transport, bind string) config.Listener {
		return config.Listener{Transport: transport, Bind: netip.MustParseAddrPort(bind)}
	}
	tests := []struct {
		name   string
		this   config.Listener
		beside []config.Listener
		want   string
	}{
		{"alone: both families", l("udp", "[::]:5060"), nil, ""},
		{"beside IPv4", l("udp", "[::]:5060"), []config.Listener{l("udp", "0.0.0.0:5060")}, "6"},
		{"beside one IPv4 address", l("tcp", "[::]:5060"), []config.Listener{l("tls", "10.0.0.1:5060")}, "6"},
		{"another port", l("udp", "[::]:5060"), []config.Listener{l("udp", "0.0.0.0:5062")}, ""},
		{"another kind of socket", l("udp", "[::]:5060"), []config.Listener{l("tcp", "0.0.0.0:5060")}, ""},
		{"one IPv6 address", l("udp", "[::1]:5060"), nil, "6"},
		{"IPv4 alone", l("udp", "0.0.0.0:5060"), nil, "4"},
		{"IPv4", l("udp", "10.0.0.1:5060"), []config.Listener{l("udp", "[::]:5060")}, "4"},
	}
	for _, tt := range tests {
		if got := family(tt.this, append([]config.Listener{tt.this}, tt.beside...)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func needsIPv6(t *testing.T) {
	t.Helper()
	probe, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6 loopback: ", err)
	}
	probe.Close()
}

// "[::]" beside "0.0.0.0" on one port, in this order: both start, and each family
// is served by its own socket.
func TestBothFamiliesOnOnePort(t *testing.T) {
	needsIPv6(t)
	var log syncLog
	dev := development(t)
	port := freePort(t).Port()
	dev.Config.Listen = nil
	for _, transport := range []string{"udp", "tcp"} {
		for _, a := range []netip.Addr{netip.IPv6Unspecified(), netip.IPv4Unspecified()} {
			dev.Config.Listen = append(dev.Config.Listen, config.Listener{Transport: transport, Bind: netip.AddrPortFrom(a, port)})
		}
	}
	six, four := peerAt(t, "::1"), peerAt(t, trunkHost)
	dev.Config.Trunks = append(dev.Config.Trunks, config.Trunk{Name: "six", Kind: "peer", Match: []netip.Prefix{netip.MustParsePrefix("::1/128")},
		Contact: "sip:" + six.addr(), Qualify: 100 * time.Millisecond, ForceRPort: true})
	dev.Config.Trunks[0].Contact, dev.Config.Trunks[0].Qualify = "sip:"+four.addr(), 100*time.Millisecond
	d, err := New(t.Context(), dev.Config, Options{Log: log.logger(), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(d)
	if got := six.read("OPTIONS "); !strings.Contains(got, fmt.Sprintf("Via: SIP/2.0/UDP [::1]:%d;", port)) || !strings.Contains(got, fmt.Sprintf("@[::1]:%d", port)) {
		t.Errorf("%s", got)
	}
	if got := four.read("OPTIONS "); !strings.Contains(got, fmt.Sprintf("Via: SIP/2.0/UDP 127.0.0.1:%d;", port)) {
		t.Errorf("%s", got)
	}
	for _, p := range []*pbx{six, four} {
		host := "127.0.0.1"
		if p == six {
			host = "::1"
		}
		p.to = net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), port))
		p.request("OPTIONS", "sip:"+net.JoinHostPort(host, "5060"), "")
		p.read("SIP/2.0 200")
		conn, err := net.Dial("tcp", net.JoinHostPort(host, fmt.Sprint(port)))
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	answersFrom(t, "127.0.0.5", port)
	if !strings.Contains(log.String(), "media.bind") {
		t.Error("nobody says that IPv6 has no media")
	}
}

// answersFrom checks that a server on all addresses answers from the one that was
// asked: a connected socket hears nobody else.
func answersFrom(t *testing.T, host string, port uint16) {
	t.Helper()
	at := netip.AddrPortFrom(netip.MustParseAddr(host), port)
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	text := fmt.Sprintf("OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKf%[1]s;rport\r\nMax-Forwards: 70\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:h>\r\n"+
		"Call-ID: from-%[1]s\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n", conn.LocalAddr())
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	if n, err := conn.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "SIP/2.0 200") {
		t.Errorf("asked at %s: %v %s", at, err, buf[:n])
	}
}

// "[::]" alone takes both families, as everywhere; "0.0.0.0" takes IPv4 only.
func TestOneFamilyOrBoth(t *testing.T) {
	needsIPv6(t)
	for bind, want := range map[string]bool{"[::]": true, "0.0.0.0": false} {
		port := freePort(t).Port()
		start(t, func(c *config.Config) {
			c.Listen = []config.Listener{{Transport: "udp", Bind: netip.MustParseAddrPort(fmt.Sprintf("%s:%d", bind, port))},
				{Transport: "tcp", Bind: netip.MustParseAddrPort(fmt.Sprintf("%s:%d", bind, port))}}
		})
		answersFrom(t, "127.0.0.5", port)
		conn, err := net.Dial("tcp", fmt.Sprintf("[::1]:%d", port))
		if err == nil {
			conn.Close()
		}
		if (err == nil) != want {
			t.Errorf("%s over IPv6: %v", bind, err)
		}
	}
}

func TestPortInUseNamesTheKey(t *testing.T) {
	first := start(t, nil)
	for i, transport := range []sipua.Transport{sipua.UDP, sipua.TCP} {
		dev := development(t)
		dev.Config.Listen[i].Bind = first.Addr(transport)
		second, err := New(t.Context(), dev.Config, quiet())
		if err == nil {
			stop(second)
			t.Fatal("two servers on one port")
		}
		if want := fmt.Sprintf("listen[%d] (%s %s)", i, transport.Param(), first.Addr(transport)); !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), "another program") || !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("the error does not help: %v", err)
		}
	}
}

// The log says where the server is, ports that the system chose included.
func TestListeningIsLogged(t *testing.T) {
	var log syncLog
	dev := development(t)
	d, err := New(t.Context(), dev.Config, Options{Log: log.logger(), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(d)
	for transport, at := range map[string]netip.AddrPort{"udp": d.Addr(sipua.UDP), "tcp": d.Addr(sipua.TCP), "http": d.HTTPAddr()} {
		if want := fmt.Sprintf("transport=%s address=%s", transport, at); !strings.Contains(log.String(), want) {
			t.Errorf("no %q in\n%s", want, &log)
		}
	}
}

func TestDial(t *testing.T) {
	cert, key, _ := certificate(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conn.(*tls.Conn).HandshakeContext(t.Context())
			conn.Close()
		}
	}()
	defer func() {
		ln.Close()
		<-served
	}()
	to := sipua.Destination{Addr: netip.MustParseAddrPort(ln.Addr().String())}
	conn, err := Options{}.dial(t.Context(), sipua.TCP, to)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	for _, host := range []string{"", "pbx.example"} {
		to.Host = host
		conn, err := Options{}.dial(t.Context(), sipua.TLS, to)
		if err == nil {
			conn.Close()
			t.Fatalf("a certificate that nobody vouches for is good enough (%q)", host)
		}
		var unknown x509.UnknownAuthorityError
		var name x509.HostnameError
		if !errors.As(err, &unknown) && !errors.As(err, &name) {
			t.Errorf("%q: %v", host, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (Options{}).dial(ctx, sipua.TCP, to); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
