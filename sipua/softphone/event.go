package softphone

import (
	"fmt"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua/leg"
)

// Kind is what happened to a call.
type Kind uint8

// The kinds of events.
const (
	// Invited: an INVITE came in. It is an incoming call's first event.
	Invited Kind = iota + 1
	// Trying, Ringing and Progress are 100, 180 and any other 1xx to our INVITE.
	Trying
	Ringing
	Progress
	// Answered: a 2xx to the INVITE, ours or the peer's.
	Answered
	// Confirmed: the ACK of our 2xx came.
	Confirmed
	// Held and Resumed: the peer stopped to listen, by re-INVITE, and began again.
	Held
	Resumed
	// FlowLost: the call's connection is gone; it lives on for now.
	FlowLost
	// KeyAnswered is the outcome of a key that went by INFO.
	KeyAnswered
	// Ended is the last event of each call.
	Ended
)

// String names the kind for logs.
func (k Kind) String() string {
	names := [...]string{"", "invited", "trying", "ringing", "progress", "answered", "confirmed", "held", "resumed", "flow-lost", "key-answered", "ended"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Cause says what ended a call.
type Cause = leg.Cause

// The causes, as package leg has them.
const (
	CauseBye        = leg.CauseBye
	CauseAckTimeout = leg.CauseAckTimeout
	CauseRejected   = leg.CauseRejected
	CauseCancelled  = leg.CauseCancelled
	CauseFailed     = leg.CauseFailed
	CausePeerGone   = leg.CausePeerGone
)

// Event is something that happened to a call.
type Event struct {
	Kind Kind
	At   time.Time
	// Status and Phrase are those of the response to our INVITE, if it came to one;
	// an Ended has the final one.
	Status int
	Phrase string
	// Response is that response, nil if there was none.
	Response *sip.Response
	// Cause, ByRemote and Reasons (values of Reason header fields) are an Ended's.
	Cause    Cause
	ByRemote bool
	Reasons  []string
	// Err is why there was no response, or why the flow is gone.
	Err error
}
