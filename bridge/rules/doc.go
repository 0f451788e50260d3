// Package rules decides what a call does next: it is the whole behaviour of a call as a
// pure function. State and Event go in, the next State and Actions come out; the bridge
// carries them out, reports what became of them, and owns every socket, timer and leg.
//
// Two tables (of the call and of an attempt, by phase and event) say what each event
// means; pairs that cannot meet are rows as well.
package rules
