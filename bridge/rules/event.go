package rules

import (
	"time"

	"wakebridge/sipua"
)

// Event is one thing that happened, as the rules see it.
type Event struct {
	Kind    EventKind
	Attempt int // of an attempt's event
	Invite  int // index of the INVITE concerned
	Gen     int // of a timer: an older generation means nothing
	Flow    sipua.FlowID
	Alert   bool // the push concerned is the alert push
	Status  int
	Phrase  string
	Reason  string   // for a person
	Reasons []string // Reason header values
	Targets []Attempt
	NoFlow  bool // EvFailed: the transport failed, the device said nothing
	Own     bool // EvFailed: we could not make the INVITE, the device is not to blame
	Early   bool // EvRinging: with an SDP
	Relayed bool // EvTrying, EvFailed: a proxy on the way may have said it for itself (RFC 3261 s16.2)
	Reborn  bool // EvRegistered, EvSameFlow: the app was started anew since it was invited
	Maybe   bool // EvPushRefused: nobody said no, the push may have arrived
}

// Action is what the rules want done.
type Action struct {
	Kind    ActionKind
	Attempt int
	Invite  int
	Flow    sipua.FlowID
	Timer   Timer
	After   time.Duration
	Gen     int
	Alert   bool // ActPush: an alert push, whatever the policy says
	Status  int
	Phrase  string
	Reason  string
	Reasons []string // Reason headers for CANCEL and BYE
	Stage   Stage
	Maybe   bool   // ActFate: the device may not know the call at all
	Wait    bool   // ActFate: it may yet come by itself, while the call waits for an answer
	By      Party  // who ended the call
	Result  Result // ActReject, ActByeCaller: "" where the attempts tell
}

// Party is one who may end a call, as Record.HangupBy names it.
type Party string

// The parties.
const (
	ByCaller Party = "caller"
	ByCallee Party = "callee"
	ByServer Party = "server"
)

// ActionKind is what the rules want.
type ActionKind uint8

// What the rules want done.
const (
	ActTimer      ActionKind = iota // start timer, event carries gen
	ActPush                         // wake the device
	ActStopPush                     // no push of this attempt need be sent any more
	ActInvite                       // INVITE number invite on flow
	ActAgain                        // retransmit INVITE number invite at once (UDP without a 1xx)
	ActCancel                       // end INVITE number invite, whatever its state
	ActBye                          // BYE the leg of INVITE number invite
	ActRing                         // 180 to the caller, or its 183 again
	ActTone                         // an SDP of our own to the caller by 183, and the ringback tone
	ActEarly                        // the SDP of INVITE number invite to the caller, by 183
	ActAnswer                       // the winner's 2xx to the caller
	ActReject                       // final response to the caller
	ActByeCaller                    //
	ActFate                         // tell the device when it registers: status is the cause
	ActWatchAlive                   // report traffic on flow
	ActBug                          // an event that cannot happen: log it
)

// String names the action for tests and logs.
func (k ActionKind) String() string {
	return [...]string{"timer", "push", "stop-push", "invite", "again", "cancel", "bye", "ring", "tone", "early", "answer", "reject",
		"bye-caller", "fate", "watch-alive", "bug"}[k]
}
