package softphone

import "errors"

// Errors of a Phone and its Calls. Others wrap those of packages sipua, leg and
// registration.
var (
	// ErrClosed says that the phone is closed.
	ErrClosed = errors.New("phone is closed")
	// ErrCallEnded says that the call is over; an event that was waited for will
	// not come.
	ErrCallEnded = errors.New("call has ended")
	// ErrMedia says that an SDP cannot be used: no audio in it, or none that this
	// phone speaks. It is a 488.
	ErrMedia error = mediaError{}
	// ErrRefused says that the peer did not agree to a change of the session.
	ErrRefused = errors.New("peer refused")
	// ErrNoEvents says that the peer takes no telephone events (RFC 4733).
	ErrNoEvents = errors.New("peer takes no telephone events")
)

type mediaError struct{}

func (mediaError) Error() string { return "no usable audio in the session description" }

// SIPStatus implements what sipua.Status asks for.
func (mediaError) SIPStatus() int { return 488 }
