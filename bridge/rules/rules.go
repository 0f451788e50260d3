package rules

import (
	"slices"
	"time"

	"wakebridge/sipua/header"
)

// Rules are the two tables of a call: call phase by event, attempt phase by
// event.
type Rules struct {
	call    [phases][callEvents]callRule
	attempt [attemptPhases][eventKinds - callEvents]attemptRule
}

// New makes the tables.
func New() *Rules { return &Rules{call: callTable(), attempt: attemptTable()} }

// Next is the whole behaviour of a call: what it was, what happened, what it is
// now and what must be done. It is pure; the owner of the call carries out the
// actions.
func (r *Rules) Next(s State, ev Event, now time.Time) (State, []Action) {
	m := machine{rules: r, s: s.clone(), now: now}
	ofCall := ev.Kind < callEvents
	switch {
	case !ofCall && (ev.Attempt < 0 || ev.Attempt >= len(m.s.Attempts)):
		m.bug(ev)
	case m.stale(ev):
	case ofCall:
		r.call[m.s.Phase][ev.Kind](&m, ev)
	default:
		m.attempt(ev.Attempt, ev)
		m.settle()
	}
	return m.s, m.acts
}

// machine is a state while one event changes it.
type machine struct {
	rules *Rules
	s     State
	now   time.Time
	acts  []Action
	first int // index of the action with the caller's first 180, plus one; 0: none yet
}

// stale says that a timer fired that was started anew since.
func (m *machine) stale(ev Event) bool {
	t, ok := timerOf(ev.Kind)
	switch {
	case !ok:
		return false
	case ev.Kind < callEvents:
		return ev.Gen != m.s.timers[t]
	}
	return ev.Gen != m.s.Attempts[ev.Attempt].timers[t]
}

// attempt applies an event to the attempt at index i.
func (m *machine) attempt(i int, ev Event) {
	a := &m.s.Attempts[i]
	m.rules.attempt[a.Phase][ev.Kind-callEvents](m, a, ev)
}

type callRule func(*machine, Event)

func ignoreCall(*machine, Event) {}

// cannot marks a pair of phase and event that cannot meet. Should it happen all
// the same, it is logged and changes nothing.
func cannot(m *machine, ev Event) { m.bug(ev) }

func (m *machine) bug(ev Event) {
	m.do(Action{Kind: ActBug, Attempt: ev.Attempt, Reason: ev.Kind.String() + " in " + m.s.Phase.String()})
}

func (m *machine) do(a Action) { m.acts = append(m.acts, a) }

// callTable says what each event means in each phase of the call.
func callTable() [phases][callEvents]callRule {
	return [phases][callEvents]callRule{
		Routing: {
			EvRouted: routed, EvRefuse: refused, EvCancelled: cancelled, EvCallerGone: callerGone,
			EvConfirmed: cannot, EvCallerBye: cannot, EvCalleeBye: cannot, EvHangup: hungUpUnanswered,
			EvRingTimeout: cannot, EvWakeTimeout: cannot, EvNoPush: cannot, EvRingAgain: cannot, EvMaxDuration: cannot, EvClosed: cannot,
		},
		waking:  unanswered(),
		ringing: unanswered(),
		Answering: {
			EvRouted: cannot, EvRefuse: cannot, EvCancelled: ignoreCall, EvCallerGone: byeCallee,
			EvConfirmed: confirmed, EvCallerBye: byeCallee, EvCalleeBye: calleeBye, EvHangup: byeBoth,
			EvRingTimeout: ignoreCall, EvWakeTimeout: ignoreCall, EvNoPush: ignoreCall, EvRingAgain: ignoreCall,
			EvMaxDuration: cannot, EvClosed: cannot,
		},
		Bridged: {
			EvRouted: cannot, EvRefuse: cannot, EvCancelled: ignoreCall, EvCallerGone: byeCallee,
			EvConfirmed: ignoreCall, EvCallerBye: byeCallee, EvCalleeBye: calleeBye, EvHangup: byeBoth,
			EvRingTimeout: ignoreCall, EvWakeTimeout: ignoreCall, EvNoPush: ignoreCall, EvRingAgain: ignoreCall,
			EvMaxDuration: maxDuration, EvClosed: cannot,
		},
		Ending: {
			EvRouted: ignoreCall, EvRefuse: ignoreCall, EvCancelled: ignoreCall, EvCallerGone: ignoreCall,
			EvConfirmed: ignoreCall, EvCallerBye: ignoreCall, EvCalleeBye: ignoreCall, EvHangup: ignoreCall,
			EvRingTimeout: ignoreCall, EvWakeTimeout: ignoreCall, EvNoPush: ignoreCall, EvRingAgain: ignoreCall,
			EvMaxDuration: ignoreCall, EvClosed: over,
		},
		ended: {
			EvRouted: cannot, EvRefuse: cannot, EvCancelled: ignoreCall, EvCallerGone: ignoreCall,
			EvConfirmed: ignoreCall, EvCallerBye: ignoreCall, EvCalleeBye: ignoreCall, EvHangup: ignoreCall,
			EvRingTimeout: ignoreCall, EvWakeTimeout: ignoreCall, EvNoPush: ignoreCall, EvRingAgain: ignoreCall,
			EvMaxDuration: ignoreCall, EvClosed: ignoreCall,
		},
	}
}

// unanswered is the row of a call that waits for an answer.
func unanswered() [callEvents]callRule {
	return [callEvents]callRule{
		EvRouted: cannot, EvRefuse: cannot, EvCancelled: cancelled, EvCallerGone: callerGone,
		EvConfirmed: cannot, EvCallerBye: cancelled, EvCalleeBye: cannot, EvHangup: hungUpUnanswered,
		EvRingTimeout: ringTimeout, EvWakeTimeout: wakeTimeout, EvNoPush: noPush, EvRingAgain: ringAgain,
		EvMaxDuration: cannot, EvClosed: cannot,
	}
}

// routed starts all attempts and the call's clock.
func routed(m *machine, ev Event) {
	m.s.Attempts = ev.Targets
	m.s.Phase = waking
	m.timer(TimerRing, m.s.Terms.RingTimeout)
	m.timer(TimerWake, m.s.Terms.WakeTimeout)
	m.timer(TimerNoPush, min(noPushAfter, m.s.Terms.WakeTimeout))
	isDevice := func(a Attempt) bool { return !a.Trunk } // a trunk says itself when it rings
	if m.s.Terms.Ringing == RingAtOnce && slices.ContainsFunc(m.s.Attempts, isDevice) {
		m.ring(StageNone)
	}
	for i := range m.s.Attempts {
		m.attempt(i, Event{Kind: EvStart, Attempt: i})
	}
	m.settle()
}

func refused(m *machine, ev Event) {
	m.s.Phase = Ending
	m.do(Action{Kind: ActReject, Status: ev.Status, Phrase: ev.Phrase, Reason: ev.Reason, By: ByServer})
}

func cancelled(m *machine, ev Event) {
	m.s.Phase = Ending
	cause, text := causeOf(ev.Reasons)
	m.loseAll(NoWinner, cause, text, ev.Reasons)
	m.do(Action{Kind: ActReject, Status: 487, Reason: "cancelled by the caller", By: ByCaller})
}

// causeOf is what a caller's CANCEL means for a device that will ask later. A PBX
// that rings several phones says in a Reason that another one was quicker (RFC
// 3326 s3.1).
func causeOf(reasons []string) (cause int, text string) {
	if parsed, err := header.ParseReasons(reasons...); err == nil {
		for _, r := range parsed {
			switch {
			case !r.Is(header.ReasonSIP):
			case r.Cause == 200:
				return 200, TextElsewhere
			case r.Cause == 600 || r.Cause == 603:
				return 603, textDeclined
			}
		}
	}
	return 487, "Call cancelled"
}

func callerGone(m *machine, ev Event) {
	m.s.Phase = Ending
	m.loseAll(NoWinner, 487, "Caller gone", nil)
	m.do(Action{Kind: ActReject, Status: 487, Reason: described("the caller is gone", ev), By: ByCaller})
}

func hungUpUnanswered(m *machine, ev Event) {
	m.s.Phase = Ending
	m.loseAll(NoWinner, 480, "Call ended", nil)
	m.do(Action{Kind: ActReject, Status: 480, Reason: ev.Reason, By: ByServer, Result: Failed})
}

// ringTimeout ends a call that nobody answered.
func ringTimeout(m *machine, _ Event) {
	for i := range m.s.Attempts {
		if a := &m.s.Attempts[i]; !a.Phase.Over() {
			a.Outcome = timedOut(a)
		}
	}
	m.s.Phase = Ending
	m.loseAll(NoWinner, 480, textNoAnswer, []string{reasonNoAnswer})
	m.reject(Best(m.s.Attempts))
}

func wakeTimeout(m *machine, _ Event) {
	m.s.wakeOver = true
	m.giveUp("the device did not register in time", func(*Attempt) bool { return true })
}

// noPush ends the waking of devices for which the push service says nothing,
// unless somebody may answer yet.
func noPush(m *machine, _ Event) {
	m.s.silent = true
	for i := range m.s.Attempts {
		if a := &m.s.Attempts[i]; a.accepted() || a.standing() {
			return
		}
	}
	m.giveUp("the push service did not answer in time", func(a *Attempt) bool {
		return a.Phase == pushing || a.Phase == flowLost && a.pushOut() && !a.accepted()
	})
}

func (m *machine) giveUp(reason string, which func(*Attempt) bool) {
	for i := range m.s.Attempts {
		if a := &m.s.Attempts[i]; which(a) {
			m.attempt(i, Event{Kind: EvGiveUp, Attempt: i, Reason: reason})
		}
	}
	m.settle()
}

// ringAgain repeats the 180, so that no proxy on the way gives up (Timer C).
func ringAgain(m *machine, _ Event) {
	m.timer(TimerRingAgain, ringAgainAfter)
	m.do(Action{Kind: ActRing, Stage: m.s.told})
}

func confirmed(m *machine, _ Event) {
	m.s.Phase = Bridged
	if m.s.Terms.MaxDuration > 0 {
		m.timer(TimerMax, m.s.Terms.MaxDuration)
	}
}

func byeCallee(m *machine, ev Event) {
	m.s.Phase = Ending
	m.byeWinner(ev.Reasons)
}

// calleeBye ends the call with the leg that was answered; the others of its
// attempt are duplicates.
func calleeBye(m *machine, ev Event) {
	if ev.Attempt != m.s.Winner || ev.Invite != m.s.Answer {
		return
	}
	m.s.Phase = Ending
	m.do(Action{Kind: ActByeCaller, Reasons: ev.Reasons, By: ByCallee})
}

func byeBoth(m *machine, ev Event) {
	m.s.Phase = Ending
	m.do(Action{Kind: ActByeCaller, Reasons: ev.Reasons, Reason: ev.Reason, By: ByServer})
	m.byeWinner(ev.Reasons)
}

func maxDuration(m *machine, ev Event) {
	ev.Reason = "the call lasted as long as a call may (calls.max_duration)"
	byeBoth(m, ev)
}

func (m *machine) byeWinner(reasons []string) {
	m.do(Action{Kind: ActBye, Attempt: m.s.Winner, Invite: m.s.Answer, Reasons: reasons})
}

func over(m *machine, _ Event) { m.s.Phase = ended }

// settle draws the call's conclusion from its attempts.
func (m *machine) settle() {
	if !m.s.Unanswered() {
		return
	}
	m.s.Phase = waking
	for i := range m.s.Attempts {
		a := &m.s.Attempts[i]
		switch {
		case a.Phase == rings:
			m.s.Phase = ringing
		case a.Phase.Over() && a.Outcome.Rank == RankDeclined && !a.Trunk && !m.s.Terms.DeclineOne:
			m.s.Phase = Ending
			m.loseAll(i, 603, textDeclined, []string{reasonDeclined})
			m.reject(a.Outcome)
			return
		}
	}
	if m.s.alive() == 0 {
		m.s.Phase = Ending
		m.reject(Best(m.s.Attempts))
		return
	}
	m.toneInstead()
}

// Reason headers that end a device's INVITE (RFC 3326; DESIGN), and their texts.
const (
	TextElsewhere   = "Call completed elsewhere"
	textDeclined    = "Declined elsewhere"
	textNoAnswer    = "No answer"
	reasonElsewhere = `SIP;cause=200;text="` + TextElsewhere + `"`
	reasonDeclined  = `SIP;cause=603;text="` + textDeclined + `"`
	reasonNoAnswer  = `SIP;cause=480;text="` + textNoAnswer + `"`
)

func (m *machine) reject(o Outcome) {
	by := ByServer
	if o.Callee {
		by = ByCallee
	}
	m.do(Action{Kind: ActReject, Status: o.status, Phrase: o.phrase, Reason: o.reason, By: by})
}

// loseAll ends every attempt but the one at index except: cause and text are
// what a device hears that registers too late, reasons go into the CANCEL of the
// others.
func (m *machine) loseAll(except, cause int, text string, reasons []string) {
	for i := range m.s.Attempts {
		if i == except {
			continue
		}
		m.attempt(i, Event{Kind: EvLose, Attempt: i, Status: cause, Reason: text, Reasons: reasons})
	}
}

// timer starts a timer of the call; an older one of that name means nothing
// from now on.
func (m *machine) timer(t Timer, after time.Duration) {
	m.s.timers[t]++
	m.do(Action{Kind: ActTimer, Attempt: OfTheCall, Timer: t, After: after, Gen: m.s.timers[t]})
}

// OfTheCall stands where an attempt's index would be.
const OfTheCall = -1

func (m *machine) attemptTimer(i int, t Timer, after time.Duration) {
	m.s.Attempts[i].timers[t]++
	m.do(Action{Kind: ActTimer, Attempt: i, Timer: t, After: after, Gen: m.s.Attempts[i].timers[t]})
}

// tell lets the caller hear how far the waking has come, as the policy allows.
func (m *machine) tell(s Stage) {
	first := StagePushed
	if m.s.Terms.Ringing == RingTrying {
		first = StageRinging
	}
	if s < first || s <= m.s.told || m.s.rung && !m.s.Terms.Progress {
		return
	}
	m.ring(s)
}

func (m *machine) ring(s Stage) {
	first := !m.s.rung
	m.provisional(s)
	m.do(Action{Kind: ActRing, Stage: s})
	if first {
		m.first = len(m.acts)
	}
}

// provisional notes that the caller gets a 180 or 183, which must be repeated.
func (m *machine) provisional(s Stage) {
	if !m.s.rung {
		m.timer(TimerRingAgain, ringAgainAfter)
	}
	m.s.rung, m.s.told = true, max(m.s.told, s)
}
