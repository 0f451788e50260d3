package rules

// Phase is where a call stands.
type Phase uint8

// The phases of a call.
const (
	Routing   Phase = iota // nobody is asked yet
	waking                 // devices are being woken or invited, none rings
	ringing                // a device rings
	Answering              // a device's 2xx went to the caller, whose ACK is awaited
	Bridged                // both legs are confirmed
	Ending                 // the outcome is decided, legs are closing
	ended                  // nothing is left
	phases
)

// String is the phase in lower case.
func (p Phase) String() string {
	return [...]string{"routing", "waking", "ringing", "answering", "bridged", "ending", "ended"}[p]
}

// AttemptPhase is where an attempt stands: what the call does with one device
// or one trunk.
type AttemptPhase uint8

const (
	idle     AttemptPhase = iota
	pushing               // a push is out, the push service has not answered
	pushed                // the push service accepted a push, the device has not registered
	inviting              // an INVITE is out, it has not rung
	rings                 // the device rings
	flowLost              // the INVITE did not reach the device; a REGISTER brings another one
	won                   // this one answered first
	lost                  // somebody else decided: answered or declined elsewhere, cancelled, timed out
	failed                // the device or its push service said no
	attemptPhases
)

// String is the phase in lower case.
func (p AttemptPhase) String() string {
	return [...]string{"idle", "pushing", "pushed", "inviting", "ringing", "flow-lost", "won", "lost", "failed"}[p]
}

// Over says that the attempt has come to its end.
func (p AttemptPhase) Over() bool { return p == won || p == lost || p == failed }

// EventKind is something that happens to a call.
type EventKind uint8

// Events of the call as a whole.
const (
	EvRouted      EventKind = iota // the targets are known: the event's targets
	EvRefuse                       // there is no target: the event's status
	EvCancelled                    // CANCEL, or BYE before the answer
	EvCallerGone                   // the A leg ended without the caller's wish: no ACK, flow lost before the answer
	EvConfirmed                    // the caller's ACK
	EvCallerBye                    //
	EvCalleeBye                    // a B leg ended: event.attempt, the event's invite
	EvHangup                       // by the operator, drain, media time-out
	EvRingTimeout                  // timers ...
	EvWakeTimeout                  //
	EvNoPush                       //
	EvRingAgain                    //
	EvMaxDuration                  //
	EvClosed                       // the last leg is gone
	callEvents
)

// Events of one attempt.
const (
	EvStart        = callEvents + iota
	EvRegistered   // on a flow that is new for the attempt
	EvSameFlow     // REGISTER again on the flow that the attempt uses
	EvAlive        // traffic on a doubtful flow
	EvFlowGone     //
	EvPushAccepted //
	EvPushRefused  // or it could not be sent at all
	EvTrying       // 100 to 179, of the device or of a proxy on the way
	EvRinging      // 180 to 199
	EvAnswered     // 2xx
	EvUnusable     // 2xx with an SDP that cannot be relayed: the event's status
	EvFailed       // final >= 300, or the transport failed
	EvDoubt        // timers ...
	EvSecondChance //
	EvVoIPDue      // a device that gets alert pushes first may get a VoIP push again
	EvRepeat       // the alert push is to be sent again
	EvGiveUp       // the time for waking is over
	EvLose         // the call was decided elsewhere
	eventKinds
)

// String names the event for tests and logs.
func (k EventKind) String() string {
	return [...]string{
		"routed", "refuse", "cancelled", "caller-gone", "confirmed", "caller-bye", "callee-bye", "hangup",
		"ring-timeout", "wake-timeout", "no-push", "ring-again", "max-duration", "closed",
		"start", "registered", "same-flow", "alive", "flow-gone", "push-accepted", "push-refused", "trying", "ringing",
		"answered", "unusable", "failed", "doubt", "second-chance", "voip-due", "repeat", "give-up", "lose",
	}[k]
}
