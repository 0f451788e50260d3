package bridge_test

import (
	"context"
	"testing"
	"time"

	"wakebridge/sipua"
	"wakebridge/sipua/location"
)

const cancelled = `CANCEL SIP;cause=487;text="Call cancelled"`

// missed lets a sleeping phone of alice's miss a call.
func (w *world) missed(pbx *ua) push {
	w.t.Helper()
	before := len(w.waker.pushes())
	a := pbx.call("alice")
	w.pass(time.Second)
	a.giveUp()
	return w.pushed(before + 1)[before]
}

// An app that answers the INVITE which only tells it something: ACK and BYE.
func TestLatePhoneAnswers(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.sleeper("va")
		w.missed(pbx)
		phone.answer = func(d *dialog) { d.Answer(phone.sdp()) }
		phone.register(alice)
		w.pass(time.Second)
		phone.invited(0).expect(`ACK, BYE SIP;cause=487;text="Call cancelled"`)
		if n := w.relay.PortsInUse(); n != 0 {
			t.Errorf("%d ports for telling", n)
		}
	})
}

// After 30 s beyond expires_at an app shows nothing any more: nobody tells it.
func TestTooLateToBeTold(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.sleeper("va")
		p := w.missed(pbx)
		w.pass(time.Until(p.ExpiresAt) + tellUntil + time.Second)
		phone.register(alice)
		if phone.got(0) != nil {
			t.Error("INVITE for a call long past")
		}
	})
}

const tellUntil = 30 * time.Second

func TestLatePhoneIsToldOfEachCall(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.sleeper("va")
		first, second := w.missed(pbx), w.missed(pbx)
		phone.register(alice)
		ids := map[string]bool{}
		for i := range 2 {
			d := phone.invited(i)
			d.expect(cancelled)
			ids[sipua.Value(d.invite, "X-Call-UUID")] = true
		}
		if !ids[first.UUID] || !ids[second.UUID] {
			t.Errorf("told of %v, missed %s and %s", ids, first.UUID, second.UUID)
		}
	})
}

// A phone in another call is told by the REGISTER's answer only.
func TestLatePhoneInAnotherCall(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		phone.invited(0).pickUp()
		d := w.memory.Devices(alice)[0]
		if rest := w.bridge.Late(d, []location.Fate{{AOR: alice, DeviceKey: d.Key, UUID: "u", Cause: 487, ExpiresAt: time.Now()}}); len(rest) != 1 {
			t.Errorf("left for the answer to the REGISTER: %v", rest)
		}
		w.pass(time.Second)
		if phone.got(1) != nil {
			t.Error("INVITE into a call")
		}
		a.hangUp()
	})
}

// The connection of a late phone may be dead at once; Close waits for none of them
// longer than it may.
func TestLatePhoneThatSaysNothing(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.sleeper("va")
		w.missed(pbx)
		phone.register(alice)
		d := w.memory.Devices(alice)[0]
		w.net.Partition(phoneHost, serverHost)
		w.bridge.Late(d, []location.Fate{{AOR: alice, DeviceKey: d.Key, UUID: "u", Cause: 487, ExpiresAt: time.Now()}})
		w.pass(time.Second)
		start := time.Now()
		ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Second)
		defer cancel()
		w.bridge.Close(ctx)
		if d := time.Since(start); d > 2*time.Second+50*time.Millisecond {
			t.Errorf("closed after %s", d)
		}
		w.bridge.Late(d, []location.Fate{{UUID: "u", ExpiresAt: time.Now()}}) // too late for that
	})
}
