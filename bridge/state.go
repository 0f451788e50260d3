package bridge

import (
	"slices"
	"time"

	"wakebridge/sipua"
)

// state is all that the rules of a call know. It is a plain value: next copies
// it, so a test can keep what it had.
type state struct {
	phase    phase
	attempts []attempt
	winner   int   // index of the attempt that answered, -1 while there is none
	answer   int   // index of its INVITE that was answered
	told     stage // what the newest 180 to the caller said
	rung     bool  // a 180 or 183 went to the caller
	early    bool  // the caller has an SDP, of a callee or for the tone
	tone     bool  // the caller hears our tone
	wakeOver bool  // push.wake_timeout has passed
	silent   bool  // noPushAfter has passed: a push that nobody answered by now counts as refused
	timers   [timers]int
	terms    terms
}

func newState(t terms) state { return state{winner: noWinner, terms: t} }

const noWinner = -1

// terms are the settings that a call's rules depend on; they do not change
// while it lives.
type terms struct {
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

// stage is how far the waking has come, as X-Wake-Status tells it.
type stage uint8

const (
	stageNone stage = iota
	stagePushed
	stageRegistered
	stageRinging
)

// String is the header's value.
func (s stage) String() string { return [...]string{"", "pushed", "registered", "ringing"}[s] }

// attempt is the rules' view of one device or trunk.
type attempt struct {
	phase   attemptPhase
	trunk   bool
	flow    sipua.FlowID // where to send an INVITE, 0: nowhere
	alive   bool         // that flow is proven alive
	hasVoIP bool         // may be woken by a VoIP push
	hasPush bool         // may be woken by an alert push
	push    pushTerms
	busy    bool // in another call, and calls.waiting is busy
	voip    pushState
	alert   pushState
	came    bool // it registered since it was pushed
	maybe   bool // a push that counts as refused may have arrived: its answer was lost
	invites []invite
	rangAt  time.Time // first 180
	outcome outcome
	timers  [timers]int
}

// pushTerms are what is special about pushes to one device.
type pushTerms struct {
	none    string        // why it cannot be woken, for a person; "" if it can
	suspect bool          // VoIP pushes do not wake it any more, or too many went to it: alert first (location.Device.AlertFirst)
	after   time.Duration // then: from the first push of this call to the VoIP push
	repeat  time.Duration // between two alert pushes of this call, 0: one is enough
}

// pushState is what became of one push.
type pushState uint8

const (
	pushNone pushState = iota
	pushSent
	pushAccepted
	pushRefused
)

// invite is one INVITE to a device; a newer one on another flow supersedes it.
type invite struct {
	flow        sipua.FlowID
	provisional bool // it got a 1xx, so it arrived
	over        bool // final response, or its flow is gone
}

// outcome is how an attempt ended, for the choice of what the caller hears.
type outcome struct {
	rank   rank
	status int    // what the caller gets if this outcome is the best
	phrase string // "": the standard one
	reason string // for a person
	callee bool   // the callee said so: its user, or the trunk
	away   bool   // the device's 408, 430, 480 or 503 before it rang: its user was not reached
}

// rank orders outcomes: the caller gets the highest (DESIGN: busy or declined by
// a user, then no answer, then unreachable; 488 and 415 if nothing better came).
type rank uint8

const (
	rankNone rank = iota
	rankUnreachable
	rankUnacceptable
	rankRefused // by a trunk, with a status of its own
	rankNoAnswer
	rankBusy
	rankDeclined
)

// timer names a timer of the call or of an attempt.
type timer uint8

const (
	timerRing timer = iota
	timerWake
	timerNoPush
	timerRingAgain
	timerMax
	timerDoubt
	timerSecondChance
	timerVoIP
	timerRepeat
	timers
)

// event of a timer.
func (t timer) event() eventKind {
	return [...]eventKind{evRingTimeout, evWakeTimeout, evNoPush, evRingAgain, evMaxDuration, evDoubt, evSecondChance, evVoIPDue, evRepeat}[t]
}

// timerOf is the timer whose event k is; false if k is not a timer's.
func timerOf(k eventKind) (timer, bool) {
	for t := range timers {
		if t.event() == k {
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
	secondChanceAfter = 8 * time.Second
)

func (s state) clone() state {
	s.attempts = slices.Clone(s.attempts)
	for i := range s.attempts {
		s.attempts[i].invites = slices.Clone(s.attempts[i].invites)
	}
	return s
}

// unanswered says that the call waits for an answer.
func (s *state) unanswered() bool { return s.phase == waking || s.phase == ringing }

// alive counts the attempts that may still bring an answer.
func (s *state) alive() int {
	n := 0
	for i := range s.attempts {
		if !s.attempts[i].phase.over() {
			n++
		}
	}
	return n
}

// canPush says that a push could be sent that was not sent yet.
func (a *attempt) canPush() bool {
	return a.hasVoIP && a.voip == pushNone || a.hasPush && a.alert == pushNone
}

// pushOut says that a push is under way or accepted.
func (a *attempt) pushOut() bool {
	return a.voip == pushSent || a.voip == pushAccepted || a.alert == pushSent || a.alert == pushAccepted
}

// mayRevive says that the device could not be reached, and may yet come by itself.
func (a *attempt) mayRevive() bool {
	return a.outcome.rank == rankUnreachable && !a.pushOut() && !a.arrived()
}

// mayWake says that a push may yet wake the device.
func (a *attempt) mayWake() bool { return a.pushOut() || a.maybe }

func (a *attempt) wasPushed() bool { return a.voip != pushNone || a.alert != pushNone }

func (a *attempt) accepted() bool { return a.voip == pushAccepted || a.alert == pushAccepted }

// standing says that an INVITE may still bring an answer.
func (a *attempt) standing() bool {
	return slices.ContainsFunc(a.invites, func(i invite) bool { return !i.over })
}

// heard says that an INVITE that stands has reached the device.
func (a *attempt) heard() bool {
	return slices.ContainsFunc(a.invites, func(i invite) bool { return i.provisional && !i.over })
}

// arrived says that some INVITE reached the device: it is awake, and will come
// back by itself if it loses its flow.
func (a *attempt) arrived() bool {
	return slices.ContainsFunc(a.invites, func(i invite) bool { return i.provisional })
}

// awake says that no push is needed to bring the device here.
func (a *attempt) awake() bool { return a.came || a.arrived() }
