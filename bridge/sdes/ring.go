package sdes

import (
	"fmt"

	"wakebridge/bridge/media"
	"wakebridge/bridge/media/srtp"
	"wakebridge/bridge/sdp"
)

// Ring holds the keys of one side. A key of ours is made once and stays, so that
// a re-INVITE goes on counting under it; one that went out of use never comes back,
// because its count began anew (RFC 3711 s9.1).
type Ring struct {
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

// NewRing makes one without keys.
func NewRing() *Ring {
	return &Ring{made: make(map[slot]srtp.Key), spent: make(map[slot]bool)}
}

// ours is the key of a slot, a new one if the old one is used up.
func (r *Ring) ours(s slot) (srtp.Key, error) {
	if key, ok := r.made[s]; ok && !r.spent[s] {
		return key, nil
	}
	key, err := srtp.NewKey(s.suite)
	if err != nil {
		return srtp.Key{}, fmt.Errorf("make an SRTP key: %w", err)
	}
	r.made[s] = key
	delete(r.spent, s)
	return key, nil
}

// TagOf is the tag of a suite in all our offers.
func TagOf(s srtp.Suite) int {
	for i, known := range srtp.Suites() {
		if known == s {
			return i + 1
		}
	}
	return 0
}

// Protection is what a description of ours says of keys, by m-line.
type Protection struct {
	Keys [][]sdp.Crypto
	// Opportunistic: the keys stand under the profile of plain RTP (RFC 8643).
	Opportunistic []bool
}

// Offer is what to offer for each RTP stream of d: every suite, the strongest first.
func (r *Ring) Offer(d *sdp.Description, opportunistic func(i int) bool) (Protection, error) {
	streams := d.Streams()
	lines := make([][]sdp.Crypto, len(streams))
	open := make([]bool, len(streams))
	for i, s := range streams {
		open[i] = opportunistic(i)
		if !s.Active() || !s.IsRTP() {
			continue
		}
		for _, suite := range srtp.Suites() {
			key, err := r.ours(slot{i, suite})
			if err != nil {
				return Protection{}, err
			}
			lines[i] = append(lines[i], sdp.Crypto{Tag: TagOf(suite), Suite: suite.String(), Secret: key.Secret()})
		}
	}
	return Protection{lines, open}, nil
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

// Check refuses an offer with a key of our own: see Answer. The error is ErrKeys.
func (r *Ring) Check(offer *sdp.Description) error {
	for _, s := range offer.Streams() {
		if theirs, ok := strongest(s.Crypto); s.Active() && ok && r.isOurs(theirs.key) {
			return ErrKeys
		}
	}
	return nil
}

// Answer is what to answer for each stream of a peer's offer, and the keys that the
// streams have then.
func (r *Ring) Answer(offer *sdp.Description) (Protection, []*media.Secure, error) {
	streams := offer.Streams()
	lines, keys := make([][]sdp.Crypto, len(streams)), make([]*media.Secure, len(streams))
	open := make([]bool, len(streams))
	for i, s := range streams {
		open[i] = s.IsOpportunistic()
		if !s.Active() || !s.IsSecure() {
			continue
		}
		theirs, ok := strongest(s.Crypto)
		if !ok || r.isOurs(theirs.key) {
			return Protection{}, nil, ErrKeys // Admit and Check have refused it
		}
		suite := theirs.key.Suite()
		ours, err := r.ours(slot{i, suite})
		if err != nil {
			return Protection{}, nil, err
		}
		lines[i] = []sdp.Crypto{{Tag: theirs.tag, Suite: suite.String(), Secret: ours.Secret()}}
		keys[i] = &media.Secure{Theirs: theirs.key, Ours: ours}
	}
	return Protection{lines, open}, keys, nil
}

// Answered are the keys of each stream after the answer to what offer made. Each suite
// is offered once, so the answer's says which line it takes; there are phones whose tag
// is always 1. Errors: ErrShort, ErrKeys.
func (r *Ring) Answered(answer *sdp.Description) ([]*media.Secure, error) {
	streams := answer.Streams()
	keys := make([]*media.Secure, len(streams))
	for i, s := range streams {
		if !s.Active() || !s.IsSecure() {
			continue
		}
		if len(s.Crypto) == 0 && s.ShortLived {
			return nil, ErrShort
		}
		if len(s.Crypto) == 0 {
			return nil, ErrKeys
		}
		line := s.Crypto[0]
		suite, known := srtp.ParseSuite(line.Suite)
		at := slot{i, suite}
		ours, offered := r.made[at]
		if !known || !offered || r.spent[at] {
			return nil, ErrKeys
		}
		theirs, err := srtp.ParseKey(suite, line.Secret, line.MKI)
		if err != nil || r.isOurs(theirs) {
			return nil, ErrKeys
		}
		keys[i] = &media.Secure{Theirs: theirs, Ours: ours}
	}
	return keys, nil
}

// IsOpportunistic says that the peer has its keys for a stream under the profile of plain
// RTP: that it knows the other one, too, is not certain.
func (r *Ring) IsOpportunistic(i int) bool {
	return i < len(r.opportunistic) && r.opportunistic[i]
}

// Use notes what the streams have now, by what the peer said. A key of ours that went out
// of use is spent.
func (r *Ring) Use(said *sdp.Description, keys []*media.Secure) {
	for i, s := range said.Streams() {
		if i == len(r.opportunistic) {
			r.opportunistic = append(r.opportunistic, false)
		}
		if s.Active() { // a refused line says nothing of it
			r.opportunistic[i] = s.IsOpportunistic()
		}
	}
	for i, was := range r.inUse {
		if was == nil || i < len(keys) && keys[i] != nil && keys[i].Ours.Equal(was.Ours) {
			continue
		}
		r.spent[slot{i, was.Ours.Suite()}] = true
	}
	r.inUse = keys
	r.secured = r.secured || r.Suite() != ""
}

// InUse are the keys that the streams have now, by m-line; nil: plain, or no stream.
func (r *Ring) InUse() []*media.Secure { return r.inUse }

// Secured says that some stream has, or had, a key.
func (r *Ring) Secured() bool { return r.secured }

// isOurs says that a key is one of ours, which a peer must not use: both directions would
// be encrypted alike (RFC 3711 s9.1), and ours could be played back to us.
func (r *Ring) isOurs(key srtp.Key) bool {
	for _, made := range r.made {
		if made.Equal(key) {
			return true
		}
	}
	return false
}

// Suite is the name of that in use, "" for plain RTP.
func (r *Ring) Suite() string {
	for _, s := range r.inUse {
		if s != nil {
			return s.Ours.Suite().String()
		}
	}
	return ""
}
