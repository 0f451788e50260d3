package leg_test

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"wakebridge/sipua"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/memnet"
)

// A CANCEL that went into a dead connection is taken on another one of the same party.
// The 487 may be lost with the first: the leg does not wait for it as long as for an
// INVITE that nobody answers.
func TestCancelIsSaidAgain(t *testing.T) {
	withParties(t, func(t *testing.T, n *memnet.Network, alice, bob *side) {
		a := alice.call(alice.flow(sipua.TCP, bob))
		b := bob.uas(0)
		bob.must(func() error { return b.Ring() })
		f := alice.flow(sipua.UDP, bob)
		a.CancelAgain(f) // before there is a CANCEL
		bob.expect(b, "")
		n.Partition(aliceHost, bobHost)
		alice.must(func() error { return a.Cancel("SIP;cause=487") })
		bob.expect(b, "")
		a.Flow().Shut(errNetwork)
		alice.expect(a, "Provisional 180, Failed 480, Ended cancelled")
		n.Heal(aliceHost, bobHost)
		a.CancelAgain(f)
		synctest.Wait()
		if got := last[leg.Cancelled](bob, b); !slices.Equal(got.Reasons, []string{"SIP;cause=487"}) {
			t.Errorf("reasons %q", got.Reasons)
		}
		empty(t, alice, bob)
	})
}

// The device took the CANCEL on its new connection, and its 487 is lost with the old one.
func TestCancelHeardElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, 1)
		at := n.Host(aliceHost)
		alice := newSide(t, n, aliceHost, func(c *sipua.Config) {
			c.Dial = func(ctx context.Context, _ sipua.Transport, to sipua.Destination) (net.Conn, error) {
				return at.Dial(ctx, netip.AddrPort{}, to.Addr)
			}
		})
		bob := newSide(t, n, bobHost, func(c *sipua.Config) {
			c.Party = func(sipua.Transport, netip.AddrPort) string { return "alice" }
			c.Dial = nil
		})
		ln, err := n.Host(bobHost).Listen(netip.AddrPortFrom(bobHost, 5061))
		if err != nil {
			t.Fatal(err)
		}
		if err := bob.ep.ServeStream(ln, sipua.TCP); err != nil {
			t.Fatal(err)
		}
		for i, silent := range []bool{false, true} {
			a := alice.call(alice.flow(sipua.TCP, bob))
			b := bob.uas(i)
			bob.must(func() error { return b.Ring() })
			old := at
			at = n.Host(evilHost) // of a network that alice comes to
			f, err := alice.ep.Connect(t.Context(), sipua.TCP, sipua.Destination{Addr: netip.AddrPortFrom(bobHost, 5061)})
			if err != nil {
				t.Fatal(err)
			}
			at = old
			if silent {
				n.Partition(aliceHost, bobHost)
			}
			alice.must(func() error { return a.Cancel() })
			a.CancelAgain(f)
			bob.expect(b, "Cancelled, Ended cancelled by remote")
			if !silent {
				alice.expect(a, "Provisional 180, Failed 487, Ended cancelled")
				continue
			}
			alice.expect(a, "Provisional 180, CancelHeard")
			time.Sleep(5 * time.Second)
			alice.expect(a, "Provisional 180, CancelHeard, Failed 408, Ended cancelled")
		}
		n.Heal(aliceHost, bobHost)
		empty(t, alice, bob)
	})
}
