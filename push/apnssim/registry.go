package apnssim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Kind says what a device token is good for.
type Kind string

const (
	// VoIP tokens come from PushKit and take the topic <bundle>.voip.
	VoIP Kind = "voip"
	// Alert tokens come from UIApplication and take the bundle as topic.
	Alert Kind = "alert"
)

// State is what Apple thinks of a device token.
type State string

const (
	// Active tokens are delivered to.
	Active State = "active"
	// Unregistered: the app is gone from the device. Answered 410.
	Unregistered State = "unregistered"
	// Expired: Apple retired the token. Answered 410.
	Expired State = "expired"
)

// Key is a provider's signing key as Apple knows it.
type Key struct {
	ID     string // ten characters A-Z, 0-9
	TeamID string // ten characters A-Z, 0-9
	Public *ecdsa.PublicKey
	// Environment the key is restricted to; empty: both.
	Environment Environment
	// Topics the key may send to, a bundle identifier covering its .voip topic
	// too; empty: all apps of the team.
	Topics []string
}

// key is a Key with the history of its provider tokens.
type key struct {
	Key
	issued map[int64]time.Time // iat -> first seen
}

// token is a device token and whom it belongs to.
type token struct {
	hex    string
	kind   Kind
	env    Environment
	bundle string
	device *Device
	state  State
	since  time.Time // of a state other than active
	bucket *rate.Limiter
	// background counts the background pushes that are delivered.
	background *rate.Limiter
}

// registry is Apple's database. Methods hand out copies.
type registry struct {
	limits Limits

	mu      sync.Mutex
	teams   map[string]struct{}
	keys    map[string]*key
	apps    map[string]string // bundle -> team
	tokens  map[string]*token
	devices map[string]*Device

	certificates map[[sha256.Size]byte]Certificate // by fingerprint
	seen         uint64                            // provider tokens
}

func newRegistry(limits Limits) *registry {
	return &registry{
		limits:  limits,
		teams:   make(map[string]struct{}),
		keys:    make(map[string]*key),
		apps:    make(map[string]string),
		tokens:  make(map[string]*token),
		devices: make(map[string]*Device),

		certificates: make(map[[sha256.Size]byte]Certificate),
	}
}

// AddTeam makes a team known, with the apps it owns. Known ones are fine.
// Errors: ErrBadIdentifier, ErrAppTaken.
func (s *Sim) AddTeam(teamID string, bundles ...string) error {
	if !tenCharacters(teamID) {
		return fmt.Errorf("%w: team %q", ErrBadIdentifier, teamID)
	}
	s.registry.mu.Lock()
	s.registry.teams[teamID] = struct{}{}
	s.registry.mu.Unlock()
	for _, b := range bundles {
		if err := s.AddApp(teamID, b); err != nil {
			return err
		}
	}
	return nil
}

// AddApp gives a team an app, so that <bundle> and <bundle>.voip are topics.
// Errors: ErrBadIdentifier, ErrUnknownTeam, ErrAppTaken.
func (s *Sim) AddApp(teamID, bundle string) error {
	if !bundleID(bundle) {
		return fmt.Errorf("%w: bundle %q", ErrBadIdentifier, bundle)
	}
	r := s.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.teams[teamID]; !ok {
		return fmt.Errorf("%w: %q", ErrUnknownTeam, teamID)
	}
	if owner, ok := r.apps[bundle]; ok && owner != teamID {
		return fmt.Errorf("%w: %q", ErrAppTaken, bundle)
	}
	r.apps[bundle] = teamID
	return nil
}

// RemoveApp takes an app from its team; unknown ones are ignored. Its device
// tokens stay, but its topics are bad.
func (s *Sim) RemoveApp(bundle string) {
	s.registry.mu.Lock()
	defer s.registry.mu.Unlock()
	delete(s.registry.apps, bundle)
}

// AddKey registers a signing key for all apps of a team in both environments,
// the team too if it is new.
// Errors: ErrBadIdentifier, ErrBadKey, ErrKeyTaken.
func (s *Sim) AddKey(teamID, keyID string, public *ecdsa.PublicKey) error {
	return s.PutKey(Key{ID: keyID, TeamID: teamID, Public: public})
}

// PutKey registers a signing key, or replaces what is known of it; the team
// too if it is new. Errors: ErrBadIdentifier, ErrBadKey, ErrKeyTaken.
func (s *Sim) PutKey(k Key) error {
	if !tenCharacters(k.TeamID) || !tenCharacters(k.ID) {
		return fmt.Errorf("%w: team %q, key %q", ErrBadIdentifier, k.TeamID, k.ID)
	}
	if k.Environment != "" && !k.Environment.valid() {
		return fmt.Errorf("%w: environment %q", ErrBadIdentifier, k.Environment)
	}
	if k.Public == nil || k.Public.Curve != elliptic.P256() {
		return ErrBadKey
	}
	k.Topics = slices.Clone(k.Topics)
	r := s.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.keys[k.ID]; old != nil && old.TeamID != k.TeamID {
		return fmt.Errorf("%w: %q", ErrKeyTaken, k.ID)
	}
	r.teams[k.TeamID] = struct{}{}
	r.keys[k.ID] = &key{Key: k, issued: make(map[int64]time.Time)}
	return nil
}

// RemoveKey revokes a signing key; unknown ones are ignored.
func (s *Sim) RemoveKey(keyID string) {
	s.registry.mu.Lock()
	defer s.registry.mu.Unlock()
	delete(s.registry.keys, keyID)
}

// GenerateKey makes a signing key, registers it as AddKey does and returns the
// private half as Apple hands it out: a .p8 file, PEM encoded PKCS #8.
// Errors: as AddKey.
func (s *Sim) GenerateKey(teamID, keyID string) (p8 []byte, err error) {
	return s.generateKey(Key{ID: keyID, TeamID: teamID})
}

func (s *Sim) generateKey(k Key) (p8 []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	k.Public = &private.PublicKey
	if err := s.PutKey(k); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// SetTokenState makes Apple think otherwise of a device token; since is the
// timestamp of the 410 (ignored for Active). Errors: ErrUnknownToken,
// ErrBadIdentifier for an unknown state.
func (s *Sim) SetTokenState(deviceToken string, state State, since time.Time) error {
	if state != Active && state != Unregistered && state != Expired {
		return fmt.Errorf("%w: state %q", ErrBadIdentifier, state)
	}
	return s.registry.setState(deviceToken, state, since)
}

func (r *registry) setState(hex string, state State, since time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tokens[strings.ToLower(hex)]
	if t == nil {
		return fmt.Errorf("%w: %s", ErrUnknownToken, mask(hex))
	}
	t.state, t.since = state, since
	return nil
}

// issue makes a new active device token, 32 random bytes as Apple's today.
func (r *registry) issue(d *Device, bundle string, kind Kind, env Environment) string {
	b := make([]byte, 32)
	rand.Read(b) // never fails (crypto/rand, Go 1.24)
	t := &token{hex: hex.EncodeToString(b), kind: kind, env: env, bundle: bundle, device: d, state: Active}
	t.bucket = rate.NewLimiter(rate.Limit(r.limits.PushRate), r.limits.PushBurst)
	t.background = rate.NewLimiter(rate.Every(time.Hour/time.Duration(r.limits.BackgroundPerHour)), r.limits.BackgroundPerHour)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tokens[t.hex] = t
	return t.hex
}

// token returns a copy of what is known of a device token; hex digits compare
// without case.
func (r *registry) token(hex string) (token, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.tokens[strings.ToLower(hex)]; t != nil {
		return *t, true
	}
	return token{}, false
}

func (r *registry) key(id string) (Key, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.keys[id]; k != nil {
		return k.Key, true
	}
	return Key{}, false
}

// updateWindow is how long Apple wants a provider token to be used at least.
const updateWindow = 20 * time.Minute

// newProviderToken counts the distinct provider tokens of a key, told apart by
// iat, and says whether this one is within the allowance. A refused one is not
// counted, so the older ones stay good.
func (r *registry) newProviderToken(keyID string, iat int64, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.keys[keyID]
	if k == nil {
		return true // revoked between two checks
	}
	if _, known := k.issued[iat]; known {
		return true
	}
	recent := 0
	for old, seen := range k.issued {
		switch age := now.Sub(seen); {
		case age < updateWindow:
			recent++
		case age > 2*maxTokenAge:
			delete(k.issued, old)
		}
	}
	if recent >= r.limits.NewProviderTokens {
		return false
	}
	k.issued[iat] = now
	r.seen++
	return true
}

func (r *registry) providerTokens() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen
}

// topic finds the app behind a topic and the suffix that makes it special.
func (r *registry) topic(topic string) (bundle, suffix, team string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if team, ok = r.apps[topic]; ok {
		return topic, "", team, true
	}
	for _, pt := range pushTypes() {
		if pt.suffix == "" {
			continue
		}
		if bundle, found := strings.CutSuffix(topic, pt.suffix); found {
			if team, ok = r.apps[bundle]; ok {
				return bundle, pt.suffix, team, true
			}
		}
	}
	return "", "", "", false
}

// tenCharacters is the form of Apple's team and key identifiers.
func tenCharacters(id string) bool {
	if len(id) != 10 {
		return false
	}
	for _, c := range []byte(id) {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

func bundleID(id string) bool {
	for _, c := range []byte(id) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '-':
		default:
			return false
		}
	}
	return id != ""
}

// mask keeps four characters of a device token for logs and errors.
func mask(token string) string {
	if len(token) <= 8 {
		return "****"
	}
	return "****" + token[len(token)-4:]
}
