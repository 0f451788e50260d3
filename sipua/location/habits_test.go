package location_test

import (
	"slices"
	"testing"
	"time"

	"wakebridge/sipua/location"
	"wakebridge/sipua/location/locationtest"
)

func TestSleepingPhoneKeepsItsToken(t *testing.T) {
	const c1, c2 = "<sip:alice@10.0.0.1>", "<sip:alice@10.9.9.9>"
	everything := func(by location.Sender) func(*location.Memory) {
		return func(m *location.Memory) {
			apply(m, location.RemoveBinding{AOR: alice, Contact: "*", By: by})
			pass(m, time.Minute)
		}
	}
	for _, test := range []struct {
		name string
		do   func(*location.Memory)
		want bool
	}{
		{"flow gone", func(m *location.Memory) { apply(m, location.FlowGone{Flow: 1}) }, true},
		{"binding expired", func(m *location.Memory) { pass(m, 8*day) }, true},
		{"89 days", func(m *location.Memory) { pass(m, 89*day) }, true},
		{"90 days", func(m *location.Memory) { pass(m, 90*day) }, false},
		{"old contact removed and new one added in one REGISTER", func(m *location.Memory) {
			apply(m, location.RemoveBinding{AOR: alice, Contact: c1, Instance: phone}, register(alice, phone, c2, token, 2))
			pass(m, 2*time.Minute)
		}, true},
		{"the same, new one first", func(m *location.Memory) {
			apply(m, register(alice, phone, c2, token, 2), location.RemoveBinding{AOR: alice, Contact: c1, Instance: phone})
			pass(m, 2*time.Minute)
		}, true},
		{"removed, back within a minute", func(m *location.Memory) {
			apply(m, location.RemoveBinding{AOR: alice, Contact: c1, Instance: phone})
			pass(m, 59*time.Second)
			apply(m, register(alice, phone, c2, token, 2))
			pass(m, 2*time.Minute)
		}, true},
		{"old address removed after the new one is there", func(m *location.Memory) {
			apply(m, register(alice, phone, c2, token, 2))
			apply(m, location.RemoveBinding{AOR: alice, Contact: c1, Instance: phone})
			pass(m, 2*time.Minute)
		}, true},
		{"log-out", func(m *location.Memory) {
			apply(m, location.RemoveBinding{AOR: alice, Contact: c1, Instance: phone})
			pass(m, time.Minute)
		}, false},
		{"log-out after the binding expired: by instance", func(m *location.Memory) {
			pass(m, 8*day)
			apply(m, location.RemoveBinding{AOR: alice, Contact: c2, Instance: phone})
			pass(m, time.Minute)
		}, false},
		{"log-out after the binding expired: by token", func(m *location.Memory) {
			pass(m, 8*day)
			apply(m, location.RemoveBinding{AOR: alice, Contact: c2, Token: token})
			pass(m, time.Minute)
		}, false},
		{"somebody removes an unknown contact", func(m *location.Memory) {
			apply(m, location.RemoveBinding{AOR: alice, Contact: c2, Instance: other, Token: "ffff"})
			pass(m, time.Minute)
		}, true},
		{"another phone removes the same private address", func(m *location.Memory) {
			apply(m, location.RemoveBinding{AOR: alice, Contact: c1, Instance: other})
			pass(m, time.Minute)
		}, true},
		{"REGISTER before the token is there", func(m *location.Memory) {
			apply(m, register(alice, phone, c1, "", 1))
			pass(m, 59*time.Second)
			apply(m, register(alice, phone, c1, token, 1))
			pass(m, 2*time.Minute)
		}, true},
		{"REGISTER without the token, and no more", func(m *location.Memory) {
			apply(m, register(alice, phone, c1, "", 1))
			pass(m, time.Minute)
		}, false},
		{"refreshes without the token do not put it off", func(m *location.Memory) {
			apply(m, register(alice, phone, c1, "", 1))
			pass(m, 30*time.Second)
			apply(m, register(alice, phone, c1, "", 1))
			pass(m, 30*time.Second)
		}, false},
		{"capability query", func(m *location.Memory) {
			u := register(alice, phone, c1, "", 1)
			u.Announced = location.Query
			apply(m, u)
			pass(m, 2*time.Minute)
		}, true},
		{"REGISTER without the token in a call", func(m *location.Memory) {
			u := register(alice, phone, c1, "", 1)
			u.InCall = true
			apply(m, u)
			pass(m, 2*time.Minute)
		}, true},
		{"REGISTER without the token, then a call", func(m *location.Memory) {
			apply(m, register(alice, phone, c1, "", 1))
			time.Sleep(time.Minute)
			apply(m, location.Expire{InCall: func(ref location.Ref) bool { return ref == location.Ref{AOR: alice, Key: phone} }})
			time.Sleep(50 * time.Second)
			apply(m, location.Expire{})
		}, true},
		{"REGISTER without the token, then a call that ends", func(m *location.Memory) {
			apply(m, register(alice, phone, c1, "", 1))
			time.Sleep(time.Minute)
			apply(m, location.Expire{InCall: func(location.Ref) bool { return true }})
			pass(m, time.Minute)
		}, false},
		{"log-out said again and again", func(m *location.Memory) {
			for range 3 {
				apply(m, location.RemoveBinding{AOR: alice, Contact: c1, Instance: phone})
				pass(m, 20*time.Second)
			}
		}, false},
		{"announced over HTTP, REGISTER without a token", func(m *location.Memory) {
			apply(m, location.Announce{AOR: alice, Instance: phone, Push: location.PushInfo{Provider: "apns", VoIP: location.Token{Value: token}}})
			apply(m, register(alice, phone, c1, "", 1))
			pass(m, 2*time.Minute)
		}, true},
		{"operator logs it out", func(m *location.Memory) { apply(m, location.MarkLoggedOut{AOR: alice, Key: phone}) }, false},
		{"410 older than the registration", func(m *location.Memory) {
			apply(m, location.RemoveToken{Kind: location.VoIP, Value: token, NotAfter: time.Now().Add(-time.Second)})
		}, true},
		{"410 later than the registration", func(m *location.Memory) {
			apply(m, location.RemoveToken{Kind: location.VoIP, Value: token, NotAfter: time.Now().Add(time.Second)})
		}, false},
		{"410 for the other kind", func(m *location.Memory) {
			apply(m, location.RemoveToken{Kind: location.Alert, Value: token, NotAfter: time.Now().Add(time.Second)})
		}, true},
		{"Contact *", everything(location.Sender{}), false},
		{"Contact * of another product", everything(location.Sender{UserAgent: "Desk phone"}), true},
		{"Contact * of an update", everything(location.Sender{UserAgent: "Phone 2.0"}), false},
		{"Contact * of another product by its flow", everything(location.Sender{Flow: 1, UserAgent: "Desk phone"}), true},
		{"Contact * of another product by its Call-ID", everything(location.Sender{CallID: "c" + phone, UserAgent: "Desk phone"}), false},
		{"Contact * of one of two", func(m *location.Memory) {
			apply(m, register(alice, other, c2, "", 2))
			everything(location.Sender{UserAgent: "Phone v1.0"})(m)
		}, true},
		{"Contact * of this one of two, by its flow", func(m *location.Memory) {
			apply(m, register(alice, other, c2, "", 2))
			everything(location.Sender{Flow: 1})(m)
		}, false},
		{"Contact * of this one of two, by its Call-ID", func(m *location.Memory) {
			apply(m, register(alice, other, c2, "", 2), location.FlowGone{Flow: 1})
			everything(location.Sender{Flow: 3, CallID: "c" + phone})(m)
		}, false},
		{"Contact * of the other of two, by its flow", func(m *location.Memory) {
			apply(m, register(alice, other, c2, "", 2))
			everything(location.Sender{Flow: 2})(m)
		}, true},
		{"Contact * of one of two behind one proxy", func(m *location.Memory) {
			apply(m, register(alice, other, c2, "", 1))
			everything(location.Sender{Flow: 1})(m)
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				store := &locationtest.Store{}
				m := newMemory(t, store)
				apply(m, register(alice, phone, c1, token, 1))
				test.do(m)
				wakeable := func(m *location.Memory) bool {
					return slices.ContainsFunc(m.Devices(alice), func(d location.Device) bool { return d.Wakeable })
				}
				if got := wakeable(m); got != test.want {
					t.Errorf("wakeable: %t", got)
				}
				// The same after a restart.
				if err := m.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got := wakeable(newMemory(t, store)); got != test.want {
					t.Errorf("wakeable after a restart: %t", got)
				}
			})
		})
	}
}

// A log-out that has begun is finished after a restart.
func TestPendingLogoutSurvivesRestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &locationtest.Store{}
		m := newMemory(t, store)
		apply(m, register(alice, phone, "sip:a@1", token, 1))
		apply(m, location.RemoveBinding{AOR: alice, Contact: "sip:a@1"})
		if err := m.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		m = newMemory(t, store)
		if due, ok := m.NextDue(); !ok || time.Until(due) != 30*time.Second {
			t.Errorf("due in %s, %t", time.Until(due), ok)
		}
		if !only(t, m, alice).Wakeable {
			t.Error("logged out too early")
		}
		pass(m, 30*time.Second)
		if left := m.Devices(alice); len(left) != 0 {
			t.Errorf("still there: %v", left)
		}
	})
}

func TestLogoutKeepsTheBackendsToken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(t, &locationtest.Store{})
		apply(m, location.Announce{AOR: alice, Instance: phone, Push: location.PushInfo{Provider: "apns", VoIP: location.Token{Value: token}}})
		if !only(t, m, alice).Wakeable {
			t.Fatal("not wakeable by the backend's announcement alone")
		}
		apply(m, register(alice, phone, "sip:a@1", "", 1))
		apply(m, location.RemoveBinding{AOR: alice, Contact: "sip:a@1", Instance: phone})
		pass(m, time.Minute)
		if d := only(t, m, alice); d.Wakeable || d.LoggedOut.IsZero() {
			t.Fatalf("logged out: %+v", d)
		}
		apply(m, register(alice, phone, "sip:a@2", "", 2))
		if d := only(t, m, alice); !d.Wakeable || !d.LoggedOut.IsZero() {
			t.Errorf("back again: %+v", d)
		}
		apply(m, location.Announce{AOR: alice, Instance: phone})
		if d := only(t, m, alice); d.Push.HasToken() {
			t.Errorf("the backend took its token back: %+v", d)
		}
	})
}
