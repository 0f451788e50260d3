package leg_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/leg"
)

// inParts is a message of raw or reply with ISUP beside its SDP.
func inParts(text, handling string) string {
	head, body, _ := strings.Cut(text, "\n\n")
	body = "--b\nContent-Type: application/ISUP;version=x\nContent-Disposition: signal;handling=" + handling + "\n\n\x01\x02\n" +
		"--b\nContent-Type: application/sdp\n\n" + body + "\n--b--\n"
	head, _, _ = strings.Cut(strings.ReplaceAll(head, "application/sdp", "multipart/mixed;boundary=b"), "Content-Length")
	return fmt.Sprintf("%sContent-Length: %d\n\n%s", head, len(strings.ReplaceAll(body, "\n", "\r\n")), body)
}

// A carrier's SDP is found among the parts of its answers, of a re-INVITE and of the ACK.
// Only a request can be refused for what must be understood.
func TestSessionAmongParts(t *testing.T) {
	withCallee(t, func(t *testing.T, alice *side, p *peer, call func(...func(*leg.Invite)) (*leg.Leg, *sip.Request)) {
		a, inv := call()
		p.send(inParts(reply(inv, 183, "b", contactOfBob, offerSDP), "required"))
		if got := last[leg.Provisional](alice, a); string(got.Body) != offerSDP {
			t.Errorf("183: %q", got.Body)
		}
		p.send(inParts(reply(inv, 200, "b", contactOfBob, answerSDP), "required"))
		if got := last[leg.Answered](alice, a); string(got.Body) != answerSDP {
			t.Errorf("200: %q", got.Body)
		}
		p.request("ACK")
		alice.must(func() error { return a.Reinvite([]byte(holdSDP)) })
		p.send(inParts(reply(p.request("INVITE"), 200, "", contactOfBob, heldSDP), "optional"))
		if got := last[leg.OfferAnswered](alice, a); string(got.Body) != heldSDP {
			t.Errorf("200 to a re-INVITE: %q", got.Body)
		}
		alice.must(func() error { return a.Bye() })
		p.send(reply(p.request("BYE"), 200, "", "", ""))
		empty(t, alice)
	})
	withPeer(t, func(t *testing.T, p *peer, bob *side) {
		p.send(strings.ReplaceAll(invite("c", 1, "", "x"), "application/sdp", "application/pidf+xml\nContent-Disposition: render;handling=optional"))
		b := bob.uas(0)
		bob.must(func() error { return b.Answer([]byte(offerSDP)) })
		if err := bob.try(func() error { return b.Reinvite([]byte(holdSDP)) }); err != nil {
			t.Errorf("Reinvite, held back until the ACK: %v", err)
		}
		p.silent(func(m sip.Message) bool { r, ok := m.(*sip.Request); return ok && r.IsInvite() })
		p.send(inParts(raw("ACK", "c", 1, b.Tag(), "", answerSDP), "required"))
		if got := last[leg.Confirmed](bob, b); string(got.Body) != answerSDP {
			t.Errorf("ACK: %q", got.Body)
		}
		p.send(reply(p.request("INVITE"), 488, "", "", ""))
		for n, handling := range []string{"required", "optional"} {
			p.send(inParts(raw("INVITE", "c", 2+n, b.Tag(), "Contact: <sip:alice@10.0.0.1:5060>\n", holdSDP), handling))
			if handling == "required" {
				if r := p.response("INVITE", 415); sipua.Value(r, "Accept") != sipua.Accepted {
					t.Errorf("refused:\n%s", r)
				}
				p.send(raw("ACK!", "c", 2+n, b.Tag(), "", ""))
			}
		}
		if got := last[leg.Offer](bob, b); string(got.Body) != holdSDP {
			t.Errorf("re-INVITE: %q", got.Body)
		}
		bob.must(func() error { return b.AnswerOffer([]byte(heldSDP)) })
		p.send(raw("ACK", "c", 3, b.Tag(), "", ""))
		p.send(raw("BYE", "c", 4, b.Tag(), "", ""))
		empty(t, bob)
	})
}
