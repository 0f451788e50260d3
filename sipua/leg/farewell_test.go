package leg_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"wakebridge/sipua"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/memnet"
)

func heard(l *leg.Leg) bool {
	synctest.Wait()
	select {
	case <-l.Heard():
		return true
	default:
		return false
	}
}

// A BYE that went down with its flow is said again on the next one, and not once it
// was answered.
func TestByeIsSaidAgain(t *testing.T) {
	withParties(t, func(t *testing.T, n *memnet.Network, alice, bob *side) {
		a, b := establishedCall(alice, bob, sipua.TCP)
		if a.Heard() != nil {
			t.Error("a BYE before the BYE")
		}
		a.Flow().Shut(errNetwork)
		alice.must(func() error { return a.Bye("SIP;cause=480") })
		alice.expect(a, "Answered, FlowLost, Ended bye")
		if heard(a) {
			t.Error("heard over a flow that is gone")
		}
		w := watch(t, n)
		f := alice.flow(sipua.TCP, bob)
		a.ByeAgain(f)
		if !heard(a) {
			t.Error("not heard over the new flow")
		}
		bob.expect(b, "Confirmed, FlowLost, Ended bye by remote")
		if e := last[leg.Ended](bob, b); len(e.Reasons) != 1 || e.Reasons[0] != "SIP;cause=480" {
			t.Errorf("reasons %q", e.Reasons)
		}
		if b.Heard() != nil {
			t.Error("bob sent no BYE")
		}
		a.ByeAgain(f)
		synctest.Wait()
		if got := w.count(aliceHost, "BYE"); got != 1 {
			t.Errorf("%d BYEs on the new flow", got)
		}
		empty(t, alice, bob)
	})
}

// A peer that says twice that it knows the dialog no more has heard enough.
func TestByeRefusedIsHeard(t *testing.T) {
	withParties(t, func(t *testing.T, n *memnet.Network, alice, bob *side) {
		a, b := establishedCall(alice, bob, sipua.TCP)
		a.Flow().Shut(errNetwork)
		bob.must(func() error { return b.Bye() })
		time.Sleep(time.Minute)
		alice.must(func() error { return a.Bye() })
		a.ByeAgain(alice.flow(sipua.TCP, bob))
		if heard(a) {
			t.Error("481 is believed at once")
		}
		a.ByeAgain(a.Flow())
		if !heard(a) {
			t.Error("481 counts for nothing")
		}
		empty(t, alice, bob)
	})
}

// A callee may not say BYE before the ACK: the 2xx is repeated on the new flow, and
// the BYE goes there when its time has come.
func TestHeldByeMovesWithTheLeg(t *testing.T) {
	withParties(t, func(t *testing.T, n *memnet.Network, alice, bob *side) {
		alice.call(alice.flow(sipua.TCP, bob))
		b := bob.uas(0)
		b.Flow().Shut(errNetwork)
		bob.expect(b, "FlowLost")
		bob.must(func() error { return b.Answer([]byte(answerSDP)) })
		bob.must(func() error { return b.Bye() })
		bob.expect(b, "FlowLost, Ended bye")
		w := watch(t, n)
		to, err := bob.ep.Connect(t.Context(), sipua.UDP, sipua.Destination{Addr: netip.AddrPortFrom(aliceHost, 5060)})
		if err != nil {
			t.Fatal(err)
		}
		b.ByeAgain(to)
		time.Sleep(10 * time.Second)
		if got, byes := w.count(bobHost, "200 INVITE"), w.count(bobHost, "BYE"); got < 2 || byes != 0 {
			t.Errorf("%d times 200 and %d BYEs on the new flow", got, byes)
		}
		time.Sleep(25 * time.Second)
		if byes := w.count(bobHost, "BYE"); byes != 1 {
			t.Errorf("%d BYEs at the end", byes)
		}
		b.ByeAgain(to) // alice forgot the dialog meanwhile: 481
		if !heard(b) {
			t.Error("not heard")
		}
		empty(t, alice, bob)
	})
}
