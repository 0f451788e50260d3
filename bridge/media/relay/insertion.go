package relay

import (
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// defaultClock is the RTP clock of telephone sound in Hz (RFC 3551 s4.5.14).
const defaultClock = 8000

// Insert says how packets of ours are inserted.
type Insert struct {
	// Clock is the rate of the frames' timestamps in Hz. Default: 8000.
	Clock uint32
	// Hold holds off the RTP that the partner sends to this far end until End.
	// RTCP passes.
	Hold bool
}

// Frame is one RTP packet of ours, but for what the stream itself knows: SSRC and
// sequence number.
type Frame struct {
	PayloadType uint8 // 0 to 127
	Marker      bool
	// Timestamp counts from the insertion's beginning in units of its clock.
	Timestamp uint32
	Payload   []byte // up to 1400 octets; not kept
}

// maxFrame is the longest payload of a Frame.
const maxFrame = 1400

// Insertion is a time in which packets of ours go to a stream's far end, from its
// sockets and under its keys. The insertions of a stream that have the same clock
// share one SSRC and its sequence numbers, and their timestamps follow the clock; those
// of another clock have an SSRC of their own (RFC 3550 s5.2, RFC 4733 s2.1). Several may
// be open at once. Methods may be called from any goroutine but the engine's own.
type Insertion struct {
	voice  *voice
	source *source
	emit   func([]byte) (Reason, bool) // sends from the stream; called under voice.mu
	hold   bool
	base   uint32 // timestamp of the beginning
	ended  bool   // by voice.mu
}

// Send sends one packet at once, when that is, is the caller's to decide. False: it
// did not go out, because the insertion has ended, the stream is closed, its far end
// has no address yet, or the payload is too long.
func (i *Insertion) Send(f Frame) bool {
	v := i.voice
	v.mu.Lock()
	defer v.mu.Unlock()
	if i.ended || len(f.Payload) > maxFrame {
		return false
	}
	from := i.source
	ssrc := from.ssrc.Load()
	v.packet[0], v.packet[1] = 2<<6, f.PayloadType&0x7f
	// A name that nobody heard of begins a talk spurt, but no event.
	if f.Marker || ssrc != from.last && !v.isEvent(f.PayloadType) {
		v.packet[1] |= markerBit
	}
	binary.BigEndian.PutUint16(v.packet[2:], from.sequence)
	binary.BigEndian.PutUint32(v.packet[4:], i.base+f.Timestamp)
	binary.BigEndian.PutUint32(v.packet[8:], ssrc)
	n := rtpFixed + copy(v.packet[rtpFixed:], f.Payload)
	reason, sent := i.emit(v.packet[:n])
	if sent || reason != NoDestination {
		from.sequence++ // SRTP may have used the number up (RFC 3711 s9.1)
	}
	if !sent {
		return false
	}
	from.last = ssrc
	v.inserted.Add(1)
	return true
}

// End ends the insertion; when it returns, its last packet has left. The next RTP
// packet that is relayed to the far end has the marker bit, unless it is a telephone
// event, whose own marker means something else: then the first one that is none.
// Idempotent.
func (i *Insertion) End() {
	v := i.voice
	v.mu.Lock()
	defer v.mu.Unlock()
	if i.ended {
		return
	}
	i.ended = true
	i.source.open.Add(-1)
	v.handOver.Store(true)
	if i.hold {
		v.held.Add(-1)
	}
}

// markerBit is RTP's marker in the second octet (RFC 3550 s5.1).
const markerBit = 0x80

// source is what a far end takes for one sender: an SSRC, its sequence numbers and its
// clock.
type source struct {
	clock    uint32        // Hz
	ssrc     atomic.Uint32 // never 0
	sequence uint16        // of the next packet; by voice.mu
	last     uint32        // SSRC of the last packet, 0 before the first; by voice.mu
	open     atomic.Int32  // insertions
}

// voice is what one stream itself says to its far end. A stream has none until
// something is inserted.
type voice struct {
	mu     sync.Mutex // one packet at a time; who closes the sockets waits for it
	packet [rtpFixed + maxFrame]byte
	origin time.Time
	offset uint32 // timestamp of origin

	inserted atomic.Uint64 // packets

	// What the senders of relayed packets look at: no lock there.
	sources  atomic.Pointer[[]*source] // one for each clock; replaced by begin, never changed
	events   atomic.Pointer[payloadTypes]
	held     atomic.Int32 // insertions that hold relayed packets off
	handOver atomic.Bool  // the next relayed packet of sound is the first after an insertion
}

func newVoice(now time.Time) *voice {
	v := &voice{origin: now, offset: rand.Uint32()} //nolint:gosec // RFC 3550 s5.1 wants it random, no secret
	v.sources.Store(new([]*source))
	v.knows(nil)
	return v
}

// knows takes over which payload types are telephone events at the far end. Without a
// voice nobody asks.
func (v *voice) knows(eventTypes []uint8) {
	if v != nil {
		events := setOf(eventTypes)
		v.events.Store(&events)
	}
}

func (v *voice) isEvent(payloadType uint8) bool { return v.events.Load().has(payloadType & 0x7f) }

// rename gives a source an SSRC that is not the other's, nor one of ours.
func (v *voice) rename(s *source, other uint32) {
	for {
		ssrc := rand.Uint32() //nolint:gosec // RFC 3550 s5.1 wants it random, no secret
		ours := slices.ContainsFunc(*v.sources.Load(), func(o *source) bool { return o.ssrc.Load() == ssrc })
		if ssrc != 0 && ssrc != other && !ours {
			s.ssrc.Store(ssrc)
			return
		}
	}
}

// source is that of a clock in Hz; a new one has another SSRC than theirs, the far
// end's. It belongs to begin.
func (v *voice) source(clock, theirs uint32) *source {
	all := *v.sources.Load()
	for _, s := range all {
		if s.clock == clock {
			return s
		}
	}
	next := &source{clock: clock, sequence: uint16(rand.Uint32N(1 << 15))} //nolint:gosec // RFC 3550 s5.1 wants it random, no secret; RFC 3711 s3.3.1 below 2^15
	v.rename(next, theirs)
	var kept []*source // those in use: whoever changes the clock again and again gathers none
	for _, s := range all {
		if s.open.Load() > 0 {
			kept = append(kept, s)
		}
	}
	kept = append(kept, next)
	v.sources.Store(&kept)
	return next
}

// begin opens an insertion at now; theirs is the far end's SSRC. One at a time: the
// stream sees to that.
func (v *voice) begin(o Insert, now time.Time, theirs uint32, emit func([]byte) (Reason, bool)) *Insertion {
	clock := cmp.Or(o.Clock, defaultClock)
	from := v.source(clock, theirs)
	from.open.Add(1)
	if o.Hold {
		v.held.Add(1)
	}
	// Elapsed time first in whole seconds, so that no product overflows.
	passed := now.Sub(v.origin)
	units := uint64(passed/time.Second)*uint64(clock) + uint64(passed%time.Second)*uint64(clock)/uint64(time.Second) //nolint:gosec // time goes on
	return &Insertion{voice: v, source: from, emit: emit, hold: o.Hold, base: v.offset + uint32(units)}              //nolint:gosec // timestamps wrap (RFC 3550 s5.1)
}

// passes says whether a relayed packet may go to the far end, and marks the first one
// of sound after an insertion: the marker of a telephone event says that it begins
// (RFC 4733 s2.2.2), which is its sender's to say. An SSRC that is ours becomes the
// relayed sender's: we take another (RFC 3550 s8.2).
func (v *voice) passes(pkt []byte) bool {
	if len(pkt) < rtpFixed {
		return true // no RTP
	}
	ssrc := binary.BigEndian.Uint32(pkt[8:])
	for _, s := range *v.sources.Load() {
		if s.ssrc.Load() == ssrc {
			v.rename(s, ssrc)
		}
	}
	if v.held.Load() > 0 {
		return false
	}
	if v.handOver.Load() && !v.isEvent(pkt[1]) && v.handOver.CompareAndSwap(true, false) {
		pkt[1] |= markerBit
	}
	return true
}

// rest waits until nothing is being sent.
func (v *voice) rest() {
	v.mu.Lock()
	v.mu.Unlock() //nolint:staticcheck // nothing to do but wait
}
