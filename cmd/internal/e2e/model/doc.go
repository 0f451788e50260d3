// Package model drives a whole server with random sequences of what callers, phones,
// networks, Apple and the operator do, in virtual time, and checks the promises of
// package invariants after each sequence; then, that the next call wakes a phone. What
// the sequences came to is counted, and many steps must come to everything that they
// are for. It has tests only.
//
// A sequence that fails is made shorter while it still fails, and printed as a
// script that replays:
//
//	go test ./cmd/internal/e2e/model -run 'TestModel$' -model.replay '17: trunk 0; pass 1500; answer 0'
//
// Other sequences, and longer: -model.seed, -model.steps, and with the build tag soak
//
//	go test -tags soak ./cmd/internal/e2e/model -run Soak -timeout 0 -args -model.soak 10m
package model
