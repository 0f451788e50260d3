package bridge

import (
	"bytes"
	"net/netip"

	"wakebridge/bridge/media"
	"wakebridge/bridge/sdp"
	"wakebridge/sipua"
	"wakebridge/sipua/leg"
)

// callMedia is the media of one call: the A side, a B side for each attempt, and
// the offers and answers that crossed. It belongs to the call's goroutine.
type callMedia struct {
	c      *Call
	offer  *sdp.Description // the caller's newest
	a      *media.Side
	origin map[*media.Side]sdp.Origin // o= of what we send, by side
	sent   []byte                     // SDP that the caller has, before the 2xx
	asked  *exchange                  // a re-INVITE under way
	closed bool
}

// session is what an attempt's answer would make of the call.
type session struct {
	answer *sdp.Description
	body   []byte // for the caller
}

// exchange is a re-INVITE that went through.
type exchange struct {
	from, to *leg.Leg
	offer    *sdp.Description
}

func newCallMedia(c *Call, offer *sdp.Description) *callMedia {
	return &callMedia{c: c, offer: offer, origin: make(map[*media.Side]sdp.Origin)}
}

// video says that the caller offers it.
func (m *callMedia) video() bool {
	for _, s := range m.offer.Streams() {
		if s.Media == "video" && s.Active() {
			return true
		}
	}
	return false
}

// newSide opens ports for a leg, in the family of its flow.
func (m *callMedia) newSide(f *sipua.Flow) (*media.Side, error) {
	addr := m.c.b.cfg.MediaAddr(f)
	side, err := m.c.b.cfg.Media.NewSide(media.FamilyOf(addr), len(m.offer.Streams()))
	if err != nil {
		return nil, noPorts(err)
	}
	m.origin[side] = sdp.NewOrigin(addr)
	return side, nil
}

// describe makes the description that a leg gets: d with our address and ports.
func (m *callMedia) describe(d *sdp.Description, side *media.Side, f *sipua.Flow) ([]byte, error) {
	out, err := d.Relay(sdp.Relay{Addr: m.c.b.cfg.MediaAddr(f), Ports: side.Ports(), Allow: m.c.b.cfg.Terms.Codecs, Mux: true})
	if err != nil {
		return nil, err
	}
	signed, origin := m.origin[side].Sign(out)
	m.origin[side] = origin
	return signed.Bytes(), nil
}

// offerFor is what an attempt's INVITE offers: the caller's offer, with the
// attempt's own ports. Once the caller has an SDP, only what that has.
func (m *callMedia) offerFor(t *try, f *sipua.Flow) ([]byte, error) {
	if t.side == nil {
		side, err := m.newSide(f)
		if err != nil {
			return nil, err
		}
		t.side = side
	}
	offer := m.offer
	if m.sent != nil {
		had, err := sdp.Parse(m.sent)
		if err != nil {
			return nil, err
		}
		if offer, err = sdp.Restrict(offer, had); err != nil {
			return nil, err
		}
	}
	return m.describe(offer, t.side, f)
}

// agree makes the caller's SDP of an attempt's answer, and changes nothing yet.
func (m *callMedia) agree(body []byte) (*session, error) {
	answer, err := sdp.Parse(body)
	if err != nil {
		return nil, &statusError{err, 488} // the caller's request was not at fault
	}
	if err := sdp.Answers(m.offer, answer); err != nil {
		return nil, err
	}
	if m.a == nil {
		if m.a, err = m.newSide(m.c.a.Flow()); err != nil {
			return nil, err
		}
	}
	out, err := m.describe(answer, m.a, m.c.a.Flow())
	if err != nil {
		return nil, err
	}
	if m.sent != nil {
		out = m.sent // the 200 repeats what the 183 said
	}
	return &session{answer, out}, nil
}

// connect joins the sides by an attempt's answer, which came on b.
func (m *callMedia) connect(t *try, b *leg.Leg, s *session) {
	m.remotes(m.a, m.offer, s.answer, m.c.a.Leg)
	m.remotes(t.side, s.answer, m.offer, b)
	media.Join(m.a, t.side)
}

// remotes tells a side where its peer is (theirs) and what was agreed (both).
func (m *callMedia) remotes(side *media.Side, theirs, other *sdp.Description, l *leg.Leg) {
	app := l == m.c.a.Leg && m.c.origin.Trunk == "" || l != m.c.a.Leg && m.c.plan.Trunk == ""
	others := other.Streams()
	for i, s := range theirs.Streams() {
		if i >= len(side.Ports()) {
			return
		}
		if !s.Active() || i < len(others) && !others[i].Active() {
			side.SetRemote(i, media.Remote{})
			continue
		}
		r := media.Remote{RTP: netip.AddrPortFrom(s.Addr, s.Port), RTCP: s.RTCP, Datagram: !s.IsRTP()}
		if app {
			r.Signalling = l.Flow().Remote().Addr()
		}
		if s.IsRTP() {
			r.PayloadTypes = agreed(s, others, i)
			r.ClockRates = clocks(s)
		}
		r.Hold = !s.Sends() || i < len(others) && !others[i].Receives()
		side.SetRemote(i, r)
	}
}

// agreed are the payload types that the peer may send: those of either
// description, because an answerer may number a codec its own way.
func agreed(s sdp.Stream, others []sdp.Stream, i int) []uint8 {
	pts := s.PayloadTypes()
	if i < len(others) {
		for _, pt := range others[i].PayloadTypes() {
			if !bytes.Contains(pts, []byte{pt}) {
				pts = append(pts, pt)
			}
		}
	}
	return pts
}

func clocks(s sdp.Stream) map[uint8]uint32 {
	out := make(map[uint8]uint32)
	types := s.PayloadTypes()
	for i, c := range s.Codecs {
		if i < len(types) && c.Clock > 0 {
			out[types[i]] = uint32(c.Clock) //nolint:gosec // the parser bounds it
		}
	}
	return out
}

// answered starts the latch windows and the watch for silence.
func (m *callMedia) answered(t *try) {
	m.a.Answered()
	t.side.Answered()
	for name, side := range map[string]*media.Side{"the caller": m.a, t.name: t.side} {
		side.Watch(func(ev media.Event) {
			if ev.Kind == media.Silent {
				m.c.Hangup(name + " sent no media for " + ev.Allowed.String())
			}
		})
	}
}

// sides are a leg's own side, the other leg and its side; false unless the call
// is answered.
func (m *callMedia) sides(from *leg.Leg) (own *media.Side, other *leg.Leg, its *media.Side, ok bool) {
	b := m.c.winner()
	if b == nil || m.closed {
		return nil, nil, nil, false
	}
	side := m.c.attempts[m.c.state.winner].side
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
	switch {
	case !ok:
		refuse(491, "the call is not answered")
		return
	case m.asked != nil:
		refuse(491, "another re-INVITE is pending")
		return
	case len(body) == 0:
		refuse(488, "an offer is required")
		return
	}
	offer, err := sdp.Parse(body)
	if err == nil {
		n := len(offer.Streams())
		if err = own.Grow(n); err == nil {
			err = its.Grow(n)
		}
	}
	if err != nil {
		refuse(sipua.Status(err), err.Error())
		return
	}
	out, err := m.describe(offer, its, other.Flow())
	if err != nil {
		refuse(sipua.Status(err), err.Error())
		return
	}
	if err := other.Reinvite(out); err != nil {
		refuse(491, err.Error())
		return
	}
	m.c.note("re-INVITE passed on")
	m.asked = &exchange{from: from, to: other, offer: offer}
}

// answeredOffer brings the answer to a re-INVITE back.
func (m *callMedia) answeredOffer(to *leg.Leg, ev leg.OfferAnswered) {
	x := m.asked
	if x == nil || x.to != to {
		return
	}
	m.asked = nil
	if ev.Status < 200 || ev.Status > 299 {
		m.c.note("re-INVITE refused by the other leg: %d", ev.Status)
		m.c.late("reject offer", x.from.RejectOffer(offerRefusal(ev.Status), ""))
		return
	}
	own, _, its, ok := m.sides(x.from)
	answer, err := sdp.Parse(ev.Body)
	if err == nil {
		err = sdp.Answers(x.offer, answer)
	}
	var body []byte
	if err == nil && ok {
		body, err = m.describe(answer, own, x.from.Flow())
	}
	if err != nil || !ok {
		m.c.late("reject offer", x.from.RejectOffer(488, ""))
		return
	}
	m.remotes(own, x.offer, answer, x.from)
	m.remotes(its, answer, x.offer, to)
	m.c.late("answer offer", x.from.AnswerOffer(body))
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

// withdrawn forgets a re-INVITE whose sender took it back.
func (m *callMedia) withdrawn(from *leg.Leg) {
	if m.asked != nil && m.asked.from == from {
		m.asked = nil
	}
}

// close gives all ports back and returns what was counted; nothing the second
// time.
func (m *callMedia) close() []MediaRecord {
	if m.closed {
		return nil
	}
	m.closed = true
	var out []MediaRecord
	if m.a != nil {
		m.a.Close()
		out = append(out, MediaRecord{Leg: legA, Streams: m.a.Stats()})
	}
	for i, t := range m.c.attempts {
		if t.side == nil {
			continue
		}
		t.side.Close()
		if i == m.c.state.winner {
			out = append(out, MediaRecord{Leg: legB, Streams: t.side.Stats()})
		}
		t.side = nil
	}
	return out
}
