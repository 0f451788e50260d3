package location_test

import (
	"testing"
	"time"

	"wakebridge/sipua/location"
	"wakebridge/sipua/location/locationtest"
)

// A token that the push service wants fewer pushes to is held for longer each time,
// in every device that has it, over REGISTERs and restarts, and a new one is not.
func TestThrottle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &locationtest.Store{}
		m := newMemory(t, store)
		apply(m, withAlert(phone), register(bob, phone, "sip:bob@1", token, 1))
		throttle := location.Throttle{Kind: location.VoIP, Value: token}
		for i, seconds := range []int{30, 60, 120, 240, 480, 600, 600} {
			want := time.Duration(seconds) * time.Second
			apply(m, throttle, throttle)
			time.Sleep(time.Second)
			apply(m, throttle) // by another push of the same moment
			for _, d := range []location.Device{only(t, m, alice), only(t, m, bob)} {
				if v := d.Push.VoIP; v.NotBefore.Sub(v.Throttled) != want || !v.Held(time.Now()) {
					t.Errorf("%d: %s: held from %s to %s, want %s", i, d.AOR, v.Throttled, v.NotBefore, want)
				}
			}
			d := only(t, m, alice)
			if !d.AlertFirst(time.Now()) || d.Suspected() || !d.VoIPDue().Equal(d.Push.VoIP.NotBefore) || d.VoIPFirst(time.Now()) {
				t.Errorf("%d: %+v", i, d)
			}
			if d := only(t, m, bob); d.AlertFirst(time.Now()) {
				t.Error("nothing but a VoIP token: nothing goes first")
			}
			apply(m, withAlert(phone))
			if !only(t, m, alice).AlertFirst(time.Now()) {
				t.Error("its REGISTER is no word of the push service")
			}
			time.Sleep(time.Until(d.Push.VoIP.NotBefore))
			if only(t, m, alice).AlertFirst(time.Now()) {
				t.Error("longer than said")
			}
		}
		apply(m, throttle)
		if err := m.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := only(t, newMemory(t, store), alice); !d.AlertFirst(time.Now()) || time.Until(d.VoIPDue()) != 10*time.Minute {
			t.Errorf("after a restart: due in %s", time.Until(d.VoIPDue()))
		}
		time.Sleep(20 * time.Minute)
		apply(m, throttle)
		if d := only(t, m, alice); time.Until(d.VoIPDue()) != 30*time.Second {
			t.Errorf("long after: %s", time.Until(d.VoIPDue()))
		}
		apply(m, voipOf("eeee"))
		if d := only(t, m, alice); d.AlertFirst(time.Now()) || !d.Push.VoIP.NotBefore.IsZero() {
			t.Errorf("a new token: %+v", d.Push.VoIP)
		}
	})
}

// The alert token may be the one that is held: then VoIP pushes go alone, but only
// if they may go.
func TestThrottledAlert(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(t, &locationtest.Store{})
		u := withAlert(phone)
		apply(m, u)
		alert := location.Throttle{Kind: location.Alert, Value: u.Push.Alert.Value}
		apply(m, location.Throttle{Kind: location.VoIP, Value: u.Push.Alert.Value}) // it is none
		if d := only(t, m, alice); d.VoIPFirst(time.Now()) || d.AlertFirst(time.Now()) {
			t.Error("held as a token of the other kind")
		}
		apply(m, alert)
		if d := only(t, m, alice); !d.VoIPFirst(time.Now()) || d.AlertFirst(time.Now()) {
			t.Errorf("%+v", d.Push.Alert)
		}
		apply(m, location.Throttle{Kind: location.VoIP, Value: token})
		if d := only(t, m, alice); d.VoIPFirst(time.Now()) || d.AlertFirst(time.Now()) {
			t.Error("both are held: neither goes first")
		}
		apply(m, location.FlowGone{Flow: 1})
		time.Sleep(7*day - 8*time.Hour) // the refresh push has come due
		apply(m, alert)
		if at, ok := m.NextRefresh(); !ok || !at.Equal(only(t, m, alice).Push.Alert.NotBefore) {
			t.Errorf("the next refresh push at %s, %t", at, ok)
		}
	})
}
