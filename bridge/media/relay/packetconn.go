package relay

import (
	"fmt"
	"net"
	"net/netip"
)

// addrPortConn is what *net.UDPConn offers beside net.PacketConn: addresses
// that need no allocation.
type addrPortConn interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
}

// target is where packets go, in both forms of an address, so that no packet
// has to convert it.
type target struct {
	at   netip.AddrPort
	addr *net.UDPAddr
}

// newTarget is nil for the zero address: nowhere.
func newTarget(at netip.AddrPort) *target {
	if !at.IsValid() {
		return nil
	}
	return &target{at: at, addr: net.UDPAddrFromAddrPort(at)}
}

// socket reads and writes packets with netip addresses over any
// net.PacketConn, without allocation where the connection allows it.
type socket struct {
	conn net.PacketConn
	fast addrPortConn // nil: conn knows net.Addr only
}

func newSocket(conn net.PacketConn) socket {
	fast, _ := conn.(addrPortConn) // not having it is fine
	return socket{conn: conn, fast: fast}
}

func (s socket) read(b []byte) (int, netip.AddrPort, error) {
	if s.fast != nil {
		return s.fast.ReadFromUDPAddrPort(b)
	}
	n, from, err := s.conn.ReadFrom(b)
	if err != nil {
		return n, netip.AddrPort{}, err
	}
	if u, ok := from.(interface{ AddrPort() netip.AddrPort }); ok {
		return n, u.AddrPort(), nil
	}
	at, err := netip.ParseAddrPort(from.String())
	if err != nil {
		at = netip.AddrPort{} // a source that cannot be named is a stranger: its packet is refused
	}
	return n, at, nil
}

func (s socket) write(b []byte, to *target) error {
	var err error
	if s.fast != nil {
		_, err = s.fast.WriteToUDPAddrPort(b, to.at)
	} else {
		_, err = s.conn.WriteTo(b, to.addr)
	}
	if err != nil {
		return fmt.Errorf("send to %s: %w", to.at, err)
	}
	return nil
}
