// Package digest is SIP digest authentication in both roles (RFC 3261 s22, RFC
// 7616, RFC 8760): a Verifier for requests that come in, a Client for challenges
// that a configured peer sends.
//
// The server side offers qop=auth only. Its nonces carry their own time under an
// HMAC and need no storage until they are used; they are not bound to the flow,
// because a woken phone comes back from another address with the nonce it knows.
// What is stored, bounded, is the highest nonce count of each nonce in use, so
// that a captured request cannot be replayed from anywhere.
//
// No error, log value or challenge of this package contains a password, an HA1, a
// response or a nonce.
package digest
