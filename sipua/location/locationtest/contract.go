// Package locationtest has the contract test that every location.Store must
// pass, and a store for tests that can fail and hang.
package locationtest

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wakebridge/sipua"
	"wakebridge/sipua/location"
)

// Contract tests a location.Store. open is called once for each subtest and
// returns an empty store; it registers what closes it with t.Cleanup of the
// test it was made for.
func Contract(t *testing.T, open func(t *testing.T) location.Store) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*testing.T, location.Store)
	}{
		{"empty at first", testEmpty},
		{"every field comes back", testRoundTrip},
		{"a put replaces the whole", testReplace},
		{"deletes only what is named", testDelete},
		{"fates", testFates},
		{"hostile text", testHostile},
		{"same batch twice", testIdempotent},
		{"context over", testContext},
		{"concurrent commits", testConcurrent},
		{"keeps nothing of the caller", testAliasing},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// Device is a device with every field set.
func Device(user, key string) location.Device {
	at := time.Date(2026, 3, 29, 1, 59, 59, 987_000_000, time.UTC)
	return location.Device{
		AOR: sipua.NewAOR(user, "example.com"), Key: key, Instance: "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
		Bindings: []location.Binding{{
			Contact: `"A" <sip:` + user + `@10.0.0.1:5060;transport=tcp;pn-prid=0a1b2c3d4e5f60718293>;expires=3600;+sip.instance="<urn:uuid:F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6>"`,
			Node:    "node-1", Path: []string{"<sip:p1.example.com;lr>", "<sip:p2.example.com;lr>"},
			Instance: "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", RegID: 2, CallID: "abc@10.0.0.1", CSeq: 1<<31 + 5,
			Expires: at.Add(time.Hour), UserAgent: "Linphone/5.2 (iPhone)",
			Received: netip.MustParseAddrPort("[2001:db8::1]:49152"), Transport: "tls", Registered: at,
		}, {
			Contact: "<sip:" + user + "@10.0.0.2>", CallID: "def", CSeq: 1, Expires: at.Add(time.Minute),
			Received: netip.MustParseAddrPort("10.0.0.2:5060"), Transport: "udp", Registered: at.Add(-time.Minute),
		}},
		Push: location.PushInfo{
			Provider: "apns", BundleID: "com.example.phone", TeamID: "ABCDE12345", Environment: location.Sandbox, FateHeader: true,
			VoIP: location.Token{
				Value: "0a1b2c3d4e5f60718293", Kind: location.VoIP, Updated: at.Add(time.Millisecond),
				Source: location.FromSIP, Environment: location.Production, Replaced: "1a2b3c4d",
				Throttled: at.Add(-time.Minute), NotBefore: at.Add(time.Minute),
			},
			Alert: location.Token{Value: "f0e0d0c0b0a090807060", Kind: location.Alert, Updated: at, Source: location.FromHTTP},
		},
		LastSeen: at, LoggedOut: at.Add(time.Second), LogoutDue: at.Add(2 * time.Second), TokensDue: at.Add(3 * time.Second),
		Health: location.Health{
			Unanswered: 2, LastAccepted: at.Add(-time.Second), Accepted: 7, Refused: 3,
			LastRefused: at.Add(-time.Hour), LastReason: "BadDeviceToken",
			LastVoIP: at.Add(-time.Minute), Refreshes: 4, LastRefresh: at.Add(-2 * time.Hour), Reached: at.Add(-3 * time.Hour),
		},
	}
}

// Fate is a fate with every field set.
func Fate(user, key, uuid string) location.Fate {
	at := time.Date(2026, 3, 29, 1, 59, 59, 987_000_000, time.UTC)
	return location.Fate{
		AOR: sipua.NewAOR(user, "example.com"), DeviceKey: key, UUID: uuid, Cause: 487, Text: "Caller gave up",
		ExpiresAt: at.Add(25 * time.Second), Recorded: at, KeepUntil: at.Add(5 * time.Minute), Told: true,
	}
}

func commit(t *testing.T, s location.Store, b location.Batch) {
	t.Helper()
	if err := s.Commit(t.Context(), b); err != nil {
		t.Fatalf("Commit: %v", err)
	}
}

// want fails unless the store holds just these, in any order.
func want(t *testing.T, s location.Store, devices []location.Device, fates []location.Fate) {
	t.Helper()
	state, err := s.Load(t.Context())
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	byRef := func(a, b location.Device) int {
		return strings.Compare(a.AOR.String()+a.Key, b.AOR.String()+b.Key)
	}
	byFate := func(a, b location.Fate) int {
		return strings.Compare(a.AOR.String()+a.DeviceKey+a.UUID, b.AOR.String()+b.DeviceKey+b.UUID)
	}
	slices.SortFunc(state.Devices, byRef)
	slices.SortFunc(state.Fates, byFate)
	devices, fates = slices.SortedFunc(slices.Values(devices), byRef), slices.SortedFunc(slices.Values(fates), byFate)
	if len(state.Devices) != len(devices) || len(state.Fates) != len(fates) {
		t.Fatalf("store holds %d devices, %d fates; want %d, %d", len(state.Devices), len(state.Fates), len(devices), len(fates))
	}
	for i := range devices {
		if !reflect.DeepEqual(state.Devices[i], devices[i]) {
			t.Errorf("device %s:\n got %s\nwant %s", devices[i].Key, dump(state.Devices[i]), dump(devices[i]))
		}
	}
	for i := range fates {
		if state.Fates[i] != fates[i] {
			t.Errorf("fate:\n got %+v\nwant %+v", state.Fates[i], fates[i])
		}
	}
}

// dump shows the fields that print masked as well; the tokens are the test's own.
func dump(d location.Device) string {
	type binding location.Binding
	type token location.Token
	out := fmt.Sprintf("%+v voip %+v alert %+v", d, token(d.Push.VoIP), token(d.Push.Alert))
	for _, b := range d.Bindings {
		out += fmt.Sprintf("\n  %#v", binding(b))
	}
	return out
}

func testEmpty(t *testing.T, s location.Store) {
	want(t, s, nil, nil)
	commit(t, s, location.Batch{})
	want(t, s, nil, nil)
}

func testRoundTrip(t *testing.T, s location.Store) {
	full := Device("alice", "full")
	bare := location.Device{AOR: sipua.NewAOR("bob", "example.com"), Key: "bare"}
	commit(t, s, location.Batch{Put: []location.Device{full, bare}})
	want(t, s, []location.Device{full, bare}, nil)
}

func testReplace(t *testing.T, s location.Store) {
	d := Device("alice", "k")
	commit(t, s, location.Batch{Put: []location.Device{d}})
	d.Bindings, d.Push, d.Health, d.TokensDue = nil, location.PushInfo{}, location.Health{}, time.Time{}
	commit(t, s, location.Batch{Put: []location.Device{d}})
	want(t, s, []location.Device{d}, nil)

	// A flow and Wakeable are facts of one process.
	d = Device("alice", "k")
	awake := Device("alice", "k")
	awake.Wakeable, awake.Bindings[0].Flow = true, 17
	commit(t, s, location.Batch{Put: []location.Device{awake}})
	want(t, s, []location.Device{d}, nil)

	// Nor does a store see finer than a millisecond or outside UTC.
	d.LastSeen = d.LastSeen.Add(123 * time.Microsecond).In(time.FixedZone("x", 7200))
	commit(t, s, location.Batch{Put: []location.Device{d}})
	want(t, s, []location.Device{Device("alice", "k")}, nil)
}

func testDelete(t *testing.T, s location.Store) {
	a, b, c := Device("alice", "1"), Device("alice", "2"), Device("bob", "1")
	commit(t, s, location.Batch{Put: []location.Device{a, b, c}})
	commit(t, s, location.Batch{Delete: []location.Ref{a.Ref(), {AOR: a.AOR, Key: "unknown"}}})
	want(t, s, []location.Device{b, c}, nil)
}

func testFates(t *testing.T, s location.Store) {
	a, b, c := Fate("alice", "1", "u1"), Fate("alice", "1", "u2"), Fate("alice", "2", "u1")
	a.KeepUntil, a.Told = time.Time{}, false
	commit(t, s, location.Batch{PutFates: []location.Fate{a, b, c}})
	want(t, s, nil, []location.Fate{a, b, c})
	a.Told, a.KeepUntil = true, b.KeepUntil
	commit(t, s, location.Batch{PutFates: []location.Fate{a}, DeleteFates: []location.FateRef{b.Ref()}})
	want(t, s, nil, []location.Fate{a, c})
}

func testHostile(t *testing.T, s location.Store) {
	d := Device("al'; DROP TABLE devices; --", "k\x00ey")
	d.Bindings[0].UserAgent = "x\"\\\u2028<script>\x1b[31m"
	d.Bindings[0].Contact = "<sip:\xff\xfe@h>" // not UTF-8, and still byte for byte
	commit(t, s, location.Batch{Put: []location.Device{d}})
	want(t, s, []location.Device{d}, nil)
	commit(t, s, location.Batch{Delete: []location.Ref{d.Ref()}})
	want(t, s, nil, nil)
}

func testIdempotent(t *testing.T, s location.Store) {
	b := location.Batch{
		Put: []location.Device{Device("alice", "1")}, Delete: []location.Ref{{AOR: sipua.NewAOR("x", "y"), Key: "z"}},
		PutFates: []location.Fate{Fate("alice", "1", "u")},
	}
	commit(t, s, b)
	commit(t, s, b)
	want(t, s, b.Put, b.PutFates)
}

func testContext(t *testing.T, s location.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// It may or may not be written; the store must answer and go on.
	err := s.Commit(ctx, location.Batch{Put: []location.Device{Device("alice", "1")}})
	if err != nil && strings.Contains(err.Error(), "0a1b2c3d4e5f") {
		t.Errorf("the error shows a token: %v", err)
	}
	commit(t, s, location.Batch{Put: []location.Device{Device("alice", "1")}})
	want(t, s, []location.Device{Device("alice", "1")}, nil)
}

func testConcurrent(t *testing.T, s location.Store) {
	var wg sync.WaitGroup
	var all []location.Device
	for i := range 8 {
		var mine []location.Device
		for j := range 5 {
			mine = append(mine, Device(fmt.Sprintf("user%d", i), fmt.Sprintf("k%d", j)))
		}
		all = append(all, mine...)
		wg.Go(func() {
			for _, d := range mine {
				if err := s.Commit(context.Background(), location.Batch{Put: []location.Device{d}}); err != nil {
					t.Errorf("Commit: %v", err)
				}
				if _, err := s.Load(context.Background()); err != nil {
					t.Errorf("Load: %v", err)
				}
			}
		})
	}
	wg.Wait()
	want(t, s, all, nil)
}

func testAliasing(t *testing.T, s location.Store) {
	d := Device("alice", "1")
	commit(t, s, location.Batch{Put: []location.Device{d}})
	d.Bindings[0].Contact, d.Bindings[0].Path[0] = "changed", "changed"
	want(t, s, []location.Device{Device("alice", "1")}, nil)
}
