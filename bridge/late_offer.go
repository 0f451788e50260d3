package bridge

import (
	"errors"
	"slices"

	"wakebridge/bridge/media"
	"wakebridge/bridge/sdes"
	"wakebridge/bridge/sdp"
	"wakebridge/sipua/leg"
)

// Late offers (RFC 3261 s13.2.1, s14.1): who sends an INVITE or re-INVITE without SDP
// gets an offer of ours in the 200, and its answer comes in the ACK. The other leg never
// sees an INVITE without SDP, which not every app's stack takes. It is offered what the
// answer changed, by an ordinary re-INVITE, and is asked nothing where that is nothing: a
// session refresh must not disturb a phone that may be asleep.

// reasonNoMedia ends a call whose caller did not answer our offer.
const reasonNoMedia = `SIP;cause=488;text="No usable answer in the ACK"`

var (
	errNoAnswer error = errors.New("it has no answer to our offer")
	errNoStream error = errors.New("it accepts no stream")
)

// offerForCaller begins the media of a call whose caller makes no offer.
func (c *Call) offerForCaller() error {
	terms := c.b.cfg.Terms
	if _, _, err := terms.SRTP.Offers(c.origin.Trunk == "", private(c.tx.Flow())); err != nil {
		return err // before anybody is woken
	}
	offer, err := sdp.Plain(terms.Codecs)
	if err != nil {
		return err
	}
	c.note("the INVITE has no offer: the callee gets one of ours")
	c.media = newCallMedia(c, offer)
	c.media.late = true
	return nil
}

// lateKeys are those to offer a caller that made no offer. It cannot refuse SRTP and be
// asked again, so where plain RTP will do it is offered that, and keys for whom knows of
// them (RFC 8643).
func (m *callMedia) lateKeys(d *sdp.Description) (sdes.Protection, error) {
	secure, orPlain, err := m.c.b.cfg.Terms.SRTP.Offers(m.isApp(m.c.a.Leg), private(m.c.a.Flow()))
	if err != nil || !secure {
		return sdes.Protection{}, err
	}
	return m.keys[m.a].Offer(d, func(int) bool { return orPlain })
}

// propose is connect for a caller that made no offer: the callee's side is ready, the
// caller's waits for begin.
func (m *callMedia) propose(t *try, b *leg.Leg, s *session) {
	m.hold(t.side, b, said{s.answer, m.offer, s.b})
	m.wants(b, s.answer, m.offer)
	m.keypads.settled(b, s.answer, s.offered)
	m.asked = &exchange{from: b, to: m.c.a.Leg, offer: s.answer, basis: s.basis, sent: s.told, inAck: true}
}

// begin joins the sides by the answer in the ACK of a caller that made no offer.
func (m *callMedia) begin(body []byte) error {
	x := m.asked
	if x == nil || !x.inAck || !m.late {
		return nil
	}
	m.asked = nil
	if err := m.accept(x, body); err != nil {
		return err
	}
	answer := m.agreed[x.to]
	if !slices.ContainsFunc(answer.Streams(), sdp.Stream.Active) {
		return errNoStream
	}
	t := m.c.attempts[m.c.state.Winner]
	media.Join(m.a, t.side)
	m.answered(t)
	m.follow(x, m.offer)
	return nil
}

// offerAnew answers a re-INVITE without an offer by the session of the other leg as it
// is, except that its directions are those that the other leg wants by itself: who put
// it on hold may be about to take it back.
func (m *callMedia) offerAnew(from *leg.Leg, own *media.Side, other *leg.Leg) error {
	offer := m.agreed[other]
	if offer == nil {
		return errOver
	}
	offer = offer.Directed(m.wishes[other])
	basis := m.keypads.reoffer(from, offer)
	out, err := m.reoffer(basis, own, from.Flow())
	if err != nil {
		return err
	}
	if err := from.AnswerOffer(out.Bytes()); err != nil {
		m.c.late("answer offer", err)
		return nil
	}
	m.c.note("re-INVITE without an offer: the session is offered anew")
	m.asked = &exchange{from: other, to: from, offer: offer, basis: basis, sent: out, inAck: true}
	return nil
}

// confirmed takes the answer in the ACK of a re-INVITE without an offer. If there is
// none, nothing was agreed and the session stays as it was. One that cannot be used may
// be what the leg goes by all the same, and an ACK cannot be refused: the leg is offered
// the session as it was.
func (m *callMedia) confirmed(l *leg.Leg, body []byte) {
	x := m.asked
	if x == nil || !x.inAck || x.to != l || m.closed {
		return
	}
	m.asked = nil
	before := m.agreed[l]
	switch err := m.accept(x, body); {
	case err == nil:
		m.follow(x, before)
	case errors.Is(err, errNoAnswer):
		m.c.note("the ACK has no answer to our offer: the session stays as it was")
	default:
		m.c.note("the answer in the ACK cannot be used: %v", err)
		m.restore(x)
	}
}

func (m *callMedia) accept(x *exchange, body []byte) error {
	if len(body) == 0 {
		return errNoAnswer
	}
	return m.restored(x, body)
}

// follow tells the other leg of an exchange what the answer in the ACK changed since
// before.
func (m *callMedia) follow(x *exchange, before *sdp.Description) {
	if !sdp.Crosses(before, m.agreed[x.to], m.agreed[x.from]) {
		return
	}
	if m.bring(x.to, x.from, "re-INVITE with what the ACK answered") {
		m.asked.follows = true
		return
	}
	m.restore(x)
}

// wants notes which directions a leg wants by itself: those of its offer (other is nil),
// or of its answer to an offer that left it every choice. An answer to a hold says
// nothing of what its author would do otherwise.
func (m *callMedia) wants(l *leg.Leg, theirs, other *sdp.Description) {
	streams := theirs.Streams()
	wishes := make([]sdp.Direction, len(streams))
	copy(wishes, m.wishes[l])
	var others []sdp.Stream
	if other != nil {
		others = other.Streams()
	}
	for i, s := range streams {
		if free := i >= len(others) || others[i].Sends() && others[i].Receives(); free {
			wishes[i] = s.Direction
		}
	}
	m.wishes[l] = wishes
}
