package bridge_test

import (
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/sipua/location"
)

// An app whose connection lived through the night sends no REGISTER on a push: it
// rings and talks over that connection, and is not suspected for that.
func TestAnswerWithoutRegisterIsNoSilence(t *testing.T) {
	tests := []struct {
		name   string
		answer func(a, b *dialog) // nil: nobody hears
	}{
		{"rings", func(a, b *dialog) { b.ring(); a.giveUp() }},
		{"answers", func(_, b *dialog) { b.pickUp(); b.hangUp() }},
		{"its user declines", func(_, b *dialog) { b.refuse(603) }},
		{"asleep", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(o *options) { o.terms.MergeWindow = 0 }, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
				phone.register(alice)
				if tt.answer == nil {
					phone.sleep()
				}
				w.waker.answer = func(wake bridge.Wake) *bridge.WakeResult { // as the daemon learns
					w.memory.Apply(location.PushReport{AOR: alice, Key: wake.Device, Kind: location.VoIP, Accepted: !wake.AlertOnly, Sent: time.Now()}).Release()
					return &bridge.WakeResult{Accepted: true, Alert: wake.AlertOnly}
				}
				for i := range 3 {
					w.pass(3 * time.Minute) // the connection is in doubt
					a := pbx.call("alice")
					w.pass(4 * time.Second)
					if tt.answer == nil {
						a.giveUp()
						continue
					}
					if p := w.pushed(i + 1); p[i].AlertOnly {
						t.Errorf("call %d: %+v", i, p[i].Wake)
					}
					tt.answer(a, phone.invited(i))
				}
				d := w.memory.Devices(alice)[0]
				if silent := tt.answer == nil; d.Suspected() != silent || (d.Health.Unanswered > 0) != silent {
					t.Errorf("health %+v", d.Health)
				}
			})
		})
	}
}
