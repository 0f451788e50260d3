package bridge

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestTone(t *testing.T) {
	toned := func(r RingPolicy, progress bool) terms {
		return with(func(t *terms) { t.Ringing, t.Progress, t.Tone, t.RingTimeout = r, progress, true, 5*time.Minute })
	}
	early := func(i, n int) event {
		return event{kind: evRinging, attempt: i, invite: n, status: 183, early: true}
	}
	run(t, []scenario{
		{name: "with the first accepted push, until the answer", terms: toned(RingOnPush, false), targets: []attempt{sleeping()}, steps: []step{
			{0, just(evRouted), "push 0"},
			{s, accepts(0, false), "tone pushed"},
			{s, registers(0, 8), "invite 0.0"},
			{s, on(evRinging, 0, 0), ""},
			{s, on(evAnswered, 0, 0), "answer 0.0"},
		}},
		{name: "at once", terms: toned(RingAtOnce, false), targets: []attempt{sleeping()}, steps: []step{
			{0, just(evRouted), "tone, push 0"},
			{s, accepts(0, false), ""},
		}},
		{name: "not for phones that are awake", terms: toned(RingAtOnce, false), targets: []attempt{live()}, steps: []step{
			{0, just(evRouted), "ring, invite 0.0"},
		}},
		{name: "not once a device holds an offer", terms: toned(RingOnPush, false), targets: []attempt{alone(), sleeping()}, steps: []step{
			{0, just(evRouted), "invite 0.0, push 1"},
			{s, accepts(1, false), "ring pushed"},
			{s, fails(0, 0, 486), ""}, // now nobody does, but the caller makes its own tone
			{s, registers(1, 8), "invite 1.0"},
		}},
		{name: "not when the first one that is told of was invited in the same moment", terms: toned(RingOnPush, false), targets: []attempt{sleeping(), sleeping()}, steps: []step{
			{0, just(evRouted), "push 0, push 1"},
			{s, registers(0, 8), "ring registered, invite 0.0"},
			{s, accepts(1, false), ""},
		}},
		{name: "a phone that rings first is a phone that rings", terms: toned(RingTrying, false), targets: []attempt{sleeping()}, steps: []step{
			{0, just(evRouted), "push 0"},
			{s, accepts(0, false), ""},
			{s, registers(0, 8), "invite 0.0"},
			{s, on(evRinging, 0, 0), "ring ringing"},
		}},
		{name: "before the INVITE on an old flow", terms: toned(RingOnPush, false), targets: []attempt{doubtful()}, steps: []step{
			{0, just(evRouted), "push 0"},
			{s, accepts(0, false), "tone pushed"},
			{2 * s, just(nothing), "@3s invite 0.0"},
		}},
		{name: "not after it", terms: toned(RingOnPush, false), targets: []attempt{doubtful()}, steps: []step{
			{0, just(evRouted), "push 0"},
			{4 * s, accepts(0, false), "@3s invite 0.0, ring pushed"},
		}},
		{name: "an INVITE that is over holds nothing", terms: toned(RingOnPush, false), targets: []attempt{alone(), sleeping()}, steps: []step{
			{0, just(evRouted), "invite 0.0, push 1"},
			{s, fails(0, 0, 488), ""},
			{s, accepts(1, false), "tone pushed"},
		}},
		{name: "each stage again, and each minute", terms: toned(RingOnPush, true), targets: []attempt{sleeping()}, steps: []step{
			{0, just(evRouted), "push 0"},
			{s, accepts(0, false), "tone pushed"},
			{s, registers(0, 8), "ring registered, invite 0.0"},
			{s, on(evRinging, 0, 0), "ring ringing"},
			{60 * s, just(nothing), "@1m1s ring ringing"},
		}},
		{name: "gives way to the early media of the only one left", terms: toned(RingOnPush, false), targets: []attempt{sleeping(), sleeping()}, steps: []step{
			{0, just(evRouted), "push 0, push 1"},
			{s, accepts(0, false), "tone pushed"},
			{s, registers(0, 8), "invite 0.0"},
			{s, early(0, 0), ""}, // the other one may still come
			{s, refuses(1, false), "push alert 1"},
			{s, refuses(1, true), ""},
			{s, early(0, 0), "early 0.0"},
			{s, early(0, 0), ""}, // once
		}},
		{name: "PCMA only after a PCMU tone", terms: toned(RingOnPush, false), targets: []attempt{sleeping(), sleeping()}, steps: []step{
			{0, just(evRouted), "push 0, push 1"},
			{s, accepts(0, false), "tone pushed"},
			{s, registers(0, 8), "invite 0.0"},
			{s, fails(0, 0, 488), ""},
			{s, registers(1, 9), "invite 1.0"},
			{s, on(evAnswered, 1, 0), "answer 1.0"},
		}},
		{name: "ends with the caller", terms: toned(RingOnPush, false), targets: []attempt{sleeping()}, steps: []step{
			{0, just(evRouted), "push 0"},
			{s, accepts(0, false), "tone pushed"},
			{s, just(evCancelled), "fate 0 487 Call cancelled, reject 487 by caller"},
		}},
		{name: "nobody is left in the moment of ringing", terms: toned(RingAtOnce, false), targets: []attempt{asleep()}, steps: []step{
			{0, just(evRouted), "ring, reject 480 by server"},
		}},
	})
}

// With the tone, every event in every phase means what it means without; only the
// caller's first 180 may become the tone, and does so where somebody is being woken
// and nobody holds an INVITE.
func TestToneChangesTheFirst180Only(t *testing.T) {
	compare := func(name string, before state, ev event) {
		targets := ev.targets
		ev.targets = slices.Clone(targets)
		plain, want := newRules().next(before, ev, t0)
		ev.targets = slices.Clone(targets)
		before.terms.Tone = true
		got, acts := newRules().next(before, ev, t0)
		wakes, holds := false, false
		for i := range plain.attempts {
			wakes = wakes || plain.attempts[i].phase == pushing || plain.attempts[i].phase == pushed
			holds = holds || plain.attempts[i].standing()
		}
		if may := !before.rung && plain.rung && plain.unanswered() && wakes && !holds; may != (got.early && !before.early && got.tone) {
			t.Errorf("%s: tone %v, want %v", name, got.tone, may)
		} else if may {
			want[slices.IndexFunc(want, func(a action) bool { return a.kind == actRing })].kind = actTone
		}
		expected := told(want)
		if told(acts) != expected || phasesOf(got) != phasesOf(plain) {
			t.Errorf("%s: %s: %s, want %s: %s", name, phasesOf(got), told(acts), phasesOf(plain), expected)
		}
	}
	events := map[eventKind]event{
		evRouted: {targets: []attempt{sleeping(), live()}}, evRegistered: {flow: 8}, evSameFlow: {flow: 7}, evAlive: {flow: 5},
		evFlowGone: {flow: 7}, evRinging: {status: 180}, evFailed: {status: 486}, evRefuse: {status: 404},
	}
	for _, policy := range []RingPolicy{RingOnPush, RingTrying, RingAtOnce} {
		for k := range eventKinds {
			ev := events[k]
			ev.kind = k
			for p := range phases {
				before := callIn(p)
				before.terms.Ringing = policy
				if p == waking {
					before.attempts[1] = attempt{phase: pushing, hasVoIP: true, voip: pushSent, flow: 7}
				}
				compare(fmt.Sprintf("%s x %s", p, k), before, ev)
			}
			for p := range attemptPhases {
				if k < callEvents {
					continue
				}
				before := attemptIn(p)
				before.terms.Ringing = policy
				before.attempts = append(before.attempts, attempt{phase: pushing, hasVoIP: true, voip: pushSent})
				compare(fmt.Sprintf("%s x %s", p, k), before, ev)
			}
		}
	}
}
