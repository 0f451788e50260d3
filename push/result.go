package push

import "time"

// Outcome is how a push ended, as far as a sender can know.
type Outcome uint8

// The outcomes. The zero value is NoAnswer.
const (
	// NoAnswer: nobody said yes or no. The push may yet have gone out.
	NoAnswer Outcome = iota
	// Accepted: the service took the push. It does not say that the phone got it.
	Accepted
	// Refused: the service, or this program before it, said no.
	Refused
)

// String is the outcome as metrics and logs name it.
func (o Outcome) String() string {
	switch o {
	case Accepted:
		return "accepted"
	case Refused:
		return "refused"
	}
	return "no_answer"
}

// Reason says why a push was not accepted. A push service's own reasons are
// kept as it spells them ("BadDeviceToken"), also those that this program does
// not know; the ones below are ours.
type Reason string

// Our own reasons. Refused: the first six. NoAnswer: the others.
const (
	UnknownApp   Reason = "unknown app"     // no app with that bundle id and team is configured
	NoToken      Reason = "no token"        // the device has no token of that kind
	NoCredential Reason = "no credential"   // the app's credentials may not send that kind
	Malformed    Reason = "malformed token" // not what the service's tokens look like
	Unsendable   Reason = "unsendable"      // the notification cannot be written
	// BrokenCredential: the service refused the key or certificate, just now or
	// a moment ago, so that nothing was sent.
	BrokenCredential Reason = "credential broken"

	Deadline    Reason = "deadline"            // the time was over
	Stopped     Reason = "stopped"             // the caller stopped it
	Unreachable Reason = "service unreachable" // no connection
	Lost        Reason = "connection lost"     // the connection went away before the answer
	Overloaded  Reason = "too many pushes"     // no place in flight
	Closed      Reason = "shutting down"
	Broken      Reason = "internal error" // a fault of this program
)

// TokenDead says that the service no longer knows a device token. The owner
// removes it unless the device registered it again after Since.
type TokenDead struct {
	Kind  Kind
	Token DeviceToken
	// Since is the service's own time stamp (410), else when the refused
	// request was sent.
	Since time.Time
}

// IsZero says that no token died.
func (d TokenDead) IsZero() bool { return d.Token == "" }

// Outlived says whether a token registered at t is newer than the service's
// knowledge, so that it stays.
func (d TokenDead) Outlived(t time.Time) bool { return t.After(d.Since) }

// Result is what became of one push.
type Result struct {
	Outcome Outcome
	// Kind is what was sent or, where nothing could be, what was wanted.
	Kind   Kind
	Reason Reason // empty when accepted
	Status int    // the HTTP status, 0 without an answer
	// Text tells a person what happened: "APNs refused the token:
	// BadDeviceToken (sandbox token?)".
	Text string
	// Environment is the one that answered. After Accepted it is worth
	// remembering for this device's tokens.
	Environment Environment
	ID          string    // the push's id at the service (apns-id)
	Written     time.Time // when the request was first on the wire; zero: never
	Latency     time.Duration
	Tries       int  // requests made; a hedge counts as one
	Hedged      bool // a second request went out because the first was silent or lost
	// Maybe: a request of it was lost after it was written, so that the phone may have
	// the push, whatever the answer to another request says.
	Maybe bool
	Dead  TokenDead
}
