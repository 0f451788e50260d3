package relay

import "log/slog"

// NewEngine is the engine for the system's own sockets: Workers, at least one.
func NewEngine(workers int, log *slog.Logger) (Engine, error) { return NewWorkers(workers, log) }
