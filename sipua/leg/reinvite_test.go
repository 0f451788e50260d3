package leg_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/memnet"
)

const (
	holdSDP   = "v=0\r\ns=hold\r\na=sendonly\r\n"
	heldSDP   = "v=0\r\ns=held\r\na=recvonly\r\n"
	resumeSDP = "v=0\r\ns=resume\r\n"
)

func TestHoldAndResume(t *testing.T) {
	eachTransport(t, func(t *testing.T, n *memnet.Network, alice, bob *side, tr sipua.Transport) {
		a, b := establishedCall(alice, bob, tr)
		for i, c := range []struct {
			from, to   *side
			asks, gets *leg.Leg
		}{{alice, bob, a, b}, {bob, alice, b, a}, {alice, bob, a, b}} {
			c.from.must(func() error { return c.asks.Reinvite([]byte(holdSDP)) })
			if e := last[leg.Offer](c.to, c.gets); string(e.Body) != holdSDP {
				t.Errorf("offer %d: %q", i, e.Body)
			}
			c.to.must(func() error { return c.gets.AnswerOffer([]byte(heldSDP)) })
			if e := last[leg.OfferAnswered](c.from, c.asks); e.Status != 200 || string(e.Body) != heldSDP || e.Err != nil {
				t.Errorf("answer %d: %+v", i, e)
			}
			if e := last[leg.Confirmed](c.to, c.gets); !e.Reinvite {
				t.Errorf("confirmed %d: %+v", i, e)
			}
		}
		alice.must(func() error { return a.Reinvite([]byte(resumeSDP)) })
		bob.must(func() error { return b.RejectOffer(488, "") })
		if e := last[leg.OfferAnswered](alice, a); e.Status != 488 {
			t.Errorf("refused offer: %+v", e)
		}
		bob.must(func() error { return b.Bye() })
		empty(t, alice, bob)
	})
}

// An offerless re-INVITE: our 200 has the offer, the ACK the answer, and 491 meets
// what comes in between (RFC 5407 s3.1.5).
func TestOfferlessReinvite(t *testing.T) {
	eachTransport(t, func(t *testing.T, n *memnet.Network, alice, bob *side, tr sipua.Transport) {
		a, b := establishedCall(alice, bob, tr)
		alice.must(func() error { return a.Reinvite(nil) })
		if e := last[leg.Offer](bob, b); len(e.Body) != 0 {
			t.Errorf("offer: %q", e.Body)
		}
		bob.must(func() error { return b.AnswerOffer([]byte(offerSDP)) })
		if e := last[leg.OfferAnswered](alice, a); string(e.Body) != offerSDP {
			t.Errorf("offer in the 200: %q", e.Body)
		}
		if err := alice.try(func() error { return a.Reinvite([]byte(holdSDP)) }); !errors.Is(err, leg.ErrPending) {
			t.Errorf("Reinvite before Ack: %v", err)
		}
		time.Sleep(3 * time.Second) // the 200 comes again meanwhile
		alice.must(func() error { return a.Ack([]byte(answerSDP)) })
		if e := last[leg.Confirmed](bob, b); string(e.Body) != answerSDP || !e.Reinvite {
			t.Errorf("confirmed: %q", e.Body)
		}
		alice.expect(a, "Answered, OfferAnswered 200")
		alice.must(func() error { return a.Bye() })
		empty(t, alice, bob)
	})
}

func TestOfferlessInvite(t *testing.T) {
	eachTransport(t, func(t *testing.T, n *memnet.Network, alice, bob *side, tr sipua.Transport) {
		a := alice.call(alice.flow(tr, bob), func(i *leg.Invite) { i.Body = nil })
		b := bob.uas(0)
		bob.must(func() error { return b.Answer([]byte(offerSDP)) })
		if e := last[leg.Answered](alice, a); string(e.Body) != offerSDP {
			t.Errorf("offer in the 200: %q", e.Body)
		}
		bob.expect(b, "")
		alice.must(func() error { return a.Ack([]byte(answerSDP)) })
		if e := last[leg.Confirmed](bob, b); string(e.Body) != answerSDP || e.Reinvite {
			t.Errorf("confirmed: %+v", e)
		}
		if err := alice.try(func() error { return a.Ack(nil) }); !errors.Is(err, leg.ErrState) {
			t.Errorf("second Ack: %v", err)
		}
		alice.must(func() error { return a.Bye() })
		empty(t, alice, bob)
	})
}

// Both offer at once (faults N7): 491 to both, both pauses of RFC 3261 s14.1, and
// both offers are made in the end.
func TestGlareConverges(t *testing.T) {
	for seed := range 40 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t, uint64(seed)) //nolint:gosec // small
				alice, bob := newSide(t, n, aliceHost), newSide(t, n, bobHost)
				for _, s := range []*side{alice, bob} {
					s.on = func(l *leg.Leg, e leg.Event) {
						if _, ok := e.(leg.Offer); ok {
							if err := l.AnswerOffer([]byte(heldSDP)); err != nil {
								t.Error(err)
							}
						}
					}
				}
				a, b := establishedCall(alice, bob, transports[seed%2])
				n.ImpairBoth(aliceHost, bobHost, memnet.Impairment{Delay: time.Duration(seed) * time.Millisecond, Jitter: 5 * time.Millisecond})
				w := watch(t, n)
				start := time.Now()
				alice.must(func() error { return a.Reinvite([]byte(holdSDP)) })
				bob.must(func() error { return b.Reinvite([]byte(holdSDP)) })
				time.Sleep(30 * time.Second)
				for _, c := range []struct {
					s *side
					l *leg.Leg
				}{{alice, a}, {bob, b}} {
					if e := last[leg.OfferAnswered](c.s, c.l); e.Status != 200 {
						t.Errorf("%s: %+v", c.s.host, e)
					}
				}
				if seed > 10 && w.count(aliceHost, "491 INVITE")+w.count(bobHost, "491 INVITE") == 0 {
					t.Error("there was no glare")
				}
				for _, p := range w.from(aliceHost) { // the caller owns the Call-ID
					if d := p.at.Sub(start); p.line == "INVITE" && d > time.Second && d < 2100*time.Millisecond {
						t.Errorf("the caller tried again after %s", d)
					}
				}
				alice.must(func() error { return a.Bye() })
				time.Sleep(time.Second)
				empty(t, alice, bob)
			})
		})
	}
}

// A Reinvite behind a 2xx without ACK waits for it.
func TestReinviteWaitsForTheAck(t *testing.T) {
	withPeer(t, func(t *testing.T, p *peer, bob *side) {
		p.send(invite("c", 1, "", offerSDP))
		b := bob.uas(0)
		bob.must(func() error { return b.Answer([]byte(answerSDP)) })
		bob.must(func() error { return b.Reinvite([]byte(holdSDP)) })
		if err := bob.try(func() error { return b.Reinvite([]byte(holdSDP)) }); !errors.Is(err, leg.ErrPending) {
			t.Errorf("second Reinvite: %v", err)
		}
		p.silent(func(m sip.Message) bool { _, ok := m.(*sip.Request); return ok })
		p.send(raw("ACK", "c", 1, b.Tag(), "", ""))
		re := p.request("INVITE")
		if string(re.Body()) != holdSDP || re.Recipient.String() != "sip:alice@10.0.0.1:5060" {
			t.Errorf("re-INVITE:\n%s", re)
		}
		p.send(reply(re, 200, "", "Contact: <sip:alice@10.0.0.1:5077>\n", heldSDP))
		if ack := p.request("ACK"); ack.Recipient.Port != 5077 {
			t.Errorf("target was not refreshed: %s", ack.Recipient.String())
		}
		bob.expect(b, "Confirmed, OfferAnswered 200")
		bob.must(func() error { return b.Bye() })
		bye := p.request("BYE")
		if bye.Recipient.Port != 5077 || bye.CSeq().SeqNo != re.CSeq().SeqNo+1 {
			t.Errorf("BYE:\n%s", bye)
		}
		p.send(reply(bye, 200, "", "", ""))
		empty(t, bob)
	})
}

// What a re-INVITE at a bad moment gets (RFC 3261 s14.2).
func TestReinviteAtABadMoment(t *testing.T) {
	withPeer(t, func(t *testing.T, p *peer, bob *side) {
		retryAfter := func(res *sip.Response) {
			t.Helper()
			if n, err := strconv.Atoi(sipua.Value(res, "Retry-After")); err != nil || n < 0 || n > 10 {
				t.Errorf("Retry-After: %q", sipua.Value(res, "Retry-After"))
			}
		}
		re := func(cseq int) string { return invite("c", cseq, "", holdSDP) }
		in := func(l *leg.Leg, text string) string {
			return strings.Replace(text, "To: <sip:bob@example.com>", "To: <sip:bob@example.com>;tag="+l.Tag(), 1)
		}
		p.send(invite("c", 1, "", offerSDP))
		b := bob.uas(0)
		p.send(in(b, re(2)))
		retryAfter(p.response("INVITE", 500)) // the first has no final response
		p.send(raw("ACK!", "c", 2, b.Tag(), "", ""))
		bob.must(func() error { return b.Answer([]byte(answerSDP)) })
		p.send(raw("ACK", "c", 1, b.Tag(), "", ""))
		p.send(in(b, re(3)))
		p.send(in(b, re(4)))
		retryAfter(p.response("INVITE", 500)) // number 3 is unanswered
		p.send(raw("ACK!", "c", 4, b.Tag(), "", ""))
		if err := bob.try(func() error { return b.Reinvite([]byte(holdSDP)) }); !errors.Is(err, leg.ErrPending) {
			t.Errorf("Reinvite with an Offer open: %v", err)
		}
		bob.must(func() error { return b.RejectOffer(488, "") })
		p.response("INVITE", 488)
		p.send(raw("ACK!", "c", 3, b.Tag(), "", ""))
		bob.must(func() error { return b.Reinvite([]byte(holdSDP)) })
		ours := p.request("INVITE")
		p.send(in(b, re(5)))
		p.response("INVITE", 491) // ours is unanswered
		p.send(raw("ACK!", "c", 5, b.Tag(), "", ""))
		p.send(reply(ours, 488, "", "", ""))
		p.request("ACK")
		bob.expect(b, "Confirmed, Offer, OfferAnswered 488")
		p.send(raw("BYE", "c", 6, b.Tag(), "", ""))
		empty(t, bob)
	})
}

func reinviteOf(b *leg.Leg, cseq int) string {
	return strings.Replace(invite("c", cseq, "", holdSDP), "To: <sip:bob@example.com>", "To: <sip:bob@example.com>;tag="+b.Tag(), 1)
}

func TestReinviteWithdrawnOrOvertakenByBye(t *testing.T) {
	withPeer(t, func(t *testing.T, p *peer, bob *side) {
		p.send(invite("c", 1, "", offerSDP))
		b := bob.uas(0)
		bob.must(func() error { return b.Answer([]byte(answerSDP)) })
		p.send(raw("ACK", "c", 1, b.Tag(), "", ""))
		p.send(reinviteOf(b, 2))
		p.send(raw("CANCEL", "c", 2, b.Tag(), "", ""))
		p.response("INVITE", 487)
		p.send(raw("ACK!", "c", 2, b.Tag(), "", ""))
		if err := bob.try(func() error { return b.AnswerOffer([]byte(heldSDP)) }); !errors.Is(err, leg.ErrState) {
			t.Errorf("AnswerOffer: %v", err)
		}
		p.send(reinviteOf(b, 3))
		p.send(raw("BYE", "c", 4, b.Tag(), "", ""))
		p.response("BYE", 200)
		p.response("INVITE", 487)
		p.send(raw("ACK!", "c", 3, b.Tag(), "", ""))
		bob.expect(b, "Confirmed, Offer, OfferWithdrawn, Offer, Ended bye by remote")
		empty(t, bob)
	})
}

// The 2xx of a re-INVITE is repeated too, and without ACK ends the call.
func TestReinviteAnswerWithoutAck(t *testing.T) {
	withPeer(t, func(t *testing.T, p *peer, bob *side) {
		p.send(invite("c", 1, "", offerSDP))
		b := bob.uas(0)
		bob.must(func() error { return b.Answer([]byte(answerSDP)) })
		p.send(raw("ACK", "c", 1, b.Tag(), "", ""))
		p.send(reinviteOf(b, 2))
		bob.must(func() error { return b.AnswerOffer([]byte(heldSDP)) })
		p.send(raw("ACK", "c", 1, b.Tag(), "", "")) // the old one proves nothing
		time.Sleep(33 * time.Second)
		p.send(reply(p.request("BYE"), 200, "", "", ""))
		bob.expect(b, "Confirmed, Offer, Ended ack-timeout")
		empty(t, bob)
	})
}

// What a Reinvite meets at the peer.
func TestReinviteOutcomes(t *testing.T) {
	for _, c := range []struct {
		name string
		act  func(t *testing.T, p *peer, re *sip.Request)
		want string
	}{
		{"refused", func(_ *testing.T, p *peer, re *sip.Request) { p.send(reply(re, 488, "", "", "")) },
			"Answered, OfferAnswered 488"},
		{"dialog unknown", func(_ *testing.T, p *peer, re *sip.Request) { p.send(reply(re, 481, "", "", "")); p.request("BYE") },
			"Answered, OfferAnswered 481, Ended peer-gone"},
		{"silence", func(_ *testing.T, p *peer, _ *sip.Request) { time.Sleep(33 * time.Second); p.request("BYE") },
			"Answered, OfferAnswered 408, Ended peer-gone"},
		{"endless trying", func(_ *testing.T, p *peer, re *sip.Request) {
			p.send(reply(re, 100, "", "", ""))
			time.Sleep(33 * time.Second)
			p.send(reply(p.request("CANCEL"), 200, "", "", ""))
			p.send(reply(re, 487, "", "", ""))
		}, "Answered, OfferAnswered 487"},
		{"trying, deaf to CANCEL", func(_ *testing.T, p *peer, re *sip.Request) {
			p.send(reply(re, 100, "", "", ""))
			time.Sleep(66 * time.Second)
			p.request("BYE")
		}, "Answered, OfferAnswered 408, Ended peer-gone"},
		{"491 for ever", func(t *testing.T, p *peer, re *sip.Request) {
			for n := 1; ; n++ {
				p.send(reply(re, 491, "", "", ""))
				p.request("ACK")
				time.Sleep(5 * time.Second)
				m := p.next()
				if m == nil {
					if n != 13 { // the first and maxGlare more
						t.Errorf("%d re-INVITEs", n)
					}
					return
				}
				re = m.(*sip.Request)
			}
		}, "Answered, OfferAnswered 491"},
	} {
		t.Run(c.name, func(t *testing.T) {
			withCallee(t, func(t *testing.T, alice *side, p *peer, call func(...func(*leg.Invite)) (*leg.Leg, *sip.Request)) {
				a, inv := call()
				p.send(reply(inv, 200, "b", contactOfBob, answerSDP))
				alice.must(func() error { return a.Reinvite([]byte(holdSDP)) })
				c.act(t, p, p.request("INVITE"))
				alice.expect(a, c.want)
				alice.owner.do(a.Drop)
				empty(t, alice)
			})
		})
	}
}

// The peer's new Contact counts from our 2xx to its re-INVITE, not before (RFC 6141).
func TestTargetFollowsAcceptedReinvite(t *testing.T) {
	for _, accepted := range []bool{true, false} {
		withPeer(t, func(t *testing.T, p *peer, bob *side) {
			p.send(invite("c", 1, "", offerSDP))
			b := bob.uas(0)
			bob.must(func() error { return b.Answer([]byte(answerSDP)) })
			p.send(raw("ACK", "c", 1, b.Tag(), "", ""))
			p.send(strings.Replace(reinviteOf(b, 2), "alice@10.0.0.1:5060>\nContent", "alice@10.0.0.1:5099>\nContent", 1))
			want := 5060
			if accepted {
				want = 5099
				bob.must(func() error { return b.AnswerOffer([]byte(heldSDP)) })
				p.send(raw("ACK", "c", 2, b.Tag(), "", ""))
			} else {
				bob.must(func() error { return b.RejectOffer(488, "") })
				p.send(raw("ACK!", "c", 2, b.Tag(), "", ""))
			}
			bob.must(func() error { return b.Bye() })
			bye := p.request("BYE")
			if bye.Recipient.Port != want {
				t.Errorf("accepted %v: BYE to %s", accepted, bye.Recipient.String())
			}
			p.send(reply(bye, 200, "", "", ""))
			empty(t, bob)
		})
	}
}

// While the answer to an offer of ours is on its way, a re-INVITE gets 491 (RFC 5407
// s3.1.5); one that overtook a mere ACK is taken.
func TestReinviteOvertakesAck(t *testing.T) {
	for _, offerless := range []bool{true, false} {
		withPeer(t, func(t *testing.T, p *peer, bob *side) {
			body := offerSDP
			if offerless {
				body = ""
			}
			p.send(invite("c", 1, "", body))
			b := bob.uas(0)
			bob.must(func() error { return b.Answer([]byte(offerSDP)) })
			p.send(reinviteOf(b, 2))
			if offerless {
				p.response("INVITE", 491)
				p.send(raw("ACK!", "c", 2, b.Tag(), "", ""))
				p.send(raw("ACK", "c", 1, b.Tag(), "", answerSDP))
				bob.expect(b, "Confirmed")
				if e := last[leg.Confirmed](bob, b); string(e.Body) != answerSDP {
					t.Errorf("answer: %q", e.Body)
				}
			} else {
				bob.expect(b, "Offer")
				bob.must(func() error { return b.AnswerOffer([]byte(heldSDP)) })
				p.send(raw("ACK", "c", 2, b.Tag(), "", ""))
				p.send(raw("ACK", "c", 1, b.Tag(), "", ""))
				bob.expect(b, "Offer, Confirmed, Confirmed")
			}
			bob.owner.do(b.Drop)
			p.send(reply(p.request("BYE"), 200, "", "", ""))
			empty(t, bob)
		})
	}
}
