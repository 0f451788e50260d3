package bridge

import (
	"bytes"

	"wakebridge/bridge/rules"
)

// Early media: the SDP of a 183 goes to the caller while its attempt is the only one
// (DESIGN s5). From then on the caller has an SDP, which the 200 repeats (RFC 3261
// s13.2.1). But a trunk may change its mind: a call that is forwarded, or answered by
// somebody else than who announced something, has another SDP in its next 183 or its 200.

// early is an attempt whose early media was relayed.
type early struct {
	try *try
	leg *tried
}

// early passes on what a callee wants to be heard before it answers; where that
// cannot be, the caller hears that it rings.
func (c *Call) early(a rules.Action) {
	t := c.attempts[a.Attempt]
	session, err := c.media.agree(t, t.legs[a.Invite], t.legs[a.Invite].early)
	if err != nil {
		c.note("%s: early media cannot be relayed: %v", t.name, err)
		c.ring(a)
		return
	}
	c.media.connect(t, t.legs[a.Invite].leg, session)
	c.media.sent = session.body
	c.media.heard = &early{t, t.legs[a.Invite]}
	c.note("early media from %s", t.name)
	c.ring(a)
}

// earlyAgain takes over what the callee says anew before it answers: where its media is
// now. Another codec than the caller has must wait for the answer.
func (m *callMedia) earlyAgain(t *try, l *tried, was []byte) {
	if m.heard == nil || m.heard.leg != l || bytes.Equal(was, l.early) {
		return
	}
	session, err := m.agree(t, l, l.early)
	switch {
	case err != nil:
		m.c.note("%s: its new early media cannot be relayed: %v", t.name, err)
	case session.unfit:
		m.c.note("%s: its new early media cannot be relayed: it has none of the codecs that the caller was told", t.name)
	default:
		m.connect(t, l.leg, session)
		m.c.note("early media from %s, anew", t.name)
	}
}

// straighten offers a caller an answer that does not fit the SDP that it has, once that
// session stands.
func (m *callMedia) straighten() {
	l := m.c.winner()
	if l == nil || l.session == nil || !l.session.astray || m.asked != nil {
		return
	}
	if m.bring(l.leg, m.c.a.Leg, "re-INVITE with the answer, which differs from the early media") {
		l.session.astray = false
		m.asked.straightens = l.session.unfit
	}
}

// narrow offers the callee the codecs of the early media alone: the caller refused those of
// the answer.
func (m *callMedia) narrow(x *exchange) {
	kept, err := m.promised(m.agreed[x.to])
	if err == nil {
		m.agreed[x.to] = kept
		if m.bring(x.to, x.from, "re-INVITE with the codecs that the caller keeps to") {
			m.asked.narrows = true
			return
		}
	}
	m.c.Hangup("the legs have no codec in common")
}
