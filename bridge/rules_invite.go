package bridge

import "slices"

// invite sends an INVITE on the attempt's flow.
func (m *machine) invite(a *attempt, i int) {
	a.invites = append(a.invites, invite{flow: a.flow})
	a.phase, a.outcome = inviting, outcome{}
	m.do(action{kind: actInvite, attempt: i, invite: len(a.invites) - 1, flow: a.flow})
}

// invited is the INVITE that an event is about.
func (a *attempt) invited(ev event) *invite {
	if ev.invite < 0 || ev.invite >= len(a.invites) {
		return &invite{over: true}
	}
	return &a.invites[ev.invite]
}

func trying(_ *machine, a *attempt, ev event) { a.invited(ev).provisional = true }

func rang(m *machine, a *attempt, ev event) {
	in := a.invited(ev)
	in.provisional = true
	if in.over {
		return
	}
	if a.rangAt.IsZero() {
		a.rangAt = m.now
	}
	a.phase = rings
	m.do(action{kind: actStopPush, attempt: ev.attempt})
	if ev.early && m.mayHear() {
		m.s.early, m.s.tone = true, false
		m.provisional(stageRinging)
		m.do(action{kind: actEarly, attempt: ev.attempt, invite: ev.invite, stage: stageRinging})
		return
	}
	m.tell(stageRinging)
}

// answered: the first 2xx wins, also without a 180.
func answered(m *machine, a *attempt, ev event) {
	in := a.invited(ev)
	if in.over || !m.s.unanswered() {
		lateAnswer(m, a, ev)
		return
	}
	in.provisional = true
	a.phase, a.outcome = won, outcome{}
	m.s.phase, m.s.winner, m.s.answer = answering, ev.attempt, ev.invite
	m.s.tone = false
	m.do(action{kind: actStopPush, attempt: ev.attempt})
	in.over = true
	m.cancel(a, ev.attempt, action{}) // duplicates, without a reason
	in.over = false
	m.do(action{kind: actAnswer, attempt: ev.attempt, invite: ev.invite})
	m.loseAll(ev.attempt, 200, textElsewhere, []string{reasonElsewhere})
}

// unusable: the device answered with what the caller cannot be given. The others
// may do better.
func unusable(m *machine, a *attempt, ev event) {
	in := a.invited(ev)
	if in.over || !m.s.unanswered() {
		lateAnswer(m, a, ev)
		return
	}
	in.over, in.provisional = true, true
	m.do(action{kind: actBye, attempt: ev.attempt, invite: ev.invite})
	ev.reason = described("the answer cannot be passed on", ev)
	m.fail(a, ownFailure(ev), ev.attempt)
}

// lateAnswer ends the dialog of a 2xx that nobody waits for any more. That of a
// duplicate must not tell its device that another one answered.
func lateAnswer(m *machine, a *attempt, ev event) {
	if ev.attempt == m.s.winner && ev.invite == m.s.answer {
		m.bug(ev) // a leg is answered once
		return
	}
	in := a.invited(ev)
	in.over, in.provisional = true, true
	var reasons []string
	if m.s.winner != noWinner && m.s.winner != ev.attempt {
		reasons = []string{reasonElsewhere}
	}
	m.do(action{kind: actBye, attempt: ev.attempt, invite: ev.invite, reasons: reasons})
}

// inviteFailed: of several INVITEs to one device the last one standing decides,
// but a decline is the user's word on any of them.
func inviteFailed(m *machine, a *attempt, ev event) {
	in := a.invited(ev)
	counts := !in.over
	in.over, in.provisional = true, in.provisional || ev.fromDevice()
	declined := ev.status == 600 || ev.status == 603
	if !declined && (!counts || a.standing()) {
		return
	}
	o, reached := outcomeOf(a, ev, m.s.terms.DeclineWindow, m.now)
	ev.flow = in.flow
	switch {
	case reached:
		m.fail(a, o, ev.attempt)
	case !ev.noFlow && !a.wasPushed() && !a.canPush():
		m.fail(a, o, ev.attempt) // nothing could bring it back sooner than itself
	default:
		m.recover(a, ev, o)
	}
}

// fromDevice says that a failure is the word of whom we invited, and not that he
// could not be reached.
func (ev event) fromDevice() bool {
	return !ev.noFlow && !ev.own && !slices.Contains([]int{408, 430, 480, 503}, ev.status)
}

func inviteOver(_ *machine, a *attempt, ev event) { a.invited(ev).over = true }
