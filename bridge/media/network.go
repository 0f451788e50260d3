package media

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Family is an IP version; one Side's sockets are all of one family.
type Family uint8

// The families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// FamilyOf is the family of an address; IPv4 inside IPv6 counts as IPv4.
func FamilyOf(a netip.Addr) Family {
	if a.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// String is "IPv4" or "IPv6".
func (f Family) String() string {
	switch f {
	case IPv4:
		return "IPv4"
	case IPv6:
		return "IPv6"
	}
	return fmt.Sprintf("Family(%d)", uint8(f))
}

// Network opens packet connections: OS in the binary, an in-memory network in
// tests. Port 0 leaves the choice to it.
type Network interface {
	ListenPacket(addr netip.AddrPort) (net.PacketConn, error)
}

// OS is the operating system's UDP.
type OS struct{}

// readBuffer is the socket buffer in octets: half a second of two video
// streams, so that a short stall of the process loses nothing.
const readBuffer = 256 << 10

// ListenPacket implements Network. An unspecified IPv6 address takes no IPv4
// traffic.
func (OS) ListenPacket(addr netip.AddrPort) (net.PacketConn, error) {
	network := "udp6"
	if addr.Addr().Unmap().Is4() {
		network, addr = "udp4", netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	if err := conn.SetReadBuffer(readBuffer); err != nil {
		return nil, errors.Join(fmt.Errorf("socket buffer of %s: %w", addr, err), conn.Close())
	}
	return conn, nil
}
