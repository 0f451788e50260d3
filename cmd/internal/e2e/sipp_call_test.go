package e2e

import (
	"strings"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/config"
)

// TestSIPpAnswered: a phone with a live flow, with and without 180, and both
// sides hang up.
func TestSIPpAnswered(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tcp           bool
		phone, caller []string
		by            string
	}{
		"udp, caller hangs up": {
			phone:  []string{"invited", "ring", "pause 100", "answer", "hungup", "quit"},
			caller: []string{"invite", "ringing", "answered", "pause 100", "bye"}, by: "caller",
		},
		"udp, phone hangs up": {
			phone:  []string{"invited", "ring", "pause 100", "answer", "pause 100", "bye", "quit"},
			caller: []string{"invite", "ringing", "answered", "hungup"}, by: "callee",
		},
		"tcp, caller hangs up": {
			tcp:    true,
			phone:  []string{"invited", "ring", "pause 100", "answer", "hungup", "quit"},
			caller: []string{"invite", "ringing", "answered", "pause 100", "bye"}, by: "caller",
		},
		"tcp, phone hangs up": {
			tcp:    true,
			phone:  []string{"invited", "ring", "pause 100", "answer", "pause 100", "bye", "quit"},
			caller: []string{"invite", "ringing", "answered", "hungup"}, by: "callee",
		},
		"200 without 180": {
			phone:  []string{"invited", "answer", "hungup", "quit"},
			caller: []string{"invite", "answered", "pause 100", "bye"}, by: "caller",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, nil)
			phone := registered(t, sippPhone(s, "alice", c.phone...).over(s, c.tcp))
			caller := runSIPp(t, sippPBX(s, "201", c.caller...))
			caller.ends(t, sippPassed)
			phone.ends(t, sippQuit)
			s.recorded1(t, wantRecord{result: bridge.Answered, status: 200, hangup: c.by, outcomes: []string{"won"}})
			if strings.HasPrefix(name, "200") && len(caller.find(false, "SIP/2.0 180")) > 0 {
				t.Error("the caller heard ringing though no phone rang")
			}
		})
	}
}

// TestSIPpRefused: what the user or the phone says reaches the caller.
func TestSIPpRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reject, refused string
		result          bridge.Result
		status          int
		by, outcome     string
	}{
		"486":            {"reject 486 Busy", "refused 486", bridge.Busy, 486, "callee", "the device is busy"},
		"603":            {"reject 603 Decline", "refused 603", bridge.Declined, 603, "callee", "declined by the user"},
		"600":            {"reject 600 Busy", "refused 600", bridge.Declined, 600, "callee", "declined by the user"},
		"488":            {"reject 488 No", "refused 488", bridge.Failed, 488, "callee", "the device accepts none of the offered media"},
		"404 is our own": {"reject 404 No", "refused 480", bridge.Unreachable, 480, "server", "the device refused the call: No"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, nil)
			phone := registered(t, sippPhone(s, "alice", "invited", "ring", "pause 100", c.reject, "quit"))
			runSIPp(t, sippPBX(s, "201", "invite", c.refused)).ends(t, sippPassed)
			phone.ends(t, sippQuit)
			s.recorded1(t, wantRecord{result: c.result, status: c.status, hangup: c.by, outcomes: []string{c.outcome}})
		})
	}
}

// TestSIPpDeclineEndsAll: 603 of one device is the user's word for all.
func TestSIPpDeclineEndsAll(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	tablet := registered(t, sippPhone(s, "alice", "invited", "ring", "cancelled", "quit").device(2))
	phone := registered(t, sippPhone(s, "alice", "invited", "ring", "pause 300", "reject 603 Decline", "quit"))
	runSIPp(t, sippPBX(s, "201", "invite", "ringing", "refused 603")).ends(t, sippPassed)
	phone.ends(t, sippQuit)
	tablet.ends(t, sippQuit)
	if got := tablet.await(t, false, "CANCEL").header("Reason"); got != `SIP;cause=603;text="Declined elsewhere"` {
		t.Errorf("Reason of the CANCEL: %s", got)
	}
	s.recorded1(t, wantRecord{result: bridge.Declined, status: 603, hangup: "callee", outcomes: []string{"declined by the user", "Declined elsewhere"}})
}

// TestSIPpAnsweredElsewhere: the other device learns why it stops ringing.
func TestSIPpAnsweredElsewhere(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	first := registered(t, sippPhone(s, "alice", "invited", "ring", "cancelled", "quit"))
	second := registered(t, sippPhone(s, "alice", "invited", "ring", "pause 300", "answer", "hungup", "quit").device(2))
	runSIPp(t, sippPBX(s, "201", "invite", "ringing", "answered", "pause 100", "bye")).ends(t, sippPassed)
	first.ends(t, sippQuit)
	second.ends(t, sippQuit)
	if got := first.await(t, false, "CANCEL").header("Reason"); got != `SIP;cause=200;text="Call completed elsewhere"` {
		t.Errorf("Reason of the CANCEL: %s", got)
	}
	if a, b := first.await(t, false, "INVITE").header("X-Call-UUID"), second.await(t, false, "INVITE").header("X-Call-UUID"); a == b || a == "" {
		t.Errorf("both devices have uuid %q", a)
	}
	s.recorded1(t, wantRecord{result: bridge.Answered, status: 200, hangup: "caller", outcomes: []string{"Call completed elsewhere", "won"}})
}

// quickRing ends calls soon that nobody answers.
func quickRing(c *config.Config) {
	c.Calls.RingTimeout = 3 * time.Second
	c.Push.WakeTimeout = 2 * time.Second
}

// TestSIPpNoAnswer: calls.ring_timeout ends it.
func TestSIPpNoAnswer(t *testing.T) {
	t.Parallel()
	s := start(t, quickRing)
	phone := registered(t, sippPhone(s, "alice", "invited", "ring", "cancelled", "quit"))
	caller := runSIPp(t, sippPBX(s, "201", "invite", "ringing", "refused 480"))
	caller.ends(t, sippPassed)
	phone.ends(t, sippQuit)
	took := caller.await(t, false, "SIP/2.0 480").at.Sub(caller.await(t, true, "INVITE").at)
	if took < 2900*time.Millisecond || took > 4*time.Second {
		t.Errorf("the caller heard 480 after %s, calls.ring_timeout is 3s", took)
	}
	s.recorded1(t, wantRecord{result: bridge.NoAnswer, status: 480, hangup: "server", outcomes: []string{"nobody answered"}})
}

// TestSIPpCancelWhileRinging: the phone stops ringing, the caller gets 487.
func TestSIPpCancelWhileRinging(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	phone := registered(t, sippPhone(s, "alice", "invited", "ring", "cancelled", "quit"))
	runSIPp(t, sippPBX(s, "201", "invite", "ringing", "pause 200", "cancel", "refused 487")).ends(t, sippPassed)
	phone.ends(t, sippQuit)
	s.recorded1(t, wantRecord{result: bridge.Cancelled, status: 487, hangup: "caller", outcomes: []string{"Call cancelled"}})
}

// TestSIPpCallerVanishes: a caller that neither cancels nor acknowledges holds
// nothing for longer than calls.ring_timeout and the transaction's own timers.
func TestSIPpCallerVanishes(t *testing.T) {
	t.Parallel()
	s := start(t, quickRing)
	phone := registered(t, sippPhone(s, "alice", "invited", "ring", "cancelled", "quit"))
	caller := runSIPp(t, sippPBX(s, "201", "invite", "ringing", "refused 480"))
	caller.await(t, false, "SIP/2.0 180")
	caller.stop(t)
	phone.ends(t, sippQuit)
	s.recorded1(t, wantRecord{result: bridge.NoAnswer, status: 480, hangup: "server", outcomes: []string{"nobody answered"}})
	s.empty(t, 45*time.Second) // Timer H: 480 is repeated for 32 s
}

// TestSIPpHold: either side puts the call on hold and takes it back.
func TestSIPpHold(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ phone, caller []string }{
		"by the caller": {
			phone:  []string{"invited", "ring", "answer", "reinvited 2 recvonly", "reinvited 3 sendrecv", "hungup", "quit"},
			caller: []string{"invite", "answered", "pause 200", "reinvite 2 sendonly", "pause 200", "reinvite 3 sendrecv", "pause 200", "bye"},
		},
		"by the phone": {
			phone:  []string{"invited", "ring", "answer", "pause 200", "reinvite 2 sendonly", "pause 200", "reinvite 3 sendrecv", "hungup", "quit"},
			caller: []string{"invite", "answered", "reinvited 2 recvonly", "reinvited 3 sendrecv", "pause 200", "bye"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, nil)
			phone := registered(t, sippPhone(s, "alice", c.phone...))
			caller := runSIPp(t, sippPBX(s, "201", c.caller...))
			caller.ends(t, sippPassed)
			phone.ends(t, sippQuit)
			asks, answers := caller, phone
			if name == "by the phone" {
				asks, answers = phone, caller
			}
			want := []string{"a=sendonly", "a=sendrecv"}
			invites := answers.find(false, "INVITE")
			for i, m := range invites[len(invites)-2:] {
				if !strings.Contains(m.text, want[i]) {
					t.Errorf("re-INVITE %d came as:\n%s", i+1, m.text)
				}
			}
			var got []string
			for _, m := range asks.find(false, "SIP/2.0 200") {
				if strings.HasSuffix(m.header("CSeq"), "INVITE") && !strings.HasPrefix(m.header("CSeq"), "1 ") {
					got = append(got, direction(m))
				}
			}
			if strings.Join(got, " ") != "recvonly sendrecv" {
				t.Errorf("answers to the re-INVITEs: %s", got)
			}
			s.recorded1(t, wantRecord{result: bridge.Answered, status: 200, hangup: "caller", outcomes: []string{"won"}})
		})
	}
}

func direction(m sippMessage) string {
	for _, d := range []string{"sendonly", "recvonly", "inactive", "sendrecv"} {
		if strings.Contains(m.text, "a="+d) {
			return d
		}
	}
	return "none"
}
