// Package bridge is the call: it takes an INVITE, finds out whom it is for, wakes
// sleeping devices while the INVITE is pending, gives the first that answers to
// the caller, relays the media, and ends both sides.
//
// One goroutine owns one call. Everything else (legs, pushes, registrations,
// timers) posts to its mailbox. What an event means is decided by two tables of
// pure rules (package rules); the owner carries out the actions that
// they return.
//
// The package knows neither how a push is sent nor where configuration comes
// from: it declares what it needs (ports.go).
package bridge
