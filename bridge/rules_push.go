package bridge

// push sends the push that the device was not sent yet: VoIP first, or alert
// first to a device that VoIP pushes do not wake any more.
func (m *machine) push(a *attempt, i int) {
	a.came = false
	first := a.push.suspect && a.hasPush && a.alert == pushNone
	if a.hasVoIP && a.voip == pushNone && !first {
		m.pushVoIP(a, i)
		return
	}
	a.alert = pushSent
	m.do(action{kind: actPush, attempt: i, alert: true})
	m.repeatLater(a, i)
	if first && a.hasVoIP && a.voip == pushNone && a.push.after < m.s.terms.WakeTimeout {
		m.attemptTimer(i, timerVoIP, max(a.push.after, 0))
	}
}

func (m *machine) pushVoIP(a *attempt, i int) {
	a.voip = pushSent
	m.do(action{kind: actPush, attempt: i})
}

func (m *machine) repeatLater(a *attempt, i int) {
	if a.push.repeat > 0 {
		m.attemptTimer(i, timerRepeat, a.push.repeat)
	}
}

// voipDue gives a suspected device its VoIP push, once it is due.
func voipDue(m *machine, a *attempt, ev event) {
	if !a.awake() && a.hasVoIP && a.voip == pushNone && !m.s.wakeOver {
		m.pushVoIP(a, ev.attempt)
	}
}

// repeatAlert sends the alert push again as long as the device is asleep
// (apps[].alert_repeat): a notification rings but once.
func repeatAlert(m *machine, a *attempt, ev event) {
	if out := a.alert == pushSent || a.alert == pushAccepted; !out || a.awake() || m.s.wakeOver {
		return
	}
	m.do(action{kind: actPush, attempt: ev.attempt, alert: true})
	m.repeatLater(a, ev.attempt)
}

// pushed notes what became of a push. The sender's policy may have chosen an alert
// push where a VoIP push was thought of: then there will be none of the latter.
func (a *attempt) pushed(alert bool, s pushState) {
	if alert && a.alert == pushNone && a.voip == pushSent {
		a.hasVoIP, a.voip = false, pushNone
	}
	was := &a.voip
	if alert {
		was = &a.alert
	}
	if *was != pushAccepted {
		*was = s
	}
}

func accepted(m *machine, a *attempt, ev event) {
	a.pushed(ev.alert, pushAccepted)
	if !ev.alert {
		m.attemptTimer(ev.attempt, timerSecondChance, secondChanceAfter)
	}
	if a.phase == pushing {
		a.phase = pushed
	}
	m.tell(stagePushed)
}

// pushWasRefused tries the other push; when nothing is left and no INVITE is
// out, the caller hears so at once (RFC 8599 s5.6.2).
func pushWasRefused(m *machine, a *attempt, ev event) {
	a.pushed(ev.alert, pushRefused)
	a.maybe = a.maybe || ev.maybe
	if ev.alert {
		a.timers[timerRepeat]++ // a token that was refused once is not tried again
	}
	switch {
	case a.awake():
	case a.canPush() && !m.s.wakeOver:
		m.push(a, ev.attempt)
	case a.pushOut(), a.standing():
	case a.flow != 0 && len(a.invites) == 0:
		m.invite(a, ev.attempt)
	default:
		m.fail(a, unreachable(ev.reason), ev.attempt)
	}
}

// latePush: the push went out although the attempt is over; the device will ask for
// its fate. There is one already, unless all pushes seemed to be refused at its end.
func latePush(m *machine, a *attempt, ev event) {
	known := a.mayWake()
	a.pushed(ev.alert, pushAccepted)
	if known || a.arrived() || !a.mayWake() {
		return
	}
	fate := action{kind: actFate, attempt: ev.attempt, status: 480, reason: textNoAnswer}
	if m.s.winner != noWinner {
		fate.status, fate.reason = 200, textElsewhere
	}
	m.do(fate)
}

// inviteDoubtful tries the old flow although it shows no life.
func inviteDoubtful(m *machine, a *attempt, ev event) {
	if a.flow != 0 && len(a.invites) == 0 {
		m.invite(a, ev.attempt)
	}
}

// pushTheQuiet wakes a device whose flow looked alive but brought no 1xx.
func pushTheQuiet(m *machine, a *attempt, ev event) {
	if !a.awake() && !a.wasPushed() && a.canPush() {
		m.push(a, ev.attempt)
	}
}

// secondChance tries what the user can see when the VoIP push, which the push
// service accepted, brought no device here: iOS may block it.
func secondChance(m *machine, a *attempt, ev event) {
	if !a.awake() && a.voip == pushAccepted && a.canPush() && !m.s.wakeOver {
		m.push(a, ev.attempt)
	}
}
