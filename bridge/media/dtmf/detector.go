package dtmf

import (
	"encoding/binary"
	"time"

	"github.com/pion/rtp"
)

const (
	// Quiet is how long nothing may come of an event until it counts as ended: more
	// than three updates of a sender that sends one each 50 ms (RFC 4733 s2.5.2.2).
	Quiet = 300 * time.Millisecond
	// lapse is how long sequence numbers tell what is late: in a pause between keys
	// they run on with the sound, which the detector does not see.
	lapse = 5 * time.Second
	// maxLost is how many segments in a row may be lost of one long event.
	maxLost = 4
)

// Detector finds the keys in the packets of one stream: each once, however many of
// its packets are lost, repeated or out of order, in the order in which they were
// pressed. It belongs to one goroutine at a time.
type Detector struct {
	clocks map[uint8]uint32
	report func(Press)

	known  bool // ssrc and newest are a sender's
	ssrc   uint32
	newest uint16    // sequence number
	at     time.Time // when a packet came last
	event  hearing
}

// hearing is the newest event.
type hearing struct {
	known  bool
	told   bool // reported, perhaps because nothing came any more
	over   bool // an end came
	event  Event
	clock  uint32
	stamp  uint32 // of the newest segment
	length uint16 // of that segment, the longest that was told
	before uint64 // units of the segments before
	past   uint32 // stamp of the event before, if parted
	parted bool
}

// NewDetector makes a detector for the payload types of clocks, which are in Hz;
// packets of other types and events other than keys mean nothing to it. report gets
// each key when it went up, or when the next one went down without that.
func NewDetector(clocks map[uint8]uint32, report func(Press)) *Detector {
	d := &Detector{clocks: make(map[uint8]uint32, len(clocks)), report: report}
	for t, hz := range clocks {
		d.clocks[t] = hz
	}
	return d
}

// Packet takes a packet that came at a time.
func (d *Detector) Packet(h *rtp.Header, payload []byte, at time.Time) {
	clock := d.clocks[h.PayloadType]
	if clock == 0 {
		return
	}
	late := false
	if !d.known || h.SSRC != d.ssrc {
		d.end() // the sender is another one now
		d.known, d.ssrc, d.event = true, h.SSRC, hearing{}
	} else {
		ahead := int16(h.SequenceNumber - d.newest) //nolint:gosec // serial number arithmetic, RFC 1982
		late = ahead < 0 && at.Sub(d.at) < lapse
	}
	if !late {
		d.newest = h.SequenceNumber
	}
	d.at = at
	// Several events in one packet follow each other without a gap; the marker says
	// that one of them begins, and not which (s2.5.1.5).
	stamp, marker := h.Timestamp, h.Marker && len(payload) < 2*PayloadSize
	for ; len(payload) >= PayloadSize; payload = payload[PayloadSize:] {
		r := update{event: Event(payload[0]), end: payload[1]&endBit != 0, length: binary.BigEndian.Uint16(payload[2:]),
			stamp: stamp, clock: clock, marker: marker, late: late}
		if r.event.Valid() && !r.empty() {
			d.take(r)
		}
		stamp += uint32(r.length)
	}
}

// update is what a packet says of an event.
type update struct {
	event  Event
	end    bool
	length uint16
	stamp  uint32
	clock  uint32
	marker bool
	late   bool // a later packet came before
}

// empty says that an update tells nothing: no key lasts until further notice, as states
// do (s2.3.5). Some senders begin keys so, or end them.
func (r update) empty() bool { return r.length == 0 && !r.marker && !r.end }

func (d *Detector) take(r update) {
	e := &d.event
	switch {
	case e.known && r.stamp == e.stamp:
		if r.event != e.event || e.over {
			return // repeated
		}
		e.length = max(e.length, r.length)
	case e.known && r.late, e.parted && r.stamp == e.past:
		return // of an event that is over
	case e.continues(r):
		e.before += uint64(r.stamp - e.stamp)
		e.stamp, e.length = r.stamp, r.length
	case e.repeats(r):
		return
	default:
		d.end()
		*e = hearing{known: true, event: r.event, clock: r.clock, stamp: r.stamp, length: r.length, past: e.stamp, parted: e.known}
	}
	if r.end {
		d.end()
		e.over = true
	}
}

// continues says that an update is of a later segment of the event (s2.5.2.3): it begins
// where the one before ended, which may have been short of segment (s2.5.2.3.1), or some
// in between were lost. That holds for an event that was given up as well: what comes of
// it later is no key of its own (s2.5.2.2).
func (e *hearing) continues(r update) bool {
	ahead := r.stamp - e.stamp
	follows := ahead == uint32(e.length) || ahead%segment == 0 && ahead/segment <= maxLost
	return e.known && !e.over && r.event == e.event && !r.marker && follows
}

// repeats says that an update is of an earlier segment of the event: its end is repeated
// beside the updates of the next one (s2.5.1.4).
func (e *hearing) repeats(r update) bool {
	return e.known && r.event == e.event && !r.marker && uint64(e.stamp-r.stamp) <= e.before
}

// Expire ends an event of which nothing came for Quiet: all of its ends were lost.
func (d *Detector) Expire(now time.Time) {
	if now.Sub(d.at) >= Quiet {
		d.end()
	}
}

// Open says that a key is down, as far as the packets tell. As long as it is, Expire
// must be called.
func (d *Detector) Open() bool { return d.event.known && !d.event.told }

// end reports the newest event, if it was not.
func (d *Detector) end() {
	if !d.Open() {
		return
	}
	d.event.told = true
	length, clock := d.event.before+uint64(d.event.length), uint64(d.event.clock)
	d.report(Press{d.event.event, time.Duration(length/clock)*time.Second + time.Duration(length%clock)*time.Second/time.Duration(clock)}) //nolint:gosec // so that nothing overflows
}
