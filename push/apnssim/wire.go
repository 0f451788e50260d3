package apnssim

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/time/rate"
)

const (
	handshakeTimeout = 10 * time.Second // TLS handshake and HTTP/2 preface together
	drainGrace       = 5 * time.Second  // after GOAWAY, for streams that still run
	drainLinger      = time.Second      // after the last stream, for the peer to read our GOAWAY and close
	headerTableSize  = 4096
	maxHeaderList    = 8000 // bytes, RFC 9113 s6.5.2 counting
	initialWindow    = 65535
	maxFrame         = 16384
)

// conn is one HTTP/2 connection. Its read loop is the goroutine of run; all
// writes go through out, so reading never waits for the peer. What the pushes
// mean is not decided here but by Sim.serve.
type conn struct {
	sim  *Sim
	env  Environment
	id   uint64
	raw  net.Conn
	nc   net.Conn // TLS over raw
	out  *outbox
	log  *slog.Logger
	peer peer

	mu      sync.Mutex // guards what follows, and the streams
	streams map[uint32]*stream
	highest uint32 // highest stream identifier seen
	last    uint32 // streams above it are not processed (GOAWAY)
	limits  streamLimits
	used    time.Time // when a stream last began or ended
	windows
}

// peer is what is known of the provider. The read loop's alone, once the
// handshake is over.
type peer struct {
	// team is that of the first valid provider token; a connection belongs to
	// one.
	team        string
	certificate *x509.Certificate // nil: none
	pings       *rate.Limiter
}

// windows are the flow control of what we send.
type windows struct {
	window  int64 // bytes the peer takes on the connection
	initial int64 // bytes the peer takes on a new stream
}

// goodbye is a GOAWAY: the last stream that is processed, and how long those
// that are may go on (0: 5 s).
type goodbye struct {
	last  uint32
	code  http2.ErrCode
	debug []byte
	grace time.Duration
}

func newConn(s *Sim, env Environment, raw net.Conn) *conn {
	id := s.stats.connected()
	log := s.cfg.Log.With("environment", string(env), "conn", id)
	c := &conn{
		sim:     s,
		env:     env,
		id:      id,
		raw:     raw,
		out:     newOutbox(),
		log:     log,
		streams: make(map[uint32]*stream),
		last:    math.MaxInt32,
		windows: windows{window: initialWindow, initial: initialWindow},
		peer:    peer{pings: rate.NewLimiter(1, s.cfg.Limits.PingBurst)},
	}
	c.nc = tls.Server(raw, s.authority.serverConfig(func() bool { return s.faults.refuseTLS(env) }))
	return c
}

// abort ends the connection without a goodbye.
func (c *conn) abort() {
	if err := c.raw.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		c.log.Debug("close failed", "err", err)
	}
}

// run serves the connection until it ends.
func (c *conn) run() {
	defer c.sim.stats.disconnected()
	defer c.abort()
	if !c.sim.pause(c.sim.faults.connection(SlowHandshake, c.env)) {
		return
	}
	if err := c.handshake(); err != nil {
		c.log.Info("connection refused", "err", err)
		return
	}
	c.frames()
}

// frames speaks HTTP/2 once the preface was read.
func (c *conn) frames() {
	var writer, watch sync.WaitGroup
	streams := c.sim.cfg.Limits.StreamsBefore
	if c.peer.certificate != nil {
		streams = c.sim.cfg.Limits.StreamsAfter
	}
	c.limits = streamLimits{enforced: streams}
	var broken error // of the writer; read after writer.Wait
	writer.Go(func() {
		if broken = c.out.run(c.nc); broken != nil {
			c.abort() // wakes the read loop
		}
	})
	c.out.settings(
		http2.Setting{ID: http2.SettingHeaderTableSize, Val: headerTableSize},
		http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: streams},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: initialWindow},
		http2.Setting{ID: http2.SettingMaxFrameSize, Val: maxFrame},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: maxHeaderList},
	)
	c.limits.sent(streams)
	ended := make(chan struct{})
	if after := c.sim.faults.connection(IdleClose, c.env); after > 0 {
		c.used = time.Now()
		watch.Go(func() { c.closeWhenIdle(after, ended) })
	}
	err := c.read()
	close(ended)
	watch.Wait()
	var protocol http2.ConnectionError
	wrong := errors.As(err, &protocol)
	if wrong {
		c.out.goAway(c.seen(), http2.ErrCode(protocol), nil)
	}
	c.out.close()
	writer.Wait()
	if wrong && broken == nil {
		c.linger()
	}
	if broken == nil {
		broken = c.nc.Close()
	}
	c.log.Debug("connection ended", "read", err, "write", broken)
}

func (c *conn) handshake() error {
	if err := c.raw.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	session, ok := c.nc.(*tls.Conn)
	if !ok {
		return errNotH2
	}
	if err := session.HandshakeContext(ctx); err != nil {
		return err
	}
	state := session.ConnectionState()
	if state.NegotiatedProtocol != "h2" {
		return errNotH2
	}
	if len(state.PeerCertificates) > 0 {
		c.peer.certificate = state.PeerCertificates[0]
	}
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c.nc, preface); err != nil {
		return err
	}
	if string(preface) != http2.ClientPreface {
		return errPreface
	}
	return c.raw.SetDeadline(time.Time{})
}

// read is the read loop. It returns nil when a drained connection ended as
// planned.
func (c *conn) read() error {
	fr := http2.NewFramer(nil, c.nc)
	fr.SetMaxReadFrameSize(maxFrame)
	fr.ReadMetaHeaders = hpack.NewDecoder(headerTableSize, nil)
	fr.MaxHeaderListSize = maxHeaderList
	for {
		f, err := fr.ReadFrame()
		if c.out.silent() {
			_, err := io.Copy(io.Discard, c.nc)
			return err
		}
		if err == nil {
			err = c.handle(f)
		}
		var bad http2.StreamError
		switch {
		case err == nil:
		case errors.As(err, &bad):
			c.refuse(bad.StreamID, bad.Code)
		case errors.Is(err, http2.ErrFrameTooLarge):
			return http2.ConnectionError(http2.ErrCodeFrameSize)
		case errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		default:
			return err
		}
	}
}

func (c *conn) handle(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		return c.onHeaders(f)
	case *http2.DataFrame:
		return c.onData(f)
	case *http2.SettingsFrame:
		return c.onSettings(f)
	case *http2.WindowUpdateFrame:
		return c.onWindow(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			c.sim.stats.pinged()
			if !c.peer.pings.Allow() {
				return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
			}
			c.out.pong(f.Data)
		}
	case *http2.RSTStreamFrame:
		c.onReset(f)
	default: // PRIORITY is ignored as Apple does; GOAWAY: the client closes when it is done
	}
	return nil
}

func (c *conn) onSettings(f *http2.SettingsFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.IsAck() {
		c.limits.acked()
		return nil
	}
	err := f.ForeachSetting(func(s http2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		switch s.ID {
		case http2.SettingHeaderTableSize:
			c.out.tableSize(s.Val)
		case http2.SettingInitialWindowSize:
			change := int64(s.Val) - c.initial
			c.initial = int64(s.Val)
			for _, st := range c.streams {
				st.window += change
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.out.settingsAck()
	c.flushAll()
	return nil
}

func (c *conn) onWindow(f *http2.WindowUpdateFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.StreamID == 0 {
		if c.window += int64(f.Increment); c.window > math.MaxInt32 {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		c.flushAll()
		return nil
	}
	if f.StreamID > c.highest {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if st := c.streams[f.StreamID]; st != nil {
		if st.window += int64(f.Increment); st.window > math.MaxInt32 {
			return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeFlowControl}
		}
		c.flush(st)
	}
	return nil
}

// seen returns the highest stream identifier so far, for GOAWAY.
func (c *conn) seen() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return min(c.highest, c.last)
}

// process says that the push of a stream counts as processed from now on; false if a
// GOAWAY has told the client that it is not.
func (c *conn) process(st *stream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	st.processed = st.id <= c.last
	return st.processed
}

// goAway announces the end: streams up to last are finished, those above are
// dropped unprocessed and the client may send them elsewhere (RFC 9113 s6.8). It names a
// later stream than g.last if that is processed and waits for its answer.
func (c *conn) goAway(g goodbye) (last uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, st := range c.streams {
		if st.processed {
			g.last = max(g.last, id)
		}
	}
	c.last = min(c.last, g.last)
	for id := range c.streams {
		if id > c.last {
			delete(c.streams, id)
		}
	}
	c.out.goAway(c.last, g.code, g.debug)
	c.endBy(cmp.Or(g.grace, drainGrace))
	c.drained()
	return c.last
}

// drained ends a connection that said GOAWAY once its last stream is over.
// c.mu is held.
func (c *conn) drained() {
	if c.last != math.MaxInt32 && len(c.streams) == 0 {
		c.endBy(drainLinger)
	}
}

// linger reads on for a while after the last write. Closing with bytes unread
// would reset the connection, and the reset could overtake our GOAWAY.
func (c *conn) linger() {
	c.endBy(drainLinger)
	if _, err := io.Copy(io.Discard, c.nc); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.log.Debug("lingering ended", "err", err)
	}
}

func (c *conn) endBy(d time.Duration) {
	if err := c.raw.SetReadDeadline(time.Now().Add(d)); err != nil {
		c.log.Debug("set deadline failed", "err", err)
	}
}

// streamLimits follows MAX_CONCURRENT_STREAMS. A raised limit holds at once, a
// lowered one when the peer acknowledged it (RFC 9113 s6.5.3).
type streamLimits struct {
	enforced uint32
	unacked  []uint32
}

func (l *streamLimits) sent(n uint32) { l.unacked = append(l.unacked, n) }

func (l *streamLimits) acked() {
	if len(l.unacked) > 0 {
		l.enforced, l.unacked = l.unacked[0], l.unacked[1:]
	}
}

// announced is the limit the peer was told last.
func (l *streamLimits) announced() uint32 {
	if n := len(l.unacked); n > 0 {
		return l.unacked[n-1]
	}
	return l.enforced
}

// allowed is the limit to refuse streams by.
func (l *streamLimits) allowed() uint32 {
	n := l.enforced
	for _, u := range l.unacked {
		n = max(n, u)
	}
	return n
}
