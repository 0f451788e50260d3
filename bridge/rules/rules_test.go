package rules

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"wakebridge/sipua"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func testTerms() Terms {
	return Terms{RingTimeout: 50 * time.Second, WakeTimeout: 30 * time.Second, DeclineWindow: 28 * time.Second, MaxDuration: 4 * time.Hour}
}

// words is an action in short: what, of which attempt and INVITE, and what else
// matters.
func (a Action) words() string {
	s := a.Kind.String()
	switch a.Kind {
	case ActTimer:
		s += fmt.Sprintf(" %s %s", a.Timer.Event(), a.After)
		if a.Attempt >= 0 {
			s += fmt.Sprint(" ", a.Attempt)
		}
	case ActPush:
		if a.Alert {
			s += " alert"
		}
		s += fmt.Sprint(" ", a.Attempt)
	case ActStopPush, ActWatchAlive:
		s += fmt.Sprint(" ", a.Attempt)
	case ActInvite, ActAgain, ActCancel, ActBye, ActEarly, ActAnswer:
		s += fmt.Sprintf(" %d.%d", a.Attempt, a.Invite)
	case ActFate:
		s += fmt.Sprintf(" %d %d %s", a.Attempt, a.Status, a.Reason)
		if a.Maybe {
			s += " maybe"
		}
	case ActRing, ActTone:
		s += " " + a.Stage.String()
	case ActReject:
		s += fmt.Sprintf(" %d by %s", a.Status, a.By)
	case ActByeCaller:
		s += fmt.Sprintf(" by %s", a.By)
	case ActBug:
	}
	if len(a.Reasons) > 0 {
		s += " (" + strings.Join(a.Reasons, ", ") + ")"
	}
	return strings.TrimSpace(s)
}

// told are actions in short; that pushes need not go on is left out.
func told(acts []Action) string {
	var out []string
	for _, a := range acts {
		if a.Kind != ActStopPush {
			out = append(out, a.words())
		}
	}
	return strings.Join(out, ", ")
}

func phasesOf(s State) string {
	out := s.Phase.String()
	for _, a := range s.Attempts {
		out += " " + a.Phase.String()
	}
	return out
}

// callIn is a call in phase p: device 0 was pushed, device 1 has an INVITE out on
// flow 7.
func callIn(p Phase) State {
	s := NewState(testTerms())
	s.Phase = p
	if p == Routing {
		return s
	}
	s.Attempts = []Attempt{
		{Phase: pushed, HasVoIP: true, HasPush: true, VoIP: PushAccepted},
		{Phase: inviting, Flow: 7, Alive: true, invites: []Invite{{flow: 7}}},
	}
	switch p {
	case ringing:
		s.Attempts[1].Phase, s.Attempts[1].rangAt, s.Attempts[1].invites[0].provisional = rings, t0, true
		s.rung, s.told = true, StageRinging
	case Answering, Bridged, Ending, ended:
		s.Attempts[0].Phase, s.Attempts[1].Phase, s.Winner = lost, won, 1
		s.Attempts[1].invites[0].provisional = true
	}
	return s
}

const impossible = "impossible"

// TestEveryCallPhaseMeetsEveryEvent is the first table: for each phase of a call
// and each event the phases after it and what is to be done.
func TestEveryCallPhaseMeetsEveryEvent(t *testing.T) {
	target := []Attempt{{Flow: 7, Alive: true}}
	events := map[EventKind]Event{
		EvRouted: {Targets: target}, EvRefuse: {Status: 404, Reason: "no route"}, EvCancelled: {Reasons: []string{"SIP;cause=487"}},
		EvCallerGone: {Reason: "x"}, EvCalleeBye: {Attempt: 1, Reasons: []string{"r"}}, EvCallerBye: {Reasons: []string{"r"}},
		EvHangup: {Reason: "operator"},
	}
	table := callRows()
	if len(table) != int(phases) {
		t.Errorf("%d rows for %d phases", len(table), phases)
	}
	for p := range phases {
		for k := range callEvents {
			want, ok := table[p][k]
			if !ok {
				t.Errorf("%s x %s has no row", p, k)
				continue
			}
			ev := events[k]
			ev.Kind = k
			got, acts := New().Next(callIn(p), ev, t0)
			row{fmt.Sprintf("%s x %s", p, k), want}.check(t, callIn(p), got, acts)
		}
	}
}

type row struct{ what, want string }

// check compares "phases: actions" with what the rules did; "-" is nothing at all.
func (r row) check(t *testing.T, before, after State, acts []Action) {
	t.Helper()
	what, want := r.what, r.want
	got := phasesOf(after) + ": " + told(acts)
	bugs := slices.ContainsFunc(acts, func(a Action) bool { return a.Kind == ActBug })
	switch {
	case bugs:
		got = impossible
		if len(acts) > 1 || phasesOf(before) != phasesOf(after) {
			t.Errorf("%s: what is impossible must change nothing", what)
		}
	case len(acts) == 0 && phasesOf(before) == phasesOf(after):
		got = "-"
	}
	if got != want {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

// attemptIn is a call with one device in phase p, whose flow is 7 where it has
// one.
func attemptIn(p AttemptPhase) State {
	s := NewState(testTerms())
	s.Phase = waking
	a := Attempt{Phase: p, HasVoIP: true, HasPush: true, VoIP: PushAccepted}
	a.invites = []Invite{{flow: 7}}
	a.Flow, a.Alive = 7, true
	switch p {
	case idle:
		a.invites, a.VoIP, a.Flow = nil, PushNone, 0
	case pushing:
		a.invites, a.VoIP, a.Flow, a.Alive = nil, PushSent, 5, false
	case pushed:
		a.invites, a.Flow, a.Alive = nil, 5, false
	case inviting:
		a.VoIP = PushNone
	case rings:
		a.VoIP = PushNone
		a.rangAt, a.invites[0].provisional = t0, true
		s.Phase = ringing
		s.rung, s.told = true, StageRinging
	case flowLost:
		a.invites[0].over, a.Flow, a.Alive = true, 0, false
	case won:
		s.Phase, s.Winner = Bridged, 0
		a.invites[0].provisional = true
	case lost, failed:
		s.Phase = Ending
		a.invites[0].over = true
	}
	s.Attempts = []Attempt{a}
	return s
}

func TestEveryAttemptPhaseMeetsEveryEvent(t *testing.T) {
	events := map[EventKind]Event{
		EvRegistered: {Flow: 8}, EvSameFlow: {Flow: 7}, EvAlive: {Flow: 5}, EvFlowGone: {Flow: 7}, EvPushRefused: {Reason: "BadDeviceToken"},
		EvRinging: {Status: 180}, EvUnusable: {Status: 488, Reason: "x"}, EvFailed: {Status: 486},
		EvGiveUp: {Reason: "late"}, EvLose: {Status: 487, Reason: "Call cancelled"},
	}
	table := attemptRows()
	if len(table) != int(attemptPhases) {
		t.Errorf("%d rows for %d phases", len(table), attemptPhases)
	}
	for p := range attemptPhases {
		for k := callEvents; k < eventKinds; k++ {
			want, ok := table[p][k]
			if !ok {
				t.Errorf("%s x %s has no row", p, k)
				continue
			}
			ev := events[k]
			ev.Kind = k
			got, acts := New().Next(attemptIn(p), ev, t0)
			row{fmt.Sprintf("%s x %s", p, k), want}.check(t, attemptIn(p), got, acts)
		}
	}
}

func TestEventsOfNobodyAreBugs(t *testing.T) {
	for _, i := range []int{-1, 2} {
		_, acts := New().Next(callIn(waking), Event{Kind: EvRinging, Attempt: i}, t0)
		if told(acts) != "bug" {
			t.Errorf("attempt %d: %s", i, told(acts))
		}
	}
	// An INVITE that never was changes nothing, and breaks nothing.
	for _, k := range []EventKind{EvTrying, EvRinging, EvFailed} {
		for _, n := range []int{-1, 1} {
			got, acts := New().Next(attemptIn(inviting), Event{Kind: k, Invite: n, Status: 486}, t0)
			if len(acts) > 0 || got.Attempts[0].Phase != inviting {
				t.Errorf("%s of INVITE %d: %s", k, n, told(acts))
			}
		}
	}
}

// The rules never change what they are given.
func TestNextIsPure(t *testing.T) {
	s := attemptIn(inviting)
	before := fmt.Sprintf("%+v", s)
	for k := range eventKinds {
		New().Next(s, Event{Kind: k, Status: 486, Flow: 9, Targets: []Attempt{{Flow: sipua.FlowID(1), Alive: true}}}, t0)
	}
	if after := fmt.Sprintf("%+v", s); after != before {
		t.Errorf("state changed:\n%s\n%s", before, after)
	}
}
