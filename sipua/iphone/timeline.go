package iphone

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Kind is what happened on the phone.
type Kind string

// The kinds, in the order of a woken call.
const (
	TokenIssued    Kind = "token issued"    // Text: voip or alert
	PushReceived   Kind = "push received"   // Text: its type
	Launched       Kind = "app launched"    // Text: the state of its process
	Woken          Kind = "app resumed"     // from suspension; Text as for Launched
	Reported       Kind = "call reported"   // to CallKit; without CallKit: shown by the app
	Registering    Kind = "registering"     //
	Registered     Kind = "registered"      //
	RegisterFailed Kind = "register failed" // Text: why
	InviteReceived Kind = "INVITE received" //
	Ringing        Kind = "180 sent"        //
	UserAnswered   Kind = "user answered"   //
	UserDeclined   Kind = "user declined"   //
	UserHungUp     Kind = "user hung up"    //
	Accepted       Kind = "200 sent"        //
	Fulfilled      Kind = "answer fulfilled"
	AudioStarted   Kind = "audio started"
	ActionFailed   Kind = "action failed"      // Text: which, and why if it is not begun
	ActionTimedOut Kind = "action timed out"   // Text: which
	Declined       Kind = "decline sent"       // Text: the status, 603 if the user declined
	FateTold       Kind = "fate told"          // in the 200 to REGISTER
	Ended          Kind = "call ended"         // Reason
	Notified       Kind = "notification shown" // Text: its title
	Tapped         Kind = "notification tapped"
	FlowLost       Kind = "connection lost"
	Calling        Kind = "calling"        // Text: the number
	Connected      Kind = "call connected" // the peer answered
	Held           Kind = "call held"
	Resumed        Kind = "call resumed"
	Muted          Kind = "muted"
	Unmuted        Kind = "unmuted"
	KeysPressed    Kind = "keys pressed" // Text: the digits
	AudioStopped   Kind = "audio stopped"
	CellularCall   Kind = "cellular call"
	CellularEnded  Kind = "cellular call ended"
	Filtered       Kind = "call filtered" // reported and not shown; Reason; Text: the caller
	ProviderReset  Kind = "provider reset"
	Locked         Kind = "locked"
	Unlocked       Kind = "unlocked" // Text: "for the first time" since the device started
	Restarted      Kind = "device restarted"
	Reinstalled    Kind = "app reinstalled"
	Invalidated    Kind = "token invalidated" // the VoIP one
	Blocked        Kind = "pushes blocked"    // until the app is installed anew
	Withheld       Kind = "push withheld"     // as they are blocked
	Suspended      Kind = "app suspended"     // its connection closes
	Killed         Kind = "app killed"        // Text: why
	Violated       Kind = "rule violated"     // Text: which and how
)

// Kinds are all kinds of events.
func Kinds() []Kind {
	return []Kind{
		TokenIssued, PushReceived, Launched, Woken, Reported, Registering, Registered, RegisterFailed,
		InviteReceived, Ringing, UserAnswered, UserDeclined, UserHungUp, Accepted, Fulfilled, AudioStarted,
		ActionFailed, ActionTimedOut, Declined, FateTold, Ended, Notified, Tapped, FlowLost, Calling, Connected,
		Held, Resumed, Muted, Unmuted, KeysPressed, AudioStopped, CellularCall, CellularEnded, Filtered,
		ProviderReset, Locked, Unlocked, Restarted, Reinstalled, Invalidated, Blocked, Withheld, Suspended, Killed,
		Violated,
	}
}

// Event is a line of the device's timeline.
type Event struct {
	// Seq counts the events of a device from 1.
	Seq    int       `json:"seq"`
	At     time.Time `json:"at"`
	Kind   Kind      `json:"kind"`
	UUID   uuid.UUID `json:"uuid,omitzero"`
	Reason Reason    `json:"reason,omitempty"`
	Text   string    `json:"text,omitempty"`
}

// Reason is why a call ended. The first five are CXCallEndedReason's.
type Reason string

// The reasons.
const (
	Failed            Reason = "failed"
	RemoteEnded       Reason = "remoteEnded"
	Unanswered        Reason = "unanswered"
	AnsweredElsewhere Reason = "answeredElsewhere"
	DeclinedElsewhere Reason = "declinedElsewhere"
	// ByUser and ByDecline are CXEndCallActions of the user: hung up, and declined.
	ByUser    Reason = "hungUp"
	ByDecline Reason = "declined"
	// RingLimit is CallKit's own end of a call that rang too long.
	RingLimit Reason = "ringLimit"
	// ByDoNotDisturb and ByBlockList are calls that were not shown.
	ByDoNotDisturb Reason = "filteredByDoNotDisturb"
	ByBlockList    Reason = "filteredByBlockList"
	// ByEntitlement is a call of an app that may have none.
	ByEntitlement Reason = "unentitled"
	// ByReset is the end of all calls that CallKit forgot.
	ByReset Reason = "providerReset"
	// ByKill is the end of all calls of a process that was killed.
	ByKill Reason = "killed"
)

// Reasons are all reasons.
func Reasons() []Reason {
	return []Reason{
		Failed, RemoteEnded, Unanswered, AnsweredElsewhere, DeclinedElsewhere, ByUser, ByDecline, RingLimit,
		ByDoNotDisturb, ByBlockList, ByEntitlement, ByReset, ByKill,
	}
}

// Rule names what was violated.
type Rule string

// The rules. The first two are the app's duty, the rest the server's.
const (
	// RuleReport: a VoIP push is reported to CallKit before the delegate returns.
	RuleReport Rule = "report-before-return"
	// RuleReportTime: it is reported within 7 s of its delivery.
	RuleReportTime Rule = "report-in-time"
	// RuleAction: an action is fulfilled or failed once, in its time.
	RuleAction Rule = "action-once-in-time"
	// RulePayload: a push carries a call that the app can read.
	RulePayload Rule = "payload"
	// RuleToken: a push comes by a token that the app announced.
	RuleToken Rule = "token"
	// RuleCallID: the INVITE's Call-ID is the one that the push announced.
	RuleCallID Rule = "call-id"
	// RuleInvite: a woken app that registered gets its INVITE, or is told the fate
	// of the call.
	RuleInvite Rule = "invite-or-fate"
)

// Rules are all rules.
func Rules() []Rule {
	return []Rule{RuleReport, RuleReportTime, RuleAction, RulePayload, RuleToken, RuleCallID, RuleInvite}
}

// Violation is a rule that was broken.
type Violation struct {
	At   time.Time `json:"at"`
	Rule Rule      `json:"rule"`
	UUID uuid.UUID `json:"uuid,omitzero"`
	Text string    `json:"text"`
}

// tell adds an event to the timeline. On the queue.
func (d *Device) tell(e Event) {
	e.At = time.Now()
	d.mu.Lock()
	e.Seq = len(d.events) + 1
	d.events = append(d.events, e)
	close(d.changed)
	d.changed = make(chan struct{})
	d.mu.Unlock()
	d.log.Debug("phone", "event", e.Kind, "uuid", e.UUID, "reason", e.Reason, "text", e.Text)
	if d.cfg.Observe != nil {
		d.cfg.Observe(e)
	}
}

// violate notes a broken rule. On the queue.
func (d *Device) violate(rule Rule, id uuid.UUID, text string) {
	d.mu.Lock()
	d.violations = append(d.violations, Violation{At: time.Now(), Rule: rule, UUID: id, Text: text})
	d.mu.Unlock()
	d.tell(Event{Kind: Violated, UUID: id, Text: string(rule) + ": " + text})
}

// Timeline is what happened so far.
func (d *Device) Timeline() []Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Event(nil), d.events...)
}

// Violations are the rules that were broken so far; none is what a test wants.
func (d *Device) Violations() []Violation {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Violation(nil), d.violations...)
}

// Wait waits for the first event of one of these kinds (none given: of any) with a
// Seq above after (0: any, also one that has been). Errors: ErrClosed, ctx's.
func (d *Device) Wait(ctx context.Context, after int, kinds ...Kind) (Event, error) {
	for {
		d.mu.Lock()
		events, changed := d.events, d.changed
		d.mu.Unlock()
		for _, e := range events[min(after, len(events)):] {
			if len(kinds) == 0 || slices.Contains(kinds, e.Kind) {
				return e, nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		case <-d.queue.done:
			return Event{}, ErrClosed
		}
	}
}
