package apns

import (
	"net/http"

	"wakebridge/push"
)

// action is what an answer asks us to do.
type action uint8

const (
	giveUp           action = iota
	tryAgain                // after a pause, on the other line
	tryAgainNow             // at once, on the other line: this one is going away
	renewToken              // once, with a new provider token
	otherEnvironment        // once, if the device's environment is not known
	tokenDead               // this device token is done
)

// rule is what one of Apple's reasons means: what to do and how to say it to
// an operator, as "APNs refused the <what>: <reason> (<hint>)".
type rule struct {
	do   action
	what string
	hint string
}

// rules is Apple's table of reasons ("Handling notification responses from
// APNs") with what we do about each. A reason that is not here is judged by
// its status: see ruleFor.
var rules = map[push.Reason]rule{ //nolint:gochecknoglobals // a table, never written
	"BadDeviceToken":         {otherEnvironment, "token", "another environment's token, or not one of this app"},
	"DeviceTokenNotForTopic": {giveUp, "token", "it is not for this topic: a VoIP and an alert token mixed up, or another app's"},
	"Unregistered":           {tokenDead, "token", "the app was removed, or has a new token"},
	"ExpiredToken":           {tokenDead, "token", "the token is no longer valid"},
	"MissingDeviceToken":     {giveUp, "token", "none was sent"},

	"BadTopic":         {giveUp, "topic", "check bundle_id"},
	"MissingTopic":     {giveUp, "topic", "none was sent"},
	"TopicDisallowed":  {giveUp, "topic", "bundle_id and the key's team do not match, or the key is for other topics"},
	"Forbidden":        {giveUp, "key", "the action is not allowed"},
	"BadCertificate":   {giveUp, "certificate", ""},
	"InvalidPushType":  {giveUp, "request", ""},
	"BadPriority":      {giveUp, "request", ""},
	"BadCollapseId":    {giveUp, "request", ""},
	"BadMessageId":     {giveUp, "request", ""},
	"BadPath":          {giveUp, "request", "check push.apns: is this an APNs address?"},
	"MethodNotAllowed": {giveUp, "request", ""},
	"DuplicateHeaders": {giveUp, "request", ""},
	"PayloadEmpty":     {giveUp, "request", ""},
	"PayloadTooLarge":  {giveUp, "request", ""},

	"BadExpirationDate":           {giveUp, "request", ""},
	"BadCertificateEnvironment":   {giveUp, "certificate", "it is for the other environment"},
	"BadEnvironmentKeyInToken":    {otherEnvironment, "key", "it is for the other environment"},
	"ExpiredProviderToken":        {renewToken, "provider token", "is this machine's clock right?"},
	"InvalidProviderToken":        {giveUp, "provider token", "check team_id, key id and that the key was not revoked"},
	"MissingProviderToken":        {giveUp, "provider token", "none was sent"},
	"TooManyRequests":             {giveUp, "push", "too many to this device"},
	"TooManyProviderTokenUpdates": {giveUp, "provider token", "it was renewed too often; is the key used by other servers too?"},

	"IdleTimeout":         {tryAgainNow, "push", "the connection was idle"},
	"Shutdown":            {tryAgainNow, "push", "the server is shutting down"},
	"InternalServerError": {tryAgain, "push", ""},
	"ServiceUnavailable":  {tryAgain, "push", ""},

	push.Unreachable: {tryAgain, "", ""},
	push.Lost:        {tryAgainNow, "", ""},
}

// byStatus judges answers whose reason is not in the table: Apple adds reasons
// without notice, and something else than APNs may have answered.
var byStatus = map[int]rule{ //nolint:gochecknoglobals // a table, never written
	http.StatusForbidden:           {giveUp, "key", ""},
	http.StatusGone:                {tokenDead, "token", ""},
	http.StatusInternalServerError: {tryAgain, "push", ""},
	http.StatusServiceUnavailable:  {tryAgain, "push", ""},
}

// ruleFor is the rule for an answer that is not 200.
func ruleFor(status int, reason push.Reason) rule {
	if r, ok := rules[reason]; ok {
		return r
	}
	if r, ok := byStatus[status]; ok {
		return r
	}
	return rule{giveUp, "push", ""}
}
