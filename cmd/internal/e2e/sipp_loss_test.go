package e2e

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/config"
	"wakebridge/sipua"
)

// TestSIPpLossyTrunk: 5 % of the datagrams between the PBX and the server are
// lost, in both directions. All calls are set up, and each wakes the phone once.
func TestSIPpLossyTrunk(t *testing.T) {
	t.Parallel()
	const calls = 40
	s := start(t, func(c *config.Config) { c.Limits.WakesPerUser, c.Limits.WakesPerCaller = config.Rate{}, config.Rate{} })
	dice := rand.New(rand.NewPCG(2, 24)) //nolint:gosec // losses that can be repeated
	proxy := newLossy(t, trunkHost, s.Addr(sipua.UDP), func(up bool, what string, n int) bool {
		return up && what == "INVITE" && n == 1 || dice.Float64() < 0.05
	})
	phone := asleep(t, s, sippPhone(s, "alice", "invited", "ring", "pause 100", "answer", "hungup").over(s, true))
	pbx := sippPBX(s, "201", "invite", "answered", "pause 300", "bye")
	pbx.server, pbx.calls = proxy.addr(), calls
	pbx.From = `"Anna" <sip:10[call_number]@` + trunkHost + `>` // the same caller twice would be a double
	caller := runSIPp(t, pbx)
	uuids := make(map[string]bool)
	for range calls {
		uuids[phone.pushed(t).UUID] = true
	}
	if len(uuids) != calls {
		t.Errorf("%d pushes had %d uuids", calls, len(uuids))
	}
	awake := phone.wakes(t)
	caller.ends(t, sippPassed)
	for i := range calls {
		r := s.record(t, i)
		if r.Result != bridge.Answered || r.HangupBy != "caller" || len(r.Attempts) != 1 || acceptedPushes(r.Attempts[0]) != 1 || len(r.Attempts[0].Pushes) != 1 {
			t.Errorf("record %d: %+v", i, r)
		}
	}
	wait(t, 10*time.Second, "calls to end", func() (bool, string) { return s.Bridge().Active() == 0, "some live" })
	if n := s.recordCount(); n != calls {
		t.Errorf("%d records of %d calls", n, calls)
	}
	if n := phone.apns.Status().Received; n != calls {
		t.Errorf("%d pushes for %d calls", n, calls)
	}
	if n := len(awake.find(false, "INVITE")); n != calls {
		t.Errorf("the phone got %d INVITEs of %d calls", n, calls)
	}
	if sent, _ := proxy.counts("up INVITE"); sent <= calls {
		t.Errorf("no INVITE was repeated: %d of %d calls", sent, calls)
	}
	if up, down := proxy.lost("up"), proxy.lost("down"); up < 5 || down < 5 {
		t.Errorf("only %d and %d datagrams were lost", up, down)
	}
}

// patient waits longer for media than these calls last, which have none.
func patient(c *config.Config) { c.Media.Timeout.FirstPacket = 5 * time.Minute }

// TestSIPpCallerNeverConfirms: every ACK of the caller is lost. Its 200 is
// repeated for 64*T1; then both legs get BYE (RFC 3261 s13.3.1.4).
func TestSIPpCallerNeverConfirms(t *testing.T) {
	t.Parallel()
	s := start(t, patient)
	proxy := newLossy(t, trunkHost, s.Addr(sipua.UDP), func(_ bool, what string, _ int) bool { return what == "ACK" })
	phone := registered(t, sippPhone(s, "alice", "invited", "ring", "answer", "hungup", "quit"))
	pbx := sippPBX(s, "201", "invite", "answered", "hungup")
	pbx.server = proxy.addr()
	caller := runSIPp(t, pbx)
	caller.ends(t, sippPassed)
	phone.ends(t, sippQuit)
	if took := caller.await(t, false, "BYE").at.Sub(caller.await(t, false, "SIP/2.0 200").at); took < 31*time.Second || took > 35*time.Second {
		t.Errorf("BYE came %s after the 200, 64*T1 are 32s", took)
	}
	if repeated, _ := proxy.counts("down 200 INVITE"); repeated < 10 { // at 0, 0.5, 1.5, 3.5, 7.5, ..., 31.5 s
		t.Errorf("the 200 was sent %d times", repeated)
	}
	r := s.recorded1(t, wantRecord{result: bridge.Failed, status: 200, hangup: "server", outcomes: []string{"won"}})
	if !strings.Contains(r.Reason, "no ACK") {
		t.Errorf("the record's reason: %s", r.Reason)
	}
}

// TestSIPpPhoneMissesACK: our ACK to the phone is lost three times; each of its
// repeated 200s gets another, and the call lives.
func TestSIPpPhoneMissesACK(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	proxy := newLossy(t, phoneHost, s.Addr(sipua.UDP), func(up bool, what string, n int) bool { return !up && what == "ACK" && n <= 3 })
	side := sippPhone(s, "alice", "invited", "ring", "answer", "hungup", "quit")
	side.server = proxy.addr()
	phone := registered(t, side)
	runSIPp(t, sippPBX(s, "201", "invite", "answered", "pause 5000", "bye")).ends(t, sippPassed)
	phone.ends(t, sippQuit)
	if seen, dropped := proxy.counts("down ACK"); seen != 4 || dropped != 3 {
		t.Errorf("%d ACKs, %d of them lost; want 4, 3", seen, dropped)
	}
	s.recorded1(t, wantRecord{result: bridge.Answered, status: 200, hangup: "caller", outcomes: []string{"won"}})
}
