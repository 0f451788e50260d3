package digest

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/emiago/sipgo/sip"
)

// Login is what a Client answers with.
type Login struct {
	Username string
	// Password, or else the HA1 of each algorithm that may be used.
	Password string
	HA1      map[Algorithm]string
	// Realm, if not empty, is the only realm that is answered. HA1 without it
	// answers any, which only the right realm accepts.
	Realm string
}

// String does not show the secrets.
func (l Login) String() string { return "login of " + l.Username }

// GoString keeps %#v from showing the secrets.
func (l Login) GoString() string { return "digest.Login{" + l.String() + "}" }

// LogValue does not show the secrets.
func (l Login) LogValue() slog.Value { return slog.StringValue(l.Username) }

// Challenges are the challenges of one response.
type Challenges struct {
	// Values of all WWW-Authenticate or Proxy-Authenticate header fields.
	Values []string
	// Proxy: they came in a 407, and the answer goes into Proxy-Authorization.
	Proxy bool
}

// ChallengesOf reads a response; ok is false if it is neither 401 nor 407.
func ChallengesOf(res *sip.Response) (c Challenges, ok bool) {
	name := "WWW-Authenticate"
	switch res.StatusCode {
	case sip.StatusUnauthorized:
	case sip.StatusProxyAuthRequired:
		name, c.Proxy = "Proxy-Authenticate", true
	default:
		return Challenges{}, false
	}
	for _, h := range res.GetHeaders(name) {
		c.Values = append(c.Values, h.Value())
	}
	return c, true
}

// Client answers the challenges of one configured peer and remembers its nonces,
// so that the next request can carry credentials at once. It may be used from
// several goroutines.
type Client struct {
	login Login

	mu sync.Mutex
	// sessions by role: [0] of the peer as server, [1] as proxy.
	sessions [2]*session
}

// session is a nonce in use.
type session struct {
	challenge params
	algorithm Algorithm
	count     uint32
}

// NewClient makes a Client for one peer.
func NewClient(login Login) *Client { return &Client{login: login} }

// Authorize gives the credentials that a new request carries from the start, made
// with the nonces known so far; none before the first challenge. uri is the
// Request-URI as it is sent.
func (c *Client) Authorize(method, uri string) []sip.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.headers(method, uri)
}

// Forget drops what is known of the peer's nonces, for instance when its
// connection closed.
func (c *Client) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessions = [2]*session{}
}

// Attempt begins a request that may be challenged.
func (c *Client) Attempt() *Attempt { return &Attempt{client: c} }

// maxStale bounds the challenges with stale=true that one request follows, against
// a peer that says nothing else.
const maxStale = 3

// Attempt is one request on its way through challenges. It belongs to one
// goroutine.
type Attempt struct {
	client *Client
	tries  [2]int
	stale  int
}

// Answer gives the credentials with which the request is sent once more (see
// Apply), with the CSeq raised by one. Each role may challenge twice; more only
// with stale=true. After that, or when no challenge can be answered, the error is
// ErrRefused, ErrUnsupported, ErrOtherRealm or wraps ErrMalformed.
func (a *Attempt) Answer(ch Challenges, method, uri string) ([]sip.Header, error) {
	role := 0
	if ch.Proxy {
		role = 1
	}
	chosen, alg, err := a.client.choose(ch.Values)
	if err != nil {
		return nil, err
	}
	if strings.EqualFold(chosen["stale"], "true") && a.stale < maxStale {
		a.stale++
	} else if a.tries[role]++; a.tries[role] > 2 {
		return nil, ErrRefused
	}
	c := a.client
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sessions[role]
	if s == nil || s.challenge["nonce"] != chosen["nonce"] || s.challenge["realm"] != chosen["realm"] || s.algorithm != alg {
		s = &session{challenge: chosen, algorithm: alg}
		c.sessions[role] = s
	}
	return c.headers(method, uri), nil
}

// choose takes the best algorithm of all challenges that can be answered.
func (c *Client) choose(values []string) (params, Algorithm, error) {
	best, bestAt := params(nil), len(preference())
	failure := ErrUnsupported
	for _, value := range values {
		p, isDigest, err := parse(value)
		if err == nil && isDigest && (p["nonce"] == "" || p["realm"] == "") {
			err = fmt.Errorf("challenge without nonce or realm: %w", ErrMalformed)
		}
		if err != nil {
			failure = err
			continue
		}
		if !isDigest || !offersAuth(p) {
			continue
		}
		name, named := p["algorithm"]
		if !named {
			name = string(MD5)
		}
		a, ok := ParseAlgorithm(name)
		if !ok || !c.login.serves(a) {
			continue
		}
		if c.login.Realm != "" && c.login.Realm != p["realm"] {
			failure = ErrOtherRealm
			continue
		}
		if at := slices.Index(preference(), a); at < bestAt {
			best, bestAt = p, at
		}
	}
	if best == nil {
		return nil, "", failure
	}
	return best, preference()[bestAt], nil
}

func (l Login) serves(a Algorithm) bool { return l.Password != "" || l.HA1[a] != "" }

// offersAuth says that we can answer the challenge's qop: "auth" or none at all.
func offersAuth(p params) bool {
	qop, given := p["qop"]
	if !given || qop == "" {
		return true
	}
	for q := range strings.SplitSeq(qop, ",") {
		if strings.EqualFold(strings.TrimSpace(q), "auth") {
			return true
		}
	}
	return false
}

// headers makes the credentials of every known session. Under mu.
func (c *Client) headers(method, uri string) []sip.Header {
	var out []sip.Header
	for role, name := range []string{"Authorization", "Proxy-Authorization"} {
		if s := c.sessions[role]; s != nil {
			out = append(out, sip.NewHeader(name, s.credentials(c.login, method, uri)))
		}
	}
	return out
}

// credentials is one Authorization value, with the next nonce count.
func (s *session) credentials(l Login, method, uri string) string {
	p := params{"uri": uri, "nonce": s.challenge["nonce"]}
	if s.challenge["qop"] != "" {
		s.count++
		var random [16]byte
		// crypto/rand.Read never fails (it ends the program instead).
		_, _ = rand.Read(random[:])
		p["qop"], p["nc"], p["cnonce"] = "auth", fmt.Sprintf("%08x", s.count), hex.EncodeToString(random[:])
	}
	ha1 := strings.ToLower(l.HA1[s.algorithm])
	if l.Password != "" {
		ha1 = HA1(s.algorithm, l.Username, s.challenge["realm"], l.Password)
	}
	return format([]field{
		{"username", l.Username, true}, {"realm", s.challenge["realm"], true},
		{"nonce", p["nonce"], true}, {"uri", uri, true},
		{"response", response(s.algorithm, ha1, method, p), true},
		// The name as the peer spelt it: some compare it byte by byte.
		{"algorithm", s.challenge["algorithm"], false},
		{"cnonce", p["cnonce"], true}, {"opaque", s.challenge["opaque"], true},
		{"qop", p["qop"], false}, {"nc", p["nc"], false},
	})
}

// Apply puts credentials into a request in place of those it has.
func Apply(req *sip.Request, credentials []sip.Header) {
	for _, name := range []string{"Authorization", "Proxy-Authorization"} {
		for _, h := range req.GetHeaders(name) {
			// sipgo removes by the exact spelling.
			req.RemoveHeader(h.Name())
		}
	}
	for _, h := range credentials {
		req.AppendHeader(h)
	}
}
