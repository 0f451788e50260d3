package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	icholy "github.com/icholy/digest"

	"wakebridge/config"
	"wakebridge/sipua"
	"wakebridge/sipua/digest"
)

const realm = "sip.Example.com" // as an operator may write it

// people are users with each kind of credentials.
func people() []config.Domain {
	secret := config.NewSecret
	return []config.Domain{
		{Name: realm, Auth: []string{"sha-256", "md5"}, Users: []config.User{
			{Name: "alice", Password: secret("alice's"), DisplayName: "Alice \x1b[31m Berg\r\n", Numbers: []string{"201", "+4930201"}},
			{Name: "bob", HA1MD5: secret(digest.HA1(digest.MD5, "bob", realm, "bob's")), HA1SHA256: secret(digest.HA1(digest.SHA256, "bob", realm, "bob's"))},
			{Name: "carol", HA1MD5: secret(strings.ToUpper(digest.HA1(digest.MD5, "carol", realm, "carol's")))},
		}},
		{Name: "two.example", Auth: []string{"md5"}, Users: []config.User{{Name: "alice", Password: secret("other")}}},
	}
}

func TestHashes(t *testing.T) {
	u := newUsers(people())
	tests := []struct {
		realm, user string
		algorithm   digest.Algorithm
		password    string // whose hash it is; "": none
	}{
		{realm, "alice", digest.MD5, "alice's"},
		{realm, "alice", digest.SHA256, "alice's"},
		{realm, "bob", digest.MD5, "bob's"},
		{realm, "bob", digest.SHA256, "bob's"},
		{realm, "carol", digest.MD5, "carol's"},
		{realm, "carol", digest.SHA256, ""},
		{realm, "dave", digest.MD5, ""},
		{realm, "Alice", digest.MD5, ""}, // RFC 3261 s19.1.4: user parts differ in case
		{"two.example", "alice", digest.MD5, "other"},
		{"two.example", "bob", digest.MD5, ""},
		{"three.example", "alice", digest.MD5, ""},
	}
	for _, tt := range tests {
		want, known := "", tt.password != ""
		if known {
			want = digest.HA1(tt.algorithm, tt.user, tt.realm, tt.password)
		}
		if got, ok := u.HA1(t.Context(), tt.realm, tt.user, tt.algorithm); got != want || ok != known {
			t.Errorf("%s@%s %v: %q %t, want %q", tt.user, tt.realm, tt.algorithm, got, ok, want)
		}
	}
}

func TestDirectory(t *testing.T) {
	u := newUsers(people())
	alice := sipua.NewAOR("alice", realm)
	if got := u.DisplayName(alice); got != "Alice  [31m Berg" {
		t.Errorf("display name %q", got)
	}
	if got := u.Number(alice); got != "201" {
		t.Errorf("number %q", got)
	}
	bob, nobody := sipua.NewAOR("bob", realm), sipua.NewAOR("nobody", realm)
	for _, aor := range []sipua.AOR{bob, nobody, {}} {
		if u.Number(aor) != "" || u.DisplayName(aor) != "" {
			t.Errorf("%s: %q %q", aor, u.Number(aor), u.DisplayName(aor))
		}
	}
	if !u.has(alice) || !u.has(bob) || u.has(nobody) || u.has(sipua.AOR{}) {
		t.Error("who is a user?")
	}
	for domain, want := range map[string]bool{realm: true, strings.ToLower(realm): true, "TWO.example": true, "example.com": false, "": false} {
		if u.IsLocal(domain) != want {
			t.Errorf("IsLocal(%q) is %t", domain, !want)
		}
	}
}

// A client that we did not write logs in by each algorithm that a user has.
func TestLogIn(t *testing.T) {
	domains := people()
	var log strings.Builder
	auth, err := newAuth(domains, newUsers(domains), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	auth.Failed = func(*sip.Request) { failed++ }
	request := func(user, domain, authorization string) *sip.Request {
		text := fmt.Sprintf("REGISTER sip:%[1]s SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:%[2]s@%[1]s>;tag=1\r\nTo: <sip:%[2]s@%[1]s>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\n", domain, user)
		if authorization != "" {
			text += "Authorization: " + authorization + "\r\n"
		}
		msg, err := sip.ParseMessage([]byte(text + "Content-Length: 0\r\n\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		return msg.(*sip.Request)
	}
	challenges := func(domain string) []string {
		_, err := auth.Verify(request("alice", domain, ""))
		var rej *sipua.Rejection
		if !errors.As(err, &rej) || rej.Status != 401 {
			t.Fatalf("%s: %v", domain, err)
		}
		var out []string
		for _, h := range rej.Headers {
			out = append(out, h.Value)
		}
		return out
	}
	tests := []struct {
		user, domain, password string
		algorithm              int // of the challenges
		ok                     bool
	}{
		{"alice", realm, "alice's", 0, true},
		{"alice", realm, "alice's", 1, true},
		{"bob", realm, "bob's", 0, true},
		{"bob", realm, "bob's", 1, true},
		{"carol", realm, "carol's", 0, false}, // has no SHA-256
		{"carol", realm, "carol's", 1, true},
		{"alice", "two.example", "other", 0, true},
		{"alice", "two.example", "alice's", 0, false},
		{"alice", realm, "other", 0, false},
		{"dave", realm, "dave's", 0, false},
	}
	for _, tt := range tests {
		c, err := icholy.ParseChallenge(challenges(tt.domain)[tt.algorithm])
		if err != nil {
			t.Fatal(err)
		}
		cred, err := icholy.Digest(c, icholy.Options{Method: "REGISTER", URI: "sip:" + tt.domain, Username: tt.user, Password: tt.password, Count: 1})
		if err != nil {
			t.Fatal(err)
		}
		before := failed
		who, err := auth.Verify(request(tt.user, tt.domain, cred.String()))
		if (err == nil) != tt.ok || tt.ok && who != sipua.NewAOR(tt.user, tt.domain) || (failed > before) == tt.ok {
			t.Errorf("%s@%s %s: %v %v, counted %t", tt.user, tt.domain, c.Algorithm, who, err, failed > before)
		}
		if !tt.ok && sipua.Status(err) != 401 {
			t.Errorf("%s@%s: %v; an unknown user and a wrong password look the same", tt.user, tt.domain, err)
		}
	}
	if got := challenges(realm); len(got) != 2 || !strings.Contains(got[0], "SHA-256") || !strings.Contains(got[1], "MD5") {
		t.Errorf("challenges not as domains[].auth: %q", got)
	}
	for _, secret := range []string{"alice's", "bob's", "other", digest.HA1(digest.MD5, "carol", realm, "carol's")} {
		if strings.Contains(strings.ToLower(log.String()), secret) {
			t.Errorf("the log holds a secret: %s", &log)
		}
	}
}

func TestUnknownAlgorithmNamesItsKey(t *testing.T) {
	domains := []config.Domain{{Name: "a.example", Auth: []string{"md5", "rot13"}}}
	if _, err := newAuth(domains, newUsers(domains), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), `domains[a.example].auth`) {
		t.Errorf("%v", err)
	}
}
