package memnet

import (
	"context"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// synRetry is when a dialler repeats a SYN that a full backlog ignored, RFC 6298 s2.1.
const synRetry = time.Second

// Listener accepts streams. It is what [Network.Listen] returns.
type Listener struct {
	n     *Network
	local netip.AddrPort

	closed   bool
	queue    []*Conn
	arrived  signal
	deadline deadline
}

// Listen binds a [*Listener]. Port 0 picks a free one.
func (n *Network) Listen(addr netip.AddrPort) (net.Listener, error) {
	addr = clean(addr)
	n.mu.Lock()
	defer n.mu.Unlock()
	addr, err := n.bind(addr, func(ap netip.AddrPort) bool { return n.listeners[ap] == nil })
	if err != nil {
		return nil, opError("listen", "tcp", nil, net.TCPAddrFromAddrPort(addr), err)
	}
	l := &Listener{n: n, local: addr}
	n.listeners[addr] = l
	return l, nil
}

// Addr returns a [*net.TCPAddr].
func (l *Listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.local) }

// Accept waits for a stream, a [*Conn].
func (l *Listener) Accept() (net.Conn, error) {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	for {
		switch {
		case l.closed:
			return nil, opError("accept", "tcp", nil, l.Addr(), net.ErrClosed)
		case l.deadline.passed:
			return nil, opError("accept", "tcp", nil, l.Addr(), os.ErrDeadlineExceeded)
		case len(l.queue) > 0:
			c := l.queue[0]
			l.queue[0] = nil
			l.queue = l.queue[1:]
			return c, nil
		}
		l.n.await(l.arrived.wait(), l.deadline.changed.wait(), nil)
	}
}

// SetDeadline limits Accept.
func (l *Listener) SetDeadline(t time.Time) error {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	if l.closed {
		return opError("set", "tcp", nil, l.Addr(), net.ErrClosed)
	}
	l.deadline.set(l.n, t)
	return nil
}

// Close frees the port, ends waiting Accepts and resets streams that were not accepted. Accepted ones live on.
func (l *Listener) Close() error {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	if l.closed {
		return opError("close", "tcp", nil, l.Addr(), net.ErrClosed)
	}
	l.close()
	return nil
}

func (l *Listener) close() {
	l.closed = true
	l.deadline.stop()
	l.arrived.raise()
	delete(l.n.listeners, l.local)
	for _, c := range l.queue {
		c.shut()
		if c.state == stateEstablished {
			c.state = stateReset
			c.send(FlagRST, nil)
		}
	}
	l.queue = nil
}

// Dial opens a stream, a [*Conn], from local (port 0 picks a free one) to remote. Nobody listening there fails
// with ECONNREFUSED; a cut path is waited for until ctx ends, as there is no other limit.
func (n *Network) Dial(ctx context.Context, local, remote netip.AddrPort) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c, err := n.dial(clean(local), clean(remote))
	if err != nil {
		return nil, opError("dial", "tcp", net.TCPAddrFromAddrPort(local), net.TCPAddrFromAddrPort(remote), err)
	}
	c.send(FlagSYN, nil)
	for {
		switch {
		case c.err != nil:
			err = c.err
		case c.closed:
			err = net.ErrClosed
		case c.state == stateEstablished:
			return c, nil
		default:
			err = ctx.Err()
		}
		if err != nil {
			c.abandon()
			return nil, c.fail("dial", err)
		}
		n.await(c.in.changed.wait(), nil, ctx.Done())
	}
}

// abandon gives up dialling. A server that accepted meanwhile gets a reset.
func (c *Conn) abandon() {
	if c.closed {
		return
	}
	c.shut()
	if c.state != stateReset {
		c.state = stateReset
		c.send(FlagRST, nil)
	}
}

// dial makes both ends; the far one comes to life when the SYN arrives.
func (n *Network) dial(local, remote netip.AddrPort) (*Conn, error) {
	free := func(ap netip.AddrPort) bool { return n.streams[tuple{ap, remote}] == nil }
	if local.Port() == 0 {
		free = func(ap netip.AddrPort) bool {
			return n.streams[tuple{ap, remote}] == nil && n.listeners[ap] == nil
		}
	}
	local, err := n.bind(local, free)
	if err != nil {
		return nil, err
	}
	if !remote.IsValid() || remote.Port() == 0 || remote.Addr().Is4() != local.Addr().Is4() {
		return nil, os.NewSyscallError("connect", syscall.EINVAL)
	}
	seen, gate, ok := n.nats.connect(local, remote)
	if !ok {
		return nil, os.NewSyscallError("connect", syscall.ENETUNREACH)
	}
	line := &line{gate: gate}
	up, down := &pipe{}, &pipe{}
	c := &Conn{n: n, local: local, remote: remote, line: line, in: down, out: up}
	c.peer = &Conn{
		n: n, local: n.nats.hostAt("tcp", remote), remote: seen, peer: c,
		line: line, in: up, out: down, closed: true,
	}
	n.streams[tuple{local, remote}] = c
	return c, nil
}

// arriveSYN brings the far end to life, or refuses. n.mu is held.
func (n *Network) arriveSYN(s *segment) {
	c := s.from.peer
	if s.from.closed {
		n.tell(s.packet(Lost)) // given up: nobody repeats it
		return
	}
	if _, ok := n.nats.enter("tcp", c.remote, s.from.remote, time.Now()); !ok {
		n.tell(s.packet(Filtered))
		return
	}
	l := n.listeners[c.local]
	switch {
	case l == nil:
		n.tell(s.packet(Unreachable))
		c.state = stateReset
		c.send(FlagRST, nil)
	case len(l.queue) >= n.opts.Backlog:
		n.tell(s.packet(Overflow))
		n.at(time.Now().Add(synRetry), func() { n.forward(s) })
	default:
		c.closed, c.state = false, stateEstablished
		n.streams[tuple{c.local, c.remote}] = c
		l.queue = append(l.queue, c)
		n.tell(s.packet(Delivered))
		c.send(FlagSYNACK, nil)
		l.arrived.raise()
	}
}
