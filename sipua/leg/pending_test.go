package leg_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/leg"
)

// A 2xx to our re-INVITE that crosses our BYE gets its ACK; one that never comes
// leaves nothing behind.
func TestByeWithReinviteOnItsWay(t *testing.T) {
	for _, answered := range []bool{true, false} {
		t.Run(fmt.Sprint("answered ", answered), func(t *testing.T) {
			withCallee(t, func(t *testing.T, alice *side, p *peer, call func(...func(*leg.Invite)) (*leg.Leg, *sip.Request)) {
				a, inv := call()
				p.send(reply(inv, 200, "b", contactOfBob, answerSDP))
				alice.must(func() error { return a.Reinvite([]byte(holdSDP)) })
				re := p.request("INVITE")
				p.send(reply(re, 100, "", "", ""))
				alice.must(func() error { return a.Bye() })
				alice.owner.stop()
				p.send(reply(p.request("BYE"), 200, "", "", ""))
				if answered {
					p.send(reply(re, 200, "", contactOfBob, heldSDP))
					if ack := p.request("ACK"); ack.CSeq().SeqNo != re.CSeq().SeqNo {
						t.Errorf("ACK:\n%s", ack)
					}
				}
				empty(t, alice)
			})
		})
	}
}

// The callee's BYE waits for the ACK (RFC 3261 s15), but the owner does not.
func TestByeWaitsForTheAck(t *testing.T) {
	for _, acked := range []bool{true, false} {
		t.Run(fmt.Sprint("acked ", acked), func(t *testing.T) {
			withPeer(t, func(t *testing.T, p *peer, bob *side) {
				p.send(invite("c", 1, "", offerSDP))
				b := bob.uas(0)
				bob.must(func() error { return b.Answer([]byte(answerSDP)) })
				bob.must(func() error { return b.Bye("Q.850;cause=16") })
				bob.expect(b, "Ended bye")
				bob.owner.stop()
				p.silent(func(m sip.Message) bool { _, ok := m.(*sip.Request); return ok })
				p.send(reinviteOf(b, 2))
				p.response("INVITE", 487)
				p.send(raw("ACK!", "c", 2, b.Tag(), "", ""))
				if acked {
					p.send(raw("ACK", "c", 1, b.Tag(), "", ""))
				} else {
					time.Sleep(33 * time.Second)
				}
				bye := p.request("BYE")
				if sipua.Value(bye, "Reason") != "Q.850;cause=16" {
					t.Errorf("BYE:\n%s", bye)
				}
				p.send(reply(bye, 200, "", "", ""))
				empty(t, bob)
			})
		})
	}
}

// Of many 1xx that come while the owner is busy, some are not told.
func TestFloodOfProvisionalResponsesIsCapped(t *testing.T) {
	withCallee(t, func(t *testing.T, alice *side, p *peer, call func(...func(*leg.Invite)) (*leg.Leg, *sip.Request)) {
		a, inv := call()
		busy, free := make(chan struct{}), make(chan struct{})
		alice.owner.post(func() { close(busy); <-free })
		<-busy
		for range 50 {
			p.send(reply(inv, 180, "b", contactOfBob, ""))
		}
		p.send(reply(inv, 486, "b", "", ""))
		close(free)
		if told := alice.told(a); len(told) != 16+2 {
			t.Errorf("%d events: %s", len(told), names(told))
		}
		empty(t, alice)
	})
}

// More requests than the owner takes get 503, but a BYE always gets through.
func TestFloodOfRequestsIsCapped(t *testing.T) {
	withPeer(t, func(t *testing.T, p *peer, bob *side) {
		p.send(invite("c", 1, "", offerSDP))
		b := bob.uas(0)
		bob.must(func() error { return b.Answer([]byte(answerSDP)) })
		p.send(raw("ACK", "c", 1, b.Tag(), "", ""))
		synctest.Wait()
		busy, free := make(chan struct{}), make(chan struct{})
		bob.owner.post(func() { close(busy); <-free })
		<-busy
		for i := range 40 {
			p.send(raw("OPTIONS", "c", 10+i, b.Tag(), "", ""))
		}
		p.send(raw("BYE", "c", 100, b.Tag(), "", ""))
		p.send(raw("BYE", "c", 101, b.Tag(), "", ""))
		if r := p.response("BYE", 503); r.CSeq().SeqNo != 101 {
			t.Errorf("503 to BYE %d", r.CSeq().SeqNo)
		}
		close(free)
		count := map[int]int{503: 24} // skipped above
		for m := p.next(); m != nil; m = p.next() {
			if r := m.(*sip.Response); r.CSeq().MethodName == sip.OPTIONS {
				count[r.StatusCode]++
			}
		}
		if count[200] != 16 || count[503] != 24 {
			t.Errorf("responses to OPTIONS: %v", count)
		}
		bob.expect(b, "Confirmed, Ended bye by remote")
		empty(t, bob)
	})
}

// A BYE from the caller before the answer: 200 to it, 487 to the INVITE.
func TestByeOnTheEarlyDialog(t *testing.T) {
	withPeer(t, func(t *testing.T, p *peer, bob *side) {
		p.send(invite("c", 1, "", offerSDP))
		b := bob.uas(0)
		bob.must(func() error { return b.Ring() })
		p.send(raw("BYE", "c", 2, b.Tag(), "Reason: SIP;cause=487\n", ""))
		p.response("BYE", 200)
		p.response("INVITE", 487)
		p.send(raw("ACK!", "c", 1, b.Tag(), "", ""))
		bob.expect(b, "Cancelled, Ended cancelled by remote")
		if r := last[leg.Cancelled](bob, b).Reasons; len(r) != 1 || r[0] != "SIP;cause=487" {
			t.Errorf("reasons: %q", r)
		}
		empty(t, bob)
	})
}
