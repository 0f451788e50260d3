package relay

import (
	"net/netip"
	"time"
)

// Tap sees the packets that a stream accepts or sends. See runs on the engine's
// goroutines, those of several streams at once: it must return at once, keep no
// part of Data, and not call the stream.
type Tap interface{ See(Seen) }

// Seen is one packet of a stream.
type Seen struct {
	At       time.Time
	From, To netip.AddrPort
	RTCP     bool
	Data     []byte // the UDP payload, until See returns
}

// Tapping says who sees a stream's packets, and how.
type Tapping struct {
	Tap Tap
	// Local is where the far end sends RTP to, as it knows it; RTCP goes to the port
	// above.
	Local netip.AddrPort
	// Plain asks for what SRTP holds, in place of what is on the wire.
	Plain bool
}

// tapped is a Tapping at work.
type tapped struct {
	Tapping
	// wire is what came last on each channel: SRTP is opened in place. It belongs to
	// whoever reads the channel.
	wire [2][]byte
}

// newTapped is nil without a Tap.
func newTapped(t Tapping) *tapped {
	if t.Tap == nil {
		return nil
	}
	x := &tapped{Tapping: t}
	if !t.Plain {
		for ch := range x.wire {
			x.wire[ch] = make([]byte, 0, maxPacket+1)
		}
	}
	return x
}

func (t *tapped) local(ch channel) netip.AddrPort {
	return netip.AddrPortFrom(t.Local.Addr(), t.Local.Port()+uint16(ch))
}

// keep copies a packet before anybody changes it.
func (t *tapped) keep(ch channel, pkt []byte) {
	if !t.Plain {
		t.wire[ch] = append(t.wire[ch][:0], pkt...)
	}
}

// took shows a packet that was accepted.
func (t *tapped) took(ch channel, in inbound, v verdict) {
	pkt := t.wire[ch]
	if t.Plain {
		pkt = v.pkt
	}
	t.Tap.See(Seen{At: in.at, From: plain(in.from), To: t.local(ch), RTCP: v.rtcp, Data: pkt})
}

// outgoing is a packet that was sent.
type outgoing struct {
	via         channel
	to          netip.AddrPort
	rtcp        bool
	plain, wire []byte
}

// sent shows a packet that went out.
func (t *tapped) sent(o outgoing) {
	pkt := o.wire
	if t.Plain {
		pkt = o.plain
	}
	t.Tap.See(Seen{At: time.Now(), From: t.local(o.via), To: plain(o.to), RTCP: o.rtcp, Data: pkt})
}
