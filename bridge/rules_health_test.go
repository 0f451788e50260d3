package bridge

import (
	"testing"
	"time"
)

// DESIGN s6, Health: a device that two accepted VoIP pushes did not bring.
func TestSuspectedDevice(t *testing.T) {
	run(t, []scenario{
		{name: "alert first, the VoIP push when it is due", targets: []attempt{suspected(12 * s)}, steps: []step{
			{0, just(evRouted), "push alert 0"},
			{s, accepts(0, true), "ring pushed"},
			{10 * s, just(nothing), ""},
			{s, just(nothing), "@12s push 0"},
			{s, accepts(0, false), ""},
			{10 * s, just(nothing), ""}, // no second chance: the alert push was sent
			{s, registers(0, 8), "invite 0.0"},
		}},
		{name: "due already: both, alert first", targets: []attempt{suspected(0)}, steps: []step{
			{0, just(evRouted), "push alert 0"},
			{0, just(nothing), "@0s push 0"},
			{s, accepts(0, false), "ring pushed"},
		}},
		{name: "not due in this call", targets: []attempt{suspected(30 * s)}, steps: []step{
			{0, just(evRouted), "push alert 0"},
			{s, accepts(0, true), "ring pushed"},
			{29 * s, just(nothing), "@30s fate 0 480 No answer, @30s reject 480 by server"},
		}},
		{name: "alert refused: the VoIP push does not wait", targets: []attempt{suspected(20 * s)}, steps: []step{
			{0, just(evRouted), "push alert 0"},
			{s, refuses(0, true), "push 0"},
			{s, accepts(0, false), "ring pushed"},
			{20 * s, just(nothing), ""},
		}},
		{name: "both refused", targets: []attempt{suspected(20 * s)}, steps: []step{
			{0, just(evRouted), "push alert 0"},
			{s, refuses(0, true), "push 0"},
			{s, refuses(0, false), "reject 480 by server"},
		}},
		{name: "it came: no VoIP push any more", targets: []attempt{suspected(12 * s)}, steps: []step{
			{0, just(evRouted), "push alert 0"},
			{s, registers(0, 8), "ring registered, invite 0.0"},
			{20 * s, just(nothing), ""},
		}},
		{name: "cancelled before it is due", targets: []attempt{suspected(12 * s)}, steps: []step{
			{0, just(evRouted), "push alert 0"},
			{s, just(evCancelled), "fate 0 487 Call cancelled, reject 487 by caller"},
			{20 * s, just(nothing), ""},
		}},
		{name: "an INVITE that stays quiet", targets: []attempt{{hasVoIP: true, hasPush: true, flow: 7, alive: true, push: pushTerms{suspect: true, after: 5 * s}}}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{1500 * time.Millisecond, just(nothing), "@1.5s push alert 0"},
			{5 * s, just(nothing), "@6.5s push 0"},
		}},
	})
}

// apps[].alert_repeat.
func TestAlertRepeats(t *testing.T) {
	run(t, []scenario{
		{name: "until the waking is over", targets: []attempt{repeating(alertOnly())}, steps: []step{
			{0, just(evRouted), "push alert 0"},
			{s, accepts(0, true), "ring pushed"},
			{9 * s, just(nothing), "@10s push alert 0"},
			{s, accepts(0, true), ""},
			{18 * s, just(nothing), "@20s push alert 0"},
			{5 * s, just(nothing), "@30s fate 0 480 No answer, @30s reject 480 by server"},
		}},
		{name: "until it registers", targets: []attempt{repeating(alertOnly())}, steps: []step{
			{0, just(evRouted), "push alert 0"},
			{s, accepts(0, true), "ring pushed"},
			{12 * s, registers(0, 8), "@10s push alert 0, invite 0.0"},
			{30 * s, just(nothing), ""},
		}},
		{name: "until the caller gives up", targets: []attempt{repeating(alertOnly())}, steps: []step{
			{0, just(evRouted), "push alert 0"},
			{s, accepts(0, true), "ring pushed"},
			{s, just(evCancelled), "fate 0 487 Call cancelled, reject 487 by caller"},
			{30 * s, just(nothing), ""},
		}},
		{name: "until another device answers", targets: []attempt{repeating(alertOnly()), live()}, steps: []step{
			{0, just(evRouted), "push alert 0, invite 1.0"},
			{s, accepts(0, true), "ring pushed"},
			{0, on(evAnswered, 1, 0), "answer 1.0, fate 0 200 Call completed elsewhere"},
			{30 * s, just(nothing), ""},
		}},
		{name: "the second chance too", targets: []attempt{repeating(sleeping())}, steps: []step{
			{0, just(evRouted), "push 0"},
			{s, accepts(0, false), "ring pushed"},
			{8 * s, just(nothing), "@9s push alert 0"},
			{10 * s, just(nothing), "@19s push alert 0"},
		}},
		{name: "a refused one is the last", targets: []attempt{repeating(alertOnly())}, steps: []step{
			{0, just(evRouted), "push alert 0"},
			{s, accepts(0, true), "ring pushed"},
			{9 * s, just(nothing), "@10s push alert 0"},
			{0, refuses(0, true), ""},
			{19 * s, just(nothing), ""},
		}},
		{name: "not without being asked", targets: []attempt{alertOnly()}, steps: []step{
			{0, just(evRouted), "push alert 0"},
			{s, accepts(0, true), "ring pushed"},
			{28 * s, just(nothing), ""},
		}},
		{name: "not while it rings", targets: []attempt{{hasPush: true, flow: 7, alive: true, push: pushTerms{repeat: 10 * s}}}, steps: []step{
			{0, just(evRouted), "invite 0.0"},
			{2 * s, on(evRinging, 0, 0), "@1.5s push alert 0, ring ringing"},
			{30 * s, just(nothing), ""},
		}},
	})
}
