package apns

import (
	"fmt"
	"sync"
	"time"

	"github.com/sideshow/apns2/token"
)

const (
	// tokenLife is how long a provider token is used. Apple takes one for 60
	// minutes and wants no new one within 20.
	tokenLife = 40 * time.Minute
	// forcedRest is the least time between two renewals that Apple's
	// ExpiredProviderToken forced: a wrong clock must not turn into a flood
	// of tokens (429 TooManyProviderTokenUpdates).
	forcedRest = 20 * time.Minute
	// tokenEnd is when Apple takes a provider token no longer, or nearly.
	tokenEnd = 59 * time.Minute
	// clockSlip is how far the clock may step back before a token made "in the
	// future" is replaced.
	clockSlip = time.Minute
)

// providerToken is the JWT by which we prove who we are, one for each team and
// key, shared by all that send with it.
type providerToken struct {
	team    string
	key     Key
	counted func() // called for each token made

	mu     sync.Mutex
	bearer string
	made   time.Time // wall clock: Apple's idea of its age, also over a suspend
	forced time.Time
	before struct { // the token before
		bearer string
		made   time.Time
	}
	rest time.Time // until then Apple wants no new one
}

// current is the token to use now; it is made at the first use and every 40
// minutes. After Apple complained of too many it is used up to its end.
func (t *providerToken) current() (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now().Round(0)
	life := tokenLife
	if now.Before(t.rest) {
		life = tokenEnd
	}
	if age := now.Sub(t.made); t.bearer != "" && age < life && age > -clockSlip {
		return t.bearer, nil
	}
	return t.mint()
}

// keep answers Apple's "too many provider tokens": no new one for 20 minutes,
// and back to the one before if Apple still takes it. It is true when there is
// a token other than refused to try.
func (t *providerToken) keep(refused string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bearer != refused {
		return true // somebody else went back
	}
	now := time.Now().Round(0)
	t.rest = now.Add(forcedRest)
	if t.before.bearer == "" || now.Sub(t.before.made) >= tokenEnd {
		return false
	}
	t.bearer, t.made = t.before.bearer, t.before.made
	t.before.bearer = ""
	return true
}

// replace puts another key to use.
func (t *providerToken) replace(k Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.key.private.Equal(k.private) {
		return
	}
	t.key = k
	t.bearer, t.before.bearer = "", ""
	t.rest, t.forced = time.Time{}, time.Time{}
}

// renew answers Apple's "expired": it is a token other than refused, or false
// when the last forced renewal was too short ago for another.
func (t *providerToken) renew(refused string) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bearer != refused {
		return true, nil // somebody else renewed it
	}
	now := time.Now().Round(0)
	if now.Before(t.rest) || !t.forced.IsZero() && now.Sub(t.forced) < forcedRest {
		return false, nil
	}
	t.forced = now
	_, err := t.mint()
	return err == nil, err
}

// mint signs a new token; mu is held.
func (t *providerToken) mint() (string, error) {
	fresh := token.Token{AuthKey: t.key.private, KeyID: t.key.ID, TeamID: t.team}
	if _, err := fresh.Generate(); err != nil {
		return "", fmt.Errorf("sign provider token with %s: %w", t.key, err)
	}
	t.before.bearer, t.before.made = t.bearer, t.made
	t.bearer, t.made = fresh.Bearer, time.Now().Round(0)
	t.counted()
	return t.bearer, nil
}
