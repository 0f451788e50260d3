package iphone

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// Before iOS 26.4 the app is not told whether it must report, and is as free.
func TestTheExemptionIsOlderThanItsMetadata(t *testing.T) {
	for _, cfg := range []Config{{OS: 13}, {OS: 26, OSMinor: 3}} {
		withStub(t, cfg, nil, func(t *testing.T, d *Device, apps func() []*stub) {
			if err := d.Open(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			push(t, d)
			time.Sleep(10 * time.Second)
			if got := apps(); len(got) != 1 || len(got[0].must) != 1 || got[0].must[0] != nil || len(rulesOf(d)) != 0 {
				t.Errorf("iOS %d.%d: %d processes, %v", cfg.OS, cfg.OSMinor, len(got), rulesOf(d))
			}
		})
	}
}

// An answered call of the stub, whose audio runs.
func answeredCall(t *testing.T, d *Device) uuid.UUID {
	t.Helper()
	id := ringingCall(t, d)
	if err := d.Answer(id); err != nil {
		t.Fatal(err)
	}
	on(t, d, func() { apps0(d).answers[len(apps0(d).answers)-1].fulfil() })
	time.Sleep(time.Second)
	return id
}

// Each action of a call changes the screen when it is fulfilled, and only then.
func TestActionsOfACall(t *testing.T) {
	state := func(t *testing.T, d *Device) CallStatus {
		t.Helper()
		s, err := d.Status()
		if err != nil || len(s.Calls) != 1 {
			t.Fatalf("%+v, %v", s, err)
		}
		return s.Calls[0]
	}
	for name, c := range map[string]struct {
		do   func(d *Device) error
		kind actionKind
		want func(s CallStatus) bool
	}{
		"hold": {func(d *Device) error { return d.Hold(uuid.Nil) }, setHeldCall, func(s CallStatus) bool { return s.State == "held" }},
		"mute": {func(d *Device) error { return d.Mute(uuid.Nil, true) }, setMutedCall, func(s CallStatus) bool { return s.Muted }},
		"keys": {func(d *Device) error { return d.Press(uuid.Nil, "1") }, playDTMFCall, nil},
	} {
		withStub(t, Config{}, nil, func(t *testing.T, d *Device, _ func() []*stub) {
			answeredCall(t, d)
			for _, fulfil := range []bool{false, true} {
				if err := c.do(d); err != nil {
					t.Fatal(err)
				}
				if c.want != nil && c.want(state(t, d)) {
					t.Errorf("%s: not fulfilled, and done", name)
				}
				on(t, d, func() {
					all := apps0(d).all
					a := all[len(all)-1]
					if a.kind != c.kind {
						t.Errorf("%s: %s", name, a.kind)
					}
					if fulfil {
						a.fulfil()
					} else {
						a.fail()
					}
				})
				if c.want != nil && c.want(state(t, d)) != fulfil {
					t.Errorf("%s: fulfil %v, %+v", name, fulfil, state(t, d))
				}
			}
			if err := c.do(d); err != nil && name != "hold" {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Minute)
			if got := rulesOf(d); name != "hold" && (len(got) != 1 || got[0] != RuleAction) {
				t.Errorf("%s: %v of one that timed out", name, got)
			}
		})
	}
}

// Audio is taken from the app with the hold or the end, and given back once.
func TestAudioComesAndGoes(t *testing.T) {
	withStub(t, Config{}, nil, func(t *testing.T, d *Device, _ func() []*stub) {
		answeredCall(t, d)
		fulfilLast := func() {
			on(t, d, func() {
				all := apps0(d).all
				all[len(all)-1].fulfil()
			})
			time.Sleep(time.Second)
		}
		if err := d.Hold(uuid.Nil); err != nil {
			t.Fatal(err)
		}
		fulfilLast()
		if err := d.Unhold(uuid.Nil); err != nil {
			t.Fatal(err)
		}
		fulfilLast()
		if err := d.ResetCallKit(); err != nil {
			t.Fatal(err)
		}
		on(t, d, func() {
			s := apps0(d)
			if got := strings.Join(s.audio, " "); got != "on off on off" || s.resets != 1 {
				t.Errorf("audio %s, %d resets", got, s.resets)
			}
		})
		if e := find(d, Ended); e.Reason != ByReset {
			t.Errorf("%+v", e)
		}
	})
}

// CallKit knows each UUID once.
func TestStartingACallTwice(t *testing.T) {
	withStub(t, Config{}, nil, func(t *testing.T, d *Device, _ func() []*stub) {
		id := ringingCall(t, d)
		on(t, d, func() {
			if err := apps0(d).request(startCall, id); !errors.Is(err, errAlreadyExists) {
				t.Errorf("%v", err)
			}
		})
	})
}

// A start that is not fulfilled ends the call.
func TestAFailedStart(t *testing.T) {
	withStub(t, Config{}, nil, func(t *testing.T, d *Device, _ func() []*stub) {
		ringingCall(t, d)
		on(t, d, func() {
			if err := apps0(d).request(startCall, uuid.New()); err != nil {
				t.Error(err)
			}
		})
		on(t, d, func() { apps0(d).all[0].fail() })
		if e := find(d, Ended); e.Reason != Failed {
			t.Errorf("%+v", e)
		}
	})
}

// The keys of other servers' pushes are understood.
func TestReadPush(t *testing.T) {
	const id = "0f8fad5b-d9cb-469f-a165-70867728950e" // with Flexisip the device's, which is no call's
	byCallID := uuid.NewSHA1(uuid.NameSpaceURL, []byte("x@y")).String()
	for name, c := range map[string]struct {
		payload      string
		uuid         string
		callID, name string
		handle       string
	}{
		"wakebridge": {`{"aps":{},"v":1,"type":"call","uuid":"` + id + `","call_id":"x@y","name":"Alice","handle":"201","expires_at":1}`, id, "x@y", "Alice", "201"},
		"flexisip": {`{"aps":{"sound":"","loc-key":"IC_MSG","loc-args":["sip:a@b"],"call-id":"x@y","uuid":"` + id + `","send-time":"2026-01-01 10:00:00"},` +
			`"from-uri":"sip:alice@example.com","display-name":"Alice","pn_ttl":30,"customPayload":{}}`, byCallID, "x@y", "Alice", "sip:alice@example.com"},
		"flutter_callkit": {`{"aps":{"alert":"call"},"id":"` + id + `","nameCaller":"Alice","handle":"201","isVideo":false}`, id, "", "Alice", "201"},
		"callkeep":        {`{"uuid":"` + id + `","callerName":"Alice","handle":"201","hasVideo":true}`, id, "", "Alice", "201"},
		"a Call-ID alone": {`{"aps":{"call-id":"x@y"},"id":7}`, byCallID, "x@y", "", ""},
	} {
		got, err := readPush([]byte(c.payload))
		if err != nil || got.uuid.String() != c.uuid || got.callID != c.callID || got.name != c.name || got.handle != c.handle {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// Kinds forgets none: it is compared with the constants of the source.
func TestKinds(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "timeline.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			if name, ok := v.Type.(*ast.Ident); ok && name.Name == "Kind" {
				s, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Error(err)
				}
				want = append(want, s)
			}
		}
		return true
	})
	var got []string
	for _, k := range Kinds() {
		got = append(got, string(k))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwanted %q", got, want)
	}
	if slices.Sort(got); len(slices.Compact(got)) != len(want) {
		t.Error("two kinds have one name")
	}
}
