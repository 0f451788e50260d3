package leg_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/memnet"
)

var errNetwork = errors.New("phone lost its network")

// partied says that every flow is of the host at its other end.
func partied(c *sipua.Config) {
	c.Party = func(_ sipua.Transport, remote netip.AddrPort) string { return remote.Addr().String() }
	c.Dial = nil // bob must not find alice by dialling
}

func withParties(t *testing.T, run func(t *testing.T, n *memnet.Network, alice, bob *side)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, 1)
		run(t, n, newSide(t, n, aliceHost), newSide(t, n, bobHost, partied))
	})
}

// A phone that moves to another connection during a call keeps it (faults N3).
func TestCallMovesToAnotherFlow(t *testing.T) {
	withParties(t, func(t *testing.T, n *memnet.Network, alice, bob *side) {
		a, b := establishedCall(alice, bob, sipua.TCP)
		a.Flow().Shut(errNetwork)
		alice.expect(a, "Answered, FlowLost")
		bob.expect(b, "Confirmed, FlowLost")
		if err := last[leg.FlowLost](bob, b).Err; !errors.Is(err, sipua.ErrFlowGone) {
			t.Errorf("lost: %v", err)
		}
		f := alice.flow(sipua.TCP, bob)
		alice.must(func() error { return a.SetFlow(f) })
		alice.must(func() error { return a.Reinvite([]byte(holdSDP)) })
		bob.expect(b, "Confirmed, FlowLost, Offer") // on the new flow, of the same party
		bob.must(func() error { return b.AnswerOffer([]byte(heldSDP)) })
		alice.expect(a, "Answered, FlowLost, OfferAnswered 200")
		bob.must(func() error { return b.Bye() })
		alice.expect(a, "Answered, FlowLost, OfferAnswered 200, Ended bye by remote")
		empty(t, alice, bob)
	})
}

// While its old connection still looks open, a re-INVITE on a new one moves the
// leg, other requests do not.
func TestReinviteMovesTheFlow(t *testing.T) {
	withParties(t, func(t *testing.T, n *memnet.Network, alice, bob *side) {
		a, b := establishedCall(alice, bob, sipua.TCP)
		before := b.Flow()
		f := alice.flow(sipua.UDP, bob)
		alice.must(func() error { return a.SetFlow(f) })
		if b.Flow() != before {
			t.Error("the leg moved without a request")
		}
		alice.must(func() error { return a.Reinvite([]byte(holdSDP)) })
		bob.must(func() error { return b.AnswerOffer([]byte(heldSDP)) })
		if b.Flow() == before || b.Flow().Transport() != sipua.UDP {
			t.Errorf("the leg did not move: %s", b.Flow().Transport())
		}
		before.Shut(errNetwork)
		bob.must(func() error { return b.Bye() })
		alice.expect(a, "Answered, OfferAnswered 200, Ended bye by remote")
		bob.expect(b, "Confirmed, Offer, Confirmed, Ended bye") // nothing of the old flow's loss
		empty(t, alice, bob)
	})
}

// The loss of a flow that the owner has left by then is nothing to tell.
func TestLossOfAFormerFlow(t *testing.T) {
	withParties(t, func(t *testing.T, n *memnet.Network, alice, bob *side) {
		a, _ := establishedCall(alice, bob, sipua.TCP)
		f := alice.flow(sipua.UDP, bob)
		alice.must(func() error {
			a.Flow().Shut(errNetwork)
			return a.SetFlow(f)
		})
		alice.expect(a, "Answered")
		alice.must(func() error { return a.Bye() })
		empty(t, alice, bob)
	})
}

// A 2xx whose flow is gone is repeated on the one that the owner gives.
func TestUnconfirmedAnswerMovesWithTheLeg(t *testing.T) {
	withParties(t, func(t *testing.T, n *memnet.Network, alice, bob *side) {
		a := alice.call(alice.flow(sipua.TCP, bob))
		b := bob.uas(0)
		lost := b.Flow()
		f := alice.flow(sipua.UDP, bob)
		alice.owner.do(func() { // so that bob sees a flow of hers
			if _, err := alice.ep.Request(f, optionsRequest(), func(*sip.Response, error) {}); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		lost.Shut(errNetwork)
		bob.expect(b, "FlowLost")
		bob.must(func() error { return b.Answer([]byte(answerSDP)) })
		w := watch(t, n)
		to, err := bob.ep.Connect(t.Context(), sipua.UDP, sipua.Destination{Addr: netip.AddrPortFrom(aliceHost, 5060)})
		if err != nil {
			t.Fatal(err)
		}
		bob.must(func() error { return b.SetFlow(to) })
		time.Sleep(2 * time.Second)
		if got := w.count(bobHost, "200 INVITE"); got != 3 { // at once, 0.5 s, 1.5 s
			t.Errorf("200 was sent %d times on the new flow", got)
		}
		alice.expect(a, "Failed 480, Ended failed") // her transaction went with its flow
		bob.owner.do(b.Drop)
		empty(t, alice, bob)
	})
}

func optionsRequest() *sip.Request {
	req := sip.NewRequest(sip.OPTIONS, uri("bob", "10.0.0.2"))
	id := sip.CallIDHeader(sipua.NewTag())
	req.AppendHeader(&sip.FromHeader{Address: uri("alice", "example.com"), Params: sip.HeaderParams{{K: "tag", V: sipua.NewTag()}}})
	req.AppendHeader(&sip.ToHeader{Address: uri("bob", "example.com")})
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: sip.OPTIONS})
	return req
}

// An INVITE on a flow that is gone, or on none, fails as an event after NewUAC.
func TestInviteWithoutFlow(t *testing.T) {
	withParties(t, func(t *testing.T, n *memnet.Network, alice, bob *side) {
		gone := alice.flow(sipua.TCP, bob)
		gone.Shut(errNetwork)
		for _, f := range []*sipua.Flow{nil, gone} {
			var early int
			var a *leg.Leg
			alice.owner.do(func() {
				a = leg.NewUAC(alice.config(), leg.Invite{Flow: f, RequestURI: uri("bob", "10.0.0.2")})
				early = len(alice.events[a])
			})
			alice.expect(a, "Failed 480, Ended failed")
			if e := last[leg.Failed](alice, a); early > 0 || !e.FlowLost || !e.BeforeProvisional || !errors.Is(e.Err, sipua.ErrFlowGone) {
				t.Errorf("%d events inside NewUAC; %+v", early, e)
			}
			alice.owner.do(a.Drop)
			if err := alice.try(func() error { return a.Cancel() }); !errors.Is(err, leg.ErrEnded) {
				t.Errorf("Cancel: %v", err)
			}
		}
		a := alice.call(alice.flow(sipua.UDP, bob), func(i *leg.Invite) { i.Headers = []sip.Header{sip.NewHeader("X", "a\r\nb: c")} })
		alice.expect(a, "Failed 400, Ended failed")
		empty(t, alice, bob)
	})
}

// An idle UDP flow stays as long as a dialog lives on it, and no longer.
func TestLegHoldsItsFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, 1)
		alice, bob := newSide(t, n, aliceHost), newSide(t, n, bobHost)
		a, b := establishedCall(alice, bob, sipua.UDP)
		time.Sleep(4 * time.Hour)
		alice.must(func() error { return a.Bye() })
		alice.expect(a, "Answered, Ended bye")
		bob.expect(b, "Confirmed, Ended bye by remote")
		time.Sleep(10 * time.Minute)
		for _, s := range []*side{alice, bob} {
			if flows, _, _, _ := s.ep.Sizes(); flows != 0 {
				t.Errorf("%s: %d flows are left", s.host, flows)
			}
		}
	})
}

// The peer never answers at all.
func TestSilentPeer(t *testing.T) {
	for _, cancelled := range []bool{false, true} {
		withCallee(t, func(t *testing.T, alice *side, p *peer, call func(...func(*leg.Invite)) (*leg.Leg, *sip.Request)) {
			a, _ := call()
			want := "Failed 408, Ended failed"
			if cancelled {
				alice.must(func() error { return a.Cancel() })
				want = "Failed 408, Ended cancelled"
			}
			time.Sleep(33 * time.Second)
			alice.expect(a, want)
			if e := last[leg.Failed](alice, a); !e.BeforeProvisional || e.FlowLost || !errors.Is(e.Err, sipua.ErrTimeout) {
				t.Errorf("failed: %+v", e)
			}
			p.silent(func(m sip.Message) bool { return m.(*sip.Request).Method != sip.INVITE })
			empty(t, alice)
		})
	}
}

// A peer that rings and then ignores the CANCEL is given up after 64*T1 (RFC 3261
// s9.1).
func TestPeerDeafToCancel(t *testing.T) {
	withCallee(t, func(t *testing.T, alice *side, p *peer, call func(...func(*leg.Invite)) (*leg.Leg, *sip.Request)) {
		a, inv := call()
		p.send(reply(inv, 180, "b", contactOfBob, ""))
		alice.must(func() error { return a.Cancel() })
		time.Sleep(31 * time.Second)
		alice.expect(a, "Provisional 180")
		time.Sleep(2 * time.Second)
		alice.expect(a, "Provisional 180, Failed 408, Ended cancelled")
		p.send(reply(inv, 200, "b", contactOfBob, answerSDP)) // too late for anybody
		p.silent(func(m sip.Message) bool { return m.(*sip.Request).Method == sip.ACK })
		empty(t, alice)
	})
}

// Resend repeats an INVITE that nobody has heard, over UDP only, and nothing else.
func TestResend(t *testing.T) {
	eachTransport(t, func(t *testing.T, n *memnet.Network, alice, bob *side, tr sipua.Transport) {
		n.ImpairBoth(aliceHost, bobHost, memnet.Impairment{Delay: 100 * time.Millisecond})
		w := watch(t, n)
		bob.admit = func(b *leg.Leg, _ *sipua.ServerTx) {
			if err := b.Ring(); err != nil {
				t.Error(err)
			}
		}
		a := alice.call(alice.flow(tr, bob))
		alice.must(a.Resend)
		time.Sleep(110 * time.Millisecond)
		want := 1
		if tr == sipua.UDP {
			want = 2
		}
		if got := w.count(aliceHost, "INVITE"); got != want {
			t.Errorf("%d INVITEs, want %d", got, want)
		}
		time.Sleep(time.Second)
		before := w.count(aliceHost, "INVITE")
		alice.must(a.Resend) // it rings by now
		time.Sleep(time.Second)
		if got := w.count(aliceHost, "INVITE"); got != before {
			t.Errorf("%d INVITEs after the 180, %d before", got, before)
		}
		if legs := len(bob.legs); legs != 1 {
			t.Errorf("%d legs", legs)
		}
		alice.owner.do(a.Drop)
		if err := alice.try(a.Resend); !errors.Is(err, leg.ErrEnded) {
			t.Errorf("after the end: %v", err)
		}
		time.Sleep(time.Second)
		if err := bob.try(bob.uas(0).Resend); !errors.Is(err, leg.ErrEnded) {
			t.Errorf("as UAS: %v", err)
		}
		empty(t, alice, bob)
	})
}

// Requests in a dialog that the caller does not know yet: its INVITE has no final
// response.
func TestRequestBeforeTheAnswer(t *testing.T) {
	withCallee(t, func(t *testing.T, alice *side, p *peer, call func(...func(*leg.Invite)) (*leg.Leg, *sip.Request)) {
		a, inv := call()
		p.send(reply(inv, 180, "b", contactOfBob, ""))
		for i, c := range []struct {
			method string
			want   int
		}{{"INVITE", 491}, {"BYE", 481}, {"OPTIONS", 481}} {
			text := raw(c.method, inv.CallID().Value(), 10+i, a.Tag(), "", "")
			p.send(strings.Replace(strings.Replace(text, "tag=alice", "tag=b", 1), "10.0.0.1:5060", "10.0.0.2:5060", 1))
			if r := p.response(c.method, 0); r.StatusCode != c.want {
				t.Errorf("%s: %d, want %d", c.method, r.StatusCode, c.want)
			}
		}
		alice.must(func() error { return a.Cancel() })
		p.send(reply(p.request("CANCEL"), 200, "", "", ""))
		p.send(reply(inv, 487, "b", "", ""))
		alice.expect(a, "Provisional 180, Failed 487, Ended cancelled")
		empty(t, alice)
	})
}
