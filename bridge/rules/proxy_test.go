package rules

import "testing"

// relayed is the 100 of a proxy on the way.
func relayed(i, n int) Event { return Event{Kind: EvTrying, Attempt: i, Invite: n, Relayed: true} }

func sameFlow() Event { return Event{Kind: EvSameFlow, Flow: 7} }

// proxyFails is a final response that the device need not have given.
func proxyFails(status int) Event {
	ev := fails(0, 0, status)
	ev.Relayed = true
	return ev
}

func TestProxyTries(t *testing.T) {
	run(t, []scenario{
		{name: "its 100 brings no device: push, and INVITE again when it comes over the proxy's flow", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{0, relayed(0, 0), ""},
			{2 * s, accepts(0, false), "@1.5s push 0, ring pushed"},
			{s, sameFlow(), "invite 0.1"},
			{0, relayed(0, 1), ""},
			{s, sameFlow(), "again 0.0, again 0.1"}, // no-ops behind a 100
			{s, on(EvRinging, 0, 1), ""},
			{s, on(EvAnswered, 0, 1), "cancel 0.0, answer 0.1"},
		}},
		{name: "a device behind it that rings needs no push", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{0, relayed(0, 0), ""},
			{s, on(EvRinging, 0, 0), "ring ringing"},
			{s, registers(0, 8), ""},
			{10 * s, just(Nothing), ""},
		}},
		{name: "its second 100 does not take back what the device said", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, on(EvTrying, 0, 0), ""},
			{0, relayed(0, 0), ""},
			{10 * s, just(Nothing), ""},
		}},
		{name: "no REGISTER in 8 s: one alert push; none at all: 480 and a fate", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{0, relayed(0, 0), ""},
			{2 * s, accepts(0, false), "@1.5s push 0, ring pushed"},
			{8 * s, accepts(0, true), "@10s push alert 0"},
			{20 * s, just(Nothing), "@30s cancel 0.0, @30s fate 0 480 No answer, @30s reject 480 by server"},
		}},
		{name: "the caller gives up: a fate", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{0, relayed(0, 0), ""},
			{2 * s, accepts(0, false), "@1.5s push 0, ring pushed"},
			{s, just(EvCancelled), "cancel 0.0, fate 0 487 Call cancelled, reject 487 by caller"},
		}},
		{name: "the device comes over another flow", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{0, relayed(0, 0), ""},
			{s, registers(0, 8), "ring registered, invite 0.1"},
			{10 * s, just(Nothing), ""},
		}},
		{name: "it registers before the push: it may be at the INVITE already", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{0, relayed(0, 0), ""},
			{s, sameFlow(), "ring registered, again 0.0"},
			{10 * s, just(Nothing), ""},
		}},
		{name: "it says 408 for the device: INVITE when that registers", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{0, relayed(0, 0), ""},
			{2 * s, fails(0, 0, 408), "@1.5s push 0"},
			{s, sameFlow(), "ring registered, invite 0.1"},
		}},
		{name: "it says at once that it reaches nobody: push, INVITE when that registers", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{0, relayed(0, 0), ""},
			{s, proxyFails(477), "push 0"},
			{s, sameFlow(), "ring registered, invite 0.1"},
		}},
		{name: "a refusal behind a ringing device is final", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, on(EvRinging, 0, 0), "ring ringing"},
			{s, fails(0, 0, 404), "reject 480 by server"},
		}},
		{name: "nothing can wake it: the INVITE has its time", targets: []Attempt{alone()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{0, relayed(0, 0), ""},
			{50 * s, just(Nothing), "@50s cancel 0.0 (" + reasonNoAnswer + "), @50s reject 480 by server"},
		}},
	})
}
