package bridge

import "cmp"

type attemptRule func(*machine, *attempt, event)

func ignore(*machine, *attempt, event) {}

func never(m *machine, _ *attempt, ev event) { m.bug(ev) }

// attemptTable says what each event means in each phase of an attempt. The index
// is the event's kind less callEvents.
func attemptTable() [attemptPhases][eventKinds - callEvents]attemptRule {
	return [attemptPhases][eventKinds - callEvents]attemptRule{
		idle: {
			evStart - callEvents: start, evRegistered - callEvents: never, evSameFlow - callEvents: never,
			evAlive - callEvents: never, evFlowGone - callEvents: never,
			evPushAccepted - callEvents: never, evPushRefused - callEvents: never, evTrying - callEvents: never,
			evRinging - callEvents: never, evAnswered - callEvents: never, evUnusable - callEvents: never, evFailed - callEvents: never, evDoubt - callEvents: never,
			evSecondChance - callEvents: never, evVoIPDue - callEvents: never, evRepeat - callEvents: never, evGiveUp - callEvents: never, evLose - callEvents: never,
		},
		pushing: {
			evStart - callEvents: never, evRegistered - callEvents: registered, evSameFlow - callEvents: registered,
			evAlive - callEvents: showsLife, evFlowGone - callEvents: forgetFlow,
			evPushAccepted - callEvents: accepted, evPushRefused - callEvents: pushWasRefused, evTrying - callEvents: never,
			evRinging - callEvents: never, evAnswered - callEvents: never, evUnusable - callEvents: never, evFailed - callEvents: never, evDoubt - callEvents: inviteDoubtful,
			evSecondChance - callEvents: never, evVoIPDue - callEvents: voipDue, evRepeat - callEvents: repeatAlert, evGiveUp - callEvents: giveUp, evLose - callEvents: lose,
		},
		pushed: {
			evStart - callEvents: never, evRegistered - callEvents: registered, evSameFlow - callEvents: registered,
			evAlive - callEvents: showsLife, evFlowGone - callEvents: forgetFlow,
			evPushAccepted - callEvents: accepted, evPushRefused - callEvents: pushWasRefused, evTrying - callEvents: never,
			evRinging - callEvents: never, evAnswered - callEvents: never, evUnusable - callEvents: never, evFailed - callEvents: never, evDoubt - callEvents: inviteDoubtful,
			evSecondChance - callEvents: secondChance, evVoIPDue - callEvents: voipDue, evRepeat - callEvents: repeatAlert, evGiveUp - callEvents: giveUp, evLose - callEvents: lose,
		},
		inviting: {
			evStart - callEvents: never, evRegistered - callEvents: supersede, evSameFlow - callEvents: inviteAgain,
			evAlive - callEvents: ignore, evFlowGone - callEvents: flowWentAway,
			evPushAccepted - callEvents: accepted, evPushRefused - callEvents: pushWasRefused, evTrying - callEvents: trying,
			evRinging - callEvents: rang, evAnswered - callEvents: answered, evUnusable - callEvents: unusable, evFailed - callEvents: inviteFailed, evDoubt - callEvents: pushTheQuiet,
			evSecondChance - callEvents: secondChance, evVoIPDue - callEvents: voipDue, evRepeat - callEvents: repeatAlert, evGiveUp - callEvents: giveUpQuiet, evLose - callEvents: lose,
		},
		rings: {
			evStart - callEvents: never, evRegistered - callEvents: supersede, evSameFlow - callEvents: ignore,
			evAlive - callEvents: ignore, evFlowGone - callEvents: flowWentAway,
			evPushAccepted - callEvents: accepted, evPushRefused - callEvents: pushWasRefused, evTrying - callEvents: trying,
			evRinging - callEvents: rang, evAnswered - callEvents: answered, evUnusable - callEvents: unusable, evFailed - callEvents: inviteFailed, evDoubt - callEvents: ignore,
			evSecondChance - callEvents: ignore, evVoIPDue - callEvents: ignore, evRepeat - callEvents: ignore, evGiveUp - callEvents: ignore, evLose - callEvents: lose,
		},
		flowLost: {
			evStart - callEvents: never, evRegistered - callEvents: registered, evSameFlow - callEvents: registered,
			evAlive - callEvents: ignore, evFlowGone - callEvents: forgetFlow,
			evPushAccepted - callEvents: accepted, evPushRefused - callEvents: pushWasRefused, evTrying - callEvents: trying,
			evRinging - callEvents: rang, evAnswered - callEvents: lateAnswer, evUnusable - callEvents: lateAnswer, evFailed - callEvents: inviteFailed, evDoubt - callEvents: ignore,
			evSecondChance - callEvents: secondChance, evVoIPDue - callEvents: voipDue, evRepeat - callEvents: repeatAlert, evGiveUp - callEvents: giveUpLost, evLose - callEvents: lose,
		},
		won:    decided(),
		lost:   decided(),
		failed: unlessItComes(decided()),
	}
}

// decided is the row of an attempt that is over: only a late 2xx needs a word.
func decided() [eventKinds - callEvents]attemptRule {
	return [eventKinds - callEvents]attemptRule{
		evStart - callEvents: never, evRegistered - callEvents: ignore, evSameFlow - callEvents: ignore,
		evAlive - callEvents: ignore, evFlowGone - callEvents: ignore,
		evPushAccepted - callEvents: latePush, evPushRefused - callEvents: ignore, evTrying - callEvents: ignore,
		evRinging - callEvents: ignore, evAnswered - callEvents: lateAnswer, evUnusable - callEvents: lateAnswer, evFailed - callEvents: inviteOver, evDoubt - callEvents: ignore,
		evSecondChance - callEvents: ignore, evVoIPDue - callEvents: ignore, evRepeat - callEvents: ignore, evGiveUp - callEvents: ignore, evLose - callEvents: ignore,
	}
}

// unlessItComes is the row of an attempt that failed: the device may come by itself.
func unlessItComes(row [eventKinds - callEvents]attemptRule) [eventKinds - callEvents]attemptRule {
	row[evRegistered-callEvents], row[evSameFlow-callEvents] = revive, revive
	return row
}

// start reaches for the device: over its flow, by push, or both (DESIGN s5,
// Reach).
func start(m *machine, a *attempt, ev event) {
	switch {
	case a.busy:
		m.fail(a, outcome{rank: rankBusy, status: 486, reason: "the device is in another call (calls.waiting)"}, ev.attempt)
	case a.flow != 0 && (a.alive || !a.canPush()):
		m.invite(a, ev.attempt)
		if a.canPush() {
			m.attemptTimer(ev.attempt, timerDoubt, quietInvite)
		}
	case a.flow != 0:
		a.phase = pushing
		m.push(a, ev.attempt)
		m.attemptTimer(ev.attempt, timerDoubt, doubtfulFlow)
		m.do(action{kind: actWatchAlive, attempt: ev.attempt, flow: a.flow})
	case a.canPush():
		a.phase = pushing
		m.push(a, ev.attempt)
	default:
		m.fail(a, unreachable("the device is offline and cannot be woken: "+cmp.Or(a.push.none, "it has no push token")), ev.attempt)
	}
}

// registered is the event that all the waking is for.
func registered(m *machine, a *attempt, ev event) {
	m.cameOn(a, ev)
	m.invite(a, ev.attempt)
}

func (m *machine) cameOn(a *attempt, ev event) {
	a.flow, a.alive, a.came = ev.flow, true, true
	m.do(action{kind: actStopPush, attempt: ev.attempt})
	m.tell(stageRegistered)
}

func showsLife(m *machine, a *attempt, ev event) {
	if a.flow != ev.flow || a.flow == 0 {
		return
	}
	a.alive = true
	m.invite(a, ev.attempt)
}

func forgetFlow(_ *machine, a *attempt, ev event) {
	if a.flow == ev.flow {
		a.flow, a.alive = 0, false
	}
}

// supersede sends a new INVITE on a new flow, unless an old one arrived at this very app.
func supersede(m *machine, a *attempt, ev event) {
	m.cameOn(a, ev)
	if ev.reborn || !a.heard() {
		m.invite(a, ev.attempt)
	}
}

func inviteAgain(m *machine, a *attempt, ev event) {
	m.cameOn(a, ev)
	for n := range a.invites {
		if in := &a.invites[n]; !in.over && !in.provisional && in.flow == ev.flow {
			m.do(action{kind: actAgain, attempt: ev.attempt, invite: n})
		}
	}
}

// flowWentAway keeps the attempt: the user sees one call.
func flowWentAway(m *machine, a *attempt, ev event) {
	forgetFlow(m, a, ev)
	for n := range a.invites {
		if in := &a.invites[n]; in.flow == ev.flow && !in.over {
			in.over = true
			m.do(action{kind: actCancel, attempt: ev.attempt, invite: n})
		}
	}
	if !a.standing() {
		m.recover(a, ev, lostFlow(a, "the connection to the device was lost"))
	}
}

// recover continues an attempt whose last INVITE did not get through on ev.flow:
// over the flow on which the device registered meanwhile, or when it registers.
// If nothing woke it yet, a push does.
func (m *machine) recover(a *attempt, ev event, o outcome) {
	if a.flow != 0 && a.flow != ev.flow && a.alive {
		m.invite(a, ev.attempt)
		return
	}
	if (!a.arrived() || o.away) && (m.s.wakeOver || m.s.silent && a.pushOut() && !a.accepted()) {
		m.fail(a, o, ev.attempt) // its time to wake is over
		return
	}
	a.phase, a.outcome = flowLost, o
	if !a.wasPushed() && a.canPush() && !m.s.wakeOver {
		m.push(a, ev.attempt)
	}
}

// revive takes back a device that could not be reached and comes by itself while
// others ring: it was told nothing that would make it ignore the call.
func revive(m *machine, a *attempt, ev event) {
	if m.s.unanswered() && a.outcome.rank == rankUnreachable && !a.mayWake() && !a.arrived() {
		registered(m, a, ev)
	}
}

// giveUpQuiet ends an attempt whose pushes brought no sign of life; an INVITE that
// needed no push has its own time.
func giveUpQuiet(m *machine, a *attempt, ev event) {
	if !a.trunk && a.wasPushed() && !a.awake() {
		giveUp(m, a, ev)
	}
}

// giveUpLost ends an attempt that lost its flow, unless it was reached before: a
// phone between two networks comes back by itself. One that sent its INVITE away
// without ringing may not.
func giveUpLost(m *machine, a *attempt, ev event) {
	if !a.arrived() || a.outcome.away {
		giveUp(m, a, ev)
	}
}

func giveUp(m *machine, a *attempt, ev event) {
	o := unreachable(ev.reason)
	if a.outcome.rank > rankNone {
		o = a.outcome
	}
	m.fail(a, o, ev.attempt)
}

// fail ends an attempt that was not won by anybody.
func (m *machine) fail(a *attempt, o outcome, i int) {
	a.outcome = o
	m.leave(a, i, failed, action{status: 480, reason: textNoAnswer})
}

// lose ends an attempt because the call was decided elsewhere.
func lose(m *machine, a *attempt, ev event) {
	if a.outcome.reason == "" {
		a.outcome.reason = ev.reason // without a rank: nothing the caller hears of
	}
	m.leave(a, ev.attempt, lost, action{status: ev.status, reason: ev.reason, reasons: ev.reasons})
}

// leave cancels what is out and lets a device that was pushed and got no INVITE, or
// that lost it with its flow, know when it comes, unless the end is its own word. What a
// device said in the moment in which its flow went may still come: it may have the INVITE.
func (m *machine) leave(a *attempt, i int, to attemptPhase, why action) {
	away := a.phase == flowLost && !a.outcome.callee
	a.phase = to
	m.do(action{kind: actStopPush, attempt: i})
	m.cancel(a, i, why)
	known := away && a.arrived() || a.mayWake() && !a.arrived()
	if known || away && len(a.invites) > 0 {
		m.do(action{kind: actFate, attempt: i, status: why.status, reason: why.reason, maybe: !known})
	}
}

// cancel takes back the INVITEs of an attempt that still stand. why has no status where
// the device goes on ringing for another one.
func (m *machine) cancel(a *attempt, i int, why action) {
	for n := range a.invites {
		if !a.invites[n].over {
			a.invites[n].over = true
			m.do(action{kind: actCancel, attempt: i, invite: n, status: why.status, reason: why.reason, reasons: why.reasons})
		}
	}
}
