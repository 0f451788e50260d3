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
	keepToken               // once, with the provider token before, and no new one for a while
	shrink                  // once, with the least payload
	otherEnvironment        // once, if the device's environment is not known
	tokenDead               // this device token is done
	actions                 // how many there are
)

// blame is whose fault an answer shows, beyond the push that it answers.
type blame uint8

const (
	nobody     blame = iota
	ours             // this program or its configuration: alarm
	credential       // key or certificate are broken: no more pushes with it for a while
	topic            // key or certificate are not for this topic: the same, for the topic
)

// rule is what one of Apple's reasons means: what to do, whose fault it is, and
// how to say it to an operator, as "APNs refused the <what>: <reason> (<hint>)".
type rule struct {
	do    action
	blame blame
	what  string
	hint  string
}

// rules is Apple's table of reasons ("Handling notification responses from
// APNs") with what we do about each. A reason that is not here is judged by
// its status: see ruleFor.
var rules = map[push.Reason]rule{ //nolint:gochecknoglobals // a table, never written
	"BadDeviceToken":         {otherEnvironment, nobody, "token", "another environment's token, or not one of this app"},
	"DeviceTokenNotForTopic": {giveUp, ours, "token", "it is not for this topic: a VoIP and an alert token mixed up, or another app's"},
	"Unregistered":           {tokenDead, nobody, "token", "the app was removed, or has a new token"},
	"ExpiredToken":           {tokenDead, nobody, "token", "the token is no longer valid"},
	"MissingDeviceToken":     {giveUp, ours, "token", "none was sent"},

	"BadTopic":          {giveUp, ours, "topic", "check bundle_id"},
	"MissingTopic":      {giveUp, ours, "topic", "none was sent"},
	"InvalidPushType":   {giveUp, ours, "request", ""},
	"BadPriority":       {giveUp, ours, "request", ""},
	"BadExpirationDate": {giveUp, ours, "request", ""},
	"BadCollapseId":     {giveUp, ours, "request", ""},
	"BadMessageId":      {giveUp, ours, "request", ""},
	"BadPath":           {giveUp, ours, "request", "check push.apns: is this an APNs address?"},
	"MethodNotAllowed":  {giveUp, ours, "request", ""},
	"DuplicateHeaders":  {giveUp, ours, "request", ""},
	"PayloadEmpty":      {giveUp, ours, "request", ""},
	"PayloadTooLarge":   {shrink, ours, "request", ""},

	"TopicDisallowed":           {giveUp, topic, "topic", "bundle_id and the key's team do not match, or key or certificate are for other topics"},
	"Forbidden":                 {giveUp, credential, "key", "the action is not allowed"},
	"BadCertificate":            {giveUp, credential, "certificate", "revoked, expired or not one of Apple's"},
	"BadCertificateEnvironment": {otherEnvironment, credential, "certificate", "it is for the other environment"},
	"BadEnvironmentKeyInToken":  {otherEnvironment, credential, "key", "it is for the other environment"},
	"InvalidProviderToken":      {giveUp, credential, "provider token", "check team_id, key id and that the key was not revoked"},
	"MissingProviderToken":      {giveUp, credential, "provider token", "none was sent, or the certificate did not count"},
	push.BrokenCredential:       {otherEnvironment, credential, "certificate", "in the TLS handshake"},

	"ExpiredProviderToken":        {renewToken, nobody, "provider token", "is this machine's clock right?"},
	"TooManyRequests":             {giveUp, nobody, "push", "too many to this device"},
	"TooManyProviderTokenUpdates": {keepToken, nobody, "provider token", "it was renewed too often; is the key used by other servers too?"},

	"IdleTimeout":         {tryAgainNow, nobody, "push", "the connection was idle"},
	"Shutdown":            {tryAgainNow, nobody, "push", "the server is shutting down"},
	"InternalServerError": {tryAgain, nobody, "push", ""},
	"ServiceUnavailable":  {tryAgain, nobody, "push", ""},

	push.Unreachable: {tryAgain, nobody, "", ""},
	push.Lost:        {tryAgainNow, nobody, "", ""},
}

// byStatus judges answers whose reason is not in the table: Apple adds reasons
// without notice, and something else than APNs may have answered. An unknown
// 403 does not break a credential: it may be about one device.
var byStatus = map[int]rule{ //nolint:gochecknoglobals // a table, never written
	http.StatusForbidden:             {giveUp, ours, "key", ""},
	http.StatusGone:                  {tokenDead, nobody, "token", ""},
	http.StatusRequestEntityTooLarge: {shrink, ours, "request", ""},
	http.StatusInternalServerError:   {tryAgain, nobody, "push", ""},
	http.StatusServiceUnavailable:    {tryAgain, nobody, "push", ""},
	http.StatusTooManyRequests:       {giveUp, nobody, "push", ""},
}

// ruleFor is the rule for an answer that is not 200.
func ruleFor(status int, reason push.Reason) rule {
	if r, ok := rules[reason]; ok {
		return r
	}
	if r, ok := byStatus[status]; ok {
		return r
	}
	if status >= http.StatusBadRequest && status < http.StatusInternalServerError {
		return rule{giveUp, ours, "push", ""}
	}
	return rule{giveUp, nobody, "push", ""}
}
