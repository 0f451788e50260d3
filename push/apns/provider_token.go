package apns

import (
	"crypto"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"sync"
	"time"
)

const (
	// tokenLife is how long a provider token is used. Apple takes one for 60
	// minutes and wants no new one within 20.
	tokenLife = 40 * time.Minute
	// tokenRest is the least time from one token to the next, also between two
	// renewals that Apple's ExpiredProviderToken forced: a wrong clock must not turn
	// into a flood of tokens (429 TooManyProviderTokenUpdates).
	tokenRest = 20 * time.Minute
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
	signed        // in use
	before signed // the token before
	forced time.Time
	rest   time.Time // until then Apple wants no new one
}

// signed is a token, with times by the wall clock: Apple's idea of its age, also over a
// suspend.
type signed struct {
	bearer string
	made   time.Time // its iat
	until  time.Time // when the next one takes its place
}

// current is the token to use now; it is made at the first use and every 40
// minutes, at the same times by all that use the key: those of one period are equal to
// the letter, so that a server that starts often, or servers that share a key, mostly show
// Apple one token. One that was first used late in its period outlives it, so that the
// next does not come too soon; a server that starts meanwhile begins with the next. After Apple complained of too many it is used up to its
// end.
func (t *providerToken) current() (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now().Round(0)
	age := now.Sub(t.made)
	if t.bearer != "" && age > -clockSlip && age < tokenEnd && (now.Before(t.until) || now.Before(t.rest)) {
		return t.bearer, nil
	}
	return t.mint(period(now))
}

// period says of a token that is first used now how old it is to be and how long it
// serves: for 20 minutes at least, which are over before Apple takes it no longer.
func period(now time.Time) (made, until time.Time) {
	made = now.Truncate(tokenLife)
	until = made.Add(tokenLife)
	rested := now.Add(tokenRest)
	switch {
	case !rested.After(until):
		return made, until
	case rested.Sub(made) <= tokenEnd:
		return made, rested
	}
	// In a period's last minute its token is too old for that. This one serves on
	// to the end of the next period.
	return made.Add(tokenEnd - tokenRest), until.Add(tokenLife)
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
	t.rest = now.Add(tokenRest)
	if t.before.bearer == "" || now.Sub(t.before.made) >= tokenEnd {
		return false
	}
	t.signed, t.before = t.before, signed{}
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
	t.signed, t.before = signed{}, signed{}
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
	if now.Before(t.rest) || !t.forced.IsZero() && now.Sub(t.forced) < tokenRest {
		return false, nil
	}
	t.forced = now
	_, err := t.mint(now, now.Add(tokenLife))
	return err == nil, err
}

// mint signs a new token of that time, to use until then; mu is held.
func (t *providerToken) mint(made, until time.Time) (string, error) {
	fresh, err := sign(t.team, t.key, made)
	if err != nil {
		return "", err
	}
	t.before, t.signed = t.signed, signed{bearer: fresh, made: made, until: until}
	t.counted()
	return t.bearer, nil
}

// sign makes a JWT by ES256 (RFC 7518 s3.4), with a signature that is no matter of
// chance (RFC 6979): the same time gives the same token. Errors wrap ErrBadKey.
func sign(team string, k Key, at time.Time) (string, error) {
	if k.private == nil {
		return "", fmt.Errorf("%s was not loaded: %w", k, ErrBadKey)
	}
	head, err := json.Marshal(map[string]string{"alg": "ES256", "kid": k.ID, "typ": "JWT"})
	if err != nil {
		return "", fmt.Errorf("provider token: %w", err)
	}
	claims, err := json.Marshal(map[string]any{"iss": team, "iat": at.Unix()})
	if err != nil {
		return "", fmt.Errorf("provider token: %w", err)
	}
	text := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(claims)
	digest := sha256.Sum256([]byte(text))
	der, err := k.private.Sign(nil, digest[:], crypto.SHA256)
	var pair struct{ R, S *big.Int }
	if err == nil {
		_, err = asn1.Unmarshal(der, &pair)
	}
	if err != nil {
		return "", fmt.Errorf("sign provider token with %s: %w: %w", k, ErrBadKey, err)
	}
	const size = 32 // of a number, P-256
	raw := make([]byte, 2*size)
	pair.R.FillBytes(raw[:size])
	pair.S.FillBytes(raw[size:])
	return text + "." + base64.RawURLEncoding.EncodeToString(raw), nil
}
