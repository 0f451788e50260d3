package relay

import (
	"time"

	"github.com/pion/rtp"
)

// Tap listens to what a stream's far end sends. A stream without one pays a single
// comparison for it.
type Tap struct {
	PayloadTypes []uint8 // that it wants to hear, 0 to 127
	// Take keeps those packets from the partner: they count as Converted.
	Take bool
	// Packet gets each of them that was accepted, opened, with the time when it came.
	// It runs on the engine's goroutine: it must return at once, not call the stream,
	// and keep neither header nor payload.
	Packet func(h *rtp.Header, payload []byte, at time.Time)
}

// tap is a Tap as the receiver looks at it.
type tap struct {
	types  payloadTypes
	take   bool
	packet func(h *rtp.Header, payload []byte, at time.Time)
}

// newTap is nil if there is nothing to hear.
func newTap(t *Tap) *tap {
	if t == nil || len(t.PayloadTypes) == 0 {
		return nil
	}
	return &tap{newPayloadTypes(t.PayloadTypes), t.Take, t.Packet}
}

// hear gives a packet, whose header was checked, to the tap; true: it is taken.
func (t *tap) hear(h *rtp.Header, pkt []byte, at time.Time) bool {
	if !t.types.has(h.PayloadType) {
		return false
	}
	end := len(pkt)
	if h.Padding {
		end -= int(pkt[end-1])
	}
	if begin := h.MarshalSize(); begin <= end {
		t.packet(h, pkt[begin:end], at)
	}
	return t.take
}
