package e2e

import (
	"context"
	"log/slog"
	"sync"
	"testing"
)

// units is a log that takes note of durations: written as JSON they are bare
// nanoseconds. A key says its unit, latency_ms or duration_s.
type units struct {
	slog.Handler
	found *bareDurations
}

type bareDurations struct {
	mu   sync.Mutex
	keys []string
}

func withUnits(h slog.Handler) units { return units{h, &bareDurations{}} }

// Enabled implements slog.Handler: what is not shown is looked at as well.
func (u units) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (u units) Handle(ctx context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		u.look(r.Message, a)
		return true
	})
	if !u.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return u.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (u units) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		u.look("with", a)
	}
	return units{u.Handler.WithAttrs(attrs), u.found}
}

// WithGroup implements slog.Handler.
func (u units) WithGroup(name string) slog.Handler { return units{u.Handler.WithGroup(name), u.found} }

func (u units) look(message string, a slog.Attr) {
	if a.Value.Resolve().Kind() != slog.KindDuration {
		return
	}
	u.found.mu.Lock()
	defer u.found.mu.Unlock()
	u.found.keys = append(u.found.keys, message+": "+a.Key)
}

// check fails the test for what was found.
func (u units) check(t *testing.T) {
	t.Helper()
	u.found.mu.Lock()
	defer u.found.mu.Unlock()
	if len(u.found.keys) > 0 {
		t.Errorf("the log has durations without a unit: %q", u.found.keys)
	}
}
