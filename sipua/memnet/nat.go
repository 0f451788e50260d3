package memnet

import (
	"net/netip"
	"os"
	"syscall"
	"time"
)

// NATOptions say how a [NAT] behaves. The zero value maps per source, accepts answers only, and forgets nothing.
type NATOptions struct {
	// PerDestination gives each destination its own external port ("symmetric"; RFC 4787 s4.1: address and
	// port-dependent mapping). Default: one port per inside address and port.
	PerDestination bool
	// AcceptAll lets datagrams from anybody in through a mapping ("full cone"; RFC 4787 s5: endpoint-independent
	// filtering). Default: only from addresses and ports that were sent to.
	AcceptAll bool
	// UDPTimeout is how long a mapping lives after the last datagram from inside; those from outside do not keep
	// it (RFC 4787 REQ-6). Default: 0, for ever. Routers at home: 30s to 180s.
	UDPTimeout time.Duration
	// TCPTimeout is how long a stream may be idle before the NAT forgets it: from then on it is a black hole.
	// Default: 0, for ever.
	TCPTimeout time.Duration
}

// NAT translates between the hosts behind it and the rest of the network. Hosts behind one NAT reach each other
// directly; from elsewhere their own addresses are unreachable.
type NAT struct {
	n        *Network
	opts     NATOptions
	external netip.Addr
	life     int // counts Rebind
	out      map[flow]*mapping
	in       map[endpoint]*mapping
	forwards map[endpoint]netip.AddrPort
}

// endpoint is an address of one protocol, "udp" or "tcp".
type endpoint struct {
	protocol string
	addr     netip.AddrPort
}

// flow is what a mapping belongs to; dst only with PerDestination.
type flow struct {
	src endpoint
	dst netip.AddrPort
}

type mapping struct {
	inside, outside netip.AddrPort
	sent            map[netip.AddrPort]time.Time // when inside last sent, by destination
	last            time.Time
}

// nats finds NATs by external address and by the hosts behind them.
type nats struct{ outside, behind map[netip.Addr]*NAT }

// NAT puts hosts, named by their own addresses, behind a new NAT with one external address. It fails if that
// address is in use or a host is behind another NAT already. Streams and sockets that exist stay as they are.
func (n *Network) NAT(external netip.Addr, opts NATOptions, hosts ...netip.Addr) (*NAT, error) {
	external = external.Unmap()
	n.mu.Lock()
	defer n.mu.Unlock()
	t := &NAT{
		n: n, opts: opts, external: external,
		out: map[flow]*mapping{}, in: map[endpoint]*mapping{}, forwards: map[endpoint]netip.AddrPort{},
	}
	if err := n.claim(external); err != nil {
		return nil, err
	}
	for _, h := range hosts {
		if n.nats.behind[h.Unmap()] != nil {
			return nil, opError("nat", "ip", nil, &hostAddr{h}, os.NewSyscallError("bind", syscall.EADDRINUSE))
		}
	}
	for _, h := range hosts {
		n.nats.behind[h.Unmap()] = t
	}
	n.nats.outside[external] = t
	return t, nil
}

// hostAddr is an address without port in errors.
type hostAddr struct{ netip.Addr }

// Network returns "ip".
func (*hostAddr) Network() string { return "ip" }

// claim refuses an external address that is taken.
func (n *Network) claim(external netip.Addr) error {
	taken := !external.IsValid() || n.nats.outside[external] != nil || n.nats.behind[external] != nil
	for ap := range n.packets {
		taken = taken || ap.Addr() == external
	}
	for ap := range n.listeners {
		taken = taken || ap.Addr() == external
	}
	if taken {
		return opError("nat", "ip", nil, &hostAddr{external}, os.NewSyscallError("bind", syscall.EADDRINUSE))
	}
	return nil
}

// External returns the address that the rest of the network sees now.
func (t *NAT) External() netip.Addr {
	t.n.mu.Lock()
	defer t.n.mu.Unlock()
	return t.external
}

// Rebind forgets all mappings and continues with external, which may be the address it had (a router restarted)
// or another (Wi-Fi to LTE). Streams through the NAT become black holes; datagrams from inside get new mappings.
// Forwards stay. It fails if the address is in use.
func (t *NAT) Rebind(external netip.Addr) error {
	external = external.Unmap()
	t.n.mu.Lock()
	defer t.n.mu.Unlock()
	if external != t.external {
		if err := t.n.claim(external); err != nil {
			return err
		}
		delete(t.n.nats.outside, t.external)
		t.n.nats.outside[external] = t
		t.external = external
	}
	t.life++
	clear(t.out)
	clear(t.in)
	return nil
}

// Forward sends what arrives at an external port to a host behind the NAT: port forwarding, for "udp" and "tcp".
// What that host sends from there leaves from the same port.
func (t *NAT) Forward(port uint16, inside netip.AddrPort) {
	t.n.mu.Lock()
	defer t.n.mu.Unlock()
	for _, protocol := range []string{"udp", "tcp"} {
		t.forwards[endpoint{protocol, netip.AddrPortFrom(netip.Addr{}, port)}] = clean(inside)
	}
}

// forward finds a port forwarding by its external port.
func (t *NAT) forward(protocol string, port uint16) (netip.AddrPort, bool) {
	inside, ok := t.forwards[endpoint{protocol, netip.AddrPortFrom(netip.Addr{}, port)}]
	return inside, ok
}

// forwarded finds the external port of a forwarded inside address.
func (t *NAT) forwarded(src endpoint) (netip.AddrPort, bool) {
	for out, inside := range t.forwards {
		if out.protocol == src.protocol && inside == src.addr {
			return netip.AddrPortFrom(t.external, out.addr.Port()), true
		}
	}
	return netip.AddrPort{}, false
}

// translate finds or makes the mapping of a flow and returns the source that the outside sees.
func (t *NAT) translate(src endpoint, dst netip.AddrPort, now time.Time) (netip.AddrPort, bool) {
	if fixed, ok := t.forwarded(src); ok {
		return fixed, true
	}
	key := flow{src: src}
	if t.opts.PerDestination {
		key.dst = dst
	}
	m := t.out[key]
	if m != nil && t.expired(src.protocol, m, now) {
		t.forget(key, m)
		m = nil
	}
	if m == nil {
		outside, ok := t.n.port(t.external, func(ap netip.AddrPort) bool {
			_, fixed := t.forward(src.protocol, ap.Port())
			return !fixed && t.in[endpoint{src.protocol, ap}] == nil
		})
		if !ok {
			return netip.AddrPort{}, false
		}
		m = &mapping{inside: src.addr, outside: outside, sent: map[netip.AddrPort]time.Time{}}
		t.out[key] = m
		t.in[endpoint{src.protocol, outside}] = m
	}
	m.last = now
	m.sent[dst] = now
	return m.outside, true
}

func (t *NAT) expired(protocol string, m *mapping, now time.Time) bool {
	return protocol == "udp" && t.opts.UDPTimeout > 0 && now.Sub(m.last) >= t.opts.UDPTimeout
}

func (t *NAT) forget(key flow, m *mapping) {
	delete(t.out, key)
	delete(t.in, endpoint{key.src.protocol, m.outside})
}

// leave translates the source of a packet; false when its destination cannot be reached from there.
func (s *nats) leave(protocol string, src, dst netip.AddrPort, now time.Time) (netip.AddrPort, bool) {
	own, other := s.behind[src.Addr()], s.behind[dst.Addr()]
	switch {
	case other != nil && other != own:
		return src, false
	case own == nil || own == other:
		return src, true
	}
	return own.translate(endpoint{protocol, src}, dst, now)
}

// enter translates the destination of a packet; false when a NAT there lets it not in.
func (s *nats) enter(protocol string, src, dst netip.AddrPort, now time.Time) (netip.AddrPort, bool) {
	t := s.outside[dst.Addr()]
	if t == nil {
		return dst, true
	}
	if inside, ok := t.forward(protocol, dst.Port()); ok {
		return inside, true
	}
	m := t.in[endpoint{protocol, dst}]
	if m == nil || t.expired(protocol, m, now) {
		return dst, false
	}
	if _, known := m.sent[src]; !known && !t.opts.AcceptAll {
		return dst, false
	}
	return m.inside, true
}

// hostAt says whose host a destination is, without touching anything.
func (s *nats) hostAt(protocol string, dst netip.AddrPort) netip.AddrPort {
	t := s.outside[dst.Addr()]
	if t == nil {
		return dst
	}
	if inside, ok := t.forward(protocol, dst.Port()); ok {
		return inside
	}
	if m := t.in[endpoint{protocol, dst}]; m != nil {
		return m.inside
	}
	return dst
}

// connect translates the source of a new stream and returns the gate of the NATs on its way.
func (s *nats) connect(src, dst netip.AddrPort) (netip.AddrPort, gate, bool) {
	now := time.Now()
	seen, ok := s.leave("tcp", src, dst, now)
	if !ok {
		return seen, gate{}, false
	}
	g := gate{used: now}
	for _, t := range []*NAT{s.behind[src.Addr()], s.outside[dst.Addr()]} {
		if t != nil && (seen != src || t == s.outside[dst.Addr()]) {
			g.passed = append(g.passed, crossing{t, t.life})
		}
	}
	return seen, g, true
}

// gate is what the NATs on a stream's way remember of it.
type gate struct {
	passed []crossing
	used   time.Time
}

type crossing struct {
	nat  *NAT
	life int
}

// alive says whether the stream still passes, and counts as traffic.
func (l *line) alive() bool {
	now := time.Now()
	for _, x := range l.gate.passed {
		idle := x.nat.opts.TCPTimeout
		if x.nat.life != x.life || idle > 0 && now.Sub(l.gate.used) >= idle {
			l.dead = true
		}
	}
	l.gate.used = now
	return !l.dead
}
