package sim

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"

	"wakebridge/sipua"
	"wakebridge/sipua/iphone"
	"wakebridge/sipua/softphone"
)

// network is a phone's way to its server.
func (o PhoneOptions) network(server sipua.Destination) (iphone.Network, error) {
	secure, err := o.Account.tls()
	if err != nil {
		return iphone.Network{}, err
	}
	at := &place{all: o.Bind}
	return iphone.Network{
		Dial: func(ctx context.Context, t sipua.Transport, to sipua.Destination) (net.Conn, error) {
			d := net.Dialer{LocalAddr: at.tcp()}
			conn, err := d.DialContext(ctx, "tcp", to.Addr.String())
			if err != nil || t != sipua.TLS {
				return conn, err
			}
			return softphone.SecureClient(ctx, conn, secure, to)
		},
		Packet: func() (net.PacketConn, error) { return net.ListenPacket("udp", at.socket(server.Addr.Addr())) },
		Media:  func() (net.PacketConn, error) { return net.ListenPacket("udp", at.socket(server.Addr.Addr())) },
		Roam:   at.roam,
	}, nil
}

// place is where a phone is: one of its addresses.
type place struct {
	all []netip.Addr
	now atomic.Uint32 // how often it moved
}

func (p *place) roam() { p.now.Add(1) }

// addr is the phone's address, invalid if the system chooses.
func (p *place) addr() netip.Addr {
	if len(p.all) == 0 {
		return netip.Addr{}
	}
	return p.all[int(p.now.Load())%len(p.all)]
}

func (p *place) tcp() net.Addr {
	if a := p.addr(); a.IsValid() {
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 0))
	}
	return nil
}

// socket is where UDP sockets are bound: to any port of the phone's address, else of
// all in the server's family; of those for RTP the SDP shows the address of the
// phone's connection then.
func (p *place) socket(server netip.Addr) string {
	a := p.addr()
	switch {
	case a.IsValid():
	case server.Is4():
		a = netip.IPv4Unspecified()
	default:
		a = netip.IPv6Unspecified()
	}
	return netip.AddrPortFrom(a, 0).String()
}
