package relay

import (
	"net/netip"
	"time"
)

// Observer sees the packets that come to a stream or are sent by it. See runs on the
// engine's goroutines, those of several streams at once: it must return at once, keep
// no part of Data, and not call the stream.
type Observer interface{ See(Seen) }

// Seen is one packet of a stream.
type Seen struct {
	At       time.Time
	From, To netip.AddrPort
	RTCP     bool
	Refused  bool // it came and was not believed, for Reason; of SRTP the header is readable, not more
	Reason   Reason
	Data     []byte // the UDP payload, until See returns
}

// Observation says who sees a stream's packets, and how.
type Observation struct {
	By Observer
	// Local is where the far end sends RTP to, as it knows it; RTCP goes to the port
	// above.
	Local netip.AddrPort
	// Plain asks for what SRTP holds, in place of what is on the wire.
	Plain bool
}

// observation is an Observation at work.
type observation struct {
	Observation
	// wire is what came last on each channel: SRTP is opened in place. It belongs to
	// whoever reads the channel.
	wire [2][]byte
}

// newObservation is nil without an Observer.
func newObservation(o Observation) *observation {
	if o.By == nil {
		return nil
	}
	x := &observation{Observation: o}
	if !o.Plain {
		for ch := range x.wire {
			x.wire[ch] = make([]byte, 0, maxPacket+1)
		}
	}
	return x
}

func (o *observation) local(ch channel) netip.AddrPort {
	return netip.AddrPortFrom(o.Local.Addr(), o.Local.Port()+uint16(ch))
}

// keep copies a packet before anybody changes it.
func (o *observation) keep(ch channel, pkt []byte) {
	if !o.Plain {
		o.wire[ch] = append(o.wire[ch][:0], pkt...)
	}
}

// came shows a packet that came.
func (o *observation) came(ch channel, in inbound, v verdict) {
	pkt := in.pkt
	switch {
	case !o.Plain:
		pkt = o.wire[ch]
	case v.ok:
		pkt = v.pkt
	}
	o.By.See(Seen{At: in.at, From: plain(in.from), To: o.local(ch), RTCP: v.rtcp, Refused: !v.ok, Reason: v.reason, Data: pkt})
}

// outgoing is a packet that was sent.
type outgoing struct {
	via         channel
	to          netip.AddrPort
	rtcp        bool
	plain, wire []byte
}

// sent shows a packet that went out.
func (o *observation) sent(out outgoing) {
	pkt := out.wire
	if o.Plain {
		pkt = out.plain
	}
	o.By.See(Seen{At: time.Now(), From: o.local(out.via), To: plain(out.to), RTCP: out.rtcp, Data: pkt})
}

// Observe implements Stream.
func (s *stream) Observe(o Observation) { s.observed.Store(newObservation(o)) }
