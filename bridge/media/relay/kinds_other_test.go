//go:build !linux

package relay

import "log/slog"

// kinds are the engines of this system.
func kinds() map[string]func(*slog.Logger) (Engine, error) {
	return map[string]func(*slog.Logger) (Engine, error){
		"sockets": func(log *slog.Logger) (Engine, error) { return NewSockets(log), nil },
	}
}

// maybeRelay: there is no benchmark of processes here.
func maybeRelay() {}
