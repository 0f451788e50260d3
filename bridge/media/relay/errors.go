package relay

import "errors"

// ErrClosed says that the engine takes no more streams.
var ErrClosed = errors.New("media engine is closed")

// errNoSocket says that a connection is no socket of the system.
var errNoSocket = errors.New("the connection is no socket of the system")
