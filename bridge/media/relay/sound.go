package relay

import (
	"time"

	"github.com/pion/rtp"
)

// Sound is what a look into one packet per second found. Only G.711 shows silence
// without being decoded; of other codecs nothing is looked at.
type Sound struct {
	Looked uint64 `json:"looked"` // packets that were looked into
	Silent uint64 `json:"silent"` // of those, with nothing but digital silence
}

// soundEvery is how often a packet is looked into.
const soundEvery = time.Second

// Static payload types of G.711 (RFC 3551 s6).
const (
	typePCMU = 0
	typePCMA = 8
)

// sound looks for digital silence: a microphone that is muted, or audio that the
// phone never activated.
type sound struct {
	Sound
	next time.Time
}

// take may look into a packet whose header is h.
func (s *sound) take(h *rtp.Header, pkt []byte, now time.Time) {
	if now.Before(s.next) || h.PayloadType != typePCMU && h.PayloadType != typePCMA {
		return
	}
	payload := pkt[min(h.MarshalSize(), len(pkt)):]
	if h.Padding && len(payload) > 0 {
		payload = payload[:max(0, len(payload)-int(payload[len(payload)-1]))]
	}
	if len(payload) == 0 {
		return
	}
	s.next = now.Add(soundEvery)
	s.Looked++
	if digitalSilence(h.PayloadType, payload) {
		s.Silent++
	}
}

// digitalSilence says that no sample is further from zero than the smallest step,
// which is what dithering adds.
func digitalSilence(t uint8, payload []byte) bool {
	for _, b := range payload {
		if t == typePCMU && b&0x7f < 0x7e || t == typePCMA && (b^0x55)&0x7f > 1 {
			return false
		}
	}
	return true
}
