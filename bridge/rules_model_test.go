package bridge

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
	before  state // when the newest event came
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

func (w *world) now() time.Time { return w.play.now }

// happen gives an event to the rules and does what they want.
func (w *world) happen(ev event) {
	before := w.s
	w.before = before
	var acts []action
	w.s, acts = w.r.next(w.s, ev, w.now())
	w.phases(before, ev)
	for _, a := range acts {
		w.act(ev, a)
	}
	w.consistent(ev)
}

func (w *world) fail(ev event, format string, args ...any) {
	w.t.Helper()
	w.t.Logf("after %s of %d: %s", ev.kind, ev.attempt, phasesOf(w.s))
	w.t.Fatalf(format, args...)
}

// phases go forward only, but for waking and ringing.
func (w *world) phases(before state, ev event) {
	if w.s.phase < before.phase && !(before.phase == ringing && w.s.phase == waking) {
		w.fail(ev, "the call went from %s to %s", before.phase, w.s.phase)
	}
	for i := range before.attempts {
		comes := ev.kind == evRegistered || ev.kind == evSameFlow
		if b, a := before.attempts[i].phase, w.s.attempts[i].phase; b.over() && a != b && !(b == failed && a == inviting && comes) {
			w.fail(ev, "attempt %d went from %s to %s", i, b, a)
		}
	}
}

func (w *world) act(ev event, a action) {
	var d *device
	if a.attempt >= 0 && a.attempt < len(w.devices) {
		d = w.devices[a.attempt]
	}
	switch a.kind {
	case actBug:
		w.fail(ev, "it was thought impossible: %s", a.reason)
	case actTimer:
		if a.gen == 0 || a.after < 0 {
			w.fail(ev, "timer without generation or time: %+v", a)
		}
		w.timers = append(w.timers, due{w.now().Add(a.after), event{kind: a.timer.event(), attempt: a.attempt, gen: a.gen}})
	case actPush, actInvite, actRing, actTone, actEarly:
		if !w.s.unanswered() && w.s.phase != routing && w.finals > 0 {
			w.fail(ev, "%s after the final response", a.words())
		}
		w.reach(ev, d, a)
	case actCancel, actBye:
		w.end(ev, d, a)
	case actAnswer:
		if ev.kind != evAnswered || !d.invites[a.invite].answered || w.s.winner != a.attempt || w.s.answer != a.invite {
			w.fail(ev, "200 to the caller without a device's 200")
		}
		w.final(ev)
	case actReject:
		w.final(ev)
	case actFate:
		if a.wait && w.s.unanswered() {
			return // until the end of the waiting, or until the device comes
		}
		d.fates++
		away := w.before.attempts[a.attempt].phase == flowLost // its INVITE went with its flow
		if d.fates > 1 || !away && (d.voip+d.alert == 0 || d.reached) {
			w.fail(ev, "fate %d for a device with %d pushes, reached: %v", d.fates, d.voip+d.alert, d.reached)
		}
	}
}

func (w *world) final(ev event) {
	if w.finals++; w.finals > 1 {
		w.fail(ev, "%d final responses", w.finals)
	}
	w.caller.answered = w.s.phase == answering
}

func (w *world) reach(ev event, d *device, a action) {
	switch a.kind {
	case actPush:
		d.pushes = append(d.pushes, a.alert)
		if a.alert {
			d.alert++
		} else {
			d.voip++
		}
		terms := w.s.attempts[a.attempt].push
		if d.voip > 1 || d.alert > 1 && terms.repeat == 0 {
			w.fail(ev, "%d VoIP and %d alert pushes", d.voip, d.alert)
		}
		if terms.suspect && d.voip > 0 && d.alert == 0 {
			w.fail(ev, "a VoIP push first to a suspected device")
		}
		if d.came && d.voip+d.alert > 1 {
			w.fail(ev, "a push to a device that came")
		}
	case actTone:
		if !w.s.terms.Tone || w.before.rung || w.sounds > 0 {
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
	case actEarly:
		if w.sounds++; w.sounds > 1 && !w.before.tone || w.s.alive() != 1 {
			w.fail(ev, "early media after %d SDPs, of one of %d", w.sounds-1, w.s.alive())
		}
	case actInvite:
		if a.invite != len(d.invites) || a.flow == 0 || a.flow != d.flow {
			w.fail(ev, "INVITE %d on flow %d, the device is on %d", a.invite, a.flow, d.flow)
		}
		d.invites = append(d.invites, &invited{flow: a.flow})
	}
}

// end is a CANCEL or BYE: of each INVITE once, and only where there is something
// to end.
func (w *world) end(ev event, d *device, a action) {
	in := d.invites[a.invite]
	if in.closed {
		w.fail(ev, "%s again", a.words())
	}
	if a.kind == actBye && !in.answered || a.kind == actCancel && in.over {
		w.fail(ev, "%s fits no answered=%v over=%v", a.words(), in.answered, in.over)
	}
	in.closed = true
	if w.s.winner == a.attempt && slices.Contains(a.reasons, reasonElsewhere) {
		w.fail(ev, "the winner hears that it was elsewhere")
	}
}

// consistent checks what must hold between two events.
func (w *world) consistent(ev event) {
	for i := range w.s.attempts {
		a, d := &w.s.attempts[i], w.devices[i]
		switch a.phase {
		case inviting, rings:
			if !a.standing() {
				w.fail(ev, "attempt %d is %s without an INVITE", i, a.phase)
			}
		case pushing, pushed, flowLost:
			if a.standing() {
				w.fail(ev, "attempt %d is %s with an INVITE out", i, a.phase)
			}
		case lost, failed:
			for n, in := range d.invites {
				if !in.over && !in.closed {
					w.fail(ev, "attempt %d is %s, its INVITE %d goes on", i, a.phase, n)
				}
			}
			if d.voip+d.alert > 0 && !d.reached && d.fates == 0 && a.pushOut() {
				w.fail(ev, "attempt %d was pushed, never got an INVITE, and has no fate", i)
			}
		}
	}
	if w.s.phase >= answering && w.finals != 1 {
		w.fail(ev, "the call is %s with %d final responses", w.s.phase, w.finals)
	}
	if w.s.unanswered() && w.s.alive() == 0 {
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
	case w.s.unanswered():
		out = append(out, func() { c.gone = true; w.happen(event{kind: evCancelled, attempt: ofTheCall}) },
			func() { c.gone = true; w.happen(event{kind: evCallerGone, attempt: ofTheCall}) },
			func() { w.happen(event{kind: evHangup, attempt: ofTheCall}) })
	case w.s.phase == answering || w.s.phase == bridged:
		out = append(out, func() { c.gone = true; w.happen(event{kind: evCallerBye, attempt: ofTheCall}) },
			func() { w.happen(event{kind: evHangup, attempt: ofTheCall}) })
		if !c.confirmed {
			out = append(out, func() { c.confirmed = true; w.happen(event{kind: evConfirmed, attempt: ofTheCall}) })
		}
	}
	return out
}

func (w *world) deviceMoves(i int, d *device) []func() {
	var out []func()
	if len(d.pushes) > 0 {
		report := func(kind eventKind, flip bool) func() {
			return func() {
				alert := d.pushes[0] || flip
				d.pushes = d.pushes[1:]
				w.happen(event{kind: kind, attempt: i, alert: alert, reason: "r"})
			}
		}
		out = append(out, report(evPushAccepted, false), report(evPushRefused, false))
		if !d.pushes[0] && d.alert == 0 { // the sender's policy
			out = append(out, report(evPushAccepted, true), report(evPushRefused, true))
		}
	}
	if !w.s.attempts[i].trunk {
		out = append(out, func() { // comes on a new flow; the old one lives on or broke
			w.flows++
			d.flow = w.flows
			d.came = d.came || d.voip+d.alert > 0
			w.happen(event{kind: evRegistered, attempt: i, flow: d.flow})
		})
		if d.flow != 0 && w.s.attempts[i].flow == d.flow {
			out = append(out, func() { w.happen(event{kind: evSameFlow, attempt: i, flow: d.flow}) })
		}
		if d.flow != 0 {
			out = append(out, func() { w.happen(event{kind: evAlive, attempt: i, flow: d.flow}) })
		}
		out = append(out, func() {
			f := sipua.FlowID(rapid.Uint64Range(1, uint64(w.flows)).Draw(w.t, "flow"))
			if f == d.flow {
				d.flow = 0
			}
			w.happen(event{kind: evFlowGone, attempt: i, flow: f})
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
		if w.s.winner == i && w.s.answer == n && (w.s.phase == answering || w.s.phase == bridged) {
			out = append(out, func() { in.over = true; w.happen(event{kind: evCalleeBye, attempt: i, invite: n}) })
		}
		return out
	case !in.closed: // the leg tells no 1xx after CANCEL
		for _, ev := range []event{{kind: evTrying}, {kind: evRinging, status: 180}, {kind: evRinging, status: 183, early: true}} {
			out = append(out, func() {
				in.heard, d.reached = true, true
				ev.attempt, ev.invite = i, n
				w.happen(ev)
			})
		}
		out = append(out, func() {
			in.answered, d.reached = true, true
			w.happen(event{kind: evAnswered, attempt: i, invite: n})
		}, func() {
			in.answered, d.reached = true, true
			w.happen(event{kind: evUnusable, attempt: i, invite: n, status: 488})
		})
	}
	return append(out, func() {
		in.over = true
		status := rapid.SampledFrom([]int{302, 404, 480, 486, 487, 488, 503, 600, 603}).Draw(w.t, "status")
		d.reached = d.reached || status != 480 && status != 503
		w.happen(event{kind: evFailed, attempt: i, invite: n, status: status})
	}, func() {
		in.over = true
		w.happen(event{kind: evFailed, attempt: i, invite: n, status: 480, noFlow: true})
	}, func() {
		in.over = true
		w.happen(event{kind: evFailed, attempt: i, invite: n, status: 503, own: true})
	})
}

// tick fires the next timer. An older one of its name means nothing.
func (w *world) tick() {
	slices.SortStableFunc(w.timers, func(a, b due) int { return a.at.Compare(b.at) })
	next := w.timers[0]
	w.timers = w.timers[1:]
	w.play.now = next.at
	stale := next.ev
	stale.gen--
	if _, acts := w.r.next(w.s, stale, w.now()); len(acts) > 0 {
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
	w := &world{t: t, flows: 10, play: play{r: newRules(), s: newState(terms), now: t0}}
	var targets []attempt
	for range rapid.IntRange(1, 3).Draw(t, "devices") {
		a := rapid.SampledFrom([]attempt{sleeping(), live(), alone(), doubtful(), voipOnly(), alertOnly(), occupied(), asleep(), aTrunk(),
			suspected(0), suspected(12 * time.Second), suspected(time.Minute), repeating(suspected(0)), repeating(sleeping()), repeating(alertOnly())}).Draw(t, "device")
		targets = append(targets, a)
		w.devices = append(w.devices, &device{flow: a.flow})
	}
	w.happen(event{kind: evRouted, attempt: ofTheCall, targets: targets})
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
	end := t0.Add(w.s.terms.RingTimeout)
	for w.s.unanswered() && len(w.timers) > 0 && !w.now().After(end) {
		w.tick()
	}
	if w.s.unanswered() {
		t.Fatalf("the caller still waits after the ringing time: %s", phasesOf(w.s))
	}
	if w.s.phase == answering || w.s.phase == bridged {
		w.happen(event{kind: evCallerBye, attempt: ofTheCall})
	}
	if w.s.phase != ending {
		t.Fatalf("the call is over and %s", w.s.phase)
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
	w.happen(event{kind: evClosed, attempt: ofTheCall})
	if w.s.phase != ended {
		t.Fatalf("every leg is closed and the call is %s", w.s.phase)
	}
}
