package fcm

import (
	"maps"
	"net/http"
	"slices"

	"wakebridge/push"
)

// action is what an answer asks us to do.
type action uint8

const (
	giveUp     action = iota
	tryAgain          // after a pause
	renewToken        // once, with a new access token
	tokenDead         // this device token is done
)

// rule is what one of Google's reasons means: what to do and how to say it to an
// operator, as "FCM refused the <what>: <reason> (<hint>)".
type rule struct {
	do   action
	what string
	hint string
}

// rules is Google's table of reasons ("ErrorCode" of FCM's HTTP v1 API, and the
// status words of Google's APIs) with what we do about each. A reason that is
// not here is judged by its status: see ruleFor.
var rules = map[push.Reason]rule{ //nolint:gochecknoglobals // a table, never written
	"UNREGISTERED":           {tokenDead, "token", "the app was removed, or has a new token"},
	"INVALID_ARGUMENT":       {giveUp, "request", ""},
	"SENDER_ID_MISMATCH":     {giveUp, "token", "it belongs to another Firebase project: check project_id and the app's google-services.json"},
	"THIRD_PARTY_AUTH_ERROR": {giveUp, "token", "it is not an Android app's"},
	"PERMISSION_DENIED":      {giveUp, "service account", "it may not send for project_id, or the FCM API is switched off"},
	"NOT_FOUND":              {giveUp, "project", "check project_id"},
	"UNAUTHENTICATED":        {renewToken, "access token", "is this machine's clock right?"},

	"QUOTA_EXCEEDED":     {tryAgain, "push", "too many to this device or of this project"},
	"RESOURCE_EXHAUSTED": {tryAgain, "push", "too many of this project"},
	"UNAVAILABLE":        {tryAgain, "push", "the service is overloaded"},
	"INTERNAL":           {tryAgain, "push", ""},

	push.Unreachable: {tryAgain, "", ""},
	push.Lost:        {tryAgain, "", ""},
}

// Reasons lists the reasons that the table of rules knows, Google's and ours,
// sorted.
func Reasons() []push.Reason { return slices.Sorted(maps.Keys(rules)) }

// byStatus judges answers whose reason is not in the table: Google adds reasons,
// and something else than FCM may have answered.
var byStatus = map[int]rule{ //nolint:gochecknoglobals // a table, never written
	http.StatusUnauthorized:        {renewToken, "access token", ""},
	http.StatusForbidden:           {giveUp, "service account", ""},
	http.StatusTooManyRequests:     {tryAgain, "push", ""},
	http.StatusInternalServerError: {tryAgain, "push", ""},
	http.StatusBadGateway:          {tryAgain, "push", ""},
	http.StatusServiceUnavailable:  {tryAgain, "push", ""},
	http.StatusGatewayTimeout:      {tryAgain, "push", ""},
}

// ruleFor is the rule for an answer that is not 200.
func ruleFor(a answer) rule {
	if a.reason == invalidArgument && a.badToken {
		return rule{tokenDead, "token", "it is not an FCM registration token"}
	}
	if r, ok := rules[a.reason]; ok {
		return r
	}
	if r, ok := byStatus[a.status]; ok {
		return r
	}
	return rule{giveUp, "push", ""}
}

const invalidArgument push.Reason = "INVALID_ARGUMENT"
