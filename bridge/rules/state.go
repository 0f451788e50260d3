package rules

import (
	"slices"
	"time"

	"wakebridge/sipua"
)

// State is all that the rules of a call know. It is a plain value: next copies
// it, so a test can keep what it had.
type State struct {
	Phase    Phase
	Attempts []Attempt
	Winner   int   // index of the attempt that answered, -1 while there is none
	Answer   int   // index of its INVITE that was answered
	told     Stage // what the newest 180 to the caller said
	rung     bool  // a 180 or 183 went to the caller
	early    bool  // the caller has an SDP, of a callee or for the tone
	tone     bool  // the caller hears our tone
	wakeOver bool  // push.wake_timeout has passed
	silent   bool  // noPushAfter has passed: a push that nobody answered by now counts as refused
	timers   [timers]int
	Terms    Terms
}

// NewState is that of a call that has just begun.
func NewState(t Terms) State { return State{Winner: NoWinner, Terms: t} }

// NoWinner is State.Winner while no attempt has won.
const NoWinner = -1

// Terms are the settings that a call's rules depend on; they do not change
// while it lives.
type Terms struct {
	RingTimeout   time.Duration // from the INVITE to giving up
	WakeTimeout   time.Duration // from the INVITE to giving up on devices that did not register
	Ringing       RingPolicy
	Progress      bool // the caller's trunk wants X-Wake-Status
	Tone          bool // the caller can be played a ringback tone (media.ringback)
	DeclineOne    bool // calls.decline: one
	DeclineWindow time.Duration
	MaxDuration   time.Duration
}

// RingPolicy says when the caller hears ringing (push.ringing).
type RingPolicy uint8

// The policies.
const (
	RingOnPush RingPolicy = iota // when the first push was accepted
	RingTrying                   // when a device rings
	RingAtOnce                   // when the targets are known
)

// Stage is how far the waking has come, as X-Wake-Status tells it.
type Stage uint8

// The stages.
const (
	StageNone Stage = iota
	StagePushed
	StageRegistered
	StageRinging
)

// String is the header's value.
func (s Stage) String() string { return [...]string{"", "pushed", "registered", "ringing"}[s] }

// Attempt is the rules' view of one device or trunk.
type Attempt struct {
	Phase   AttemptPhase
	Trunk   bool
	Flow    sipua.FlowID // where to send an INVITE, 0: nowhere
	Alive   bool         // that flow is proven alive
	HasVoIP bool         // may be woken by a VoIP push
	HasPush bool         // may be woken by an alert push
	Push    PushTerms
	Busy    bool // in another call, and calls.waiting is busy
	VoIP    PushState
	Alert   PushState
	Came    bool // it registered since it was pushed
	maybe   bool // a push that counts as refused may have arrived: its answer was lost
	invites []Invite
	rangAt  time.Time // first 180
	Outcome Outcome
	timers  [timers]int
}

// PushTerms are what is special about pushes to one device.
type PushTerms struct {
	None    string        // why it cannot be woken, for a person; "" if it can
	Suspect bool          // VoIP pushes do not wake it any more, or too many went to it: alert first (location.Device.AlertFirst)
	After   time.Duration // then: from the first push of this call to the VoIP push
	Repeat  time.Duration // between two alert pushes of this call, 0: one is enough
}

// PushState is what became of one push.
type PushState uint8

// The states.
const (
	PushNone PushState = iota
	PushSent
	PushAccepted
	PushRefused
)

// Invite is one INVITE to a device; a newer one on another flow supersedes it.
type Invite struct {
	flow        sipua.FlowID
	provisional bool // it got a 1xx of the device, so it arrived
	relayed     bool // a proxy on the way has it, and said 100 for itself
	rang        bool // it got a 180 or 183
	anew        bool // it went to an app that was started anew, and seems to know none of those before
	over        bool // final response, or its flow is gone
}

// Outcome is how an attempt ended, for the choice of what the caller hears.
type Outcome struct {
	Rank   Rank
	status int    // what the caller gets if this outcome is the best
	phrase string // "": the standard one
	reason string // for a person
	Callee bool   // the callee said so: its user, or the trunk
	away   bool   // the device's 408, 430, 480 or 503 before it rang: its user was not reached
}

// Rank orders outcomes: the caller gets the highest (DESIGN: busy or declined by
// a user, then no answer, then unreachable; 488 and 415 if nothing better came).
type Rank uint8

// The ranks, the least first.
const (
	RankNone Rank = iota
	RankUnreachable
	RankUnacceptable
	RankRefused // by a trunk, with a status of its own
	RankNoAnswer
	RankBusy
	RankDeclined
)

// Timer names a timer of the call or of an attempt.
type Timer uint8

// The timers.
const (
	TimerRing Timer = iota
	TimerWake
	TimerNoPush
	TimerRingAgain
	TimerMax
	TimerDoubt
	TimerSecondChance
	TimerVoIP
	TimerRepeat
	timers
)

// Event of a timer.
func (t Timer) Event() EventKind {
	return [...]EventKind{EvRingTimeout, EvWakeTimeout, EvNoPush, EvRingAgain, EvMaxDuration, EvDoubt, EvSecondChance, EvVoIPDue, EvRepeat}[t]
}

// timerOf is the timer whose event k is; false if k is not a timer's.
func timerOf(k EventKind) (Timer, bool) {
	for t := range timers {
		if t.Event() == k {
			return t, true
		}
	}
	return 0, false
}

// How long the rules wait. They are the design's, not an operator's.
const (
	ringAgainAfter    = 60 * time.Second // RFC 3261 s13.3.1.1
	noPushAfter       = 10 * time.Second // no push accepted at all
	quietInvite       = 1500 * time.Millisecond
	doubtfulFlow      = 3 * time.Second
	SecondChanceAfter = 8 * time.Second
)

func (s State) clone() State {
	s.Attempts = slices.Clone(s.Attempts)
	for i := range s.Attempts {
		s.Attempts[i].invites = slices.Clone(s.Attempts[i].invites)
	}
	return s
}

// Unanswered says that the call waits for an answer.
func (s *State) Unanswered() bool { return s.Phase == waking || s.Phase == ringing }

// alive counts the attempts that may still bring an answer.
func (s *State) alive() int {
	n := 0
	for i := range s.Attempts {
		if !s.Attempts[i].Phase.Over() {
			n++
		}
	}
	return n
}

// canPush says that a push could be sent that was not sent yet.
func (a *Attempt) canPush() bool {
	return a.HasVoIP && a.VoIP == PushNone || a.HasPush && a.Alert == PushNone
}

// pushOut says that a push is under way or accepted.
func (a *Attempt) pushOut() bool {
	return a.VoIP == PushSent || a.VoIP == PushAccepted || a.Alert == PushSent || a.Alert == PushAccepted
}

// mayRevive says that the device could not be reached, and may yet come by itself.
func (a *Attempt) mayRevive() bool {
	return a.Outcome.Rank == RankUnreachable && !a.pushOut() && !a.Arrived()
}

// MayWake says that a push may yet wake the device.
func (a *Attempt) MayWake() bool { return a.pushOut() || a.maybe }

// WasPushed says that a push was sent, whatever became of it.
func (a *Attempt) WasPushed() bool { return a.VoIP != PushNone || a.Alert != PushNone }

func (a *Attempt) accepted() bool { return a.VoIP == PushAccepted || a.Alert == PushAccepted }

// standing says that an INVITE may still bring an answer. Once an app that was started anew
// rings, those of before do not.
func (a *Attempt) standing() bool {
	for _, in := range slices.Backward(a.invites) {
		switch {
		case !in.over:
			return true
		case in.anew && in.rang:
			return false
		}
	}
	return false
}

// heard says that an INVITE that stands has reached the device, as it is since it was
// started anew.
func (a *Attempt) heard() bool {
	for _, in := range slices.Backward(a.invites) {
		switch {
		case in.provisional && !in.over:
			return true
		case in.anew:
			return false
		}
	}
	return false
}

// relayed says that a proxy on flow f has an INVITE of which the device said nothing yet.
func (a *Attempt) relayed(f sipua.FlowID) bool {
	return slices.ContainsFunc(a.invites, func(i Invite) bool { return i.relayed && !i.provisional && !i.over && i.flow == f })
}

// Arrived says that some INVITE reached the device: it is awake, and will come
// back by itself if it loses its flow.
func (a *Attempt) Arrived() bool {
	return slices.ContainsFunc(a.invites, func(i Invite) bool { return i.provisional })
}

// Awake says that no push is needed to bring the device here.
func (a *Attempt) Awake() bool { return a.Came || a.Arrived() }
