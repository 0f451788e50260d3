package bridge_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/sipua"
	"wakebridge/sipua/location"
	"wakebridge/sipua/memnet"
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
				if all := w.fates.all(); len(all) != 2 || all[0].UUID != all[1].UUID || all[1].Cause != 480 ||
					!strings.HasPrefix(b.CallID(), all[1].UUID) || time.Until(all[1].KeepUntil) < 23*time.Hour {
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

// flowOf is the server's end of the connection that the user's only device is on.
func (w *world) flowOf(aor sipua.AOR) *sipua.Flow {
	w.t.Helper()
	devices, stop := w.memory.Watch(aor, func(location.Change) {})
	stop()
	b, ok := devices[0].Flow()
	if !ok {
		w.t.Fatal("no flow")
	}
	return w.ep.Flow(sipua.FlowID(b.Flow))
}

// A ringing phone left its connection without a sign, and registered on another one
// before its call ended or just after: the CANCEL that nobody answers is said again
// there. One that took it has no fate.
func TestCancelForAPhoneThatMoved(t *testing.T) {
	for name, c := range map[string]struct {
		phone string
		moves []string // order of events
	}{
		"before the end":             {"v", []string{"roam", "cancel"}},
		"before the end, reader":     {"h", []string{"roam", "cancel"}},
		"right after the end":        {"v", []string{"cancel", "roam"}},
		"right after it, reader":     {"h", []string{"cancel", "roam"}},
		"old connection closes":      {"v", []string{"roam", "cancel", "close"}},
		"old connection closes late": {"v", []string{"cancel", "roam", "close"}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua(c.phone, phoneHost)
				phone.register(alice)
				a := pbx.call("alice")
				b := phone.invited(0)
				b.ring()
				old := w.flowOf(alice)
				for _, move := range c.moves {
					w.pass(100 * time.Millisecond)
					switch move {
					case "roam":
						phone.roam(mobileHost, alice)
					case "cancel":
						w.net.Partition(phoneHost, serverHost)
						a.giveUp()
					case "close":
						old.Shut(errAway)
					}
				}
				w.pass(time.Second)
				if got := b.told(); !strings.Contains(got, "CANCEL") {
					t.Errorf("the phone was told [%s]", got)
				}
				w.pass(10 * time.Second)
				if all := w.fates.all(); len(all) > 0 && !all[len(all)-1].Told && c.moves[len(c.moves)-1] != "close" {
					t.Errorf("a fate for a phone that took its CANCEL: %+v", all)
				}
				if w.bridge.Active() != 0 {
					t.Error("the call waits for a 487")
				}
			})
		})
	}
}

// A ringing phone that left its connection without a sign answers over the one on which
// it registered: the call goes on there, beginning with the ACK.
func TestAnswerOverTheNextConnection(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("v", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		b.ring()
		phone.roam(mobileHost, alice)
		b.must(func() error { return b.SetFlow(phone.flow) })
		w.pass(time.Second)
		b.pickUp()
		w.pass(100 * time.Millisecond)
		a.expect("180, 200")
		b.expect("ACK")
		a.hangUp()
		w.pass(100 * time.Millisecond)
		b.expect("ACK, BYE")
	})
}

// What a phone said in the moment in which its connection went is not known; no push can
// reach it. One that reads fates has its word all the same.
func TestFateInDoubt(t *testing.T) {
	for name, reads := range map[string]bool{"h": true, "v": false} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				w.waker.answer = func(bridge.Wake) *bridge.WakeResult { return &bridge.WakeResult{Service: "APNs", Words: "no"} }
				pbx, phone := w.ua("100", pbxHost), w.ua(name, phoneHost)
				phone.register(alice)
				w.net.Partition(phoneHost, serverHost)
				a := pbx.call("alice")
				w.flowOf(alice).Shut(errAway)
				w.pass(31 * time.Second)
				a.expect("480")
				if n := len(w.fates.all()); (n > 0) != reads {
					t.Errorf("%d fates", n)
				}
				phone.flow.Shut(errAway)
			})
		})
	}
}

// The server ends in the second in which it waits for the answer to a BYE: it says it once
// more, where the phone is now.
func TestByeAtTheVeryEnd(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("v", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		b.pickUp()
		w.pass(time.Second)
		w.net.Partition(phoneHost, serverHost)
		a.hangUp()
		phone.roam(mobileHost, alice)
		b.must(func() error { return b.SetFlow(phone.flow) })
		w.bridge.Close(w.t.Context())
		w.pass(100 * time.Millisecond)
		if got := b.told(); !strings.HasSuffix(got, "BYE") {
			t.Errorf("the phone was told %s", got)
		}
	})
}

// An app was started anew while it rang, and the server has no sign that its connection is
// dead: it knows nothing of that INVITE, and gets another one.
func TestAppThatWasStartedAnew(t *testing.T) {
	for name, boot := range map[string]string{"anew": "2", "the same": ""} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("v", phoneHost)
				phone.register(alice)
				a := pbx.call("alice")
				first := phone.invited(0)
				first.ring()
				phone.boot = boot
				phone.roam(mobileHost, alice)
				b := phone.got(1)
				if (b != nil) != (boot != "") {
					t.Fatalf("invited again: %v", b != nil)
				}
				if b != nil {
					b.ring()
					b.pickUp()
					w.pass(100 * time.Millisecond)
					a.expect("180, 200")
					b.hangUp()
				} else {
					a.giveUp()
				}
				w.pass(time.Second)
				first.must(func() error { first.Drop(); return nil })
			})
		})
	}
}

// A device that could not be reached comes by itself while another one rings: it is
// invited, and was told nothing that would make it ignore that.
func TestNoFateForWhoMayComeBack(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone, other := w.ua("100", pbxHost), w.ua("h", phoneHost), w.ua("second", phone2Host)
		other.register(alice)
		phone.register(alice)
		w.net.Partition(phoneHost, serverHost)
		a := pbx.call("alice")
		other.invited(0).ring()
		for _, d := range w.memory.Devices(alice) {
			if b, ok := d.Flow(); ok && d.Key == "h" {
				w.ep.Flow(sipua.FlowID(b.Flow)).Shut(errAway)
			}
		}
		w.pass(31 * time.Second)
		if n := len(w.fates.all()); n > 0 {
			t.Errorf("%d fates while another device rings", n)
		}
		phone.roam(mobileHost, alice)
		b := phone.invited(0)
		b.pickUp()
		w.pass(time.Second)
		b.hangUp()
		w.pass(time.Second)
		a.expect("180, 200, BYE")
	})
}

// The app of an answered call was started anew: it knows the call no more, and the other
// one is not left in silence. One that only changed its Call-ID keeps its call.
func TestAppThatWasStartedAnewInACall(t *testing.T) {
	for name, knows := range map[string]bool{"anew": false, "only another Call-ID": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("v", phoneHost)
				phone.register(alice)
				a := pbx.call("alice")
				b := phone.invited(0)
				b.pickUp()
				w.pass(time.Second)
				if !knows {
					w.net.Partition(phoneHost, serverHost)
					b.must(func() error { b.Drop(); return nil }) // its BYE is lost
				}
				phone.boot = "2"
				w.flowOf(alice).Shut(errAway)
				phone.roam(mobileHost, alice)
				if knows {
					b.must(func() error { return b.SetFlow(phone.flow) })
				}
				w.pass(2 * time.Second)
				if over := strings.HasSuffix(a.told(), "BYE"); over == knows {
					t.Errorf("the caller was told %s", a.told())
				}
				if knows {
					a.hangUp()
				} else if r := w.record(); !strings.Contains(r.Reason, "did not respond any more") || r.HangupBy != "server" {
					t.Errorf("%q by %s", r.Reason, r.HangupBy)
				}
				w.pass(time.Second)
			})
		})
	}
}

// A push that counts as refused reached its phone, which another device's answer overtook:
// the phone is told that, and not that nobody answered. Had it come before, it would have
// been invited.
func TestPhoneOfARefusedPush(t *testing.T) {
	for name, early := range map[string]bool{"before the answer": true, "after it": false} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				w.waker.answer = func(bridge.Wake) *bridge.WakeResult {
					return &bridge.WakeResult{Service: "APNs", Words: "no", Unanswered: true}
				}
				pbx, other, phone := w.ua("100", pbxHost), w.ua("second", phone2Host), w.sleeper("vah")
				other.register(alice)
				a := pbx.call("alice")
				b := other.invited(0)
				b.ring()
				w.pass(time.Second)
				if n := len(w.fates.all()); n > 0 {
					t.Errorf("%d fates while another device rings", n)
				}
				if early {
					phone.register(alice)
					phone.invited(0).ring()
				}
				b.pickUp()
				w.pass(time.Second)
				if all := w.fates.all(); early && len(all) > 0 && !all[len(all)-1].Told || !early && (len(all) != 1 || all[0].Cause != 200) {
					t.Errorf("fates %+v", all)
				}
				a.hangUp()
				w.pass(time.Second)
			})
		})
	}
}

// A phone on a bad network takes its CANCEL late: the call is over by then, but the fate
// is taken back, so that a refresh does not ring it again.
func TestCancelIsTakenLate(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("v", phoneHost)
		phone.connect(sipua.UDP)
		phone.refresh(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		b.ring()
		w.net.Partition(phoneHost, serverHost)
		a.giveUp()
		w.pass(5 * time.Second)
		if w.bridge.Active() != 0 || len(w.fates.all()) == 0 {
			t.Errorf("%d calls, fates %+v", w.bridge.Active(), w.fates.all())
		}
		w.net.Heal(phoneHost, serverHost)
		w.pass(10 * time.Second)
		b.expect("CANCEL")
		if all := w.fates.all(); !all[len(all)-1].Told {
			t.Errorf("fates %+v", all)
		}
		phone.refresh(alice)
		w.pass(time.Second)
		if phone.got(1) != nil {
			t.Error("it rings again")
		}
	})
}

// An app with two flows (RFC 5626), each registered under a Call-ID of its own, was not
// started anew when it refreshes one of them.
func TestTwoFlowsAreOneApp(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("v", phoneHost)
		phone.boot, phone.regID = "one", 1
		phone.register(alice)
		first := phone.flow
		phone.boot, phone.regID = "two", 2
		phone.register(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		b.ring()
		phone.flow, phone.boot, phone.regID = first, "one", 1
		phone.refresh(alice)
		w.pass(time.Second)
		if phone.got(1) != nil {
			t.Error("it is invited twice")
		}
		a.giveUp()
		w.pass(time.Second)
		first.Shut(errAway)
	})
}

// A server that ends right after a BYE does not say it twice over one connection.
func TestNoSecondByeAtTheEnd(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("v", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		phone.invited(0).pickUp()
		w.pass(time.Second)
		byes := 0
		defer w.net.Tap(func(p memnet.Packet) {
			if p.Dst.Addr() == phoneHost && strings.HasPrefix(string(p.Data), "BYE ") {
				byes++
			}
		})()
		w.net.ImpairBoth(phoneHost, serverHost, memnet.Impairment{Delay: 50 * time.Millisecond})
		a.hangUp()
		w.bridge.Close(w.t.Context())
		w.pass(time.Second)
		if byes != 1 {
			t.Errorf("%d BYEs", byes)
		}
	})
}
