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
	queueMessages = 4096
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
// closes ln. t is TCP or TLS; for TLS ln yields *tls.Conn (tls.NewListener). After
// an error ln is still the caller's: ErrClosed, or an address that cannot be read.
func (ep *Endpoint) ServeStream(ln net.Listener, t Transport) error {
	local, err := addrPortOf(ln.Addr())
	if err != nil {
		return err
	}
	l := &streamListener{ep: ep, ln: ln, transport: t, local: local}
	if !ep.launch(l.accept, func() { ep.listeners = append(ep.listeners, l) }) {
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
		f := l.ep.newStreamFlow(conn, l.transport, nil)
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
func (ep *Endpoint) adopt(conn net.Conn, key dialKey) (*Flow, error) {
	if _, err := addrPortOf(conn.RemoteAddr()); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	f := ep.newStreamFlow(conn, key.t, &key)
	if !ep.launch(func() { ep.readStream(f, conn) }) {
		f.Shut(ErrClosed)
		return nil, ErrClosed
	}
	return f, nil
}

func (ep *Endpoint) newStreamFlow(conn net.Conn, t Transport, dial *dialKey) *Flow {
	local, errLocal := addrPortOf(conn.LocalAddr())
	remote, errRemote := addrPortOf(conn.RemoteAddr())
	if err := errors.Join(errLocal, errRemote); err != nil {
		ep.log.Warn("address of a connection", "error", err)
	}
	f := newFlow(ep, t, local, remote)
	f.dial = dial
	w := newStreamWire(conn)
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
	first := !f.Dialled() && !f.Authenticated()
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
	more chan struct{} // holds one element: there is something to write, or to end

	mu     sync.Mutex
	queue  [][]byte
	queued int // bytes
	ending bool
}

func newStreamWire(conn net.Conn) *streamWire {
	return &streamWire{conn: conn, more: make(chan struct{}, 1)}
}

func (w *streamWire) send(data []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.ending:
		return net.ErrClosed
	case w.queued+len(data) > queueBytes || len(w.queue) >= queueMessages:
		return errQueueFull
	}
	w.queue = append(w.queue, data)
	w.queued += len(data)
	w.wake()
	return nil
}

func (w *streamWire) wake() {
	select {
	case w.more <- struct{}{}:
	default:
	}
}

func (w *streamWire) shut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ending {
		return
	}
	w.ending = true
	w.wake()
	// Whatever is queued or being written has this long, so that a last response
	// leaves and a peer that does not read holds nobody up.
	w.conn.SetWriteDeadline(time.Now().Add(lastWords)) //nolint:errcheck // then the connection is gone, which is the aim
}

// write is the writer of a stream flow, and the one who closes its connection. On
// shut it still writes what was queued before.
func (w *streamWire) write(f *Flow) {
	for range w.more {
		for {
			data, ending, err := w.next()
			if data != nil && err == nil {
				_, err = w.conn.Write(data)
			}
			if err != nil {
				abort(w.conn)
				f.Shut(fmt.Errorf("write: %w", err))
				return
			}
			if data != nil {
				continue
			}
			if ending {
				w.conn.Close() //nolint:errcheck // the flow is gone, nobody could be told
				return
			}
			break
		}
	}
}

// next takes what is to be written now, and gives it its time; nil for nothing.
func (w *streamWire) next() (data []byte, ending bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		w.queue = nil
		return nil, w.ending, nil
	}
	data, w.queue = w.queue[0], w.queue[1:]
	w.queued -= len(data)
	if !w.ending { // else shut has set the deadline
		err = w.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	}
	return data, w.ending, err
}

// abort closes a connection that takes no more bytes, without TLS's farewell,
// which would wait for that.
func abort(conn net.Conn) {
	if tc, ok := conn.(*tls.Conn); ok {
		conn = tc.NetConn()
	}
	conn.Close() //nolint:errcheck // it failed already
}
