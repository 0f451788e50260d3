package relay

import (
	"testing"
	"time"
)

// The pause follows the load: none for a few streams, at most gatherMax for some, less
// for many.
func TestGather(t *testing.T) {
	for _, c := range []struct {
		streams  int
		min, max time.Duration
	}{
		{1, 0, 0}, {20, 0, 0}, {100, gatherMax, gatherMax}, {200, 1590 * time.Microsecond, 1610 * time.Microsecond}, {400, gatherMin, gatherMin}, {1200, gatherMin, gatherMin},
		{5000, gatherMin, gatherMin},
	} {
		var g gather
		now := time.Now()
		rate := float64(c.streams * 50)
		var pause time.Duration
		owed := 0.0
		for range 2000 {
			step := pause
			if step == 0 {
				step = time.Duration(float64(time.Second) / rate)
			}
			now = now.Add(step)
			owed += step.Seconds() * rate
			n := int(owed)
			owed -= float64(n)
			pause = g.took(n, now)
		}
		if pause < c.min || pause > c.max {
			t.Errorf("%d streams: pause %s, rate %.0f", c.streams, pause, g.rate)
		}
	}
}

// When the calls are over the worker sleeps until a packet wakes it.
func TestGatherEndsWithTheLoad(t *testing.T) {
	g := gather{rate: 50000, last: time.Now()}
	now := g.last
	for i := 0; ; i++ {
		pause := g.took(0, now.Add(gatherMin))
		now = now.Add(gatherMin)
		if pause == 0 {
			return
		}
		if i > 5000 {
			t.Fatalf("still pauses %s at a rate of %.1f", pause, g.rate)
		}
	}
}
