package rules

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestTone(t *testing.T) {
	toned := func(r RingPolicy, progress bool) Terms {
		return with(func(t *Terms) { t.Ringing, t.Progress, t.Tone, t.RingTimeout = r, progress, true, 5*time.Minute })
	}
	early := func(i, n int) Event {
		return Event{Kind: EvRinging, Attempt: i, Invite: n, Status: 183, Early: true}
	}
	run(t, []scenario{
		{name: "with the first accepted push, until the answer", terms: toned(RingOnPush, false), targets: []Attempt{sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, accepts(0, false), "tone pushed"},
			{s, registers(0, 8), "invite 0.0"},
			{s, on(EvRinging, 0, 0), ""},
			{s, on(EvAnswered, 0, 0), "answer 0.0"},
		}},
		{name: "at once", terms: toned(RingAtOnce, false), targets: []Attempt{sleeping()}, steps: []step{
			{0, just(EvRouted), "tone, push 0"},
			{s, accepts(0, false), ""},
		}},
		{name: "not for phones that are awake", terms: toned(RingAtOnce, false), targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "ring, invite 0.0"},
		}},
		{name: "not once a device holds an offer", terms: toned(RingOnPush, false), targets: []Attempt{alone(), sleeping()}, steps: []step{
			{0, just(EvRouted), "invite 0.0, push 1"},
			{s, accepts(1, false), "ring pushed"},
			{s, fails(0, 0, 486), ""}, // now nobody does, but the caller makes its own tone
			{s, registers(1, 8), "invite 1.0"},
		}},
		{name: "not when the first one that is told of was invited in the same moment", terms: toned(RingOnPush, false), targets: []Attempt{sleeping(), sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0, push 1"},
			{s, registers(0, 8), "ring registered, invite 0.0"},
			{s, accepts(1, false), ""},
		}},
		{name: "a phone that rings first is a phone that rings", terms: toned(RingTrying, false), targets: []Attempt{sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, accepts(0, false), ""},
			{s, registers(0, 8), "invite 0.0"},
			{s, on(EvRinging, 0, 0), "ring ringing"},
		}},
		{name: "before the INVITE on an old flow", terms: toned(RingOnPush, false), targets: []Attempt{doubtful()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, accepts(0, false), "tone pushed"},
			{2 * s, just(Nothing), "@3s invite 0.0"},
		}},
		{name: "not after it", terms: toned(RingOnPush, false), targets: []Attempt{doubtful()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{4 * s, accepts(0, false), "@3s invite 0.0, ring pushed"},
		}},
		{name: "an INVITE that is over holds nothing", terms: toned(RingOnPush, false), targets: []Attempt{alone(), sleeping()}, steps: []step{
			{0, just(EvRouted), "invite 0.0, push 1"},
			{s, fails(0, 0, 488), ""},
			{s, accepts(1, false), "tone pushed"},
		}},
		{name: "each stage again, and each minute", terms: toned(RingOnPush, true), targets: []Attempt{sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, accepts(0, false), "tone pushed"},
			{s, registers(0, 8), "ring registered, invite 0.0"},
			{s, on(EvRinging, 0, 0), "ring ringing"},
			{60 * s, just(Nothing), "@1m1s ring ringing"},
		}},
		{name: "gives way to the early media of the only one left", terms: toned(RingOnPush, false), targets: []Attempt{sleeping(), sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0, push 1"},
			{s, accepts(0, false), "tone pushed"},
			{s, registers(0, 8), "invite 0.0"},
			{s, early(0, 0), ""}, // the other one may still come
			{s, refuses(1, false), "push alert 1"},
			{s, refuses(1, true), ""},
			{s, early(0, 0), "early 0.0"},
			{s, early(0, 0), ""}, // once
		}},
		{name: "PCMA only after a PCMU tone", terms: toned(RingOnPush, false), targets: []Attempt{sleeping(), sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0, push 1"},
			{s, accepts(0, false), "tone pushed"},
			{s, registers(0, 8), "invite 0.0"},
			{s, fails(0, 0, 488), ""},
			{s, registers(1, 9), "invite 1.0"},
			{s, on(EvAnswered, 1, 0), "answer 1.0"},
		}},
		{name: "ends with the caller", terms: toned(RingOnPush, false), targets: []Attempt{sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, accepts(0, false), "tone pushed"},
			{s, just(EvCancelled), "fate 0 487 Call cancelled, reject 487 by caller"},
		}},
		{name: "nobody is left in the moment of ringing", terms: toned(RingAtOnce, false), targets: []Attempt{asleep()}, steps: []step{
			{0, just(EvRouted), "ring, reject 480 by server"},
		}},
	})
}

// With the tone, every event in every phase means what it means without; only the
// caller's first 180 may become the tone, and does so where somebody is being woken
// and nobody holds an INVITE.
func TestToneChangesTheFirst180Only(t *testing.T) {
	compare := func(name string, before State, ev Event) {
		targets := ev.Targets
		ev.Targets = slices.Clone(targets)
		plain, want := New().Next(before, ev, t0)
		ev.Targets = slices.Clone(targets)
		before.Terms.Tone = true
		got, acts := New().Next(before, ev, t0)
		wakes, holds := false, false
		for i := range plain.Attempts {
			wakes = wakes || plain.Attempts[i].Phase == pushing || plain.Attempts[i].Phase == pushed
			holds = holds || plain.Attempts[i].standing()
		}
		if may := !before.rung && plain.rung && plain.Unanswered() && wakes && !holds; may != (got.early && !before.early && got.tone) {
			t.Errorf("%s: tone %v, want %v", name, got.tone, may)
		} else if may {
			want[slices.IndexFunc(want, func(a Action) bool { return a.Kind == ActRing })].Kind = ActTone
		}
		expected := told(want)
		if told(acts) != expected || phasesOf(got) != phasesOf(plain) {
			t.Errorf("%s: %s: %s, want %s: %s", name, phasesOf(got), told(acts), phasesOf(plain), expected)
		}
	}
	events := map[EventKind]Event{
		EvRouted: {Targets: []Attempt{sleeping(), live()}}, EvRegistered: {Flow: 8}, EvSameFlow: {Flow: 7}, EvAlive: {Flow: 5},
		EvFlowGone: {Flow: 7}, EvRinging: {Status: 180}, EvFailed: {Status: 486}, EvRefuse: {Status: 404},
	}
	for _, policy := range []RingPolicy{RingOnPush, RingTrying, RingAtOnce} {
		for k := range eventKinds {
			ev := events[k]
			ev.Kind = k
			for p := range phases {
				before := callIn(p)
				before.Terms.Ringing = policy
				if p == waking {
					before.Attempts[1] = Attempt{Phase: pushing, HasVoIP: true, VoIP: PushSent, Flow: 7}
				}
				compare(fmt.Sprintf("%s x %s", p, k), before, ev)
			}
			for p := range attemptPhases {
				if k < callEvents {
					continue
				}
				before := attemptIn(p)
				before.Terms.Ringing = policy
				before.Attempts = append(before.Attempts, Attempt{Phase: pushing, HasVoIP: true, VoIP: PushSent})
				compare(fmt.Sprintf("%s x %s", p, k), before, ev)
			}
		}
	}
}
