package location_test

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"wakebridge/sipua/location"
	"wakebridge/sipua/location/locationtest"
)

func TestWatchKinds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(t, &locationtest.Store{})
		var got []string
		now, stop := m.Watch(alice, func(c location.Change) {
			got = append(got, fmt.Sprintf("%s %d %t", c.Kind, c.Flow, c.Device.Wakeable))
		})
		if len(now) != 0 {
			t.Errorf("devices of nobody: %v", now)
		}
		step := func(want ...string) {
			t.Helper()
			if !slices.Equal(got, want) {
				t.Errorf("told %q, want %q", got, want)
			}
			got = nil
		}
		apply(m, register(bob, other, "sip:b@9", "", 9))
		step()
		over := func(regID int) location.Upsert {
			u := register(alice, phone, fmt.Sprint("sip:a@", regID), token, location.FlowID(regID))
			u.Binding.RegID = regID
			return u
		}
		apply(m, over(1))
		step("registered 1 true")
		apply(m, over(2))
		step("registered 2 true")
		apply(m, location.FlowGone{Flow: 1})
		step("flow-lost 1 true")
		apply(m, location.FlowGone{Flow: 1}, location.FlowGone{Flow: 77}, location.FlowGone{})
		step()
		apply(m, location.RemoveBinding{AOR: alice, Contact: "sip:a@2"})
		step("unregistered 2 true")
		pass(m, 7*day)
		step("expired 0 true") // the other Contact was still there: no log-out
		apply(m, location.RemoveToken{Kind: location.VoIP, Value: token, NotAfter: time.Now()})
		step("tokens-changed 0 false", "removed 0 false")
		apply(m, register(alice, phone, "sip:a@1", token, 3))
		step("registered 3 true")
		apply(m, location.MarkLoggedOut{AOR: alice, Key: phone})
		step("logged-out 0 false")
		stop()
		stop()
		apply(m, register(alice, phone, "sip:a@1", token, 3))
		step()
	})
}

// A change of an AOR never overtakes an earlier one that is still held back.
func TestReleaseKeepsOrder(t *testing.T) {
	m := newMemory(t, &locationtest.Store{})
	var got []location.Change
	post := func(c location.Change) { got = append(got, c) }
	_, stop := m.Watch(alice, post)
	defer stop()
	held := m.Apply(register(alice, phone, "sip:a@1", token, 1))
	apply(m, register(bob, other, "sip:b@1", "", 5)).Release()
	if len(got) != 0 {
		t.Fatalf("bob's release told %v", got)
	}
	apply(m, location.FlowGone{Flow: 1})
	held.Release()
	held.Release()
	if len(got) != 2 || got[0].Kind != location.Registered || got[1].Kind != location.FlowLost || got[0].Seq >= got[1].Seq {
		t.Fatalf("told %v", got)
	}
	// Each change shows the device as it was then.
	if _, awake := got[0].Device.Flow(); !awake {
		t.Error("the first change shows the second")
	}
}

// Each watcher owns what it gets.
func TestWatchersShareNothing(t *testing.T) {
	m := newMemory(t, &locationtest.Store{})
	var contacts []string
	for range 2 {
		_, stop := m.Watch(alice, func(c location.Change) {
			contacts = append(contacts, c.Device.Bindings[0].Contact)
			c.Device.Bindings[0].Contact = "changed"
		})
		defer stop()
	}
	apply(m, register(alice, phone, "sip:a@1", token, 1))
	if !slices.Equal(contacts, []string{"sip:a@1", "sip:a@1"}) {
		t.Errorf("%q", contacts)
	}
}

// Who begins to watch between Apply and Release sees the change once, in the snapshot.
func TestWatchBetweenApplyAndRelease(t *testing.T) {
	m := newMemory(t, &locationtest.Store{})
	var early, late int
	_, stop := m.Watch(alice, func(location.Change) { early++ })
	defer stop()
	a := m.Apply(register(alice, phone, "sip:a@1", token, 1))
	now, stopLate := m.Watch(alice, func(location.Change) { late++ })
	defer stopLate()
	a.Release()
	if len(now) != 1 || early != 1 || late != 0 {
		t.Errorf("snapshot of %d, told %d and %d", len(now), early, late)
	}
}

// Snapshot and changes together are complete, whatever happens at the same time.
func TestWatchUnderFire(t *testing.T) {
	m := newMemory(t, &locationtest.Store{})
	const n = 300
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			apply(m, register(alice, phone, "sip:a@1", token, location.FlowID(i+1)))
		}
	})
	wg.Go(func() {
		for range n {
			if err := m.Flush(t.Context()); err != nil {
				t.Error(err)
			}
			m.Devices(alice)
			m.Stats()
		}
	})
	for range 8 {
		wg.Go(func() {
			for range 30 {
				var mu sync.Mutex
				var flows []location.FlowID
				now, stop := m.Watch(alice, func(c location.Change) {
					mu.Lock()
					defer mu.Unlock()
					flows = append(flows, c.Flow)
					c.Device.Bindings[0].Contact = "mine to change"
				})
				for range 3 {
					runtime.Gosched()
				}
				stop()
				mu.Lock()
				seen := slices.Clone(flows)
				mu.Unlock()
				var next location.FlowID = 1
				if len(now) == 1 {
					b, _ := now[0].Flow()
					next = b.Flow + 1
				}
				for _, f := range seen {
					if f != next {
						t.Errorf("after the snapshot came %d, not %d", f, next)
					}
					next = f + 1
				}
			}
		})
	}
	wg.Wait()
	if b := only(t, m, alice).Bindings[0]; b.Flow != n || b.Contact != "sip:a@1" {
		t.Errorf("%v", b)
	}
}
