package capture

import "errors"

var (
	// ErrNone says that there is no capture of a call.
	ErrNone = errors.New("no capture of this call")
	// ErrConfig says that a Config cannot work.
	ErrConfig = errors.New("capture configuration")
)
