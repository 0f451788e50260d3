package bridge

// phase is where a call stands.
type phase uint8

const (
	routing   phase = iota // nobody is asked yet
	waking                 // devices are being woken or invited, none rings
	ringing                // a device rings
	answering              // a device's 2xx went to the caller, whose ACK is awaited
	bridged                // both legs are confirmed
	ending                 // the outcome is decided, legs are closing
	ended                  // nothing is left
	phases
)

// String is the phase in lower case.
func (p phase) String() string {
	return [...]string{"routing", "waking", "ringing", "answering", "bridged", "ending", "ended"}[p]
}

// attemptPhase is where an attempt stands: what the call does with one device
// or one trunk.
type attemptPhase uint8

const (
	idle     attemptPhase = iota
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
func (p attemptPhase) String() string {
	return [...]string{"idle", "pushing", "pushed", "inviting", "ringing", "flow-lost", "won", "lost", "failed"}[p]
}

// over says that the attempt has come to its end.
func (p attemptPhase) over() bool { return p == won || p == lost || p == failed }

// eventKind is something that happens to a call.
type eventKind uint8

// Events of the call as a whole.
const (
	evRouted      eventKind = iota // the targets are known: event.targets
	evRefuse                       // there is no target: event.status
	evCancelled                    // CANCEL, or BYE before the answer
	evCallerGone                   // the A leg ended without the caller's wish: no ACK, flow lost before the answer
	evConfirmed                    // the caller's ACK
	evCallerBye                    //
	evCalleeBye                    // a B leg ended: event.attempt, event.invite
	evHangup                       // by the operator, drain, media time-out
	evRingTimeout                  // timers ...
	evWakeTimeout                  //
	evNoPush                       //
	evRingAgain                    //
	evMaxDuration                  //
	evClosed                       // the last leg is gone
	callEvents
)

// Events of one attempt.
const (
	evStart        = callEvents + iota
	evRegistered   // on a flow that is new for the attempt
	evSameFlow     // REGISTER again on the flow that the attempt uses
	evAlive        // traffic on a doubtful flow
	evFlowGone     //
	evPushAccepted //
	evPushRefused  // or it could not be sent at all
	evTrying       // 100
	evRinging      // 101 to 199
	evAnswered     // 2xx
	evUnusable     // 2xx with an SDP that cannot be relayed: event.status
	evFailed       // final >= 300, or the transport failed
	evDoubt        // timers ...
	evSecondChance //
	evVoIPDue      // a device that gets alert pushes first may get a VoIP push again
	evRepeat       // the alert push is to be sent again
	evGiveUp       // the time for waking is over
	evLose         // the call was decided elsewhere
	eventKinds
)

// String names the event for tests and logs.
func (k eventKind) String() string {
	return [...]string{
		"routed", "refuse", "cancelled", "caller-gone", "confirmed", "caller-bye", "callee-bye", "hangup",
		"ring-timeout", "wake-timeout", "no-push", "ring-again", "max-duration", "closed",
		"start", "registered", "same-flow", "alive", "flow-gone", "push-accepted", "push-refused", "trying", "ringing",
		"answered", "unusable", "failed", "doubt", "second-chance", "voip-due", "repeat", "give-up", "lose",
	}[k]
}
