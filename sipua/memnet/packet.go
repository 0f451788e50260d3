package memnet

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// maxDatagram is UDP's largest payload over IPv4.
const maxDatagram = 65507

// PacketConn is a datagram socket. Besides [net.PacketConn] it has the AddrPort methods of [net.UDPConn].
type PacketConn struct {
	n     *Network
	local netip.AddrPort

	closed      bool
	queue       []datagram
	arrived     signal
	read, write deadline
}

type datagram struct {
	from netip.AddrPort
	data []byte
}

// ListenPacket binds a datagram socket, a [*PacketConn]. Port 0 picks a free one.
func (n *Network) ListenPacket(addr netip.AddrPort) (net.PacketConn, error) {
	addr = clean(addr)
	n.mu.Lock()
	defer n.mu.Unlock()
	addr, err := n.bind(addr, func(ap netip.AddrPort) bool { return n.packets[ap] == nil })
	if err != nil {
		return nil, opError("listen", "udp", nil, net.UDPAddrFromAddrPort(addr), err)
	}
	c := &PacketConn{n: n, local: addr}
	n.packets[addr] = c
	return c, nil
}

// bind checks a local address and replaces port 0.
func (n *Network) bind(addr netip.AddrPort, free func(netip.AddrPort) bool) (netip.AddrPort, error) {
	switch {
	case n.closed:
		return addr, net.ErrClosed
	case !addr.Addr().IsValid() || addr.Addr().IsUnspecified():
		return addr, ErrUnspecified
	case n.nats.outside[addr.Addr()] != nil:
		return addr, os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)
	case addr.Port() == 0:
		picked, ok := n.port(addr.Addr(), free)
		if !ok {
			return addr, ErrNoPort
		}
		return picked, nil
	case !free(addr):
		return addr, os.NewSyscallError("bind", syscall.EADDRINUSE)
	}
	return addr, nil
}

// LocalAddr returns a [*net.UDPAddr].
func (c *PacketConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.local) }

// ReadFrom waits for a datagram. As with UDP, what does not fit into p is lost. The address is a [*net.UDPAddr].
func (c *PacketConn) ReadFrom(p []byte) (int, net.Addr, error) {
	k, from, err := c.ReadFromUDPAddrPort(p)
	if err != nil {
		return 0, nil, err
	}
	return k, net.UDPAddrFromAddrPort(from), nil
}

// ReadFromUDPAddrPort is ReadFrom without an allocation for the address.
func (c *PacketConn) ReadFromUDPAddrPort(p []byte) (int, netip.AddrPort, error) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, netip.AddrPort{}, c.fail("read", nil, net.ErrClosed)
		case c.read.passed:
			return 0, netip.AddrPort{}, c.fail("read", nil, os.ErrDeadlineExceeded)
		case len(c.queue) > 0:
			d := c.queue[0]
			c.queue[0] = datagram{}
			c.queue = c.queue[1:]
			return copy(p, d.data), d.from, nil
		}
		c.n.await(c.arrived.wait(), c.read.changed.wait(), nil)
	}
}

// WriteTo sends a datagram to a [*net.UDPAddr]. It never blocks, and does not tell whether anybody is there.
func (c *PacketConn) WriteTo(p []byte, to net.Addr) (int, error) {
	udp, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, c.fail("write", to, syscall.EINVAL)
	}
	return c.WriteToUDPAddrPort(p, udp.AddrPort())
}

// WriteToUDPAddrPort is WriteTo for a [netip.AddrPort].
func (c *PacketConn) WriteToUDPAddrPort(p []byte, to netip.AddrPort) (int, error) {
	to = clean(to)
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	var err error
	switch {
	case c.closed:
		err = net.ErrClosed
	case c.write.passed:
		err = os.ErrDeadlineExceeded
	case len(p) > maxDatagram:
		err = os.NewSyscallError("sendto", syscall.EMSGSIZE)
	case !to.IsValid() || to.Port() == 0 || to.Addr().Is4() != c.local.Addr().Is4():
		err = os.NewSyscallError("sendto", syscall.EINVAL)
	}
	if err != nil {
		return 0, c.fail("write", net.UDPAddrFromAddrPort(to), err)
	}
	c.n.sendPacket(c.local, to, bytes.Clone(p))
	return len(p), nil
}

func (c *PacketConn) fail(op string, remote net.Addr, err error) error {
	return opError(op, "udp", c.LocalAddr(), remote, err)
}

// Close frees the port and ends waiting reads with [net.ErrClosed]. Closing twice is an error, as in package net.
func (c *PacketConn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return c.fail("close", nil, net.ErrClosed)
	}
	c.close()
	return nil
}

func (c *PacketConn) close() {
	c.closed, c.queue = true, nil
	c.read.stop()
	c.write.stop()
	c.arrived.raise()
	delete(c.n.packets, c.local)
}

// SetDeadline sets both deadlines.
func (c *PacketConn) SetDeadline(t time.Time) error {
	return c.setDeadlines("set", t, &c.read, &c.write)
}

// SetReadDeadline limits reads, those that wait included.
func (c *PacketConn) SetReadDeadline(t time.Time) error { return c.setDeadlines("set", t, &c.read) }

// SetWriteDeadline makes writes fail once it has passed; they never wait.
func (c *PacketConn) SetWriteDeadline(t time.Time) error { return c.setDeadlines("set", t, &c.write) }

func (c *PacketConn) setDeadlines(op string, t time.Time, which ...*deadline) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return c.fail(op, nil, net.ErrClosed)
	}
	for _, d := range which {
		d.set(c.n, t)
	}
	return nil
}

// sendPacket sends data on its way. n.mu is held; data belongs to the network from now on.
func (n *Network) sendPacket(src, dst netip.AddrPort, data []byte) {
	now := time.Now()
	p := Packet{Sent: now, Protocol: "udp", Src: src, Dst: dst, Data: data}
	hosts := pair{src.Addr(), n.nats.hostAt("udp", dst).Addr()}
	mapped, ok := n.nats.leave("udp", src, dst, now)
	if !ok {
		p.Outcome = Unreachable
		n.tell(p)
		return
	}
	p.Src = mapped
	imp, way := n.links.impairment(hosts), n.path("udp", hosts)
	if n.links.cut(hosts) || way.happens(imp.Loss) {
		p.Outcome = Lost
		n.tell(p)
		return
	}
	n.at(way.packetDue(imp, now), func() { n.arrive(p) })
	if way.happens(imp.Duplicate) {
		n.at(way.packetDue(imp, now), func() { n.arrive(p) })
	}
}

// arrive delivers a datagram to whoever is bound to its destination now.
func (n *Network) arrive(p Packet) {
	dst, ok := n.nats.enter("udp", p.Src, p.Dst, time.Now())
	if !ok {
		p.Outcome = Filtered
		n.tell(p)
		return
	}
	c := n.packets[dst]
	switch {
	case c == nil:
		p.Outcome = Unreachable
	case len(c.queue) >= n.opts.PacketQueue:
		p.Outcome = Overflow
	default:
		p.Outcome, p.Dst = Delivered, dst
		c.queue = append(c.queue, datagram{p.Src, p.Data})
		c.arrived.raise()
	}
	n.tell(p)
}
