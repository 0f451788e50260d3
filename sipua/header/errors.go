package header

// statusError is a sentinel that knows the SIP status code it stands for, so
// that whoever answers the request need not know this package's errors.
type statusError struct {
	text   string
	status int
}

func (e *statusError) Error() string { return e.text }

// SIPStatus is the status code of the response that the error asks for.
func (e *statusError) SIPStatus() int { return e.status }

var (
	// ErrMalformed says that a header field or parameter does not follow its
	// grammar. Status 400.
	ErrMalformed error = &statusError{"malformed header field", 400}

	// ErrUnsafe says that a value holds CR, LF, another control character or
	// bytes that are not UTF-8, and so must not be written into a message.
	// Status 400.
	ErrUnsafe error = &statusError{"control character in value", 400}

	// ErrUnsupportedProvider says that pn-provider names a push notification
	// service that this package does not know (RFC 8599 s8.1). Status 555.
	ErrUnsupportedProvider error = &statusError{"push notification service not supported", 555}
)
