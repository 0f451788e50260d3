package rules

import "testing"

// reborn is the REGISTER of an app that was started anew, over flow 7 where it rang.
func reborn() Event { return Event{Kind: EvSameFlow, Flow: 7, Reborn: true} }

// A UDP flow outlives its app, and so does that of a proxy.
func TestStartedAnewOnTheSameFlow(t *testing.T) {
	run(t, []scenario{
		{name: "while it rang: another INVITE, and the old one is not cancelled before the answer", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, on(EvRinging, 0, 0), "ring ringing"},
			{s, reborn(), "invite 0.1"},
			{s, on(EvRinging, 0, 1), ""},
			{s, on(EvAnswered, 0, 1), "cancel 0.0, answer 0.1"},
		}},
		{name: "without a 180 yet", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, on(EvTrying, 0, 0), ""},
			{s, reborn(), "ring registered, invite 0.1"},
			{s, sameFlow(), "again 0.1"},
			{s, reborn(), "again 0.1"}, // that will do
		}},
		{name: "without a 1xx the INVITE is repeated", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, reborn(), "ring registered, again 0.0"},
		}},
		{name: "behind a proxy that has the INVITE", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{0, relayed(0, 0), ""},
			{s, reborn(), "ring registered, invite 0.1"},
		}},
		{name: "the same app starts nothing", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, on(EvRinging, 0, 0), "ring ringing"},
			{s, sameFlow(), ""},
		}},
		{name: "what it says when it rings again counts", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, on(EvRinging, 0, 0), "ring ringing"},
			{s, reborn(), "invite 0.1"},
			{s, on(EvRinging, 0, 1), ""},
			{s, fails(0, 1, 486), "cancel 0.0, reject 486 by callee"},
		}},
		{name: "only its Call-ID is another: it refuses the duplicate and rings on", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, on(EvRinging, 0, 0), "ring ringing"},
			{s, reborn(), "invite 0.1"},
			{0, fails(0, 1, 486), ""},
			{s, reborn(), "invite 0.2"},
			{0, fails(0, 2, 482), ""},
			{s, on(EvAnswered, 0, 0), "answer 0.0"},
		}},
		{name: "it loses the flow on which it rings: the old one has nothing to say", targets: []Attempt{alone()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, on(EvRinging, 0, 0), "ring ringing"},
			{s, Event{Kind: EvRegistered, Flow: 8, Reborn: true}, "invite 0.1"},
			{0, on(EvRinging, 0, 1), ""},
			{s, losesFlow(0, 8), "cancel 0.1"},
			{s, registers(0, 9), "invite 0.2"},
		}},
		{name: "it leaves the flow before it rings again", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, on(EvRinging, 0, 0), "ring ringing"},
			{s, reborn(), "invite 0.1"},
			{s, registers(0, 8), "invite 0.2"},
		}},
	})
}
