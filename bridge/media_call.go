package bridge

import (
	"bytes"
	"maps"
	"net/netip"
	"slices"

	"wakebridge/bridge/media"
	"wakebridge/bridge/quality"
	"wakebridge/bridge/sdes"
	"wakebridge/bridge/sdp"
	"wakebridge/sipua"
	"wakebridge/sipua/leg"
)

// callMedia is the media of one call: the A side, a B side for each attempt, and
// the offers and answers that crossed. It belongs to the call's goroutine.
type callMedia struct {
	c       *Call
	offer   *sdp.Description // the caller's newest
	a       *media.Side
	origin  map[*media.Side]sdp.Origin    // o= of what we send, by side
	keys    map[*media.Side]*sdes.Ring    // of SRTP, by side
	opened  map[*media.Side]netip.Addr    // what was shown at first, in the family of the side's sockets
	sent    []byte                        // SDP that the caller has, before the 2xx
	sound   sdp.Sound                     // our answer for the ringback tone
	asked   *exchange                     // a re-INVITE under way
	agreed  map[*leg.Leg]*sdp.Description // what each leg said last that holds
	wishes  map[*leg.Leg][]sdp.Direction  // what each leg wants by itself, by m-line
	keypads *keypads
	heard   *early // whom the caller hears before an answer
	late    bool   // the caller made no offer: ours goes in the 200, its answer comes in the ACK
	closed  bool
}

// session is what an attempt's answer would make of the call.
type session struct {
	answer  *sdp.Description
	body    []byte           // for the caller
	offered *sdp.Description // what the callee was offered
	basis   *sdp.Description // what body was made of
	told    *sdp.Description // body, unless the caller had an SDP before
	a, b    []*media.Secure  // what each side's streams are protected with
	// unfit: the answer has none of the codecs of the SDP that the caller has; astray:
	// that, or they are not alike.
	unfit, astray bool
}

func newCallMedia(c *Call, offer *sdp.Description) *callMedia {
	m := &callMedia{c: c, offer: offer, origin: make(map[*media.Side]sdp.Origin), keys: make(map[*media.Side]*sdes.Ring),
		opened: make(map[*media.Side]netip.Addr), agreed: make(map[*leg.Leg]*sdp.Description), wishes: make(map[*leg.Leg][]sdp.Direction)}
	m.keypads = newKeypads(m, c.b.cfg.Terms.DTMF)
	m.keypads.allows(c.a.Leg, c.tx.Request)
	return m
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

// open takes the caller's ports: before anybody is woken or called for a call that can
// have none. Errors as newSide.
func (m *callMedia) open() (err error) {
	m.a, err = m.newSide(m.c.a.Flow())
	return err
}

// newSide opens ports for a leg, in the family of its flow. Errors: 503, 488.
func (m *callMedia) newSide(f *sipua.Flow) (*media.Side, error) {
	addr := m.c.b.cfg.MediaAddr(f)
	side, err := m.c.b.cfg.Media.NewSide(media.FamilyOf(addr), len(m.offer.Streams()))
	if err != nil {
		return nil, noPorts(err)
	}
	m.c.show(side, addr)
	m.origin[side], m.keys[side], m.opened[side] = sdp.NewOrigin(addr), sdes.NewRing(), addr
	return side, nil
}

// shown is the address of a side that the peer of f gets to see. A phone that went
// over to a network of the other family in the middle of a call sees the one of before:
// the side has no other sockets.
func (m *callMedia) shown(side *media.Side, f *sipua.Flow) netip.Addr {
	addr := m.c.b.cfg.MediaAddr(f)
	if was := m.opened[side]; media.FamilyOf(was) != media.FamilyOf(addr) {
		return was
	}
	return addr
}

// offering makes the offer that a leg gets: d with our address and ports, and our keys for
// the streams that have some.
func (m *callMedia) offering(d *sdp.Description, side *media.Side, f *sipua.Flow, p sdes.Protection) (*sdp.Description, error) {
	return m.describe(d, side, f, sdp.Relay{Crypto: p.Keys, Opportunistic: p.Opportunistic})
}

// answering makes the answer that a leg gets; see offering.
func (m *callMedia) answering(d *sdp.Description, side *media.Side, f *sipua.Flow, p sdes.Protection) (*sdp.Description, error) {
	return m.describe(d, side, f, sdp.Relay{Crypto: p.Keys, Opportunistic: p.Opportunistic, Answer: true})
}

// describe makes the description that a leg gets.
func (m *callMedia) describe(d *sdp.Description, side *media.Side, f *sipua.Flow, r sdp.Relay) (*sdp.Description, error) {
	r.Addr, r.Ports, r.Allow, r.Mux = m.shown(side, f), side.Ports(), m.c.b.cfg.Terms.Codecs, true
	out, err := d.Relay(r)
	if err != nil {
		return nil, err
	}
	signed, origin := m.origin[side].Sign(out)
	m.origin[side] = origin
	return signed, nil
}

// offerFor is what an attempt's INVITE offers: the caller's offer, with the
// attempt's own ports and keys. Once the caller has an SDP, only what that has.
func (m *callMedia) offerFor(t *try, l *tried, f *sipua.Flow, secure bool) ([]byte, error) {
	if t.side == nil {
		side, err := m.newSide(f)
		if err != nil {
			return nil, err
		}
		t.side = side
	}
	offer, err := m.promised(m.offer)
	if err != nil {
		return nil, err
	}
	l.bound = offer != m.offer
	if offer, err = m.protected(offer, t.side); err != nil {
		return nil, err
	}
	offer = m.keypads.invitation(offer)
	var keys sdes.Protection
	if secure {
		if keys, err = m.keys[t.side].Offer(offer, never); err != nil {
			return nil, err
		}
	}
	l.basis = offer
	if l.offered, err = m.offering(offer, t.side, f, keys); err != nil {
		return nil, err
	}
	return l.offered.Bytes(), nil
}

// promised is what of a description fits the SDP that the caller has: all, while it
// has none.
func (m *callMedia) promised(d *sdp.Description) (*sdp.Description, error) {
	if m.sent == nil {
		return d, nil
	}
	had, err := sdp.Parse(m.sent)
	if err != nil {
		return nil, err
	}
	return sdp.Restrict(d, had)
}

// agree makes the caller's SDP of an attempt's answer, and changes nothing yet.
func (m *callMedia) agree(t *try, l *tried, body []byte) (*session, error) {
	answer, err := sdp.Parse(body)
	if err != nil {
		return nil, &statusError{err, 488} // the caller's request was not at fault
	}
	if answer, err = sdp.Answers(l.answerable(), answer); err != nil {
		return nil, err
	}
	_, unfit := m.promised(answer)
	if l.bound && unfit != nil { // under another payload type the caller would not know the codec
		return nil, unfit
	}
	s := &session{answer: answer, offered: l.offered, unfit: unfit != nil}
	if s.b, err = m.answeredKeys(t.side, answer); err != nil {
		return nil, err
	}
	s.basis = m.keypads.answerOf(l.leg, m.offer, answer)
	var lines sdes.Protection
	if m.late {
		s.basis = s.basis.Widened(m.offer) // follow tells the callee what the caller chose
		lines, err = m.lateKeys(s.basis)
	} else {
		lines, s.a, err = m.keys[m.a].Answer(m.offer)
	}
	if err != nil {
		return nil, err
	}
	tell := m.answering
	if m.late {
		tell = m.offering
	}
	if s.told, err = tell(s.basis, m.a, m.c.a.Flow(), lines); err != nil {
		return nil, err
	}
	s.body = s.told.Bytes()
	if m.sent != nil {
		s.body = m.sent // the 200 repeats what the 183 said
		had, err := sdp.Parse(m.sent)
		s.astray = s.unfit || err == nil && !slices.EqualFunc(had.Streams(), s.told.Streams(), alike)
	}
	return s, nil
}

// alike says that two descriptions of a stream have the caller do the same.
func alike(x, y sdp.Stream) bool {
	return x.RTCPMux == y.RTCPMux && x.Active() == y.Active() && x.Direction == y.Direction && x.Held() == y.Held()
}

// connect joins the sides by an attempt's answer, which came on b; the tone ends
// when there is somebody to hear.
func (m *callMedia) connect(t *try, b *leg.Leg, s *session) {
	m.hold(m.a, m.c.a.Leg, said{m.offer, s.answer, s.a})
	m.hold(t.side, b, said{s.answer, m.offer, s.b})
	m.wants(m.c.a.Leg, m.offer, nil)
	m.wants(b, s.answer, m.offer)
	media.Join(m.a, t.side)
	m.a.Hush()
	m.keypads.settled(b, s.answer, s.offered)
	if told, err := sdp.Parse(s.body); err == nil { // ours, so it can be read
		m.keypads.settled(m.c.a.Leg, m.offer, told)
	}
	m.keypads.listen()
}

// isApp says that a leg is a user's app, not a trunk.
func (m *callMedia) isApp(l *leg.Leg) bool {
	return l == m.c.a.Leg && m.c.origin.Trunk == "" || l != m.c.a.Leg && m.c.plan.Trunk == ""
}

// isAppSide is isApp for the leg of a side.
func (m *callMedia) isAppSide(side *media.Side) bool {
	if side == m.a {
		return m.c.origin.Trunk == ""
	}
	return m.c.plan.Trunk == ""
}

// mayHide says that a leg may be behind a NAT, with an SDP that names an address which
// nobody can reach: apps, and trunks that are answered where they come from.
func (m *callMedia) mayHide(l *leg.Leg) bool {
	if m.isApp(l) {
		return true
	}
	name := m.c.plan.Trunk
	if l == m.c.a.Leg {
		name = m.c.origin.Trunk
	}
	t := m.c.b.cfg.Trunks.ByName(name)
	return t != nil && t.ForceRPort
}

// said is what one leg said, what the other one did, and the keys that the streams
// of the first have by that.
type said struct {
	theirs, other *sdp.Description
	keys          []*media.Secure
}

// hold keeps what a leg said as valid, and tells its side where its peer is
// (theirs) and what was agreed (both).
func (m *callMedia) hold(side *media.Side, l *leg.Leg, what said) {
	m.agreed[l] = what.theirs
	others := what.other.Streams()
	inUse := make([]*media.Secure, len(what.keys))
	defer func() { m.keys[side].Use(what.theirs, inUse) }()
	for i, s := range what.theirs.Streams() {
		if i >= len(side.Ports()) {
			return
		}
		unkeyed := s.IsRTP() && s.IsSecure() && (i >= len(what.keys) || what.keys[i] == nil) // until it is agreed: never plain
		if !s.Active() || unkeyed || i < len(others) && !others[i].Active() {
			side.SetRemote(i, media.Remote{})
			continue
		}
		r := media.Remote{RTP: netip.AddrPortFrom(s.Addr, s.Port), RTCP: s.RTCP, Datagram: !s.IsRTP()}
		if m.mayHide(l) || !s.Addr.IsValid() { // nobody resolves a host name in c=
			r.Signalling = l.Flow().Remote().Addr()
		}
		if s.IsRTP() {
			r.PayloadTypes = agreed(s, others, i)
			r.EventTypes = eventTypes(s, others, i)
			r.ClockRates = clocks(s)
			inUse[i], r.Secure = what.keys[i], what.keys[i]
			if s.RTCPMux && i < len(others) && others[i].RTCPMux {
				r.RTCP = r.RTP // a=rtcp-mux crosses, so that the legs agree on it or neither does
			}
		}
		// Who holds the other one need not send either: not every phone plays music.
		r.SendsNothing = !s.Sends()
		r.Hold = s.Held() || !s.Sends() || i < len(others) && !others[i].Receives()
		side.SetRemote(i, r)
	}
}

// moved takes over from where an answered leg's signalling comes now: an app whose
// network changed may send its media from there before it offers anything, or without.
func (m *callMedia) moved(l *leg.Leg) {
	own, other, _, ok := m.sides(l)
	if theirs, others := m.agreed[l], m.agreed[other]; ok && theirs != nil && others != nil {
		m.hold(own, l, said{theirs, others, m.keys[own].InUse()})
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

// eventTypes are the payload types that mean telephone events in what goes to the
// peer: as it described them, and as the other one did what it has no word for.
func eventTypes(s sdp.Stream, others []sdp.Stream, i int) []uint8 {
	pts := slices.Collect(maps.Keys(s.Events()))
	if i < len(others) {
		for pt := range others[i].Events() {
			if !bytes.Contains(s.PayloadTypes(), []byte{pt}) {
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

// close gives all ports back and returns what was counted; nothing the second
// time.
func (m *callMedia) close() []quality.Party {
	if m.closed {
		return nil
	}
	m.closed = true
	if m.a != nil {
		m.a.Close()
	}
	for _, t := range m.c.attempts {
		if t.side != nil {
			t.side.Close()
		}
	}
	all := m.parties()
	for _, t := range m.c.attempts {
		t.side = nil
	}
	return all
}
