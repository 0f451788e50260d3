package bridge

import "wakebridge/bridge/rules"

// Result is the outcome of a call in one word.
type Result = rules.Result

// The results.
const (
	Answered    = rules.Answered
	Cancelled   = rules.Cancelled
	Declined    = rules.Declined
	Busy        = rules.Busy
	NoAnswer    = rules.NoAnswer
	Unreachable = rules.Unreachable
	Rejected    = rules.Rejected // by a route, a limit, authentication
	Failed      = rules.Failed
)

// RingPolicy says when the caller hears ringing (push.ringing).
type RingPolicy = rules.RingPolicy

// The policies.
const (
	RingOnPush = rules.RingOnPush
	RingTrying = rules.RingTrying
	RingAtOnce = rules.RingAtOnce
)
