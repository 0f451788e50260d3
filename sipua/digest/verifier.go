package digest

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Credentials knows the users of a realm.
type Credentials interface {
	// HA1 is H(username:realm:password) in hexadecimal for that algorithm (see the
	// function HA1). ok is false if the user is unknown or has no such hash. It is
	// called once per verification and should take the same time either way.
	HA1(ctx context.Context, realm, username string, a Algorithm) (ha1 string, ok bool)
}

// Outcome says what to do with a request.
type Outcome uint8

const (
	// Challenge: no credentials for this realm, or "initial" ones with an empty
	// nonce or response; answer 401 (or 407) with Verifier.Challenge(false).
	Challenge Outcome = iota
	// OK: the request is from Result.Username.
	OK
	// Stale: the digest is right, the nonce is used up; answer 401 with
	// Verifier.Challenge(true), so that the client tries again without asking its
	// user.
	Stale
	// Forbidden: wrong user or password. Answer exactly as for Challenge (a 403
	// would tell known users from unknown ones) and count a failed attempt.
	Forbidden
	// BadRequest: credentials that follow no grammar or were made for another URI
	// (RFC 7616 s3.4.6); answer 400 and count a failed attempt.
	BadRequest
)

// String is the outcome's name, fit for a metric label.
func (o Outcome) String() string {
	switch o {
	case Challenge:
		return "challenge"
	case OK:
		return "ok"
	case Stale:
		return "stale"
	case Forbidden:
		return "forbidden"
	case BadRequest:
		return "bad_request"
	}
	return "outcome(" + strconv.Itoa(int(o)) + ")"
}

// Failed says that the outcome counts as a failed attempt for limits and bans.
func (o Outcome) Failed() bool { return o == Forbidden || o == BadRequest }

// Options of a Verifier.
type Options struct {
	// Realm is the protection domain, normally the SIP domain. Required; no quote,
	// backslash or control character.
	Realm string
	// Algorithms are offered in this order, one challenge each. Default: MD5, then
	// SHA-256, because some clients give up at a first challenge they do not know.
	Algorithms []Algorithm
	// NonceLife is how long a nonce may be used. Default: 5 minutes.
	NonceLife time.Duration
	// Nonces is how many nonces in use are remembered. Default: 32768.
	Nonces int
	// Credentials is required.
	Credentials Credentials
}

// Verifier authenticates requests for one realm. It may be used from several
// goroutines.
type Verifier struct {
	opts    Options
	minter  *minter
	counter *counter
}

// NewVerifier checks opts and fills in the defaults.
func NewVerifier(opts Options) (*Verifier, error) {
	if opts.Realm == "" || strings.ContainsFunc(opts.Realm, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '"' || r == '\\' }) {
		return nil, fmt.Errorf("realm %q is empty or has quotes, backslashes or control characters", opts.Realm)
	}
	if opts.Credentials == nil {
		return nil, errors.New("digest: no Credentials")
	}
	if len(opts.Algorithms) == 0 {
		opts.Algorithms = []Algorithm{MD5, SHA256}
	}
	for _, a := range opts.Algorithms {
		if known, ok := ParseAlgorithm(string(a)); !ok || known != a {
			return nil, fmt.Errorf("digest algorithm %q is not supported", a)
		}
	}
	if opts.NonceLife <= 0 {
		opts.NonceLife = 5 * time.Minute
	}
	if opts.Nonces <= 0 {
		opts.Nonces = 32768
	}
	m, err := newMinter(opts.Realm)
	if err != nil {
		return nil, err
	}
	c, err := newCounter(opts.Nonces)
	if err != nil {
		return nil, err
	}
	return &Verifier{opts: opts, minter: m, counter: c}, nil
}

// Realm is the realm this Verifier is for.
func (v *Verifier) Realm() string { return v.opts.Realm }

// Challenge makes the values of WWW-Authenticate (or Proxy-Authenticate), one
// header field per algorithm in the configured order (RFC 8760 s2.3). They share a
// fresh nonce.
func (v *Verifier) Challenge(stale bool) []string {
	nonce := v.minter.mint(time.Now())
	var isStale string
	if stale {
		isStale = "true"
	}
	values := make([]string, 0, len(v.opts.Algorithms))
	for _, a := range v.opts.Algorithms {
		values = append(values, format([]field{
			{"realm", v.opts.Realm, true}, {"nonce", nonce, true}, {"stale", isStale, false},
			{"algorithm", string(a), false}, {"qop", "auth", true},
		}))
	}
	return values
}

// Request is what Verify needs to know of a request.
type Request struct {
	// Method is the method as sent. For the ACK to a 2xx and for CANCEL there is
	// nothing to verify: they cannot be challenged (RFC 3261 s22.1).
	Method string
	// URI is the Request-URI.
	URI sip.Uri
	// Authorization are the values of all Authorization (or Proxy-Authorization)
	// header fields.
	Authorization []string
}

// Result of a verification.
type Result struct {
	Outcome Outcome
	// Username is the user that the credentials name, also when they are wrong:
	// authenticated only if Outcome is OK.
	Username string
	// Err is nil for OK, else the reason in this package's sentinels.
	Err error
}

// Verify authenticates a request. Unknown users cost the same work and get the
// same answer as wrong passwords.
//
// Of several header fields the first with the Verifier's realm counts. Credentials
// without qop (RFC 2069) are taken once per nonce, as they carry no count.
//
// The digest's uri is compared with the Request-URI by user and host only: clients
// leave out parameters, port or user, put the realm where the Request-URI has an
// address, or the server's address where it has a name; a REGISTER's may name any
// user. With a nonce of ours and a rising count the comparison is no more than a
// second lock.
func (v *Verifier) Verify(ctx context.Context, req Request) Result {
	p, err := v.pick(req.Authorization)
	if err != nil {
		return Result{Outcome: BadRequest, Err: err}
	}
	if p == nil {
		return Result{Outcome: Challenge, Err: ErrNoCredentials}
	}
	user := p["username"]
	a, ok := v.algorithm(p)
	if !ok || initial(p) {
		return Result{Outcome: Challenge, Username: user, Err: ErrNoCredentials}
	}
	count, err := checkFields(p, a)
	if err != nil {
		return Result{Outcome: BadRequest, Username: user, Err: err}
	}
	id, ours := v.minter.read(p["nonce"])
	decoy := v.minter.decoy(a, user)
	ha1, known := v.opts.Credentials.HA1(ctx, v.opts.Realm, user, a)
	if known = known && len(ha1) == a.size(); !known {
		ha1 = decoy
	}
	want := response(a, strings.ToLower(ha1), req.Method, p)
	right := subtle.ConstantTimeCompare([]byte(want), []byte(strings.ToLower(p["response"]))) == 1
	switch {
	case !right || !known:
		return Result{Outcome: Forbidden, Username: user, Err: ErrWrong}
	case !sameTarget(req, p["uri"], v.opts.Realm):
		return Result{Outcome: BadRequest, Username: user, Err: ErrOtherURI}
	case !ours || !v.fresh(id) || !v.counter.accept(id, count):
		return Result{Outcome: Stale, Username: user, Err: ErrStaleNonce}
	}
	return Result{Outcome: OK, Username: user}
}

// pick finds the credentials for our realm; nil if there are none.
func (v *Verifier) pick(values []string) (params, error) {
	for _, value := range values {
		p, isDigest, err := parse(value)
		if err != nil {
			return nil, err
		}
		if isDigest && p["realm"] == v.opts.Realm {
			return p, nil
		}
	}
	return nil, nil
}

// Username is the user that credentials in an Authorization value name, "" if it holds none
// or does not parse.
func Username(authorization string) string {
	p, isDigest, err := parse(authorization)
	if err != nil || !isDigest {
		return ""
	}
	return p["username"]
}

// initial says that a client that was not challenged yet only names its user
// (3GPP TS 24.229 s5.1.1.2; PJSIP's initial_auth): it guesses at nothing.
func initial(p params) bool {
	nonce, hasNonce := p["nonce"]
	response, hasResponse := p["response"]
	return hasNonce && hasResponse && (nonce == "" || response == "")
}

// algorithm is the credentials' algorithm if we offered it; MD5 if they name none
// (RFC 7616 s3.4).
func (v *Verifier) algorithm(p params) (Algorithm, bool) {
	name, named := p["algorithm"]
	if !named {
		name = string(MD5)
	}
	a, ok := ParseAlgorithm(name)
	return a, ok && slices.Contains(v.opts.Algorithms, a)
}

// checkFields checks that all parts are there and gives the nonce count.
func checkFields(p params, a Algorithm) (count uint32, err error) {
	for _, name := range []string{"username", "nonce", "uri", "response"} {
		if p[name] == "" {
			return 0, fmt.Errorf("%s is missing: %w", name, ErrMalformed)
		}
	}
	if len(p["response"]) != a.size() {
		return 0, fmt.Errorf("response has %d characters for %s: %w", len(p["response"]), a, ErrMalformed)
	}
	switch p["qop"] {
	case "":
		// Used up by this one request.
		return math.MaxUint32, nil
	case "auth":
	default:
		return 0, fmt.Errorf("qop that was not offered: %w", ErrMalformed)
	}
	if p["cnonce"] == "" || len(p["nc"]) != 8 {
		return 0, fmt.Errorf("cnonce or nc is missing: %w", ErrMalformed)
	}
	n, err := strconv.ParseUint(p["nc"], 16, 32)
	if err != nil {
		return 0, fmt.Errorf("nc is not hexadecimal: %w", ErrMalformed)
	}
	return uint32(n), nil
}

// fresh says that a nonce is young enough; a clock that was set back does not make
// it live longer than once again its life.
func (v *Verifier) fresh(id nonceID) bool {
	return time.Since(id.issued()).Abs() <= v.opts.NonceLife
}
