package leg_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/leg"
)

// Number 9: many provisional responses end nothing.
func TestTrap9FortyProvisionalResponses(t *testing.T) {
	withCallee(t, func(t *testing.T, alice *side, p *peer, call func(...func(*leg.Invite)) (*leg.Leg, *sip.Request)) {
		a, inv := call()
		for i := range 40 {
			p.send(reply(inv, 180+i%4, "b", contactOfBob, ""))
			time.Sleep(time.Second)
		}
		p.send(reply(inv, 200, "b", contactOfBob, answerSDP))
		p.request("ACK")
		if got := len(alice.told(a)); got != 41 {
			t.Errorf("%d events", got)
		}
		alice.must(func() error { return a.Bye() })
		p.send(reply(p.request("BYE"), 200, "", "", ""))
		empty(t, alice)
	})
}

// Number 11: any final response to BYE, or none, is fine.
func TestTrap11AnyResponseEndsTheBye(t *testing.T) {
	for _, status := range []int{0, 100, 202, 400, 401, 407, 481, 500, 603} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			withCallee(t, func(t *testing.T, alice *side, p *peer, call func(...func(*leg.Invite)) (*leg.Leg, *sip.Request)) {
				a, inv := call()
				p.send(reply(inv, 200, "b", contactOfBob, answerSDP))
				alice.must(func() error { return a.Bye() })
				alice.expect(a, "Answered, Ended bye")
				bye := p.request("BYE")
				if status > 0 {
					p.send(reply(bye, status, "", "WWW-Authenticate: Digest realm=\"x\", nonce=\"y\"\n", ""))
				}
				empty(t, alice)
				p.silent(func(m sip.Message) bool { return sipua.Value(m, "Authorization") != "" })
			})
		})
	}
}

// Section 1.2: the UAC's route set is reversed, a strict router becomes the
// Request-URI, and ACK and BYE both follow it.
func TestTrapRouteSetOfTheCaller(t *testing.T) {
	for _, c := range []struct{ name, lr, uri, routes string }{
		{"loose", ";lr", "sip:bob@10.9.9.9:5070", "p1.example.net p2.example.net"},
		{"strict", "", "sip:p1.example.net", "p2.example.net 10.9.9.9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			withCallee(t, func(t *testing.T, alice *side, p *peer, call func(...func(*leg.Invite)) (*leg.Leg, *sip.Request)) {
				a, inv := call(func(i *leg.Invite) {
					i.Route = []sip.Uri{{Scheme: "sip", Host: "out.example.net", UriParams: sip.HeaderParams{{K: "lr"}}}}
				})
				if routeHosts(inv) != "out.example.net" {
					t.Errorf("INVITE by %s", routeHosts(inv))
				}
				p.send(reply(inv, 200, "b", "Record-Route: <sip:p2.example.net;lr>\nRecord-Route: <sip:p1.example.net"+c.lr+">\n"+
					"Contact: <sip:bob@10.9.9.9:5070?Replaces=x>\n", answerSDP))
				check := func(req *sip.Request) {
					if req.Recipient.String() != c.uri || routeHosts(req) != c.routes {
						t.Errorf("%s to %s by %s", req.Method, req.Recipient.String(), routeHosts(req))
					}
				}
				check(p.request("ACK"))
				alice.must(func() error { return a.Bye() })
				bye := p.request("BYE")
				check(bye)
				p.send(reply(bye, 200, "", "", ""))
				empty(t, alice)
			})
		})
	}
}

// Section 1.2: every repetition of a 2xx gets the same ACK, also after the call and
// its owner are gone.
func TestTrapRepeated2xxGetsTheSameAck(t *testing.T) {
	withCallee(t, func(t *testing.T, alice *side, p *peer, call func(...func(*leg.Invite)) (*leg.Leg, *sip.Request)) {
		a, inv := call()
		ok := reply(inv, 200, "b", contactOfBob, answerSDP)
		p.send(ok)
		first := p.request("ACK").String()
		again := func() {
			t.Helper()
			p.send(ok)
			if got := p.request("ACK").String(); got != first {
				t.Errorf("another ACK:\n%s\nfirst:\n%s", got, first)
			}
		}
		again()
		again()
		alice.must(func() error { return a.Bye() })
		p.send(reply(p.request("BYE"), 200, "", "", ""))
		alice.expect(a, "Answered, Ended bye")
		alice.owner.stop()
		again()
		empty(t, alice)
	})
}

// Section 1.2, forking downstream: the 2xx of another fork gets an ACK and a BYE of
// its own.
func TestTrapSecond2xxOfAnotherFork(t *testing.T) {
	withCallee(t, func(t *testing.T, alice *side, p *peer, call func(...func(*leg.Invite)) (*leg.Leg, *sip.Request)) {
		a, inv := call()
		p.send(reply(inv, 180, "f1", contactOfBob, ""))
		p.send(reply(inv, 180, "f2", contactOfBob, ""))
		p.send(reply(inv, 200, "f1", contactOfBob, answerSDP))
		if ack := p.request("ACK"); sipua.ToTag(ack) != "f1" {
			t.Fatalf("ACK for %s", sipua.ToTag(ack))
		}
		for i := range 2 {
			p.send(reply(inv, 200, "f2", "Contact: <sip:other@10.0.0.2:5061>\n", answerSDP))
			ack := p.request("ACK")
			if sipua.ToTag(ack) != "f2" || ack.Recipient.Port != 5061 || ack.CSeq().SeqNo != inv.CSeq().SeqNo {
				t.Errorf("ACK of the fork:\n%s", ack)
			}
			if i > 0 {
				continue
			}
			bye := p.request("BYE")
			if sipua.ToTag(bye) != "f2" || bye.Recipient.Port != 5061 {
				t.Errorf("BYE of the fork:\n%s", bye)
			}
			p.send(reply(bye, 200, "", "", ""))
		}
		p.silent(func(sip.Message) bool { return true })
		alice.expect(a, "Provisional 180, Provisional 180, Answered")
		alice.must(func() error { return a.Bye() })
		if bye := p.request("BYE"); sipua.ToTag(bye) != "f1" {
			t.Errorf("BYE for %s", sipua.ToTag(bye))
		}
		empty(t, alice)
	})
}

// Section 1.2: the ACK has its INVITE's number, whatever was sent in between.
func TestTrapAckNumberAfterAnotherRequest(t *testing.T) {
	withCallee(t, func(t *testing.T, alice *side, p *peer, call func(...func(*leg.Invite)) (*leg.Leg, *sip.Request)) {
		a, inv := call(func(i *leg.Invite) { i.CSeq = 9418 })
		p.send(reply(inv, 200, "b", contactOfBob, answerSDP))
		if ack := p.request("ACK"); ack.CSeq().SeqNo != 9418 {
			t.Errorf("ACK %d", ack.CSeq().SeqNo)
		}
		alice.must(func() error { return a.Reinvite([]byte(offerSDP)) })
		re := p.request("INVITE")
		if re.CSeq().SeqNo != 9419 {
			t.Errorf("re-INVITE %d", re.CSeq().SeqNo)
		}
		p.send(reply(inv, 200, "b", contactOfBob, answerSDP)) // the first again
		if ack := p.request("ACK"); ack.CSeq().SeqNo != 9418 {
			t.Errorf("ACK %d", ack.CSeq().SeqNo)
		}
		p.send(reply(re, 200, "", contactOfBob, answerSDP))
		if ack := p.request("ACK"); ack.CSeq().SeqNo != 9419 {
			t.Errorf("ACK %d", ack.CSeq().SeqNo)
		}
		alice.must(func() error { return a.Bye() })
		p.send(reply(p.request("BYE"), 200, "", "", ""))
		empty(t, alice)
	})
}

// Number 18: of several Contacts the first is the target; an odd one is no reason
// to lose the call.
func TestTrap18OddContacts(t *testing.T) {
	for _, c := range []struct{ name, contact, want string }{
		{"two", "Contact: <sip:one@10.0.0.9>, <sip:two@10.0.0.8>\n", "sip:one@10.0.0.9"},
		{"none", "", "sip:bob@10.0.0.2"},
		{"compact", "m: <sip:short@10.0.0.7;x=y>\n", "sip:short@10.0.0.7;x=y"},
	} {
		t.Run(c.name, func(t *testing.T) {
			withCallee(t, func(t *testing.T, alice *side, p *peer, call func(...func(*leg.Invite)) (*leg.Leg, *sip.Request)) {
				a, inv := call()
				p.send(reply(inv, 200, "b", c.contact, answerSDP))
				if ack := p.request("ACK"); ack.Recipient.String() != c.want {
					t.Errorf("ACK to %s, want %s", ack.Recipient.String(), c.want)
				}
				alice.owner.do(a.Drop)
				p.send(reply(p.request("BYE"), 200, "", "", ""))
				empty(t, alice)
			})
		})
	}
}

// Section 1.2: a CANCEL takes the INVITE's flow, URI, branch and number, and has no
// To tag.
func TestTrapCancelIsTheInvitesTwin(t *testing.T) {
	withCallee(t, func(t *testing.T, alice *side, p *peer, call func(...func(*leg.Invite)) (*leg.Leg, *sip.Request)) {
		a, inv := call(func(i *leg.Invite) {
			i.RequestURI = uri("bob", "192.168.77.77") // an address behind the phone's NAT
			i.Route = []sip.Uri{{Scheme: "sip", Host: "r.example.net", UriParams: sip.HeaderParams{{K: "lr"}}}}
		})
		alice.must(func() error { return a.Cancel("SIP;cause=600") })
		time.Sleep(300 * time.Millisecond)
		p.silent(func(m sip.Message) bool { return m.(*sip.Request).Method == sip.CANCEL })
		p.send(reply(inv, 180, "b", contactOfBob, ""))
		cancel := p.request("CANCEL")
		if cancel.Recipient.String() != inv.Recipient.String() || cancel.Via().Value() != inv.Via().Value() || routeHosts(cancel) != "r.example.net" ||
			cancel.CSeq().SeqNo != inv.CSeq().SeqNo || sipua.ToTag(cancel) != "" || sipua.FromTag(cancel) != sipua.FromTag(inv) ||
			sipua.Value(cancel, "Reason") != "SIP;cause=600" {
			t.Errorf("INVITE:\n%s\nCANCEL:\n%s", inv, cancel)
		}
		p.send(reply(cancel, 200, "b", "", ""))
		p.send(reply(inv, 487, "b", "", ""))
		alice.expect(a, "CancelWent, Failed 487, Ended cancelled")
		empty(t, alice)
	})
}

// Section 12.2.1.1: the callee's first request may have any CSeq, 0 too; after that it
// must rise.
func TestTrapCalleeCountsFromZero(t *testing.T) {
	withCallee(t, func(t *testing.T, alice *side, p *peer, call func(...func(*leg.Invite)) (*leg.Leg, *sip.Request)) {
		a, inv := call()
		p.send(reply(inv, 200, "b", contactOfBob, answerSDP))
		p.request("ACK")
		for i, c := range []struct {
			method      string
			seq, status int
		}{{"OPTIONS", 0, 200}, {"OPTIONS", 0, 500}, {"OPTIONS", 1, 200}, {"BYE", 0, 500}, {"BYE", 2, 200}} {
			p.send(fmt.Sprintf("%s sip:alice@10.0.0.1 SIP/2.0\nVia: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bK-%d\nMax-Forwards: 70\nFrom: %s;tag=b\nTo: %s\n"+
				"Call-ID: %s\nCSeq: %d %s\nContent-Length: 0\n\n", c.method, i, inv.To().Value(), inv.From().Value(), inv.CallID().Value(), c.seq, c.method))
			if r := p.response(c.method, 0); r.StatusCode != c.status {
				t.Errorf("%s with CSeq %d got %s", c.method, c.seq, r.StartLine())
			}
		}
		alice.expect(a, "Answered, Ended bye by remote")
		empty(t, alice)
	})
}
