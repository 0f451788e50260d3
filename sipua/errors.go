package sipua

import (
	"errors"
	"fmt"
)

// Errors that a caller can tell apart. Status knows the SIP response that fits
// each of them.
var (
	// ErrFlowGone says that the connection (or the UDP peer's flow) a message
	// was meant for is closed. A device is never reached by dialling it.
	ErrFlowGone = errors.New("flow is gone")
	// ErrNoListener says that no listener of this endpoint fits the transport
	// and address family of a destination.
	ErrNoListener = errors.New("no listener for this transport and address family")
	// ErrFinalSent says that a transaction already has its final response
	// (RFC 3261 s17.2.1): sipgo would retransmit the later one.
	ErrFinalSent = errors.New("final response already sent")
	// ErrTimeout says that no response came within 64*T1 (RFC 3261 s17.1.1.2,
	// timers B and F).
	ErrTimeout = errors.New("no response within 64*T1")
	// ErrClosed says that the endpoint is closed.
	ErrClosed = errors.New("endpoint is closed")
	// ErrUnsafeHeader says that a message would carry CR, LF or another control
	// character inside a header or its start line.
	ErrUnsafeHeader = errors.New("control character in a header")
	// ErrBusy says that an owner has more unanswered requests than it takes.
	ErrBusy = errors.New("too many requests at once")
	// ErrFraming says that the bytes of a message cannot be told from those of
	// the next one.
	ErrFraming = errors.New("message framing lost")
)

// Rejection is a request refused with a SIP status of its own.
type Rejection struct {
	Status  int    // 300 to 699
	Phrase  string // reason phrase of the response
	Headers []HeaderLine
}

// HeaderLine is a header that a Rejection adds to its response.
type HeaderLine struct{ Name, Value string }

// Error is the status and its phrase.
func (r *Rejection) Error() string { return fmt.Sprintf("%d %s", r.Status, r.Phrase) }

// SIPStatus is the status of the response; see Status.
func (r *Rejection) SIPStatus() int { return r.Status }

// Reject makes a Rejection; phrase "" is the standard phrase of status.
func Reject(status int, phrase string, headers ...HeaderLine) *Rejection {
	if phrase == "" {
		phrase = Phrase(status)
	}
	return &Rejection{Status: status, Phrase: phrase, Headers: headers}
}

// Status is the SIP status that tells a caller about err: that of the first
// error in its chain with a method SIPStatus() int, else of the sentinels above,
// else 500. It is the only place where errors become statuses. A nil err is 200.
func Status(err error) int {
	var own interface{ SIPStatus() int }
	switch {
	case err == nil:
		return 200
	case errors.As(err, &own):
		return own.SIPStatus()
	case errors.Is(err, ErrTimeout):
		return 408
	case errors.Is(err, ErrFlowGone), errors.Is(err, ErrNoListener):
		return 480
	case errors.Is(err, ErrBadAOR), errors.Is(err, ErrUnsafeHeader), errors.Is(err, ErrFraming):
		return 400
	case errors.Is(err, ErrBusy), errors.Is(err, ErrClosed):
		return 503
	default:
		return 500
	}
}

// Phrase is the standard reason phrase of a status (RFC 3261 s21 and its
// extensions); "" for one that has none.
func Phrase(status int) string { return phrases[status] }

//nolint:gochecknoglobals // never written
var phrases = map[int]string{
	100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 183: "Session Progress",
	200: "OK", 202: "Accepted",
	400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
	406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout", 410: "Gone",
	413: "Request Entity Too Large", 415: "Unsupported Media Type", 416: "Unsupported URI Scheme",
	420: "Bad Extension", 422: "Session Interval Too Small", 423: "Interval Too Brief", 430: "Flow Failed",
	480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops",
	484: "Address Incomplete", 485: "Ambiguous", 486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here",
	491: "Request Pending", 493: "Undecipherable",
	500: "Server Internal Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
	504: "Server Time-out", 505: "Version Not Supported", 513: "Message Too Large",
	555: "Push Notification Service Not Supported",
	600: "Busy Everywhere", 603: "Decline", 604: "Does Not Exist Anywhere", 606: "Not Acceptable",
}
