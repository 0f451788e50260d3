package leg_test

import (
	"testing"
	"time"

	"wakebridge/sipua"
	"wakebridge/sipua/memnet"
)

// A peer that knows the dialog answers; one that says 481 twice is gone, and one that says
// nothing, or something else, is not.
func TestProbe(t *testing.T) {
	withParties(t, func(t *testing.T, n *memnet.Network, alice, bob *side) {
		a, b := establishedCall(alice, bob, sipua.TCP)
		w := watch(t, n)
		alice.must(a.Probe)
		if w.count(aliceHost, "OPTIONS") != 1 || w.count(bobHost, "200 OPTIONS") != 1 {
			t.Error("no OPTIONS, or no answer")
		}
		time.Sleep(time.Minute)
		alice.expect(a, "Answered")
		n.Partition(aliceHost, bobHost)
		bob.must(func() error { return b.Bye() }) // alice does not hear it
		alice.must(a.Probe)
		n.Heal(aliceHost, bobHost)
		time.Sleep(time.Second)
		alice.expect(a, "Answered, Ended bye by remote")
		if err := alice.try(a.Probe); err == nil {
			t.Error("a probe of nothing")
		}

		a, b = establishedCall(alice, bob, sipua.TCP)
		bob.ep.RemoveDialog(b.CallID(), b.Tag())
		alice.must(a.Probe)
		alice.expect(a, "Answered")
		time.Sleep(time.Second)
		alice.expect(a, "Answered, Ended peer-gone")
		bob.must(func() error { return b.Bye() })
		empty(t, alice, bob)
	})
}
