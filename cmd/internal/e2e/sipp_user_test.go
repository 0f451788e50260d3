package e2e

import (
	"fmt"
	"strings"
	"testing"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/daemon"
	"wakebridge/config"
	"wakebridge/sipua"
)

// userHost is where users call from; no trunk matches it.
const userHost = "127.0.0.4"

// sippUser is a SIPp that calls as bob.
func sippUser(s *server, called string, play ...string) sippSide {
	return sippSide{host: userHost, server: s.Addr(sipua.UDP), play: play, sippLines: sippLines{
		User: "bob", Password: "secret", From: `"Bobby" <sip:bob@` + daemon.DevDomain + `>`, Called: "sip:" + called + "@" + daemon.DevDomain,
	}}
}

// TestSIPpUserCallsUser: by name and by number, with a digest INVITE.
func TestSIPpUserCallsUser(t *testing.T) {
	t.Parallel()
	for _, called := range []string{"alice", "201"} {
		t.Run(called, func(t *testing.T) {
			t.Parallel()
			s := start(t, nil)
			phone := registered(t, sippPhone(s, "alice", "invited", "ring", "answer", "hungup", "quit"))
			runSIPp(t, sippUser(s, called, "invite", "challenged", "answered", "pause 100", "bye")).ends(t, sippPassed)
			phone.ends(t, sippQuit)
			// The callee sees who proved to call, not what the caller says of itself.
			if from := phone.await(t, false, "INVITE").header("From"); !strings.HasPrefix(from, `"Bob" <sip:bob@`+daemon.DevDomain+`>`) {
				t.Errorf("From at the phone: %s", from)
			}
			r := s.recorded1(t, wantRecord{result: bridge.Answered, status: 200, hangup: "caller", outcomes: []string{"won"}})
			if r.Trunk != "" || r.From != "sip:bob@"+daemon.DevDomain {
				t.Errorf("record: from %s, trunk %q", r.From, r.Trunk)
			}
		})
	}
}

// TestSIPpUserWakesUser: a user's call wakes like a trunk's.
func TestSIPpUserWakesUser(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	side := sippPhone(s, "alice", "invited", "ring", "answer", "pause 100", "bye", "quit").over(s, true)
	phone := asleep(t, s, side)
	caller := runSIPp(t, sippUser(s, "alice", "invite", "challenged", "ringing", "answered", "hungup"))
	if push := phone.pushed(t); push.Name != "Bob" || push.Handle != "bob" {
		t.Errorf("the push names %q %q", push.Name, push.Handle)
	}
	awake := phone.wakes(t)
	caller.ends(t, sippPassed)
	awake.ends(t, sippQuit)
	s.recorded1(t, wantRecord{result: bridge.Answered, status: 200, hangup: "callee", outcomes: []string{"won"}, pushesOf: map[string]int{side.Instance: 1}})
}

// TestSIPpUserCallsTrunk: a number outside goes to the PBX, which sees the user's
// number.
func TestSIPpUserCallsTrunk(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pbx, user []string
		want      wantRecord
	}{
		"answered": {
			pbx:  []string{"invited", "ring", "answer", "hungup"},
			user: []string{"invite", "challenged", "ringing", "answered", "pause 100", "bye"},
			want: wantRecord{result: bridge.Answered, status: 200, hangup: "caller", outcomes: []string{"won"}},
		},
		"busy": {
			pbx:  []string{"invited", "reject 486 Busy"},
			user: []string{"invite", "challenged", "refused 486"},
			want: wantRecord{result: bridge.Busy, status: 486, hangup: "callee", outcomes: []string{"busy"}},
		},
		"cancelled": {
			pbx:  []string{"invited", "ring", "cancelled"},
			user: []string{"invite", "challenged", "ringing", "cancel", "refused 487"},
			want: wantRecord{result: bridge.Cancelled, status: 487, hangup: "caller", outcomes: []string{"Call cancelled"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := freePort(t, trunkHost)
			s := start(t, func(c *config.Config) { c.Trunks[0].Contact = fmt.Sprintf("sip:%s:%d", trunkHost, port) })
			pbx := runSIPp(t, sippSide{host: trunkHost, port: port, server: s.Addr(sipua.UDP), play: c.pbx, sippLines: sippLines{User: "pbx"}})
			runSIPp(t, sippUser(s, "030123456", c.user...)).ends(t, sippPassed)
			pbx.ends(t, sippPassed)
			invite := pbx.await(t, false, "INVITE")
			if want := fmt.Sprintf("INVITE sip:030123456@%s:%d SIP/2.0", trunkHost, port); !strings.HasPrefix(invite.text, want) {
				t.Errorf("the trunk got:\n%s", invite.text)
			}
			if from := invite.header("From"); !strings.Contains(from, "<sip:202@") {
				t.Errorf("From at the trunk: %s", from)
			}
			r := s.recorded1(t, c.want)
			if r.Trunk != "pbx" || r.User != "" {
				t.Errorf("record: trunk %q, user %q", r.Trunk, r.User)
			}
		})
	}
}

// TestSIPpWrongPassword: no call, and no push.
func TestSIPpWrongPassword(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	phone := asleep(t, s, sippPhone(s, "alice", "invited", "quit").over(s, true))
	side := sippUser(s, "alice", "invite", "challenged", "refused 401")
	side.Password = "guessed"
	runSIPp(t, side).ends(t, sippPassed)
	if n := s.recordCount() + s.Bridge().Active() + int(phone.apns.Status().Received); n != 0 { //nolint:gosec // small
		t.Errorf("%d records, calls and pushes", n)
	}
}
