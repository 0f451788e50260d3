package bridge

import (
	"time"

	"wakebridge/sipua"
)

// event is one thing that happened, as the rules see it.
type event struct {
	kind    eventKind
	attempt int // of an attempt's event
	invite  int // index of the INVITE concerned
	gen     int // of a timer: an older generation means nothing
	flow    sipua.FlowID
	alert   bool // the push concerned is the alert push
	status  int
	phrase  string
	reason  string   // for a person
	reasons []string // Reason header values
	targets []attempt
	noFlow  bool // evFailed: the transport failed, the device said nothing
	own     bool // evFailed: we could not make the INVITE, the device is not to blame
	early   bool // evRinging: with an SDP
	reborn  bool // evRegistered: the app was started anew since it was invited
	maybe   bool // evPushRefused: nobody said no, the push may have arrived
}

// action is what the rules want done.
type action struct {
	kind    actionKind
	attempt int
	invite  int
	flow    sipua.FlowID
	timer   timer
	after   time.Duration
	gen     int
	alert   bool // actPush: an alert push, whatever the policy says
	status  int
	phrase  string
	reason  string
	reasons []string // Reason headers for CANCEL and BYE
	stage   stage
	maybe   bool   // actFate: the device may not know the call at all
	by      party  // who ended the call
	result  Result // actReject, actByeCaller: "" where the attempts tell
}

// party is one who may end a call, as Record.HangupBy names it.
type party string

const (
	byCaller party = "caller"
	byCallee party = "callee"
	byServer party = "server"
)

type actionKind uint8

const (
	actTimer      actionKind = iota // start timer, event carries gen
	actPush                         // wake the device
	actStopPush                     // no push of this attempt need be sent any more
	actInvite                       // INVITE number invite on flow
	actAgain                        // retransmit INVITE number invite at once (UDP without a 1xx)
	actCancel                       // end INVITE number invite, whatever its state
	actBye                          // BYE the leg of INVITE number invite
	actRing                         // 180 to the caller, or its 183 again
	actTone                         // an SDP of our own to the caller by 183, and the ringback tone
	actEarly                        // the SDP of INVITE number invite to the caller, by 183
	actAnswer                       // the winner's 2xx to the caller
	actReject                       // final response to the caller
	actByeCaller                    //
	actFate                         // tell the device when it registers: status is the cause
	actWatchAlive                   // report traffic on flow
	actBug                          // an event that cannot happen: log it
)

func (k actionKind) String() string {
	return [...]string{"timer", "push", "stop-push", "invite", "again", "cancel", "bye", "ring", "tone", "early", "answer", "reject",
		"bye-caller", "fate", "watch-alive", "bug"}[k]
}
