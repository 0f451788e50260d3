package rules

import "cmp"

type attemptRule func(*machine, *Attempt, Event)

func ignore(*machine, *Attempt, Event) {}

func never(m *machine, _ *Attempt, ev Event) { m.bug(ev) }

// attemptTable says what each event means in each phase of an attempt. The index
// is the event's kind less callEvents.
func attemptTable() [attemptPhases][eventKinds - callEvents]attemptRule {
	return [attemptPhases][eventKinds - callEvents]attemptRule{
		idle: {
			EvStart - callEvents: start, EvRegistered - callEvents: never, EvSameFlow - callEvents: never,
			EvAlive - callEvents: never, EvFlowGone - callEvents: never,
			EvPushAccepted - callEvents: never, EvPushRefused - callEvents: never, EvTrying - callEvents: never,
			EvRinging - callEvents: never, EvAnswered - callEvents: never, EvUnusable - callEvents: never, EvFailed - callEvents: never, EvDoubt - callEvents: never,
			EvSecondChance - callEvents: never, EvVoIPDue - callEvents: never, EvRepeat - callEvents: never, EvGiveUp - callEvents: never, EvLose - callEvents: never,
		},
		pushing: {
			EvStart - callEvents: never, EvRegistered - callEvents: registered, EvSameFlow - callEvents: registered,
			EvAlive - callEvents: showsLife, EvFlowGone - callEvents: forgetFlow,
			EvPushAccepted - callEvents: accepted, EvPushRefused - callEvents: pushWasRefused, EvTrying - callEvents: never,
			EvRinging - callEvents: never, EvAnswered - callEvents: never, EvUnusable - callEvents: never, EvFailed - callEvents: never, EvDoubt - callEvents: inviteDoubtful,
			EvSecondChance - callEvents: never, EvVoIPDue - callEvents: voipDue, EvRepeat - callEvents: repeatAlert, EvGiveUp - callEvents: giveUp, EvLose - callEvents: lose,
		},
		pushed: {
			EvStart - callEvents: never, EvRegistered - callEvents: registered, EvSameFlow - callEvents: registered,
			EvAlive - callEvents: showsLife, EvFlowGone - callEvents: forgetFlow,
			EvPushAccepted - callEvents: accepted, EvPushRefused - callEvents: pushWasRefused, EvTrying - callEvents: never,
			EvRinging - callEvents: never, EvAnswered - callEvents: never, EvUnusable - callEvents: never, EvFailed - callEvents: never, EvDoubt - callEvents: inviteDoubtful,
			EvSecondChance - callEvents: secondChance, EvVoIPDue - callEvents: voipDue, EvRepeat - callEvents: repeatAlert, EvGiveUp - callEvents: giveUp, EvLose - callEvents: lose,
		},
		inviting: {
			EvStart - callEvents: never, EvRegistered - callEvents: supersede, EvSameFlow - callEvents: inviteAgain,
			EvAlive - callEvents: ignore, EvFlowGone - callEvents: flowWentAway,
			EvPushAccepted - callEvents: accepted, EvPushRefused - callEvents: pushWasRefused, EvTrying - callEvents: trying,
			EvRinging - callEvents: rang, EvAnswered - callEvents: answered, EvUnusable - callEvents: unusable, EvFailed - callEvents: inviteFailed, EvDoubt - callEvents: pushTheQuiet,
			EvSecondChance - callEvents: secondChance, EvVoIPDue - callEvents: voipDue, EvRepeat - callEvents: repeatAlert, EvGiveUp - callEvents: giveUpQuiet, EvLose - callEvents: lose,
		},
		rings: {
			EvStart - callEvents: never, EvRegistered - callEvents: supersede, EvSameFlow - callEvents: startedAnew,
			EvAlive - callEvents: ignore, EvFlowGone - callEvents: flowWentAway,
			EvPushAccepted - callEvents: accepted, EvPushRefused - callEvents: pushWasRefused, EvTrying - callEvents: trying,
			EvRinging - callEvents: rang, EvAnswered - callEvents: answered, EvUnusable - callEvents: unusable, EvFailed - callEvents: inviteFailed, EvDoubt - callEvents: ignore,
			EvSecondChance - callEvents: ignore, EvVoIPDue - callEvents: ignore, EvRepeat - callEvents: ignore, EvGiveUp - callEvents: ignore, EvLose - callEvents: lose,
		},
		flowLost: {
			EvStart - callEvents: never, EvRegistered - callEvents: registered, EvSameFlow - callEvents: registered,
			EvAlive - callEvents: ignore, EvFlowGone - callEvents: forgetFlow,
			EvPushAccepted - callEvents: accepted, EvPushRefused - callEvents: pushWasRefused, EvTrying - callEvents: trying,
			EvRinging - callEvents: rang, EvAnswered - callEvents: lateAnswer, EvUnusable - callEvents: lateAnswer, EvFailed - callEvents: inviteFailed, EvDoubt - callEvents: ignore,
			EvSecondChance - callEvents: secondChance, EvVoIPDue - callEvents: voipDue, EvRepeat - callEvents: repeatAlert, EvGiveUp - callEvents: giveUpLost, EvLose - callEvents: lose,
		},
		won:    decided(),
		lost:   decided(),
		failed: unlessItComes(decided()),
	}
}

// decided is the row of an attempt that is over: only a late 2xx needs a word.
func decided() [eventKinds - callEvents]attemptRule {
	return [eventKinds - callEvents]attemptRule{
		EvStart - callEvents: never, EvRegistered - callEvents: ignore, EvSameFlow - callEvents: ignore,
		EvAlive - callEvents: ignore, EvFlowGone - callEvents: ignore,
		EvPushAccepted - callEvents: latePush, EvPushRefused - callEvents: ignore, EvTrying - callEvents: ignore,
		EvRinging - callEvents: ignore, EvAnswered - callEvents: lateAnswer, EvUnusable - callEvents: lateAnswer, EvFailed - callEvents: inviteOver, EvDoubt - callEvents: ignore,
		EvSecondChance - callEvents: ignore, EvVoIPDue - callEvents: ignore, EvRepeat - callEvents: ignore, EvGiveUp - callEvents: ignore, EvLose - callEvents: ignore,
	}
}

// unlessItComes is the row of an attempt that failed: the device may come by itself.
func unlessItComes(row [eventKinds - callEvents]attemptRule) [eventKinds - callEvents]attemptRule {
	row[EvRegistered-callEvents], row[EvSameFlow-callEvents] = revive, revive
	return row
}

// start reaches for the device: over its flow, by push, or both (DESIGN s5,
// Reach).
func start(m *machine, a *Attempt, ev Event) {
	switch {
	case a.Busy:
		m.fail(a, Outcome{Rank: RankBusy, status: 486, reason: "the device is in another call (calls.waiting)"}, ev.Attempt)
	case a.Flow != 0 && (a.Alive || !a.canPush()):
		m.invite(a, ev.Attempt)
		if a.canPush() {
			m.attemptTimer(ev.Attempt, TimerDoubt, quietInvite)
		}
	case a.Flow != 0:
		a.Phase = pushing
		m.push(a, ev.Attempt)
		m.attemptTimer(ev.Attempt, TimerDoubt, doubtfulFlow)
		m.do(Action{Kind: ActWatchAlive, Attempt: ev.Attempt, Flow: a.Flow})
	case a.canPush():
		a.Phase = pushing
		m.push(a, ev.Attempt)
	default:
		m.fail(a, unreachable("the device is offline and cannot be woken: "+cmp.Or(a.Push.None, "it has no push token")), ev.Attempt)
	}
}

// registered is the event that all the waking is for.
func registered(m *machine, a *Attempt, ev Event) {
	m.cameOn(a, ev)
	m.invite(a, ev.Attempt)
}

func (m *machine) cameOn(a *Attempt, ev Event) {
	a.Flow, a.Alive, a.Came = ev.Flow, true, true
	m.do(Action{Kind: ActStopPush, Attempt: ev.Attempt})
	m.tell(StageRegistered)
}

func showsLife(m *machine, a *Attempt, ev Event) {
	if a.Flow != ev.Flow || a.Flow == 0 {
		return
	}
	a.Alive = true
	m.invite(a, ev.Attempt)
}

func forgetFlow(_ *machine, a *Attempt, ev Event) {
	if a.Flow == ev.Flow {
		a.Flow, a.Alive = 0, false
	}
}

// supersede sends a new INVITE on a new flow, unless an old one arrived at this very app.
func supersede(m *machine, a *Attempt, ev Event) {
	m.cameOn(a, ev)
	if ev.Reborn || !a.heard() {
		m.inviteAnew(a, ev)
	}
}

// inviteAgain: an INVITE without a 1xx may be lost. One that a proxy has may have gone to
// where the device was before a push brought it: that needs another one. So does an app that
// was started anew, unless the INVITE that is lost will do.
func inviteAgain(m *machine, a *Attempt, ev Event) {
	woken, relayed := a.WasPushed() && !a.Came, a.relayed(ev.Flow)
	m.cameOn(a, ev)
	if ev.Reborn && (relayed || a.heard()) || woken && relayed {
		m.inviteAnew(a, ev)
		return
	}
	for n := range a.invites {
		if in := &a.invites[n]; !in.over && !in.provisional && in.flow == ev.Flow {
			m.do(Action{Kind: ActAgain, Attempt: ev.Attempt, Invite: n})
		}
	}
}

// startedAnew: a flow may outlive the app that rings on it, over UDP and behind a proxy.
func startedAnew(m *machine, a *Attempt, ev Event) {
	if ev.Reborn {
		supersede(m, a, ev)
	}
}

// flowWentAway keeps the attempt: the user sees one call.
func flowWentAway(m *machine, a *Attempt, ev Event) {
	forgetFlow(m, a, ev)
	for n := range a.invites {
		if in := &a.invites[n]; in.flow == ev.Flow && !in.over {
			in.over = true
			m.do(Action{Kind: ActCancel, Attempt: ev.Attempt, Invite: n})
		}
	}
	if !a.standing() {
		m.recover(a, ev, lostFlow(a, "the connection to the device was lost"))
	}
}

// recover continues an attempt whose last INVITE did not get through on ev.flow:
// over the flow on which the device registered meanwhile, or when it registers.
// If nothing woke it yet, a push does.
func (m *machine) recover(a *Attempt, ev Event, o Outcome) {
	if a.Flow != 0 && a.Flow != ev.Flow && a.Alive {
		m.invite(a, ev.Attempt)
		return
	}
	if (!a.Arrived() || o.away) && (m.s.wakeOver || m.s.silent && a.pushOut() && !a.accepted()) {
		m.fail(a, o, ev.Attempt) // its time to wake is over
		return
	}
	a.Phase, a.Outcome = flowLost, o
	if !a.WasPushed() && a.canPush() && !m.s.wakeOver {
		m.push(a, ev.Attempt)
	}
}

// revive takes back a device that could not be reached and comes by itself while
// others ring: it was told nothing that would make it ignore the call.
func revive(m *machine, a *Attempt, ev Event) {
	if m.s.Unanswered() && a.mayRevive() {
		registered(m, a, ev)
	}
}

// giveUpQuiet ends an attempt whose pushes brought no sign of life; an INVITE that
// needed no push has its own time.
func giveUpQuiet(m *machine, a *Attempt, ev Event) {
	if !a.Trunk && a.WasPushed() && !a.Awake() {
		giveUp(m, a, ev)
	}
}

// giveUpLost ends an attempt that lost its flow, unless it was reached before: a
// phone between two networks comes back by itself. One that sent its INVITE away
// without ringing may not.
func giveUpLost(m *machine, a *Attempt, ev Event) {
	if !a.Arrived() || a.Outcome.away {
		giveUp(m, a, ev)
	}
}

func giveUp(m *machine, a *Attempt, ev Event) {
	o := unreachable(ev.Reason)
	if a.Outcome.Rank > RankNone {
		o = a.Outcome
	}
	m.fail(a, o, ev.Attempt)
}

// fail ends an attempt that was not won by anybody.
func (m *machine) fail(a *Attempt, o Outcome, i int) {
	a.Outcome = o
	m.leave(a, i, failed, Action{Status: 480, Reason: textNoAnswer})
}

// lose ends an attempt because the call was decided elsewhere.
func lose(m *machine, a *Attempt, ev Event) {
	if a.Outcome.reason == "" {
		a.Outcome.reason = ev.Reason // without a rank: nothing the caller hears of
	}
	m.leave(a, ev.Attempt, lost, Action{Status: ev.Status, Reason: ev.Reason, Reasons: ev.Reasons})
}

// leave cancels what is out and lets a device that was pushed and got no INVITE, or
// that lost it with its flow, know when it comes, unless the end is its own word. What a
// device said in the moment in which its flow went may still come: it may have the INVITE.
func (m *machine) leave(a *Attempt, i int, to AttemptPhase, why Action) {
	away := a.Phase == flowLost && !a.Outcome.Callee
	a.Phase = to
	m.do(Action{Kind: ActStopPush, Attempt: i})
	m.cancel(a, i, why)
	known := away && a.Arrived() || a.MayWake() && !a.Arrived()
	if known || away && len(a.invites) > 0 {
		m.do(Action{Kind: ActFate, Attempt: i, Status: why.Status, Reason: why.Reason, Maybe: !known, Wait: a.mayRevive()})
	}
}

// cancel takes back the INVITEs of an attempt that still stand. why has no status where
// the device goes on ringing for another one.
func (m *machine) cancel(a *Attempt, i int, why Action) {
	for n := range a.invites {
		if !a.invites[n].over {
			a.invites[n].over = true
			m.do(Action{Kind: ActCancel, Attempt: i, Invite: n, Status: why.Status, Reason: why.Reason, Reasons: why.Reasons})
		}
	}
}
