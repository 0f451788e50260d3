package push

import (
	"context"
	"math/rand/v2"
	"time"
)

// Jitter is a pause before another try: 100 to 300 ms, so that what failed together does
// not come back together.
func Jitter() time.Duration {
	return 100*time.Millisecond + rand.N(200*time.Millisecond) //nolint:gosec // no secret
}

// Pause waits for d, or is false when ctx ends first. It does not wait with an ended ctx.
func Pause(ctx context.Context, d time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
