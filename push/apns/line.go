package apns

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"wakebridge/push"
)

const (
	// idlePing and pingTimeout find a dead connection within 8 s.
	idlePing    = 5 * time.Second
	pingTimeout = 3 * time.Second
	dialTimeout = 5 * time.Second
	// redialMin and redialMax bound the pause before an idle line dials again:
	// Apple takes many short connections for an attack.
	redialMin = time.Second
	redialMax = time.Minute
	// steady is how long a connection lives that counts as a good one, and how long one
	// that was made in doubt is in none.
	steady = 10 * time.Second
)

// DialFunc makes a stream connection, as net.Dialer.DialContext does.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// newTransport makes what dials HTTP/2 connections: TLS 1.2 or better, pings,
// no time limit on a request but its context's. client is our certificate, nil
// where a provider token speaks for us.
func newTransport(dial DialFunc, roots *x509.CertPool, client func() *tls.Certificate) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	return &http.Transport{
		DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			raw, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return handshake(ctx, raw, addr, tlsConfig(roots, client))
		},
		Protocols:              &protocols,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 16 << 10,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:  idlePing,
			PingTimeout:      pingTimeout,
			WriteByteTimeout: idlePing,
		},
	}
}

func tlsConfig(roots *x509.CertPool, client func() *tls.Certificate) *tls.Config {
	c := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}
	if client != nil {
		// Whatever authorities the server names: Apple knows its own.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return client(), nil }
	}
	return c
}

// handshake makes raw a TLS connection to addr that speaks HTTP/2.
func handshake(ctx context.Context, raw net.Conn, addr string, c *tls.Config) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	c.ServerName = host
	conn := tls.Client(raw, c)
	err = conn.HandshakeContext(ctx)
	if err == nil && conn.ConnectionState().NegotiatedProtocol != "h2" {
		err = errNotHTTP2
	}
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return conn, nil
}

// line is one warm HTTP/2 connection: at most one is in use, a lost one is
// replaced without waiting for the next push.
type line struct {
	dialer  dialer
	log     *slog.Logger // names the line
	life    context.Context
	stop    context.CancelFunc
	running sync.WaitGroup // dials, revivals, closings; added to under mu while open

	mu       sync.Mutex
	open     bool
	conn     *http.ClientConn
	since    time.Time // of conn
	retired  map[*http.ClientConn]struct{}
	dialing  *dialing
	reviving bool
	failures int       // dials and short-lived connections in a row
	hushed   bool      // a request is silent, and nothing came since on any
	fresh    time.Time // when a connection was last made in doubt of the one before
}

// dialer makes a line's connections.
type dialer struct {
	addr      string
	transport *http.Transport
	counted   func(ok bool)
}

// dialing is a dial that any number of requests wait for.
type dialing struct {
	done  chan struct{} // closed when conn or err is set
	conn  *http.ClientConn
	err   error
	stale bool // the credential was replaced meanwhile; under the line's mu
}

func newLine(d dialer, log *slog.Logger) *line {
	life, stop := context.WithCancel(context.Background())
	return &line{dialer: d, log: log, life: life, stop: stop, open: true, retired: make(map[*http.ClientConn]struct{})}
}

// RoundTrip sends req on the line's connection, which it makes if need be. It
// does not retry. Errors of dialling wrap errUnreachable.
func (l *line) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	conn, err := l.connection(ctx)
	if err != nil {
		return nil, errors.Join(err, req.Body.Close())
	}
	res, err := conn.RoundTrip(req)
	if err != nil && ctx.Err() == nil && (conn.Err() != nil || !wroteHead(ctx)) {
		l.retire(conn) // gone, or told by GOAWAY to take nothing more
	}
	return res, err
}

// warm sees to it that the line has a connection or is making one.
func (l *line) warm() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open && (l.conn == nil || !usable(l.conn)) {
		l.dialLocked()
	}
}

// renew replaces the connection, for another credential. Requests under way on
// the old one end there.
func (l *line) renew() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open {
		return
	}
	if l.dialing != nil {
		l.dialing.stale = true
		l.dropLocked(l.conn)
		return
	}
	l.failures = 0
	l.dialLocked()
}

// state is how good a line is for a request, the best first.
type state uint8

const (
	ready state = iota
	busy        // it would wait for a stream: Apple allows one only until it has seen a valid provider token
	quiet       // a request had no answer for hedgeAfter
)

func (l *line) state() state {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.hushed:
		return quiet
	case l.conn != nil && l.conn.Err() == nil && l.conn.Available() == 0:
		return busy
	}
	return ready
}

// hush notes that a request is silent, spoke that one was answered.
func (l *line) hush()  { l.setHushed(true) }
func (l *line) spoke() { l.setHushed(false) }

func (l *line) setHushed(v bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hushed = v
}

// freshen has another connection made, which replaces the one in use once it is up: no
// ping has told yet whether that is alive. An Apple that is only slow is not dialled over
// and over.
func (l *line) freshen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open || l.dialing != nil || time.Since(l.fresh) < steady {
		return
	}
	l.fresh = time.Now()
	l.startLocked()
}

// close ends all connections and waits for what runs.
func (l *line) close() {
	l.mu.Lock()
	l.open = false
	conns := make([]*http.ClientConn, 0, len(l.retired)+1)
	for c := range l.retired {
		conns = append(conns, c)
	}
	if l.conn != nil {
		conns = append(conns, l.conn)
	}
	l.conn = nil
	clear(l.retired)
	l.mu.Unlock()
	l.stop()
	for _, c := range conns {
		l.hangUp(c)
	}
	l.running.Wait()
}

func (l *line) hangUp(c *http.ClientConn) {
	if err := c.Close(); err != nil {
		l.log.Debug("closing an APNs connection", "err", err)
	}
}

// usable says whether conn takes requests. None available and none in flight
// is how a GOAWAY shows.
func usable(conn *http.ClientConn) bool {
	return conn.Err() == nil && (conn.Available() > 0 || conn.InFlight() > 0)
}

// connection is the line's connection; it joins or starts a dial if there is
// none.
func (l *line) connection(ctx context.Context) (*http.ClientConn, error) {
	l.mu.Lock()
	if !l.open {
		l.mu.Unlock()
		return nil, errClosed
	}
	if l.conn != nil && usable(l.conn) {
		defer l.mu.Unlock()
		return l.conn, nil
	}
	d := l.dialLocked()
	l.mu.Unlock()
	select {
	case <-d.done:
		return d.conn, d.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// dialLocked starts a dial unless one is under way. mu is held, the line open.
func (l *line) dialLocked() *dialing {
	if l.dialing != nil {
		return l.dialing
	}
	l.dropLocked(l.conn)
	return l.startLocked()
}

// startLocked starts a dial. mu is held, the line open.
func (l *line) startLocked() *dialing {
	d := &dialing{done: make(chan struct{})}
	l.dialing = d
	l.running.Go(func() {
		defer close(d.done)
		ctx, cancel := context.WithTimeout(l.life, dialTimeout)
		defer cancel()
		conn, err := l.dialer.transport.NewClientConn(ctx, "https", l.dialer.addr)
		d.conn, d.err = l.dialEnded(conn, err)
		if d.err == nil {
			conn.SetStateHook(l.changed) // may call changed at once: not under mu
		}
	})
	return d
}

// dialEnded puts a new connection in its place.
func (l *line) dialEnded(conn *http.ClientConn, err error) (*http.ClientConn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	stale := l.dialing.stale
	l.dialing = nil
	if err == nil && (stale || !l.open) {
		l.running.Go(func() { l.hangUp(conn) })
	}
	switch {
	case !l.open:
		return nil, errClosed
	case stale:
		l.failures = 0
		l.dialLocked()
		return nil, fmt.Errorf("%w: %w", errUnreachable, errReplaced)
	}
	l.dialer.counted(err == nil)
	if err != nil {
		l.failures++
		level := slog.LevelDebug
		if l.failures == 1 {
			level = slog.LevelWarn
		}
		l.log.Log(l.life, level, "no connection to APNs", "addr", l.dialer.addr, "err", err)
		l.reviveLocked()
		return nil, fmt.Errorf("%w to %s: %w", errUnreachable, l.dialer.addr, err)
	}
	l.dropLocked(l.conn) // it was in doubt
	l.conn, l.since, l.hushed = conn, time.Now(), false
	l.log.Debug("connected to APNs", "addr", l.dialer.addr)
	return conn, nil
}

// changed is called by a connection whenever requests end or it dies.
func (l *line) changed(conn *http.ClientConn) {
	if !usable(conn) {
		l.retire(conn)
	}
}

// retire takes conn out of use and has another one made.
func (l *line) retire(conn *http.ClientConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	current := l.conn == conn
	l.dropLocked(conn)
	if !current || !l.open {
		return
	}
	if time.Since(l.since) < steady {
		l.failures++
	} else {
		l.failures = 0
	}
	l.reviveLocked()
}

// dropLocked closes conn, or leaves it to end its requests. mu is held.
func (l *line) dropLocked(conn *http.ClientConn) {
	if conn == nil {
		return
	}
	if l.conn == conn {
		l.conn = nil
	}
	if conn.Err() == nil && conn.InFlight() > 0 && l.open {
		l.retired[conn] = struct{}{}
		return
	}
	delete(l.retired, conn)
	if l.open && conn.Err() == nil {
		l.running.Go(func() { l.hangUp(conn) })
	}
}

// reviveLocked dials again after a pause that grows with failures, whether or
// not a push wants it. mu is held.
func (l *line) reviveLocked() {
	if !l.open || l.reviving || l.dialing != nil {
		return
	}
	l.reviving = true
	pause := redialPause(l.failures)
	l.running.Go(func() {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-l.life.Done():
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.reviving = false
		if l.open && (l.conn == nil || !usable(l.conn)) {
			l.dialLocked()
		}
	})
}

// redialPause is 0.1 to 0.3 s after a good connection, then 1 s doubling to
// 60 s, each up to a half longer.
func redialPause(failures int) time.Duration {
	if failures <= 0 {
		return push.Jitter()
	}
	pause := redialMax
	if failures < 7 {
		pause = min(redialMax, redialMin<<(failures-1))
	}
	return pause + rand.N(pause/2) //nolint:gosec // no secret
}
