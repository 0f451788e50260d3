// Package header reads and writes the SIP header fields and Contact parameters
// that Wakebridge needs and that sipgo leaves as raw strings: the push
// parameters of RFC 8599, Feature-Caps, Reason, Path, Session-Expires, the
// outbound parameters of a Contact, identities, and the project's own X-
// headers.
//
// Reading is tolerant where clients are known to differ and strict where a
// wrong guess would cost a call. Everything written from here is free of CR, LF
// and other control characters: a formatter cleans what it is given, and Safe
// refuses such a value where the sender should hear about it.
//
// Malformed input wraps [ErrMalformed]; every sentinel of this package knows
// the status code it deserves (method SIPStatus).
package header
