package rules

import "slices"

// invite sends an INVITE on the attempt's flow.
func (m *machine) invite(a *Attempt, i int) {
	a.invites = append(a.invites, Invite{flow: a.Flow})
	a.Phase, a.Outcome = inviting, Outcome{}
	m.do(Action{Kind: ActInvite, Attempt: i, Invite: len(a.invites) - 1, Flow: a.Flow})
}

// inviteAnew sends an INVITE to a device that registered while another one is out. That one
// is not cancelled: apps find calls by Call-ID.
func (m *machine) inviteAnew(a *Attempt, ev Event) {
	m.invite(a, ev.Attempt)
	a.invites[len(a.invites)-1].anew = ev.Reborn
}

// invited is the INVITE that an event is about.
func (a *Attempt) invited(ev Event) *Invite {
	if ev.Invite < 0 || ev.Invite >= len(a.invites) {
		return &Invite{over: true}
	}
	return &a.invites[ev.Invite]
}

// trying: the 100 of a proxy says nothing of the device behind it, which may be asleep.
func trying(_ *machine, a *Attempt, ev Event) {
	in := a.invited(ev)
	in.relayed = in.relayed || ev.Relayed
	in.provisional = in.provisional || !ev.Relayed
}

func rang(m *machine, a *Attempt, ev Event) {
	in := a.invited(ev)
	in.provisional, in.rang = true, true
	if in.over {
		return
	}
	if a.rangAt.IsZero() {
		a.rangAt = m.now
	}
	later := a.invites[ev.Invite+1:]
	for n := range later {
		later[n].anew = false // its app knows this one
	}
	a.Phase = rings
	m.do(Action{Kind: ActStopPush, Attempt: ev.Attempt})
	if ev.Early && m.mayHear() {
		m.s.early, m.s.tone = true, false
		m.provisional(StageRinging)
		m.do(Action{Kind: ActEarly, Attempt: ev.Attempt, Invite: ev.Invite, Stage: StageRinging})
		return
	}
	m.tell(StageRinging)
}

// answered: the first 2xx wins, also without a 180.
func answered(m *machine, a *Attempt, ev Event) {
	in := a.invited(ev)
	if in.over || !m.s.Unanswered() {
		lateAnswer(m, a, ev)
		return
	}
	in.provisional = true
	a.Phase, a.Outcome = won, Outcome{}
	m.s.Phase, m.s.Winner, m.s.Answer = Answering, ev.Attempt, ev.Invite
	m.s.tone = false
	m.do(Action{Kind: ActStopPush, Attempt: ev.Attempt})
	in.over = true
	m.cancel(a, ev.Attempt, Action{}) // duplicates, without a reason
	in.over = false
	m.do(Action{Kind: ActAnswer, Attempt: ev.Attempt, Invite: ev.Invite})
	m.loseAll(ev.Attempt, 200, TextElsewhere, []string{reasonElsewhere})
}

// unusable: the device answered with what the caller cannot be given. The others
// may do better.
func unusable(m *machine, a *Attempt, ev Event) {
	in := a.invited(ev)
	if in.over || !m.s.Unanswered() {
		lateAnswer(m, a, ev)
		return
	}
	in.over, in.provisional = true, true
	m.do(Action{Kind: ActBye, Attempt: ev.Attempt, Invite: ev.Invite})
	ev.Reason = described("the answer cannot be passed on", ev)
	m.fail(a, ownFailure(ev), ev.Attempt)
}

// lateAnswer ends the dialog of a 2xx that nobody waits for any more. That of a
// duplicate must not tell its device that another one answered.
func lateAnswer(m *machine, a *Attempt, ev Event) {
	if ev.Attempt == m.s.Winner && ev.Invite == m.s.Answer {
		m.bug(ev) // a leg is answered once
		return
	}
	in := a.invited(ev)
	in.over, in.provisional = true, true
	var reasons []string
	if m.s.Winner != NoWinner && m.s.Winner != ev.Attempt {
		reasons = []string{reasonElsewhere}
	}
	m.do(Action{Kind: ActBye, Attempt: ev.Attempt, Invite: ev.Invite, Reasons: reasons})
}

// inviteFailed: of several INVITEs to one device the last one standing decides,
// but a decline is the user's word on any of them.
func inviteFailed(m *machine, a *Attempt, ev Event) {
	in := a.invited(ev)
	counts := !in.over
	in.over, in.provisional = true, in.provisional || ev.FromDevice()
	in.anew = in.anew && (in.rang || !ev.FromDevice()) // who refuses a duplicate knows the one before
	declined := ev.Status == 600 || ev.Status == 603
	if !declined && (!counts || a.standing()) {
		return
	}
	o, reached := outcomeOf(a, ev, m.s.Terms.DeclineWindow, m.now)
	ev.Flow = in.flow
	switch {
	case reached:
		m.fail(a, o, ev.Attempt)
	case !ev.NoFlow && !a.WasPushed() && !a.canPush():
		m.fail(a, o, ev.Attempt) // nothing could bring it back sooner than itself
	default:
		m.recover(a, ev, o)
	}
}

// FromDevice says that a failure is the word of whom we invited, and not that he
// could not be reached.
func (ev Event) FromDevice() bool {
	return !ev.NoFlow && !ev.Own && !ev.Relayed && !slices.Contains([]int{408, 430, 480, 503}, ev.Status)
}

func inviteOver(_ *machine, a *Attempt, ev Event) { a.invited(ev).over = true }
