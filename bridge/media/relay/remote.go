package relay

import (
	"net/netip"

	"wakebridge/bridge/media/srtp"
)

// Remote is what signalling knows of one stream's far end.
type Remote struct {
	// RTP is the address of the far end's m= line. Not valid or port 0: the
	// line is refused, all packets are. An unspecified address (c=0.0.0.0, the
	// hold of RFC 2543): nothing is sent, the addresses known before stay
	// acceptable. No address but a port (c= has a host name): packets from
	// Signalling are acceptable; without that the line counts as refused.
	RTP netip.AddrPort
	// RTCP is where RTCP goes. Not valid: the port above RTP (RFC 3550 s11).
	// Equal to RTP: RTCP shares the RTP port both ways (RFC 5761).
	RTCP netip.AddrPort
	// Signalling is the address that the far end's signalling comes from. If
	// valid, packets from it are acceptable as well: a phone behind a NAT
	// writes an address into its SDP that nobody can see. Not valid for trunks
	// whose SDP must be right.
	Signalling netip.Addr
	// PayloadTypes are those agreed, 0 to 127. Empty: any that is not RTCP.
	PayloadTypes []uint8
	// EventTypes are the payload types, 0 to 127, that mean telephone events (RFC 4733)
	// in what goes to the far end: their marker stays as their sender set it.
	EventTypes []uint8
	// ClockRates is the RTP clock in Hz by payload type (a=rtpmap), for the
	// jitter. The static types of RFC 3551 s6 are known without it; types of
	// unknown clock have no jitter.
	ClockRates map[uint8]uint32
	// Datagram marks what is no RTP (T.38 over UDPTL): no header checks, and
	// the latch never turns strict.
	Datagram bool
	// Secure are the keys of SRTP, nil for plain RTP. A key that stays the same goes
	// on where it was.
	Secure *Secure
	// Hold says that the far end need not send: it is on hold, or keeps the other end
	// there. What it sends is relayed as ever.
	Hold bool
	// SendsNothing: the far end has said so (a=recvonly, a=inactive). Who comes in its
	// place is not believed.
	SendsNothing bool
}

// Secure are the keys of one stream in both directions.
type Secure struct {
	Theirs srtp.Key // the far end sends with it
	Ours   srtp.Key // we send with it
}

// Disabled says that the m= line carries nothing.
func (r Remote) Disabled() bool {
	return !r.RTP.Addr().IsValid() && !r.Signalling.IsValid() || r.RTP.Port() == 0
}

// muted says that nothing may be sent to the far end for now.
func (r Remote) muted() bool { return !r.Disabled() && r.RTP.Addr().IsUnspecified() }

// silent says that the far end need not send all the time: it is on hold, or receives a
// fax, or the line is refused.
func (r Remote) silent() bool { return r.Hold || r.Datagram || r.Disabled() }

// mux says that RTCP shares the RTP port (RFC 5761).
func (r Remote) mux() bool { return r.RTCP == r.RTP }

// normal is r with plain IPv4 addresses and the RTCP default filled in.
func (r Remote) normal() Remote {
	r.RTP, r.RTCP = plain(r.RTP), plain(r.RTCP)
	r.Signalling = r.Signalling.Unmap().WithZone("")
	if r.RTCP.Port() == 0 && r.RTP.Port() > 0 && r.RTP.Port() < 65535 {
		r.RTCP = netip.AddrPortFrom(r.RTP.Addr(), r.RTP.Port()+1)
	}
	return r
}

// plain undoes the IPv4-in-IPv6 form that dual-stack sockets report.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
