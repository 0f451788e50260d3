package rules

// push sends the push that the device was not sent yet: VoIP first, or alert
// first to a device that VoIP pushes do not wake any more.
func (m *machine) push(a *Attempt, i int) {
	a.Came = false
	first := a.Push.Suspect && a.HasPush && a.Alert == PushNone
	if a.HasVoIP && a.VoIP == PushNone && !first {
		m.pushVoIP(a, i)
		return
	}
	a.Alert = PushSent
	m.do(Action{Kind: ActPush, Attempt: i, Alert: true})
	m.repeatLater(a, i)
	if first && a.HasVoIP && a.VoIP == PushNone && a.Push.After < m.s.Terms.WakeTimeout {
		m.attemptTimer(i, TimerVoIP, max(a.Push.After, 0))
	}
}

func (m *machine) pushVoIP(a *Attempt, i int) {
	a.VoIP = PushSent
	m.do(Action{Kind: ActPush, Attempt: i})
}

func (m *machine) repeatLater(a *Attempt, i int) {
	if a.Push.Repeat > 0 {
		m.attemptTimer(i, TimerRepeat, a.Push.Repeat)
	}
}

// voipDue gives a suspected device its VoIP push, once it is due.
func voipDue(m *machine, a *Attempt, ev Event) {
	if !a.Awake() && a.HasVoIP && a.VoIP == PushNone && !m.s.wakeOver {
		m.pushVoIP(a, ev.Attempt)
	}
}

// repeatAlert sends the alert push again as long as the device is asleep
// (apps[].alert_repeat): a notification rings but once.
func repeatAlert(m *machine, a *Attempt, ev Event) {
	if out := a.Alert == PushSent || a.Alert == PushAccepted; !out || a.Awake() || m.s.wakeOver {
		return
	}
	m.do(Action{Kind: ActPush, Attempt: ev.Attempt, Alert: true})
	m.repeatLater(a, ev.Attempt)
}

// pushed notes what became of a push. The sender's policy may have chosen an alert
// push where a VoIP push was thought of: then there will be none of the latter.
func (a *Attempt) pushed(alert bool, s PushState) {
	if alert && a.Alert == PushNone && a.VoIP == PushSent {
		a.HasVoIP, a.VoIP = false, PushNone
	}
	was := &a.VoIP
	if alert {
		was = &a.Alert
	}
	if *was != PushAccepted {
		*was = s
	}
}

func accepted(m *machine, a *Attempt, ev Event) {
	a.pushed(ev.Alert, PushAccepted)
	if !ev.Alert {
		m.attemptTimer(ev.Attempt, TimerSecondChance, SecondChanceAfter)
	}
	if a.Phase == pushing {
		a.Phase = pushed
	}
	m.tell(StagePushed)
}

// pushWasRefused tries the other push; when nothing is left and no INVITE is
// out, the caller hears so at once (RFC 8599 s5.6.2).
func pushWasRefused(m *machine, a *Attempt, ev Event) {
	a.pushed(ev.Alert, PushRefused)
	a.maybe = a.maybe || ev.Maybe
	if ev.Alert {
		a.timers[TimerRepeat]++ // a token that was refused once is not tried again
	}
	switch {
	case a.Awake():
	case a.canPush() && !m.s.wakeOver:
		m.push(a, ev.Attempt)
	case a.pushOut(), a.standing():
	case a.Flow != 0 && len(a.invites) == 0:
		m.invite(a, ev.Attempt)
	default:
		m.fail(a, unreachable(ev.Reason), ev.Attempt)
	}
}

// latePush: the push went out although the attempt is over; the device will ask for
// its fate. There is one already, unless all pushes seemed to be refused at its end.
func latePush(m *machine, a *Attempt, ev Event) {
	known := a.MayWake()
	a.pushed(ev.Alert, PushAccepted)
	if known || a.Arrived() || !a.MayWake() {
		return
	}
	fate := Action{Kind: ActFate, Attempt: ev.Attempt, Status: 480, Reason: textNoAnswer}
	if m.s.Winner != NoWinner {
		fate.Status, fate.Reason = 200, TextElsewhere
	}
	m.do(fate)
}

// inviteDoubtful tries the old flow although it shows no life.
func inviteDoubtful(m *machine, a *Attempt, ev Event) {
	if a.Flow != 0 && len(a.invites) == 0 {
		m.invite(a, ev.Attempt)
	}
}

// pushTheQuiet wakes a device whose flow looked alive but brought no 1xx.
func pushTheQuiet(m *machine, a *Attempt, ev Event) {
	if !a.Awake() && !a.WasPushed() && a.canPush() {
		m.push(a, ev.Attempt)
	}
}

// secondChance tries what the user can see when the VoIP push, which the push
// service accepted, brought no device here: iOS may block it.
func secondChance(m *machine, a *Attempt, ev Event) {
	if !a.Awake() && a.VoIP == PushAccepted && a.canPush() && !m.s.wakeOver {
		m.push(a, ev.Attempt)
	}
}
