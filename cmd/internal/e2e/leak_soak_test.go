//go:build soak

package e2e

import (
	"testing"
	"time"
)

// What 20,000 calls of all endings leave behind: nothing after 70 s, and no memory
// once the fates of late devices are forgotten, 5 min after the last call. As many went
// before, for maps keep the size that they once had: that of 5 min of fates.
func TestSoakLeaks(t *testing.T) {
	const (
		warm, calls = 20000, 20000
		rate        = 60
		settled     = 70 * time.Second
		forgotten   = 6 * time.Minute
	)
	f := newFleet(t, fleetConfig{Singles: 300, Pairs: 100, Ring: shortRing, Wake: shortWake})
	f.recorded(t, f.mixed(t, warm, rate))
	<-time.After(forgotten)
	before := f.asleep(t)
	heap := f.profile(t, "before.heap")
	used := f.server.ask(t, askCost).CPU

	start := time.Now()
	f.recorded(t, f.mixed(t, calls, rate))
	over := time.Now()
	used = f.server.ask(t, askCost).CPU - used
	t.Logf("%d calls of all endings in %s, %.2f ms of CPU each", calls, over.Sub(start).Round(time.Second), milliseconds(used)/calls)

	<-time.After(time.Until(over.Add(settled)))
	// The caller's UDP peer is a flow that stays 3 min.
	after := f.calm(t, before, state{Goroutines: 10, Descriptors: 2, Flows: 1, Heap: 64 << 20}, 0)
	t.Logf("%s after the calls: %+v\nbefore: %+v", settled, after, before)

	<-time.After(time.Until(over.Add(forgotten)))
	// Of 32,768 nonces the newest use is remembered (digest.Options.Nonces), 100 octets
	// and more for each, of which 20,000 calls take as many.
	after = f.calm(t, before, state{Heap: 6 << 20}, 0)
	t.Logf("%s after the calls: %+v\nheap %+d KiB", forgotten, after, (int64(after.Heap)-int64(before.Heap))>>10)
	if t.Failed() {
		t.Logf("go tool pprof -base %s %s (-artifacts keeps them)", heap, f.profile(t, "after.heap"))
	}
}

// What 3,000 captured calls with sound leave behind: nothing after 70 s.
func TestSoakLeaksOfSound(t *testing.T) {
	const (
		warm, calls = 100, 3000
		rate        = 15
		settled     = 70 * time.Second
	)
	s := newTalkers(t, 60)
	s.recorded(t, s.spoken(t, warm, rate))
	<-time.After(settled)
	before := s.holds(t)
	start := time.Now()
	s.recorded(t, s.spoken(t, calls, rate))
	over := time.Now()
	t.Logf("%d calls with sound in %s", calls, over.Sub(start).Round(time.Second))
	<-time.After(time.Until(over.Add(settled)))
	after := s.calm(t, before, state{}, 0)
	t.Logf("%s after the calls: %+v\nbefore: %+v", settled, after, before)
	s.captured(t, warm+calls)
}
