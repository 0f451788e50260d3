package location_test

import (
	"testing"

	"wakebridge/sipua/location"
	"wakebridge/sipua/location/locationtest"
)

// Whom a backend means: the device of that instance, else the only one that
// nothing contradicts.
func TestAnnouncedDevice(t *testing.T) {
	tokenless := register(alice, "", "<sip:alice@10.0.0.1>", "", 1)
	for _, tt := range []struct {
		name    string
		before  []location.Edit
		devices int
		bound   bool // the announced device has a binding
	}{
		{"nobody there", nil, 1, false},
		{"the same instance", []location.Edit{register(alice, phone, "<sip:alice@10.0.0.1>", "", 1)}, 1, true},
		{"the only device, which said nothing", []location.Edit{tokenless}, 1, true},
		{"another instance", []location.Edit{register(alice, other, "<sip:alice@10.0.0.1>", "", 1)}, 2, false},
		{"one that has a token of its own", []location.Edit{register(alice, "", "<sip:alice@10.0.0.1>", "ffff", 1)}, 2, false},
		{"two that said nothing", []location.Edit{tokenless, register(alice, "", "<sip:alice@10.0.0.2>", "", 2)}, 3, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(t, &locationtest.Store{})
				for _, e := range tt.before {
					apply(m, e)
				}
				a := apply(m, location.Announce{AOR: alice, Instance: phone, Push: location.PushInfo{Provider: "apns", VoIP: location.Token{Value: token}}})
				d, ok := m.Device(a.Refs[0])
				if !ok || d.Instance != phone || !d.Wakeable || (len(d.Bindings) > 0) != tt.bound || len(m.Devices(alice)) != tt.devices {
					t.Errorf("%+v; all: %v", d, m.Devices(alice))
				}
				// Its next REGISTER belongs to it, if it is the only one.
				if tt.devices == 1 {
					apply(m, register(alice, "", "<sip:alice@10.0.0.9>", "", 9))
					if d := only(t, m, alice); len(d.Bindings) == 0 || d.Bindings[0].Flow != 9 || d.Push.VoIP.Value != token {
						t.Errorf("after its REGISTER: %+v", d)
					}
				}
			})
		})
	}
}

// Taking back what nobody announced makes no device of somebody else's.
func TestNothingAnnounced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(t, &locationtest.Store{})
		apply(m, register(alice, "", "<sip:alice@10.0.0.1>", "", 1))
		apply(m, location.Announce{AOR: alice, Instance: phone})
		if d := only(t, m, alice); d.Instance != "" {
			t.Errorf("%+v", d)
		}
	})
}
