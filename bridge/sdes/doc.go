// Package sdes holds the rules for SRTP keys in SDP (RFC 4568): what of a peer's offer is
// taken, what is offered, and which key is used how long.
package sdes
