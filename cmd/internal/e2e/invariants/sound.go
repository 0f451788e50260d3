package invariants

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"wakebridge/sipua/iphone"
	"wakebridge/sipua/softphone"
)

// RuleSound is a promise and no rule of iOS: RTP flows both ways within a second of
// CallKit's didActivate. An app may be there to break it.
const RuleSound iphone.Rule = "sound-in-time"

const (
	// soundOwed is how long a call has to last from its audio on for the promise to hold.
	soundOwed = time.Second
	// activation is how long CallKit takes at most from the fulfilled answer to
	// didActivate.
	activation = 300 * time.Millisecond
)

// Heard is what one end of a call got as RTP.
type Heard struct {
	CallID      string // of its leg
	First, Last time.Time
}

func heardBy(c *softphone.Call) Heard {
	a := c.Audio()
	return Heard{c.CallID(), a.FirstReceived, a.LastReceived}
}

// sounding is the start of a call's audio on a phone.
type sounding struct {
	id uuid.UUID
	// at is when the app had its audio or, of an app that never began it, when it could
	// have had it.
	at    time.Time
	began bool
	until time.Time // of the audio, by hold or the call's end; zero: by neither
	// torn: the phone lost its connection between the INVITE and the second of the
	// promise: it may have another address than the one where its caller sends.
	torn bool
}

// soundings reads a phone's timeline.
func soundings(events []iphone.Event) []*sounding {
	var all []*sounding
	open := make(map[uuid.UUID]*sounding)
	torn := make(map[uuid.UUID]bool) // of the calls with an INVITE
	begin := func(e iphone.Event, at time.Time) {
		s := &sounding{id: e.UUID, at: at, torn: torn[e.UUID]}
		open[e.UUID] = s
		all = append(all, s)
	}
	for _, e := range events {
		s := open[e.UUID]
		switch e.Kind {
		case iphone.InviteReceived:
			torn[e.UUID] = false
		case iphone.Fulfilled:
			begin(e, e.At.Add(activation))
		case iphone.AudioStarted:
			if s == nil || s.began {
				begin(e, e.At)
				s = open[e.UUID]
			}
			s.at, s.began = e.At, true
		case iphone.AudioStopped, iphone.Held, iphone.Ended:
			if s != nil {
				s.until = e.At
				delete(open, e.UUID)
			}
		case iphone.FlowLost, iphone.Suspended, iphone.Killed, iphone.Reinstalled:
			for id := range torn {
				torn[id] = true
			}
			for _, s := range open {
				s.torn = s.torn || e.At.Before(s.at.Add(soundOwed))
			}
		}
	}
	return all
}

// callerSides are what the callers heard, by their Call-ID: those of Placed, and
// phones that call.
func (v *verdict) callerSides(phones []Phone) map[string]Heard {
	all := make(map[string]Heard)
	for _, c := range v.placed {
		all[c.CallID()] = heardBy(c)
	}
	for _, p := range phones {
		for _, h := range p.Heard {
			if v.calls[h.CallID] != nil {
				all[h.CallID] = h
			}
		}
	}
	return all
}

// sound: who answered hears the caller, and is heard, within a second of his audio.
func (v *verdict) sound(p Phone, callers map[string]Heard) {
	if p.Unsure != "" {
		return
	}
	var silent []string
	for _, s := range soundings(p.Events) {
		rec := v.byUUID[s.id.String()]
		if rec == nil || s.torn || s.over(rec.Ended) {
			continue // its own call, for which the callee is asked; or nobody had to hear anything
		}
		if h := p.Heard[s.id]; !h.after(s.at, v.limits.Audio) {
			silent = append(silent, fmt.Sprintf("%s: no sound came within %s of the audio's start at %s (call %s)", p.Name, v.limits.Audio, clock(s.at), s.id))
		}
		switch h, known := callers[rec.CallID]; {
		case !known:
			v.breaks("%s: nobody asked the caller of %s what he heard", p.Name, s.id)
		case !h.after(s.at, v.limits.Audio):
			silent = append(silent, fmt.Sprintf("%s: its caller heard nothing within %s of the audio's start at %s (call %s)", p.Name, v.limits.Audio, clock(s.at), s.id))
		}
	}
	switch {
	case p.Broken.Rule != RuleSound:
		v.broken = append(v.broken, silent...)
	case len(silent) == 0:
		v.breaks("%s: its app kept the rule %s, which it is there to break", p.Name, RuleSound)
	}
}

// over says that the audio, or the call, which ended then, did not last for long enough.
func (s *sounding) over(ended time.Time) bool {
	owed := s.at.Add(soundOwed)
	return ended.Before(owed) || !s.until.IsZero() && s.until.Before(owed)
}

// after says that sound came in time after audio began, and not only before.
func (h Heard) after(began time.Time, within time.Duration) bool {
	return !h.First.IsZero() && h.First.Sub(began) <= within && !h.Last.Before(began)
}
