package rules

import (
	"testing"
	"time"
)

// DESIGN s6, Health: a device that two accepted VoIP pushes did not bring.
func TestSuspectedDevice(t *testing.T) {
	run(t, []scenario{
		{name: "alert first, the VoIP push when it is due", targets: []Attempt{suspected(12 * s)}, steps: []step{
			{0, just(EvRouted), "push alert 0"},
			{s, accepts(0, true), "ring pushed"},
			{10 * s, just(Nothing), ""},
			{s, just(Nothing), "@12s push 0"},
			{s, accepts(0, false), ""},
			{10 * s, just(Nothing), ""}, // no second chance: the alert push was sent
			{s, registers(0, 8), "invite 0.0"},
		}},
		{name: "due already: both, alert first", targets: []Attempt{suspected(0)}, steps: []step{
			{0, just(EvRouted), "push alert 0"},
			{0, just(Nothing), "@0s push 0"},
			{s, accepts(0, false), "ring pushed"},
		}},
		{name: "not due in this call", targets: []Attempt{suspected(30 * s)}, steps: []step{
			{0, just(EvRouted), "push alert 0"},
			{s, accepts(0, true), "ring pushed"},
			{29 * s, just(Nothing), "@30s fate 0 480 No answer, @30s reject 480 by server"},
		}},
		{name: "alert refused: the VoIP push does not wait", targets: []Attempt{suspected(20 * s)}, steps: []step{
			{0, just(EvRouted), "push alert 0"},
			{s, refuses(0, true), "push 0"},
			{s, accepts(0, false), "ring pushed"},
			{20 * s, just(Nothing), ""},
		}},
		{name: "both refused", targets: []Attempt{suspected(20 * s)}, steps: []step{
			{0, just(EvRouted), "push alert 0"},
			{s, refuses(0, true), "push 0"},
			{s, refuses(0, false), "reject 480 by server"},
		}},
		{name: "it came: no VoIP push any more", targets: []Attempt{suspected(12 * s)}, steps: []step{
			{0, just(EvRouted), "push alert 0"},
			{s, registers(0, 8), "ring registered, invite 0.0"},
			{20 * s, just(Nothing), ""},
		}},
		{name: "cancelled before it is due", targets: []Attempt{suspected(12 * s)}, steps: []step{
			{0, just(EvRouted), "push alert 0"},
			{s, just(EvCancelled), "fate 0 487 Call cancelled, reject 487 by caller"},
			{20 * s, just(Nothing), ""},
		}},
		{name: "an INVITE that stays quiet", targets: []Attempt{{HasVoIP: true, HasPush: true, Flow: 7, Alive: true, Push: PushTerms{Suspect: true, After: 5 * s}}}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{1500 * time.Millisecond, just(Nothing), "@1.5s push alert 0"},
			{5 * s, just(Nothing), "@6.5s push 0"},
		}},
	})
}

// apps[].alert_repeat.
func TestAlertRepeats(t *testing.T) {
	run(t, []scenario{
		{name: "until the waking is over", targets: []Attempt{repeating(alertOnly())}, steps: []step{
			{0, just(EvRouted), "push alert 0"},
			{s, accepts(0, true), "ring pushed"},
			{9 * s, just(Nothing), "@10s push alert 0"},
			{s, accepts(0, true), ""},
			{18 * s, just(Nothing), "@20s push alert 0"},
			{5 * s, just(Nothing), "@30s fate 0 480 No answer, @30s reject 480 by server"},
		}},
		{name: "until it registers", targets: []Attempt{repeating(alertOnly())}, steps: []step{
			{0, just(EvRouted), "push alert 0"},
			{s, accepts(0, true), "ring pushed"},
			{12 * s, registers(0, 8), "@10s push alert 0, invite 0.0"},
			{30 * s, just(Nothing), ""},
		}},
		{name: "until the caller gives up", targets: []Attempt{repeating(alertOnly())}, steps: []step{
			{0, just(EvRouted), "push alert 0"},
			{s, accepts(0, true), "ring pushed"},
			{s, just(EvCancelled), "fate 0 487 Call cancelled, reject 487 by caller"},
			{30 * s, just(Nothing), ""},
		}},
		{name: "until another device answers", targets: []Attempt{repeating(alertOnly()), live()}, steps: []step{
			{0, just(EvRouted), "push alert 0, invite 1.0"},
			{s, accepts(0, true), "ring pushed"},
			{0, on(EvAnswered, 1, 0), "answer 1.0, fate 0 200 Call completed elsewhere"},
			{30 * s, just(Nothing), ""},
		}},
		{name: "the second chance too", targets: []Attempt{repeating(sleeping())}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, accepts(0, false), "ring pushed"},
			{8 * s, just(Nothing), "@9s push alert 0"},
			{10 * s, just(Nothing), "@19s push alert 0"},
		}},
		{name: "a refused one is the last", targets: []Attempt{repeating(alertOnly())}, steps: []step{
			{0, just(EvRouted), "push alert 0"},
			{s, accepts(0, true), "ring pushed"},
			{9 * s, just(Nothing), "@10s push alert 0"},
			{0, refuses(0, true), ""},
			{19 * s, just(Nothing), ""},
		}},
		{name: "not without being asked", targets: []Attempt{alertOnly()}, steps: []step{
			{0, just(EvRouted), "push alert 0"},
			{s, accepts(0, true), "ring pushed"},
			{28 * s, just(Nothing), ""},
		}},
		{name: "not while it rings", targets: []Attempt{{HasPush: true, Flow: 7, Alive: true, Push: PushTerms{Repeat: 10 * s}}}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{2 * s, on(EvRinging, 0, 0), "@1.5s push alert 0, ring ringing"},
			{30 * s, just(Nothing), ""},
		}},
	})
}
