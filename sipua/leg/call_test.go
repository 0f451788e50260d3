package leg_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/memnet"
)

var transports = []sipua.Transport{sipua.UDP, sipua.TCP}

// eachTransport runs a scenario between alice and bob in virtual time.
func eachTransport(t *testing.T, run func(t *testing.T, n *memnet.Network, alice, bob *side, tr sipua.Transport)) {
	t.Helper()
	for _, tr := range transports {
		t.Run(tr.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t, 1)
				run(t, n, newSide(t, n, aliceHost), newSide(t, n, bobHost), tr)
			})
		})
	}
}

// established is a call that was answered and confirmed.
func establishedCall(alice, bob *side, tr sipua.Transport) (a, b *leg.Leg) {
	alice.t.Helper()
	a = alice.call(alice.flow(tr, bob))
	synctest.Wait()
	b = bob.uas(len(bob.legs) - 1)
	bob.must(func() error { return b.Answer([]byte(answerSDP)) })
	alice.expect(a, "Answered")
	bob.expect(b, "Confirmed")
	return a, b
}

func TestCallFromRingToBye(t *testing.T) {
	eachTransport(t, func(t *testing.T, n *memnet.Network, alice, bob *side, tr sipua.Transport) {
		var offer []byte
		bob.admit = func(_ *leg.Leg, tx *sipua.ServerTx) { offer = tx.Request.Body() }
		a := alice.call(alice.flow(tr, bob))
		b := bob.uas(0)
		if string(offer) != offerSDP {
			t.Errorf("offer: %q", offer)
		}
		bob.must(func() error { return b.Ring(sip.NewHeader("X-Wake-Status", "pushed")) })
		bob.must(func() error { return b.Progress(183, []byte(answerSDP)) })
		if p := last[leg.Provisional](alice, a); p.Status != 183 || string(p.Body) != answerSDP {
			t.Errorf("183: %d %q", p.Status, p.Body)
		}
		time.Sleep(50 * time.Second)
		bob.must(func() error { return b.Ring() })
		bob.must(func() error { return b.Answer([]byte(answerSDP)) })
		if e := last[leg.Answered](alice, a); string(e.Body) != answerSDP || e.AfterCancel {
			t.Errorf("answered: %+v", e)
		}
		bob.expect(b, "Confirmed")
		time.Sleep(time.Hour)
		alice.must(func() error { return a.Bye(`Q.850;cause=16`) })
		alice.expect(a, "Provisional 180, Provisional 183, Provisional 180, Answered, Ended bye")
		bob.expect(b, "Confirmed, Ended bye by remote")
		if r := last[leg.Ended](bob, b).Reasons; len(r) != 1 || r[0] != "Q.850;cause=16" {
			t.Errorf("reasons: %q", r)
		}
		empty(t, alice, bob)
	})
}

func TestCalleeHangsUp(t *testing.T) {
	eachTransport(t, func(t *testing.T, n *memnet.Network, alice, bob *side, tr sipua.Transport) {
		a, b := establishedCall(alice, bob, tr)
		bob.must(func() error { return b.Bye() })
		alice.expect(a, "Answered, Ended bye by remote")
		bob.expect(b, "Confirmed, Ended bye")
		empty(t, alice, bob)
	})
}

func TestReject(t *testing.T) {
	eachTransport(t, func(t *testing.T, n *memnet.Network, alice, bob *side, tr sipua.Transport) {
		w := watch(t, n)
		a := alice.call(alice.flow(tr, bob))
		synctest.Wait()
		b := bob.uas(0)
		bob.must(func() error { return b.Reject(486, "", sip.NewHeader("Retry-After", "5")) })
		f := last[leg.Failed](alice, a)
		if f.Status != 486 || f.Phrase != "Busy Here" || f.BeforeProvisional || f.FlowLost || f.Err != nil || sipua.Value(f.Response, "Retry-After") != "5" {
			t.Errorf("failed: %+v", f)
		}
		alice.expect(a, "Failed 486, Ended failed")
		bob.expect(b, "Ended rejected")
		empty(t, alice, bob)
		if got := w.count(aliceHost, "ACK"); got != 1 {
			t.Errorf("%d ACKs", got)
		}
	})
}

func TestCancelWhileRinging(t *testing.T) {
	eachTransport(t, func(t *testing.T, n *memnet.Network, alice, bob *side, tr sipua.Transport) {
		w := watch(t, n)
		a := alice.call(alice.flow(tr, bob))
		synctest.Wait()
		b := bob.uas(0)
		bob.must(func() error { return b.Ring() })
		alice.must(func() error { return a.Cancel(`SIP;cause=200;text="Call completed elsewhere"`) })
		alice.expect(a, "Provisional 180, Failed 487, Ended cancelled")
		bob.expect(b, "Cancelled, Ended cancelled by remote")
		if r := last[leg.Cancelled](bob, b).Reasons; len(r) != 1 || r[0] != `SIP;cause=200;text="Call completed elsewhere"` {
			t.Errorf("reasons: %q", r)
		}
		if r := last[leg.Ended](bob, b).Reasons; len(r) != 1 {
			t.Errorf("reasons of the end: %q", r)
		}
		for name, verb := range map[string]func() error{
			"ring": func() error { return b.Ring() }, "answer": func() error { return b.Answer(nil) },
			"reject": func() error { return b.Reject(486, "") }, "bye": func() error { return b.Bye() },
		} {
			if err := bob.try(verb); !errors.Is(err, leg.ErrEnded) {
				t.Errorf("%s after the end: %v", name, err)
			}
		}
		empty(t, alice, bob)
		if got := w.count(bobHost, "487 INVITE"); got != 1 {
			t.Errorf("487 was sent %d times", got)
		}
		if got := w.count(bobHost, "200 INVITE"); got != 0 {
			t.Errorf("200 was sent %d times", got)
		}
	})
}

// A CANCEL that meets a 2xx on its way: the call is acknowledged and ended.
func TestCancelCrossesAnswer(t *testing.T) {
	eachTransport(t, func(t *testing.T, n *memnet.Network, alice, bob *side, tr sipua.Transport) {
		a := alice.call(alice.flow(tr, bob))
		synctest.Wait()
		b := bob.uas(0)
		n.ImpairBoth(aliceHost, bobHost, memnet.Impairment{Delay: 50 * time.Millisecond})
		alice.must(func() error { return a.Cancel() })
		bob.must(func() error { return b.Answer([]byte(answerSDP)) })
		time.Sleep(time.Second)
		alice.expect(a, "Answered, Ended cancelled")
		if !last[leg.Answered](alice, a).AfterCancel {
			t.Error("AfterCancel is not set")
		}
		bob.expect(b, "Confirmed, Ended bye by remote")
		empty(t, alice, bob)
	})
}

func TestVerbsCheckStateAndStatusFirst(t *testing.T) {
	eachTransport(t, func(t *testing.T, n *memnet.Network, alice, bob *side, tr sipua.Transport) {
		a := alice.call(alice.flow(tr, bob))
		synctest.Wait()
		b := bob.uas(0)
		w := watch(t, n)
		type trial struct {
			name string
			verb func() error
			want error
		}
		check := func(s *side, trials ...trial) {
			t.Helper()
			for _, c := range trials {
				if err := s.try(c.verb); !errors.Is(err, c.want) {
					t.Errorf("%s: %v, want %v", c.name, err, c.want)
				}
			}
			synctest.Wait()
		}
		check(bob,
			trial{"progress 200", func() error { return b.Progress(200, nil) }, leg.ErrStatus},
			trial{"progress 100", func() error { return b.Progress(100, nil) }, leg.ErrStatus},
			trial{"reject 200", func() error { return b.Reject(200, "") }, leg.ErrStatus},
			trial{"reject 700", func() error { return b.Reject(700, "") }, leg.ErrStatus},
			trial{"bye", func() error { return b.Bye() }, leg.ErrState},
			trial{"cancel", func() error { return b.Cancel() }, leg.ErrState},
			trial{"reinvite", func() error { return b.Reinvite(nil) }, leg.ErrState},
			trial{"answer offer", func() error { return b.AnswerOffer(nil) }, leg.ErrState},
			trial{"reject offer 200", func() error { return b.RejectOffer(200, "") }, leg.ErrStatus},
			trial{"ack", func() error { return b.Ack(nil) }, leg.ErrState},
			trial{"unsafe header", func() error { return b.Ring(sip.NewHeader("X-A", "b\r\nX-C: d")) }, sipua.ErrUnsafeHeader},
			trial{"unsafe answer", func() error { return b.Answer(nil, sip.NewHeader("X-A", "b\nc")) }, sipua.ErrUnsafeHeader},
			trial{"unsafe phrase", func() error { return b.Reject(486, "Busy\r\nX: y") }, sipua.ErrUnsafeHeader})
		check(alice,
			trial{"ring", func() error { return a.Ring() }, leg.ErrState},
			trial{"answer", func() error { return a.Answer(nil) }, leg.ErrState},
			trial{"reject", func() error { return a.Reject(486, "") }, leg.ErrState},
			trial{"bye", func() error { return a.Bye() }, leg.ErrState},
			trial{"set flow", func() error { return a.SetFlow(a.Flow()) }, leg.ErrState})
		if len(w.seen) != 0 {
			t.Fatalf("%d messages were sent, the first a %s", len(w.seen), w.seen[0].line)
		}
		bob.must(func() error { return b.Answer([]byte(answerSDP)) }) // in spite of the unsafe tries
		check(bob,
			trial{"ring", func() error { return b.Ring() }, leg.ErrState},
			trial{"answer", func() error { return b.Answer(nil) }, leg.ErrState},
			trial{"reject", func() error { return b.Reject(486, "") }, leg.ErrState})
		check(alice, trial{"cancel", func() error { return a.Cancel() }, leg.ErrState})
		alice.must(func() error { return a.Bye() })
		empty(t, alice, bob)
	})
}

// Both hang up at once (faults N6): each BYE gets its 200.
func TestByesCross(t *testing.T) {
	eachTransport(t, func(t *testing.T, n *memnet.Network, alice, bob *side, tr sipua.Transport) {
		a, b := establishedCall(alice, bob, tr)
		w := watch(t, n)
		n.ImpairBoth(aliceHost, bobHost, memnet.Impairment{Delay: 20 * time.Millisecond})
		alice.must(func() error { return a.Bye() })
		bob.must(func() error { return b.Bye() })
		time.Sleep(time.Second)
		alice.expect(a, "Answered, Ended bye")
		bob.expect(b, "Confirmed, Ended bye")
		if x, y := w.count(aliceHost, "200 BYE"), w.count(bobHost, "200 BYE"); x != 1 || y != 1 {
			t.Errorf("200 to BYE: %d from alice, %d from bob", x, y)
		}
		empty(t, alice, bob)
	})
}

// 180 and 200 never overtake each other, whatever the owner does at once.
func TestRingAndAnswerKeepTheirOrder(t *testing.T) {
	eachTransport(t, func(t *testing.T, n *memnet.Network, alice, bob *side, tr sipua.Transport) {
		w := watch(t, n)
		bob.admit = func(b *leg.Leg, _ *sipua.ServerTx) {
			for _, verb := range []func() error{
				func() error { return b.Ring() }, func() error { return b.Progress(183, nil) }, func() error { return b.Answer([]byte(answerSDP)) },
			} {
				if err := verb(); err != nil {
					t.Error(err)
				}
			}
		}
		f := alice.flow(tr, bob)
		for range 100 {
			before := len(w.from(bobHost))
			a := alice.call(f)
			alice.expect(a, "Provisional 180, Provisional 183, Answered")
			var lines []string
			for _, p := range w.from(bobHost)[before:] {
				if p.line != "100 INVITE" {
					lines = append(lines, p.line)
				}
			}
			if want := []string{"180 INVITE", "183 INVITE", "200 INVITE"}; !slices.Equal(lines, want) {
				t.Fatalf("sent: %q", lines)
			}
			alice.must(func() error { return a.Bye() })
		}
		empty(t, alice, bob)
	})
}

// Drop is the goodbye that fits, and the owner may vanish right after it.
func TestDropNeedsNoOwner(t *testing.T) {
	for _, c := range []struct {
		name       string
		until      func(alice, bob *side, b *leg.Leg)
		wantCaller string // what alice is told when bob drops
		wantCallee string // what bob is told when alice drops
	}{
		{"before any verb", func(*side, *side, *leg.Leg) {}, "Failed 500, Ended failed", "Cancelled, Ended cancelled by remote"},
		{"ringing", func(_, bob *side, b *leg.Leg) { bob.must(func() error { return b.Ring() }) },
			"Provisional 180, Failed 500, Ended failed", "Cancelled, Ended cancelled by remote"},
		{"answered", func(_, bob *side, b *leg.Leg) { bob.must(func() error { return b.Answer([]byte(answerSDP)) }) },
			"Answered, Ended bye by remote", "Confirmed, Ended bye by remote"},
	} {
		for _, who := range []string{"caller", "callee"} {
			t.Run(c.name+" by "+who, func(t *testing.T) {
				eachTransport(t, func(t *testing.T, n *memnet.Network, alice, bob *side, tr sipua.Transport) {
					a := alice.call(alice.flow(tr, bob))
					synctest.Wait()
					b := bob.uas(0)
					c.until(alice, bob, b)
					if who == "callee" {
						bob.owner.do(func() { b.Drop(); b.Drop() })
						bob.owner.stop()
						alice.expect(a, c.wantCaller)
					} else {
						alice.owner.do(func() { a.Drop(); a.Drop() })
						alice.owner.stop()
						bob.expect(b, c.wantCallee)
					}
					empty(t, alice, bob)
				})
			})
		}
	}
}

// A caller that drops before any 1xx and vanishes still cancels or ends the call.
func TestDropBeforeProvisionalHoldsTheCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, 1)
		alice, bob := newSide(t, n, aliceHost), newSide(t, n, bobHost)
		n.ImpairBoth(aliceHost, bobHost, memnet.Impairment{Delay: 100 * time.Millisecond})
		w := watch(t, n)
		bob.admit = func(b *leg.Leg, _ *sipua.ServerTx) {
			if err := b.Answer([]byte(answerSDP)); err != nil {
				t.Error(err)
			}
		}
		a := alice.call(alice.flow(sipua.UDP, bob))
		alice.owner.do(a.Drop)
		alice.owner.stop()
		time.Sleep(5 * time.Second)
		bob.expect(bob.uas(0), "Confirmed, Ended bye by remote")
		if w.count(aliceHost, "BYE") != 1 {
			t.Errorf("%d BYE", w.count(aliceHost, "BYE"))
		}
		empty(t, alice, bob)
	})
}
