package relay

import "errors"

// ErrClosed says that the engine takes no more streams.
var ErrClosed = errors.New("media engine is closed")
