package sipua

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

var errSocketClosed = errors.New("UDP socket was closed")

// packetListener is one UDP socket: its reader, and the flows to the peers that
// were seen on it. Everything that we send to them leaves from this socket.
type packetListener struct {
	ep    *Endpoint
	conn  net.PacketConn
	local netip.AddrPort
	// Set when the socket is bound to no address: they tell which of ours a packet
	// came to, and say from which one to answer. A socket for both families has both.
	info4 *ipv4.PacketConn
	info6 *ipv6.PacketConn

	mu    sync.Mutex
	peers map[peerKey]*Flow
	once  sync.Once
}

// peerKey is a peer and the address of ours that it uses: a host with several
// addresses answers from the one that was asked.
type peerKey struct {
	remote netip.AddrPort
	local  netip.Addr
}

// ServeUDP takes packets from conn until the endpoint closes, which also closes
// conn. When its owner closes conn before that, the flows over it are gone. After an
// error conn is still the caller's: ErrClosed, or an address that cannot be read.
func (ep *Endpoint) ServeUDP(conn net.PacketConn) error {
	local, err := addrPortOf(conn.LocalAddr())
	if err != nil {
		return err
	}
	l := &packetListener{ep: ep, conn: conn, local: local, peers: make(map[peerKey]*Flow)}
	if local.Addr().IsUnspecified() {
		l.askWhere()
	}
	if !ep.launch(l.read, func() { ep.packets = append(ep.packets, l) }) {
		return ErrClosed
	}
	return nil
}

// askWhere turns on IP_PKTINFO: a socket bound to 0.0.0.0 must answer from the
// address that was asked.
func (l *packetListener) askWhere() {
	c, ok := l.conn.(*net.UDPConn)
	if !ok {
		return
	}
	p4, p6 := ipv4.NewPacketConn(c), ipv6.NewPacketConn(c)
	switch {
	case l.local.Addr().Is4():
		if p4.SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true) == nil {
			l.info4 = p4
		}
	case p6.SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true) == nil:
		l.info4, l.info6 = p4, p6
	}
}

func (l *packetListener) close() {
	l.once.Do(func() {
		if err := l.conn.Close(); err != nil {
			l.ep.log.Debug("close UDP socket", "local", l.local, "error", err)
		}
	})
}

// gone forgets a socket that its owner has closed.
func (l *packetListener) gone() {
	ep := l.ep
	ep.mu.Lock()
	ep.packets = slices.DeleteFunc(slices.Clone(ep.packets), func(other *packetListener) bool { return other == l }) // Close may hold the old ones
	ep.mu.Unlock()
	l.mu.Lock()
	peers := slices.Collect(maps.Values(l.peers))
	l.mu.Unlock()
	for _, f := range peers {
		f.Shut(errSocketClosed)
	}
}

func (l *packetListener) read() {
	buf := make([]byte, maxMessage)
	for {
		n, src, at, err := l.readFrom(buf)
		if err != nil {
			if l.ep.isClosed() {
				return
			}
			if errors.Is(err, net.ErrClosed) {
				l.gone()
				return
			}
			// An ICMP error of an earlier packet, or a passing lack of memory:
			// the socket still works.
			l.ep.log.Warn("read UDP", "local", l.local, "error", err)
			select {
			case <-l.ep.closed:
				return
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		l.take(buf[:n], src, at)
	}
}

func (l *packetListener) readFrom(buf []byte) (n int, src, at netip.AddrPort, err error) {
	at = l.local
	var from net.Addr
	switch {
	case l.info6 != nil:
		var cm *ipv6.ControlMessage
		if n, cm, from, err = l.info6.ReadFrom(buf); cm != nil {
			at = atPort(cm.Dst, l.local.Port())
		}
	case l.info4 != nil:
		var cm *ipv4.ControlMessage
		if n, cm, from, err = l.info4.ReadFrom(buf); cm != nil {
			at = atPort(cm.Dst, l.local.Port())
		}
	default:
		n, from, err = l.conn.ReadFrom(buf)
	}
	if err != nil {
		return 0, src, at, err
	}
	src, err = addrPortOf(from)
	return n, src, at, err
}

func atPort(ip net.IP, port uint16) netip.AddrPort {
	addr, ok := netip.AddrFromSlice(ip)
	if !ok {
		addr = netip.IPv4Unspecified()
	}
	return netip.AddrPortFrom(addr.Unmap(), port)
}

// take handles one datagram. Only what looks like a SIP message makes a flow:
// empty lines and noise are signs of life of a known peer at most.
func (l *packetListener) take(data []byte, src, at netip.AddrPort) {
	if !looksLikeSIP(data) {
		if f := l.known(src, at.Addr()); f != nil {
			f.touch()
		}
		return
	}
	f := l.flow(src, at.Addr())
	f.touch()
	l.ep.receive(f, cutDatagram(data))
}

// looksLikeSIP is the cheap test before anything is kept for a datagram: a
// method or "SIP/2.0" at its beginning.
func looksLikeSIP(data []byte) bool {
	for len(data) > 0 && (data[0] == '\r' || data[0] == '\n') {
		data = data[1:]
	}
	if len(data) < 20 {
		return false
	}
	return isToken(string(data[:1]))
}

func (l *packetListener) known(src netip.AddrPort, at netip.Addr) *Flow {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peers[peerKey{src, at}]
}

// flow finds or makes the flow to a peer; at is the address of ours that the
// peer wrote to, if known.
func (l *packetListener) flow(remote netip.AddrPort, at netip.Addr) *Flow {
	if !l.local.Addr().IsUnspecified() {
		at = l.local.Addr()
	} else if !at.IsValid() || at.IsUnspecified() {
		at = outgoingAddr(remote)
	}
	key := peerKey{remote, at}
	l.mu.Lock()
	if f := l.peers[key]; f != nil {
		l.mu.Unlock()
		return f
	}
	f := newFlow(l.ep, UDP, netip.AddrPortFrom(at, l.local.Port()), remote)
	f.wire = &packetWire{l: l, f: f, key: key}
	victim := l.crowded()
	l.peers[key] = f
	l.ep.flows.add(f)
	l.mu.Unlock()
	if victim != nil {
		victim.Shut(errTooManyConns)
	}
	return f
}

// crowded picks who must go when there are too many peers (a flood of forged
// sources must not eat the memory): of a sample of those that nothing needs, the
// stranger that was silent longest, or else whoever was.
func (l *packetListener) crowded() *Flow {
	limit := l.ep.limits.UDPPeers
	if limit < 0 || len(l.peers) < limit {
		return nil
	}
	const sample, look = 32, 512
	now := int64(l.ep.since())
	var oldest *Flow
	seen, looked := 0, 0
	for _, f := range l.peers { // in random order
		if looked++; looked > look || seen >= sample {
			break
		}
		if f.held.Load() > 0 || f.pinned.Load() > now {
			continue
		}
		seen++
		if oldest == nil || worse(f, oldest) {
			oldest = f
		}
	}
	return oldest
}

// worse says that f should go before g.
func worse(f, g *Flow) bool {
	if f.Authenticated() != g.Authenticated() {
		return g.Authenticated()
	}
	return f.lastSeen.Load() < g.lastSeen.Load()
}

// packetWire sends to one peer of a packetListener. A UDP write does not wait
// for the peer.
type packetWire struct {
	l   *packetListener
	f   *Flow
	key peerKey
}

func (w *packetWire) send(data []byte) error {
	l := w.l
	to := net.UDPAddrFromAddrPort(w.f.remote)
	from := w.f.local.Addr()
	var err error
	switch {
	case from.IsUnspecified():
		_, err = l.conn.WriteTo(data, to)
	case from.Is4() && l.info4 != nil:
		_, err = l.info4.WriteTo(data, &ipv4.ControlMessage{Src: from.AsSlice()}, to)
	case from.Is6() && l.info6 != nil:
		_, err = l.info6.WriteTo(data, &ipv6.ControlMessage{Src: from.AsSlice()}, to)
	default:
		_, err = l.conn.WriteTo(data, to)
	}
	if err != nil && !errors.Is(err, net.ErrClosed) {
		// The packet is lost, as any packet may be; the transaction's timers
		// decide. An ICMP "port unreachable" of an earlier one shows up here.
		l.ep.log.Debug("write UDP", "remote", w.f.remote, "error", err)
		return nil
	}
	return err
}

func (w *packetWire) shut() {
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	if w.l.peers[w.key] == w.f {
		delete(w.l.peers, w.key)
	}
}

// packetListenerFor finds the socket from which to write to somebody who has not
// written to us; nil if none fits. On a host with several addresses it is the first that
// is bound to where the system would write from, or to no address: the peer may have no
// way back to the others.
func (ep *Endpoint) packetListenerFor(remote netip.AddrPort) *packetListener {
	fit := ep.packetListenersTo(remote.Addr())
	switch len(fit) {
	case 0:
		return nil
	case 1:
		return fit[0]
	}
	from := outgoingAddr(remote)
	for _, l := range fit {
		// Not "[::]" for IPv4, which another socket has then.
		if a := l.local.Addr(); a == from || a.IsUnspecified() && a.Is4() == remote.Addr().Is4() {
			return l
		}
	}
	return fit[0]
}

// packetListenersTo are the sockets that can write to an address at all.
func (ep *Endpoint) packetListenersTo(remote netip.Addr) []*packetListener {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	var fit []*packetListener
	for _, l := range ep.packets {
		a := l.local.Addr()
		if a.Is4() != remote.Is4() && a != netip.IPv6Unspecified() || a.IsLoopback() && !remote.IsLoopback() {
			continue
		}
		fit = append(fit, l)
	}
	return fit
}

// outgoingAddr is the address of ours from which the system would write to
// remote. No packet is sent.
func outgoingAddr(remote netip.AddrPort) netip.Addr {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(remote))
	if err != nil {
		return netip.IPv4Unspecified()
	}
	defer c.Close() //nolint:errcheck // nothing was written
	a, err := addrPortOf(c.LocalAddr())
	if err != nil {
		return netip.IPv4Unspecified()
	}
	return a.Addr()
}

// addrPortOf reads the address types of package net, IPv4 unmapped.
func addrPortOf(a net.Addr) (netip.AddrPort, error) {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.UDPAddr:
		ap = a.AddrPort()
	case *net.TCPAddr:
		ap = a.AddrPort()
	default:
		var err error
		if ap, err = netip.ParseAddrPort(a.String()); err != nil {
			return ap, fmt.Errorf("address %q: %w", a, err)
		}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
}
