package apns_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"wakebridge/push"
	"wakebridge/push/apns"
	"wakebridge/sipua/memnet"
)

// lingering is a server that says GOAWAY and then does not close, as nothing
// in HTTP/2 makes it (RFC 9113 s6.8).
type lingering struct {
	t        *testing.T
	listener net.Listener
	config   *tls.Config
	// hold is how many connections leave their first request without answer and
	// say GOAWAY at once. Without it one connection does, half a second after
	// its first answer: while it is idle.
	hold int

	running sync.WaitGroup
	mu      sync.Mutex
	conns   int
	open    int
	leaves  int // connections that said GOAWAY
}

func (l *lingering) serve() {
	l.running.Go(func() {
		for {
			conn, err := l.listener.Accept()
			if err != nil {
				return
			}
			l.mu.Lock()
			l.conns++
			l.open++
			l.mu.Unlock()
			l.running.Go(func() {
				l.talk(tls.Server(conn, l.config))
				l.mu.Lock()
				l.open--
				l.mu.Unlock()
			})
		}
	})
}

// talk answers each request with 200, but for what hold says, until the peer
// closes.
func (l *lingering) talk(conn net.Conn) {
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	framer := http2.NewFramer(conn, conn)
	if framer.WriteSettings() != nil {
		return
	}
	for {
		f, err := framer.ReadFrame()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				err = framer.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				err = framer.WritePing(true, f.Data)
			}
		case *http2.DataFrame:
			if f.StreamEnded() {
				err = l.request(framer, f.StreamID)
			}
		}
		if err != nil {
			return
		}
	}
}

// request deals with one request.
func (l *lingering) request(framer *http2.Framer, id uint32) error {
	l.mu.Lock()
	leave := id == 1 && l.leaves < max(1, l.hold)
	if leave {
		l.leaves++
	}
	l.mu.Unlock()
	if !leave || l.hold == 0 {
		err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: ok200(l.t), EndHeaders: true, EndStream: true})
		if err != nil || !leave {
			return err
		}
		time.Sleep(500 * time.Millisecond) // virtual
	}
	return framer.WriteGoAway(id, http2.ErrCodeNo, []byte(`{"reason":"Shutdown"}`))
}

func (l *lingering) counts() (conns, open int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conns, l.open
}

func ok200(t *testing.T) []byte {
	var b writer
	must(t, hpack.NewEncoder(&b).WriteField(hpack.HeaderField{Name: ":status", Value: "200"}))
	return b
}

type writer []byte

func (w *writer) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	return len(p), nil
}

// startLingering runs such a server and a sender for it, in the test's bubble.
func startLingering(t *testing.T, hold int) (*lingering, *apns.Service) {
	t.Helper()
	network := memnet.New(memnet.Options{})
	at := netip.MustParseAddrPort("17.0.0.1:443")
	listener, err := network.Listen(at)
	must(t, err)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{at.Addr().AsSlice()}}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &private.PublicKey, private)
	must(t, err)
	cert, err = x509.ParseCertificate(der)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	l := &lingering{t: t, listener: listener, hold: hold, config: &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12,
	}}
	l.serve()
	w := &world{t: t, network: network}
	service, err := apns.New(apns.Config{
		Production: "https://" + at.String(), RootCAs: roots, Dial: w.dial,
		Apps: []apns.App{{BundleID: bundle, TeamID: team, Environment: push.Production, Keys: []apns.Key{anyKey(t)}}},
	})
	must(t, err)
	t.Cleanup(func() {
		must(t, service.Close())
		must(t, listener.Close())
		must(t, network.Close())
		l.running.Wait()
	})
	time.Sleep(time.Second)
	synctest.Wait()
	return l, service
}

func TestGoAwayOnAnIdleConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, service := startLingering(t, 0)
		for range 4 {
			r := service.Routes()[0].Sender.Send(t.Context(), push.Target{Token: fresh}, call(pushID))
			accepted(t, r)
			if r.Tries != 1 {
				t.Errorf("%+v", r)
			}
			time.Sleep(time.Second)
		}
		if conns, open := server.counts(); conns != 3 || open != 2 {
			t.Errorf("%d connections, %d open: the one sent away must be replaced and closed", conns, open)
		}
	})
}

// TestGoAwayWhileRequestsAreHeld: both lines are told to take nothing new
// while Apple still owes an answer on each.
func TestGoAwayWhileRequestsAreHeld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, service := startLingering(t, 2)
		sender := service.Routes()[0].Sender
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		held := make(chan push.Result, 1)
		go func() { held <- sender.Send(ctx, push.Target{Token: fresh}, call(pushID)) }()
		time.Sleep(2 * time.Second) // its hedge is held too, on a third connection
		start := time.Now()
		r := sender.Send(t.Context(), push.Target{Token: fresh}, call(pushID))
		accepted(t, r)
		if took := time.Since(start); took > 700*time.Millisecond || r.Tries > 3 {
			t.Errorf("took %v, %+v", took, r)
		}
		if r = <-held; r.Reason != push.Deadline || !r.Hedged {
			t.Errorf("the held one: %+v", r)
		}
		time.Sleep(20 * time.Second)
		r = sender.Send(t.Context(), push.Target{Token: fresh}, call(pushID))
		accepted(t, r)
		if conns, open := server.counts(); r.Tries != 1 || conns != 5 || open != 2 {
			t.Errorf("%d connections, %d open, %+v", conns, open, r)
		}
	})
}

// TestCloseEndsRetiredConnections: a request held on a connection that is no
// longer in use does not outlive the service.
func TestCloseEndsRetiredConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, service := startLingering(t, 2)
		sender := service.Routes()[0].Sender
		held := make(chan push.Result, 1)
		go func() { held <- sender.Send(t.Context(), push.Target{Token: fresh}, call(pushID)) }()
		time.Sleep(2 * time.Second)
		accepted(t, sender.Send(t.Context(), push.Target{Token: fresh}, call(pushID)))
		must(t, service.Close())
		if r := <-held; r.Outcome != push.NoAnswer || r.Reason != push.Closed {
			t.Errorf("%+v", r)
		}
		synctest.Wait()
		if _, open := server.counts(); open != 0 {
			t.Errorf("%d connections are open", open)
		}
	})
}
