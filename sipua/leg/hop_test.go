package leg_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/memnet"
)

// trunked makes the server side of a trunk: everybody is known by the address, and a lost
// dialog is carried on by dialling where the peer says that it is.
func trunked(s *side) (asked *[]string) {
	asked = new([]string)
	s.conf = func(c *leg.Config) {
		c.Reach = func(ctx context.Context, next sip.Uri, now *sipua.Flow) (*sipua.Flow, error) {
			*asked = append(*asked, next.Host)
			return s.ep.Connect(ctx, now.Transport(), sipua.Destination{Addr: netip.AddrPortFrom(netip.MustParseAddr(next.Host), 5060)})
		}
	}
	return asked
}

func known(c *sipua.Config) {
	c.Party = func(_ sipua.Transport, remote netip.AddrPort) string { return remote.Addr().String() }
}

// withTrunk runs a test for both kinds of leg that a server has with a trunk: ours is the
// server's, theirs the PBX's, which never dials.
func withTrunk(t *testing.T, run func(t *testing.T, n *memnet.Network, us, pbx *side, ours, theirs *leg.Leg, asked *[]string)) {
	t.Helper()
	for _, caller := range []bool{false, true} {
		t.Run(map[bool]string{false: "as callee", true: "as caller"}[caller], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t, 1)
				if caller {
					us, pbx := newSide(t, n, aliceHost, known), newSide(t, n, bobHost, partied)
					asked := trunked(us)
					a, b := establishedCall(us, pbx, sipua.TCP)
					run(t, n, us, pbx, a, b, asked)
					return
				}
				us, pbx := newSide(t, n, bobHost, known), newSide(t, n, aliceHost, known)
				asked := trunked(us)
				a, b := establishedCall(pbx, us, sipua.TCP)
				run(t, n, us, pbx, b, a, asked)
			})
		})
	}
}

func lastEnded(s *side, l *leg.Leg) string {
	told := s.told(l)
	if len(told) == 0 {
		return ""
	}
	return names(told[len(told)-1:])
}

// RFC 3261 s18.1.1: a request needs a connection, not that of its dialog. PBXs close
// idle ones.
func TestByeAfterTheConnectionClosed(t *testing.T) {
	withTrunk(t, func(t *testing.T, n *memnet.Network, us, pbx *side, ours, theirs *leg.Leg, asked *[]string) {
		theirs.Flow().Shut(errNetwork)
		time.Sleep(time.Minute)
		if len(*asked) > 0 {
			t.Error("connected for nothing: the peer would close that again")
		}
		us.must(func() error { return ours.Bye("SIP;cause=200") })
		if got := lastEnded(pbx, theirs); got != "Ended bye by remote" {
			t.Errorf("the trunk was told %q", got)
		}
		if got := last[leg.Ended](pbx, theirs).Reasons; len(got) != 1 || got[0] != "SIP;cause=200" {
			t.Errorf("reasons %q", got)
		}
		if len(*asked) != 1 || (*asked)[0] != pbx.host.String() {
			t.Errorf("asked for %q", *asked)
		}
		empty(t, us, pbx)
	})
}

// Several requests wait for one connection, and keep their order.
func TestRequestsAfterTheConnectionClosed(t *testing.T) {
	withTrunk(t, func(t *testing.T, n *memnet.Network, us, pbx *side, ours, theirs *leg.Leg, asked *[]string) {
		n.ImpairBoth(us.host, pbx.host, memnet.Impairment{Delay: 20 * time.Millisecond})
		theirs.Flow().Shut(errNetwork)
		time.Sleep(time.Second)
		w := watch(t, n)
		us.must(func() error { return ours.Reinvite([]byte(holdSDP)) })
		us.must(func() error { return ours.Probe() })
		time.Sleep(time.Second)
		pbx.must(func() error { return theirs.AnswerOffer([]byte(heldSDP)) })
		time.Sleep(time.Second)
		if e := last[leg.OfferAnswered](us, ours); e.Status != 200 {
			t.Errorf("re-INVITE: %+v", e)
		}
		us.must(func() error { return ours.Bye() })
		time.Sleep(time.Second)
		if got := lastEnded(pbx, theirs); got != "Ended bye by remote" {
			t.Errorf("the trunk was told %q", got)
		}
		var sent []string
		for _, p := range w.from(us.host) {
			if r, ok := p.msg.(*sip.Request); ok {
				sent = append(sent, string(r.Method))
			}
		}
		want := []string{"INVITE", "OPTIONS", "ACK", "BYE"}
		if len(sent) != len(want) {
			t.Fatalf("sent %q", sent)
		}
		for i := range want {
			if sent[i] != want[i] {
				t.Errorf("sent %q, want %q", sent, want)
			}
		}
		if len(*asked) != 1 {
			t.Errorf("%d connections", len(*asked))
		}
		empty(t, us, pbx)
	})
}

// A BYE that went down with its connection is said again, on a new one.
func TestByeThatItsConnectionTookAlong(t *testing.T) {
	withTrunk(t, func(t *testing.T, n *memnet.Network, us, pbx *side, ours, theirs *leg.Leg, asked *[]string) {
		n.ImpairBoth(us.host, pbx.host, memnet.Impairment{Delay: 50 * time.Millisecond})
		theirs.Flow().Shut(errNetwork)
		us.must(func() error { return ours.Bye() }) // they cross
		time.Sleep(time.Second)
		if got := lastEnded(pbx, theirs); got != "Ended bye by remote" {
			t.Errorf("the trunk was told %q", got)
		}
		empty(t, us, pbx)
	})
}

// A BYE that waits for the ACK of its 200 finds its way as well.
func TestHeldByeAfterTheConnectionClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, 1)
		us, pbx := newSide(t, n, bobHost, known), newSide(t, n, aliceHost, known)
		trunked(us)
		a := pbx.call(pbx.flow(sipua.TCP, us), func(i *leg.Invite) { i.Body = nil }) // its ACK is for the test to send
		b := us.uas(0)
		us.must(func() error { return b.Answer([]byte(offerSDP)) })
		us.must(func() error { return b.Bye() })
		b.Flow().Shut(errNetwork)
		time.Sleep(40 * time.Second)
		pbx.expect(a, "Answered, FlowLost, Ended bye by remote")
		empty(t, us, pbx)
	})
}

// Nobody is there: what was asked for fails as without a search, once, and the BYE ends.
func TestNoWayToTheTrunk(t *testing.T) {
	withTrunk(t, func(t *testing.T, n *memnet.Network, us, pbx *side, ours, theirs *leg.Leg, asked *[]string) {
		theirs.Flow().Shut(errNetwork)
		pbx.ep.Close()
		time.Sleep(time.Second)
		us.must(func() error { return ours.Reinvite([]byte(holdSDP)) })
		time.Sleep(time.Minute)
		if e := last[leg.OfferAnswered](us, ours); !errors.Is(e.Err, sipua.ErrFlowGone) {
			t.Errorf("re-INVITE: %+v", e)
		}
		us.must(func() error { return ours.Bye() })
		time.Sleep(time.Minute)
		if len(*asked) != 3 { // re-INVITE, BYE, and once more
			t.Errorf("%d connections were tried", len(*asked))
		}
		empty(t, us)
	})
}

// The end of the process waits for a BYE that is looking for its way, and ends the search.
func TestEndWhileReaching(t *testing.T) {
	withTrunk(t, func(t *testing.T, n *memnet.Network, us, pbx *side, ours, theirs *leg.Leg, asked *[]string) {
		n.ImpairBoth(us.host, pbx.host, memnet.Impairment{Delay: 50 * time.Millisecond})
		theirs.Flow().Shut(errNetwork)
		time.Sleep(time.Second)
		us.must(func() error { return ours.Bye() })
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if !us.ep.Settle(ctx) {
			t.Error("the BYE has no answer")
		}
		if got := lastEnded(pbx, theirs); got != "Ended bye by remote" {
			t.Errorf("the trunk was told %q", got)
		}
	})
	withTrunk(t, func(t *testing.T, n *memnet.Network, us, pbx *side, ours, theirs *leg.Leg, asked *[]string) {
		theirs.Flow().Shut(errNetwork)
		synctest.Wait()
		n.Partition(us.host, pbx.host)
		us.must(func() error { return ours.Bye() })
		start := time.Now()
		us.ep.Close()
		if d := time.Since(start); d != 0 {
			t.Errorf("Close took %s", d)
		}
	})
}
