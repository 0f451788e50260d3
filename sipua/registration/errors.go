package registration

import "errors"

// Errors of Failed.Err and of Unregister.
var (
	// ErrBrief says that the registrar found the expiry too brief (423) and named
	// none that helps.
	ErrBrief = errors.New("registrar refuses every expiry")
	// ErrNotBound says that a 2xx granted no time: the registrar has removed the
	// Contact.
	ErrNotBound = errors.New("registrar did not bind the contact")
	// ErrEnded says that Close or Unregister came first.
	ErrEnded = errors.New("registration has ended")
)
