package location_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wakebridge/sipua"
	"wakebridge/sipua/location"
	"wakebridge/sipua/location/locationtest"
)

var (
	alice = sipua.NewAOR("alice", "example.com")
	bob   = sipua.NewAOR("bob", "example.com")
	rules = location.Rules{AfterExpiry: true}
)

const (
	day   = 24 * time.Hour
	phone = "urn:uuid:00000000-0000-0000-0000-000000000001"
	other = "urn:uuid:00000000-0000-0000-0000-000000000002"
	token = "aabbccddeeff00112233"
)

func newMemory(t *testing.T, store location.Store) *location.Memory {
	t.Helper()
	m, err := location.NewMemory(t.Context(), store, rules)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// register is a REGISTER for a week with a VoIP token ("" for none) over flow.
func register(aor sipua.AOR, instance, contact, voip string, flow location.FlowID) location.Upsert {
	now := time.Now()
	u := location.Upsert{AOR: aor, Binding: location.Binding{
		Contact: contact, Flow: flow, Instance: instance, Registered: now, Expires: now.Add(7 * day), Transport: "tcp", CallID: "c" + instance, UserAgent: "Phone v1.0",
	}}
	if voip != "" {
		u.Announced = location.Tokens
		u.Push = location.PushInfo{Provider: "apns", BundleID: "com.example.phone", VoIP: location.Token{Value: voip}}
	}
	return u
}

func apply(m *location.Memory, edits ...location.Edit) *location.Applied {
	a := m.Apply(edits...)
	a.Release()
	return a
}

// only is the only device of aor.
func only(t *testing.T, m *location.Memory, aor sipua.AOR) location.Device {
	t.Helper()
	all := m.Devices(aor)
	if len(all) != 1 {
		t.Fatalf("%d devices of %s: %v", len(all), aor, all)
	}
	return all[0]
}

// pass lets time go by, and the registrar's housekeeping run.
func pass(m *location.Memory, d time.Duration) {
	time.Sleep(d)
	apply(m, location.Expire{})
}

func bubble(t *testing.T, run func(t *testing.T)) { t.Helper(); synctest.Test(t, run) }

func TestUpsertDevice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(t, &locationtest.Store{})
		u := register(alice, phone, "<sip:alice@10.0.0.1;pn-prid=x>;expires=60", token, 1)
		u.Push.FateHeader, u.Push.Environment = true, location.Sandbox
		a := apply(m, u)
		d := only(t, m, alice)
		if len(a.Refs) != 1 || a.Refs[0] != d.Ref() || d.Key != phone {
			t.Errorf("refs %v, device %s", a.Refs, d.Key)
		}
		if !reflect.DeepEqual(d.Bindings, []location.Binding{u.Binding}) {
			t.Errorf("bindings %#v", d.Bindings)
		}
		v := d.Push.VoIP
		if v.Value != token || v.Kind != location.VoIP || v.Source != location.FromSIP || !v.Updated.Equal(u.Binding.Registered) ||
			!d.Push.FateHeader || d.Push.BundleID != "com.example.phone" || d.Push.EnvironmentOf(location.VoIP) != location.Sandbox {
			t.Errorf("push %+v, %s from %s", d.Push, v, v.Source)
		}
		if b, awake := d.Flow(); !awake || b.Flow != 1 || len(m.OnFlow(1)) != 1 {
			t.Errorf("not awake on its flow: %+v", b)
		}
		apply(m, location.SetEnvironment{Kind: location.VoIP, Value: token, Environment: location.Production})
		if got := only(t, m, alice).Push.EnvironmentOf(location.VoIP); got != location.Production {
			t.Errorf("learned %s", got)
		}
		apply(m, location.FlowGone{Flow: 1})
		if _, awake := only(t, m, alice).Flow(); awake || len(m.OnFlow(1)) != 0 {
			t.Error("awake without a flow")
		}

		// What a reader got is his.
		d.Bindings[0].Contact = "changed"
		if only(t, m, alice).Bindings[0].Contact == "changed" {
			t.Error("a reader changed memory")
		}
	})
}

func TestHealth(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(t, &locationtest.Store{})
		apply(m, register(alice, phone, "sip:a@1", token, 1))
		push := location.PushReport{AOR: alice, Key: phone, Kind: location.VoIP, Accepted: true}
		apply(m, push, push)
		push.Kind = location.Alert
		apply(m, push)
		apply(m, location.PushReport{AOR: alice, Key: phone, Kind: location.VoIP, Reason: "TooManyRequests"})
		apply(m, location.PushReport{AOR: bob, Key: phone})
		want := location.Health{Unanswered: 2, Accepted: 3, Refused: 1, LastReason: "TooManyRequests", LastAccepted: time.Now(), LastRefused: time.Now(), LastVoIP: time.Now()}
		if got := only(t, m, alice).Health; !reflect.DeepEqual(got, want) {
			t.Errorf("%+v", got)
		}
		apply(m, register(alice, phone, "sip:a@1", token, 2))
		if got := only(t, m, alice).Health; got.Unanswered != 0 || got.Accepted != 3 {
			t.Errorf("after REGISTER: %+v", got)
		}
	})
}

func TestSharedTokenMoves(t *testing.T) {
	for _, test := range []struct {
		rule               location.SharedToken
		aor                sipua.AOR
		instance           string
		oldKeeps, newGets  bool
		note               location.NoteKind
		oldWatcherIsToldOf bool
	}{
		{location.SameInstance, bob, phone, true, true, 0, false},
		{location.SameInstance, bob, other, false, true, location.TokenTaken, true},
		{location.SameInstance, alice, other, false, true, location.TokenTaken, true},
		{location.Newest, bob, phone, false, true, location.TokenTaken, true},
		{location.Refuse, bob, other, true, false, location.TokenRefused, false},
		{location.Refuse, bob, phone, true, true, 0, false},
	} {
		t.Run(fmt.Sprintf("%s %s %s", test.rule, test.aor.User, test.instance[len(test.instance)-1:]), func(t *testing.T) {
			m, err := location.NewMemory(t.Context(), &locationtest.Store{}, location.Rules{AfterExpiry: true, SharedToken: test.rule})
			if err != nil {
				t.Fatal(err)
			}
			apply(m, register(alice, phone, "sip:alice@1", token, 1))
			var told []location.Change
			_, stop := m.Watch(alice, func(c location.Change) { told = append(told, c) })
			defer stop()
			a := apply(m, register(test.aor, test.instance, "sip:x@2", token, 2))
			get := func(aor sipua.AOR, key string) bool {
				d, ok := m.Device(location.Ref{AOR: aor, Key: key})
				return ok && d.Push.VoIP.Value == token
			}
			if get(alice, phone) != test.oldKeeps || get(test.aor, test.instance) != test.newGets {
				t.Errorf("old has it: %t, new has it: %t", get(alice, phone), get(test.aor, test.instance))
			}
			var note location.NoteKind
			if len(a.Notes) > 0 {
				note = a.Notes[0].Kind
			}
			if note != test.note || strings.Contains(fmt.Sprint(a.Notes), token) {
				t.Errorf("notes %v", a.Notes)
			}
			lost := slices.ContainsFunc(told, func(c location.Change) bool {
				return c.Kind == location.TokensChanged && c.Device.Key == phone && !c.Device.Wakeable
			})
			if lost != test.oldWatcherIsToldOf {
				t.Errorf("told %v", told)
			}
		})
	}
}

func TestMaxContacts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &locationtest.Store{}
		m := newMemory(t, store)
		for i := range 20 {
			u := register(alice, fmt.Sprintf("i%d", i), fmt.Sprintf("sip:a@10.0.0.%d", i), fmt.Sprintf("%020d", i), location.FlowID(i+1))
			u.MaxContacts = 5
			a := apply(m, u)
			if evicted := len(a.Notes) == 1 && a.Notes[0].Kind == location.Evicted; evicted != (i >= 5) {
				t.Errorf("registration %d: %v", i, a.Notes)
			}
			if err := m.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		var keys []string
		for _, d := range m.Devices(alice) {
			keys = append(keys, d.Key)
		}
		if !slices.Equal(keys, []string{"i19", "i18", "i17", "i16", "i15"}) {
			t.Errorf("left: %v", keys)
		}
		if s := m.Stats(); s.Bindings != 5 || s.Awake != 5 || s.AORs != 1 {
			t.Errorf("%+v", s)
		}
		if err := m.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if state, err := store.Load(t.Context()); err != nil || len(state.Devices) != 5 {
			t.Errorf("the journal has %d devices, %v", len(state.Devices), err)
		}
		// One phone that always comes from a new address is one device.
		for i := range 20 {
			u := register(bob, phone, fmt.Sprintf("sip:b@10.0.1.%d", i), token, location.FlowID(100+i))
			u.MaxContacts = 5
			apply(m, u)
		}
		if d := only(t, m, bob); len(d.Bindings) != 5 || d.Bindings[0].Contact != "sip:b@10.0.1.19" || !d.Wakeable {
			t.Errorf("%v", d.Bindings)
		}
	})
}

func TestFates(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &locationtest.Store{}
		m := newMemory(t, store)
		device := location.Ref{AOR: alice, Key: phone}
		fate := location.Fate{AOR: alice, DeviceKey: phone, UUID: "u1", Cause: 487, Recorded: time.Now()}
		second := fate
		second.UUID, second.Recorded = "u0", fate.Recorded.Add(time.Second)
		apply(m, location.PutFate{Fate: second}, location.PutFate{Fate: fate})
		got := m.TakeFates(device, 7)
		if len(got) != 2 || got[0].UUID != "u1" || got[1].UUID != "u0" {
			t.Fatalf("took %v", got)
		}
		if again := m.TakeFates(device, 7); len(again) != 0 {
			t.Errorf("told twice: %v", again)
		}
		// What was said over a connection that is gone may not have arrived.
		if again := m.TakeFates(device, 0); len(again) != 0 {
			t.Errorf("told twice: %v", again)
		}
		if again := m.TakeFates(device, 8); len(again) != 2 || again[0].UUID != "u1" {
			t.Errorf("over the next flow: %v", again)
		}
		if again := m.TakeFates(device, 8); len(again) != 0 {
			t.Errorf("told twice on one flow: %v", again)
		}
		if kept := m.Fates(device); len(kept) != 2 || !kept[0].Told {
			t.Errorf("kept %v", kept)
		}
		if none := m.TakeFates(location.Ref{AOR: bob, Key: phone}, 7); len(none) != 0 {
			t.Errorf("somebody else's: %v", none)
		}
		// The call ends later; that it was told is not forgotten.
		fate.KeepUntil = time.Now().Add(5 * time.Minute)
		apply(m, location.PutFate{Fate: fate})
		if again := m.TakeFates(device, 8); len(again) != 0 {
			t.Errorf("told twice: %v", again)
		}
		if err := m.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}

		// After a restart the other call is dead, and its fate will be forgotten as well.
		m = newMemory(t, store)
		if again := m.TakeFates(device, 0); len(again) != 0 {
			t.Errorf("told twice: %v", again)
		}
		// Its connections went down with the server, maybe with what they were to say.
		if again := m.TakeFates(device, 7); len(again) != 2 || again[0].UUID != "u1" {
			t.Errorf("over the first flow after the restart: %v", again)
		}
		if again := m.TakeFates(device, 7); len(again) != 0 {
			t.Errorf("told twice on one flow: %v", again)
		}
		pass(m, 5*time.Minute)
		if err := m.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		state, err := store.Load(t.Context())
		if err != nil || len(state.Fates) != 0 || len(m.Fates(device)) != 0 {
			t.Errorf("left: %v, %v, %v", state.Fates, m.Fates(device), err)
		}
	})
}

func TestFlushFailsAndRecovers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &locationtest.Store{}
		m := newMemory(t, store)
		full := errors.New("disk full")
		store.Fail(full)
		apply(m, register(alice, phone, "sip:a@1", token, 1), location.PutFate{Fate: location.Fate{AOR: alice, DeviceKey: phone, UUID: "u"}})
		if err := m.Flush(t.Context()); !errors.Is(err, full) {
			t.Fatalf("Flush: %v", err)
		}
		if d := only(t, m, alice); !d.Wakeable {
			t.Error("memory did not go on")
		}
		apply(m, register(bob, other, "sip:b@1", "", 2))
		if n := m.Stats().Uncommitted; n != 3 {
			t.Errorf("%d not committed", n)
		}
		store.Fail(nil)
		if err := m.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		state, err := store.Load(t.Context())
		if err != nil || len(state.Devices) != 2 || len(state.Fates) != 1 {
			t.Errorf("journal: %d devices, %d fates, %v", len(state.Devices), len(state.Fates), err)
		}
		n := store.Commits()
		if err := m.Flush(t.Context()); err != nil || store.Commits() != n {
			t.Errorf("committed nothing: %v", err)
		}
		store.Fail(full)
		if _, err := location.NewMemory(t.Context(), store, rules); !errors.Is(err, full) {
			t.Errorf("NewMemory: %v", err)
		}
	})
}

// A REGISTER wakes a waiting call while its commit hangs.
func TestSlowDiskHoldsNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &locationtest.Store{}
		m := newMemory(t, store)
		var told []location.Change
		_, stop := m.Watch(alice, func(c location.Change) { told = append(told, c) })
		defer stop()
		release := store.Hang()
		a := m.Apply(register(alice, phone, "sip:a@1", token, 1))
		done := make(chan error, 1)
		go func() { done <- m.Flush(context.Background()) }()
		synctest.Wait()
		if len(told) != 0 {
			t.Error("told before the release")
		}
		a.Release()
		if len(told) != 1 || told[0].Kind != location.Registered || told[0].Flow != 1 {
			t.Errorf("told %v", told)
		}
		// Others write to memory meanwhile, and a second Flush may give up.
		apply(m, register(bob, other, "sip:b@1", "", 2))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("second Flush: %v", err)
		}
		release()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := m.Stats().Uncommitted; n != 1 {
			t.Errorf("%d not committed", n)
		}
	})
}
