package leg_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/leg"
)

// A refused INVITE whose owner has something else to offer is followed by a second
// one in the same call; the owner hears only what becomes of that.
func TestSomethingElseIsOffered(t *testing.T) {
	withCallee(t, func(t *testing.T, alice *side, p *peer, call func(...func(*leg.Invite)) (*leg.Leg, *sip.Request)) {
		withLogin(alice)
		var asked []int
		offers := []string{holdSDP}
		a, first := call(func(i *leg.Invite) {
			i.CSeq = 5
			i.Otherwise = func(status int) []byte {
				asked = append(asked, status)
				if len(offers) == 0 {
					return nil
				}
				next := offers[0]
				offers = offers[1:]
				return []byte(next)
			}
		})
		p.send(reply(first, 180, "x", contactOfBob, ""))
		p.send(reply(first, 488, "x", "", ""))
		if ack := p.request("ACK"); ack.CSeq().SeqNo != 5 {
			t.Errorf("ACK:\n%s", ack)
		}
		second := p.request("INVITE")
		if second.CSeq().SeqNo != 6 || second.CallID().Value() != first.CallID().Value() || sipua.FromTag(second) != sipua.FromTag(first) ||
			sipua.ToTag(second) != "" || second.Via().Value() == first.Via().Value() || string(second.Body()) != holdSDP ||
			len(second.GetHeaders("Via")) != 1 || len(second.GetHeaders("Content-Length")) != 1 || len(second.GetHeaders("Content-Type")) != 1 {
			t.Fatalf("second INVITE:\n%s", second)
		}
		// A challenge is no refusal, and the answer to it repeats what was offered last.
		p.send(reply(second, 401, "x", challenges("WWW-Authenticate", "1", ""), ""))
		p.request("ACK")
		third := p.request("INVITE")
		if third.CSeq().SeqNo != 7 || string(third.Body()) != holdSDP {
			t.Fatalf("third INVITE:\n%s", third)
		}
		p.send(reply(third, 488, "x", "", ""))
		p.request("ACK")
		p.silent(func(m sip.Message) bool { return m.(*sip.Request).Method == sip.INVITE })
		alice.expect(a, "Provisional 180, Failed 488, Ended failed")
		if !slices.Equal(asked, []int{488, 488}) {
			t.Errorf("asked for %v", asked)
		}
		empty(t, alice)
	})
}

// Once the call is taken back nothing more is offered.
func TestNothingElseAfterCancel(t *testing.T) {
	withCallee(t, func(t *testing.T, alice *side, p *peer, call func(...func(*leg.Invite)) (*leg.Leg, *sip.Request)) {
		a, inv := call(func(i *leg.Invite) {
			i.Otherwise = func(int) []byte {
				t.Error("asked after the CANCEL")
				return []byte(holdSDP)
			}
		})
		p.send(reply(inv, 180, "x", contactOfBob, ""))
		synctest.Wait()
		alice.must(func() error { return a.Cancel() })
		p.send(reply(p.request("CANCEL"), 200, "x", "", ""))
		p.send(reply(inv, 488, "x", "", ""))
		p.request("ACK")
		alice.expect(a, "Provisional 180, Failed 488, Ended cancelled")
		empty(t, alice)
	})
}
