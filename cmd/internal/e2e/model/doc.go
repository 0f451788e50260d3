// Package model drives a whole server with random sequences of what callers, phones,
// networks and Apple do, in virtual time, and checks the promises of package
// invariants after each sequence. It has tests only.
//
// A sequence that fails is made shorter while it still fails, and printed as a
// script that replays:
//
//	go test ./cmd/internal/e2e/model -run 'TestModel$' -model.replay '17: trunk 0; pass 1500; answer 0'
package model
