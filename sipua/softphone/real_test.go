package softphone_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/softphone"
)

// certificate makes one for localhost, and who trusts it.
func certificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12},
		&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// The same phones over the sockets of this machine.
func TestRealSockets(t *testing.T) {
	serverTLS, clientTLS := certificate(t)
	for _, transport := range []sipua.Transport{sipua.UDP, sipua.TCP, sipua.TLS} {
		t.Run(transport.String(), func(t *testing.T) {
			phone := func(user string, hz float64) *softphone.Phone {
				cfg := softphone.Config{AOR: sipua.NewAOR(user, "localhost"), Log: slog.New(slog.DiscardHandler), Dial: softphone.Dialer(clientTLS),
					Media: func() (net.PacketConn, error) { return net.ListenPacket("udp4", "127.0.0.1:0") }, Audio: softphone.AudioConfig{Source: softphone.Tone(hz)}}
				if transport == sipua.UDP {
					pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
					must(t, err)
					cfg.Packets = []net.PacketConn{pc}
				} else {
					ln, err := net.Listen("tcp4", "127.0.0.1:0")
					must(t, err)
					if transport == sipua.TLS {
						ln = tls.NewListener(ln, serverTLS)
					}
					cfg.Listeners = []softphone.Listener{{Net: ln, Transport: transport}}
				}
				p, err := softphone.New(cfg)
				must(t, err)
				t.Cleanup(p.Close)
				return p
			}
			alice, bob := phone("alice", 440), phone("bob", 1000)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			f, err := alice.Connect(ctx, transport, sipua.Destination{Addr: bob.Listening(transport), Host: "localhost"})
			must(t, err)
			a, err := alice.Call(softphone.Outgoing{Target: sip.Uri{Scheme: "sip", User: "bob", Host: "localhost"}, Flow: f})
			must(t, err)
			b, err := bob.Accept(ctx)
			must(t, err)
			must(t, b.Ring())
			must(t, b.Answer())
			_, err = a.Wait(ctx, softphone.Answered)
			must(t, err)
			for a.Audio().Received < 25 || b.Audio().Received < 25 { // half a second of sound
				select {
				case <-ctx.Done():
					t.Fatal("no audio")
				case <-time.After(20 * time.Millisecond):
				}
			}
			must(t, b.Hangup())
			_, err = a.Ended(ctx)
			must(t, err)
			if a.Audio().Tone(1000) < 0.9 || b.Audio().Tone(440) < 0.9 {
				t.Errorf("tones %.2f and %.2f", a.Audio().Tone(1000), b.Audio().Tone(440))
			}
		})
	}
}
