package location_test

import (
	"testing"
	"time"

	"wakebridge/sipua/location"
	"wakebridge/sipua/location/locationtest"
)

// withAlert is register for a phone that also takes alert pushes, and a lease of
// a week.
func withAlert(instance string) location.Upsert {
	u := register(alice, instance, "<sip:alice@10.0.0.1>", token, 0)
	u.Push.Alert = location.Token{Value: "bbbb0000bbbb0000", Kind: location.Alert}
	u.Binding.Registered, u.Binding.Expires = time.Now(), time.Now().Add(7*day)
	return u
}

func TestRefreshesComeDueOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &locationtest.Store{}
		m := newMemory(t, store)
		apply(m, withAlert(phone))
		start := time.Now()
		due := func(after time.Duration) bool {
			time.Sleep(time.Until(start.Add(after)))
			d, ok := m.TakeRefresh(time.Now())
			if ok && d.Key != phone {
				t.Errorf("due: %s", d.Key)
			}
			return ok
		}
		if at, ok := m.NextRefresh(); !ok || !at.Equal(start.Add(7*day-7*day/10)) {
			t.Fatalf("next %s %t", at, ok)
		}
		first := 7*day - 7*day/10
		if due(first-time.Second) || !due(first) || due(first) {
			t.Error("not due once")
		}
		// Nobody pushed: it is looked at again.
		if due(first+15*time.Minute-time.Second) || !due(first+15*time.Minute) {
			t.Error("not looked at again")
		}
		apply(m, location.Refreshed{AOR: alice, Key: phone, At: time.Now()}, location.Refreshed{AOR: bob, Key: phone})
		pushed := time.Since(start)
		if due(pushed+3*time.Hour-time.Second) || !due(pushed+3*time.Hour) {
			t.Error("the distance is not kept")
		}

		// A restart forgets neither the push nor the distance.
		if err := m.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		again := newMemory(t, store)
		if at, ok := again.NextRefresh(); !ok || !at.Equal(start.Add(pushed+3*time.Hour)) {
			t.Errorf("after a restart: %s %t", at.Sub(start), ok)
		}

		// Its REGISTER starts anew, its log-out ends it.
		apply(m, withAlert(phone))
		if h := only(t, m, alice).Health; h.Refreshes != 0 || h.LastRefresh.IsZero() {
			t.Errorf("health %+v", h)
		}
		if at, ok := m.NextRefresh(); !ok || time.Until(at) < 6*day {
			t.Errorf("next %s %t", at, ok)
		}
		apply(m, location.MarkLoggedOut{AOR: alice, Key: phone})
		if _, ok := m.NextRefresh(); ok {
			t.Error("asked after its log-out")
		}
		pass(m, 100*day)
		if _, ok := m.TakeRefresh(time.Now()); ok {
			t.Error("a device that is forgotten")
		}
	})
}

func TestRefreshIsNotLookedAtAfterTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(t, &locationtest.Store{})
		u := withAlert(phone)
		u.Binding.Expires = time.Now().Add(10 * time.Minute)
		apply(m, u)
		time.Sleep(8 * time.Minute)
		if _, ok := m.TakeRefresh(time.Now()); !ok {
			t.Error("not due")
		}
		if at, ok := m.NextRefresh(); ok {
			t.Errorf("again at %s", at)
		}
	})
}

func TestSuspicionIsToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(t, &locationtest.Store{})
		report := location.PushReport{AOR: alice, Key: phone, Kind: location.VoIP, Accepted: true}
		kinds := func(a *location.Applied) (out []location.NoteKind) {
			for _, n := range a.Notes {
				if n.Device != (location.Ref{AOR: alice, Key: phone}) {
					t.Errorf("note of %v", n.Device)
				}
				out = append(out, n.Kind)
			}
			return out
		}
		expect := func(a *location.Applied, want ...location.NoteKind) {
			t.Helper()
			if got := kinds(a); len(got) != len(want) || len(want) == 1 && got[0] != want[0] {
				t.Errorf("notes %v, want %v", got, want)
			}
		}
		expect(apply(m, withAlert(phone)))
		expect(apply(m, report))
		expect(apply(m, report), location.Suspected)
		expect(apply(m, report))
		if s := m.Stats(); s.Suspected != 1 {
			t.Errorf("stats %+v", s)
		}
		if d := only(t, m, alice); !d.Suspected() || !d.VoIPDue().Equal(time.Now().Add(time.Minute)) {
			t.Errorf("%+v", d.Health)
		}
		expect(apply(m, withAlert(phone)), location.Recovered)
		if s := m.Stats(); s.Suspected != 0 {
			t.Errorf("stats %+v", s)
		}
		expect(apply(m, withAlert(phone)))
	})
}

// The provider's word may come after the device that it brought.
func TestPushBeforeTheRegisterIsAnswered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(t, &locationtest.Store{})
		sent := time.Now()
		time.Sleep(time.Second)
		apply(m, withAlert(phone))
		report := location.PushReport{AOR: alice, Key: phone, Kind: location.VoIP, Accepted: true, Sent: sent}
		apply(m, report)
		if h := only(t, m, alice).Health; h.Unanswered != 0 || h.Accepted != 1 {
			t.Errorf("%+v", h)
		}
		report.Sent = time.Now().Add(time.Second)
		apply(m, report)
		if h := only(t, m, alice).Health; h.Unanswered != 1 {
			t.Errorf("%+v", h)
		}
	})
}

// A device that never registers again, and answers its calls all the same.
func TestAnswerCountsAsRegister(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &locationtest.Store{}
		m := newMemory(t, store)
		apply(m, withAlert(phone))
		ref := location.Ref{AOR: alice, Key: phone}
		reached := location.Reached{AOR: alice, Key: phone}
		for range 5 {
			time.Sleep(time.Minute)
			sent := time.Now()
			time.Sleep(time.Second)
			apply(m, location.PushReport{AOR: alice, Key: phone, Kind: location.VoIP, Accepted: true, Sent: sent})
			apply(m, reached)
			if d := only(t, m, alice); d.Suspected() || d.Health.Unanswered != 0 || !d.Health.Reached.Equal(time.Now()) {
				t.Fatalf("%+v", d.Health)
			}
			// The provider's word about a push may come after the device it brought.
			apply(m, location.PushReport{AOR: alice, Key: phone, Kind: location.VoIP, Accepted: true, Sent: sent})
			if h := only(t, m, alice).Health; h.Unanswered != 0 {
				t.Fatalf("%+v", h)
			}
		}
		report := location.PushReport{AOR: alice, Key: phone, Kind: location.VoIP, Accepted: true, Sent: time.Now().Add(time.Second)}
		apply(m, report, report)
		if d := only(t, m, alice); !d.Suspected() {
			t.Fatalf("%+v", d.Health)
		}
		if a := apply(m, reached); len(a.Notes) != 1 || a.Notes[0].Kind != location.Recovered || a.Notes[0].Device != ref {
			t.Errorf("notes %+v", a.Notes)
		}
		if err := m.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := only(t, newMemory(t, store), alice); d.Health.Unanswered != 0 || d.Health.Reached.IsZero() {
			t.Errorf("after a restart: %+v", d.Health)
		}
		// Nothing was in doubt: nothing is to be written.
		apply(m, reached, location.Reached{AOR: bob, Key: phone})
		if s := m.Stats(); s.Uncommitted != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// A new token has no past; the same one again has.
func TestNewTokenOfTheBackendStartsAnew(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(t, &locationtest.Store{})
		announce := func(voip string) {
			apply(m, location.Announce{AOR: alice, Instance: phone, Push: location.PushInfo{Provider: "apns", BundleID: "com.example.phone",
				VoIP: location.Token{Value: voip, Kind: location.VoIP}}})
		}
		announce("aaaa0000aaaa0000")
		apply(m, location.PushReport{AOR: alice, Key: phone, Kind: location.VoIP, Accepted: true})
		announce("aaaa0000aaaa0000")
		if h := only(t, m, alice).Health; h.Unanswered != 1 {
			t.Errorf("%+v", h)
		}
		announce("cccc0000cccc0000")
		if h := only(t, m, alice).Health; h.Unanswered != 0 {
			t.Errorf("%+v", h)
		}
	})
}
