package digest

import "errors"

// Reasons of a Verifier's Result, for logs and records. The answer to the client
// is the Outcome's alone.
var (
	// ErrNoCredentials: the request has no digest credentials for the realm, or such
	// as have no nonce or response yet.
	ErrNoCredentials = errors.New("no credentials for this realm")
	// ErrMalformed: credentials or a challenge do not follow their grammar.
	ErrMalformed = errors.New("malformed digest header field")
	// ErrWrong: unknown user or wrong password; which of the two is not told.
	ErrWrong = errors.New("wrong user or password")
	// ErrStaleNonce: the digest is right, its nonce expired, is of another run of
	// the server, or its count was seen before.
	ErrStaleNonce = errors.New("nonce is stale")
	// ErrOtherURI: the digest is right but was made for another request.
	ErrOtherURI = errors.New("digest was made for another URI")
)

// Reasons for which a Client does not answer.
var (
	// ErrUnsupported: no challenge has an algorithm and qop that the Client and
	// its credentials can serve.
	ErrUnsupported = errors.New("no challenge with a supported algorithm")
	// ErrOtherRealm: the challenge is of a realm the credentials are not for.
	ErrOtherRealm = errors.New("challenge of another realm")
	// ErrRefused: the peer keeps challenging; the credentials are taken as wrong.
	ErrRefused = errors.New("peer refuses the credentials")
)
