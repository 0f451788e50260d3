package e2e

import (
	"testing"

	"wakebridge/bridge"
)

// TestSIPpConnectionLostWhileRinging: the phone's connection breaks while it
// rings. It is woken, registers, and gets the same call again.
func TestSIPpConnectionLostWhileRinging(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	side := sippPhone(s, "alice", "invited", "ring", "pause 30000").over(s, true)
	phone := newSleeper(s.apns, side)
	first := registered(t, phone.side)
	caller := runSIPp(t, sippPBX(s, "201", "invite", "ringing", "answered", "pause 100", "bye"))
	caller.await(t, false, "SIP/2.0 180")
	before := first.await(t, false, "INVITE")
	first.stop(t)
	push := phone.pushed(t)
	phone.side.taken = []string{"invited", "ring", "pause 100", "answer", "hungup", "quit"}
	second := phone.wakes(t)
	caller.ends(t, sippPassed)
	second.ends(t, sippQuit)
	invitedAs(t, second, push)
	after := second.await(t, false, "INVITE")
	if before.header("Call-ID") != after.header("Call-ID") || before.header("X-Call-UUID") != after.header("X-Call-UUID") {
		t.Errorf("the phone got two calls:\n%s\n%s", before.text, after.text)
	}
	if before.header("From") == after.header("From") || before.header("Via") == after.header("Via") {
		t.Errorf("From tag or branch are the old INVITE's:\n%s\n%s", before.text, after.text)
	}
	s.recorded1(t, wantRecord{result: bridge.Answered, status: 200, hangup: "caller", outcomes: []string{"won"}, pushesOf: map[string]int{side.Instance: 1}})
}

// TestSIPpConnectionLostDuringCall: the call goes on over the connection that the
// phone registers on next, and its BYE finds the phone there.
func TestSIPpConnectionLostDuringCall(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	side := sippPhone(s, "alice", "invited", "ring", "answer", "pause 30000").over(s, true)
	first := registered(t, side)
	caller := runSIPp(t, sippPBX(s, "201", "invite", "answered", "pause 2500", "bye"))
	first.await(t, false, "ACK")
	first.stop(t)
	side.taken = []string{"asked", "hungup", "quit"} // it registers under another Call-ID, as an app that was started anew
	second := registered(t, side)
	caller.ends(t, sippPassed)
	second.ends(t, sippQuit)
	if a, b := first.await(t, false, "INVITE").header("Call-ID"), second.await(t, false, "BYE").header("Call-ID"); a != b {
		t.Errorf("BYE of call %s, not of %s", b, a)
	}
	s.recorded1(t, wantRecord{result: bridge.Answered, status: 200, hangup: "caller", outcomes: []string{"won"}})
}
