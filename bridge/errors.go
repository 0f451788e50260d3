package bridge

import (
	"errors"
	"fmt"

	"wakebridge/bridge/media"
)

// statusError gives an error of a package that knows no SIP the status that a
// caller gets for it (sipua.Status).
type statusError struct {
	err    error
	status int
}

func (e *statusError) Error() string { return e.err.Error() }

// SIPStatus is the status of the response; see sipua.Status.
func (e *statusError) SIPStatus() int { return e.status }

func (e *statusError) Unwrap() error { return e.err }

// noPorts is the failure of the media relay to open a side: 503, for the next call may
// find ports again; 488 where no call of that family of addresses ever will.
func noPorts(err error) error {
	if errors.Is(err, media.ErrNoFamily) {
		return &statusError{fmt.Errorf("media.bind: %w", err), 488}
	}
	return &statusError{fmt.Errorf("media ports: %w", err), 503}
}

// ErrReached is the cause of the end of a Waker's context when the device is here:
// it registered, or answered an INVITE over a flow that was thought lost.
var ErrReached = errors.New("the device is here")

// errOver says that the call ended while something was under way.
var errOver = errors.New("the call is over")
