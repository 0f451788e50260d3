package digest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
	icholy "github.com/icholy/digest"
	"pgregory.net/rapid"
)

const realm = "sip.example.com"

// users are passwords by name; each look-up is counted.
type users struct {
	passwords map[string]string
	lookups   int
}

func (u *users) HA1(_ context.Context, realm, username string, a Algorithm) (string, bool) {
	u.lookups++
	password, ok := u.passwords[username]
	return HA1(a, username, realm, password), ok
}

func newVerifier(t testing.TB, change ...func(*Options)) *Verifier {
	t.Helper()
	opts := Options{Realm: realm, Credentials: &users{passwords: map[string]string{"alice": "secret", `a"l\ice`: "x"}}}
	for _, f := range change {
		f(&opts)
	}
	v, err := NewVerifier(opts)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func uri(t testing.TB, s string) (u sip.Uri) {
	t.Helper()
	if err := sip.ParseUri(s, &u); err != nil {
		t.Fatal(err)
	}
	return u
}

// credentials answers a challenge with another implementation, so that ours is not
// its own judge.
func credentials(t testing.TB, challenge string, o icholy.Options) string {
	t.Helper()
	ch, err := icholy.ParseChallenge(challenge)
	if err != nil {
		t.Fatal(err)
	}
	c, err := icholy.Digest(ch, o)
	if err != nil {
		t.Fatal(err)
	}
	return c.String()
}

func register(t testing.TB, authorization ...string) Request {
	return Request{Method: "REGISTER", URI: uri(t, "sip:"+realm), Authorization: authorization}
}

func alice(count int) icholy.Options {
	return icholy.Options{Method: "REGISTER", URI: "sip:" + realm, Username: "alice", Password: "secret", Count: count}
}

func wantOutcome(t testing.TB, got Result, want Outcome, reason error) {
	t.Helper()
	if got.Outcome != want || !errors.Is(got.Err, reason) || (want == OK) != (got.Err == nil) {
		t.Errorf("got %v, %q, %v; want %v, %v", got.Outcome, got.Username, got.Err, want, reason)
	}
}

// The examples of RFC 2617 s3.5 and RFC 7616 s3.9.1.
func TestResponseVectors(t *testing.T) {
	rfc7616 := params{"nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "uri": "/dir/index.html", "qop": "auth",
		"nc": "00000001", "cnonce": "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"}
	tests := []struct {
		a                     Algorithm
		realm, password, want string
		p                     params
	}{
		{MD5, "testrealm@host.com", "Circle Of Life", "6629fae49393a05397450978507c4ef1", params{
			"nonce": "dcd98b7102dd2f0e8b11d0f600bfb0c093", "uri": "/dir/index.html", "qop": "auth", "nc": "00000001", "cnonce": "0a4f113b"}},
		{MD5, "http-auth@example.org", "Circle of Life", "8ca523f5e9506fed4657c9700eebdbec", rfc7616},
		{SHA256, "http-auth@example.org", "Circle of Life", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1", rfc7616},
	}
	for _, tt := range tests {
		if got := response(tt.a, HA1(tt.a, "Mufasa", tt.realm, tt.password), "GET", tt.p); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.a, got, tt.want)
		}
	}
}

func TestChallengeOneHeaderPerAlgorithm(t *testing.T) {
	got := newVerifier(t).Challenge(false)
	if len(got) != 2 {
		t.Fatal(got)
	}
	var nonces []string
	for i, a := range []string{"MD5", "SHA-256"} {
		ch, err := icholy.ParseChallenge(got[i])
		if err != nil {
			t.Fatal(err)
		}
		if ch.Realm != realm || ch.Algorithm != a || ch.Stale || !ch.SupportsQOP("auth") || ch.Nonce == "" {
			t.Errorf("%s", got[i])
		}
		nonces = append(nonces, ch.Nonce)
	}
	if nonces[0] != nonces[1] {
		t.Error("the challenges of one response have two nonces")
	}
	stale := newVerifier(t, func(o *Options) { o.Algorithms = []Algorithm{SHA256} }).Challenge(true)
	if len(stale) != 1 || !strings.Contains(stale[0], "stale=true") || !strings.Contains(stale[0], "algorithm=SHA-256") {
		t.Error(stale)
	}
}

func TestVerifyAcceptsEachAlgorithm(t *testing.T) {
	for _, a := range []Algorithm{MD5, SHA256, SHA512256} {
		v := newVerifier(t, func(o *Options) { o.Algorithms = []Algorithm{a} })
		got := v.Verify(t.Context(), register(t, "Basic Zm9vOmJhcg==", `Digest realm="other", username="x"`, credentials(t, v.Challenge(false)[0], alice(1))))
		wantOutcome(t, got, OK, nil)
		if got.Username != "alice" {
			t.Errorf("user %q", got.Username)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	v := newVerifier(t)
	md5 := func(o icholy.Options) string { return credentials(t, v.Challenge(false)[0], o) }
	wrong, unknown, other, empty := alice(1), alice(1), alice(1), alice(1)
	wrong.Password = "guess"
	unknown.Username = "mallory"
	unknown.Password = ""
	empty.Username = ""
	other.URI = "sip:elsewhere.example.net"
	edit := func(old, new string) string { return strings.Replace(md5(alice(1)), old, new, 1) }
	tests := []struct {
		name   string
		values []string
		want   Outcome
		reason error
	}{
		{"nothing", nil, Challenge, ErrNoCredentials},
		{"Basic", []string{"Basic Zm9vOmJhcg=="}, Challenge, ErrNoCredentials},
		{"other realm", []string{edit(realm, "example.org")}, Challenge, ErrNoCredentials},
		{"algorithm that was not offered", []string{edit("algorithm=MD5", "algorithm=SHA-512-256")}, Challenge, ErrNoCredentials},
		{"session algorithm", []string{edit("algorithm=MD5", "algorithm=MD5-sess")}, Challenge, ErrNoCredentials},
		{"wrong password", []string{md5(wrong)}, Forbidden, ErrWrong},
		{"unknown user", []string{md5(unknown)}, Forbidden, ErrWrong},
		{"wrong password, nonce of somebody else", []string{strings.Replace(md5(wrong), `nonce="`, `nonce="x`, 1)}, Forbidden, ErrWrong},
		{"other URI", []string{md5(other)}, BadRequest, ErrOtherURI},
		{"no username", []string{md5(empty)}, BadRequest, ErrMalformed},
		{"auth-int", []string{edit("qop=auth", "qop=auth-int")}, BadRequest, ErrMalformed},
		{"nc of seven digits", []string{edit("nc=00000001", "nc=0000001")}, BadRequest, ErrMalformed},
		{"nc with a sign", []string{edit("nc=00000001", "nc=+0000001")}, BadRequest, ErrMalformed},
		{"no cnonce", []string{edit("cnonce=", "xnonce=")}, BadRequest, ErrMalformed},
		{"short response", []string{edit(`response="`, `response="12", x="`)}, BadRequest, ErrMalformed},
		{"no response", []string{edit(`response="`, `x="`)}, BadRequest, ErrMalformed},
		{"no nonce", []string{edit(` nonce="`, ` x="`)}, BadRequest, ErrMalformed},
		{"twice the same parameter", []string{md5(alice(1)) + `, username="bob"`}, BadRequest, ErrMalformed},
		{"quotes not closed", []string{md5(alice(1)) + `, x="`}, BadRequest, ErrMalformed},
		{"huge", []string{"Digest x=" + strings.Repeat("a", 5000)}, BadRequest, ErrMalformed},
		{"control character", []string{"Digest username=\"a\x01\""}, BadRequest, ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantOutcome(t, v.Verify(t.Context(), register(t, tt.values...)), tt.want, tt.reason)
		})
	}
}

// What PJSIP with initial_auth and IMS phones send before any challenge is neither
// malformed nor an attempt, whatever the parameters that have no value yet.
func TestInitialCredentialsAreChallenged(t *testing.T) {
	v := newVerifier(t)
	const head = `Digest username="alice", realm="` + realm + `", uri="sip:` + realm + `", `
	for _, rest := range []string{
		`nonce="", response=""`,
		`nonce="", response="", algorithm=MD5`,
		`nonce="", response="d41d8cd98f00b204e9800998ecf8427e"`,
		`nonce="abc", response=""`,
		`nonce="", response="", qop=auth, nc=00000001, cnonce=""`,
	} {
		got := v.Verify(t.Context(), register(t, head+rest))
		wantOutcome(t, got, Challenge, ErrNoCredentials)
		if got.Outcome.Failed() {
			t.Errorf("%s counts towards a ban", rest)
		}
	}
}

// I4: the same answer and the same number of look-ups for a user that exists and
// one that does not.
func TestUnknownUserIsNotTold(t *testing.T) {
	u := &users{passwords: map[string]string{"alice": "secret"}}
	v := newVerifier(t, func(o *Options) { o.Credentials = u })
	var results []Result
	for _, name := range []string{"alice", "nobody"} {
		before := u.lookups
		o := alice(1)
		o.Username, o.Password = name, "guess"
		r := v.Verify(t.Context(), register(t, credentials(t, v.Challenge(false)[1], o)))
		if u.lookups != before+1 {
			t.Errorf("%s: %d look-ups", name, u.lookups-before)
		}
		r.Username = ""
		results = append(results, r)
	}
	if results[0] != results[1] {
		t.Errorf("known %+v, unknown %+v", results[0], results[1])
	}
	// Credentials that know a user but hold no usable hash let nobody in.
	broken := newVerifier(t, func(o *Options) { o.Credentials = emptyHash{} })
	wantOutcome(t, broken.Verify(t.Context(), register(t, credentials(t, broken.Challenge(false)[0], alice(1)))), Forbidden, ErrWrong)
}

type emptyHash struct{}

func (emptyHash) HA1(context.Context, string, string, Algorithm) (string, bool) { return "", true }

// I3: a captured request is worth nothing, from anywhere.
func TestNonceCountMustRise(t *testing.T) {
	v := newVerifier(t)
	ch := v.Challenge(false)
	for _, step := range []struct {
		count int
		want  Outcome
	}{{1, OK}, {1, Stale}, {2, OK}, {2, Stale}, {1, Stale}, {7, OK}, {3, Stale}, {8, OK}} {
		var reason error
		if step.want == Stale {
			reason = ErrStaleNonce
		}
		wantOutcome(t, v.Verify(t.Context(), register(t, credentials(t, ch[0], alice(step.count)))), step.want, reason)
	}
	// The count is the nonce's, whichever algorithm it is used with.
	wantOutcome(t, v.Verify(t.Context(), register(t, credentials(t, ch[1], alice(8)))), Stale, ErrStaleNonce)
	zero := strings.Replace(credentials(t, v.Challenge(false)[0], alice(1)), "nc=00000001", "nc=00000000", 1)
	if got := v.Verify(t.Context(), register(t, zero)); got.Outcome == OK {
		t.Error("nc=0 accepted")
	}
}

// A client of RFC 2069 gets in, once per nonce.
func TestNoQOPIsGoodOnce(t *testing.T) {
	v := newVerifier(t)
	ch := strings.Replace(v.Challenge(false)[0], `, qop="auth"`, "", 1)
	auth := credentials(t, ch, alice(1))
	if strings.Contains(auth, "qop") {
		t.Fatal(auth)
	}
	wantOutcome(t, v.Verify(t.Context(), register(t, auth)), OK, nil)
	wantOutcome(t, v.Verify(t.Context(), register(t, auth)), Stale, ErrStaleNonce)
}

func TestNonceLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVerifier(t)
		ch := v.Challenge(false)
		time.Sleep(5 * time.Minute)
		wantOutcome(t, v.Verify(t.Context(), register(t, credentials(t, ch[0], alice(1)))), OK, nil)
		time.Sleep(time.Second)
		wantOutcome(t, v.Verify(t.Context(), register(t, credentials(t, ch[0], alice(2)))), Stale, ErrStaleNonce)
		wrong := alice(3)
		wrong.Password = "guess"
		wantOutcome(t, v.Verify(t.Context(), register(t, credentials(t, ch[0], wrong))), Forbidden, ErrWrong)
	})
}

// After a restart the phones come with nonces of the old process: right passwords
// are told to try again without asking their users.
func TestNonceOfAnotherRunIsStale(t *testing.T) {
	old, now := newVerifier(t), newVerifier(t)
	auth := credentials(t, old.Challenge(false)[0], alice(1))
	wantOutcome(t, now.Verify(t.Context(), register(t, auth)), Stale, ErrStaleNonce)
	// And a nonce of another realm does not pass either, though the key be the same.
	now.minter.key = old.minter.key
	wantOutcome(t, now.Verify(t.Context(), register(t, auth)), OK, nil)
	now.minter.realm = "elsewhere"
	wantOutcome(t, now.Verify(t.Context(), register(t, credentials(t, old.Challenge(false)[0], alice(1)))), Stale, ErrStaleNonce)
}

// What was forgotten cannot be replayed, and costs honest clients one round trip.
func TestForgottenNonceIsStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVerifier(t, func(o *Options) { o.Nonces = 2 })
		var auths []string
		for range 4 {
			auths = append(auths, credentials(t, v.Challenge(false)[0], alice(1)))
			time.Sleep(time.Millisecond)
		}
		for _, i := range []int{3, 1, 2} { // the third drops the nonce of 3, younger than all others
			wantOutcome(t, v.Verify(t.Context(), register(t, auths[i])), OK, nil)
		}
		for i, want := range []error{ErrStaleNonce, ErrStaleNonce, ErrStaleNonce, ErrStaleNonce} {
			wantOutcome(t, v.Verify(t.Context(), register(t, auths[i])), Stale, want)
		}
		wantOutcome(t, v.Verify(t.Context(), register(t, credentials(t, v.Challenge(false)[0], alice(1)))), OK, nil)
		if n := v.counter.seen.Len(); n > 2 {
			t.Errorf("%d nonces remembered", n)
		}
	})
}

func TestDigestURIIsComparedLoosely(t *testing.T) {
	tests := []struct {
		method, request, digest string
		ok                      bool
	}{
		{"REGISTER", "sip:sip.example.com", "sip:sip.example.com", true},
		{"REGISTER", "sip:sip.example.com;transport=tls", "sip:SIP.example.com:5061", true},
		{"REGISTER", "sip:sip.example.com", "sip:alice@sip.example.com", true},
		{"REGISTER", "sip:10.0.0.1", "sip:sip.example.com", true}, // the realm
		{"REGISTER", "sip:sip.example.com", "sip:127.0.0.1:5060", true},
		{"REGISTER", "sip:sip.example.com", "sip:elsewhere.org", false},
		{"REGISTER", "sip:sip.example.com", "sips:sip.example.com", true},
		{"REGISTER", "sip:sip.example.com", "/index.html", false},
		{"REGISTER", "sip:sip.example.com", "sip:", false},
		{"INVITE", "sip:bob@sip.example.com;user=phone", "sip:bob@sip.example.com", true},
		{"INVITE", "sip:bob@sip.example.com", "sip:127.0.0.1:5060", true},
		{"INVITE", "sip:bob@[::1]:5060", "sip:bob@[::1]", true},
		{"INVITE", "sip:b%6fb@sip.example.com", "sip:bob@sip.example.com", true},
		{"INVITE", "sip:bob@sip.example.com", "sip:0900123@sip.example.com", false},
		{"INVITE", "tel:+491234", "tel:+491234", true},
		{"INVITE", "tel:+491234", "tel:+499999", false},
		{"INVITE", "sip:+491234@sip.example.com", "tel:+491234", false},
	}
	for _, tt := range tests {
		if got := sameTarget(Request{Method: tt.method, URI: uri(t, tt.request)}, tt.digest, realm); got != tt.ok {
			t.Errorf("%s %s with uri=%s: %v", tt.method, tt.request, tt.digest, got)
		}
	}
}

func TestNewVerifierRefuses(t *testing.T) {
	good := Options{Realm: "r", Credentials: emptyHash{}}
	for name, change := range map[string]func(*Options){
		"no realm":       func(o *Options) { o.Realm = "" },
		"quote in realm": func(o *Options) { o.Realm = `a"b` },
		"CRLF in realm":  func(o *Options) { o.Realm = "a\r\nX: y" },
		"no credentials": func(o *Options) { o.Credentials = nil },
		"algorithm":      func(o *Options) { o.Algorithms = []Algorithm{"md5"} },
	} {
		o := good
		change(&o)
		if _, err := NewVerifier(o); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
}

func TestHA1(t *testing.T) {
	if err := CheckHA1(MD5, HA1(MD5, "a", "r", "p")); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "abc", strings.Repeat("g", 32), HA1(SHA256, "a", "r", "p")} {
		if err := CheckHA1(MD5, bad); err == nil || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("CheckHA1(%q) = %v", bad, err)
		}
	}
	if a, ok := ParseAlgorithm("sha-256"); !ok || a != SHA256 {
		t.Errorf("%v, %v", a, ok)
	}
	if _, ok := ParseAlgorithm("AKAv1-MD5"); ok {
		t.Error("AKA is supported?")
	}
}

// Any user name and password, by any algorithm: our client gets into our server,
// a third implementation agrees on the digest, and one wrong character locks out.
func TestClientAndVerifierAgree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.StringMatching(`[^\x00-\x1f\x7f]{1,20}`).Draw(rt, "user")
		password := rapid.StringN(1, 20, -1).Draw(rt, "password")
		a := rapid.SampledFrom(preference()).Draw(rt, "algorithm")
		v := newVerifier(t, func(o *Options) {
			o.Algorithms = []Algorithm{a}
			o.Credentials = &users{passwords: map[string]string{name: password}}
		})
		login := Login{Username: name, Password: password}
		if rapid.Bool().Draw(rt, "by hash") {
			login = Login{Username: name, HA1: map[Algorithm]string{a: strings.ToUpper(HA1(a, name, realm, password))}}
		}
		c := NewClient(login)
		hs, err := c.Attempt().Answer(Challenges{Values: v.Challenge(false)}, "INVITE", "sip:bob@"+realm)
		if err != nil || len(hs) != 1 {
			rt.Fatalf("%v, %v", hs, err)
		}
		req := Request{Method: "INVITE", URI: uri(t, "sip:bob@"+realm), Authorization: []string{hs[0].Value()}}
		if got := v.Verify(context.Background(), req); got.Outcome != OK || got.Username != name {
			rt.Fatalf("%s: %+v", hs[0].Value(), got)
		}
		cred, err := icholy.ParseCredentials(hs[0].Value())
		if err != nil {
			rt.Fatal(err)
		}
		again, err := icholy.Digest(&icholy.Challenge{Realm: cred.Realm, Nonce: cred.Nonce, Algorithm: cred.Algorithm, QOP: []string{cred.QOP}},
			icholy.Options{Method: "INVITE", URI: cred.URI, Count: cred.Nc, Cnonce: cred.Cnonce, Username: name, Password: password})
		if err != nil || again.Response != cred.Response {
			rt.Fatalf("icholy disagrees: %v", err)
		}
		wrong := NewClient(Login{Username: name, Password: password + "x"})
		if hs, err = wrong.Attempt().Answer(Challenges{Values: v.Challenge(false)}, "INVITE", "sip:bob@"+realm); err != nil {
			rt.Fatal(err)
		}
		req.Authorization = []string{hs[0].Value()}
		if got := v.Verify(context.Background(), req); got.Outcome != Forbidden {
			rt.Fatalf("wrong password: %+v", got)
		}
	})
}

func FuzzVerify(f *testing.F) {
	v := newVerifier(f)
	f.Add(credentials(f, v.Challenge(false)[0], alice(1)))
	f.Add(`Digest username="alice", realm="sip.example.com", nonce="", uri="sip:x", response="` + strings.Repeat("0", 32) + `"`)
	f.Add(`digest realm=sip.example.com,,username=alice,nonce=a,uri=b,response="\"`)
	f.Fuzz(func(t *testing.T, value string) {
		before := value
		r := v.Verify(context.Background(), register(t, value))
		if r.Outcome == OK && !strings.Contains(before, "alice") {
			t.Errorf("%q got in", value)
		}
		if (r.Outcome == OK) != (r.Err == nil) {
			t.Errorf("%v with %v", r.Outcome, r.Err)
		}
		// A challenge from a hostile peer neither panics the client nor breaks a header.
		hs, err := NewClient(Login{Username: "a", Password: "secret"}).Attempt().Answer(Challenges{Values: []string{value}}, "REGISTER", "sip:h")
		if (err == nil) != (len(hs) == 1) {
			t.Errorf("%v with %v", hs, err)
		}
		for _, h := range hs {
			if strings.ContainsAny(h.Value(), "\r\n\x00") || strings.Contains(h.Value(), "secret") && !strings.Contains(value, "secret") {
				t.Errorf("%q", h.Value())
			}
		}
		if err != nil && strings.Contains(fmt.Sprint(err, r.Err), "secret") {
			t.Error(err)
		}
	})
}
