package sdp

// statusError is a sentinel that knows the SIP status code it asks for.
type statusError struct {
	text   string
	status int
}

func (e *statusError) Error() string { return e.text }

// SIPStatus is the status code of the response that the error asks for.
func (e *statusError) SIPStatus() int { return e.status }

var (
	// ErrTooLarge: more than MaxSize bytes, MaxStreams m-lines or MaxLines lines in
	// one section. Status 488.
	ErrTooLarge error = &statusError{"session description too large", 488}
	// ErrMalformed: not a session description, or one whose m= or c= lines cannot
	// be read. Status 400.
	ErrMalformed error = &statusError{"malformed session description", 400}
	// ErrSRTP: every audio stream wants SRTP by DTLS, or by keys that cannot be used.
	// Status 488.
	ErrSRTP error = &statusError{"media is offered only with SRTP of a kind that is not spoken here", 488}
	// ErrNoCodec: nothing is left of the streams once codecs are filtered. Status
	// 488.
	ErrNoCodec error = &statusError{"no codec in common", 488}
	// ErrNotAnAnswer: the answer does not fit its offer (RFC 3264 s6). Status 488.
	ErrNotAnAnswer error = &statusError{"answer does not match the offer", 488}
)
