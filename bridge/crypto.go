package bridge

import (
	"errors"
	"fmt"
	"slices"

	"wakebridge/bridge/media"
	"wakebridge/bridge/media/srtp"
	"wakebridge/bridge/sdp"
	"wakebridge/sipua"
)

// SRTPPolicy says whether a kind of peer speaks SRTP.
type SRTPPolicy uint8

// The policies (media.srtp).
const (
	SRTPOff      SRTPPolicy = iota // plain RTP is offered, SRTP refused
	SRTPOptional                   // SRTP is offered first; what is offered is answered
	SRTPRequired                   // plain RTP is neither offered nor taken
)

// SRTP is section media.srtp of the configuration.
type SRTP struct {
	Apps, Trunks SRTPPolicy
	// AnyTransport lets keys go over signalling that others can read; else TLS only.
	AnyTransport bool
}

// srtpError is a 488 with a phrase for the peer's display.
type srtpError struct{ phrase, text string }

func (e *srtpError) Error() string { return e.text }

// SIPStatus is the status of the response.
func (*srtpError) SIPStatus() int { return 488 }

var (
	errPlain error = &srtpError{"SRTP Required", "the peer offers plain RTP, but media.srtp requires SRTP"}
	errClear error = &srtpError{"SRTP Required", "a stream that is not RTP has no protection, but media.srtp requires SRTP"}
	errOff   error = &srtpError{"SRTP Not Allowed", "the peer offers SRTP only, but media.srtp is off for it"}
	errOpen  error = &srtpError{"SRTP Keys Need TLS", "SRTP keys may not go over this transport (media.srtp.keys_over: tls)"}
	errShort error = &srtpError{"SRTP Key Lifetime Too Short", "the peer's SRTP keys are good for too few packets (the lifetime in a=crypto: 2^20 for sound, 2^24 for video)"}
	errTwice error = &srtpError{"SRTP Offered Too", "the stream stands twice in the offer, with keys and without"}
	errKeys  error = &srtpError{"SRTP Keys Unusable", "the answer's a=crypto is none of those offered"}
)

// phraseOf is the reason phrase that an error asks for, "" for the standard one.
func phraseOf(err error) string {
	if e := (*srtpError)(nil); errors.As(err, &e) {
		return e.phrase
	}
	return ""
}

// policy is that for an app or for a trunk.
func (s SRTP) policy(app bool) SRTPPolicy {
	if app {
		return s.Apps
	}
	return s.Trunks
}

// mayTell says that keys may be written into the signalling of a flow.
func (s SRTP) mayTell(f *sipua.Flow) bool {
	return s.AnyTransport || f != nil && f.Transport() == sipua.TLS
}

// admit refuses those streams of a peer's offer that the policy does not take. The
// error says why none is left. Plain RTP that offers keys (RFC 8643) keeps them only if
// they are taken. A stream that is offered twice, with protection and without, for the
// peer to be told which (FreeSWITCH and telephones do so where SRTP is optional), is one:
// the protected one if it is taken.
func (s SRTP) admit(offer *sdp.Description, app bool, f *sipua.Flow) (*sdp.Description, error) {
	usable := func(st sdp.Stream) bool {
		_, ok := strongest(st.Crypto)
		return ok && s.policy(app) != SRTPOff && s.mayTell(f)
	}
	offer = offer.Plainly(func(_ int, st sdp.Stream) bool { return !usable(st) })
	streams := offer.Streams()
	return offer.Without(func(i int, st sdp.Stream) error {
		if err := s.takes(st, app, f); err != nil {
			return err
		}
		for j, other := range streams {
			same := j != i && other.Active() && other.IsRTP() && other.Media == st.Media && other.Port == st.Port && other.Addr == st.Addr
			if same && !st.IsSecure() && other.IsSecure() && s.takes(other, app, f) == nil {
				return errTwice
			}
		}
		return nil
	})
}

// takes is nil for a stream of a peer's offer that the policy takes.
func (s SRTP) takes(st sdp.Stream, app bool, f *sipua.Flow) error {
	policy := s.policy(app)
	switch {
	case !st.IsRTP() && policy == SRTPRequired:
		return errClear
	case !st.IsRTP():
		return nil
	case !st.IsSecure() && policy == SRTPRequired:
		return errPlain
	case !st.IsSecure():
		return nil
	case policy == SRTPOff:
		return errOff
	case !s.mayTell(f):
		return errOpen
	}
	if _, ok := strongest(st.Crypto); ok {
		return nil
	}
	if st.ShortLived {
		return errShort
	}
	return sdp.ErrSRTP
}

// protected refuses those streams of an offer to a peer that cannot be protected, fax by
// T.38 for instance, if the policy requires that. The error says why none is left.
func (s SRTP) protected(offer *sdp.Description, app bool) (*sdp.Description, error) {
	if s.policy(app) != SRTPRequired {
		return offer, nil
	}
	return offer.Without(func(_ int, st sdp.Stream) error {
		if !st.IsRTP() {
			return errClear
		}
		return nil
	})
}

// admit is that of the policy; the record says what was left out for want of protection.
func (c *Call) admit(offer *sdp.Description, app bool, f *sipua.Flow) (*sdp.Description, error) {
	out, err := c.b.cfg.Terms.SRTP.admit(offer, app, f)
	if err == nil {
		c.noteUnprotected(offer, out)
	}
	return out, err
}

// protected is that of the policy for the peer of a side, with the same note.
func (m *callMedia) protected(offer *sdp.Description, side *media.Side) (*sdp.Description, error) {
	app := m.c.plan.Trunk == ""
	if side == m.a {
		app = m.c.origin.Trunk == ""
	}
	out, err := m.c.b.cfg.Terms.SRTP.protected(offer, app)
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

// offers says how a peer is called: with SRTP, and whether plain RTP may follow if
// it refuses that.
func (s SRTP) offers(app bool, f *sipua.Flow) (secure, orPlain bool, err error) {
	switch policy := s.policy(app); {
	case policy == SRTPOff:
		return false, false, nil
	case s.mayTell(f):
		return true, policy == SRTPOptional, nil
	case policy == SRTPRequired:
		return false, false, errOpen
	}
	return false, false, nil
}

// keyring holds the keys of one side. A key of ours is made once and stays, so that
// a re-INVITE goes on counting under it; one that went out of use never comes back,
// because its count began anew (RFC 3711 s9.1).
type keyring struct {
	made          map[slot]srtp.Key
	spent         map[slot]bool
	inUse         []*media.Secure // by m-line; nil: plain, or no stream
	opportunistic []bool          // by m-line: the keys in use are under the profile of plain RTP
	// secured: some stream had a key. What was protected once is never plain again, also
	// after a time without streams (a hold by port 0, T.38).
	secured bool
}

// slot is what a key of ours is made for.
type slot struct {
	line  int
	suite srtp.Suite
}

func newKeyring() *keyring {
	return &keyring{made: make(map[slot]srtp.Key), spent: make(map[slot]bool)}
}

// ours is the key of a slot, a new one if the old one is used up.
func (k *keyring) ours(s slot) (srtp.Key, error) {
	if key, ok := k.made[s]; ok && !k.spent[s] {
		return key, nil
	}
	key, err := srtp.NewKey(s.suite)
	if err != nil {
		return srtp.Key{}, fmt.Errorf("make an SRTP key: %w", err)
	}
	k.made[s] = key
	delete(k.spent, s)
	return key, nil
}

// tagOf is the tag of a suite in all our offers.
func tagOf(s srtp.Suite) int {
	for i, known := range srtp.Suites() {
		if known == s {
			return i + 1
		}
	}
	return 0
}

// protection is what a description of ours says of keys, by m-line.
type protection struct {
	keys [][]sdp.Crypto
	// opportunistic: the keys stand under the profile of plain RTP (RFC 8643).
	opportunistic []bool
}

// offer is what to offer for each RTP stream of d: every suite, the strongest first.
func (k *keyring) offer(d *sdp.Description, opportunistic func(i int) bool) (protection, error) {
	streams := d.Streams()
	lines := make([][]sdp.Crypto, len(streams))
	open := make([]bool, len(streams))
	for i, s := range streams {
		open[i] = opportunistic(i)
		if !s.Active() || !s.IsRTP() {
			continue
		}
		for _, suite := range srtp.Suites() {
			key, err := k.ours(slot{i, suite})
			if err != nil {
				return protection{}, err
			}
			lines[i] = append(lines[i], sdp.Crypto{Tag: tagOf(suite), Suite: suite.String(), Secret: key.Secret()})
		}
	}
	return protection{lines, open}, nil
}

// chosen is one a=crypto line of a peer that we go by.
type chosen struct {
	tag int
	key srtp.Key
}

// strongest is the line of an offer that we answer; false if none can be used.
func strongest(lines []sdp.Crypto) (chosen, bool) {
	for _, suite := range srtp.Suites() {
		for _, l := range lines {
			if l.Suite != suite.String() {
				continue
			}
			if key, err := srtp.ParseKey(suite, l.Secret, l.MKI); err == nil {
				return chosen{l.Tag, key}, true
			}
		}
	}
	return chosen{}, false
}

// answer is what to answer for each stream of a peer's offer, and the keys that the
// streams have then.
func (k *keyring) answer(offer *sdp.Description) (protection, []*media.Secure, error) {
	streams := offer.Streams()
	lines, keys := make([][]sdp.Crypto, len(streams)), make([]*media.Secure, len(streams))
	open := make([]bool, len(streams))
	for i, s := range streams {
		open[i] = s.IsOpportunistic()
		if !s.Active() || !s.IsSecure() {
			continue
		}
		theirs, ok := strongest(s.Crypto)
		if !ok || k.isOurs(theirs.key) {
			continue // Relay refuses it
		}
		suite := theirs.key.Suite()
		ours, err := k.ours(slot{i, suite})
		if err != nil {
			return protection{}, nil, err
		}
		lines[i] = []sdp.Crypto{{Tag: theirs.tag, Suite: suite.String(), Secret: ours.Secret()}}
		keys[i] = &media.Secure{Theirs: theirs.key, Ours: ours}
	}
	return protection{lines, open}, keys, nil
}

// answered are the keys of each stream after the answer to what offer made. Each suite
// is offered once, so the answer's says which line it takes; there are phones whose tag
// is always 1. The error is errShort or errKeys.
func (k *keyring) answered(answer *sdp.Description) ([]*media.Secure, error) {
	streams := answer.Streams()
	keys := make([]*media.Secure, len(streams))
	for i, s := range streams {
		if !s.Active() || !s.IsSecure() {
			continue
		}
		if len(s.Crypto) == 0 && s.ShortLived {
			return nil, errShort
		}
		if len(s.Crypto) == 0 {
			return nil, errKeys
		}
		line := s.Crypto[0]
		suite, known := srtp.ParseSuite(line.Suite)
		at := slot{i, suite}
		ours, offered := k.made[at]
		if !known || !offered || k.spent[at] {
			return nil, errKeys
		}
		theirs, err := srtp.ParseKey(suite, line.Secret, line.MKI)
		if err != nil || k.isOurs(theirs) {
			return nil, errKeys
		}
		keys[i] = &media.Secure{Theirs: theirs, Ours: ours}
	}
	return keys, nil
}

// answeredKeys are the keys by an answer that came on a side. A tag that is not that of its
// suite goes into the record.
func (m *callMedia) answeredKeys(side *media.Side, answer *sdp.Description) ([]*media.Secure, error) {
	keys, err := m.keys[side].answered(answer)
	for i, s := range answer.Streams() {
		if i >= len(keys) || keys[i] == nil {
			continue
		}
		suite := keys[i].Ours.Suite()
		if got, want := s.Crypto[0].Tag, tagOf(suite); got != want {
			m.c.note("an answer takes %v by the tag %d, which was offered as %d: the suite counts", suite, got, want)
		}
	}
	return keys, err
}

// isOpportunistic says that the peer has its keys for a stream under the profile of plain
// RTP: that it knows the other one, too, is not certain.
func (k *keyring) isOpportunistic(i int) bool {
	return i < len(k.opportunistic) && k.opportunistic[i]
}

// use notes what the streams have now, by what the peer said. A key of ours that went out
// of use is spent.
func (k *keyring) use(said *sdp.Description, keys []*media.Secure) {
	k.opportunistic = k.opportunistic[:0]
	for _, s := range said.Streams() {
		k.opportunistic = append(k.opportunistic, s.IsOpportunistic())
	}
	for i, was := range k.inUse {
		if was == nil || i < len(keys) && keys[i] != nil && keys[i].Ours.Equal(was.Ours) {
			continue
		}
		k.spent[slot{i, was.Ours.Suite()}] = true
	}
	k.inUse = keys
	k.secured = k.secured || k.suite() != ""
}

// isOurs says that a key is one of ours, which a peer must not use: both directions would
// be encrypted alike (RFC 3711 s9.1), and ours could be played back to us.
func (k *keyring) isOurs(key srtp.Key) bool {
	for _, made := range k.made {
		if made.Equal(key) {
			return true
		}
	}
	return false
}

// suite is the name of that in use, "" for plain RTP.
func (k *keyring) suite() string {
	for _, s := range k.inUse {
		if s != nil {
			return s.Ours.Suite().String()
		}
	}
	return ""
}

// offerSRTP are the keys to offer to a side whose call is answered: it keeps to what
// was agreed, and where nothing was, to the policy.
func (m *callMedia) offerSRTP(d *sdp.Description, side *media.Side, f *sipua.Flow) (protection, error) {
	ring := m.keys[side]
	secure, orPlain, err := m.c.b.cfg.Terms.SRTP.offers(m.isAppSide(side), f)
	switch {
	case !ring.secured && (err != nil || !secure || orPlain):
		return protection{}, err
	case !m.c.b.cfg.Terms.SRTP.mayTell(f):
		return protection{}, errOpen
	}
	return ring.offer(d, ring.isOpportunistic)
}

// invitationTo makes what an INVITE offers to a device or trunk, and notes it in l.
func (m *callMedia) invitationTo(t *try, l *tried, f *sipua.Flow) ([]byte, error) {
	secure, orPlain, err := m.c.b.cfg.Terms.SRTP.offers(t.trunk == nil, f)
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

func never(int) bool { return false }
