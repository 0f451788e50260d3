package rules

// Result is the outcome of a call in one word.
type Result string

// The results.
const (
	Answered    Result = "answered"
	Cancelled   Result = "cancelled"
	Declined    Result = "declined"
	Busy        Result = "busy"
	NoAnswer    Result = "no-answer"
	Unreachable Result = "unreachable"
	Rejected    Result = "rejected" // by a route, a limit, authentication
	Failed      Result = "failed"
)
