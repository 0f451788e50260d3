package memnet

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// Conn is one end of a stream, after TCP on Linux: closing with unread bytes resets, bytes that arrived before a
// reset stay readable, the first write to a closed end succeeds and the next fails.
type Conn struct {
	n             *Network
	local, remote netip.AddrPort // as this end sees them
	peer          *Conn
	line          *line
	in, out       *pipe // out is the peer's in

	state       connState
	closed      bool
	finSent     bool
	err         error // after a reset by the peer
	read, write deadline
}

type connState uint8

const (
	stateDialling connState = iota
	stateEstablished
	stateReset // by either end
)

// line is what both ends share.
type line struct {
	dead bool // Blackhole, or a NAT on the way forgot it
	gate gate
}

// pipe is one direction.
type pipe struct {
	buf     []byte
	used    int // bytes in flight and unread
	fin     bool
	lastDue time.Time
	changed signal // something to read, or the state
	room    signal // something to write, or the state
}

// segment is a piece of a stream under way.
type segment struct {
	from *Conn
	flag Flag
	data []byte
	sent time.Time
}

// LocalAddr returns a [*net.TCPAddr].
func (c *Conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local) }

// RemoteAddr returns a [*net.TCPAddr]: of a peer behind a NAT, the mapped address.
func (c *Conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

func (c *Conn) fail(op string, err error) error {
	return opError(op, "tcp", c.LocalAddr(), c.RemoteAddr(), err)
}

// Read waits for bytes. It returns [io.EOF] once the peer closed and its bytes are read, and ECONNRESET once it
// reset.
func (c *Conn) Read(p []byte) (int, error) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, c.fail("read", net.ErrClosed)
		case c.read.passed:
			return 0, c.fail("read", os.ErrDeadlineExceeded)
		case len(p) == 0:
			return 0, nil
		case len(c.in.buf) > 0:
			k := copy(p, c.in.buf)
			c.in.buf = c.in.buf[k:]
			c.in.used -= k
			c.in.room.raise()
			return k, nil
		case c.in.fin:
			return 0, io.EOF
		case c.err != nil:
			return 0, c.fail("read", c.err)
		}
		c.n.await(c.in.changed.wait(), c.read.changed.wait(), nil)
	}
}

// Write waits until the stream has taken all of p: [Options.StreamBuffer] bytes may be unread.
func (c *Conn) Write(p []byte) (int, error) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	done := 0
	for {
		switch {
		case c.closed:
			return done, c.fail("write", net.ErrClosed)
		case c.write.passed:
			return done, c.fail("write", os.ErrDeadlineExceeded)
		case c.finSent, c.err != nil && c.in.fin:
			return done, c.fail("write", os.NewSyscallError("write", syscall.EPIPE))
		case c.err != nil:
			return done, c.fail("write", c.err)
		case done == len(p):
			return done, nil
		}
		if room := c.n.opts.StreamBuffer - c.out.used; room > 0 {
			part := p[done:min(done+room, len(p))]
			c.out.used += len(part)
			done += len(part)
			c.send(FlagData, bytes.Clone(part))
			if done == len(p) {
				return done, nil // taken, whatever the peer answered meanwhile
			}
			continue
		}
		c.n.await(c.out.room.wait(), c.write.changed.wait(), nil)
	}
}

// Close ends the stream: the peer reads EOF after the bytes written so far, or ECONNRESET if bytes were left
// unread here. Closing twice is an error, as in package net.
func (c *Conn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	unread := len(c.in.buf) > 0
	c.shut()
	switch {
	case c.state != stateEstablished:
	case unread:
		c.state = stateReset
		c.send(FlagRST, nil)
	case !c.finSent:
		c.finSent = true
		c.send(FlagFIN, nil)
	}
	return nil
}

// CloseWrite ends this end's direction only.
func (c *Conn) CloseWrite() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed || c.finSent || c.err != nil {
		return c.fail("close", os.NewSyscallError("shutdown", syscall.ENOTCONN))
	}
	c.finSent = true
	c.out.room.raise()
	c.send(FlagFIN, nil)
	return nil
}

// Reset closes this end abruptly: the peer's calls fail with ECONNRESET.
func (c *Conn) Reset() {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return
	}
	c.shut()
	if c.state == stateEstablished {
		c.state = stateReset
		c.send(FlagRST, nil)
	}
}

// Blackhole makes the stream swallow everything in both directions for good, as when a phone leaves its network:
// no byte, FIN or RST arrives any more, writes succeed until the buffer is full and then wait for their deadline.
func (c *Conn) Blackhole() {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.line.dead = true
}

// shut ends this end's calls. n.mu is held.
func (c *Conn) shut() {
	if c.closed {
		return
	}
	c.closed = true
	c.in.buf = nil
	c.read.stop()
	c.write.stop()
	c.in.changed.raise()
	c.out.room.raise()
	delete(c.n.streams, tuple{c.local, c.remote})
}

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error { return c.setDeadlines(t, &c.read, &c.write) }

// SetReadDeadline limits reads, those that wait included.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, &c.read) }

// SetWriteDeadline limits writes, those that wait included.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, &c.write) }

func (c *Conn) setDeadlines(t time.Time, which ...*deadline) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return c.fail("set", net.ErrClosed)
	}
	for _, d := range which {
		d.set(c.n, t)
	}
	return nil
}

// send puts a segment on its way. n.mu is held.
func (c *Conn) send(flag Flag, data []byte) {
	c.n.forward(&segment{from: c, flag: flag, data: data, sent: time.Now()})
}

// hosts names the direction of a stream by the hosts' own addresses.
func (c *Conn) hosts() pair { return pair{c.local.Addr(), c.peer.local.Addr()} }

// forward schedules a segment's arrival, or holds it while its path is cut. n.mu is held.
func (n *Network) forward(s *segment) {
	if !s.from.line.alive() {
		n.tell(s.packet(Lost))
		return
	}
	hosts := s.from.hosts()
	imp := n.links.impairment(hosts)
	if n.links.cut(hosts) || imp.Loss >= 1 {
		n.links.held = append(n.links.held, s)
		return
	}
	now, out := time.Now(), s.from.out
	due := now.Add(n.path("tcp", hosts).segmentDelay(imp))
	if due.Before(out.lastDue) {
		due = out.lastDue
	}
	out.lastDue = due
	n.at(due, func() { n.arriveSegment(s) })
}

// release sends what was held, after a path changed. n.mu is held.
func (n *Network) release() {
	held := n.links.held
	n.links.held = nil
	for _, s := range held {
		n.forward(s) // holds it again if its path is still cut
	}
}

func (s *segment) packet(o Outcome) Packet {
	return Packet{
		Sent: s.sent, Protocol: "tcp", Src: s.from.peer.remote, Dst: s.from.peer.local,
		Flag: s.flag, Data: s.data, Outcome: o,
	}
}

// arriveSegment is the receiving end's part. n.mu is held.
func (n *Network) arriveSegment(s *segment) {
	c := s.from.peer
	if !c.line.alive() {
		n.tell(s.packet(Lost))
		return
	}
	switch s.flag {
	case FlagSYN:
		n.arriveSYN(s)
		return
	case FlagSYNACK:
		if c.state == stateDialling && !c.closed {
			c.state = stateEstablished
		}
	case FlagData:
		if c.closed {
			n.refuse(s)
			return
		}
		c.in.buf = append(c.in.buf, s.data...)
	case FlagFIN:
		c.in.fin = true
	case FlagRST:
		c.reset()
	}
	n.tell(s.packet(Delivered))
	c.in.changed.raise()
}

// refuse answers bytes for a closed end with a reset, once.
func (n *Network) refuse(s *segment) {
	n.tell(s.packet(Unreachable))
	s.from.out.used -= len(s.data)
	s.from.out.room.raise()
	if c := s.from.peer; c.state != stateReset {
		c.state = stateReset
		c.send(FlagRST, nil)
	}
}

// reset is the peer's RST.
func (c *Conn) reset() {
	if c.state == stateDialling {
		c.err = os.NewSyscallError("connect", syscall.ECONNREFUSED)
	} else {
		c.err = os.NewSyscallError("read", syscall.ECONNRESET)
	}
	c.state = stateReset
	c.out.room.raise()
}
