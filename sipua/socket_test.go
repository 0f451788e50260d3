package sipua_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
)

// certificate is self-signed, for localhost.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// await waits for something on real sockets.
func await(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ready(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

func serveTLS(t *testing.T, ep *sipua.Endpoint) *x509.CertPool {
	t.Helper()
	cert, pool := certificate(t)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ep.ServeStream(tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}), sipua.TLS); err != nil {
		t.Fatal(err)
	}
	return pool
}

func flows(ep *sipua.Endpoint) int {
	n, _, _, _ := ep.Sizes()
	return n
}

func TestTLS(t *testing.T) {
	server := newEndpoint(t, funcs{request: ok})
	pool := serveTLS(t, server)
	client := sipua.New(sipua.Config{Handler: funcs{}, Log: slog.New(slog.DiscardHandler),
		Dial: func(ctx context.Context, _ sipua.Transport, to sipua.Destination) (net.Conn, error) {
			d := tls.Dialer{Config: &tls.Config{RootCAs: pool, ServerName: to.Host, MinVersion: tls.VersionTLS12}}
			return d.DialContext(ctx, "tcp", to.Addr.String())
		}})
	defer client.Close()
	addr := server.Listening(sipua.TLS)[0]
	if _, err := client.Connect(t.Context(), sipua.TLS, sipua.Destination{Addr: addr, Host: "somebody.else"}); err == nil {
		t.Error("the name in the certificate was not checked")
	}
	f, err := client.Connect(t.Context(), sipua.TLS, sipua.Destination{Addr: addr, Host: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		got := make(chan outcome, 1)
		if _, err := client.Request(f, request(sip.OPTIONS, fmt.Sprint(i)), func(r *sip.Response, err error) { got <- outcome{r, err} }); err != nil {
			t.Fatal(err)
		}
		if o := <-got; o.err != nil || o.res.StatusCode != 200 || o.res.Via().Transport != "TLS" {
			t.Fatalf("%v %v", o.res, o.err)
		}
	}
	f.Shut(sipua.ErrClosed)
	await(t, "the server's end of the connection", func() bool { return flows(server) == 0 })
}

// P9, P10: a handshake that does not go on ends, and an old version is refused.
func TestTLSHandshakes(t *testing.T) {
	ep := sipua.New(sipua.Config{Handler: funcs{request: ok}, Log: slog.New(slog.DiscardHandler), Limits: sipua.Limits{Handshake: 200 * time.Millisecond, Unauthenticated: 3}})
	defer ep.Close()
	pool := serveTLS(t, ep)
	addr := ep.Listening(sipua.TLS)[0].String()
	var silent []net.Conn
	for range 3 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		silent = append(silent, conn)
	}
	start := time.Now()
	for _, conn := range silent {
		if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 3*time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	}
	conf := &tls.Config{RootCAs: pool, ServerName: "localhost", MaxVersion: tls.VersionTLS11} //nolint:gosec // that is the test
	if _, err := tls.Dial("tcp", addr, conf); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	conf.MaxVersion = 0
	await(t, "a place for a good client", func() bool {
		conn, err := tls.Dial("tcp", addr, conf)
		if err != nil {
			return false
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, draft{method: "OPTIONS", callID: "c"}.String()); err != nil {
			return false
		}
		buf := make([]byte, 1000)
		n, err := conn.Read(buf)
		return err == nil && strings.HasPrefix(string(buf[:n]), "SIP/2.0 200")
	})
}

// A TLS peer that does not read holds up neither us nor Close: no farewell is waited for.
func TestTLSPeerThatDoesNotRead(t *testing.T) {
	found := make(chan *sipua.Flow, 1)
	ep := newEndpoint(t, funcs{request: func(tx *sipua.ServerTx) { found <- tx.Flow() }})
	pool := serveTLS(t, ep)
	conn, err := tls.Dial("tcp", ep.Listening(sipua.TLS)[0].String(), &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, draft{method: "OPTIONS", callID: "c"}.String()); err != nil {
		t.Fatal(err)
	}
	f := <-found
	body := strings.Repeat("x", 60000)
	await(t, "a full queue", func() bool {
		req := request(sip.OPTIONS, "big")
		req.SetBody([]byte(body))
		return ep.Send(f, req) != nil
	})
	start := time.Now()
	ep.Close()
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("Close took %s", d)
	}
}

// The notes' 1.2, PKTINFO: a socket bound to no address answers from the one that was
// asked, and a peer that uses two of ours has two flows.
func TestWildcardSocketAnswersFromTheAddressAsked(t *testing.T) {
	for _, tt := range []struct{ network, bind string }{{"udp4", "0.0.0.0:0"}, {"udp", "[::]:0"}} {
		t.Run(tt.bind, func(t *testing.T) {
			ep := sipua.New(sipua.Config{Handler: funcs{request: ok}, Log: slog.New(slog.DiscardHandler)})
			defer ep.Close()
			pc, err := net.ListenPacket(tt.network, tt.bind)
			if err != nil {
				t.Fatal(err)
			}
			if err := ep.ServeUDP(pc); err != nil {
				t.Fatal(err)
			}
			port := ep.Listening(sipua.UDP)[0].Port()
			asked := []string{"127.0.0.1", "127.0.0.2", "127.0.0.77"}
			client, err := net.ListenPacket("udp4", "127.0.0.3:0")
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			buf := make([]byte, 2000)
			for round := range 2 {
				for i, ip := range asked {
					to := netip.AddrPortFrom(netip.MustParseAddr(ip), port)
					if _, err := client.WriteTo([]byte(draft{method: "OPTIONS", callID: fmt.Sprint(round, i)}.String()), net.UDPAddrFromAddrPort(to)); err != nil {
						t.Fatal(err)
					}
					if err := client.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
						t.Fatal(err)
					}
					_, from, err := client.ReadFrom(buf)
					if err != nil {
						t.Fatalf("%s: %v", ip, err)
					}
					if from.String() != to.String() {
						t.Errorf("asked %s, answered from %s", to, from)
					}
				}
			}
			if n := flows(ep); n != len(asked) {
				t.Errorf("%d flows", n)
			}
		})
	}
}

func TestWildcardSocketIPv6(t *testing.T) {
	client, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 on this machine:", err)
	}
	defer client.Close()
	seen := make(chan *sipua.Flow, 1)
	ep := sipua.New(sipua.Config{Handler: funcs{request: func(tx *sipua.ServerTx) {
		ok(tx)
		seen <- tx.Flow()
	}}, Log: slog.New(slog.DiscardHandler)})
	defer ep.Close()
	pc, err := net.ListenPacket("udp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ep.ServeUDP(pc); err != nil {
		t.Fatal(err)
	}
	to := netip.AddrPortFrom(netip.IPv6Loopback(), ep.Listening(sipua.UDP)[0].Port())
	if _, err := client.WriteTo([]byte(draft{method: "OPTIONS", callID: "c"}.String()), net.UDPAddrFromAddrPort(to)); err != nil {
		t.Fatal(err)
	}
	f := <-seen
	if f.Local() != to {
		t.Errorf("local %s", f.Local())
	}
	if uri := f.Contact("u"); uri.String() != fmt.Sprintf("sip:u@[::1]:%d", to.Port()) {
		t.Errorf("Contact %s", uri.String())
	}
}

// A request to a new UDP peer leaves from the listening socket: NATs and trunks that
// match by port count on it.
func TestTrapRequestsLeaveFromTheListeningSocket(t *testing.T) {
	ep := newEndpoint(t, funcs{})
	peer, err := net.ListenPacket("udp4", "127.0.0.5:0")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	f, err := ep.Connect(t.Context(), sipua.UDP, sipua.Destination{Addr: netip.MustParseAddrPort(peer.LocalAddr().String())})
	if err != nil {
		t.Fatal(err)
	}
	tx, err := ep.Request(f, request(sip.OPTIONS, "c"), func(*sip.Response, error) {})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Terminate()
	_, from, err := peer.ReadFrom(make([]byte, 2000))
	if err != nil || from.String() != ep.Listening(sipua.UDP)[0].String() {
		t.Errorf("from %s, %v", from, err)
	}
}

// A host in two networks writes to each from its address there, whichever was
// configured first: behind the other one nobody finds back.
func TestSocketOfSeveralThatLeadsToThePeer(t *testing.T) {
	const routed = "127.0.0.1" // from where the system writes to any address of its own
	for _, tt := range []struct {
		bind []string
		want int
	}{
		{[]string{"127.0.0.2", routed}, 1},
		{[]string{routed, "127.0.0.2"}, 0},
		{[]string{"0.0.0.0", routed}, 0}, // the order of the configuration decides
		{[]string{"127.0.0.2", "0.0.0.0", routed}, 1},
		{[]string{"127.0.0.2", "0.0.0.0"}, 1},
		{[]string{"127.0.0.2", "127.0.0.4"}, 0},
	} {
		t.Run(strings.Join(tt.bind, " "), func(t *testing.T) {
			ep := sipua.New(sipua.Config{Handler: funcs{}, Log: slog.New(slog.DiscardHandler)})
			defer ep.Close()
			var ports []uint16
			for _, bind := range tt.bind {
				pc, err := net.ListenPacket("udp4", bind+":0")
				if err != nil {
					t.Fatal(err)
				}
				if err := ep.ServeUDP(pc); err != nil {
					t.Fatal(err)
				}
				ports = append(ports, ep.Listening(sipua.UDP)[len(ports)].Port())
			}
			f, err := ep.Connect(t.Context(), sipua.UDP, sipua.Destination{Addr: netip.MustParseAddrPort("127.0.0.5:9")})
			if err != nil {
				t.Fatal(err)
			}
			if got := f.Local().Port(); got != ports[tt.want] {
				t.Errorf("port %d is written from, want %d of %d", got, ports[tt.want], ports)
			}
		})
	}
}

// P1, F1: sipgo before 1.7 allocated whatever Content-Length said, 2 GiB for one
// datagram of 177 bytes.
func TestTrapContentLengthAllocatesNothing(t *testing.T) {
	ep := newEndpoint(t, funcs{request: ok})
	udp, err := net.Dial("udp", ep.Listening(sipua.UDP)[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	good := draft{method: "OPTIONS", callID: "c"}.String()
	for _, n := range []string{"2147483647", "2147483648", "4294967295", "18446744073709551615", "99999999999999999999", "-1", "0x7fffffff", "65535"} {
		bad := []byte(change(good, "Content-Length", "Content-Length: "+n))
		if _, err := udp.Write(bad); err != nil {
			t.Fatal(err)
		}
		tcp, err := net.Dial("tcp", ep.Listening(sipua.TCP)[0].String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tcp.Write(bad); err != nil {
			t.Fatal(err)
		}
		if n != "65535" { // that one waits for its body, unless it is too long with its head
			if _, err := io.ReadAll(tcp); err != nil {
				t.Error(err)
			}
		}
		tcp.Close()
	}
	if _, err := udp.Write([]byte(draft{method: "OPTIONS", callID: "d"}.String())); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2000)
	for {
		if err := udp.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := udp.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(string(buf[:n]), "SIP/2.0 200") {
			break
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
		t.Errorf("%d bytes allocated", n)
	}
}

// Close ends everything, also what is in the middle of something, and twice is fine.
func TestCloseLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	ep := newEndpoint(t, funcs{})
	serveTLS(t, ep)
	for _, transport := range []sipua.Transport{sipua.TCP, sipua.TLS} {
		for range 5 {
			conn, err := net.Dial("tcp", ep.Listening(transport)[0].String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, "OPTIONS sip:"); err != nil {
				t.Fatal(err)
			}
		}
	}
	other := newEndpoint(t, funcs{})
	f, err := ep.Connect(t.Context(), sipua.TCP, sipua.Destination{Addr: other.Listening(sipua.TCP)[0]})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ep.Request(f, request(sip.INVITE, "c"), func(*sip.Response, error) {}); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	done := make(chan bool, 2)
	for range cap(done) {
		go func() {
			ep.Close()
			done <- true
		}()
	}
	<-done
	<-done
	if d := time.Since(start); d > time.Second {
		t.Errorf("Close took %s", d)
	}
	if n, d, s, c := ep.Sizes(); n+d+s+c != 0 {
		t.Errorf("left: %d flows, %d dialogs, %d %d transactions", n, d, s, c)
	}
	other.Close()
	await(t, "the goroutines' end", func() bool { return runtime.NumGoroutine() <= before+1 })
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ep.ServeUDP(pc); !errors.Is(err, sipua.ErrClosed) {
		t.Errorf("ServeUDP: %v", err)
	}
	if err := pc.Close(); err != nil { // it stayed ours
		t.Error(err)
	}
}

// Who closes a UDP socket ends its flows, and the next one takes its place.
func TestClosedUDPSocket(t *testing.T) {
	gone := make(chan error, 1)
	ep := sipua.New(sipua.Config{Handler: funcs{request: ok}, Log: slog.New(slog.DiscardHandler)})
	defer ep.Close()
	to := sipua.Destination{Addr: netip.MustParseAddrPort("127.0.0.1:9")}
	for range 2 {
		pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := ep.ServeUDP(pc); err != nil {
			t.Fatal(err)
		}
		f, err := ep.Connect(t.Context(), sipua.UDP, to)
		if err != nil || f.Local().String() != pc.LocalAddr().String() {
			t.Fatalf("%v, %v", f, err)
		}
		f.OnClose(func(err error) { gone <- err })
		pc.Close()
		if err := <-gone; !errors.Is(err, sipua.ErrFlowGone) {
			t.Error(err)
		}
		if _, err := ep.Connect(t.Context(), sipua.UDP, to); !errors.Is(err, sipua.ErrNoListener) {
			t.Errorf("connect without a socket: %v", err)
		}
		if n := flows(ep); n != 0 {
			t.Errorf("%d flows", n)
		}
	}
}
