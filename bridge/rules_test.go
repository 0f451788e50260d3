package bridge

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"wakebridge/sipua"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func testTerms() terms {
	return terms{RingTimeout: 50 * time.Second, WakeTimeout: 30 * time.Second, DeclineWindow: 28 * time.Second, MaxDuration: 4 * time.Hour}
}

// words is an action in short: what, of which attempt and INVITE, and what else
// matters.
func (a action) words() string {
	s := a.kind.String()
	switch a.kind {
	case actTimer:
		s += fmt.Sprintf(" %s %s", a.timer.event(), a.after)
		if a.attempt >= 0 {
			s += fmt.Sprint(" ", a.attempt)
		}
	case actPush:
		if a.alert {
			s += " alert"
		}
		s += fmt.Sprint(" ", a.attempt)
	case actStopPush, actWatchAlive:
		s += fmt.Sprint(" ", a.attempt)
	case actInvite, actAgain, actCancel, actBye, actEarly, actAnswer:
		s += fmt.Sprintf(" %d.%d", a.attempt, a.invite)
	case actFate:
		s += fmt.Sprintf(" %d %d %s", a.attempt, a.status, a.reason)
		if a.maybe {
			s += " maybe"
		}
	case actRing, actTone:
		s += " " + a.stage.String()
	case actReject:
		s += fmt.Sprintf(" %d by %s", a.status, a.by)
	case actByeCaller:
		s += fmt.Sprintf(" by %s", a.by)
	case actBug:
	}
	if len(a.reasons) > 0 {
		s += " (" + strings.Join(a.reasons, ", ") + ")"
	}
	return strings.TrimSpace(s)
}

// told are actions in short; that pushes need not go on is left out.
func told(acts []action) string {
	var out []string
	for _, a := range acts {
		if a.kind != actStopPush {
			out = append(out, a.words())
		}
	}
	return strings.Join(out, ", ")
}

func phasesOf(s state) string {
	out := s.phase.String()
	for _, a := range s.attempts {
		out += " " + a.phase.String()
	}
	return out
}

// callIn is a call in phase p: device 0 was pushed, device 1 has an INVITE out on
// flow 7.
func callIn(p phase) state {
	s := newState(testTerms())
	s.phase = p
	if p == routing {
		return s
	}
	s.attempts = []attempt{
		{phase: pushed, hasVoIP: true, hasPush: true, voip: pushAccepted},
		{phase: inviting, flow: 7, alive: true, invites: []invite{{flow: 7}}},
	}
	switch p {
	case ringing:
		s.attempts[1].phase, s.attempts[1].rangAt, s.attempts[1].invites[0].provisional = rings, t0, true
		s.rung, s.told = true, stageRinging
	case answering, bridged, ending, ended:
		s.attempts[0].phase, s.attempts[1].phase, s.winner = lost, won, 1
		s.attempts[1].invites[0].provisional = true
	}
	return s
}

const impossible = "impossible"

// TestEveryCallPhaseMeetsEveryEvent is the first table: for each phase of a call
// and each event the phases after it and what is to be done.
func TestEveryCallPhaseMeetsEveryEvent(t *testing.T) {
	target := []attempt{{flow: 7, alive: true}}
	events := map[eventKind]event{
		evRouted: {targets: target}, evRefuse: {status: 404, reason: "no route"}, evCancelled: {reasons: []string{"SIP;cause=487"}},
		evCallerGone: {reason: "x"}, evCalleeBye: {attempt: 1, reasons: []string{"r"}}, evCallerBye: {reasons: []string{"r"}},
		evHangup: {reason: "operator"},
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
			ev.kind = k
			got, acts := newRules().next(callIn(p), ev, t0)
			row{fmt.Sprintf("%s x %s", p, k), want}.check(t, callIn(p), got, acts)
		}
	}
}

type row struct{ what, want string }

// check compares "phases: actions" with what the rules did; "-" is nothing at all.
func (r row) check(t *testing.T, before, after state, acts []action) {
	t.Helper()
	what, want := r.what, r.want
	got := phasesOf(after) + ": " + told(acts)
	bugs := slices.ContainsFunc(acts, func(a action) bool { return a.kind == actBug })
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
func attemptIn(p attemptPhase) state {
	s := newState(testTerms())
	s.phase = waking
	a := attempt{phase: p, hasVoIP: true, hasPush: true, voip: pushAccepted}
	a.invites = []invite{{flow: 7}}
	a.flow, a.alive = 7, true
	switch p {
	case idle:
		a.invites, a.voip, a.flow = nil, pushNone, 0
	case pushing:
		a.invites, a.voip, a.flow, a.alive = nil, pushSent, 5, false
	case pushed:
		a.invites, a.flow, a.alive = nil, 5, false
	case inviting:
		a.voip = pushNone
	case rings:
		a.voip = pushNone
		a.rangAt, a.invites[0].provisional = t0, true
		s.phase = ringing
		s.rung, s.told = true, stageRinging
	case flowLost:
		a.invites[0].over, a.flow, a.alive = true, 0, false
	case won:
		s.phase, s.winner = bridged, 0
		a.invites[0].provisional = true
	case lost, failed:
		s.phase = ending
		a.invites[0].over = true
	}
	s.attempts = []attempt{a}
	return s
}

func TestEveryAttemptPhaseMeetsEveryEvent(t *testing.T) {
	events := map[eventKind]event{
		evRegistered: {flow: 8}, evSameFlow: {flow: 7}, evAlive: {flow: 5}, evFlowGone: {flow: 7}, evPushRefused: {reason: "BadDeviceToken"},
		evRinging: {status: 180}, evUnusable: {status: 488, reason: "x"}, evFailed: {status: 486},
		evGiveUp: {reason: "late"}, evLose: {status: 487, reason: "Call cancelled"},
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
			ev.kind = k
			got, acts := newRules().next(attemptIn(p), ev, t0)
			row{fmt.Sprintf("%s x %s", p, k), want}.check(t, attemptIn(p), got, acts)
		}
	}
}

func TestEventsOfNobodyAreBugs(t *testing.T) {
	for _, i := range []int{-1, 2} {
		_, acts := newRules().next(callIn(waking), event{kind: evRinging, attempt: i}, t0)
		if told(acts) != "bug" {
			t.Errorf("attempt %d: %s", i, told(acts))
		}
	}
	// An INVITE that never was changes nothing, and breaks nothing.
	for _, k := range []eventKind{evTrying, evRinging, evFailed} {
		for _, n := range []int{-1, 1} {
			got, acts := newRules().next(attemptIn(inviting), event{kind: k, invite: n, status: 486}, t0)
			if len(acts) > 0 || got.attempts[0].phase != inviting {
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
		newRules().next(s, event{kind: k, status: 486, flow: 9, targets: []attempt{{flow: sipua.FlowID(1), alive: true}}}, t0)
	}
	if after := fmt.Sprintf("%+v", s); after != before {
		t.Errorf("state changed:\n%s\n%s", before, after)
	}
}
