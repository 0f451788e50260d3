// Package resolve finds where a trunk's SIP URI leads (RFC 3263): transports,
// addresses and ports in the order in which to try them. It does without NAPTR,
// which the standard library cannot ask for; s4.1 of the RFC says what to do then.
//
// The standard library does not tell the TTL of an answer either. Answers count as
// fresh for a fixed time, and when DNS fails, the last good answer goes on being
// used: a trunk must not go down because a name server did.
package resolve
