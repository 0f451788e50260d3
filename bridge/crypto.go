package bridge

import (
	"slices"

	"wakebridge/bridge/media"
	"wakebridge/bridge/sdes"
	"wakebridge/bridge/sdp"
	"wakebridge/sipua"
)

// admit is that of the terms; the record says what was left out for want of protection.
func (c *Call) admit(offer *sdp.Description, app bool, f *sipua.Flow) (*sdp.Description, error) {
	out, err := c.b.cfg.Terms.SRTP.Admit(offer, app, private(f))
	if err == nil {
		c.noteUnprotected(offer, out)
	}
	return out, err
}

// protected is that of the terms for the peer of a side, with the same note.
func (m *callMedia) protected(offer *sdp.Description, side *media.Side) (*sdp.Description, error) {
	out, err := m.c.b.cfg.Terms.SRTP.Protected(offer, m.isAppSide(side))
	if err == nil {
		m.c.noteUnprotected(offer, out)
	}
	return out, err
}

func (c *Call) noteUnprotected(offer, kept *sdp.Description) {
	left := kept.Streams()
	for i, s := range offer.Streams() {
		switch {
		case !s.Active() || left[i].Active():
		case !s.IsRTP():
			c.note("m-line %d (%.20s, %.20s) is refused: SRTP is required, and it is not RTP", i+1, s.Media, s.Proto)
		case !s.IsSecure():
			c.note("m-line %d (%.20s, %.20s) is refused: another offers the same with SRTP", i+1, s.Media, s.Proto)
		}
	}
}

// answeredKeys are the keys by an answer that came on a side. A tag that is not that of its
// suite goes into the record.
func (m *callMedia) answeredKeys(side *media.Side, answer *sdp.Description) ([]*media.Secure, error) {
	keys, err := m.keys[side].Answered(answer)
	for i, s := range answer.Streams() {
		if i >= len(keys) || keys[i] == nil {
			continue
		}
		suite := keys[i].Ours.Suite()
		if got, want := s.Crypto[0].Tag, sdes.TagOf(suite); got != want {
			m.c.note("an answer takes %v by the tag %d, which was offered as %d: the suite counts", suite, got, want)
		}
	}
	return keys, err
}

// offerSRTP are the keys to offer to a side whose call is answered: it keeps to what
// was agreed, and where nothing was, to the policy.
func (m *callMedia) offerSRTP(d *sdp.Description, side *media.Side, f *sipua.Flow) (sdes.Protection, error) {
	ring := m.keys[side]
	secure, orPlain, err := m.c.b.cfg.Terms.SRTP.Offers(m.isAppSide(side), private(f))
	switch {
	case !ring.Secured() && (err != nil || !secure || orPlain):
		return sdes.Protection{}, err
	case !m.c.b.cfg.Terms.SRTP.MayTell(private(f)):
		return sdes.Protection{}, sdes.ErrOpen
	}
	return ring.Offer(d, ring.IsOpportunistic)
}

// invitationTo makes what an INVITE offers to a device or trunk, and notes it in l.
func (m *callMedia) invitationTo(t *try, l *tried, f *sipua.Flow) ([]byte, error) {
	secure, orPlain, err := m.c.b.cfg.Terms.SRTP.Offers(t.trunk == nil, private(f))
	if err != nil {
		return nil, err
	}
	l.orPlain = orPlain
	return m.offerFor(t, l, f, secure)
}

// otherwise is what is offered once more to a peer that refused SRTP; nil if there
// is nothing else to offer.
func (m *callMedia) otherwise(t *try, l *tried, f *sipua.Flow, status int) []byte {
	if status != 488 && status != 415 && status != 606 || t.side == nil {
		return nil
	}
	if !l.orPlain {
		if slices.ContainsFunc(l.offered.Streams(), sdp.Stream.IsSecure) {
			m.c.note("%s refuses SRTP (%d), and media.srtp requires it", t.name, status)
		}
		return nil
	}
	l.orPlain = false
	offer, err := m.offerFor(t, l, f, false)
	if err != nil {
		m.c.note("%s refuses SRTP (%d), and plain RTP cannot be offered: %v", t.name, status, err)
		return nil
	}
	m.c.note("%s refuses SRTP (%d): INVITE with plain RTP", t.name, status)
	return offer
}

// private says that nobody on the way reads the signalling of a flow.
func private(f *sipua.Flow) bool { return f != nil && f.Transport() == sipua.TLS }

func never(int) bool { return false }
