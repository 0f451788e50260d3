package bridge_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"wakebridge/sipua"
)

// back is a phone's return over a new connection, with the leg it still has.
func (d *dialog) back(aor sipua.AOR) {
	d.u.w.t.Helper()
	d.u.connect(sipua.TCP)
	d.must(func() error { return d.SetFlow(d.u.flow) })
	d.u.refresh(aor)
	d.u.w.pass(time.Second)
}

// The call ends while its phone is between two connections, or while the old one is
// dead without a sign: the BYE is said again when the phone registers. The call does
// not wait for it.
func TestByeForAPhoneBetweenTwoConnections(t *testing.T) {
	for name, silent := range map[string]bool{"lost": false, "dead": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
				phone.register(alice)
				a := pbx.call("alice")
				b := phone.invited(0)
				b.pickUp()
				w.pass(time.Second)
				if silent {
					w.net.Partition(phoneHost, serverHost)
				} else {
					phone.sleep()
				}
				a.hangUp()
				w.pass(time.Minute)
				if r := w.record(); r.Ended.Sub(r.Started) != time.Second || w.bridge.Active() != 0 {
					t.Errorf("the call waits for its BYE: %+v", r)
				}
				if strings.HasSuffix(b.told(), "BYE") {
					t.Fatal("the phone heard the BYE without a connection")
				}
				if silent {
					phone.flow.Shut(errAway)
					w.net.Heal(phoneHost, serverHost)
				}
				b.back(alice)
				if got := b.told(); !strings.HasSuffix(got, "BYE") {
					t.Errorf("the phone was told %s", got)
				}
			})
		})
	}
}

// A phone that registers before its new connection is that of its call knows no such
// dialog: it gets a second BYE, and need not register again for it.
func TestByeThatCameTooSoon(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		b.pickUp()
		w.pass(time.Second)
		phone.sleep()
		a.hangUp()
		w.pass(2 * time.Second)
		phone.register(alice)
		w.pass(time.Second)
		if strings.HasSuffix(b.told(), "BYE") {
			t.Fatal("the BYE was not too soon")
		}
		b.must(func() error { return b.SetFlow(phone.flow) })
		w.pass(time.Second)
		if got := b.told(); !strings.HasSuffix(got, "BYE") {
			t.Errorf("the phone was told %s", got)
		}
	})
}

var errAway = errors.New("left the Wi-Fi")

// A user's app that called is seen off as one that was called.
func TestByeForACallerBetweenTwoConnections(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		b, phone := w.ua("bob", bobHost), w.ua("va", phoneHost)
		b.register(bob)
		phone.register(alice)
		a := b.call("alice")
		c := phone.invited(0)
		c.pickUp()
		b.sleep()
		w.pass(time.Second)
		c.hangUp()
		w.pass(time.Second)
		a.back(bob)
		if got := a.told(); !strings.HasSuffix(got, "BYE") {
			t.Errorf("the caller was told %s", got)
		}
	})
}

// Nobody waits for a phone for ever, and Close for none.
func TestPhoneThatNeverComesForItsBye(t *testing.T) {
	for name, closing := range map[string]bool{"given up": false, "closed": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
				phone.register(alice)
				a := pbx.call("alice")
				b := phone.invited(0)
				b.pickUp()
				w.pass(time.Second)
				phone.sleep()
				a.hangUp()
				w.pass(2 * time.Second)
				if closing {
					start := time.Now()
					w.bridge.Close(w.t.Context())
					if d := time.Since(start); d > 0 {
						t.Errorf("Close took %s", d)
					}
				} else {
					w.pass(6 * time.Minute)
				}
				// Nobody says BYE any more, but what became of the call is known.
				if all := w.fates.all(); len(all) != 1 || all[0].Cause != 480 || !strings.HasPrefix(b.CallID(), all[0].UUID) || time.Until(all[0].KeepUntil) < 23*time.Hour {
					t.Errorf("fates %+v for %s", all, b.CallID())
				}
				b.back(alice)
				if strings.HasSuffix(b.told(), "BYE") {
					t.Error("a BYE when nobody could expect it any more")
				}
				b.must(func() error { b.Drop(); return nil })
			})
		})
	}
}

// The connection of a ringing phone is dead without a sign: its CANCEL has no answer,
// so it is told when it registers on another one. One that answers has no fate.
func TestCancelWithoutAnswerLeavesAFate(t *testing.T) {
	for name, dead := range map[string]bool{"dead": true, "alive": false} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("", phoneHost)
				phone.register(alice)
				a := pbx.call("alice")
				b := phone.invited(0)
				b.ring()
				if dead {
					w.net.Partition(phoneHost, serverHost)
				}
				a.giveUp()
				w.pass(2 * time.Second)
				all := w.fates.all()
				if (len(all) > 0) != dead || dead && (all[0].Cause != 487 || all[0].UUID != sipua.Value(b.invite, "X-Call-UUID")) {
					t.Errorf("fates: %+v", all)
				}
				if dead {
					phone.flow.Shut(errAway)
					b.must(func() error { b.Drop(); return nil })
					w.net.Heal(phoneHost, serverHost)
					phone.register(alice)
					w.pass(time.Second)
					phone.invited(1).expect(cancelled)
				}
			})
		})
	}
}

// A phone that reads fates may be back before the 487 to its CANCEL could have come: its
// word is there at once, and the 487 takes it back.
func TestCancelLeavesAFateForReaders(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("h", phoneHost)
		phone.register(alice)
		for i, dead := range []bool{false, true} {
			a := pbx.call("alice")
			b := phone.invited(i)
			b.ring()
			if dead {
				w.net.Partition(phoneHost, serverHost)
			}
			a.giveUp()
			w.pass(100 * time.Millisecond)
			all := w.fates.all()
			newest := all[len(all)-1]
			if newest.Cause != 487 || newest.UUID != sipua.Value(b.invite, "X-Call-UUID") || newest.Told == dead {
				t.Errorf("dead: %v, fate %+v", dead, newest)
			}
			if dead {
				b.must(func() error { b.Drop(); return nil })
			}
		}
	})
}
