// Package demo shows Wakebridge at work on one machine: a simulated PBX calls, the
// bridge wakes a simulated iPhone over a simulated APNs, and both hear each other.
// Everything but Apple is real: the same server that `wakebridge serve` runs, over
// real sockets.
package demo
