package push_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"wakebridge/push"
)

func TestPause(t *testing.T) {
	for name, c := range map[string]struct {
		end, pause time.Duration // of ctx; negative: before
		whole      bool
		took       time.Duration
	}{
		"all of it":           {time.Minute, time.Second, true, time.Second},
		"none":                {time.Minute, 0, true, 0},
		"cut short":           {time.Second, time.Minute, false, time.Second},
		"ended before":        {-1, time.Second, false, 0},
		"none, ended before":  {-1, 0, false, 0},
		"negative is nothing": {time.Minute, -time.Second, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), c.end)
				defer cancel()
				start := time.Now()
				if whole := push.Pause(ctx, c.pause); whole != c.whole || time.Since(start) != c.took {
					t.Errorf("%t after %s", whole, time.Since(start))
				}
			})
		})
	}
}

func TestJitter(t *testing.T) {
	t.Parallel()
	seen := make(map[time.Duration]bool)
	for range 100 {
		j := push.Jitter()
		if j < 100*time.Millisecond || j >= 300*time.Millisecond {
			t.Fatal(j)
		}
		seen[j] = true
	}
	if len(seen) < 50 {
		t.Errorf("%d different pauses of 100", len(seen))
	}
}
