package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"wakebridge/bridge"
	"wakebridge/sipua/iphone"
)

// reach counts what sequences came to: a model whose steps lead nowhere keeps every
// promise.
type reach map[string]int

// corners are what many steps must come to.
func corners() []string {
	return []string{
		"answered", "cancelled", "declined", "unreachable", "woken", "fell back on an alert", "hedged", "stopped push",
		"suspected: alert first", "refused by a credential", "cut off by a restart", "held", "resumed",
	}
}

// reached says what a sequence came to.
func (w *world) reached() reach {
	got := make(reach)
	for _, r := range w.observer.Records() {
		got[string(r.Result)]++
		if strings.Contains(r.Reason, "server is shutting down") {
			got["cut off by a restart"]++
		}
		for _, s := range r.Steps {
			if strings.Contains(s.What, "did not come after its last") {
				got["suspected: alert first"]++
			}
		}
		for _, a := range r.Attempts {
			got.attempt(a)
		}
	}
	for _, p := range w.phones {
		got["held"] += p.ups[iphone.Held]
		got["resumed"] += p.ups[iphone.Resumed]
	}
	return got
}

func (got reach) attempt(a bridge.AttemptRecord) {
	voip := false
	for _, p := range a.Pushes {
		switch {
		case p.Hedged:
			got["hedged"]++
		case p.Reason == "stopped":
			got["stopped push"]++
		case p.Reason == "credential broken":
			got["refused by a credential"]++
		case p.Kind == "alert" && voip:
			got["fell back on an alert"]++
		case p.Accepted && a.Registered.After(p.At):
			got["woken"]++
		}
		voip = voip || p.Kind == "voip"
	}
}

// total adds up what all shards came to.
type totals struct {
	mu   sync.Mutex
	got  reach
	done int
}

func (t *totals) add(steps int, got reach) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done += steps
	for what, n := range got {
		t.got[what] += n
	}
}

// enough is how many steps must come to every corner.
const enough = 50_000

// check tells what was reached.
func (t *totals) check(tb *testing.T) {
	tb.Helper()
	var words []string
	for _, what := range slices.Sorted(maps.Keys(t.got)) {
		words = append(words, fmt.Sprintf("%s %d", what, t.got[what]))
	}
	tb.Logf("%d steps came to: %s", t.done, strings.Join(words, ", "))
	for _, what := range corners() {
		if t.got[what] == 0 && t.done >= enough {
			tb.Errorf("%d steps never came to: %s", t.done, what)
		}
	}
}
