package relay

import (
	"encoding/binary"
	"math/rand/v2"
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
// sockets and under its keys. The insertions of a stream share one sequence,
// and one SSRC until their clock changes; their timestamps follow the clock. Several may be open at once. Methods
// may be called from any goroutine but the engine's own.
type Insertion struct {
	voice *voice
	emit  func([]byte) (Reason, bool) // sends from the stream; called under voice.mu
	hold  bool
	base  uint32 // timestamp of the beginning
	ended bool   // by voice.mu
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
	ssrc := v.ssrc.Load()
	v.packet[0], v.packet[1] = 2<<6, f.PayloadType&0x7f
	if f.Marker || ssrc != v.last {
		v.packet[1] |= markerBit // a name that nobody heard of begins a talk spurt
	}
	binary.BigEndian.PutUint16(v.packet[2:], v.sequence)
	binary.BigEndian.PutUint32(v.packet[4:], i.base+f.Timestamp)
	binary.BigEndian.PutUint32(v.packet[8:], ssrc)
	n := rtpFixed + copy(v.packet[rtpFixed:], f.Payload)
	reason, sent := i.emit(v.packet[:n])
	if sent || reason != NoDestination {
		v.sequence++ // SRTP may have used the number up (RFC 3711 s9.1)
	}
	if !sent {
		return false
	}
	v.last = ssrc
	v.inserted.Add(1)
	return true
}

// End ends the insertion; when it returns, its last packet has left. The next RTP
// packet that is relayed to the far end has the marker bit. Idempotent.
func (i *Insertion) End() {
	v := i.voice
	v.mu.Lock()
	defer v.mu.Unlock()
	if i.ended {
		return
	}
	i.ended = true
	v.handOver.Store(true)
	if i.hold {
		v.held.Add(-1)
	}
}

// markerBit is RTP's marker in the second octet (RFC 3550 s5.1).
const markerBit = 0x80

// voice is what one stream itself says to its far end. A stream has none until
// something is inserted.
type voice struct {
	mu       sync.Mutex // one packet at a time; who closes the sockets waits for it
	packet   [rtpFixed + maxFrame]byte
	sequence uint16 // of the next packet
	last     uint32 // SSRC of the last packet; 0 before the first
	origin   time.Time
	offset   uint32 // timestamp of origin

	inserted atomic.Uint64 // packets
	clock    atomic.Uint32 // of the newest insertion, in Hz; 0 before the first

	// What the senders of relayed packets look at: no lock there.
	ssrc     atomic.Uint32 // never 0
	held     atomic.Int32  // insertions that hold relayed packets off
	handOver atomic.Bool   // the next relayed packet is the first after an insertion
}

// newVoice is a voice whose SSRC is not the far end's.
func newVoice(theirs uint32, now time.Time) *voice {
	v := &voice{sequence: uint16(rand.Uint32()), origin: now, offset: rand.Uint32()} //nolint:gosec // RFC 3550 s5.1 wants them random, no secret
	v.rename(theirs)
	return v
}

// rename chooses an SSRC that is not the other's.
func (v *voice) rename(other uint32) {
	for {
		if ssrc := rand.Uint32(); ssrc != 0 && ssrc != other && ssrc != v.ssrc.Load() {
			v.ssrc.Store(ssrc)
			return
		}
	}
}

// begin opens an insertion at now.
func (v *voice) begin(o Insert, now time.Time, emit func([]byte) (Reason, bool)) *Insertion {
	clock := o.Clock
	if clock == 0 {
		clock = defaultClock
	}
	if old := v.clock.Swap(clock); old != 0 && old != clock {
		v.rename(v.ssrc.Load()) // one SSRC has one clock (RFC 3550 s5.2)
	}
	if o.Hold {
		v.held.Add(1)
	}
	// Elapsed time first in whole seconds, so that no product overflows.
	passed := now.Sub(v.origin)
	units := uint64(passed/time.Second)*uint64(clock) + uint64(passed%time.Second)*uint64(clock)/uint64(time.Second) //nolint:gosec // time goes on
	return &Insertion{voice: v, emit: emit, hold: o.Hold, base: v.offset + uint32(units)}                            //nolint:gosec // timestamps wrap (RFC 3550 s5.1)
}

// passes says whether a relayed packet may go to the far end, and marks the first
// one after an insertion. An SSRC that is ours becomes the relayed sender's: we take
// another (RFC 3550 s8.2).
func (v *voice) passes(pkt []byte) bool {
	if len(pkt) < rtpFixed {
		return true // no RTP
	}
	if ssrc := binary.BigEndian.Uint32(pkt[8:]); ssrc == v.ssrc.Load() {
		v.rename(ssrc)
	}
	if v.held.Load() > 0 {
		return false
	}
	if v.handOver.Load() && v.handOver.CompareAndSwap(true, false) {
		pkt[1] |= markerBit
	}
	return true
}

// rest waits until nothing is being sent.
func (v *voice) rest() {
	v.mu.Lock()
	v.mu.Unlock() //nolint:staticcheck // nothing to do but wait
}
