//go:build !linux

package relay

import "log/slog"

// NewEngine is the engine for the system's own sockets: Sockets, which needs no
// number of workers.
func NewEngine(_ int, log *slog.Logger) (Engine, error) { return NewSockets(log), nil }
