package digest

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	icholy "github.com/icholy/digest"
)

func challenge(extra string) string { return `Digest realm="pbx", nonce="n1", ` + extra }

// read parses what a Client wrote.
func read(t testing.TB, h sip.Header) *icholy.Credentials {
	t.Helper()
	c, err := icholy.ParseCredentials(h.Value())
	if err != nil {
		t.Fatalf("%s: %v", h.Value(), err)
	}
	return c
}

func TestClientChoosesTheBestChallenge(t *testing.T) {
	both := Login{Username: "u", Password: "p"}
	md5Only := Login{Username: "u", HA1: map[Algorithm]string{MD5: HA1(MD5, "u", "pbx", "p")}}
	tests := []struct {
		name   string
		login  Login
		values []string
		want   string
		err    error
	}{
		{"SHA-256 second", both, []string{challenge(`algorithm=MD5, qop="auth"`), challenge(`algorithm=SHA-256, qop="auth"`)}, "SHA-256", nil},
		{"SHA-256 first", both, []string{challenge(`algorithm=SHA-256, qop="auth"`), challenge(`algorithm=MD5`)}, "SHA-256", nil},
		{"AKA first", both, []string{challenge(`algorithm=AKAv1-MD5, qop="auth"`), challenge(`algorithm=MD5, qop="auth"`)}, "MD5", nil},
		{"another scheme first", both, []string{`Bearer realm="x"`, challenge(`qop="auth"`)}, "", nil},
		{"broken one first", both, []string{`Digest realm="`, challenge(`algorithm=md5`)}, "md5", nil},
		{"spaces in the qop list", both, []string{challenge(`algorithm=MD5, qop="auth-int, auth"`)}, "MD5", nil},
		{"only the hash we have", md5Only, []string{challenge(`algorithm=SHA-256, qop="auth"`), challenge(`algorithm=MD5`)}, "MD5", nil},
		{"only AKA", both, []string{challenge(`algorithm=AKAv1-MD5, qop="auth"`)}, "", ErrUnsupported},
		{"only auth-int", both, []string{challenge(`algorithm=MD5, qop="auth-int"`)}, "", ErrUnsupported},
		{"only a hash we have not", md5Only, []string{challenge(`algorithm=SHA-256`)}, "", ErrUnsupported},
		{"no nonce (icholy takes it)", both, []string{`Digest realm=`}, "", ErrMalformed},
		{"none", both, nil, "", ErrUnsupported},
		{"other realm", Login{Username: "u", Password: "p", Realm: "mine"}, []string{challenge(`algorithm=MD5`)}, "", ErrOtherRealm},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hs, err := NewClient(tt.login).Attempt().Answer(Challenges{Values: tt.values}, "REGISTER", "sip:pbx")
			if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
				t.Fatal(err)
			}
			if tt.err != nil {
				return
			}
			if c := read(t, hs[0]); c.Algorithm != tt.want || c.Realm != "pbx" || c.URI != "sip:pbx" || c.Username != "u" {
				t.Errorf("%s", hs[0].Value())
			}
		})
	}
}

func TestClientReusesNonce(t *testing.T) {
	c := NewClient(Login{Username: "u", Password: "p"})
	if hs := c.Authorize("REGISTER", "sip:pbx"); hs != nil {
		t.Fatalf("credentials before any challenge: %v", hs)
	}
	first, err := c.Attempt().Answer(Challenges{Values: []string{challenge(`qop="auth", opaque="o\"p"`)}}, "REGISTER", "sip:pbx")
	if err != nil {
		t.Fatal(err)
	}
	second := c.Authorize("INVITE", "sip:201@pbx")
	again, err := c.Attempt().Answer(Challenges{Values: []string{challenge(`qop="auth"`)}}, "INVITE", "sip:201@pbx")
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := c.Attempt().Answer(Challenges{Values: []string{`Digest realm="pbx", nonce="n2", qop="auth"`}}, "INVITE", "sip:201@pbx")
	if err != nil {
		t.Fatal(err)
	}
	a, b, g, f := read(t, first[0]), read(t, second[0]), read(t, again[0]), read(t, fresh[0])
	if a.Nc != 1 || b.Nc != 2 || g.Nc != 3 || f.Nc != 1 || a.Nonce != b.Nonce || f.Nonce != "n2" {
		t.Errorf("counts %d %d %d %d", a.Nc, b.Nc, g.Nc, f.Nc)
	}
	if a.Cnonce == b.Cnonce || len(a.Cnonce) < 16 || a.Opaque != `o"p` || a.Response == b.Response {
		t.Errorf("%s\n%s", first[0].Value(), second[0].Value())
	}
	c.Forget()
	if hs := c.Authorize("INVITE", "sip:201@pbx"); hs != nil {
		t.Errorf("credentials after Forget: %v", hs)
	}
}

// I2: a peer that always challenges, each time with a new nonce, is left alone
// after the third request.
func TestClientGivesUp(t *testing.T) {
	count := func(stale bool, proxy bool) int {
		a := NewClient(Login{Username: "u", Password: "p"}).Attempt()
		for n := 1; ; n++ {
			v := fmt.Sprintf(`Digest realm="pbx", nonce="n%d", stale=%v, qop="auth"`, n, stale)
			if _, err := a.Answer(Challenges{Values: []string{v}, Proxy: proxy}, "INVITE", "sip:1@pbx"); err != nil {
				if !errors.Is(err, ErrRefused) {
					t.Fatal(err)
				}
				return n // requests sent, with the first one
			}
			if n > 20 {
				t.Fatal("endless")
			}
		}
	}
	if n := count(false, true); n != 3 {
		t.Errorf("%d requests to a peer that always challenges", n)
	}
	if n := count(true, false); n != 3+maxStale {
		t.Errorf("%d requests to a peer that always says stale", n)
	}
}

func TestClientServesProxyAndServer(t *testing.T) {
	a := NewClient(Login{Username: "u", Password: "p"}).Attempt()
	res := sip.NewResponse(407, "Proxy Authentication Required")
	res.AppendHeader(sip.NewHeader("proxy-authenticate", challenge(`qop="auth"`)))
	ch, ok := ChallengesOf(res)
	if !ok || !ch.Proxy || len(ch.Values) != 1 {
		t.Fatalf("%+v, %v", ch, ok)
	}
	if _, err := a.Answer(ch, "INVITE", "sip:1@pbx"); err != nil {
		t.Fatal(err)
	}
	res = sip.NewResponse(401, "Unauthorized")
	res.AppendHeader(sip.NewHeader("WWW-Authenticate", `Digest realm="other", nonce="x", algorithm=MD5`))
	ch, ok = ChallengesOf(res)
	if !ok || ch.Proxy {
		t.Fatalf("%+v, %v", ch, ok)
	}
	hs, err := a.Answer(ch, "INVITE", "sip:1@pbx")
	if err != nil || len(hs) != 2 {
		t.Fatalf("%v, %v", hs, err)
	}
	req := sip.NewRequest(sip.INVITE, sip.Uri{Scheme: "sip", Host: "pbx"})
	req.AppendHeader(sip.NewHeader("authorization", "old"))
	req.AppendHeader(sip.NewHeader("Authorization", "older"))
	Apply(req, hs)
	www, proxy := req.GetHeaders("Authorization"), req.GetHeaders("Proxy-Authorization")
	if len(www) != 1 || len(proxy) != 1 || read(t, www[0]).Realm != "other" || read(t, proxy[0]).Realm != "pbx" || read(t, proxy[0]).Nc != 2 {
		t.Errorf("%v %v", www, proxy)
	}
	if _, ok := ChallengesOf(sip.NewResponse(403, "")); ok {
		t.Error("a 403 challenges")
	}
}

func TestLoginDoesNotShowSecrets(t *testing.T) {
	l := Login{Username: "u", Password: "hunter2", HA1: map[Algorithm]string{MD5: "0123456789abcdef0123456789abcdef"}}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "login", l)
	if s := fmt.Sprintf("%v %+v %#v %s", l, l, l, &l) + log.String(); strings.Contains(s, "hunter2") || strings.Contains(s, "cdef") {
		t.Error(s)
	}
}

// What the configuration lets through cannot break out of the header.
func TestClientDropsControlCharacters(t *testing.T) {
	hs, err := NewClient(Login{Username: "u\r\nX: y", Password: "p"}).Attempt().Answer(Challenges{Values: []string{challenge(`qop="auth"`)}}, "INVITE", "sip:1@pbx\r\n")
	if err != nil || strings.ContainsAny(hs[0].Value(), "\r\n") {
		t.Errorf("%q, %v", hs, err)
	}
}
