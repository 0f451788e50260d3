package bridge

// push sends the push that the device was not sent yet: VoIP first.
func (m *machine) push(a *attempt, i int) {
	alert := !a.hasVoIP || a.voip != pushNone
	if alert {
		a.alert = pushSent
	} else {
		a.voip = pushSent
	}
	a.came = false
	m.do(action{kind: actPush, attempt: i, alert: alert})
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

// pushWasRefused tries the alert push; when nothing is left and no INVITE is
// out, the caller hears so at once (RFC 8599 s5.6.2).
func pushWasRefused(m *machine, a *attempt, ev event) {
	a.pushed(ev.alert, pushRefused)
	switch {
	case a.awake():
	case !ev.alert && a.canPush() && !m.s.wakeOver:
		m.push(a, ev.attempt)
	case a.pushOut(), a.standing():
	case a.flow != 0 && len(a.invites) == 0:
		m.invite(a, ev.attempt)
	default:
		m.fail(a, unreachable(ev.reason), ev.attempt)
	}
}

// latePush: the push went out although the call was decided meanwhile; the
// device will ask for its fate. There is nothing to do, but it must be recorded.
func latePush(_ *machine, a *attempt, ev event) { a.pushed(ev.alert, pushAccepted) }

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
