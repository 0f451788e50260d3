package relay

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/pion/rtp"
)

// channel is one of the two sockets of a pair.
type channel uint8

const (
	rtpChannel channel = iota
	rtcpChannel
)

// packet is what the rules need of an RTP header.
type packet struct {
	ssrc        uint32
	timestamp   uint32
	sequence    uint16
	payloadType uint8
}

// pastSilence is how long a past sender must be silent to be forgotten: longer than
// pauses of speech, in which something is sent every few seconds.
const pastSilence = 5 * time.Second

// receiver holds the rules and counters of what comes from one stream's far
// end. It belongs to one goroutine at a time: the engine sees to that.
type receiver struct {
	remote  Remote
	types   payloadTypes
	clocks  [128]uint32 // Hz by payload type; 0: unknown to signalling
	rtp     latch
	rtcp    latch
	past    []pastSender
	senders senders
	secure  opener
	header  rtp.Header
	tap     *tap // nil: nobody listens
	seq     sequence
	reports reports
	sound   sound
	paused  bool // the next gap is none: hold, or the time before the answer
	stats   Stats

	withheld withheld
}

// pastSender is one of a call that used the port before.
type pastSender struct {
	Sender
	heard time.Time // last; the opening counts
}

// newReceiver makes one for a port that past used last, and older before.
func newReceiver(past Sender, now time.Time, older ...Sender) *receiver {
	r := &receiver{types: newPayloadTypes(nil), reports: reports{told: new(told)}}
	for _, s := range append([]Sender{past}, older...) {
		if s.Source.IsValid() {
			r.past = append(r.past, pastSender{s, now})
		}
	}
	return r
}

// setRemote takes over what signalling said. Each time it opens the latches, unless
// there is nowhere to send to: who takes a line up again may come from elsewhere.
func (r *receiver) setRemote(next Remote) {
	next = next.normal()
	r.types = newPayloadTypes(next.PayloadTypes)
	r.clocks = [128]uint32{}
	for t, hz := range next.ClockRates {
		r.clocks[t&0x7f] = hz
	}
	r.rtp.loose, r.rtcp.loose = next.Datagram, next.Datagram
	r.rtp.held, r.rtcp.held = next.SendsNothing, next.SendsNothing
	if !next.Disabled() && !next.muted() {
		r.rtp = r.rtp.signalled(next.RTP, next.Signalling)
		r.rtcp = r.rtcp.signalled(next.RTCP, next.Signalling)
	}
	r.secure = r.secure.with(next)
	r.paused = r.paused || next.silent() || r.remote.silent()
	next.PayloadTypes, next.ClockRates, next.Secure = nil, nil, nil
	next.EventTypes = slices.Clone(next.EventTypes)
	r.remote = next
}

func (r *receiver) answer() {
	r.rtp.answered, r.rtcp.answered = true, true
	r.paused = true
}

// targets are where RTP and RTCP for the far end go; zero: nowhere.
func (r *receiver) targets() (rtp, rtcp netip.AddrPort) {
	if r.remote.Disabled() || r.remote.muted() {
		return
	}
	rtp = r.rtp.target()
	if r.remote.mux() {
		return rtp, rtp
	}
	return rtp, r.rtcp.target()
}

// inbound is one packet as it came from a socket.
type inbound struct {
	pkt  []byte // not kept beyond the next packet
	from netip.AddrPort
	at   time.Time
}

// verdict is what the rules say of one packet.
type verdict struct {
	ok     bool
	pkt    []byte // what goes on, if ok: the packet, or what SRTP held
	rtcp   bool   // what it is
	first  bool   // the first RTP packet or datagram
	taken  bool   // the tap keeps it
	moved  bool   // a latch learned another source: targets changed
	report senderReport
	rtp    packet // its header as it came: sealing may name the sender anew
	reason Reason
}

func refuse(reason Reason) verdict { return verdict{reason: reason} }

// receive judges one packet and counts it.
func (r *receiver) receive(ch channel, in inbound) verdict {
	in.from = plain(in.from)
	pkt, now := in.pkt, in.at
	v := r.judge(ch, in)
	if !v.ok {
		r.refused(ch, in, v.reason)
		return v
	}
	r.stats.Alive = now
	if v.rtcp {
		r.stats.RTCP.add(len(pkt))
		v.report = r.reports.take(v.pkt, now)
		v.report.clock = r.seq.clock
		return v
	}
	if r.rtp.answered && r.stats.FirstAnswered.IsZero() {
		r.stats.FirstAnswered = now
	}
	v.first = r.stats.RTP.Packets == 0
	if v.first {
		r.stats.First = now
	} else if gap := now.Sub(r.stats.Last); gap > r.stats.Gap && r.rtp.answered && !r.paused {
		r.stats.Gap, r.stats.GapAt = gap, r.stats.Last
	}
	r.paused = r.remote.silent()
	r.stats.Last = now
	r.stats.RTP.add(len(pkt))
	if !r.remote.Datagram {
		p := packet{r.header.SSRC, r.header.Timestamp, r.header.SequenceNumber, r.header.PayloadType}
		v.rtp = p
		r.senders.learn(Sender{in.from, p.ssrc})
		r.seq.add(p, r.clock(p.payloadType), now)
		r.sound.take(&r.header, v.pkt, now)
		if r.tap != nil {
			v.taken = r.tap.hear(&r.header, v.pkt, now)
		}
	}
	return v
}

// went notes what became of an accepted packet on its way to a partner.
func (r *receiver) went(partner Stream, v verdict, reason Reason, sent bool) {
	kept := !sent && (reason == Held || reason == Converted)
	if (sent || kept) && !v.rtcp && !r.remote.Datagram {
		r.withheld.take(partner, v.rtp, binary.BigEndian.Uint32(v.pkt[8:]), kept)
	}
}

// refused counts a packet that is not believed, and keeps what explains it best.
func (r *receiver) refused(ch channel, in inbound, reason Reason) {
	r.stats.Rejected[reason]++
	if ssrc, ok := ssrcOf(in.pkt); ok && ch == rtpChannel && reason != PastSender && !r.remote.Datagram {
		r.senders.stranger = Sender{in.from, ssrc}
	}
	switch {
	case reason == WrongSource && ch == rtpChannel:
		r.stats.Stranger = in.from
	case reason == PayloadType:
		r.stats.RefusedType = r.header.PayloadType
	}
}

func (r *receiver) judge(ch channel, in inbound) verdict {
	pkt := in.pkt
	switch {
	case len(pkt) > maxPacket:
		return refuse(TooLong)
	case r.fromPast(ch, in):
		return refuse(PastSender)
	case r.remote.Disabled():
		return refuse(NoRemote)
	}
	v := verdict{ok: true, pkt: pkt}
	v.rtcp = !r.remote.Datagram && (ch == rtcpChannel || r.remote.mux() && looksRTCP(pkt))
	l := &r.rtp
	if ch == rtcpChannel {
		if l = &r.rtcp; r.remote.mux() {
			return refuse(WrongSource)
		}
	}
	from := Sender{Source: in.from}
	if !r.remote.Datagram {
		from.SSRC, _ = ssrcOf(pkt)
	}
	next, ok := l.take(from, in.at)
	authentic := false
	if r.secure.on {
		v.pkt, authentic = r.secure.open(v.rtcp, pkt)
	}
	switch {
	case !ok && !authentic:
		return refuse(WrongSource)
	case r.secure.on && !authentic:
		return refuse(BadAuth)
	}
	if reason, bad := r.malformed(v.rtcp, v.pkt); bad {
		return refuse(reason)
	}
	if !ok && r.isNews(ch, v.rtcp) {
		next = l.moved(from, in.at)
	}
	v.moved = next.source != l.source
	*l = next
	return v
}

// isNews says that an authentic packet is newer than all before it, so that it tells
// where the far end is now. One that is late, or that somebody on its way held back,
// would send what follows to where the far end was, or to that somebody (the same rule
// as that of RFC 9146 s6). RTCP counts where it has a port of its own.
func (r *receiver) isNews(ch channel, rtcp bool) bool {
	if rtcp {
		return ch == rtcpChannel
	}
	return r.seq.isNews(r.header.SSRC, r.header.SequenceNumber)
}

// malformed runs the header checks; it fills r.header for RTP.
func (r *receiver) malformed(rtcp bool, pkt []byte) (Reason, bool) {
	switch {
	case r.remote.Datagram:
		return BadHeader, len(pkt) == 0
	case rtcp:
		return BadHeader, !checkRTCP(pkt)
	case !checkRTP(&r.header, pkt):
		return BadHeader, true
	}
	return PayloadType, !r.types.has(r.header.PayloadType)
}

// fromPast says that the packet is of a call that used the port before (DESIGN s7,
// test M9): same source (of reports, same host) and SSRC, not the address that this
// call's SDP names, and never silent since the port was opened.
func (r *receiver) fromPast(ch channel, in inbound) bool {
	if len(r.past) == 0 {
		return false
	}
	r.past = slices.DeleteFunc(r.past, func(p pastSender) bool { return in.at.Sub(p.heard) > pastSilence })
	named := r.remote.RTP
	if ch == rtcpChannel {
		named = r.remote.RTCP
	}
	ssrc, ok := ssrcOf(in.pkt)
	if !ok || in.from == named {
		return false
	}
	for i, p := range r.past {
		same := in.from == p.Source || ch == rtcpChannel && in.from.Addr() == p.Source.Addr()
		if same && ssrc == p.SSRC {
			r.past[i].heard = in.at
			return true
		}
	}
	return false
}

func (r *receiver) clock(t uint8) uint32 {
	if hz := r.clocks[t&0x7f]; hz > 0 {
		return hz
	}
	return staticClock(t)
}

// snapshot is the counters of what came in.
func (r *receiver) snapshot() Stats {
	s := r.stats
	s.Lost, s.SSRC, s.PayloadType = r.seq.lost(), r.seq.ssrc, r.seq.mainType
	s.Jitter, s.JitterMean = r.seq.jitterTime(), r.seq.jitterMean()
	s.Heard, s.RoundTrip = r.reports.snapshot()
	s.Withheld = r.withheld.total
	s.Sound, s.Source = r.sound.Sound, r.rtp.source
	if r.remote.RTP.IsValid() {
		s.Named = r.remote.RTP
	}
	return s
}
