package leg_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"wakebridge/sipua"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/memnet"
)

const relayed = "application/dtmf-relay"

func takesInfo(c *sipua.Config) {
	c.Allow = []string{"INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO"}
}

func inBubble(t *testing.T, run func(t *testing.T, n *memnet.Network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { run(t, newNetwork(t, 1)) })
}

// infoCall is an answered call of two endpoints that take INFO.
func infoCall(t *testing.T, run func(t *testing.T, alice, bob *side, a, b *leg.Leg)) {
	t.Helper()
	inBubble(t, func(t *testing.T, n *memnet.Network) {
		alice, bob := newSide(t, n, aliceHost, takesInfo), newSide(t, n, bobHost, takesInfo)
		a, b := establishedCall(alice, bob, sipua.UDP)
		run(t, alice, bob, a, b)
	})
}

// answerInfo answers the newest INFO that a leg told.
func (s *side) answerInfo(l *leg.Leg, status int) {
	s.t.Helper()
	i := last[leg.Info](s, l) // before must: both run on the owner
	s.must(func() error { return l.AnswerInfo(i, status, "") })
}

func TestInfo(t *testing.T) {
	infoCall(t, func(t *testing.T, alice, bob *side, a, b *leg.Leg) {
		for i, c := range []struct {
			from, to   *side
			asks, gets *leg.Leg
			status     int
		}{{alice, bob, a, b, 200}, {bob, alice, b, a, 415}, {alice, bob, a, b, 400}} {
			var number int
			c.from.must(func() (err error) {
				number, err = c.asks.Info(relayed, []byte("Signal=5\r\n"))
				return err
			})
			got := last[leg.Info](c.to, c.gets)
			if got.ContentType != relayed || string(got.Body) != "Signal=5\r\n" {
				t.Errorf("%d: %+v", i, got)
			}
			if err := c.to.try(func() error { return c.gets.AnswerInfo(got, 180, "") }); !errors.Is(err, leg.ErrStatus) {
				t.Errorf("answered with 180: %v", err)
			}
			c.to.must(func() error { return c.gets.AnswerInfo(got, c.status, "") })
			if e := last[leg.InfoAnswered](c.from, c.asks); e.Number != number || e.Status != c.status || e.Err != nil {
				t.Errorf("%d: outcome %+v of %d", i, e, number)
			}
			if err := c.to.try(func() error { return c.gets.AnswerInfo(got, 200, "") }); !errors.Is(err, leg.ErrState) {
				t.Errorf("answered twice: %v", err)
			}
		}
		alice.must(func() error { return a.Bye() })
		if _, err := a.Info(relayed, nil); !errors.Is(err, leg.ErrEnded) {
			t.Errorf("after the end: %v", err)
		}
		empty(t, alice, bob)
	})
}

// Outcomes come to the number of their question, whatever their order.
func TestInfoOutOfOrder(t *testing.T) {
	infoCall(t, func(t *testing.T, alice, bob *side, a, b *leg.Leg) {
		for range 3 {
			alice.must(func() error { _, err := a.Info(relayed, []byte("x")); return err })
		}
		var asked []leg.Info
		for _, e := range bob.told(b) {
			if i, ok := e.(leg.Info); ok {
				asked = append(asked, i)
			}
		}
		for i := range asked {
			n := len(asked) - 1 - i
			bob.must(func() error { return b.AnswerInfo(asked[n], 400+n, "") })
			if e := last[leg.InfoAnswered](alice, a); e.Number != n+1 || e.Status != 400+n {
				t.Errorf("%+v to INFO %d", e, n+1)
			}
		}
	})
}

// Neither a peer that answers nothing nor one that knows nothing of the dialog ends
// the call.
func TestInfoRefused(t *testing.T) {
	infoCall(t, func(t *testing.T, alice, bob *side, a, b *leg.Leg) {
		alice.must(func() error { _, err := a.Info(relayed, []byte("x")); return err })
		bob.answerInfo(b, 481)
		alice.must(func() error { _, err := a.Info(relayed, []byte("x")); return err })
		time.Sleep(40 * time.Second)
		if e := last[leg.InfoAnswered](alice, a); e.Number != 2 || e.Status != 408 || !errors.Is(e.Err, sipua.ErrTimeout) {
			t.Errorf("outcome %+v", e)
		}
		alice.must(func() error { return a.Reinvite([]byte(holdSDP)) })
		bob.must(func() error { return b.AnswerOffer([]byte(heldSDP)) })
		alice.must(func() error { return a.Bye() })
		empty(t, alice, bob)
	})
}

// What waits when the dialog ends is answered with 487, and too much is refused.
func TestInfosThatWait(t *testing.T) {
	infoCall(t, func(t *testing.T, alice, bob *side, a, b *leg.Leg) {
		w := watch(t, alice.net)
		for range 16 {
			alice.must(func() error { _, err := a.Info(relayed, []byte("x")); return err })
		}
		if _, err := a.Info(relayed, nil); !errors.Is(err, leg.ErrPending) {
			t.Errorf("the seventeenth: %v", err)
		}
		bob.must(func() error { return b.Bye() })
		if n := w.count(bobHost, "487 INFO"); n != 16 {
			t.Errorf("%d INFO were answered with 487", n)
		}
		if err := b.AnswerInfo(last[leg.Info](bob, b), 200, ""); !errors.Is(err, leg.ErrEnded) {
			t.Errorf("answered after the end: %v", err)
		}
		empty(t, alice, bob)
	})
}

// A peer that sends more than is answered gets 503 from the seventeenth on.
func TestInfoFlood(t *testing.T) {
	inBubble(t, func(t *testing.T, n *memnet.Network) {
		bob := newSide(t, n, bobHost, takesInfo)
		p := newPeer(t, n, aliceHost, bob)
		p.send(invite("c", 1, "", offerSDP))
		b := bob.uas(0)
		bob.must(func() error { return b.Answer([]byte(answerSDP)) })
		p.send(raw("ACK", "c", 1, b.Tag(), "", ""))
		refused := 0
		for i := range 20 {
			p.send(raw("INFO", "c", 2+i, b.Tag(), "", ""))
		}
		for m := p.next(); m != nil; m = p.next() {
			if m.CSeq().MethodName == "INFO" {
				if line := fmt.Sprint(m); line[:11] != "SIP/2.0 503" {
					t.Errorf("%s", line)
				}
				refused++
			}
		}
		if refused != 4 {
			t.Errorf("%d refused", refused)
		}
		if e := last[leg.Info](bob, b); e.ContentType != "" || len(e.Body) != 0 {
			t.Errorf("%+v", e)
		}
	})
}

// An INFO may come before the answer, and with the dialog it goes.
func TestInfoBeforeTheAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, n *memnet.Network) {
		bob := newSide(t, n, bobHost, takesInfo)
		p := newPeer(t, n, aliceHost, bob)
		p.send(invite("c", 1, "", offerSDP))
		b := bob.uas(0)
		bob.must(func() error { return b.Ring() })
		p.send(raw("INFO", "c", 2, b.Tag(), "", ""))
		if _, err := b.Info(relayed, nil); !errors.Is(err, leg.ErrState) {
			t.Errorf("our own before the answer: %v", err)
		}
		bob.answerInfo(b, 200)
		p.response("INFO", 200)
		p.send(raw("INFO", "c", 3, b.Tag(), "", ""))
		bob.must(func() error { return b.Reject(486, "") })
		p.response("INFO", 487)
	})
}
