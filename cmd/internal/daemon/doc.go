// Package daemon wires the parts of Wakebridge together and gives them a life:
// New opens everything in order and takes back what it opened when something
// fails, Stop ends it in the reverse order, calls first.
//
// It is the only place that knows configuration and components alike: it copies
// fields from config into them, and adapts push and the store to what bridge
// declares.
package daemon
