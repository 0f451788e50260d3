package rules

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wakebridge/sipua"
)

// world is what surrounds a call's rules: a caller, devices, a push service and a
// clock, each doing at random what it could do in life.
type world struct {
	play
	t       *rapid.T
	caller  callerState
	devices []*device
	flows   sipua.FlowID // the newest
	finals  int
	sounds  int   // SDPs that the caller got before the 200
	before  State // when the newest event came
}

type callerState struct{ gone, answered, confirmed bool }

// device is one attempt as its peer sees it.
type device struct {
	pushes  []bool // under way; true: an alert push
	voip    int    // pushes sent so far
	alert   int
	invites []*invited
	fates   int
	reached bool // an INVITE got a response
	came    bool // it registered after its first push
	flow    sipua.FlowID
}

// invited is an INVITE at its device.
type invited struct {
	flow     sipua.FlowID
	heard    bool
	over     bool // a final response came, or its flow broke
	answered bool
	closed   bool // we cancelled it or said goodbye
}

func (w *world) draw(what string) bool { return rapid.Bool().Draw(w.t, what) }

func (w *world) now() time.Time { return w.play.now }

// happen gives an event to the rules and does what they want.
func (w *world) happen(ev Event) {
	before := w.s
	w.before = before
	var acts []Action
	w.s, acts = w.r.Next(w.s, ev, w.now())
	w.phases(before, ev)
	for _, a := range acts {
		w.act(ev, a)
	}
	w.consistent(ev)
}

func (w *world) fail(ev Event, format string, args ...any) {
	w.t.Helper()
	w.t.Logf("after %s of %d: %s", ev.Kind, ev.Attempt, phasesOf(w.s))
	w.t.Fatalf(format, args...)
}

// phases go forward only, but for waking and ringing.
func (w *world) phases(before State, ev Event) {
	if w.s.Phase < before.Phase && !(before.Phase == ringing && w.s.Phase == waking) {
		w.fail(ev, "the call went from %s to %s", before.Phase, w.s.Phase)
	}
	for i := range before.Attempts {
		comes := ev.Kind == EvRegistered || ev.Kind == EvSameFlow
		if b, a := before.Attempts[i].Phase, w.s.Attempts[i].Phase; b.Over() && a != b && !(b == failed && a == inviting && comes) {
			w.fail(ev, "attempt %d went from %s to %s", i, b, a)
		}
	}
}

func (w *world) act(ev Event, a Action) {
	var d *device
	if a.Attempt >= 0 && a.Attempt < len(w.devices) {
		d = w.devices[a.Attempt]
	}
	switch a.Kind {
	case ActBug:
		w.fail(ev, "it was thought impossible: %s", a.Reason)
	case ActTimer:
		if a.Gen == 0 || a.After < 0 {
			w.fail(ev, "timer without generation or time: %+v", a)
		}
		w.timers = append(w.timers, due{w.now().Add(a.After), Event{Kind: a.Timer.Event(), Attempt: a.Attempt, Gen: a.Gen}})
	case ActPush, ActInvite, ActRing, ActTone, ActEarly:
		if !w.s.Unanswered() && w.s.Phase != Routing && w.finals > 0 {
			w.fail(ev, "%s after the final response", a.words())
		}
		w.reach(ev, d, a)
	case ActCancel, ActBye:
		w.end(ev, d, a)
	case ActAnswer:
		if ev.Kind != EvAnswered || !d.invites[a.Invite].answered || w.s.Winner != a.Attempt || w.s.Answer != a.Invite {
			w.fail(ev, "200 to the caller without a device's 200")
		}
		w.final(ev)
	case ActReject:
		w.final(ev)
	case ActFate:
		if a.Wait && w.s.Unanswered() {
			return // until the end of the waiting, or until the device comes
		}
		d.fates++
		away := w.before.Attempts[a.Attempt].Phase == flowLost // its INVITE went with its flow
		if d.fates > 1 || !away && (d.voip+d.alert == 0 || d.reached) {
			w.fail(ev, "fate %d for a device with %d pushes, reached: %v", d.fates, d.voip+d.alert, d.reached)
		}
	}
}

func (w *world) final(ev Event) {
	if w.finals++; w.finals > 1 {
		w.fail(ev, "%d final responses", w.finals)
	}
	w.caller.answered = w.s.Phase == Answering
}

func (w *world) reach(ev Event, d *device, a Action) {
	switch a.Kind {
	case ActPush:
		d.pushes = append(d.pushes, a.Alert)
		if a.Alert {
			d.alert++
		} else {
			d.voip++
		}
		terms := w.s.Attempts[a.Attempt].Push
		if d.voip > 1 || d.alert > 1 && terms.Repeat == 0 {
			w.fail(ev, "%d VoIP and %d alert pushes", d.voip, d.alert)
		}
		if terms.Suspect && d.voip > 0 && d.alert == 0 {
			w.fail(ev, "a VoIP push first to a suspected device")
		}
		if d.came && d.voip+d.alert > 1 {
			w.fail(ev, "a push to a device that came")
		}
	case ActTone:
		if !w.s.Terms.Tone || w.before.rung || w.sounds > 0 {
			w.fail(ev, "a tone after %d SDPs, rung: %v", w.sounds, w.before.rung)
		}
		w.sounds++
		for i, d := range w.devices {
			for n, in := range d.invites {
				if !in.over && !in.closed {
					w.fail(ev, "a tone while INVITE %d of attempt %d may be answered by more than it says", n, i)
				}
			}
		}
	case ActEarly:
		if w.sounds++; w.sounds > 1 && !w.before.tone || w.s.alive() != 1 {
			w.fail(ev, "early media after %d SDPs, of one of %d", w.sounds-1, w.s.alive())
		}
	case ActInvite:
		if a.Invite != len(d.invites) || a.Flow == 0 || a.Flow != d.flow {
			w.fail(ev, "INVITE %d on flow %d, the device is on %d", a.Invite, a.Flow, d.flow)
		}
		d.invites = append(d.invites, &invited{flow: a.Flow})
	}
}

// end is a CANCEL or BYE: of each INVITE once, and only where there is something
// to end.
func (w *world) end(ev Event, d *device, a Action) {
	in := d.invites[a.Invite]
	if in.closed {
		w.fail(ev, "%s again", a.words())
	}
	if a.Kind == ActBye && !in.answered || a.Kind == ActCancel && in.over {
		w.fail(ev, "%s fits no answered=%v over=%v", a.words(), in.answered, in.over)
	}
	in.closed = true
	if w.s.Winner == a.Attempt && slices.Contains(a.Reasons, reasonElsewhere) {
		w.fail(ev, "the winner hears that it was elsewhere")
	}
}

// consistent checks what must hold between two events.
func (w *world) consistent(ev Event) {
	for i := range w.s.Attempts {
		a, d := &w.s.Attempts[i], w.devices[i]
		switch a.Phase {
		case inviting, rings:
			if !a.standing() {
				w.fail(ev, "attempt %d is %s without an INVITE", i, a.Phase)
			}
		case pushing, pushed, flowLost:
			if a.standing() {
				w.fail(ev, "attempt %d is %s with an INVITE out", i, a.Phase)
			}
		case lost, failed:
			for n, in := range d.invites {
				if !in.over && !in.closed {
					w.fail(ev, "attempt %d is %s, its INVITE %d goes on", i, a.Phase, n)
				}
			}
			if d.voip+d.alert > 0 && !d.reached && d.fates == 0 && a.pushOut() {
				w.fail(ev, "attempt %d was pushed, never got an INVITE, and has no fate", i)
			}
		}
	}
	if w.s.Phase >= Answering && w.finals != 1 {
		w.fail(ev, "the call is %s with %d final responses", w.s.Phase, w.finals)
	}
	if w.s.Unanswered() && w.s.alive() == 0 {
		w.fail(ev, "nobody is left, and the caller waits")
	}
}

// moves are what could happen next.
func (w *world) moves() []func() {
	var out []func()
	for i, d := range w.devices {
		out = append(out, w.deviceMoves(i, d)...)
	}
	if len(w.timers) > 0 {
		out = append(out, w.tick)
	}
	c := &w.caller
	switch {
	case c.gone:
	case w.s.Unanswered():
		out = append(out, func() { c.gone = true; w.happen(Event{Kind: EvCancelled, Attempt: OfTheCall}) },
			func() { c.gone = true; w.happen(Event{Kind: EvCallerGone, Attempt: OfTheCall}) },
			func() { w.happen(Event{Kind: EvHangup, Attempt: OfTheCall}) })
	case w.s.Phase == Answering || w.s.Phase == Bridged:
		out = append(out, func() { c.gone = true; w.happen(Event{Kind: EvCallerBye, Attempt: OfTheCall}) },
			func() { w.happen(Event{Kind: EvHangup, Attempt: OfTheCall}) })
		if !c.confirmed {
			out = append(out, func() { c.confirmed = true; w.happen(Event{Kind: EvConfirmed, Attempt: OfTheCall}) })
		}
	}
	return out
}

func (w *world) deviceMoves(i int, d *device) []func() {
	var out []func()
	if len(d.pushes) > 0 {
		report := func(kind EventKind, flip bool) func() {
			return func() {
				alert := d.pushes[0] || flip
				d.pushes = d.pushes[1:]
				w.happen(Event{Kind: kind, Attempt: i, Alert: alert, Reason: "r"})
			}
		}
		out = append(out, report(EvPushAccepted, false), report(EvPushRefused, false))
		if !d.pushes[0] && d.alert == 0 { // the sender's policy
			out = append(out, report(EvPushAccepted, true), report(EvPushRefused, true))
		}
	}
	if !w.s.Attempts[i].Trunk {
		out = append(out, func() { // comes on a new flow; the old one lives on or broke
			w.flows++
			d.flow = w.flows
			d.came = d.came || d.voip+d.alert > 0
			w.happen(Event{Kind: EvRegistered, Attempt: i, Flow: d.flow, Reborn: w.draw("reborn")})
		})
		if d.flow != 0 && w.s.Attempts[i].Flow == d.flow {
			out = append(out, func() { w.happen(Event{Kind: EvSameFlow, Attempt: i, Flow: d.flow, Reborn: w.draw("reborn")}) })
		}
		if d.flow != 0 {
			out = append(out, func() { w.happen(Event{Kind: EvAlive, Attempt: i, Flow: d.flow}) })
		}
		out = append(out, func() {
			f := sipua.FlowID(rapid.Uint64Range(1, uint64(w.flows)).Draw(w.t, "flow"))
			if f == d.flow {
				d.flow = 0
			}
			w.happen(Event{Kind: EvFlowGone, Attempt: i, Flow: f})
		})
	}
	for n, in := range d.invites {
		out = append(out, w.inviteMoves(i, n, in)...)
	}
	return out
}

func (w *world) inviteMoves(i, n int, in *invited) []func() {
	d := w.devices[i]
	var out []func()
	switch {
	case in.over:
		return nil
	case in.answered:
		if w.s.Winner == i && w.s.Answer == n && (w.s.Phase == Answering || w.s.Phase == Bridged) {
			out = append(out, func() { in.over = true; w.happen(Event{Kind: EvCalleeBye, Attempt: i, Invite: n}) })
		}
		return out
	case !in.closed: // the leg tells no 1xx after CANCEL
		for _, ev := range []Event{{Kind: EvTrying}, {Kind: EvRinging, Status: 180}, {Kind: EvRinging, Status: 183, Early: true}} {
			out = append(out, func() {
				in.heard, d.reached = true, true
				ev.Attempt, ev.Invite = i, n
				w.happen(ev)
			})
		}
		out = append(out, func() { w.happen(Event{Kind: EvTrying, Attempt: i, Invite: n, Relayed: true}) }, func() {
			in.answered, d.reached = true, true
			w.happen(Event{Kind: EvAnswered, Attempt: i, Invite: n})
		}, func() {
			in.answered, d.reached = true, true
			w.happen(Event{Kind: EvUnusable, Attempt: i, Invite: n, Status: 488})
		})
	}
	return append(out, func() {
		in.over = true
		status := rapid.SampledFrom([]int{302, 404, 480, 486, 487, 488, 503, 600, 603}).Draw(w.t, "status")
		d.reached = d.reached || status != 480 && status != 503
		w.happen(Event{Kind: EvFailed, Attempt: i, Invite: n, Status: status})
	}, func() {
		in.over = true
		w.happen(Event{Kind: EvFailed, Attempt: i, Invite: n, Status: 480, NoFlow: true})
	}, func() {
		in.over = true
		w.happen(Event{Kind: EvFailed, Attempt: i, Invite: n, Status: 503, Own: true})
	})
}

// tick fires the next timer. An older one of its name means nothing.
func (w *world) tick() {
	slices.SortStableFunc(w.timers, func(a, b due) int { return a.at.Compare(b.at) })
	next := w.timers[0]
	w.timers = w.timers[1:]
	w.play.now = next.at
	stale := next.ev
	stale.Gen--
	if _, acts := w.r.Next(w.s, stale, w.now()); len(acts) > 0 {
		w.fail(stale, "a timer of an older generation did %s", told(acts))
	}
	w.happen(next.ev)
}

func TestModelOfACall(t *testing.T) {
	for range 10 { // 100 calls each, unless -rapid.checks says otherwise
		rapid.Check(t, aCall)
	}
}

func aCall(t *rapid.T) {
	terms := testTerms()
	terms.Ringing = rapid.SampledFrom([]RingPolicy{RingOnPush, RingTrying, RingAtOnce}).Draw(t, "ringing")
	terms.DeclineOne = rapid.Bool().Draw(t, "decline one")
	terms.Progress = rapid.Bool().Draw(t, "progress")
	terms.Tone = rapid.Bool().Draw(t, "tone")
	w := &world{t: t, flows: 10, play: play{r: New(), s: NewState(terms), now: t0}}
	var targets []Attempt
	for range rapid.IntRange(1, 3).Draw(t, "devices") {
		a := rapid.SampledFrom([]Attempt{sleeping(), live(), alone(), doubtful(), voipOnly(), alertOnly(), occupied(), asleep(), aTrunk(),
			suspected(0), suspected(12 * time.Second), suspected(time.Minute), repeating(suspected(0)), repeating(sleeping()), repeating(alertOnly())}).Draw(t, "device")
		targets = append(targets, a)
		w.devices = append(w.devices, &device{flow: a.Flow})
	}
	w.happen(Event{Kind: EvRouted, Attempt: OfTheCall, Targets: targets})
	for range rapid.IntRange(0, 40).Draw(t, "steps") {
		moves := w.moves()
		if len(moves) == 0 {
			break
		}
		moves[rapid.IntRange(0, len(moves)-1).Draw(t, "move")]()
	}
	w.conclude(t)
}

// conclude lets time pass until the ringing is over, the caller hang up, and
// every leg close: then there must be nothing left.
func (w *world) conclude(t *rapid.T) {
	end := t0.Add(w.s.Terms.RingTimeout)
	for w.s.Unanswered() && len(w.timers) > 0 && !w.now().After(end) {
		w.tick()
	}
	if w.s.Unanswered() {
		t.Fatalf("the caller still waits after the ringing time: %s", phasesOf(w.s))
	}
	if w.s.Phase == Answering || w.s.Phase == Bridged {
		w.happen(Event{Kind: EvCallerBye, Attempt: OfTheCall})
	}
	if w.s.Phase != Ending {
		t.Fatalf("the call is over and %s", w.s.Phase)
	}
	for i, d := range w.devices {
		for n, in := range d.invites {
			if !in.over && !in.closed {
				t.Fatalf("INVITE %d of attempt %d was never ended", n, i)
			}
		}
	}
	for len(w.timers) > 0 {
		w.tick() // none may wake anybody now
	}
	w.happen(Event{Kind: EvClosed, Attempt: OfTheCall})
	if w.s.Phase != ended {
		t.Fatalf("every leg is closed and the call is %s", w.s.Phase)
	}
}
