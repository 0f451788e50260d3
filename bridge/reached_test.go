package bridge_test

import (
	"fmt"
	"strings"
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

// A token that got too many pushes is spared in the next call, and the record says
// so.
func TestThrottledTokenIsSpared(t *testing.T) {
	tests := []struct {
		name, phone string
		held        []location.TokenKind
		pushes      string // after 29 s
		words       string
	}{
		{"VoIP", "va", []location.TokenKind{location.VoIP}, "alert 0s, voip 20s", "was pushed to too often (429 of the push service): alert push first, a VoIP push follows after 20.0 s"},
		{"alert", "va", []location.TokenKind{location.Alert}, "voip 0s", "got too many alert pushes (429 of the push service): none in this call"},
		{"both", "va", []location.TokenKind{location.VoIP, location.Alert}, "voip 0s, alert 8s", "it has no better token"},
		{"the only one", "v", []location.TokenKind{location.VoIP}, "voip 0s", "it has no better token"},
		{"none", "va", nil, "voip 0s, alert 8s", "registered"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.sleeper(tt.phone)
				push := w.memory.Devices(alice)[0].Push
				for _, kind := range tt.held {
					w.memory.Apply(location.Throttle{Kind: kind, Value: push.Token(kind).Value}).Release()
				}
				w.pass(10 * time.Second)
				a := pbx.call("alice")
				w.pass(29 * time.Second)
				var got []string
				for _, p := range w.waker.pushes() {
					kind := "voip"
					if p.AlertOnly {
						kind = "alert"
					}
					got = append(got, fmt.Sprint(kind, " ", p.at.Sub(a.at)))
				}
				if s := strings.Join(got, ", "); s != tt.pushes {
					t.Errorf("pushes: %s, want %s", s, tt.pushes)
				}
				phone.register(alice)
				phone.invited(0).pickUp()
				a.hangUp()
				if steps := fmt.Sprint(w.record().Steps); !strings.Contains(steps, tt.words) {
					t.Errorf("steps: %s", steps)
				}
			})
		})
	}
}
