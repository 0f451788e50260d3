package media

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
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

const (
	// socketBuffer is what is asked for as the receive and the send buffer of a media
	// socket, in octets. Workers that gather packets need room for a few; this is for
	// a process that does not run for a moment. Linux grants twice what is asked, of
	// which a packet takes more than its length (measured: 832 octets for one of G.711,
	// 2,310 for one of 1,212 octets): room for 630 packets of audio, or 227 of video,
	// which is 0.55 s of 4 Mbit/s. Where net.core.rmem_max is the kernel's own 208 KiB
	// it is 0.45 s. What waits longer no phone plays any more.
	socketBuffer = 256 << 10
	// expedited is the traffic class of voice: DSCP EF, 46 (RFC 3246, RFC 4594 s4.1),
	// in the upper six bits of the octet.
	expedited = 46 << 2
)

// ListenPacket implements Network. An unspecified IPv6 address takes no IPv4
// traffic. Packets are marked as voice (DSCP EF); where the system does not allow
// it, they go unmarked.
func (OS) ListenPacket(addr netip.AddrPort) (net.PacketConn, error) {
	network := "udp6"
	if addr.Addr().Unmap().Is4() {
		network, addr = "udp4", netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	if err := errors.Join(conn.SetReadBuffer(socketBuffer), conn.SetWriteBuffer(socketBuffer)); err != nil {
		return nil, errors.Join(fmt.Errorf("socket buffer of %s: %w", addr, err), conn.Close())
	}
	mark(conn, network)
	return conn, nil
}

// mark gives a socket's packets their traffic class. Unmarked ones are heard as well,
// so that a system that forbids it is no error.
func mark(conn net.PacketConn, network string) {
	if network == "udp4" {
		ipv4.NewPacketConn(conn).SetTOS(expedited) //nolint:errcheck // see above
		return
	}
	ipv6.NewPacketConn(conn).SetTrafficClass(expedited) //nolint:errcheck // see above
}
