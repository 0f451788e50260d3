package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/daemon"
	"wakebridge/config"
	"wakebridge/push/apnssim"
	"wakebridge/sipua"
)

// sleeper is a phone that registered once with a push token and then went away
// without a word.
type sleeper struct {
	side sippSide
	apns *apnssim.Device
}

// asleep lets a phone register and vanish.
func asleep(t *testing.T, s *server, side sippSide) *sleeper {
	t.Helper()
	p := newSleeper(s.apns, side)
	p.fallAsleep(t)
	if p.side.tcp {
		wait(t, 5*time.Second, "the phone's connection to be gone", func() (bool, string) {
			for _, d := range s.Memory().Devices(sipua.NewAOR("alice", daemon.DevDomain)) {
				if _, awake := d.Flow(); awake && d.Instance == side.Instance {
					return false, "it is there"
				}
			}
			return true, ""
		})
	}
	return p
}

// newSleeper makes a phone that announces a VoIP token.
func newSleeper(apns *apnssim.Sim, side sippSide) *sleeper {
	p := &sleeper{side: side, apns: apns.NewDevice(side.Instance)}
	p.side.Push = fmt.Sprintf(";pn-provider=apns;pn-param=%s.%s.voip;pn-prid=%s", daemon.DevTeam, daemon.DevBundle, p.apns.RegisterVoIP(daemon.DevBundle))
	return p
}

// fallAsleep lets it register and vanish.
func (p *sleeper) fallAsleep(t *testing.T) {
	t.Helper()
	once := p.side
	once.play, once.taken = []string{"register"}, nil
	runSIPp(t, once).ends(t, sippPassed)
}

// wakePayload is what a VoIP push says.
type wakePayload struct {
	UUID   string `json:"uuid"`
	CallID string `json:"call_id"`
	Handle string `json:"handle"`
	Name   string `json:"name"`
}

// pushed waits for the push that wakes the phone.
func (p *sleeper) pushed(t *testing.T) wakePayload {
	t.Helper()
	select {
	case d := <-p.apns.Deliveries():
		var got wakePayload
		if err := json.Unmarshal(d.Payload, &got); err != nil {
			t.Fatalf("%v: %s", err, d.Payload)
		}
		return got
	case <-time.After(20 * time.Second):
		t.Fatal("no push came")
		return wakePayload{}
	}
}

// wakes starts the phone again; it registers and takes calls.
func (p *sleeper) wakes(t *testing.T) *sippAgent {
	t.Helper()
	return runSIPp(t, p.side)
}

// invitedAs checks that the phone's INVITE is the call that the push announced,
// and that it did not wait for it.
func invitedAs(t *testing.T, phone *sippAgent, push wakePayload) {
	t.Helper()
	invite := phone.await(t, false, "INVITE")
	if got := invite.header("X-Call-UUID"); !sameUUID(got, push.UUID) {
		t.Errorf("X-Call-UUID %q, the push said %q", got, push.UUID)
	}
	if got := invite.header("Call-ID"); got != push.CallID || !strings.HasPrefix(got, push.UUID+"@") {
		t.Errorf("Call-ID %q, the push said %q and uuid %q", got, push.CallID, push.UUID)
	}
	if push.Handle != "100" || push.Name != "Anna" {
		t.Errorf("the push names the caller %q %q", push.Name, push.Handle)
	}
	// Not from its 200, which a slow disk may keep until the phone has gone.
	registers := phone.awaitOne(t, "REGISTER with credentials", func(m sippMessage) bool {
		return m.sent && strings.HasPrefix(m.text, "REGISTER ") && m.header("Authorization") != ""
	})
	if late := invite.at.Sub(registers.at); late > time.Second {
		t.Errorf("the INVITE came %s after the REGISTER", late)
	}
}

func sameUUID(a, b string) bool {
	x, err1 := uuid.Parse(a)
	y, err2 := uuid.Parse(b)
	return err1 == nil && err2 == nil && x == y
}

// lulls listens in place of a phone that sleeps; the result waits until n messages
// came that begin with a word, and gives the port back. The INVITE on an old UDP flow
// is retransmitted 0.5, 1.5, 3.5 and 7.5 s after it was sent (RFC 3261 s17.1.1.2), and
// SIPp cannot take it before it has registered: after the fourth it has 4 s to start.
func lulls(t *testing.T, addr, word string, n int) (release func()) {
	t.Helper()
	var lc net.ListenConfig
	conn, err := lc.ListenPacket(t.Context(), "udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return func() {
		defer conn.Close()
		if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 2048)
		for n > 0 {
			size, _, err := conn.ReadFrom(buf)
			if err != nil {
				t.Fatalf("%d more of %s: %v", n, word, err)
			}
			if strings.HasPrefix(string(buf[:size]), word) {
				n--
			}
		}
	}
}

// TestSIPpWoken: a phone that sleeps is woken, gets its INVITE, and answers. A
// UDP phone may come back at its old address or at a new one.
func TestSIPpWoken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tcp, samePort, phoneHangsUp bool
	}{
		"tcp, caller hangs up":                  {tcp: true},
		"tcp, phone hangs up":                   {tcp: true, phoneHangsUp: true},
		"udp at a new port, caller hangs up":    {},
		"udp at the same port, phone hangs up":  {samePort: true, phoneHangsUp: true},
		"udp at the same port, caller hangs up": {samePort: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, nil)
			taken, play, by := []string{"hungup", "quit"}, []string{"pause 100", "bye"}, "caller"
			if c.phoneHangsUp {
				taken, play, by = []string{"pause 100", "bye", "quit"}, []string{"hungup"}, "callee"
			}
			side := sippPhone(s, "alice", append([]string{"invited", "ring", "pause 100", "answer"}, taken...)...).over(s, c.tcp)
			if c.samePort {
				side.port = freePort(t, phoneHost)
			}
			phone := asleep(t, s, side)
			pillow := func() {}
			if c.samePort {
				pillow = lulls(t, fmt.Sprintf("%s:%d", phoneHost, side.port), "INVITE", 4)
			}
			caller := runSIPp(t, sippPBX(s, "201", append([]string{"invite", "ringing", "answered"}, play...)...))
			push := phone.pushed(t)
			pillow()
			awake := phone.wakes(t)
			invitedAs(t, awake, push)
			caller.ends(t, sippPassed)
			awake.ends(t, sippQuit)
			r := s.recorded1(t, wantRecord{result: bridge.Answered, status: 200, hangup: by, outcomes: []string{"won"}, pushesOf: map[string]int{side.Instance: 1}})
			if a := r.Attempts[0]; a.Registered.IsZero() || !sameUUID(a.UUID, push.UUID) {
				t.Errorf("the record does not tell of the waking: %+v", a)
			}
			if took := r.Ended.Sub(r.Answered); took > 5*time.Second {
				t.Errorf("the record says that the call lasted %s", took)
			}
		})
	}
}

// TestSIPpCancelWhileWaking: the caller gives up before the phone is there. When
// it comes it is told once: by a header if it reads that, else by an INVITE with
// the announced Call-ID and a CANCEL.
func TestSIPpCancelWhileWaking(t *testing.T) {
	t.Parallel()
	for name, readsHeader := range map[string]bool{"told by header": true, "told by INVITE and CANCEL": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, nil)
			side := sippPhone(s, "alice", "invited", "ring", "cancelled", "quit").over(s, true)
			if readsHeader {
				side.Flags = ";+x-wake-fate"
			}
			phone := asleep(t, s, side)
			caller := runSIPp(t, sippPBX(s, "201", "invite", "ringing", "cancel", "refused 487"))
			push := phone.pushed(t)
			caller.ends(t, sippPassed)
			s.recorded1(t, wantRecord{result: bridge.Cancelled, status: 487, hangup: "caller", outcomes: []string{"Call cancelled"}, pushesOf: map[string]int{side.Instance: 1}})
			phone.learns(t, push, readsHeader, 487, "Call cancelled")
		})
	}
}

// learns lets the phone wake too late, twice over a connection of its own, and checks
// that it is told what became of the call: once by INVITE, each time by header.
func (p *sleeper) learns(t *testing.T, push wakePayload, byHeader bool, cause int, text string) {
	t.Helper()
	late := p.wakes(t)
	ok := late.await(t, false, "SIP/2.0 200")
	told := ok.header("X-Call-Ended")
	if byHeader {
		if want := fmt.Sprintf("%s;cause=%d;text=%q", push.UUID, cause, text); !strings.EqualFold(told, want) {
			t.Errorf("X-Call-Ended: %q, want %q", told, want)
		}
		late.stop(t)
	} else {
		invite := late.await(t, false, "INVITE")
		if invite.header("Call-ID") != push.CallID || !sameUUID(invite.header("X-Call-UUID"), push.UUID) {
			t.Errorf("the INVITE is not the announced one:\n%s", invite.text)
		}
		late.ends(t, sippQuit)
		if got, want := late.await(t, false, "CANCEL").header("Reason"), fmt.Sprintf("SIP;cause=%d;text=%q", cause, text); got != want {
			t.Errorf("Reason of the CANCEL: %s, want %s", got, want)
		}
	}
	again := p.wakes(t)
	again.await(t, false, "SIP/2.0 200")
	select { // an INVITE would come at once
	case <-again.done:
		t.Error("the phone was told twice: it got another INVITE")
	case <-time.After(300 * time.Millisecond):
	}
	for _, m := range again.messages() {
		if !m.sent && strings.HasPrefix(m.text, "INVITE") || m.header("X-Call-Ended") != "" && m.header("X-Call-Ended") != told {
			t.Errorf("the phone was told twice:\n%s", m.text)
		}
	}
	if byHeader && again.await(t, false, "SIP/2.0 200").header("X-Call-Ended") != told {
		t.Error("another connection did not bring the header again: the first 200 may have been lost")
	}
	again.stop(t)
}

// TestSIPpAnsweredBeforeTheOtherWoke: the tablet sleeps on while the phone is
// answered; it learns so when it wakes.
func TestSIPpAnsweredBeforeTheOtherWoke(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	side := sippPhone(s, "alice", "invited", "ring", "cancelled", "quit").over(s, true).device(2)
	side.Flags = ";+x-wake-fate"
	tablet := asleep(t, s, side)
	phone := registered(t, sippPhone(s, "alice", "invited", "ring", "pause 300", "answer", "hungup", "quit"))
	runSIPp(t, sippPBX(s, "201", "invite", "ringing", "answered", "pause 100", "bye")).ends(t, sippPassed)
	push := tablet.pushed(t)
	phone.ends(t, sippQuit)
	r := s.recorded1(t, wantRecord{result: bridge.Answered, status: 200, hangup: "caller", outcomes: []string{"Call completed elsewhere", "won"}, pushesOf: map[string]int{side.Instance: 1}})
	if len(r.Attempts) != 2 || sameUUID(r.Attempts[0].UUID, r.Attempts[1].UUID) {
		t.Errorf("attempts: %+v", r.Attempts)
	}
	tablet.learns(t, push, true, 200, "Call completed elsewhere")
}

// TestSIPpNobodyWakes: push.wake_timeout ends it before calls.ring_timeout.
func TestSIPpNobodyWakes(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *config.Config) { c.Push.WakeTimeout = 6 * time.Second })
	side := sippPhone(s, "alice", "invited", "quit").over(s, true)
	side.Flags = ";+x-wake-fate"
	phone := asleep(t, s, side)
	caller := runSIPp(t, sippPBX(s, "201", "invite", "ringing", "refused 480"))
	push := phone.pushed(t)
	caller.ends(t, sippPassed)
	if took := caller.await(t, false, "SIP/2.0 480").at.Sub(caller.await(t, true, "INVITE").at); took < 5900*time.Millisecond || took > 8*time.Second {
		t.Errorf("the caller heard 480 after %s, push.wake_timeout is 6s", took)
	}
	s.recorded1(t, wantRecord{result: bridge.Unreachable, status: 480, hangup: "server", outcomes: []string{"the device did not register in time"}, pushesOf: map[string]int{side.Instance: 1}})
	phone.learns(t, push, true, 480, "No answer")
}

// TestSIPpTokenIsDead: the push service refuses, and the caller hears so at once.
func TestSIPpTokenIsDead(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	phone := asleep(t, s, sippPhone(s, "alice", "invited", "quit").over(s, true))
	phone.apns.Reinstall(daemon.DevBundle)
	caller := runSIPp(t, sippPBX(s, "201", "invite", "refused 480"))
	caller.ends(t, sippPassed)
	if took := caller.await(t, false, "SIP/2.0 480").at.Sub(caller.await(t, true, "INVITE").at); took > 2*time.Second {
		t.Errorf("the caller heard 480 after %s", took)
	}
	r := s.record(t, 0)
	if r.Result != bridge.Unreachable || len(r.Attempts) != 1 || len(r.Attempts[0].Pushes) != 1 || r.Attempts[0].Pushes[0].Accepted || r.Attempts[0].Pushes[0].Reason != "Unregistered" {
		t.Errorf("record: %+v", r)
	}
	runSIPp(t, sippPBX(s, "201", "invite", "refused 480")).ends(t, sippPassed)
	if r := s.record(t, 1); len(r.Attempts) != 1 || len(r.Attempts[0].Pushes) != 0 {
		t.Errorf("a dead token was used again: %+v", r.Attempts)
	}
}

// TestSIPpNextCall: a phone that was woken at a new UDP port, and so has an INVITE
// on its way to nowhere at its old one, is not in a call any more when it hung up.
func TestSIPpNextCall(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *config.Config) { c.Calls.Waiting = "busy" })
	phone := asleep(t, s, sippPhone(s, "alice", "invited", "ring", "answer", "pause 100", "bye", "quit"))
	for _, number := range []string{"100", "101"} {
		pbx := sippPBX(s, "201", "invite", "ringing", "answered", "hungup")
		pbx.From = "<sip:" + number + "@" + trunkHost + ">"
		caller := runSIPp(t, pbx)
		phone.pushed(t)
		awake := phone.wakes(t)
		caller.ends(t, sippPassed)
		awake.ends(t, sippQuit)
	}
	wait(t, 40*time.Second, "both records", func() (bool, string) { return s.recordCount() == 2, fmt.Sprint(s.recordCount()) })
}

// TestSIPpPushWithoutAnswer: the push arrives, and the phone is there before the
// push service has answered, which it never does. The record has the push.
func TestSIPpPushWithoutAnswer(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	if _, err := s.apns.AddFault(apnssim.Rule{Match: apnssim.Match{Times: 1}, Action: apnssim.Action{Fault: apnssim.Hang, Deliver: true}}); err != nil {
		t.Fatal(err)
	}
	phone := asleep(t, s, sippPhone(s, "alice", "invited", "ring", "answer", "hungup", "quit").over(s, true))
	caller := runSIPp(t, sippPBX(s, "201", "invite", "ringing", "answered", "pause 100", "bye"))
	push := phone.pushed(t)
	awake := phone.wakes(t)
	invitedAs(t, awake, push)
	caller.ends(t, sippPassed)
	awake.ends(t, sippQuit)
	r := s.record(t, 0)
	if r.Result != bridge.Answered || len(r.Attempts) != 1 || len(r.Attempts[0].Pushes) != 1 {
		t.Fatalf("record: %+v", r)
	}
	if p := r.Attempts[0].Pushes[0]; p.Accepted || p.Written.IsZero() || p.Reason != "stopped" {
		t.Errorf("push: %+v", p)
	}
}

// TestSIPpSleepsBehindAProxy: an edge proxy (RFC 3327) says 100 for a phone that sleeps. It
// is pushed all the same, comes by way of another proxy, and takes the call.
func TestSIPpSleepsBehindAProxy(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	phone := newSleeper(s.apns, sippPhone(s, "alice", "invited", "trying", "pause 30000"))
	phone.side.Flags = "\nPath: <sip:" + phoneHost + ":[local_port];lr>"
	proxy := registered(t, phone.side)
	caller := runSIPp(t, sippPBX(s, "201", "invite", "ringing", "answered", "pause 100", "bye"))
	proxy.await(t, true, "SIP/2.0 100")
	push := phone.pushed(t)
	phone.side.taken = []string{"invited", "ring", "answer", "hungup", "quit"}
	awake := phone.wakes(t)
	caller.ends(t, sippPassed)
	awake.ends(t, sippQuit)
	invitedAs(t, awake, push)
	if route := awake.await(t, false, "INVITE").header("Route"); !strings.HasPrefix(route, "<sip:"+phoneHost) {
		t.Errorf("Route: %s", route)
	}
	s.recorded1(t, wantRecord{result: bridge.Answered, status: 200, hangup: "caller", outcomes: []string{"won"}, pushesOf: map[string]int{phone.side.Instance: 1}})
}
