package bridge_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge"
	"wakebridge/sipua"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/location"
)

// sleeper is a phone of alice's that registered and went to sleep.
func (w *world) sleeper(name string) *ua {
	w.t.Helper()
	u := w.ua(name, phoneHost)
	u.register(alice)
	u.sleep()
	return u
}

func (w *world) pushed(n int) []push {
	w.t.Helper()
	w.settle()
	p := w.waker.pushes()
	if len(p) != n {
		w.t.Fatalf("%d pushes, want %d", len(p), n)
	}
	return p
}

func TestSleepingPhoneIsWoken(t *testing.T) {
	inWorld(t, func(o *options) { o.peer.Progress = true }, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.sleeper("va")
		a := pbx.call("alice")
		p := w.pushed(1)[0]
		if !p.at.Equal(a.at) {
			t.Errorf("pushed %s after the INVITE", p.at.Sub(a.at))
		}
		if p.AOR != alice || p.Handle != "100" || p.HandleType != "phone" || p.Name != "Anna" || p.AlertOnly || p.From == "" ||
			p.To != "sip:alice@example.com" || p.Video || !p.SentAt.Equal(a.at) || p.ExpiresAt.Sub(a.at) != 25*time.Second {
			t.Errorf("push: %+v", p.Wake)
		}
		if p.CallID != p.UUID+"@"+node || strings.ToLower(p.UUID) != p.UUID {
			t.Errorf("Call-ID %s, UUID %s", p.CallID, p.UUID)
		}
		a.expect("180 pushed")
		w.pass(3 * time.Second)
		phone.register(alice)
		registered := time.Now()
		b := phone.invited(0)
		if d := b.at.Sub(registered); d > time.Millisecond {
			t.Errorf("INVITE %s after the REGISTER", d)
		}
		if got := sipua.Value(b.invite, "X-Call-UUID"); got != p.UUID || b.invite.CallID().Value() != p.CallID {
			t.Errorf("INVITE with UUID %s and Call-ID %s", got, b.invite.CallID().Value())
		}
		if b.invite.MaxForwards().Val() != 69 || b.invite.From().Address.User != "100" || strings.Contains(b.invite.Recipient.String(), "pn-") {
			t.Errorf("INVITE:\n%s", b.invite)
		}
		if cause := context.Cause(p.ctx); !errors.Is(cause, bridge.ErrReached) {
			t.Errorf("the push ends by %v although the phone registered", cause)
		}
		a.expect("180 pushed, 180 registered")
		b.ring()
		b.pickUp()
		a.expect("180 pushed, 180 registered, 180 ringing, 200")
		w.pass(time.Second)
		a.hangUp()
		b.expect("ACK, BYE")
		r := w.record()
		if at := r.Attempts[0]; r.Result != bridge.Answered || at.UUID != p.UUID || len(at.Pushes) != 1 || at.Pushes[0].Kind != "voip" ||
			at.Outcome != "won" || at.Registered.Sub(r.Started) != 3*time.Second || r.User != alice.String() || r.Trunk != "pbx" {
			t.Errorf("record: %+v", r)
		}
		if len(w.fates.all()) > 0 {
			t.Errorf("fates: %+v", w.fates.all())
		}
	})
}

func TestCallerCancelsWhileWaking(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.sleeper("va")
		a := pbx.call("alice")
		w.pass(2 * time.Second)
		a.giveUp()
		a.expect("180, 487")
		p := w.pushed(1)[0]
		if cause := context.Cause(p.ctx); !errors.Is(cause, context.Canceled) || errors.Is(cause, bridge.ErrReached) {
			t.Errorf("the push ends by %v", cause)
		}
		r := w.record()
		if r.Result != bridge.Cancelled || r.Status != 487 || r.HangupBy != "caller" || r.Ended.Sub(r.Started) != 2*time.Second ||
			r.Attempts[0].Outcome != "Call cancelled" {
			t.Errorf("record: %+v", r)
		}
		f := w.fates.all()
		if len(f) != 2 || f[0].Cause != 487 || f[0].UUID != p.UUID || !f[0].KeepUntil.IsZero() || f[1].KeepUntil.Sub(r.Ended) != 5*time.Minute ||
			!f[0].ExpiresAt.Equal(p.ExpiresAt) || f[0].DeviceKey != p.Device {
			t.Errorf("fates: %+v", f)
		}
		p.report(bridge.WakeResult{Accepted: true}) // late
		w.pass(20 * time.Second)
		phone.register(alice)
		// It does not read X-Call-Ended: INVITE and CANCEL tell it.
		b := phone.invited(0)
		if b.invite.CallID().Value() != p.CallID || sipua.Value(b.invite, "X-Call-UUID") != p.UUID {
			t.Errorf("INVITE:\n%s", b.invite)
		}
		b.expect(`CANCEL SIP;cause=487;text="Call cancelled"`)
		w.pass(time.Second)
		phone.refresh(alice)
		if phone.got(1) != nil {
			t.Error("it was told twice")
		}
	})
}

// N10: the caller vanishes without a word.
func TestCallerVanishesWhileWaking(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx := w.ua("100", pbxHost)
		w.sleeper("va")
		a := pbx.call("alice")
		w.net.Partition(pbxHost, serverHost)
		w.pass(30*time.Second + 250*time.Millisecond)
		if n := w.trunks.ByName("pbx").Status().Calls; n != 0 {
			t.Errorf("the trunk still has %d calls", n)
		}
		if r := w.record(); r.Result != bridge.Unreachable || r.Status != 480 {
			t.Errorf("record: %+v", r)
		}
		w.net.Heal(pbxHost, serverHost)
		w.pass(time.Minute)
		if got := a.told(); !strings.HasSuffix(got, "480") {
			t.Errorf("the caller was told %s", got)
		}
	})
}

func TestWakeTimeout(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx := w.ua("100", pbxHost)
		w.sleeper("v")
		a := pbx.call("alice")
		w.pass(29 * time.Second)
		a.expect("180")
		w.pass(time.Second)
		a.expect("180, 480")
		if r := w.record(); r.Result != bridge.Unreachable || r.HangupBy != "server" || !strings.Contains(r.Reason, "did not register in time") {
			t.Errorf("record: %+v", r)
		}
		if f := w.fates.all(); len(f) != 2 || f[0].Cause != 480 {
			t.Errorf("fates: %+v", f)
		}
	})
}

func TestSecondChanceBringsThePhone(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.sleeper("va")
		a := pbx.call("alice")
		w.pass(8 * time.Second)
		p := w.pushed(2)
		if p[0].AlertOnly || !p[1].AlertOnly || p[1].at.Sub(a.at) != 8*time.Second || p[1].UUID != p[0].UUID || p[1].ExpiresAt != p[0].ExpiresAt {
			t.Errorf("pushes: %+v", p)
		}
		w.pass(4 * time.Second)
		phone.register(alice)
		phone.invited(0).pickUp() // 200 without 180
		a.expect("180, 200")
		a.hangUp()
		if r := w.record(); len(r.Attempts[0].Pushes) != 2 || r.Attempts[0].Pushes[1].Kind != "alert" {
			t.Errorf("record: %+v", r)
		}
	})
}

func TestRefusedPushesAreAnsweredAtOnce(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.waker.answer = func(wake bridge.Wake) *bridge.WakeResult {
			return &bridge.WakeResult{Alert: wake.AlertOnly, Reason: "BadDeviceToken", Words: "APNs refused the token: BadDeviceToken"}
		}
		pbx := w.ua("100", pbxHost)
		w.sleeper("va")
		a := pbx.call("alice")
		a.expect("480")
		w.pushed(2)
		r := w.record()
		if r.Result != bridge.Unreachable || r.Reason != "APNs refused the token: BadDeviceToken" || r.Ended != r.Started || r.HangupBy != "server" {
			t.Errorf("record: %+v", r)
		}
		if len(w.fates.all()) > 0 {
			t.Error("a fate for a device that nobody woke")
		}
	})
}

func TestSilentPushService(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.waker.answer = func(bridge.Wake) *bridge.WakeResult { return nil }
		pbx := w.ua("100", pbxHost)
		w.sleeper("va")
		a := pbx.call("alice")
		w.pass(10 * time.Second)
		a.expect("480")
		if r := w.record(); !strings.Contains(r.Reason, "push service did not answer") {
			t.Errorf("record: %+v", r)
		}
	})
}

// The phone was quicker than the push service's answer: the push is in the record,
// and counts as no refusal.
func TestPushOvertakenByTheRegister(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.waker.answer, w.waker.left = func(bridge.Wake) *bridge.WakeResult { return nil }, true
		pbx, phone := w.ua("100", pbxHost), w.sleeper("va")
		a := pbx.call("alice")
		w.pushed(1)
		phone.register(alice)
		w.pass(9 * time.Second)
		w.pushed(1)
		phone.invited(0).pickUp()
		a.expect("180, 200")
		a.hangUp()
		if r := w.record(); len(r.Attempts[0].Pushes) != 1 || r.Attempts[0].Pushes[0].Accepted {
			t.Errorf("record: %+v", r)
		}
	})
}

// The end of a call stops its pushes: those that had left are in its record, those
// that had not are not.
func TestRecordHasThePushesThatTheEndStopped(t *testing.T) {
	for _, left := range []bool{true, false} {
		inWorld(t, nil, func(w *world) {
			w.waker.answer, w.waker.left = func(bridge.Wake) *bridge.WakeResult { return nil }, left
			pbx := w.ua("100", pbxHost)
			w.sleeper("va")
			a := pbx.call("alice")
			w.pushed(1)
			a.giveUp()
			at := w.record().Attempts[0]
			switch {
			case !left && (len(at.Pushes) != 0 || !strings.Contains(at.NotPushed, "stopped before it left")):
				t.Errorf("a push that never left: %+v", at)
			case left && (len(at.Pushes) != 1 || !at.Pushes[0].Hedged || at.Pushes[0].Accepted || at.NotPushed != ""):
				t.Errorf("a push that had left: %+v", at)
			}
		})
	}
}

// A push service's answer that never comes holds a record up, but does not keep it.
func TestPushWithoutAnyOutcome(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.waker.answer, w.waker.lost = func(bridge.Wake) *bridge.WakeResult { return nil }, true
		pbx := w.ua("100", pbxHost)
		w.sleeper("va")
		a := pbx.call("alice")
		w.pushed(1)
		a.giveUp()
		if n := len(w.recorded()); n != 0 {
			t.Errorf("%d records before the outcome", n)
		}
		w.pass(5 * time.Second)
		if steps := w.record().Steps; !strings.Contains(steps[len(steps)-1].What, "pushes without an outcome: 1") {
			t.Errorf("steps: %+v", steps)
		}
	})
}

func TestNobodyAnswers(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		phone.invited(0).ring()
		w.pass(49 * time.Second)
		a.expect("180")
		w.pass(time.Second)
		a.expect("180, 480")
		phone.got(0).expect(`CANCEL SIP;cause=480;text="No answer"`)
		if r := w.record(); r.Result != bridge.NoAnswer || r.Ended.Sub(r.Started) != 50*time.Second || r.Attempts[0].Outcome != "nobody answered" {
			t.Errorf("record: %+v", r)
		}
	})
}

func TestPhoneRefuses(t *testing.T) {
	cases := []struct {
		status, want int
		result       bridge.Result
		by           string
	}{
		{603, 603, bridge.Declined, "callee"}, {600, 600, bridge.Declined, "callee"}, {486, 486, bridge.Busy, "callee"},
		{488, 488, bridge.Failed, "callee"}, {404, 480, bridge.Unreachable, "server"}, {302, 480, bridge.Unreachable, "server"},
		{482, 480, bridge.Unreachable, "server"},
	}
	for _, c := range cases {
		t.Run(sipua.Phrase(c.status), func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("v", phoneHost)
				phone.register(alice)
				a := pbx.call("alice")
				b := phone.invited(0)
				b.ring()
				b.refuse(c.status)
				f := last[leg.Failed](a)
				if f.Status != c.want || f.Phrase != sipua.Phrase(c.want) {
					t.Errorf("the caller got %d %s", f.Status, f.Phrase)
				}
				if r := w.record(); r.Result != c.result || r.Status != c.want || r.HangupBy != c.by {
					t.Errorf("record: %+v", r)
				}
			})
		})
	}
}

func TestAnsweredElsewhere(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, one, two := w.ua("100", pbxHost), w.ua("v1", phoneHost), w.ua("v2", phone2Host)
		one.register(alice)
		two.register(alice)
		a := pbx.call("alice")
		one.invited(0).ring()
		two.invited(0).ring()
		two.invited(0).pickUp()
		one.invited(0).expect(`CANCEL SIP;cause=200;text="Call completed elsewhere"`)
		a.expect("180, 200")
		if n := w.relay.PortsInUse(); n != 4 {
			t.Errorf("%d ports in use, 4 are needed: the loser's must be given back", n)
		}
		w.pass(time.Minute - time.Second)
		a.hangUp()
		two.invited(0).expect("ACK, BYE")
		r := w.record()
		outcomes := map[string]bool{}
		for _, at := range r.Attempts {
			outcomes[at.Outcome] = true
		}
		if !outcomes["won"] || !outcomes["Call completed elsewhere"] {
			t.Errorf("outcomes: %v", outcomes)
		}
	})
}

// A fate outlives the call by 5 minutes, however long the call is.
func TestFateOfALongCall(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, two := w.ua("100", pbxHost), w.ua("x", phone2Host)
		w.sleeper("va")
		two.register(alice)
		a := pbx.call("alice")
		two.invited(0).pickUp()
		f := w.fates.all()
		if len(f) != 1 || f[0].Cause != 200 || !f[0].KeepUntil.IsZero() {
			w.t.Fatalf("fates: %+v", f)
		}
		for range 30 { // keep the media going
			w.speak(pbx, two)
			w.pass(50 * time.Second)
		}
		a.hangUp()
		r := w.record()
		f = w.fates.all()
		if len(f) != 2 || !f[1].KeepUntil.Equal(r.Ended.Add(5*time.Minute)) || r.Ended.Sub(r.Started) < 20*time.Minute {
			t.Errorf("fates: %+v; call ended %s", f, r.Ended)
		}
	})
}

func TestDeclineEndsAllDevices(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, two := w.ua("100", pbxHost), w.ua("v2", phone2Host)
		one := w.sleeper("va")
		two.register(alice)
		a := pbx.call("alice")
		two.invited(0).ring()
		two.invited(0).refuse(603)
		a.expect("180, 603")
		w.pass(time.Second)
		one.register(alice)
		one.invited(0).expect(`CANCEL SIP;cause=603;text="Declined elsewhere"`)
	})
}

func TestPBXSaysAnsweredElsewhere(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, two := w.ua("100", pbxHost), w.ua("x", phone2Host)
		w.sleeper("va")
		two.register(alice)
		a := pbx.call("alice")
		two.invited(0).ring()
		a.must(func() error { return a.Cancel(`SIP;cause=200;text="Call completed elsewhere"`, "Q.850;cause=26") })
		two.invited(0).expect(`CANCEL SIP;cause=200;text="Call completed elsewhere" Q.850;cause=26`)
		if f := w.fates.all(); len(f) != 2 || f[0].Cause != 200 {
			t.Errorf("fates: %+v", f)
		}
	})
}

// The phone left its Wi-Fi without a word: its connection is dead, which nobody
// knows yet.
func TestFlowSuperseded(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, wifi, lte := w.ua("100", pbxHost), w.ua("va", phoneHost), w.ua("va", phone2Host)
		wifi.register(alice)
		w.net.Partition(phoneHost, serverHost)
		a := pbx.call("alice")
		w.pass(1500 * time.Millisecond)
		p := w.pushed(1)[0] // no 1xx in 1.5 s
		w.pass(time.Second)
		lte.register(alice)
		b := lte.invited(0)
		if b.CallID() != p.CallID {
			t.Errorf("Call-ID %s, the push said %s", b.CallID(), p.CallID)
		}
		b.ring()
		b.pickUp()
		a.expect("180, 200")
		w.pass(40 * time.Second) // the first INVITE runs out; nobody must mind
		a.expect("180, 200")
		a.hangUp()
		b.expect("ACK, BYE")
	})
}

// A phone between two networks: it registers on the new one, and the old
// connection breaks while it rings.
func TestFlowLostWhileRinging(t *testing.T) {
	for _, before := range []bool{true, false} {
		name := map[bool]string{true: "registered before", false: "registers afterwards"}[before]
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
				phone.register(alice)
				old := phone.flow
				a := pbx.call("alice")
				lostOne := phone.invited(0)
				lostOne.ring()
				w.pass(time.Second)
				if before {
					phone.register(alice)
					old.Shut(errors.New("left the Wi-Fi"))
					w.pushed(0)
				} else {
					old.Shut(errors.New("left the Wi-Fi"))
					w.pushed(1)
					w.pass(5 * time.Second)
					phone.register(alice)
				}
				b := phone.invited(1)
				if b.CallID() != lostOne.CallID() || sipua.FromTag(b.invite) == sipua.FromTag(lostOne.invite) {
					t.Errorf("Call-IDs %s and %s, From tags %s and %s", b.CallID(), lostOne.CallID(), sipua.FromTag(b.invite), sipua.FromTag(lostOne.invite))
				}
				lostOne.must(func() error { lostOne.Drop(); return nil })
				b.ring()
				b.pickUp()
				a.expect("180, 200")
				b.hangUp()
				a.expect("180, 200, BYE")
				if r := w.record(); r.Result != bridge.Answered || len(r.Attempts) != 1 {
					t.Errorf("record: %+v", r)
				}
			})
		})
	}
}

// A phone loses its connection while it rings and is pushed for that, and the caller
// gives up before it is back: no CANCEL can reach it, so it is told when it comes.
func TestFlowLostWhileRingingAndCancelled(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		lostOne := phone.invited(0)
		lostOne.ring()
		w.pass(time.Second)
		phone.flow.Shut(errors.New("left the Wi-Fi"))
		p := w.pushed(1)[0]
		a.giveUp()
		lostOne.must(func() error { lostOne.Drop(); return nil })
		if all := w.fates.all(); len(all) == 0 || all[0].UUID != p.UUID {
			t.Fatalf("fates: %+v", all)
		}
		phone.register(alice)
		w.pass(time.Second)
		phone.invited(1).expect(cancelled)
	})
}

// The same, in the moment in which it registers, and with another call that rings then: no
// fate was there for the answer to its REGISTER, and the first call is still on its screen.
func TestFlowLostAndCancelledBesideAnotherCall(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone, other := w.ua("100", pbxHost), w.ua("vah", phoneHost), w.ua("bob", bobHost)
		phone.register(alice)
		a := pbx.call("alice")
		lostOne := phone.invited(0)
		lostOne.ring()
		w.pass(time.Second)
		phone.flow.Shut(errors.New("left the Wi-Fi"))
		lostOne.must(func() error { lostOne.Drop(); return nil })
		b := other.call("alice")
		w.settle()
		w.taken = a.giveUp
		phone.register(alice)
		w.taken = nil
		phone.invited(1).ring()
		w.pass(time.Second)
		told := phone.invited(2)
		told.expect(cancelled)
		if got, want := told.invite.CallID().Value(), lostOne.invite.CallID().Value(); got != want {
			t.Errorf("told of %s, not of %s", got, want)
		}
		phone.invited(1).pickUp()
		b.expect("180, 200")
		b.hangUp()
	})
}

// N3: the connection breaks during the call; the phone comes back, and signalling
// goes over its new connection.
func TestFlowLostDuringTheCall(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		b.pickUp()
		b.u.sleep()
		w.pass(5 * time.Second)
		a.expect("200")
		phone.register(alice)
		b.must(func() error { return b.SetFlow(phone.flow) })
		a.hangUp()
		if got := b.told(); !strings.HasSuffix(got, "BYE") {
			t.Errorf("the phone was told %s", got)
		}
		if phone.got(1) != nil {
			t.Error("an answered call was offered again")
		}
	})
}

func TestCallerChangesItsFlow(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		b, phone := w.ua("bob", bobHost), w.ua("va", phoneHost)
		b.register(bob)
		phone.register(alice)
		a := b.call("alice")
		c := phone.invited(0)
		c.pickUp()
		b.sleep()
		w.pass(time.Second)
		b.register(bob)
		a.must(func() error { return a.SetFlow(b.flow) })
		c.hangUp()
		if got := a.told(); !strings.HasSuffix(got, "BYE") {
			t.Errorf("the caller was told %s", got)
		}
	})
}

func TestUserWithoutDevice(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a := w.ua("100", pbxHost).call("alice")
		a.expect("480")
		if r := w.record(); r.Result != bridge.Unreachable || !strings.Contains(r.Reason, "no device") {
			t.Errorf("record: %+v", r)
		}
	})
}

func TestLoggedOutPhoneIsNotWoken(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx := w.ua("100", pbxHost)
		w.sleeper("va")
		w.memory.Apply(location.MarkLoggedOut{AOR: alice, Key: w.memory.Devices(alice)[0].Key}).Release()
		a := pbx.call("alice")
		a.expect("480")
		w.pushed(0)
		if r := w.record(); !strings.Contains(r.Reason, "logged out") {
			t.Errorf("record: %+v", r)
		}
	})
}

func TestPrivateCaller(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.sleeper("va")
		a := pbx.call("alice", func(inv *leg.Invite) { inv.Headers = append(inv.Headers, sip.NewHeader("Privacy", "id")) })
		p := w.pushed(1)[0]
		if p.Handle != "" || p.Name != "" || p.From != "" {
			t.Errorf("push: %+v", p.Wake)
		}
		phone.register(alice)
		text := phone.invited(0).invite.String()
		if strings.Contains(text, "100") && strings.Contains(text, "sip:100@") || strings.Contains(text, "Anna") || !strings.Contains(text, "Privacy: id") {
			t.Errorf("INVITE:\n%s", text)
		}
		a.giveUp()
		if r := w.record(); strings.Contains(r.From, "100") {
			t.Errorf("record from %s", r.From)
		}
	})
}
