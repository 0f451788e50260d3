package memnet_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"

	"wakebridge/sipua/memnet"
)

// The conformance tests of x/net for net.Conn, in real time.
func TestStreamConformance(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		n := memnet.New(memnet.Options{})
		l, err := n.Listen(ap("10.0.0.1:0"))
		if err != nil {
			return nil, nil, nil, err
		}
		c1, err = n.Dial(t.Context(), ap("10.0.0.2:0"), l.Addr().(*net.TCPAddr).AddrPort())
		if err != nil {
			return nil, nil, nil, err
		}
		c2, err = l.Accept()
		return c1, c2, func() {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		}, err
	})
}

// HTTP/2 over TLS, with a round trip of 100 ms: the package carries protocols that know nothing of it, and virtual
// time moves while they wait.
func TestHTTP2(t *testing.T) {
	certs := httptest.NewUnstartedServer(nil) // only for its certificate: outside the bubble, for it listens on a socket
	certs.StartTLS()
	cert, pool := certs.TLS.Certificates[0], certs.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	certs.Close()
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Options{})
		n.ImpairBoth(ip("10.0.0.1"), ip("10.0.0.2"), memnet.Impairment{Delay: 50 * time.Millisecond})
		l := must(n.Host(ip("10.0.0.1")).Listen(ap("0.0.0.0:443")))(t)
		served := make(chan error)
		server := &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if _, err := io.WriteString(w, r.Proto+" to "+r.RemoteAddr); err != nil {
					t.Error(err)
				}
			}),
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13},
		}
		go func() { served <- server.ServeTLS(l, "", "") }()
		transport := &http.Transport{
			DialContext:       n.Host(ip("10.0.0.2")).DialContext,
			TLSClientConfig:   &tls.Config{RootCAs: pool, ServerName: "example.com", MinVersion: tls.VersionTLS13},
			ForceAttemptHTTP2: true,
		}
		client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
		for range 2 {
			start := time.Now()
			res, err := client.Get("https://10.0.0.1/")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			if err != nil || string(body) != "HTTP/2.0 to 10.0.0.2:49152" {
				t.Errorf("got %q, %v", body, err)
			}
			if err := res.Body.Close(); err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took < 100*time.Millisecond || took > 500*time.Millisecond {
				t.Errorf("took %v", took)
			}
		}
		transport.CloseIdleConnections()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}
