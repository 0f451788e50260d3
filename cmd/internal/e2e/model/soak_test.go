//go:build soak

package model

import (
	"flag"
	"testing"
	"time"
)

var soakFor = flag.Duration("model.soak", time.Hour, "how long TestSoakModel drives random sequences")

// TestSoakModel is TestModel for longer, with other sequences in each run: the first
// seed is the time, and is printed.
func TestSoakModel(t *testing.T) {
	seed := uint64(time.Now().Unix()) << 16 //nolint:gosec // the time is positive
	t.Logf("the first sequence: -model.seed %d", seed)
	until := time.Now().Add(*soakFor)
	inShards(t, seed, func(int) func(int) bool {
		return func(int) bool { return time.Now().Before(until) }
	})
}
