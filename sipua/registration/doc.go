// Package registration is REGISTER as a client (RFC 3261 s10.2): it binds one
// Contact to an AOR at one registrar and keeps it bound, for trunks and for
// softphones.
//
// One goroutine does it all. Whatever comes of a REGISTER, it ends with exactly
// one timer armed: to refresh before the binding expires, or to try again.
package registration
