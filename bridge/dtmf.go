package bridge

import (
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge/media"
	"wakebridge/bridge/media/dtmf"
	"wakebridge/bridge/sdp"
	"wakebridge/sipua"
	"wakebridge/sipua/leg"
)

// DTMF says as what a key goes to a leg. A leg has telephone events if both its SDP
// and ours for it have them, and takes INFO if its Allow says so or it sent keys by
// INFO in this call.
type DTMF uint8

// The ways.
const (
	// DTMFAuto: as telephone events (RFC 4733) where the leg has them, else by INFO
	// where it takes that. So that a leg has them whose peer has not, they are offered
	// on behalf of a caller that takes INFO, and answered on behalf of a callee that
	// does.
	DTMFAuto DTMF = iota
	// DTMFEvents: as telephone events only; no INFO is ever sent, and descriptions
	// pass as they are.
	DTMFEvents
	// DTMFInfo: by INFO where the leg takes that, else as telephone events. They are
	// answered on behalf of a callee that takes INFO.
	DTMFInfo
)

// DTMFRecord counts the keys of a call that did not simply pass as telephone events.
// Which keys they were is nobody's business: they may be a PIN.
type DTMFRecord struct {
	ToEvents int `json:"info_to_rfc4733,omitempty"`
	ToInfo   int `json:"rfc4733_to_info,omitempty"`
	Relayed  int `json:"info_to_info,omitempty"`
	// Lost could not be told to the other leg: it has no way to take them, refused
	// them, or too many came at once.
	Lost int `json:"lost,omitempty"`
}

// keypads converts the keys of a call's legs. It belongs to the call's goroutine.
type keypads struct {
	m    *callMedia
	mode DTMF
	ends map[*leg.Leg]*keyEnd
}

// keyEnd is what is known of one leg.
type keyEnd struct {
	takesInfo  bool
	said, told *sdp.Description // its SDP that holds, and ours for it
	infos      infoQueue        // keys that it is told by INFO
	refused    bool             // that it refuses them was noted
	twice
}

func newKeypads(m *callMedia, mode DTMF) *keypads {
	return &keypads{m: m, mode: mode, ends: make(map[*leg.Leg]*keyEnd)}
}

func (k *keypads) end(l *leg.Leg) *keyEnd {
	e := k.ends[l]
	if e == nil {
		e = &keyEnd{}
		k.ends[l] = e
	}
	return e
}

// allows notes what a leg's message says that it takes.
func (k *keypads) allows(l *leg.Leg, msg sip.Message) {
	if slices.ContainsFunc(sipua.Tokens(sipua.Values(msg, "Allow")), func(s string) bool { return strings.EqualFold(s, "INFO") }) {
		k.end(l).takesInfo = true
	}
}

// settled notes what a leg and we told each other last.
func (k *keypads) settled(l *leg.Leg, said, told *sdp.Description) {
	e := k.end(l)
	e.said, e.told = said, told
}

// invitation is the caller's offer as a callee gets it: with telephone events that
// INFO to and from the caller stand for.
func (k *keypads) invitation(offer *sdp.Description) *sdp.Description {
	if k.mode == DTMFAuto && k.end(k.m.c.a.Leg).takesInfo {
		return offer.OfferEvents()
	}
	return offer
}

// reoffer is an offer of the other leg as a leg gets it in the call: with the
// telephone events that it has already.
func (k *keypads) reoffer(to *leg.Leg, offer *sdp.Description) *sdp.Description {
	if e := k.end(to); k.mode != DTMFEvents && e.events().ok {
		return offer.WithEvents(e.said)
	}
	return offer
}

// answerOf is the answer of a leg as who offered gets it: without telephone events
// that were not offered, and with those that INFO to the leg stand for.
func (k *keypads) answerOf(l *leg.Leg, offer, answer *sdp.Description) *sdp.Description {
	if k.mode != DTMFEvents && k.end(l).takesInfo {
		answer = answer.WithEvents(offer)
	}
	return answer.WithoutEvents(offer)
}

// eventLine is how a leg does telephone events.
type eventLine struct {
	ok     bool
	stream int
	send   uint8            // payload type for it
	clock  uint32           // of that
	hear   map[uint8]uint32 // what may come from it, with clocks
	takes  func(dtmf.Event) bool
}

// events is how the leg does telephone events: on the first stream where both of us
// have them.
func (e *keyEnd) events() eventLine {
	if e.said == nil || e.told == nil {
		return eventLine{}
	}
	said, told := e.said.Streams(), e.told.Streams()
	for i := range min(len(said), len(told)) {
		theirs, ours := said[i].Events(), told[i].Events()
		if !said[i].Active() || !told[i].Active() || len(theirs) == 0 || len(ours) == 0 {
			continue
		}
		line := eventLine{ok: true, stream: i, hear: ours}
		line.send, line.clock = preferred(theirs, ours)
		line.takes = func(event dtmf.Event) bool { return said[i].TakesEvent(line.send, uint8(event)) }
		for t, hz := range theirs { // an answerer may number them its own way
			if _, known := line.hear[t]; !known {
				line.hear[t] = hz
			}
		}
		return line
	}
	return eventLine{}
}

// preferred is the payload type of theirs to send under: of a clock that ours has as
// well, best that of telephone sound, which everybody has.
func preferred(theirs, ours map[uint8]uint32) (payloadType uint8, clock uint32) {
	rank := func(hz uint32) int {
		both := 0
		for _, o := range ours {
			if o == hz {
				both = 2
			}
		}
		if hz == 8000 {
			return both + 1
		}
		return both
	}
	best := -1
	for t := range uint8(128) { // in order, so that it is always the same
		if hz, ok := theirs[t]; ok && rank(hz) > best {
			payloadType, clock, best = t, hz, rank(hz)
		}
	}
	return payloadType, clock
}

// byInfo says that keys go to a leg by INFO.
func (k *keypads) byInfo(e *keyEnd) bool {
	switch {
	case !e.takesInfo || k.mode == DTMFEvents:
		return false
	case k.mode == DTMFInfo:
		return true
	}
	return !e.events().ok
}

// strays says that the events of a leg are none to the other one: the SDP that came
// with the ringback tone promised them to the caller before a device without them
// answered. Else who offered was told so, and what it sends all the same passes.
func (k *keypads) strays(l, other *leg.Leg) bool {
	return l == k.m.c.a.Leg && k.m.sent != nil && !k.end(other).events().ok
}

// listen hears the events of those legs whose peers take them by INFO or not at
// all, and of those that may tell each key twice. It is called whenever that may have changed.
func (k *keypads) listen() {
	for _, l := range []*leg.Leg{k.m.c.a.Leg, k.m.answerer()} {
		own, other, _, ok := k.m.sides(l)
		if !ok {
			return
		}
		line := k.end(l).events()
		if !line.ok {
			line.hear = nil
		}
		for i := range own.Ports() {
			var keys *media.Keys
			if take := k.byInfo(k.end(other)) || k.strays(l, other); i == line.stream && line.ok && (take || k.end(l).takesInfo) {
				keys = &media.Keys{Clocks: line.hear, Take: take, Began: k.began(k.end(l)), Report: k.reporter(l, take)}
			}
			if err := own.Detect(i, keys); err != nil {
				k.m.c.log.Warn("keys cannot be heard", "error", err)
			}
		}
	}
}

// answerer is the callee's leg, nil while there is none.
func (m *callMedia) answerer() *leg.Leg {
	if b := m.c.winner(); b != nil {
		return b.leg
	}
	return nil
}
