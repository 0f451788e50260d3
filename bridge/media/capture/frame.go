package capture

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

const (
	ethHeader  = 14
	ipv4Header = 20
	ipv6Header = 40
	udpHeader  = 8
	// maxPayload is the longest UDP payload in an IPv4 packet.
	maxPayload = 65535 - ipv4Header - udpHeader
)

// syslog is where comments stand: nobody's traffic.
var syslog = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 514) //nolint:gochecknoglobals // never written

// headerLen is the length of an RTP header with its extension (RFC 3550 s5.1, 5.3.1);
// 0 for what is no RTP.
func headerLen(pkt []byte) int {
	if len(pkt) < 12 || pkt[0]>>6 != 2 {
		return 0
	}
	n := 12 + 4*int(pkt[0]&0x0f)
	if pkt[0]&0x10 != 0 && len(pkt) >= n+4 {
		n += 4 + 4*int(binary.BigEndian.Uint16(pkt[n+2:]))
	}
	return min(n, len(pkt))
}

// framer puts UDP, IP and Ethernet around payloads. Ethernet has no addresses, as on a
// loopback interface; libpcap reads a file with several interfaces only if the number
// of their link type is the same on all systems, which that of bare IP is not.
type framer struct{ buf gopacket.SerializeBuffer }

// frame is the frame of an item, of whose payload only a beginning may be there,
// and the length of the whole. The frame is valid until the next call.
func (f *framer) frame(it *item, payload []byte) (frame []byte, length int, err error) {
	from, to := plain(it.from), plain(it.to)
	udp := &layers.UDP{SrcPort: layers.UDPPort(from.Port()), DstPort: layers.UDPPort(to.Port()), Length: uint16(udpHeader + it.length)} //nolint:gosec // at most maxPayload
	src, dst := net.IP(from.Addr().AsSlice()), net.IP(to.Addr().AsSlice())
	eth := &layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: make(net.HardwareAddr, 6), EthernetType: layers.EthernetTypeIPv4}
	var ip interface {
		gopacket.SerializableLayer
		gopacket.NetworkLayer
	}
	if from.Addr().Is4() && to.Addr().Is4() {
		length = ipv4Header + udpHeader + it.length
		ip = &layers.IPv4{Version: 4, IHL: ipv4Header / 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolUDP, SrcIP: src, DstIP: dst, Length: uint16(length)} //nolint:gosec // at most maxPayload
	} else {
		length = ipv6Header + udpHeader + it.length
		eth.EthernetType = layers.EthernetTypeIPv6
		ip = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: src.To16(), DstIP: dst.To16(), Length: udp.Length}
	}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, 0, fmt.Errorf("frame: %w", err)
	}
	if f.buf == nil {
		f.buf = gopacket.NewSerializeBuffer()
	}
	if err := gopacket.SerializeLayers(f.buf, gopacket.SerializeOptions{ComputeChecksums: true}, eth, ip, udp, gopacket.Payload(payload)); err != nil {
		return nil, 0, fmt.Errorf("frame: %w", err)
	}
	length += ethHeader
	return f.buf.Bytes()[:length-it.length+len(payload)], length, nil // without the padding of Ethernet
}

// plain is an address as IPv4 where it is one, without zone, and never none.
func plain(a netip.AddrPort) netip.AddrPort {
	addr := a.Addr().Unmap().WithZone("")
	if !addr.IsValid() {
		addr = netip.IPv4Unspecified()
	}
	return netip.AddrPortFrom(addr, a.Port())
}
