package leg_test

// Regression tests for what is known to go wrong in sipgo's dialog layer and in
// others like it; the numbers are those of the project's notes on sipgo 1.7.2.

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/leg"
)

const contactOfBob = "Contact: <sip:bob@10.0.0.2:5060>\n"

// withPeer runs a scenario in which a raw peer calls bob.
func withPeer(t *testing.T, run func(t *testing.T, p *peer, bob *side)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, 1)
		bob := newSide(t, n, bobHost)
		run(t, newPeer(t, n, aliceHost, bob), bob)
	})
}

// withCallee runs a scenario in which alice calls a raw peer.
func withCallee(t *testing.T, run func(t *testing.T, alice *side, p *peer, call func(...func(*leg.Invite)) (*leg.Leg, *sip.Request))) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, 1)
		alice := newSide(t, n, aliceHost)
		p := newPeer(t, n, bobHost, alice)
		run(t, alice, p, func(change ...func(*leg.Invite)) (*leg.Leg, *sip.Request) {
			f := alice.flow(sipua.UDP, &side{host: bobHost})
			return alice.call(f, change...), p.request("INVITE")
		})
	})
}

func TestTrapOneToTagForAllResponses(t *testing.T) {
	withPeer(t, func(t *testing.T, p *peer, bob *side) {
		p.send(invite("c", 1, "", offerSDP))
		b := bob.uas(0)
		for range 4 {
			bob.must(func() error { return b.Ring() })
		}
		p.send(raw("CANCEL", "c", 1, "", "", ""))
		var tags []string
		for m := p.next(); m != nil; m = p.next() {
			if r := m.(*sip.Response); r.StatusCode > 100 {
				tags = append(tags, sipua.ToTag(r))
			}
		}
		if len(tags) != 6 { // four 180, 200 to CANCEL, 487
			t.Fatalf("%d responses", len(tags))
		}
		if slices.ContainsFunc(tags, func(tag string) bool { return tag != b.Tag() }) {
			t.Errorf("tags %q, the leg's is %q", tags, b.Tag())
		}
		p.send(raw("ACK!", "c", 1, b.Tag(), "", ""))
		empty(t, bob)
	})
}

// Number 21: after INVITE, CANCEL, 487 a late 200 must not replace what Timer G
// repeats.
func TestTrap21LateResponseAfter487(t *testing.T) {
	withPeer(t, func(t *testing.T, p *peer, bob *side) {
		p.send(invite("c", 1, "", offerSDP))
		b := bob.uas(0)
		p.send(raw("CANCEL", "c", 1, "", "", ""))
		p.response("INVITE", 487)
		for _, verb := range []func() error{func() error { return b.Answer([]byte(answerSDP)) }, func() error { return b.Reject(603, "") },
			func() error { return b.Ring() }} {
			if bob.try(verb) == nil {
				t.Error("a verb after 487 succeeded")
			}
		}
		for range 8 { // without an ACK the 487 comes again
			time.Sleep(4 * time.Second)
			p.silent(func(m sip.Message) bool {
				r, ok := m.(*sip.Response)
				return !ok || r.StatusCode != 487
			})
		}
		bob.expect(b, "Cancelled, Ended cancelled by remote")
		empty(t, bob)
	})
}

// Number 1: INVITE and CANCEL in one go, many times, in order.
func TestTrap1CancelRightBehindTheInvite(t *testing.T) {
	withPeer(t, func(t *testing.T, p *peer, bob *side) {
		for i := range 300 {
			id := fmt.Sprint("c", i)
			p.send(invite(id, 1, "", offerSDP) + "")
			p.send(raw("CANCEL", id, 1, "", "", ""))
			p.response("CANCEL", 200)
			p.response("INVITE", 487)
			p.send(raw("ACK!", id, 1, bob.uas(i).Tag(), "", ""))
		}
		empty(t, bob)
	})
}

// Number 10: a 2xx without ACK is repeated at T1 doubling to T2, for 64*T1, and
// then the leg says BYE.
func TestTrap10AnswerRepeatedUntilAckThenBye(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t, 1)
				alice, bob := newSide(t, n, aliceHost), newSide(t, n, bobHost)
				w := watch(t, n)
				// Alice takes no notice: her ACKs are held by an offer that never
				// gets its answer.
				a := alice.call(alice.flow(tr, bob), func(i *leg.Invite) { i.Body = nil })
				b := bob.uas(0)
				start := time.Now()
				bob.must(func() error { return b.Answer([]byte(offerSDP)) })
				time.Sleep(31900 * time.Millisecond)
				synctest.Wait()
				if w.count(bobHost, "BYE") != 0 {
					t.Error("BYE too early")
				}
				time.Sleep(200 * time.Millisecond)
				bob.expect(b, "Ended ack-timeout")
				alice.expect(a, "Answered, Ended bye by remote")
				var at []string
				for _, m := range w.from(bobHost) {
					if m.line == "200 INVITE" {
						at = append(at, m.at.Sub(start).String())
					}
				}
				want := "0s 500ms 1.5s 3.5s 7.5s 11.5s 15.5s 19.5s 23.5s 27.5s 31.5s"
				if got := strings.Join(at, " "); got != want {
					t.Errorf("200 at %s, want %s", got, want)
				}
				empty(t, alice, bob)
			})
		})
	}
}

// Number 12: an INFO, or whatever else with a higher CSeq, in front of the ACK does
// not hide it.
func TestTrap12RequestOvertakesAck(t *testing.T) {
	withPeer(t, func(t *testing.T, p *peer, bob *side) {
		p.send(invite("c", 7, "", offerSDP))
		b := bob.uas(0)
		bob.must(func() error { return b.Answer([]byte(answerSDP)) })
		p.send(raw("INFO", "c", 8, b.Tag(), "", ""))
		p.response("INFO", 405)
		p.send(raw("OPTIONS", "c", 9, b.Tag(), "", ""))
		p.response("OPTIONS", 200)
		bob.expect(b, "")
		p.send(raw("ACK", "c", 7, b.Tag(), "", ""))
		bob.expect(b, "Confirmed")
		p.send(raw("BYE", "c", 10, b.Tag(), "", ""))
		p.response("BYE", 200)
		empty(t, bob)
	})
}

// Number 12: an ACK with another CSeq confirms nothing.
func TestTrap12AckOfAnotherInvite(t *testing.T) {
	withPeer(t, func(t *testing.T, p *peer, bob *side) {
		p.send(invite("c", 7, "", offerSDP))
		b := bob.uas(0)
		bob.must(func() error { return b.Answer([]byte(answerSDP)) })
		p.send(raw("ACK", "c", 6, b.Tag(), "", ""))
		p.send(raw("ACK", "c", 8, b.Tag(), "", ""))
		bob.expect(b, "")
		p.send(raw("ACK", "c", 7, b.Tag(), "", ""))
		bob.expect(b, "Confirmed")
		bob.owner.do(b.Drop)
		p.send(reply(p.request("BYE"), 200, "", "", ""))
		empty(t, bob)
	})
}

// Number 12: the peer's CSeq must rise, and tags are compared byte for byte.
func TestTrap12OrderAndTags(t *testing.T) {
	withPeer(t, func(t *testing.T, p *peer, bob *side) {
		p.send(invite("c", 7, "", offerSDP))
		b := bob.uas(0)
		bob.must(func() error { return b.Answer([]byte(answerSDP)) })
		p.send(raw("ACK", "c", 7, b.Tag(), "", ""))
		for _, c := range []struct {
			name, text string
			want       int
		}{
			{"lower", raw("OPTIONS", "c", 6, b.Tag(), "", ""), 500},
			{"equal", raw("OPTIONS", "c", 7, b.Tag(), "", ""), 500},
			{"far higher", raw("OPTIONS", "c", 70, b.Tag(), "", ""), 200},
			{"lower than that", raw("OPTIONS", "c", 69, b.Tag(), "", ""), 500},
			{"our tag in other case", raw("BYE", "c", 71, strings.ToLower(b.Tag()), "", ""), 481},
			{"their tag in other case", strings.Replace(raw("BYE", "c", 72, b.Tag(), "", ""), "tag=alice", "tag=Alice", 1), 481},
			{"another call", raw("BYE", "d", 73, b.Tag(), "", ""), 481},
		} {
			p.send(c.text)
			if r := p.response(strings.Fields(c.text)[0], 0); r.StatusCode != c.want {
				t.Errorf("%s: %d, want %d", c.name, r.StatusCode, c.want)
			}
		}
		bob.expect(b, "Confirmed")
		p.send(raw("BYE", "c", 80, b.Tag(), "", ""))
		p.response("BYE", 200)
		bob.expect(b, "Confirmed, Ended bye by remote")
		empty(t, bob)
	})
}

// Number 7: a caller whose connection closes while it waits is noticed.
func TestTrap7DeadCallerIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, 1)
		alice, bob := newSide(t, n, aliceHost), newSide(t, n, bobHost)
		f := alice.flow(sipua.TCP, bob)
		a := alice.call(f)
		b := bob.uas(0)
		f.Shut(fmt.Errorf("phone without network"))
		alice.expect(a, "Failed 480, Ended failed")
		if e := last[leg.Failed](alice, a); !e.FlowLost || e.BeforeProvisional {
			t.Errorf("failed: %+v", e)
		}
		bob.expect(b, "FlowLost")
		bob.owner.do(b.Drop)
		bob.expect(b, "FlowLost, Ended rejected")
		empty(t, alice, bob)
	})
}

// Number 14: requests inside a dialog take its flow, whatever Record-Route and
// Contact say; the route set is in the message.
func TestTrap14RequestsTakeTheFlow(t *testing.T) {
	withPeer(t, func(t *testing.T, p *peer, bob *side) {
		p.send(strings.Replace(invite("c", 1, "Record-Route: <sip:p2.example.net;lr>, <sip:p1.example.net:5099;lr>\n", offerSDP),
			"sip:alice@10.0.0.1:5060>\nContent", "sip:alice@192.168.7.7:40000>\nContent", 1))
		b := bob.uas(0)
		bob.must(func() error { return b.Answer([]byte(answerSDP)) })
		res := p.response("INVITE", 200)
		if got := res.GetHeaders("Record-Route"); len(got) != 2 || !strings.Contains(got[0].Value(), "p2") {
			t.Errorf("Record-Route of the 200: %v", got)
		}
		p.send(raw("ACK", "c", 1, b.Tag(), "", ""))
		bob.must(func() error { return b.Bye() })
		bye := p.request("BYE")
		if got := routeHosts(bye); bye.Recipient.Host != "192.168.7.7" || bye.Recipient.Port != 40000 || got != "p2.example.net p1.example.net" {
			t.Errorf("BYE to %s by %s", bye.Recipient.String(), got)
		}
		p.send(reply(bye, 200, "", "", ""))
		empty(t, bob)
	})
}

func routeHosts(req *sip.Request) string {
	var out []string
	for _, h := range req.GetHeaders("Route") {
		out = append(out, h.(*sip.RouteHeader).Address.Host)
	}
	return strings.Join(out, " ")
}

// Number 20 and faults I8: whoever knows all tags but is somebody else changes
// nothing.
func TestTrap20ForgedRequestsFromElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, 1)
		bob := newSide(t, n, bobHost)
		p, evil := newPeer(t, n, aliceHost, bob), newPeer(t, n, evilHost, bob)
		p.send(invite("c", 1, "", offerSDP))
		b := bob.uas(0)
		evil.send(raw("CANCEL", "c", 1, "", "", ""))
		evil.send(raw("BYE", "c", 2, b.Tag(), "", ""))
		bob.expect(b, "")
		bob.must(func() error { return b.Answer([]byte(answerSDP)) })
		evil.send(raw("ACK", "c", 1, b.Tag(), "", ""))
		bob.expect(b, "")
		p.send(raw("ACK", "c", 1, b.Tag(), "", ""))
		for i, m := range []string{"BYE", "INVITE", "OPTIONS"} {
			for range 30 { // more than the leg takes from its peer
				evil.send(raw(m, "c", 1000+i, b.Tag(), "X: "+sipua.NewTag()+"\n", ""))
			}
		}
		for m := evil.next(); m != nil; m = evil.next() {
			if r := m.(*sip.Response); r.StatusCode != 481 {
				t.Errorf("the stranger got %s to %s", r.StartLine(), r.CSeq().MethodName)
			}
		}
		bob.expect(b, "Confirmed")
		p.send(raw("BYE", "c", 2, b.Tag(), "", ""))
		p.response("BYE", 200)
		empty(t, bob)
	})
}
