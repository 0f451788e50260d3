// Package capture writes what happened on the wire of one call into one pcapng file:
// signalling that its owner passes on, the media that it observes, and
// comments. It knows no SIP.
//
// A Store keeps the files, for a time and within a number of bytes; a Recording is
// one call's. Whoever adds to a Recording never waits: what its writer has no room
// for is counted and lost. A disk that fails costs captures, never a call.
package capture
