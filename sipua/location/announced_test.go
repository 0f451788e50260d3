package location_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// One token in two spellings is one token: for the shared-token rule, for a 410 and
// after a restart of a journal that has it as it was sent.
func TestOneSpelling(t *testing.T) {
	const upper = "AABBCCDDEEFF00112233"
	apns := func(value string) location.PushInfo {
		return location.PushInfo{Provider: "apns", BundleID: "com.example.phone", VoIP: location.Token{Value: value, Kind: location.VoIP}}
	}
	bubble(t, func(t *testing.T) {
		m := newMemory(t, &locationtest.Store{})
		apply(m, register(bob, other, "sip:bob@1", token, 1))
		a := apply(m, location.Announce{AOR: alice, Instance: phone, Push: apns(upper)})
		if d := only(t, m, bob); d.Push.HasToken() || len(a.Notes) != 1 || a.Notes[0].Kind != location.TokenTaken {
			t.Errorf("%+v, notes %+v", d.Push, a.Notes)
		}
		if d := only(t, m, alice); d.Push.VoIP.Value != token {
			t.Errorf("%q", d.Push.VoIP.Value)
		}
		u := register(alice, phone, "sip:alice@1", upper, 2)
		if apply(m, u); only(t, m, alice).Push.VoIP.Value != token {
			t.Error("by SIP in capitals")
		}
		fcm := apns("aB:c")
		fcm.Provider = "fcm"
		apply(m, location.Announce{AOR: bob, Instance: other, Push: fcm})
		if d := only(t, m, bob); d.Push.VoIP.Value != "aB:c" {
			t.Errorf("FCM: %q", d.Push.VoIP.Value)
		}
	})
	bubble(t, func(t *testing.T) {
		store := &locationtest.Store{}
		old := locationtest.Device("alice", phone)
		old.Push.VoIP.Value, old.LoggedOut, old.LogoutDue, old.TokensDue = upper, time.Time{}, time.Time{}, time.Time{}
		if err := store.Commit(t.Context(), location.Batch{Put: []location.Device{old}}); err != nil {
			t.Fatal(err)
		}
		m := newMemory(t, store)
		if err := m.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if state, err := store.Load(t.Context()); err != nil || state.Devices[0].Push.VoIP.Value != token {
			t.Errorf("stored %q, %v", state.Devices[0].Push.VoIP.Value, err)
		}
		apply(m, location.RemoveToken{Kind: location.VoIP, Value: token, NotAfter: time.Now().Add(time.Hour)})
		if d, _ := m.Device(old.Ref()); !d.Push.VoIP.IsZero() {
			t.Errorf("410 left %q", d.Push.VoIP.Value)
		}
	})
}

// voipOf is a backend's announcement of a VoIP token for a device of alice's.
func voipOf(value string) location.Announce {
	return location.Announce{AOR: alice, Instance: phone, Push: location.PushInfo{Provider: "apns", BundleID: "com.example.phone",
		VoIP: location.Token{Value: value, Kind: location.VoIP}}}
}

// The same request again changes nothing: neither is the token newer, nor was the
// phone seen, nor is there anything to tell or to write.
func TestABackendThatRepeatsItself(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(t, &locationtest.Store{})
		apply(m, voipOf(token))
		first := only(t, m, alice)
		if err := m.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		changes := 0
		_, stop := m.Watch(alice, func(location.Change) { changes++ })
		defer stop()
		for range 89 {
			time.Sleep(day)
			if a := apply(m, voipOf(token)); len(a.Refs) != 1 || a.Refs[0] != first.Ref() {
				t.Fatalf("refs %v", a.Refs)
			}
		}
		if d := only(t, m, alice); !d.LastSeen.Equal(first.LastSeen) || d.Push != first.Push || changes != 0 || m.Stats().Uncommitted != 0 {
			t.Errorf("%+v, %d changes, %+v", d, changes, m.Stats())
		}
		pass(m, day)
		if left := m.Devices(alice); len(left) != 0 {
			t.Errorf("not seen for 90 days: %+v", left)
		}
	})
}

// A token that is dead stays dead, however often a backend repeats it, until the
// phone itself names it.
func TestADeadTokenIsNotImmortal(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(t, &locationtest.Store{})
		apply(m, voipOf(token))
		time.Sleep(time.Hour)
		since := time.Now()
		time.Sleep(time.Hour)
		apply(m, voipOf(token))
		dead := location.RemoveToken{Kind: location.VoIP, Value: token, NotAfter: since, Gone: true}
		if apply(m, dead); len(m.Devices(alice)) != 0 {
			t.Fatalf("%+v", m.Devices(alice))
		}
		time.Sleep(23 * time.Hour)
		again := apply(m, voipOf(token))
		if len(m.Devices(alice)) != 0 || len(again.Notes) != 1 || again.Notes[0].Kind != location.TokenDead || again.Notes[0].Device.Key != phone ||
			strings.Contains(again.Notes[0].Token, token) {
			t.Errorf("back: %+v, notes %+v", m.Devices(alice), again.Notes)
		}
		// Nobody makes room for a device that comes to nothing.
		apply(m, register(alice, other, "sip:alice@9", "dddd", 9))
		full := voipOf(token)
		full.MaxContacts = 1
		if a := apply(m, full); only(t, m, alice).Key != other || len(a.Notes) != 1 {
			t.Errorf("notes %+v", a.Notes)
		}
		apply(m, location.MarkLoggedOut{AOR: alice, Key: other}, location.RemoveBinding{AOR: alice, Contact: "*"})
		// Its other token is as good as any.
		both := voipOf(token)
		both.Push.Alert = location.Token{Value: "bbbb", Kind: location.Alert}
		if apply(m, both); !only(t, m, alice).Push.VoIP.IsZero() || only(t, m, alice).Push.Alert.Value != "bbbb" {
			t.Errorf("%+v", only(t, m, alice).Push)
		}
		// The phone knows better.
		apply(m, register(alice, phone, "sip:alice@1", token, 1))
		if a := apply(m, voipOf(token)); only(t, m, alice).Push.VoIP.Value != token || len(a.Notes) != 0 {
			t.Errorf("%+v", only(t, m, alice).Push)
		}
		// A push that left before the phone named it says nothing about it.
		if apply(m, dead, voipOf(token)); only(t, m, alice).Push.VoIP.Value != token {
			t.Errorf("%+v", only(t, m, alice).Push)
		}
		dead.NotAfter = time.Now()
		apply(m, dead)
		time.Sleep(day)
		if apply(m, voipOf(token)); only(t, m, alice).Push.VoIP.Value != token {
			t.Errorf("a day later: %+v", only(t, m, alice).Push)
		}
	})
}

// What a backend announced, a REGISTER may replace by what the phone has now; it is
// never forgotten by one without tokens, nor by a log-out.
func TestRegisterReplacesButNeverForgets(t *testing.T) {
	const newer = "ccddccddccddccddccdd"
	for _, tt := range []struct {
		name string
		do   func(m *location.Memory)
		want string
	}{
		{"a REGISTER without tokens", func(m *location.Memory) {
			apply(m, register(alice, phone, "sip:alice@1", "", 1))
			pass(m, 2*time.Minute)
		}, newer},
		{"a log-out by SIP", func(m *location.Memory) {
			apply(m, location.RemoveBinding{AOR: alice, Contact: "sip:alice@1", Instance: phone})
			pass(m, time.Minute)
			apply(m, register(alice, phone, "sip:alice@1", "", 1))
			pass(m, 2*time.Minute)
		}, newer},
		{"the backend repeats the old one", func(m *location.Memory) { apply(m, voipOf(token)) }, newer},
		{"the backend has a newer one", func(m *location.Memory) { apply(m, voipOf("eeee")) }, "eeee"},
		{"the backend takes its own back, then a REGISTER without tokens", func(m *location.Memory) {
			apply(m, location.Announce{AOR: alice, Instance: phone})
			apply(m, register(alice, phone, "sip:alice@1", "", 1))
			pass(m, 2*time.Minute)
		}, ""},
		{"410", func(m *location.Memory) {
			apply(m, location.RemoveToken{Kind: location.VoIP, Value: newer, NotAfter: time.Now()})
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(t, &locationtest.Store{})
				apply(m, voipOf(token))
				time.Sleep(time.Second)
				apply(m, register(alice, phone, "sip:alice@1", newer, 1))
				if v := only(t, m, alice).Push.VoIP; v.Value != newer || v.Source != location.FromSIP {
					t.Fatalf("%q from %s", v.Value, v.Source)
				}
				tt.do(m)
				if d := only(t, m, alice); d.Push.VoIP.Value != tt.want || d.Wakeable != (tt.want != "") {
					t.Errorf("%q, wakeable %t", d.Push.VoIP.Value, d.Wakeable)
				}
			})
		})
	}
}

// A token that the service does not know (a wrong environment, or app) is forgotten, and
// may be announced again at once: only one that it called gone is not taken.
func TestAnUnknownTokenMayComeBack(t *testing.T) {
	for _, gone := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory(t, &locationtest.Store{})
			announce := location.Announce{AOR: alice, Instance: "urn:uuid:00000000-0000-0000-0000-000000000001",
				Push: location.PushInfo{Provider: "apns", BundleID: "com.example.phone", VoIP: location.Token{Value: token, Kind: location.VoIP}}}
			apply(m, announce)
			time.Sleep(time.Second)
			apply(m, location.RemoveToken{Kind: location.VoIP, Value: token, NotAfter: time.Now(), Gone: gone})
			apply(m, announce)
			if d, back := m.Device(location.Ref{AOR: alice, Key: announce.Instance}); (back && !d.Push.VoIP.IsZero()) == gone {
				t.Errorf("gone %v: back %v", gone, back)
			}
		})
	}
}
