package bridge

import (
	"errors"

	"wakebridge/bridge/media"
	"wakebridge/bridge/sdes"
	"wakebridge/bridge/sdp"
	"wakebridge/sipua"
	"wakebridge/sipua/leg"
)

// exchange is a re-INVITE that went through.
type exchange struct {
	from, to *leg.Leg
	offer    *sdp.Description
	basis    *sdp.Description // what sent was made of: offer, perhaps with telephone events
	sent     *sdp.Description // what to was offered
	// void: from does not wait for the answer, because it took its offer back, or
	// because this one only brings to back to where from is.
	void bool
	// follows: it tells to what from answered to an offer of ours; if to refuses it, or
	// has not the codec that from sends, from is brought back.
	follows bool
	// straightens: it tells the caller of an answer with other codecs than its early media.
	// narrows: who answered so is offered what the caller keeps to, because that refused.
	straightens, narrows bool
	// inAck: the answer comes in the ACK, because to asked us for the offer.
	inAck bool
}

// sides are a leg's own side, the other leg and its side; false unless the call
// is answered.
func (m *callMedia) sides(from *leg.Leg) (own *media.Side, other *leg.Leg, its *media.Side, ok bool) {
	b := m.c.winner()
	if b == nil || m.closed {
		return nil, nil, nil, false
	}
	side := m.c.attempts[m.c.state.Winner].side
	switch from {
	case m.c.a.Leg:
		return m.a, b.leg, side, true
	case b.leg:
		return side, m.c.a.Leg, m.a, true
	}
	return nil, nil, nil, false
}

// offered passes a re-INVITE to the other leg (hold, resume, a new codec).
func (m *callMedia) offered(from *leg.Leg, body []byte) {
	own, other, its, ok := m.sides(from)
	refuse := func(status int, why string) {
		m.c.note("re-INVITE refused: %s", why)
		m.c.late("reject offer", from.RejectOffer(status, ""))
	}
	fail := func(err error) {
		m.c.note("re-INVITE refused: %v", err)
		m.c.late("reject offer", from.RejectOffer(sipua.Status(err), sdes.Phrase(err)))
	}
	switch {
	case !ok:
		refuse(491, "the call is not answered")
		return
	case m.asked != nil:
		refuse(491, "another re-INVITE is pending")
		return
	case len(body) == 0:
		if err := m.offerAnew(from, own, other); err != nil {
			fail(err)
		}
		return
	}
	offer, err := sdp.Parse(body)
	if err == nil {
		offer, err = m.c.admit(offer, m.isApp(from), from.Flow())
	}
	if err == nil {
		err = m.keys[own].Check(offer)
	}
	if err == nil {
		n := len(offer.Streams())
		if err = errors.Join(own.Grow(n), its.Grow(n)); err != nil {
			err = noPorts(err)
		}
	}
	if err != nil {
		fail(err)
		return
	}
	basis := m.keypads.reoffer(other, offer)
	out, err := m.reoffer(basis, its, other.Flow())
	if err != nil {
		fail(err)
		return
	}
	if err := other.Reinvite(out.Bytes()); err != nil {
		refuse(491, err.Error())
		return
	}
	m.c.note("re-INVITE passed on")
	m.asked = &exchange{from: from, to: other, offer: offer, basis: basis, sent: out}
}

// reoffer makes the offer of a re-INVITE: what d says, with the protection that the
// leg has.
func (m *callMedia) reoffer(d *sdp.Description, side *media.Side, f *sipua.Flow) (*sdp.Description, error) {
	d, err := m.protected(d, side)
	if err != nil {
		return nil, err
	}
	keys, err := m.offerSRTP(d, side, f)
	if err != nil {
		return nil, err
	}
	return m.offering(d, side, f, keys)
}

// answeredOffer brings the answer to a re-INVITE back.
func (m *callMedia) answeredOffer(to *leg.Leg, ev leg.OfferAnswered) {
	x := m.asked
	if x == nil || x.to != to || x.inAck {
		return
	}
	m.asked = nil
	defer m.straighten() // if that had to wait
	if ev.Status < 200 || ev.Status > 299 {
		m.c.note("re-INVITE refused by the other leg: %d", ev.Status)
		switch {
		case x.straightens:
			m.narrow(x)
		case x.narrows:
			m.c.Hangup("the legs have no codec in common")
		case x.follows:
			m.bring(x.to, x.from, "session restored")
		case !x.void:
			m.c.late("reject offer", x.from.RejectOffer(offerRefusal(ev.Status), ""))
		}
		return
	}
	if x.void {
		if x.offer != m.agreed[x.from] { // taken back, but to has accepted it
			m.restore(x)
		} else if err := m.restored(x, ev.Body); err != nil {
			m.c.note("the session was restored, but not the media: %v", err)
			if x.narrows {
				m.c.Hangup("the legs have no codec in common")
			}
		} else if x.follows && !m.agreed[x.from].Understood(m.agreed[x.to]) {
			m.bring(x.to, x.from, "re-INVITE with the codecs that are left")
		}
		return
	}
	if err := m.passAnswer(x, ev.Body); err != nil {
		m.c.note("re-INVITE failed: %v", err)
		m.c.late("reject offer", x.from.RejectOffer(488, ""))
		m.restore(x)
	}
}

// passAnswer gives the answer to a re-INVITE to whom offered.
func (m *callMedia) passAnswer(x *exchange, body []byte) error {
	own, _, its, ok := m.sides(x.from)
	if !ok {
		return errOver
	}
	answer, theirKeys, err := m.readAnswer(x, its, body)
	if err != nil {
		return err
	}
	lines, ownKeys, err := m.keys[own].Answer(x.offer)
	if err != nil {
		return err
	}
	out, err := m.answering(m.keypads.answerOf(x.to, x.offer, answer), own, x.from.Flow(), lines)
	if err != nil {
		return err
	}
	m.hold(own, x.from, said{x.offer, answer, ownKeys})
	m.hold(its, x.to, said{answer, x.offer, theirKeys})
	m.wants(x.from, x.offer, nil)
	m.wants(x.to, answer, x.offer)
	m.keypads.settled(x.from, x.offer, out)
	m.keypads.settled(x.to, answer, x.sent)
	m.keypads.listen()
	m.c.late("answer offer", x.from.AnswerOffer(out.Bytes()))
	if l := m.c.winner(); l != nil && l.session != nil {
		l.session.astray = false // the legs have agreed since
	}
	return nil
}

// readAnswer checks the answer to a re-INVITE against what was offered.
func (m *callMedia) readAnswer(x *exchange, its *media.Side, body []byte) (*sdp.Description, []*media.Secure, error) {
	answer, err := sdp.Parse(body)
	if err != nil {
		return nil, nil, err
	}
	if answer, err = sdp.Answers(x.basis.As(x.sent), answer); err != nil {
		return nil, nil, err
	}
	keys, err := m.answeredKeys(its, answer)
	return answer, keys, err
}

// restored takes over what a leg answered to an offer that nobody else waits for: it
// may have a new key or address.
func (m *callMedia) restored(x *exchange, body []byte) error {
	_, _, its, ok := m.sides(x.from)
	if !ok {
		return errOver
	}
	answer, keys, err := m.readAnswer(x, its, body)
	if err == nil {
		m.hold(its, x.to, said{answer, x.offer, keys})
		m.wants(x.to, answer, x.offer)
		m.moved(x.from) // what it may be sent now
		m.keypads.settled(x.to, answer, x.sent)
		m.keypads.listen()
	}
	return err
}

// restore offers a leg the session as it was, after it accepted an offer that came
// to nothing: else it would, say, stay on hold.
func (m *callMedia) restore(x *exchange) { m.bring(x.from, x.to, "session restored") }

// bring offers a leg what the other one said last; note is for the record. False if
// that cannot be.
func (m *callMedia) bring(from, to *leg.Leg, note string) bool {
	_, _, its, ok := m.sides(from)
	if !ok {
		return false
	}
	now := m.agreed[from]
	basis := m.keypads.reoffer(to, now)
	out, err := m.reoffer(basis, its, to.Flow())
	if err == nil {
		err = to.Reinvite(out.Bytes())
	}
	if err != nil {
		m.c.note("%s: failed: %v", note, err)
		return false
	}
	m.c.note("%s", note)
	m.asked = &exchange{from: from, to: to, offer: now, basis: basis, sent: out, void: true}
	return true
}

// offerRefusal is the status for a leg whose offer the other leg refused. What
// concerns only the other dialog (a challenge, the end of it) must not look as if
// it was this one's.
func offerRefusal(status int) int {
	switch {
	case status < 400, status == 401, status == 407, status == 408, status == 481, status == 482:
		return 488
	}
	return status
}

// withdrawn notes that the sender of a re-INVITE took it back.
func (m *callMedia) withdrawn(from *leg.Leg) {
	if m.asked != nil && m.asked.from == from {
		m.asked.void = true
	}
}
