package bridge

import (
	"slices"
	"time"

	"wakebridge/sipua/header"
)

// rules are the two tables of a call: call phase by event, attempt phase by
// event.
type rules struct {
	call    [phases][callEvents]callRule
	attempt [attemptPhases][eventKinds - callEvents]attemptRule
}

func newRules() *rules { return &rules{call: callTable(), attempt: attemptTable()} }

// next is the whole behaviour of a call: what it was, what happened, what it is
// now and what must be done. It is pure; the owner of the call carries out the
// actions.
func (r *rules) next(s state, ev event, now time.Time) (state, []action) {
	m := machine{rules: r, s: s.clone(), now: now}
	ofCall := ev.kind < callEvents
	switch {
	case !ofCall && (ev.attempt < 0 || ev.attempt >= len(m.s.attempts)):
		m.bug(ev)
	case m.stale(ev):
	case ofCall:
		r.call[m.s.phase][ev.kind](&m, ev)
	default:
		m.attempt(ev.attempt, ev)
		m.settle()
	}
	return m.s, m.acts
}

// machine is a state while one event changes it.
type machine struct {
	rules *rules
	s     state
	now   time.Time
	acts  []action
	first int // index of the action with the caller's first 180, plus one; 0: none yet
}

// stale says that a timer fired that was started anew since.
func (m *machine) stale(ev event) bool {
	t, ok := timerOf(ev.kind)
	switch {
	case !ok:
		return false
	case ev.kind < callEvents:
		return ev.gen != m.s.timers[t]
	}
	return ev.gen != m.s.attempts[ev.attempt].timers[t]
}

// attempt applies an event to the attempt at index i.
func (m *machine) attempt(i int, ev event) {
	a := &m.s.attempts[i]
	m.rules.attempt[a.phase][ev.kind-callEvents](m, a, ev)
}

type callRule func(*machine, event)

func ignoreCall(*machine, event) {}

// cannot marks a pair of phase and event that cannot meet. Should it happen all
// the same, it is logged and changes nothing.
func cannot(m *machine, ev event) { m.bug(ev) }

func (m *machine) bug(ev event) {
	m.do(action{kind: actBug, attempt: ev.attempt, reason: ev.kind.String() + " in " + m.s.phase.String()})
}

func (m *machine) do(a action) { m.acts = append(m.acts, a) }

// callTable says what each event means in each phase of the call.
func callTable() [phases][callEvents]callRule {
	return [phases][callEvents]callRule{
		routing: {
			evRouted: routed, evRefuse: refused, evCancelled: cancelled, evCallerGone: callerGone,
			evConfirmed: cannot, evCallerBye: cannot, evCalleeBye: cannot, evHangup: hungUpUnanswered,
			evRingTimeout: cannot, evWakeTimeout: cannot, evNoPush: cannot, evRingAgain: cannot, evMaxDuration: cannot, evClosed: cannot,
		},
		waking:  unanswered(),
		ringing: unanswered(),
		answering: {
			evRouted: cannot, evRefuse: cannot, evCancelled: ignoreCall, evCallerGone: byeCallee,
			evConfirmed: confirmed, evCallerBye: byeCallee, evCalleeBye: calleeBye, evHangup: byeBoth,
			evRingTimeout: ignoreCall, evWakeTimeout: ignoreCall, evNoPush: ignoreCall, evRingAgain: ignoreCall,
			evMaxDuration: cannot, evClosed: cannot,
		},
		bridged: {
			evRouted: cannot, evRefuse: cannot, evCancelled: ignoreCall, evCallerGone: byeCallee,
			evConfirmed: ignoreCall, evCallerBye: byeCallee, evCalleeBye: calleeBye, evHangup: byeBoth,
			evRingTimeout: ignoreCall, evWakeTimeout: ignoreCall, evNoPush: ignoreCall, evRingAgain: ignoreCall,
			evMaxDuration: maxDuration, evClosed: cannot,
		},
		ending: {
			evRouted: ignoreCall, evRefuse: ignoreCall, evCancelled: ignoreCall, evCallerGone: ignoreCall,
			evConfirmed: ignoreCall, evCallerBye: ignoreCall, evCalleeBye: ignoreCall, evHangup: ignoreCall,
			evRingTimeout: ignoreCall, evWakeTimeout: ignoreCall, evNoPush: ignoreCall, evRingAgain: ignoreCall,
			evMaxDuration: ignoreCall, evClosed: over,
		},
		ended: {
			evRouted: cannot, evRefuse: cannot, evCancelled: ignoreCall, evCallerGone: ignoreCall,
			evConfirmed: ignoreCall, evCallerBye: ignoreCall, evCalleeBye: ignoreCall, evHangup: ignoreCall,
			evRingTimeout: ignoreCall, evWakeTimeout: ignoreCall, evNoPush: ignoreCall, evRingAgain: ignoreCall,
			evMaxDuration: ignoreCall, evClosed: ignoreCall,
		},
	}
}

// unanswered is the row of a call that waits for an answer.
func unanswered() [callEvents]callRule {
	return [callEvents]callRule{
		evRouted: cannot, evRefuse: cannot, evCancelled: cancelled, evCallerGone: callerGone,
		evConfirmed: cannot, evCallerBye: cancelled, evCalleeBye: cannot, evHangup: hungUpUnanswered,
		evRingTimeout: ringTimeout, evWakeTimeout: wakeTimeout, evNoPush: noPush, evRingAgain: ringAgain,
		evMaxDuration: cannot, evClosed: cannot,
	}
}

// routed starts all attempts and the call's clock.
func routed(m *machine, ev event) {
	m.s.attempts = ev.targets
	m.s.phase = waking
	m.timer(timerRing, m.s.terms.RingTimeout)
	m.timer(timerWake, m.s.terms.WakeTimeout)
	m.timer(timerNoPush, min(noPushAfter, m.s.terms.WakeTimeout))
	isDevice := func(a attempt) bool { return !a.trunk } // a trunk says itself when it rings
	if m.s.terms.Ringing == RingAtOnce && slices.ContainsFunc(m.s.attempts, isDevice) {
		m.ring(stageNone)
	}
	for i := range m.s.attempts {
		m.attempt(i, event{kind: evStart, attempt: i})
	}
	m.settle()
}

func refused(m *machine, ev event) {
	m.s.phase = ending
	m.do(action{kind: actReject, status: ev.status, phrase: ev.phrase, reason: ev.reason, by: byServer})
}

func cancelled(m *machine, ev event) {
	m.s.phase = ending
	cause, text := causeOf(ev.reasons)
	m.loseAll(noWinner, cause, text, ev.reasons)
	m.do(action{kind: actReject, status: 487, reason: "cancelled by the caller", by: byCaller})
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
				return 200, textElsewhere
			case r.Cause == 600 || r.Cause == 603:
				return 603, textDeclined
			}
		}
	}
	return 487, "Call cancelled"
}

func callerGone(m *machine, ev event) {
	m.s.phase = ending
	m.loseAll(noWinner, 487, "Caller gone", nil)
	m.do(action{kind: actReject, status: 487, reason: described("the caller is gone", ev), by: byCaller})
}

func hungUpUnanswered(m *machine, ev event) {
	m.s.phase = ending
	m.loseAll(noWinner, 480, "Call ended", nil)
	m.do(action{kind: actReject, status: 480, reason: ev.reason, by: byServer, result: Failed})
}

// ringTimeout ends a call that nobody answered.
func ringTimeout(m *machine, _ event) {
	for i := range m.s.attempts {
		if a := &m.s.attempts[i]; !a.phase.over() {
			a.outcome = timedOut(a)
		}
	}
	m.s.phase = ending
	m.loseAll(noWinner, 480, textNoAnswer, []string{reasonNoAnswer})
	m.reject(best(m.s.attempts))
}

func wakeTimeout(m *machine, _ event) {
	m.s.wakeOver = true
	m.giveUp("the device did not register in time", func(*attempt) bool { return true })
}

// noPush ends the waking of devices for which the push service says nothing,
// unless somebody may answer yet.
func noPush(m *machine, _ event) {
	m.s.silent = true
	for i := range m.s.attempts {
		if a := &m.s.attempts[i]; a.accepted() || a.standing() {
			return
		}
	}
	m.giveUp("the push service did not answer in time", func(a *attempt) bool {
		return a.phase == pushing || a.phase == flowLost && a.pushOut() && !a.accepted()
	})
}

func (m *machine) giveUp(reason string, which func(*attempt) bool) {
	for i := range m.s.attempts {
		if a := &m.s.attempts[i]; which(a) {
			m.attempt(i, event{kind: evGiveUp, attempt: i, reason: reason})
		}
	}
	m.settle()
}

// ringAgain repeats the 180, so that no proxy on the way gives up (Timer C).
func ringAgain(m *machine, _ event) {
	m.timer(timerRingAgain, ringAgainAfter)
	m.do(action{kind: actRing, stage: m.s.told})
}

func confirmed(m *machine, _ event) {
	m.s.phase = bridged
	if m.s.terms.MaxDuration > 0 {
		m.timer(timerMax, m.s.terms.MaxDuration)
	}
}

func byeCallee(m *machine, ev event) {
	m.s.phase = ending
	m.byeWinner(ev.reasons)
}

// calleeBye ends the call with the leg that was answered; the others of its
// attempt are duplicates.
func calleeBye(m *machine, ev event) {
	if ev.attempt != m.s.winner || ev.invite != m.s.answer {
		return
	}
	m.s.phase = ending
	m.do(action{kind: actByeCaller, reasons: ev.reasons, by: byCallee})
}

func byeBoth(m *machine, ev event) {
	m.s.phase = ending
	m.do(action{kind: actByeCaller, reasons: ev.reasons, reason: ev.reason, by: byServer})
	m.byeWinner(ev.reasons)
}

func maxDuration(m *machine, ev event) {
	ev.reason = "the call lasted as long as a call may (calls.max_duration)"
	byeBoth(m, ev)
}

func (m *machine) byeWinner(reasons []string) {
	m.do(action{kind: actBye, attempt: m.s.winner, invite: m.s.answer, reasons: reasons})
}

func over(m *machine, _ event) { m.s.phase = ended }

// settle draws the call's conclusion from its attempts.
func (m *machine) settle() {
	if !m.s.unanswered() {
		return
	}
	m.s.phase = waking
	for i := range m.s.attempts {
		a := &m.s.attempts[i]
		switch {
		case a.phase == rings:
			m.s.phase = ringing
		case a.phase.over() && a.outcome.rank == rankDeclined && !a.trunk && !m.s.terms.DeclineOne:
			m.s.phase = ending
			m.loseAll(i, 603, textDeclined, []string{reasonDeclined})
			m.reject(a.outcome)
			return
		}
	}
	if m.s.alive() == 0 {
		m.s.phase = ending
		m.reject(best(m.s.attempts))
		return
	}
	m.toneInstead()
}

// Reason headers that end a device's INVITE (RFC 3326; DESIGN), and their texts.
const (
	textElsewhere   = "Call completed elsewhere"
	textDeclined    = "Declined elsewhere"
	textNoAnswer    = "No answer"
	reasonElsewhere = `SIP;cause=200;text="` + textElsewhere + `"`
	reasonDeclined  = `SIP;cause=603;text="` + textDeclined + `"`
	reasonNoAnswer  = `SIP;cause=480;text="` + textNoAnswer + `"`
)

func (m *machine) reject(o outcome) {
	by := byServer
	if o.callee {
		by = byCallee
	}
	m.do(action{kind: actReject, status: o.status, phrase: o.phrase, reason: o.reason, by: by})
}

// loseAll ends every attempt but the one at index except: cause and text are
// what a device hears that registers too late, reasons go into the CANCEL of the
// others.
func (m *machine) loseAll(except, cause int, text string, reasons []string) {
	for i := range m.s.attempts {
		if i == except {
			continue
		}
		m.attempt(i, event{kind: evLose, attempt: i, status: cause, reason: text, reasons: reasons})
	}
}

// timer starts a timer of the call; an older one of that name means nothing
// from now on.
func (m *machine) timer(t timer, after time.Duration) {
	m.s.timers[t]++
	m.do(action{kind: actTimer, attempt: ofTheCall, timer: t, after: after, gen: m.s.timers[t]})
}

// ofTheCall stands where an attempt's index would be.
const ofTheCall = -1

func (m *machine) attemptTimer(i int, t timer, after time.Duration) {
	m.s.attempts[i].timers[t]++
	m.do(action{kind: actTimer, attempt: i, timer: t, after: after, gen: m.s.attempts[i].timers[t]})
}

// tell lets the caller hear how far the waking has come, as the policy allows.
func (m *machine) tell(s stage) {
	first := stagePushed
	if m.s.terms.Ringing == RingTrying {
		first = stageRinging
	}
	if s < first || s <= m.s.told || m.s.rung && !m.s.terms.Progress {
		return
	}
	m.ring(s)
}

func (m *machine) ring(s stage) {
	first := !m.s.rung
	m.provisional(s)
	m.do(action{kind: actRing, stage: s})
	if first {
		m.first = len(m.acts)
	}
}

// provisional notes that the caller gets a 180 or 183, which must be repeated.
func (m *machine) provisional(s stage) {
	if !m.s.rung {
		m.timer(timerRingAgain, ringAgainAfter)
	}
	m.s.rung, m.s.told = true, max(m.s.told, s)
}
