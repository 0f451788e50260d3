package rules

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
	r      *Rules
	s      State
	now    time.Time
	timers []due
}

type due struct {
	at time.Time
	ev Event
}

// do lets an event happen and tells what is to be done, timers left out.
func (p *play) do(ev Event) []string {
	var acts []Action
	p.s, acts = p.r.Next(p.s, ev, p.now)
	var out []string
	for _, a := range acts {
		switch a.Kind {
		case ActTimer:
			p.timers = append(p.timers, due{p.now.Add(a.After), Event{Kind: a.Timer.Event(), Attempt: a.Attempt, Gen: a.Gen}})
		case ActStopPush, ActWatchAlive:
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
	ev    Event
	want  string
}

const Nothing = eventKinds // only time passes

func on(kind EventKind, i, n int) Event { return Event{Kind: kind, Attempt: i, Invite: n} }

func registers(i int, flow sipua.FlowID) Event {
	return Event{Kind: EvRegistered, Attempt: i, Flow: flow}
}
func losesFlow(i int, flow sipua.FlowID) Event {
	return Event{Kind: EvFlowGone, Attempt: i, Flow: flow}
}
func fails(i, n, status int) Event {
	return Event{Kind: EvFailed, Attempt: i, Invite: n, Status: status}
}
func breaks(i, n int) Event {
	return Event{Kind: EvFailed, Attempt: i, Invite: n, Status: 480, NoFlow: true, Reason: "flow is gone"}
}
func refuses(i int, alert bool) Event {
	return Event{Kind: EvPushRefused, Attempt: i, Alert: alert, Reason: "BadDeviceToken"}
}
func accepts(i int, alert bool) Event { return Event{Kind: EvPushAccepted, Attempt: i, Alert: alert} }
func just(kind EventKind) Event       { return Event{Kind: kind} }

func sleeping() Attempt { return Attempt{HasVoIP: true, HasPush: true} }
func live() Attempt     { return Attempt{HasVoIP: true, HasPush: true, Flow: 7, Alive: true} }
func alone() Attempt    { return Attempt{Flow: 7, Alive: true} } // no push tokens
func doubtful() Attempt { return Attempt{HasVoIP: true, HasPush: true, Flow: 7} }
func suspected(after time.Duration) Attempt {
	return Attempt{HasVoIP: true, HasPush: true, Push: PushTerms{Suspect: true, After: after}}
}
func repeating(a Attempt) Attempt {
	a.Push.Repeat = 10 * time.Second
	return a
}
func aTrunk() Attempt    { return Attempt{Trunk: true, Flow: 9, Alive: true} }
func voipOnly() Attempt  { return Attempt{HasVoIP: true} }
func alertOnly() Attempt { return Attempt{HasPush: true} }
func occupied() Attempt  { return Attempt{Flow: 7, Alive: true, Busy: true} }
func asleep() Attempt    { return Attempt{Push: PushTerms{None: "the device logged out"}} }
func with(f func(*Terms)) Terms {
	t := testTerms()
	f(&t)
	return t
}

type scenario struct {
	name    string
	terms   Terms
	targets []Attempt
	steps   []step
}

func run(t *testing.T, scenarios []scenario) {
	t.Helper()
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			if sc.terms == (Terms{}) {
				sc.terms = testTerms()
			}
			p := &play{r: New(), s: NewState(sc.terms), now: t0}
			for n, st := range sc.steps {
				got := p.wait(st.after)
				ev := st.ev
				if ev.Kind == EvRouted {
					ev.Targets = sc.targets
				}
				if ev.Kind != Nothing {
					got = append(got, p.do(ev)...)
				}
				if told := strings.Join(got, ", "); told != st.want {
					t.Fatalf("step %d, %s after %s:\n got %s\nwant %s\nstate %s", n, describe(ev.Kind), st.after, told, st.want, phasesOf(p.s))
				}
			}
		})
	}
}

const s = time.Second

func TestOneClock(t *testing.T) {
	run(t, []scenario{
		{name: "ring_timeout counts from the INVITE", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{1 * s, on(EvRinging, 0, 0), "ring ringing"},
			{48 * s, just(Nothing), ""},
			{1 * s, just(Nothing), "@50s cancel 0.0 (" + reasonNoAnswer + "), @50s reject 480 by server"},
		}},
		{name: "wake_timeout bounds waking inside it", targets: []Attempt{voipOnly()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{1 * s, accepts(0, false), "ring pushed"},
			{29 * s, just(Nothing), "@30s fate 0 480 No answer, @30s reject 480 by server"},
		}},
		{name: "a device that came is not given up with the others", targets: []Attempt{sleeping(), voipOnly()}, steps: []step{
			{0, just(EvRouted), "push 0, push 1"},
			{1 * s, accepts(0, false), "ring pushed"},
			{1 * s, accepts(1, false), ""},
			{6 * s, registers(0, 8), "invite 0.0"},
			{22 * s, just(Nothing), "@30s fate 1 480 No answer"},
			{5 * s, on(EvRinging, 0, 0), ""},
			{15 * s, just(Nothing), "@50s cancel 0.0 (" + reasonNoAnswer + "), @50s reject 480 by server"},
		}},
		{name: "an old flow that shows no life is given up with the waking", targets: []Attempt{{HasVoIP: true, Flow: 7}}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{1 * s, accepts(0, false), "ring pushed"},
			{29 * s, just(Nothing), "@3s invite 0.0, @30s cancel 0.0, @30s fate 0 480 No answer, @30s reject 480 by server"},
		}},
		{name: "a live phone without push is no matter of waking", targets: []Attempt{alone()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{31 * s, on(EvRinging, 0, 0), "ring ringing"},
		}},
		{name: "nor is a trunk", targets: []Attempt{aTrunk()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{45 * s, on(EvTrying, 0, 0), ""},
			{5 * s, just(Nothing), "@50s cancel 0.0 (" + reasonNoAnswer + "), @50s reject 480 by server"},
		}},
		{name: "603 within decline_window is the user's", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{1 * s, on(EvRinging, 0, 0), "ring ringing"},
			{28 * s, fails(0, 0, 603), "reject 603 by callee"},
		}},
		{name: "later it is no answer, and ends nobody else", targets: []Attempt{live(), live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0, invite 1.0"},
			{1 * s, on(EvRinging, 0, 0), "ring ringing"},
			{0, on(EvRinging, 1, 0), ""},
			{29 * s, fails(0, 0, 603), ""},
			{0, fails(1, 0, 486), "reject 480 by server"},
		}},
		{name: "the window counts from that device's 180", targets: []Attempt{live(), sleeping()}, steps: []step{
			{0, just(EvRouted), "invite 0.0, push 1"},
			{1 * s, on(EvRinging, 0, 0), "ring ringing"},
			{9 * s, registers(1, 8), "invite 1.0"},
			{1 * s, on(EvRinging, 1, 0), ""},
			{27 * s, fails(1, 0, 603), "cancel 0.0 (" + reasonDeclined + "), reject 603 by callee"},
		}},
		{name: "max_duration", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{1 * s, on(EvAnswered, 0, 0), "answer 0.0"},
			{1 * s, just(EvConfirmed), ""},
			{4 * time.Hour, just(Nothing), "@4h0m2s bye-caller by server, @4h0m2s bye 0.0"},
		}},
		{name: "a timer of the ringing means nothing after the answer", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{1 * s, on(EvAnswered, 0, 0), "answer 0.0"},
			{2 * time.Minute, just(EvConfirmed), ""},
		}},
	})
}

func TestReach(t *testing.T) {
	run(t, []scenario{
		{name: "proven alive: INVITE, and a push if no 1xx comes in 1.5 s", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{1500 * time.Millisecond, just(Nothing), "@1.5s push 0"},
		}},
		{name: "no push if it tried", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, on(EvTrying, 0, 0), ""},
			{5 * s, just(Nothing), ""},
		}},
		{name: "no push if it registered", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, Event{Kind: EvSameFlow, Flow: 7}, "ring registered, again 0.0"},
			{5 * s, just(Nothing), ""},
		}},
		{name: "doubtful: push at once, INVITE after 3 s", targets: []Attempt{doubtful()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{3 * s, just(Nothing), "@3s invite 0.0"},
			{2 * s, just(Nothing), ""},
		}},
		{name: "doubtful: INVITE as soon as it shows life", targets: []Attempt{doubtful()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, Event{Kind: EvAlive, Flow: 7}, "invite 0.0"},
			{5 * s, just(Nothing), ""},
		}},
		{name: "doubtful and gone", targets: []Attempt{doubtful()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, losesFlow(0, 7), ""},
			{0, Event{Kind: EvAlive, Flow: 7}, ""},
			{5 * s, just(Nothing), ""},
			{0, registers(0, 8), "ring registered, invite 0.0"},
		}},
		{name: "a silent push service and a flow that is lost: 480 after 10 s", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{3 * s, losesFlow(0, 7), "@1.5s push 0, cancel 0.0"},
			{8 * s, just(Nothing), "@10s fate 0 480 No answer, @10s reject 480 by server"},
		}},
		{name: "the flow is lost when the push service was silent for 10 s", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{12 * s, losesFlow(0, 7), "@1.5s push 0, cancel 0.0, fate 0 480 No answer, reject 480 by server"},
		}},
		{name: "it rings on do-not-disturb: its 480 stands when the time to wake is over", targets: []Attempt{voipOnly()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{1 * s, accepts(0, false), "ring pushed"},
			{1 * s, registers(0, 7), "invite 0.0"},
			{0, on(EvTrying, 0, 0), ""},
			{1 * s, fails(0, 0, 480), ""},
			{30 * s, just(Nothing), "@30s fate 0 480 No answer, @30s reject 480 by server"},
		}},
		{name: "a repeated alert push is accepted after the first was refused: there is a fate", targets: []Attempt{{HasPush: true, Push: PushTerms{Repeat: 2 * s}}, live()}, steps: []step{
			{0, just(EvRouted), "push alert 0, invite 1.0"},
			{3 * s, just(Nothing), "@1.5s push 1, @2s push alert 0"},
			{0, refuses(0, true), ""},
			{1 * s, accepts(0, true), "fate 0 480 No answer"},
			{1 * s, accepts(0, true), ""},
		}},
		{name: "not reached when the time to wake is over", targets: []Attempt{{Flow: 7}}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{32 * s, Event{Kind: EvFailed, NoFlow: true, Reason: "time-out"}, "reject 480 by server"},
		}},
		{name: "a device that could not be woken comes by itself while another rings", targets: []Attempt{live(), sleeping()}, steps: []step{
			{0, just(EvRouted), "invite 0.0, push 1"},
			{s, on(EvRinging, 0, 0), "ring ringing"},
			{s, Event{Kind: EvPushRefused, Attempt: 1, Reason: "BadDeviceToken"}, "push alert 1"},
			{0, Event{Kind: EvPushRefused, Attempt: 1, Alert: true, Reason: "BadDeviceToken"}, ""},
			{s, registers(1, 8), "invite 1.0"},
			{s, on(EvAnswered, 1, 0), `answer 1.0, cancel 0.0 (SIP;cause=200;text="Call completed elsewhere")`},
			{s, registers(0, 9), ""},
		}},
		{name: "doubtful without tokens", targets: []Attempt{{Flow: 7}}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
		}},
		{name: "no flow: push; REGISTER: INVITE", targets: []Attempt{sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, accepts(0, false), "ring pushed"},
			{s, registers(0, 8), "invite 0.0"},
			{s, on(EvRinging, 0, 0), ""},
			{s, on(EvAnswered, 0, 0), "answer 0.0"},
		}},
		{name: "REGISTER before the push service answered", targets: []Attempt{sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, registers(0, 8), "ring registered, invite 0.0"},
			{0, refuses(0, false), ""},
			{9 * s, accepts(0, false), ""},
			{20 * s, just(Nothing), ""},
		}},
		{name: "neither flow nor token", targets: []Attempt{asleep(), {}}, steps: []step{
			{0, just(EvRouted), "reject 480 by server"},
		}},
		{name: "a new flow supersedes an INVITE without 1xx, which is not cancelled", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, registers(0, 8), "ring registered, invite 0.1"},
			{0, on(EvRinging, 0, 1), ""},
			{s, on(EvAnswered, 0, 1), "cancel 0.0, answer 0.1"},
		}},
		{name: "with a 1xx the old INVITE stays", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, on(EvTrying, 0, 0), ""},
			{s, registers(0, 8), "ring registered"},
			{s, on(EvAnswered, 0, 0), "answer 0.0"},
		}},
		{name: "also if a newer one has none", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, registers(0, 8), "ring registered, invite 0.1"},
			{s, on(EvRinging, 0, 0), ""},
			{s, registers(0, 9), ""},
		}},
		{name: "482 and 486 of a duplicate mean nothing", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, registers(0, 8), "ring registered, invite 0.1"},
			{0, on(EvRinging, 0, 0), ""},
			{0, fails(0, 1, 486), ""},
			{0, on(EvAnswered, 0, 0), "answer 0.0"},
		}},
		{name: "the last one standing decides", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, registers(0, 8), "ring registered, invite 0.1"},
			{0, on(EvRinging, 0, 0), ""},
			{0, fails(0, 1, 482), ""},
			{0, fails(0, 0, 486), "reject 486 by callee"},
		}},
		{name: "603 of a duplicate counts", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, registers(0, 8), "ring registered, invite 0.1"},
			{0, on(EvRinging, 0, 0), ""},
			{0, fails(0, 1, 603), "cancel 0.0, reject 603 by callee"},
		}},
		{name: "600 of an INVITE whose flow is gone counts", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, on(EvRinging, 0, 0), "ring ringing"},
			{0, losesFlow(0, 7), "cancel 0.0, push 0"},
			{0, fails(0, 0, 600), "reject 600 by callee"},
		}},
		{name: "487 of an INVITE whose flow is gone means nothing", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, on(EvRinging, 0, 0), "ring ringing"},
			{0, losesFlow(0, 7), "cancel 0.0, push 0"},
			{0, fails(0, 0, 487), ""},
			{s, registers(0, 8), "invite 0.1"},
		}},
		{name: "flow lost while ringing: push, and INVITE on the next flow", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, on(EvRinging, 0, 0), "ring ringing"},
			{s, losesFlow(0, 7), "cancel 0.0, push 0"},
			{0, breaks(0, 0), ""},
			{s, registers(0, 8), "invite 0.1"},
			{s, on(EvAnswered, 0, 1), "answer 0.1"},
		}},
		{name: "the transport tells first", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, on(EvRinging, 0, 0), "ring ringing"},
			{s, breaks(0, 0), "push 0"},
			{0, losesFlow(0, 7), ""},
			{s, registers(0, 8), "invite 0.1"},
		}},
		{name: "it registered elsewhere before the old flow broke", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, on(EvRinging, 0, 0), "ring ringing"},
			{s, registers(0, 8), ""},
			{s, losesFlow(0, 7), "cancel 0.0, invite 0.1"},
			{0, breaks(0, 0), ""},
			{0, on(EvAnswered, 0, 1), "answer 0.1"},
		}},
		{name: "the same, told by the transport", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, on(EvRinging, 0, 0), "ring ringing"},
			{s, registers(0, 8), ""},
			{s, breaks(0, 0), "invite 0.1"},
			{s, losesFlow(0, 7), ""},
		}},
		{name: "a phone without tokens may come back too", targets: []Attempt{alone()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, on(EvRinging, 0, 0), "ring ringing"},
			{27 * s, losesFlow(0, 7), "cancel 0.0"},
			{19 * s, registers(0, 8), "invite 0.1"},
		}},
		{name: "one that never rang does not wait so long", targets: []Attempt{alone()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, losesFlow(0, 7), "cancel 0.0"},
			{29 * s, just(Nothing), "@30s fate 0 480 No answer maybe, @30s reject 480 by server"},
		}},
		{name: "a device that was not pushed, and lost its ringing with its connection, is told", targets: []Attempt{{Flow: 7, Alive: true}}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{0, on(EvRinging, 0, 0), "ring ringing"},
			{1 * s, losesFlow(0, 7), "cancel 0.0"},
			{1 * s, just(EvCancelled), "fate 0 487 Call cancelled, reject 487 by caller"},
		}},
		{name: "nobody is woken after the waking time", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, on(EvRinging, 0, 0), "ring ringing"},
			{30 * s, losesFlow(0, 7), "cancel 0.0"},
			{19 * s, just(Nothing), "@50s fate 0 480 No answer, @50s reject 480 by server"},
		}},
		{name: "a pushed phone that lost its flow is not pushed again", targets: []Attempt{sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, accepts(0, false), "ring pushed"},
			{s, registers(0, 8), "invite 0.0"},
			{s, on(EvRinging, 0, 0), ""},
			{s, losesFlow(0, 8), "cancel 0.0"},
			{s, registers(0, 9), "invite 0.1"},
		}},
	})
}

func TestSecondChance(t *testing.T) {
	run(t, []scenario{
		{name: "VoIP push refused: alert push", targets: []Attempt{sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, refuses(0, false), "push alert 0"},
			{s, accepts(0, true), "ring pushed"},
			{20 * s, registers(0, 8), "invite 0.0"},
		}},
		{name: "both refused: 480 at once", targets: []Attempt{sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, refuses(0, false), "push alert 0"},
			{s, refuses(0, true), "reject 480 by server"},
		}},
		{name: "the only push refused", targets: []Attempt{voipOnly(), alertOnly()}, steps: []step{
			{0, just(EvRouted), "push 0, push alert 1"},
			{s, refuses(0, false), ""},
			{s, refuses(1, true), "reject 480 by server"},
		}},
		{name: "all refused, but a phone rings", targets: []Attempt{voipOnly(), live()}, steps: []step{
			{0, just(EvRouted), "push 0, invite 1.0"},
			{s, on(EvRinging, 1, 0), "ring ringing"},
			{s, refuses(0, false), ""},
		}},
		{name: "refused with a doubtful flow: that is tried at once", targets: []Attempt{{HasVoIP: true, Flow: 7}}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, refuses(0, false), "invite 0.0"},
			{9 * s, just(Nothing), ""},
		}},
		{name: "accepted, no REGISTER in 8 s: one alert push", targets: []Attempt{sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, accepts(0, false), "ring pushed"},
			{8 * s, just(Nothing), "@9s push alert 0"},
			{s, accepts(0, true), ""},
			{15 * s, just(Nothing), ""},
		}},
		{name: "also while an INVITE goes to a dead flow", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{2 * s, accepts(0, false), "@1.5s push 0, ring pushed"},
			{8 * s, just(Nothing), "@10s push alert 0"},
		}},
		{name: "also after the flow was lost", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, losesFlow(0, 7), "cancel 0.0, push 0"},
			{s, accepts(0, false), "ring pushed"},
			{8 * s, just(Nothing), "@10s push alert 0"},
		}},
		{name: "not for one that registered", targets: []Attempt{sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, accepts(0, false), "ring pushed"},
			{s, registers(0, 8), "invite 0.0"},
			{20 * s, just(Nothing), ""},
		}},
		{name: "the sender's policy chose the alert push", targets: []Attempt{sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, accepts(0, true), "ring pushed"},
			{20 * s, registers(0, 8), "invite 0.0"},
		}},
		{name: "and that was refused", targets: []Attempt{sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, refuses(0, true), "reject 480 by server"},
		}},
		{name: "none accepted within 10 s", targets: []Attempt{sleeping(), sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0, push 1"},
			{10 * s, just(Nothing), "@10s fate 0 480 No answer, @10s fate 1 480 No answer, @10s reject 480 by server"},
		}},
		{name: "or within a shorter waking time", terms: with(func(t *Terms) { t.WakeTimeout = 6 * s }), targets: []Attempt{sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{6 * s, just(Nothing), "@6s fate 0 480 No answer, @6s reject 480 by server"},
		}},
		{name: "none accepted, but an INVITE is out", targets: []Attempt{sleeping(), alone()}, steps: []step{
			{0, just(EvRouted), "push 0, invite 1.0"},
			{11 * s, accepts(0, false), "ring pushed"},
		}},
		{name: "one accepted of two", targets: []Attempt{sleeping(), alertOnly()}, steps: []step{
			{0, just(EvRouted), "push 0, push alert 1"},
			{s, accepts(1, true), "ring pushed"},
			{11 * s, accepts(0, false), ""},
		}},
	})
}

func describe(k EventKind) string {
	if k == Nothing {
		return "only time"
	}
	return k.String()
}
