package resolve

import "errors"

var (
	// ErrNoTarget: DNS says that the name has no address, or that the service is
	// not offered there (an SRV record of "." alone, RFC 2782).
	ErrNoTarget = errors.New("name leads nowhere")
	// ErrUnsupported: the URI's scheme or transport is not one that we speak, or
	// the two contradict each other (sips over UDP).
	ErrUnsupported = errors.New("unsupported scheme or transport")
)
