package sipua

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// How much may wait for a slow reader before its flow is closed, and how long
// one write may take.
const (
	queueMessages = 256
	queueBytes    = 1 << 20
	writeTimeout  = 10 * time.Second
	lastWords     = 250 * time.Millisecond
)

var (
	errQueueFull = errors.New("peer does not read")
	errPeer      = errors.New("connection ended by the peer")
)

// streamListener accepts TCP or TLS connections.
type streamListener struct {
	ep        *Endpoint
	ln        net.Listener
	transport Transport
	local     netip.AddrPort
	once      sync.Once
}

// ServeStream accepts connections from ln until the endpoint closes, which also
// closes ln. t is TCP or TLS; for TLS ln yields *tls.Conn (tls.NewListener).
func (ep *Endpoint) ServeStream(ln net.Listener, t Transport) error {
	local, err := addrPortOf(ln.Addr())
	if err != nil {
		return err
	}
	l := &streamListener{ep: ep, ln: ln, transport: t, local: local}
	ep.mu.Lock()
	ep.listeners = append(ep.listeners, l)
	ep.mu.Unlock()
	if !ep.launch(l.accept) {
		return ErrClosed
	}
	return nil
}

func (l *streamListener) close() {
	l.once.Do(func() {
		if err := l.ln.Close(); err != nil {
			l.ep.log.Debug("close listener", "local", l.local, "error", err)
		}
	})
}

// accept takes connections. A passing error (no file descriptor free) must not
// end the listener.
func (l *streamListener) accept() {
	wait := 5 * time.Millisecond
	for {
		conn, err := l.ln.Accept()
		if err != nil {
			if l.ep.isClosed() || errors.Is(err, net.ErrClosed) {
				return
			}
			l.ep.log.Warn("accept", "local", l.local, "error", err)
			select {
			case <-l.ep.closed:
				return
			case <-time.After(wait):
			}
			wait = min(2*wait, time.Second)
			continue
		}
		wait = 5 * time.Millisecond
		l.welcome(conn)
	}
}

// welcome counts a connection and hands it to a goroutine of its own, which
// shakes hands and reads.
func (l *streamListener) welcome(conn net.Conn) {
	remote, err := addrPortOf(conn.RemoteAddr())
	if err == nil {
		err = l.ep.limits.accept(remote.Addr())
	}
	if err != nil {
		l.ep.log.Info("connection refused", "remote", conn.RemoteAddr(), "reason", err)
		conn.Close() //nolint:errcheck // nothing was sent
		return
	}
	started := l.ep.launch(func() {
		if err := l.shakeHands(conn); err != nil {
			l.ep.log.Info("TLS handshake", "remote", remote, "error", err)
			l.ep.limits.release(remote.Addr())
			conn.Close() //nolint:errcheck // no flow uses it
			return
		}
		f := l.ep.newStreamFlow(conn, l.transport, false)
		l.ep.limits.opened(f)
		if l.ep.isClosed() {
			f.Shut(ErrClosed)
		}
		l.ep.readStream(f, conn)
		l.ep.limits.closed(f)
	})
	if !started {
		l.ep.limits.release(remote.Addr())
		conn.Close() //nolint:errcheck // the endpoint is closed
	}
}

func (l *streamListener) shakeHands(conn net.Conn) error {
	tc, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(l.ep.ctx, l.ep.limits.Handshake)
	defer cancel()
	return tc.HandshakeContext(ctx)
}

// adopt makes a flow of a connection that we dialled.
func (ep *Endpoint) adopt(conn net.Conn, t Transport) (*Flow, error) {
	if _, err := addrPortOf(conn.RemoteAddr()); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	f := ep.newStreamFlow(conn, t, true)
	if !ep.launch(func() { ep.readStream(f, conn) }) {
		f.Shut(ErrClosed)
		return nil, ErrClosed
	}
	return f, nil
}

func (ep *Endpoint) newStreamFlow(conn net.Conn, t Transport, dialled bool) *Flow {
	local, errLocal := addrPortOf(conn.LocalAddr())
	remote, errRemote := addrPortOf(conn.RemoteAddr())
	if err := errors.Join(errLocal, errRemote); err != nil {
		ep.log.Warn("address of a connection", "error", err)
	}
	f := newFlow(ep, t, local, remote)
	f.dialled = dialled
	w := &streamWire{conn: conn, out: make(chan []byte, queueMessages), stop: make(chan struct{})}
	f.wire = w
	ep.flows.add(f)
	if !ep.launch(func() { w.write(f) }) {
		f.Shut(ErrClosed)
		conn.Close() //nolint:errcheck // nothing was written
	}
	return f
}

// readStream is the read loop of a stream flow. Only an end of the connection or
// lost framing ends it: a message that does not parse is answered with 400.
func (ep *Endpoint) readStream(f *Flow, conn net.Conn) {
	// Idle flows are closed by the reaper; on the clock are a stranger's first
	// message, and any message that has begun.
	var clock error
	limit := func(d time.Duration) {
		if err := conn.SetReadDeadline(time.Now().Add(d)); err != nil && clock == nil {
			clock = err
		}
	}
	first := !f.dialled && !f.Authenticated()
	if first {
		limit(ep.limits.FirstMessage)
	}
	cut := newCutter(&countingReader{r: conn, f: f}, func() {
		if err := f.wire.send([]byte("\r\n")); err != nil {
			f.Shut(err)
		}
	}, func() {
		if !first {
			limit(ep.limits.Message)
		}
	})
	for {
		fr, err := cut.next()
		if err != nil {
			if errors.Is(err, ErrFraming) {
				ep.refuseRaw(f, fr.data, Reject(400, "Message framing lost"))
			}
			if errors.Is(err, io.EOF) {
				err = errPeer
			}
			f.Shut(err)
			return
		}
		first = false
		if err := conn.SetReadDeadline(time.Time{}); err != nil || clock != nil {
			f.Shut(errors.Join(err, clock))
			return
		}
		ep.receive(f, fr)
	}
}

// countingReader notes each sign of life.
type countingReader struct {
	r io.Reader
	f *Flow
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if n > 0 {
		c.f.touch()
	}
	return n, err
}

// streamWire queues what its goroutine writes.
type streamWire struct {
	conn net.Conn
	out  chan []byte
	stop chan struct{}

	mu     sync.Mutex
	queued int
	ending bool
}

func (w *streamWire) send(data []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ending {
		return net.ErrClosed
	}
	if w.queued+len(data) > queueBytes {
		return errQueueFull
	}
	select {
	case w.out <- data:
		w.queued += len(data)
		return nil
	default:
		return errQueueFull
	}
}

func (w *streamWire) shut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ending {
		return
	}
	w.ending = true
	close(w.stop)
	// Whatever is queued or being written has this long, so that a last response
	// leaves and a peer that does not read holds nobody up.
	w.conn.SetWriteDeadline(time.Now().Add(lastWords)) //nolint:errcheck // then the connection is gone, which is the aim
}

// write is the writer of a stream flow. On shut it still writes what was queued
// before.
func (w *streamWire) write(f *Flow) {
	for {
		select {
		case data := <-w.out:
			if err := w.put(data); err != nil {
				abort(w.conn)
				f.Shut(err)
				return
			}
		case <-w.stop:
			w.drain()
			return
		}
	}
}

func (w *streamWire) drain() {
	for {
		select {
		case data := <-w.out:
			if w.put(data) != nil {
				abort(w.conn)
				return
			}
		default:
			w.conn.Close() //nolint:errcheck // the flow is gone, nobody could be told
			return
		}
	}
}

// abort closes a connection that takes no more bytes, without TLS's farewell,
// which would wait for that.
func abort(conn net.Conn) {
	if tc, ok := conn.(*tls.Conn); ok {
		conn = tc.NetConn()
	}
	conn.Close() //nolint:errcheck // it failed already
}

func (w *streamWire) put(data []byte) error {
	w.mu.Lock()
	w.queued -= len(data)
	var err error
	if !w.ending { // then shut has set the deadline
		err = w.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	}
	w.mu.Unlock()
	if err != nil {
		return fmt.Errorf("write deadline: %w", err)
	}
	if _, err := w.conn.Write(data); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
