package leg_test

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/digest"
	"wakebridge/sipua/leg"
)

const challenge = "Digest realm=\"pbx\", nonce=\"n%s\", algorithm=MD5, qop=\"auth\""

func challenges(name, nonce, more string) string {
	return name + ": " + strings.Replace(challenge, "%s", nonce, 1) + more + "\n"
}

func withLogin(s *side) {
	client := digest.NewClient(digest.Login{Username: "4711", Password: "secret"})
	s.conf = func(c *leg.Config) { c.Credentials = client }
}

func TestChallengedInvite(t *testing.T) {
	withCallee(t, func(t *testing.T, alice *side, p *peer, call func(...func(*leg.Invite)) (*leg.Leg, *sip.Request)) {
		withLogin(alice)
		a, inv := call(func(i *leg.Invite) { i.CSeq = 5 })
		p.send(reply(inv, 401, "x", challenges("WWW-Authenticate", "1", ""), ""))
		p.request("ACK")
		second := p.request("INVITE")
		auth := sipua.Value(second, "Authorization")
		if second.CSeq().SeqNo != 6 || second.CallID().Value() != inv.CallID().Value() || sipua.FromTag(second) != sipua.FromTag(inv) ||
			sipua.ToTag(second) != "" || second.Via().Value() == inv.Via().Value() || string(second.Body()) != offerSDP ||
			len(second.GetHeaders("Via")) != 1 || !strings.Contains(auth, `username="4711"`) || !strings.Contains(auth, `nonce="n1"`) ||
			!strings.Contains(auth, `uri="`+second.Recipient.String()+`"`) {
			t.Fatalf("second INVITE:\n%s", second)
		}
		p.send(reply(second, 200, "b", contactOfBob, answerSDP))
		// RFC 3261 s13.2.2.4: the ACK has the INVITE's credentials.
		if ack := p.request("ACK"); sipua.Value(ack, "Authorization") != auth || ack.CSeq().SeqNo != 6 {
			t.Errorf("ACK:\n%s", ack)
		}
		alice.must(func() error { return a.Reinvite([]byte(holdSDP)) })
		re := p.request("INVITE")
		if re.CSeq().SeqNo != 7 || sipua.Value(re, "Authorization") == "" {
			t.Errorf("re-INVITE:\n%s", re)
		}
		p.send(reply(re, 407, "", challenges("Proxy-Authenticate", "2", ""), ""))
		p.request("ACK")
		re = p.request("INVITE")
		if re.CSeq().SeqNo != 8 || !strings.Contains(sipua.Value(re, "Proxy-Authorization"), `nonce="n2"`) || string(re.Body()) != holdSDP {
			t.Errorf("second re-INVITE:\n%s", re)
		}
		p.send(reply(re, 200, "", contactOfBob, heldSDP))
		p.request("ACK")
		alice.must(func() error { return a.Bye() })
		p.send(reply(p.request("BYE"), 401, "", challenges("WWW-Authenticate", "3", ", stale=true"), ""))
		bye := p.request("BYE") // the leg has ended, its BYE still answers
		if bye.CSeq().SeqNo != 10 || !strings.Contains(sipua.Value(bye, "Authorization"), `nonce="n3"`) {
			t.Errorf("second BYE:\n%s", bye)
		}
		p.send(reply(bye, 200, "", "", ""))
		alice.expect(a, "Answered, OfferAnswered 200, Ended bye")
		empty(t, alice)
	})
}

// Faults I2: a peer that challenges for ever gets three INVITEs.
func TestEndlessChallengesAreGivenUp(t *testing.T) {
	withCallee(t, func(t *testing.T, alice *side, p *peer, call func(...func(*leg.Invite)) (*leg.Leg, *sip.Request)) {
		withLogin(alice)
		a, inv := call()
		for i := range 3 {
			p.send(reply(inv, 401, "x", challenges("WWW-Authenticate", strings.Repeat("n", i+1), ""), ""))
			p.request("ACK")
			if i < 2 {
				inv = p.request("INVITE")
			}
		}
		p.silent(func(m sip.Message) bool { return m.(*sip.Request).Method == sip.INVITE })
		alice.expect(a, "Failed 401, Ended failed")
		empty(t, alice)
	})
}

// Faults I1: without credentials for the peer, and as UAS always, a challenge is
// just a refusal.
func TestChallengesOfOthersAreNotAnswered(t *testing.T) {
	withCallee(t, func(t *testing.T, alice *side, p *peer, call func(...func(*leg.Invite)) (*leg.Leg, *sip.Request)) {
		a, inv := call()
		p.send(reply(inv, 407, "x", challenges("Proxy-Authenticate", "1", ""), ""))
		alice.expect(a, "Failed 407, Ended failed")
		empty(t, alice)
	})
	withPeer(t, func(t *testing.T, p *peer, bob *side) {
		withLogin(bob)
		p.send(invite("c", 1, "", offerSDP))
		b := bob.uas(0)
		bob.must(func() error { return b.Answer([]byte(answerSDP)) })
		p.send(raw("ACK", "c", 1, b.Tag(), "", ""))
		bob.must(func() error { return b.Reinvite([]byte(holdSDP)) })
		p.send(reply(p.request("INVITE"), 401, "", challenges("WWW-Authenticate", "1", ""), ""))
		bob.expect(b, "Confirmed, OfferAnswered 401")
		bob.must(func() error { return b.Bye() })
		p.send(reply(p.request("BYE"), 407, "", challenges("Proxy-Authenticate", "1", ""), ""))
		p.silent(func(m sip.Message) bool {
			return sipua.Value(m, "Authorization") != "" || sipua.Value(m, "Proxy-Authorization") != ""
		})
		empty(t, bob)
	})
}

// A challenge that meets Cancel is not answered: the INVITE is over.
func TestChallengeAfterCancel(t *testing.T) {
	withCallee(t, func(t *testing.T, alice *side, p *peer, call func(...func(*leg.Invite)) (*leg.Leg, *sip.Request)) {
		withLogin(alice)
		a, inv := call()
		alice.must(func() error { return a.Cancel() })
		p.send(reply(inv, 401, "x", challenges("WWW-Authenticate", "1", ""), ""))
		p.silent(func(m sip.Message) bool { return m.(*sip.Request).Method != sip.ACK })
		alice.expect(a, "Failed 401, Ended cancelled")
		empty(t, alice)
	})
}
