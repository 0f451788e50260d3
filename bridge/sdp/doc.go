// Package sdp carries a session description (RFC 8866) from one leg of a call to
// the other. It edits lines instead of rebuilding the description: what it does
// not know, it passes on, because PBXs and phones say things no model of SDP has
// (T.38, vendor attributes, profiles of their own).
//
// Parse reads, Streams shows what the media engine needs, Relay makes the
// description for the other leg, Answers and Restrict keep offer and answer (RFC
// 3264) consistent across legs, Origin numbers what we send.
//
// A Description is never changed after it was made: every edit returns a new one.
package sdp
