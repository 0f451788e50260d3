package bridge

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
			evRinging - callEvents: never, evAnswered - callEvents: never, evFailed - callEvents: never, evDoubt - callEvents: never,
			evSecondChance - callEvents: never, evGiveUp - callEvents: giveUp, evLose - callEvents: lose,
		},
		pushing: {
			evStart - callEvents: never, evRegistered - callEvents: registered, evSameFlow - callEvents: registered,
			evAlive - callEvents: showsLife, evFlowGone - callEvents: forgetFlow,
			evPushAccepted - callEvents: accepted, evPushRefused - callEvents: pushWasRefused, evTrying - callEvents: never,
			evRinging - callEvents: never, evAnswered - callEvents: never, evFailed - callEvents: never, evDoubt - callEvents: inviteDoubtful,
			evSecondChance - callEvents: never, evGiveUp - callEvents: giveUp, evLose - callEvents: lose,
		},
		pushed: {
			evStart - callEvents: never, evRegistered - callEvents: registered, evSameFlow - callEvents: registered,
			evAlive - callEvents: showsLife, evFlowGone - callEvents: forgetFlow,
			evPushAccepted - callEvents: accepted, evPushRefused - callEvents: pushWasRefused, evTrying - callEvents: never,
			evRinging - callEvents: never, evAnswered - callEvents: never, evFailed - callEvents: never, evDoubt - callEvents: inviteDoubtful,
			evSecondChance - callEvents: secondChance, evGiveUp - callEvents: giveUp, evLose - callEvents: lose,
		},
		inviting: {
			evStart - callEvents: never, evRegistered - callEvents: supersede, evSameFlow - callEvents: inviteAgain,
			evAlive - callEvents: ignore, evFlowGone - callEvents: flowWentAway,
			evPushAccepted - callEvents: accepted, evPushRefused - callEvents: pushWasRefused, evTrying - callEvents: trying,
			evRinging - callEvents: rang, evAnswered - callEvents: answered, evFailed - callEvents: inviteFailed, evDoubt - callEvents: pushTheQuiet,
			evSecondChance - callEvents: ignore, evGiveUp - callEvents: ignore, evLose - callEvents: lose,
		},
		rings: {
			evStart - callEvents: never, evRegistered - callEvents: supersede, evSameFlow - callEvents: ignore,
			evAlive - callEvents: ignore, evFlowGone - callEvents: flowWentAway,
			evPushAccepted - callEvents: accepted, evPushRefused - callEvents: pushWasRefused, evTrying - callEvents: trying,
			evRinging - callEvents: rang, evAnswered - callEvents: answered, evFailed - callEvents: inviteFailed, evDoubt - callEvents: ignore,
			evSecondChance - callEvents: ignore, evGiveUp - callEvents: ignore, evLose - callEvents: lose,
		},
		flowLost: {
			evStart - callEvents: never, evRegistered - callEvents: registered, evSameFlow - callEvents: registered,
			evAlive - callEvents: ignore, evFlowGone - callEvents: forgetFlow,
			evPushAccepted - callEvents: accepted, evPushRefused - callEvents: pushWasRefused, evTrying - callEvents: ignore,
			evRinging - callEvents: rang, evAnswered - callEvents: answered, evFailed - callEvents: inviteFailed, evDoubt - callEvents: ignore,
			evSecondChance - callEvents: secondChance, evGiveUp - callEvents: giveUp, evLose - callEvents: lose,
		},
		won:    decided(),
		lost:   decided(),
		failed: decided(),
	}
}

// decided is the row of an attempt that is over: only a late 2xx needs a word.
func decided() [eventKinds - callEvents]attemptRule {
	return [eventKinds - callEvents]attemptRule{
		evStart - callEvents: never, evRegistered - callEvents: ignore, evSameFlow - callEvents: ignore,
		evAlive - callEvents: ignore, evFlowGone - callEvents: ignore,
		evPushAccepted - callEvents: latePush, evPushRefused - callEvents: ignore, evTrying - callEvents: ignore,
		evRinging - callEvents: ignore, evAnswered - callEvents: lateAnswer, evFailed - callEvents: inviteOver, evDoubt - callEvents: ignore,
		evSecondChance - callEvents: ignore, evGiveUp - callEvents: ignore, evLose - callEvents: ignore,
	}
}

// start reaches for the device: over its flow, by push, or both (DESIGN s5,
// Reach).
func start(m *machine, a *attempt, ev event) {
	switch {
	case a.busy:
		m.fail(a, outcome{rankBusy, 486, "Busy Here", "the device is in another call"}, ev.attempt)
	case a.flow != 0 && (a.alive || !a.canPush()):
		m.invite(a, ev.attempt)
		if a.canPush() {
			m.attemptTimer(ev.attempt, timerDoubt, quietInvite)
		}
	case a.flow != 0:
		m.push(a, ev.attempt)
		a.phase = pushing
		m.attemptTimer(ev.attempt, timerDoubt, doubtfulFlow)
		m.do(action{kind: actWatchAlive, attempt: ev.attempt, flow: a.flow})
	case a.canPush():
		m.push(a, ev.attempt)
		a.phase = pushing
	default:
		reason := a.noPush
		if reason == "" {
			reason = "the device is offline and has no push token"
		}
		m.fail(a, unreachable(reason), ev.attempt)
	}
}

func (m *machine) push(a *attempt, i int) {
	if a.hasVoIP && a.voip == pushNone {
		a.voip = pushSent
		m.do(action{kind: actPush, attempt: i})
		return
	}
	a.alert = pushSent
	m.do(action{kind: actPush, attempt: i, alert: true})
}

// invite sends an INVITE on the attempt's flow.
func (m *machine) invite(a *attempt, i int) {
	a.invites = append(a.invites, invite{flow: a.flow})
	a.phase = inviting
	m.do(action{kind: actInvite, attempt: i, invite: len(a.invites) - 1, flow: a.flow})
}

// registered is the event that all the waking is for.
func registered(m *machine, a *attempt, ev event) {
	a.flow, a.alive = ev.flow, true
	m.do(action{kind: actStopPush, attempt: ev.attempt})
	m.tell(stageRegistered)
	m.invite(a, ev.attempt)
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

// supersede sends a new INVITE on a new flow, unless the old one arrived.
func supersede(m *machine, a *attempt, ev event) {
	a.flow, a.alive = ev.flow, true
	m.do(action{kind: actStopPush, attempt: ev.attempt})
	if cur := a.standing(); cur != nil && cur.provisional {
		return
	}
	m.invite(a, ev.attempt)
}

func inviteAgain(m *machine, a *attempt, ev event) {
	a.alive = true
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
	if a.standing() == nil {
		m.awaitFlow(a, ev.attempt, "the connection to the device was lost")
	}
}

// awaitFlow waits for the device to register, waking it if nothing woke it yet.
func (m *machine) awaitFlow(a *attempt, i int, reason string) {
	a.phase = flowLost
	a.outcome = unreachable(reason)
	if !a.wasPushed() && a.canPush() {
		m.push(a, i)
	}
}

func accepted(m *machine, a *attempt, ev event) {
	if ev.alert {
		a.alert = pushAccepted
	} else {
		a.voip = pushAccepted
		m.attemptTimer(ev.attempt, timerSecondChance, secondChanceAfter)
	}
	if a.phase == pushing {
		a.phase = pushed
	}
	m.tell(stagePushed)
}

// pushWasRefused tries the alert push; when nothing is left and no INVITE is
// out, the caller hears so at once (RFC 8599 s5.6.2).
func pushWasRefused(m *machine, a *attempt, ev event) {
	if ev.alert {
		a.alert = pushRefused
	} else {
		a.voip = pushRefused
	}
	if a.phase == rings {
		return
	}
	if !ev.alert && a.hasPush && a.alert == pushNone && a.noPush == "" {
		m.push(a, ev.attempt)
		return
	}
	if a.pushOut() || a.standing() != nil {
		return
	}
	if a.flow != 0 && len(a.invites) == 0 {
		m.invite(a, ev.attempt)
		return
	}
	m.fail(a, unreachable(ev.reason), ev.attempt)
}

// latePush: the push went out although the call was decided meanwhile; the
// device will ask for its fate. There is nothing to do, but it must be recorded.
func latePush(_ *machine, a *attempt, ev event) {
	if ev.alert {
		a.alert = pushAccepted
	} else {
		a.voip = pushAccepted
	}
}

func inviteDoubtful(m *machine, a *attempt, ev event) {
	if ev.gen == a.timers[timerDoubt] && a.flow != 0 && len(a.invites) == 0 {
		m.invite(a, ev.attempt)
	}
}

// pushTheQuiet wakes a device whose flow looked alive but brought no 1xx.
func pushTheQuiet(m *machine, a *attempt, ev event) {
	if ev.gen != a.timers[timerDoubt] || a.arrived() || a.wasPushed() || !a.canPush() {
		return
	}
	m.push(a, ev.attempt)
}

func secondChance(m *machine, a *attempt, ev event) {
	if ev.gen != a.timers[timerSecondChance] || a.voip != pushAccepted || !a.hasPush || a.alert != pushNone || a.noPush != "" {
		return
	}
	if len(a.invites) > 0 {
		return // it did register
	}
	m.push(a, ev.attempt)
}

func trying(_ *machine, a *attempt, ev event) {
	if ev.invite < len(a.invites) {
		a.invites[ev.invite].provisional = true
	}
}

func rang(m *machine, a *attempt, ev event) {
	trying(m, a, ev)
	if a.rangAt.IsZero() {
		a.rangAt = m.now
	}
	a.phase = rings
	m.do(action{kind: actStopPush, attempt: ev.attempt})
	m.tell(stageRinging)
}

// answered: the first 2xx wins, also without a 180.
func answered(m *machine, a *attempt, ev event) {
	if m.s.phase != waking && m.s.phase != ringing {
		lateAnswer(m, a, ev)
		return
	}
	a.phase = won
	m.s.phase, m.s.winner = answering, ev.attempt
	m.do(action{kind: actStopPush, attempt: ev.attempt})
	for n := range a.invites {
		if n != ev.invite && !a.invites[n].over {
			a.invites[n].over = true // a duplicate is cancelled without a reason
			m.do(action{kind: actCancel, attempt: ev.attempt, invite: n})
		}
	}
	m.do(action{kind: actAnswer, attempt: ev.attempt, invite: ev.invite})
	m.loseAll(ev.attempt, 200, "Call completed elsewhere", []string{reasonElsewhere})
}

func lateAnswer(m *machine, a *attempt, ev event) {
	if ev.invite >= len(a.invites) {
		return
	}
	a.invites[ev.invite].over = true
	m.do(action{kind: actBye, attempt: ev.attempt, invite: ev.invite, reasons: []string{reasonElsewhere}})
}

// inviteFailed: of several INVITEs to one device the last one standing decides,
// but a decline is the user's word on any of them.
func inviteFailed(m *machine, a *attempt, ev event) {
	inviteOver(m, a, ev)
	o, reached := outcomeOf(a, ev, m.s.terms.DeclineWindow, m.now)
	declined := ev.status == 600 || ev.status == 603
	if !declined && a.standing() != nil {
		return
	}
	if reached {
		m.fail(a, o, ev.attempt)
		return
	}
	if !a.wasPushed() && !a.canPush() && !ev.noFlow {
		m.fail(a, o, ev.attempt) // nothing could bring it back sooner than itself
		return
	}
	m.awaitFlow(a, ev.attempt, o.reason)
	a.outcome = o
}

func inviteOver(_ *machine, a *attempt, ev event) {
	if ev.invite < len(a.invites) {
		a.invites[ev.invite].over = true
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
	cause := o.status
	if cause != 603 {
		cause = 480
	}
	m.leave(a, i, failed, action{status: cause, reason: o.phrase})
}

// lose ends an attempt because the call was decided elsewhere.
func lose(m *machine, a *attempt, ev event) {
	m.leave(a, ev.attempt, lost, action{status: ev.status, reason: ev.reason, reasons: ev.reasons})
}

// leave cancels what is out and lets a device that was pushed, and got no
// INVITE, know when it comes.
func (m *machine) leave(a *attempt, i int, to attemptPhase, why action) {
	a.phase = to
	m.do(action{kind: actStopPush, attempt: i})
	for n := range a.invites {
		if a.invites[n].over {
			continue
		}
		a.invites[n].over = true
		m.do(action{kind: actCancel, attempt: i, invite: n, reasons: why.reasons})
	}
	if a.pushOut() && !a.arrived() {
		m.do(action{kind: actFate, attempt: i, status: why.status, reason: why.reason})
	}
}
