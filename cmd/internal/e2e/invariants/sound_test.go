package invariants

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"wakebridge/bridge"
	"wakebridge/sipua/iphone"
)

// talk is a call that a phone answers in second 2, with audio from 2.2 to the end in
// second 10; the caller's Call-ID is record's.
type talk struct {
	events []iphone.Event
	phone  Heard
	caller Heard
	ended  float64 // 0: 10
	unsure string
	broken Broken
	deaf   bool // nobody knows what the caller heard
}

func event(kind iphone.Kind, s float64) iphone.Event {
	return iphone.Event{Kind: kind, UUID: uuid.MustParse(id), At: at(s)}
}

// heard is what one end got in those seconds.
func heard(first, last float64) Heard { return Heard{First: at(first), Last: at(last)} }

// check judges the talk.
func (c talk) check() []string {
	r := record()
	r.Result, r.Status, r.Answered = bridge.Answered, 200, at(2)
	r.Attempts[0].Answered = at(2)
	if c.ended > 0 {
		r.Ended = at(c.ended)
	}
	o := New(Limits{Ring: 50 * time.Second})
	o.Recorded(r)
	call := uuid.MustParse(id)
	phone := Phone{Name: "phone", Broken: c.broken, Unsure: c.unsure, Heard: map[uuid.UUID]Heard{call: c.phone},
		Events: append(c.events, iphone.Event{Kind: iphone.Ended, UUID: call, At: r.Ended, Reason: iphone.RemoteEnded})}
	phones := []Phone{phone}
	if !c.deaf { // a phone calls it
		c.caller.CallID = r.CallID
		phones = append(phones, Phone{Name: "caller", Heard: map[uuid.UUID]Heard{uuid.New(): c.caller}})
	}
	return o.Check(nil, phones...)
}

// A call with audio is heard on both sides within a second.
func TestSound(t *testing.T) {
	invited, fulfilled := event(iphone.InviteReceived, 1), event(iphone.Fulfilled, 2)
	began := event(iphone.AudioStarted, 2.2)
	answered := []iphone.Event{invited, fulfilled, began}
	well := heard(2.3, 9.9)
	with := func(more ...iphone.Event) []iphone.Event { return append(answered[:3:3], more...) }
	const deaf, unheard = "no sound came within 1s", "its caller heard nothing within 1s"
	for name, c := range map[string]struct {
		talk talk
		want string
	}{
		"both hear":                {talk{events: answered, phone: well, caller: well}, ""},
		"heard before the audio":   {talk{events: answered, phone: heard(1.5, 9.9), caller: heard(1.5, 9.9)}, ""}, // ringback, or the caller's silence
		"the phone hears late":     {talk{events: answered, phone: heard(3.3, 9.9), caller: well}, deaf},
		"the phone hears in vain":  {talk{events: answered, phone: heard(1.5, 2.1), caller: well}, deaf},
		"the phone hears nothing":  {talk{events: answered, caller: well}, deaf},
		"the caller hears late":    {talk{events: answered, phone: well, caller: heard(3.3, 9.9)}, unheard},
		"the caller hears a tone":  {talk{events: answered, phone: well, caller: heard(1.5, 2)}, unheard},
		"the caller hears nothing": {talk{events: answered, phone: well}, unheard},
		"nobody asks the caller":   {talk{events: answered, phone: well, deaf: true}, "nobody asked the caller"},

		"the app never begins":  {talk{events: []iphone.Event{invited, fulfilled}, phone: well}, unheard},
		"the app begins late":   {talk{events: []iphone.Event{invited, fulfilled, event(iphone.AudioStarted, 5)}, phone: well, caller: heard(5.1, 9.9)}, ""},
		"and is heard too late": {talk{events: []iphone.Event{invited, fulfilled, event(iphone.AudioStarted, 5)}, phone: well, caller: heard(6.1, 9.9)}, unheard},
		"it never gets audio":   {talk{events: []iphone.Event{invited}, phone: well}, ""},

		"the call is over before":      {talk{events: answered, ended: 3.1}, ""},
		"the call is over just behind": {talk{events: answered, ended: 3.3}, deaf},
		"held at once":                 {talk{events: with(event(iphone.Held, 3)), phone: well}, ""},
		"held later":                   {talk{events: with(event(iphone.Held, 4), event(iphone.AudioStopped, 4)), phone: well}, unheard},
		"resumed, and silent": {talk{events: with(event(iphone.Held, 4), event(iphone.AudioStarted, 6)),
			phone: well, caller: heard(2.3, 4)}, unheard},
		"resumed, and heard": {talk{events: with(event(iphone.Held, 4), event(iphone.AudioStarted, 6)), phone: well, caller: well}, ""},

		"its connection goes in the call":    {talk{events: with(iphone.Event{Kind: iphone.FlowLost, At: at(3)}), phone: well}, ""},
		"its connection goes later":          {talk{events: with(iphone.Event{Kind: iphone.FlowLost, At: at(4)}), phone: well}, unheard},
		"its connection goes while it rings": {talk{events: []iphone.Event{invited, {Kind: iphone.FlowLost, At: at(1.5)}, fulfilled, began}, phone: well}, ""},
		"it is invited again":                {talk{events: []iphone.Event{invited, {Kind: iphone.FlowLost, At: at(1.5)}, event(iphone.InviteReceived, 1.8), fulfilled, began}, phone: well}, unheard},
		"its connection goes before":         {talk{events: []iphone.Event{{Kind: iphone.FlowLost, At: at(0.5)}, invited, fulfilled, began}, phone: well}, unheard},
		"datagrams are lost":                 {talk{events: answered, unsure: "lossy"}, ""},

		"broken by design": {talk{events: []iphone.Event{invited, fulfilled}, phone: well, broken: Broken{Rule: RuleSound}}, ""},
		"broken in vain":   {talk{events: answered, phone: well, caller: well, broken: Broken{Rule: RuleSound}}, "kept the rule sound-in-time"},
		"another rule":     {talk{events: answered, phone: well, broken: Broken{Dies: true}}, unheard},
	} {
		check(t, name, c.talk.check(), c.want)
	}
}

// A caller who hears nothing is no excuse for a phone that hears nothing: each is said,
// and nothing else.
func TestSoundOfBoth(t *testing.T) {
	c := talk{events: []iphone.Event{event(iphone.InviteReceived, 1), event(iphone.Fulfilled, 2), event(iphone.AudioStarted, 2.2)}}
	if broken := c.check(); len(broken) != 2 {
		t.Errorf("%q", broken)
	}
}
