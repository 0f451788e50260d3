package bridge_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/sipua"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/memnet"
)

var errGone = errors.New("gone")

// N8: the caller's CANCEL and the phone's 200 cross, at every distance. Both sides
// end alike: both answered, or both not.
func TestCancelCrossesAnswer(t *testing.T) {
	const delay = 20 * time.Millisecond
	for skew := -50; skew <= 50; skew += 5 {
		t.Run(fmt.Sprintf("%d ms", skew), func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
				phone.register(alice)
				w.net.ImpairBoth(pbxHost, serverHost, memnet.Impairment{Delay: delay})
				w.net.ImpairBoth(phoneHost, serverHost, memnet.Impairment{Delay: delay})
				a := pbx.call("alice")
				w.pass(time.Second)
				b := phone.invited(0)
				b.ring()
				w.pass(time.Second)
				cancel := func() {
					pbx.post(func() {
						if a.Cancel() != nil { // answered already
							a.Bye()
						}
					})
				}
				answer := func() { phone.post(func() { b.Answer(phone.sdp()) }) }
				if skew < 0 {
					cancel()
					w.pass(time.Duration(-skew) * time.Millisecond)
					answer()
				} else {
					answer()
					w.pass(time.Duration(skew) * time.Millisecond)
					cancel()
				}
				w.pass(10 * time.Second)
				r := w.recorded()
				got := a.told()
				switch {
				case strings.HasSuffix(got, "487"):
					if len(r) != 1 || r[0].Result != bridge.Cancelled {
						t.Errorf("records: %+v", r)
					}
					if s := b.told(); s != "CANCEL" && s != "ACK, BYE" {
						t.Errorf("the phone was told %s", s)
					}
				case strings.HasSuffix(got, "200 too late"), strings.HasSuffix(got, "200"): // it said BYE
					if len(r) != 1 || r[0].Result != bridge.Answered || r[0].HangupBy != "caller" {
						t.Errorf("records: %+v", r)
					}
					b.expect("ACK, BYE")
				default:
					t.Errorf("the caller was told %s", got)
				}
			})
		})
	}
}

func TestTwoPhonesAnswerAtOnce(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, one, two := w.ua("100", pbxHost), w.ua("x1", phoneHost), w.ua("x2", phone2Host)
		one.register(alice)
		two.register(alice)
		w.net.ImpairBoth(phoneHost, serverHost, memnet.Impairment{Delay: 20 * time.Millisecond})
		w.net.ImpairBoth(phone2Host, serverHost, memnet.Impairment{Delay: 25 * time.Millisecond})
		a := pbx.call("alice")
		w.pass(time.Second)
		b, c := one.invited(0), two.invited(0)
		one.post(func() { b.Answer(one.sdp()) })
		two.post(func() { c.Answer(two.sdp()) })
		w.pass(time.Second)
		a.expect("200")
		b.expect("ACK")
		c.expect(`ACK, BYE SIP;cause=200;text="Call completed elsewhere"`)
		a.hangUp()
		w.pass(time.Second)
		b.expect("ACK, BYE")
		if r := w.record(); r.Result != bridge.Answered {
			t.Errorf("record: %+v", r)
		}
	})
}

// N6: both hang up at once.
func TestBothHangUp(t *testing.T) {
	for skew := 0; skew <= 20; skew += 4 {
		inWorld(t, nil, func(w *world) {
			pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
			phone.register(alice)
			w.net.ImpairBoth(pbxHost, serverHost, memnet.Impairment{Delay: 10 * time.Millisecond})
			a := pbx.call("alice")
			w.pass(time.Second)
			b := phone.invited(0)
			b.pickUp()
			w.pass(time.Second)
			pbx.post(func() { a.Bye() })
			w.pass(time.Duration(skew) * time.Millisecond)
			phone.post(func() { b.Bye() })
			w.pass(time.Second)
			if r := w.record(); r.Result != bridge.Answered || r.HangupBy == "" {
				t.Errorf("record: %+v", r)
			}
		})
	}
}

// N9: no ACK ever.
func TestCallerNeverConfirms(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		w.net.Partition(pbxHost, serverHost)
		b.pickUp()
		w.pass(32 * time.Second)
		b.expect("ACK, BYE")
		if r := w.record(); r.Result != bridge.Failed || r.HangupBy != "server" || !strings.Contains(r.Reason, "no ACK") {
			t.Errorf("record: %+v", r)
		}
		w.net.Heal(pbxHost, serverHost)
		a.must(func() error { a.Drop(); return nil })
	})
}

// N1, N9: packets are lost between the PBX and us.
func TestLossyTrunk(t *testing.T) {
	for _, loss := range []float64{0.05, 0.1, 0.3} {
		inWorld(t, nil, func(w *world) {
			pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
			phone.register(alice)
			w.net.ImpairBoth(pbxHost, serverHost, memnet.Impairment{Loss: loss, Duplicate: 0.1, Reorder: 0.1, Delay: 5 * time.Millisecond})
			phone.answer = func(d *dialog) { d.Answer(phone.sdp()) }
			answered := 0
			const calls = 10
			for range calls {
				a := pbx.call("alice")
				pbx.do(func() {
					a.on = func(e leg.Event) {
						if _, ok := e.(leg.Answered); ok {
							answered++
							a.Bye()
						}
					}
				})
				w.pass(time.Minute)
			}
			if r := w.recorded(); len(r) > calls || answered < calls-1 {
				t.Errorf("loss %.2f: %d of %d calls answered, %d records", loss, answered, calls, len(r))
			}
			invites := 0
			phone.do(func() { invites = len(phone.calls) })
			if invites > calls {
				t.Errorf("%d INVITEs to the phone for %d calls", invites, calls)
			}
			w.net.ImpairBoth(pbxHost, serverHost, memnet.Impairment{})
		})
	}
}

// A phone that registers again on the connection it has starts nothing.
func TestRegisterAgainWhileRinging(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		phone.refresh(alice)
		phone.invited(0).ring()
		phone.refresh(alice)
		if phone.got(1) != nil {
			t.Error("a second INVITE")
		}
		w.pushed(0)
		a.giveUp()
		phone.invited(0).expect("CANCEL")
	})
}

// The old connection may be alive: INVITE after it shows life, else after 3 s.
func TestDoubtfulConnection(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		w.pass(101 * time.Second)
		a := pbx.call("alice")
		w.pushed(1)
		if phone.got(0) != nil {
			w.t.Fatal("INVITE on a connection that may be dead")
		}
		w.pass(time.Second)
		phone.refresh(alice)
		b := phone.invited(0)
		b.pickUp()
		a.expect("180, 200")
		w.pass(5 * time.Second)
		if phone.got(1) != nil {
			t.Error("a second INVITE")
		}
		a.hangUp()

		w.pass(101 * time.Second)
		a = pbx.call("alice")
		w.pass(3 * time.Second)
		phone.invited(1).ring()
		a.giveUp()
	})
}

// A phone that the CANCEL reached needs no second word when it registers.
func TestFateIsTakenBackWhenTheInviteArrived(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.sleeper("va")
		a := pbx.call("alice")
		phone.connect(sipua.TCP)
		w.net.ImpairBoth(phoneHost, serverHost, memnet.Impairment{Delay: 100 * time.Millisecond})
		phone.refresh(alice)
		a.giveUp() // the INVITE is under way
		w.pass(time.Second)
		phone.invited(0).expect("CANCEL")
		phone.refresh(alice)
		w.pass(time.Second)
		if phone.got(1) != nil {
			t.Error("the phone was told of the call's end again")
		}
	})
}
