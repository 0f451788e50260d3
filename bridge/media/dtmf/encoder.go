package dtmf

import (
	"encoding/binary"
	"time"
)

const (
	// Interval is the time between two packets of one event: that of the sound which
	// they replace (RFC 4733 s2.5.1.2).
	Interval = 20 * time.Millisecond
	// ends is how often an end is told, as packets get lost (s2.5.1.4).
	ends = 3
	// segment is the longest duration that a packet can tell (s2.5.1.3).
	segment = 0xffff
	// volume is the level of the tone that is meant, in -dBm0 (s2.3.4), about what
	// phones use.
	volume = 10
	// PayloadSize is the length of an event in octets (s2.3).
	PayloadSize = 4
	endBit      = 0x80
)

// Packet is one RTP packet of an event, but for what the stream knows: payload type,
// SSRC and sequence number. Every packet takes a sequence number of its own, the
// repeated ones too (s2.5.1.4).
type Packet struct {
	Marker    bool   // the event begins here (s2.1)
	Timestamp uint32 // when the event, or this segment of it, began
	Payload   [PayloadSize]byte
	// Due is when to send it, counted from the event's beginning.
	Due time.Duration
}

// Encoder makes the packets of one key.
type Encoder struct {
	event   Event
	total   uint64 // units of the clock
	unit    time.Duration
	step    uint64 // units in an Interval
	stamp   uint32 // of the segment
	before  uint64 // units of the segments before
	tick    uint64 // packets so far, but for repeated ones
	repeat  int    // how often the last packet is still to be sent
	last    Packet
	over    bool // the last packet ends the event
	started bool
}

// NewEncoder makes an encoder for a key of 0 to 16 that is down for more than 0 s;
// clock is the rate of the payload type's timestamps in Hz, at least 50, begins the
// timestamp at which the key goes down.
func NewEncoder(p Press, clock, begins uint32) *Encoder {
	total := max(units(p.Duration, clock), 1)
	return &Encoder{event: p.Event, total: total, unit: time.Second / time.Duration(clock), step: units(Interval, clock), stamp: begins}
}

// units is a duration in units of a clock.
func units(d time.Duration, clock uint32) uint64 {
	if d <= 0 {
		return 0
	}
	return uint64(d) * uint64(clock) / uint64(time.Second)
}

// Next is the next packet; false after the last one. The packets come in the order
// of their Due.
func (e *Encoder) Next() (Packet, bool) {
	if e.repeat > 0 {
		e.repeat--
		e.last.Marker = false
		if e.over {
			e.last.Due += Interval
		}
		return e.last, true
	}
	if e.over {
		return Packet{}, false
	}
	elapsed := min((e.tick+1)*e.step, e.total)
	if elapsed-e.before > segment {
		// A long event goes on in a segment with a timestamp of its own and without
		// marker (s2.5.1.3). The end of the old one is repeated at once and not at the
		// interval of updates: no receiver should meet it after the new one began.
		e.make(segment, elapsed)
		e.repeat = ends - 1
		e.stamp += segment
		e.before += segment
		return e.last, true
	}
	e.tick++
	e.make(uint16(elapsed-e.before), elapsed) //nolint:gosec // at most segment
	if elapsed == e.total {
		e.over, e.repeat = true, ends-1
		e.last.Payload[1] |= endBit
	}
	return e.last, true
}

// make fills last.
func (e *Encoder) make(duration uint16, elapsed uint64) {
	e.last = Packet{Marker: !e.started, Timestamp: e.stamp, Due: time.Duration(elapsed) * e.unit} //nolint:gosec // not longer than the event
	e.last.Payload[0], e.last.Payload[1] = byte(e.event), volume
	binary.BigEndian.PutUint16(e.last.Payload[2:], duration)
	e.started = true
}
