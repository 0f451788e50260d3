package bridge

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"wakebridge/sipua"
)

// play is a call in the hands of its rules, with timers that fire when their time
// comes.
type play struct {
	r      *rules
	s      state
	now    time.Time
	timers []due
}

type due struct {
	at time.Time
	ev event
}

// do lets an event happen and tells what is to be done, timers left out.
func (p *play) do(ev event) []string {
	var acts []action
	p.s, acts = p.r.next(p.s, ev, p.now)
	var out []string
	for _, a := range acts {
		switch a.kind {
		case actTimer:
			p.timers = append(p.timers, due{p.now.Add(a.after), event{kind: a.timer.event(), attempt: a.attempt, gen: a.gen}})
		case actStopPush, actWatchAlive:
		default:
			out = append(out, a.words())
		}
	}
	return out
}

// wait lets time pass; what timers want done has its moment in front.
func (p *play) wait(d time.Duration) []string {
	end := p.now.Add(d)
	var out []string
	for {
		slices.SortStableFunc(p.timers, func(a, b due) int { return a.at.Compare(b.at) })
		if len(p.timers) == 0 || p.timers[0].at.After(end) {
			break
		}
		next := p.timers[0]
		p.timers = p.timers[1:]
		p.now = next.at
		for _, w := range p.do(next.ev) {
			out = append(out, fmt.Sprintf("@%s %s", p.now.Sub(t0), w))
		}
	}
	p.now = end
	return out
}

// step is one moment of a scenario: what time brings, then what happens, and what
// both want done.
type step struct {
	after time.Duration
	ev    event
	want  string
}

const nothing = eventKinds // only time passes

func on(kind eventKind, i, n int) event { return event{kind: kind, attempt: i, invite: n} }

func registers(i int, flow sipua.FlowID) event {
	return event{kind: evRegistered, attempt: i, flow: flow}
}
func losesFlow(i int, flow sipua.FlowID) event {
	return event{kind: evFlowGone, attempt: i, flow: flow}
}
func fails(i, n, status int) event {
	return event{kind: evFailed, attempt: i, invite: n, status: status}
}
func breaks(i, n int) event {
	return event{kind: evFailed, attempt: i, invite: n, status: 480, noFlow: true, reason: "flow is gone"}
}
func refuses(i int, alert bool) event {
	return event{kind: evPushRefused, attempt: i, alert: alert, reason: "BadDeviceToken"}
}
func accepts(i int, alert bool) event { return event{kind: evPushAccepted, attempt: i, alert: alert} }
func just(kind eventKind) event       { return event{kind: kind} }

func sleeping() attempt { return attempt{hasVoIP: true, hasPush: true} }
func live() attempt     { return attempt{hasVoIP: true, hasPush: true, flow: 7, alive: true} }
func alone() attempt    { return attempt{flow: 7, alive: true} } // no push tokens
func doubtful() attempt { return attempt{hasVoIP: true, hasPush: true, flow: 7} }
func suspected(after time.Duration) attempt {
	return attempt{hasVoIP: true, hasPush: true, push: pushTerms{suspect: true, after: after}}
}
func repeating(a attempt) attempt {
	a.push.repeat = 10 * time.Second
	return a
}
func aTrunk() attempt    { return attempt{trunk: true, flow: 9, alive: true} }
func voipOnly() attempt  { return attempt{hasVoIP: true} }
func alertOnly() attempt { return attempt{hasPush: true} }
func occupied() attempt  { return attempt{flow: 7, alive: true, busy: true} }
func asleep() attempt    { return attempt{push: pushTerms{none: "the device logged out"}} }
func with(f func(*terms)) terms {
	t := testTerms()
	f(&t)
	return t
}

type scenario struct {
	name    string
	terms   terms
	targets []attempt
	steps   []step
}

func run(t *testing.T, scenarios []scenario) {
	t.Helper()
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			if sc.terms == (terms{}) {
				sc.terms = testTerms()
			}
			p := &play{r: newRules(), s: newState(sc.terms), now: t0}
			for n, st := range sc.steps {
				got := p.wait(st.after)
				ev := st.ev
				if ev.kind == evRouted {
					ev.targets = sc.targets
				}
				if ev.kind != nothing {
					got = append(got, p.do(ev)...)
				}
				if told := strings.Join(got, ", "); told != st.want {
					t.Fatalf("step %d, %s after %s:\n got %s\nwant %s\nstate %s", n, describe(ev.kind), st.after, told, st.want, phasesOf(p.s))
				}
			}
		})
	}
}

const s = time.Second

func TestOneClock(t *testing.T) {
	run(t, []scenario{
		{name: "ring_timeout counts from the INVITE", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{1 * s, on(evRinging, 0, 0), "ring ringing"},
			{48 * s, just(nothing), ""},
			{1 * s, just(nothing), "@50s cancel 0.0 (" + reasonNoAnswer + "), @50s reject 480 by server"},
		}},
		{name: "wake_timeout bounds waking inside it", targets: []attempt{voipOnly()}, steps: []step{
			{0, just(evRouted), "push 0"},
			{1 * s, accepts(0, false), "ring pushed"},
			{29 * s, just(nothing), "@30s fate 0 480 No answer, @30s reject 480 by server"},
		}},
		{name: "a device that came is not given up with the others", targets: []attempt{sleeping(), voipOnly()}, steps: []step{
			{0, just(evRouted), "push 0, push 1"},
			{1 * s, accepts(0, false), "ring pushed"},
			{1 * s, accepts(1, false), ""},
			{6 * s, registers(0, 8), "invite 0.0"},
			{22 * s, just(nothing), "@30s fate 1 480 No answer"},
			{5 * s, on(evRinging, 0, 0), ""},
			{15 * s, just(nothing), "@50s cancel 0.0 (" + reasonNoAnswer + "), @50s reject 480 by server"},
		}},
		{name: "an old flow that shows no life is given up with the waking", targets: []attempt{{hasVoIP: true, flow: 7}}, steps: []step{
			{0, just(evRouted), "push 0"},
			{1 * s, accepts(0, false), "ring pushed"},
			{29 * s, just(nothing), "@3s invite 0.0, @30s cancel 0.0, @30s fate 0 480 No answer, @30s reject 480 by server"},
		}},
		{name: "a live phone without push is no matter of waking", targets: []attempt{alone()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{31 * s, on(evRinging, 0, 0), "ring ringing"},
		}},
		{name: "nor is a trunk", targets: []attempt{aTrunk()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{45 * s, on(evTrying, 0, 0), ""},
			{5 * s, just(nothing), "@50s cancel 0.0 (" + reasonNoAnswer + "), @50s reject 480 by server"},
		}},
		{name: "603 within decline_window is the user's", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{1 * s, on(evRinging, 0, 0), "ring ringing"},
			{28 * s, fails(0, 0, 603), "reject 603 by callee"},
		}},
		{name: "later it is no answer, and ends nobody else", targets: []attempt{live(), live()}, steps: []step{
			{0, just(evRouted), "invite 0.0, invite 1.0"},
			{1 * s, on(evRinging, 0, 0), "ring ringing"},
			{0, on(evRinging, 1, 0), ""},
			{29 * s, fails(0, 0, 603), ""},
			{0, fails(1, 0, 486), "reject 480 by server"},
		}},
		{name: "the window counts from that device's 180", targets: []attempt{live(), sleeping()}, steps: []step{
			{0, just(evRouted), "invite 0.0, push 1"},
			{1 * s, on(evRinging, 0, 0), "ring ringing"},
			{9 * s, registers(1, 8), "invite 1.0"},
			{1 * s, on(evRinging, 1, 0), ""},
			{27 * s, fails(1, 0, 603), "cancel 0.0 (" + reasonDeclined + "), reject 603 by callee"},
		}},
		{name: "max_duration", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{1 * s, on(evAnswered, 0, 0), "answer 0.0"},
			{1 * s, just(evConfirmed), ""},
			{4 * time.Hour, just(nothing), "@4h0m2s bye-caller by server, @4h0m2s bye 0.0"},
		}},
		{name: "a timer of the ringing means nothing after the answer", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{1 * s, on(evAnswered, 0, 0), "answer 0.0"},
			{2 * time.Minute, just(evConfirmed), ""},
		}},
	})
}

func TestReach(t *testing.T) {
	run(t, []scenario{
		{name: "proven alive: INVITE, and a push if no 1xx comes in 1.5 s", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{1500 * time.Millisecond, just(nothing), "@1.5s push 0"},
		}},
		{name: "no push if it tried", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{s, on(evTrying, 0, 0), ""},
			{5 * s, just(nothing), ""},
		}},
		{name: "no push if it registered", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{s, event{kind: evSameFlow, flow: 7}, "ring registered, again 0.0"},
			{5 * s, just(nothing), ""},
		}},
		{name: "doubtful: push at once, INVITE after 3 s", targets: []attempt{doubtful()}, steps: []step{
			{0, just(evRouted), "push 0"},
			{3 * s, just(nothing), "@3s invite 0.0"},
			{2 * s, just(nothing), ""},
		}},
		{name: "doubtful: INVITE as soon as it shows life", targets: []attempt{doubtful()}, steps: []step{
			{0, just(evRouted), "push 0"},
			{s, event{kind: evAlive, flow: 7}, "invite 0.0"},
			{5 * s, just(nothing), ""},
		}},
		{name: "doubtful and gone", targets: []attempt{doubtful()}, steps: []step{
			{0, just(evRouted), "push 0"},
			{s, losesFlow(0, 7), ""},
			{0, event{kind: evAlive, flow: 7}, ""},
			{5 * s, just(nothing), ""},
			{0, registers(0, 8), "ring registered, invite 0.0"},
		}},
		{name: "a silent push service and a flow that is lost: 480 after 10 s", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{3 * s, losesFlow(0, 7), "@1.5s push 0, cancel 0.0"},
			{8 * s, just(nothing), "@10s fate 0 480 No answer, @10s reject 480 by server"},
		}},
		{name: "the flow is lost when the push service was silent for 10 s", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{12 * s, losesFlow(0, 7), "@1.5s push 0, cancel 0.0, fate 0 480 No answer, reject 480 by server"},
		}},
		{name: "it rings on do-not-disturb: its 480 stands when the time to wake is over", targets: []attempt{voipOnly()}, steps: []step{
			{0, just(evRouted), "push 0"},
			{1 * s, accepts(0, false), "ring pushed"},
			{1 * s, registers(0, 7), "invite 0.0"},
			{0, on(evTrying, 0, 0), ""},
			{1 * s, fails(0, 0, 480), ""},
			{30 * s, just(nothing), "@30s fate 0 480 No answer, @30s reject 480 by server"},
		}},
		{name: "a repeated alert push is accepted after the first was refused: there is a fate", targets: []attempt{{hasPush: true, push: pushTerms{repeat: 2 * s}}, live()}, steps: []step{
			{0, just(evRouted), "push alert 0, invite 1.0"},
			{3 * s, just(nothing), "@1.5s push 1, @2s push alert 0"},
			{0, refuses(0, true), ""},
			{1 * s, accepts(0, true), "fate 0 480 No answer"},
			{1 * s, accepts(0, true), ""},
		}},
		{name: "not reached when the time to wake is over", targets: []attempt{{flow: 7}}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{32 * s, event{kind: evFailed, noFlow: true, reason: "time-out"}, "reject 480 by server"},
		}},
		{name: "a device that could not be woken comes by itself while another rings", targets: []attempt{live(), sleeping()}, steps: []step{
			{0, just(evRouted), "invite 0.0, push 1"},
			{s, on(evRinging, 0, 0), "ring ringing"},
			{s, event{kind: evPushRefused, attempt: 1, reason: "BadDeviceToken"}, "push alert 1"},
			{0, event{kind: evPushRefused, attempt: 1, alert: true, reason: "BadDeviceToken"}, ""},
			{s, registers(1, 8), "invite 1.0"},
			{s, on(evAnswered, 1, 0), `answer 1.0, cancel 0.0 (SIP;cause=200;text="Call completed elsewhere")`},
			{s, registers(0, 9), ""},
		}},
		{name: "doubtful without tokens", targets: []attempt{{flow: 7}}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
		}},
		{name: "no flow: push; REGISTER: INVITE", targets: []attempt{sleeping()}, steps: []step{
			{0, just(evRouted), "push 0"},
			{s, accepts(0, false), "ring pushed"},
			{s, registers(0, 8), "invite 0.0"},
			{s, on(evRinging, 0, 0), ""},
			{s, on(evAnswered, 0, 0), "answer 0.0"},
		}},
		{name: "REGISTER before the push service answered", targets: []attempt{sleeping()}, steps: []step{
			{0, just(evRouted), "push 0"},
			{s, registers(0, 8), "ring registered, invite 0.0"},
			{0, refuses(0, false), ""},
			{9 * s, accepts(0, false), ""},
			{20 * s, just(nothing), ""},
		}},
		{name: "neither flow nor token", targets: []attempt{asleep(), {}}, steps: []step{
			{0, just(evRouted), "reject 480 by server"},
		}},
		{name: "a new flow supersedes an INVITE without 1xx, which is not cancelled", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{s, registers(0, 8), "ring registered, invite 0.1"},
			{0, on(evRinging, 0, 1), ""},
			{s, on(evAnswered, 0, 1), "cancel 0.0, answer 0.1"},
		}},
		{name: "with a 1xx the old INVITE stays", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{s, on(evTrying, 0, 0), ""},
			{s, registers(0, 8), "ring registered"},
			{s, on(evAnswered, 0, 0), "answer 0.0"},
		}},
		{name: "also if a newer one has none", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{s, registers(0, 8), "ring registered, invite 0.1"},
			{s, on(evRinging, 0, 0), ""},
			{s, registers(0, 9), ""},
		}},
		{name: "482 and 486 of a duplicate mean nothing", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{s, registers(0, 8), "ring registered, invite 0.1"},
			{0, on(evRinging, 0, 0), ""},
			{0, fails(0, 1, 486), ""},
			{0, on(evAnswered, 0, 0), "answer 0.0"},
		}},
		{name: "the last one standing decides", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{s, registers(0, 8), "ring registered, invite 0.1"},
			{0, on(evRinging, 0, 0), ""},
			{0, fails(0, 1, 482), ""},
			{0, fails(0, 0, 486), "reject 486 by callee"},
		}},
		{name: "603 of a duplicate counts", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{s, registers(0, 8), "ring registered, invite 0.1"},
			{0, on(evRinging, 0, 0), ""},
			{0, fails(0, 1, 603), "cancel 0.0, reject 603 by callee"},
		}},
		{name: "600 of an INVITE whose flow is gone counts", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{s, on(evRinging, 0, 0), "ring ringing"},
			{0, losesFlow(0, 7), "cancel 0.0, push 0"},
			{0, fails(0, 0, 600), "reject 600 by callee"},
		}},
		{name: "487 of an INVITE whose flow is gone means nothing", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{s, on(evRinging, 0, 0), "ring ringing"},
			{0, losesFlow(0, 7), "cancel 0.0, push 0"},
			{0, fails(0, 0, 487), ""},
			{s, registers(0, 8), "invite 0.1"},
		}},
		{name: "flow lost while ringing: push, and INVITE on the next flow", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{s, on(evRinging, 0, 0), "ring ringing"},
			{s, losesFlow(0, 7), "cancel 0.0, push 0"},
			{0, breaks(0, 0), ""},
			{s, registers(0, 8), "invite 0.1"},
			{s, on(evAnswered, 0, 1), "answer 0.1"},
		}},
		{name: "the transport tells first", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{s, on(evRinging, 0, 0), "ring ringing"},
			{s, breaks(0, 0), "push 0"},
			{0, losesFlow(0, 7), ""},
			{s, registers(0, 8), "invite 0.1"},
		}},
		{name: "it registered elsewhere before the old flow broke", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{s, on(evRinging, 0, 0), "ring ringing"},
			{s, registers(0, 8), ""},
			{s, losesFlow(0, 7), "cancel 0.0, invite 0.1"},
			{0, breaks(0, 0), ""},
			{0, on(evAnswered, 0, 1), "answer 0.1"},
		}},
		{name: "the same, told by the transport", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{s, on(evRinging, 0, 0), "ring ringing"},
			{s, registers(0, 8), ""},
			{s, breaks(0, 0), "invite 0.1"},
			{s, losesFlow(0, 7), ""},
		}},
		{name: "a phone without tokens may come back too", targets: []attempt{alone()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{s, on(evRinging, 0, 0), "ring ringing"},
			{27 * s, losesFlow(0, 7), "cancel 0.0"},
			{19 * s, registers(0, 8), "invite 0.1"},
		}},
		{name: "one that never rang does not wait so long", targets: []attempt{alone()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{s, losesFlow(0, 7), "cancel 0.0"},
			{29 * s, just(nothing), "@30s fate 0 480 No answer maybe, @30s reject 480 by server"},
		}},
		{name: "a device that was not pushed, and lost its ringing with its connection, is told", targets: []attempt{{flow: 7, alive: true}}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{0, on(evRinging, 0, 0), "ring ringing"},
			{1 * s, losesFlow(0, 7), "cancel 0.0"},
			{1 * s, just(evCancelled), "fate 0 487 Call cancelled, reject 487 by caller"},
		}},
		{name: "nobody is woken after the waking time", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{s, on(evRinging, 0, 0), "ring ringing"},
			{30 * s, losesFlow(0, 7), "cancel 0.0"},
			{19 * s, just(nothing), "@50s fate 0 480 No answer, @50s reject 480 by server"},
		}},
		{name: "a pushed phone that lost its flow is not pushed again", targets: []attempt{sleeping()}, steps: []step{
			{0, just(evRouted), "push 0"},
			{s, accepts(0, false), "ring pushed"},
			{s, registers(0, 8), "invite 0.0"},
			{s, on(evRinging, 0, 0), ""},
			{s, losesFlow(0, 8), "cancel 0.0"},
			{s, registers(0, 9), "invite 0.1"},
		}},
	})
}

func TestSecondChance(t *testing.T) {
	run(t, []scenario{
		{name: "VoIP push refused: alert push", targets: []attempt{sleeping()}, steps: []step{
			{0, just(evRouted), "push 0"},
			{s, refuses(0, false), "push alert 0"},
			{s, accepts(0, true), "ring pushed"},
			{20 * s, registers(0, 8), "invite 0.0"},
		}},
		{name: "both refused: 480 at once", targets: []attempt{sleeping()}, steps: []step{
			{0, just(evRouted), "push 0"},
			{s, refuses(0, false), "push alert 0"},
			{s, refuses(0, true), "reject 480 by server"},
		}},
		{name: "the only push refused", targets: []attempt{voipOnly(), alertOnly()}, steps: []step{
			{0, just(evRouted), "push 0, push alert 1"},
			{s, refuses(0, false), ""},
			{s, refuses(1, true), "reject 480 by server"},
		}},
		{name: "all refused, but a phone rings", targets: []attempt{voipOnly(), live()}, steps: []step{
			{0, just(evRouted), "push 0, invite 1.0"},
			{s, on(evRinging, 1, 0), "ring ringing"},
			{s, refuses(0, false), ""},
		}},
		{name: "refused with a doubtful flow: that is tried at once", targets: []attempt{{hasVoIP: true, flow: 7}}, steps: []step{
			{0, just(evRouted), "push 0"},
			{s, refuses(0, false), "invite 0.0"},
			{9 * s, just(nothing), ""},
		}},
		{name: "accepted, no REGISTER in 8 s: one alert push", targets: []attempt{sleeping()}, steps: []step{
			{0, just(evRouted), "push 0"},
			{s, accepts(0, false), "ring pushed"},
			{8 * s, just(nothing), "@9s push alert 0"},
			{s, accepts(0, true), ""},
			{15 * s, just(nothing), ""},
		}},
		{name: "also while an INVITE goes to a dead flow", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{2 * s, accepts(0, false), "@1.5s push 0, ring pushed"},
			{8 * s, just(nothing), "@10s push alert 0"},
		}},
		{name: "also after the flow was lost", targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{s, losesFlow(0, 7), "cancel 0.0, push 0"},
			{s, accepts(0, false), "ring pushed"},
			{8 * s, just(nothing), "@10s push alert 0"},
		}},
		{name: "not for one that registered", targets: []attempt{sleeping()}, steps: []step{
			{0, just(evRouted), "push 0"},
			{s, accepts(0, false), "ring pushed"},
			{s, registers(0, 8), "invite 0.0"},
			{20 * s, just(nothing), ""},
		}},
		{name: "the sender's policy chose the alert push", targets: []attempt{sleeping()}, steps: []step{
			{0, just(evRouted), "push 0"},
			{s, accepts(0, true), "ring pushed"},
			{20 * s, registers(0, 8), "invite 0.0"},
		}},
		{name: "and that was refused", targets: []attempt{sleeping()}, steps: []step{
			{0, just(evRouted), "push 0"},
			{s, refuses(0, true), "reject 480 by server"},
		}},
		{name: "none accepted within 10 s", targets: []attempt{sleeping(), sleeping()}, steps: []step{
			{0, just(evRouted), "push 0, push 1"},
			{10 * s, just(nothing), "@10s fate 0 480 No answer, @10s fate 1 480 No answer, @10s reject 480 by server"},
		}},
		{name: "or within a shorter waking time", terms: with(func(t *terms) { t.WakeTimeout = 6 * s }), targets: []attempt{sleeping()}, steps: []step{
			{0, just(evRouted), "push 0"},
			{6 * s, just(nothing), "@6s fate 0 480 No answer, @6s reject 480 by server"},
		}},
		{name: "none accepted, but an INVITE is out", targets: []attempt{sleeping(), alone()}, steps: []step{
			{0, just(evRouted), "push 0, invite 1.0"},
			{11 * s, accepts(0, false), "ring pushed"},
		}},
		{name: "one accepted of two", targets: []attempt{sleeping(), alertOnly()}, steps: []step{
			{0, just(evRouted), "push 0, push alert 1"},
			{s, accepts(1, true), "ring pushed"},
			{11 * s, accepts(0, false), ""},
		}},
	})
}

func describe(k eventKind) string {
	if k == nothing {
		return "only time"
	}
	return k.String()
}
