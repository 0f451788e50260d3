package leg_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wakebridge/sipua"
	"wakebridge/sipua/leg"
)

// play is a scenario that both sides play by themselves, so that it goes on
// whatever is lost. after runs a verb of a leg a moment later.
type play struct {
	name  string
	alice func(after func(time.Duration, func() error), l *leg.Leg, e leg.Event)
	bob   func(after func(time.Duration, func() error), l *leg.Leg, e leg.Event)
	begin func(after func(time.Duration, func() error), l *leg.Leg) // bob, for an INVITE
	start func(after func(time.Duration, func() error), l *leg.Leg) // alice, after her INVITE
	// What each must have been told, by the last two events.
	wantAlice, wantBob string
}

const moment = 300 * time.Millisecond

func ringAndAnswer(after func(time.Duration, func() error), l *leg.Leg) {
	after(moment, func() error { return l.Ring() })
	after(4*moment, func() error { return l.Answer([]byte(answerSDP)) })
}

var plays = []play{
	{
		name: "caller hangs up", begin: ringAndAnswer,
		alice: func(after func(time.Duration, func() error), l *leg.Leg, e leg.Event) {
			if _, ok := e.(leg.Answered); ok {
				after(3*moment, func() error { return l.Bye() })
			}
		},
		wantAlice: "Ended bye", wantBob: "Ended bye by remote",
	},
	{
		name: "callee hangs up", begin: ringAndAnswer,
		bob: func(after func(time.Duration, func() error), l *leg.Leg, e leg.Event) {
			if _, ok := e.(leg.Confirmed); ok {
				after(3*moment, func() error { return l.Bye() })
			}
		},
		wantAlice: "Ended bye by remote", wantBob: "Ended bye",
	},
	{
		name: "cancelled",
		begin: func(after func(time.Duration, func() error), l *leg.Leg) {
			after(moment, func() error { return l.Ring() })
		},
		start: func(after func(time.Duration, func() error), l *leg.Leg) {
			after(10*moment, func() error { return l.Cancel() })
		},
		wantAlice: "Ended cancelled", wantBob: "Ended cancelled by remote",
	},
	{
		name: "refused",
		begin: func(after func(time.Duration, func() error), l *leg.Leg) {
			after(moment, func() error { return l.Reject(486, "") })
		},
		wantAlice: "Ended failed", wantBob: "Ended rejected",
	},
	{
		name: "hold and hang up", begin: ringAndAnswer,
		alice: func(after func(time.Duration, func() error), l *leg.Leg, e leg.Event) {
			switch e.(type) {
			case leg.Answered:
				after(moment, func() error { return l.Reinvite([]byte(holdSDP)) })
			case leg.OfferAnswered:
				after(moment, func() error { return l.Bye() })
			}
		},
		bob: func(after func(time.Duration, func() error), l *leg.Leg, e leg.Event) {
			if _, ok := e.(leg.Offer); ok {
				after(moment, func() error { return l.AnswerOffer([]byte(heldSDP)) })
			}
		},
		wantAlice: "Ended bye", wantBob: "Ended bye by remote",
	},
	{
		name: "both drop", begin: ringAndAnswer,
		alice: func(after func(time.Duration, func() error), l *leg.Leg, e leg.Event) {
			if _, ok := e.(leg.Answered); ok {
				after(10*moment, func() error { l.Drop(); return nil })
			}
		},
		bob: func(after func(time.Duration, func() error), l *leg.Leg, e leg.Event) {
			if _, ok := e.(leg.Confirmed); ok {
				after(10*moment, func() error { l.Drop(); return nil })
			}
		},
	},
}

// stage plays a scenario under a loss and returns how many packets were sent.
func (p play) stage(t *testing.T, lose func(packet int) bool) int {
	t.Helper()
	var mu sync.Mutex
	packets := 0
	count := func() bool {
		mu.Lock()
		defer mu.Unlock()
		packets++
		return lose(packets - 1)
	}
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, 1)
		alice, bob := newLossySide(t, n, aliceHost, count), newLossySide(t, n, bobHost, count)
		after := func(s *side) func(time.Duration, func() error) {
			return func(d time.Duration, verb func() error) {
				time.AfterFunc(d, func() { s.owner.post(func() { _ = verb() }) }) // an error is what a race may bring
			}
		}
		act := func(s *side, f func(func(time.Duration, func() error), *leg.Leg, leg.Event)) func(*leg.Leg, leg.Event) {
			return func(l *leg.Leg, e leg.Event) {
				if f != nil {
					f(after(s), l, e)
				}
			}
		}
		alice.on, bob.on = act(alice, p.alice), act(bob, p.bob)
		bob.admit = func(l *leg.Leg, _ *sipua.ServerTx) { p.begin(after(bob), l) }
		a := alice.call(alice.flow(sipua.UDP, bob))
		if p.start != nil {
			alice.owner.do(func() { p.start(after(alice), a) })
		}
		time.Sleep(2 * time.Minute)
		for _, c := range []struct {
			s    *side
			l    *leg.Leg
			want string
		}{{alice, a, p.wantAlice}, {bob, bob.uas(0), p.wantBob}} {
			events := c.s.told(c.l)
			if len(events) == 0 {
				t.Fatalf("%s was told nothing", c.s.host)
			}
			end := names(events[len(events)-1:])
			if _, ok := events[len(events)-1].(leg.Ended); !ok || c.want != "" && end != c.want {
				t.Errorf("%s was told [%s], want %q at the end", c.s.host, names(events), c.want)
			}
		}
		empty(t, alice, bob)
	})
	return packets
}

// Faults N9: whichever single packet is lost, each call ends as it does without
// loss.
func TestEachPacketLostOnce(t *testing.T) {
	for _, p := range plays {
		t.Run(p.name, func(t *testing.T) {
			sent := p.stage(t, func(int) bool { return false })
			for i := range sent {
				t.Run(fmt.Sprint(i), func(t *testing.T) {
					p.stage(t, func(packet int) bool { return packet == i })
				})
			}
		})
	}
}

// Faults N1: at 30 % loss calls may end otherwise than meant, but they end.
func TestHeavyLoss(t *testing.T) {
	for _, p := range plays {
		p.wantAlice, p.wantBob = "", ""
		t.Run(p.name, func(t *testing.T) {
			for seed := range uint64(30) {
				luck := rand.New(rand.NewPCG(seed, 7))
				// Without the first packet bob may never hear of the call.
				p.stage(t, func(packet int) bool { return packet > 0 && luck.Float64() < 0.3 })
			}
		})
	}
}
