package rules

import (
	"testing"
	"time"
)

func TestAnswers(t *testing.T) {
	declineOne := with(func(t *Terms) { t.DeclineOne = true })
	run(t, []scenario{
		{name: "the first 2xx wins, also without a 180", targets: []Attempt{live(), live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0, invite 1.0"},
			{s, on(EvAnswered, 1, 0), "answer 1.0, cancel 0.0 (" + reasonElsewhere + ")"},
			{0, just(EvConfirmed), ""},
			{s, Event{Kind: EvCallerBye, Reasons: []string{"Q.850;cause=16"}}, "bye 1.0 (Q.850;cause=16)"},
		}},
		{name: "a losing 2xx gets a BYE", targets: []Attempt{live(), live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0, invite 1.0"},
			{s, on(EvAnswered, 1, 0), "answer 1.0, cancel 0.0 (" + reasonElsewhere + ")"},
			{0, on(EvAnswered, 0, 0), "bye 0.0 (" + reasonElsewhere + ")"},
		}},
		{name: "that of a duplicate without a Reason", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, registers(0, 8), "ring registered, invite 0.1"},
			{s, on(EvAnswered, 0, 0), "cancel 0.1, answer 0.0"},
			{0, on(EvAnswered, 0, 1), "bye 0.1"},
			{0, just(EvConfirmed), ""},
			{0, Event{Kind: EvCalleeBye, Invite: 1}, ""}, // the duplicate's leg ends; the call lives
			{s, Event{Kind: EvCalleeBye, Invite: 0}, "bye-caller by callee"},
		}},
		{name: "a 2xx after the caller's CANCEL", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, just(EvCancelled), "cancel 0.0, reject 487 by caller"},
			{0, on(EvAnswered, 0, 0), "bye 0.0"},
		}},
		{name: "an answer that cannot be used loses nobody else", targets: []Attempt{live(), live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0, invite 1.0"},
			{s, Event{Kind: EvUnusable, Attempt: 0, Status: 488, Reason: "no codec in common"}, "bye 0.0"},
			{s, on(EvAnswered, 1, 0), "@1.5s push 1, answer 1.0"},
		}},
		{name: "603 ends all devices", targets: []Attempt{live(), sleeping()}, steps: []step{
			{0, just(EvRouted), "invite 0.0, push 1"},
			{s, on(EvRinging, 0, 0), "ring ringing"},
			{s, fails(0, 0, 603), "fate 1 603 Declined elsewhere, reject 603 by callee"},
		}},
		{name: "600 too", targets: []Attempt{live(), live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0, invite 1.0"},
			{s, fails(0, 0, 600), "cancel 1.0 (" + reasonDeclined + "), reject 600 by callee"},
		}},
		{name: "with decline: one only its own", terms: declineOne, targets: []Attempt{live(), live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0, invite 1.0"},
			{s, fails(0, 0, 603), ""},
			{s, fails(1, 0, 486), "@1.5s push 1, reject 603 by callee"},
		}},
		{name: "486 only its own", targets: []Attempt{alone(), alone()}, steps: []step{
			{0, just(EvRouted), "invite 0.0, invite 1.0"},
			{s, fails(0, 0, 486), ""},
			{s, on(EvAnswered, 1, 0), "answer 1.0"},
		}},
		{name: "480 before a 180: not reached, retried when it registers", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, fails(0, 0, 480), "push 0"},
			{s, accepts(0, false), "ring pushed"},
			{s, registers(0, 8), "invite 0.1"},
		}},
		{name: "408, 430, 503 and the transport as well", targets: []Attempt{live(), live(), live(), live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0, invite 1.0, invite 2.0, invite 3.0"},
			{0, fails(0, 0, 408), "push 0"},
			{0, fails(1, 0, 430), "push 1"},
			{0, fails(2, 0, 503), "push 2"},
			{0, breaks(3, 0), "push 3"},
		}},
		{name: "after a 180 it is final for that device", targets: []Attempt{live(), alone()}, steps: []step{
			{0, just(EvRouted), "invite 0.0, invite 1.0"},
			{0, on(EvRinging, 0, 0), "ring ringing"},
			{0, on(EvRinging, 1, 0), ""},
			{s, fails(0, 0, 480), ""},
			{s, fails(1, 0, 408), "reject 480 by server"},
		}},
		{name: "a device that no push can bring back is not waited for", targets: []Attempt{alone()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, fails(0, 0, 480), "reject 480 by server"},
		}},
		{name: "488 is passed on if nothing better comes", targets: []Attempt{alone(), voipOnly()}, steps: []step{
			{0, just(EvRouted), "invite 0.0, push 1"},
			{0, fails(0, 0, 488), ""},
			{0, refuses(1, false), "reject 488 by callee"},
		}},
		{name: "what we could not send says why, at once", targets: []Attempt{live()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{0, Event{Kind: EvFailed, Status: 503, Own: true, Reason: "no ports"}, "reject 503 by server"},
		}},
		{name: "a device in another call", targets: []Attempt{occupied()}, steps: []step{
			{0, just(EvRouted), "reject 486 by server"},
		}},
		{name: "busy > no answer", targets: []Attempt{occupied(), alone()}, steps: []step{
			{0, just(EvRouted), "invite 1.0"},
			{0, on(EvRinging, 1, 0), "ring ringing"},
			{50 * s, just(Nothing), "@50s cancel 1.0 (" + reasonNoAnswer + "), @50s reject 486 by server"},
		}},
		{name: "no answer > unreachable", targets: []Attempt{alone(), voipOnly()}, steps: []step{
			{0, just(EvRouted), "invite 0.0, push 1"},
			{0, on(EvRinging, 0, 0), "ring ringing"},
			{0, refuses(1, false), ""},
			{50 * s, just(Nothing), "@50s cancel 0.0 (" + reasonNoAnswer + "), @50s reject 480 by server"},
		}},
		{name: "both hang up at once", targets: []Attempt{alone()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{0, on(EvAnswered, 0, 0), "answer 0.0"},
			{0, just(EvConfirmed), ""},
			{s, just(EvCallerBye), "bye 0.0"},
			{0, on(EvCalleeBye, 0, 0), ""},
		}},
		{name: "no ACK", targets: []Attempt{alone()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{0, on(EvAnswered, 0, 0), "answer 0.0"},
			{32 * s, just(EvCallerGone), "bye 0.0"},
		}},
	})
}

// What the caller gets for each final response of the only device.
func TestStatusForTheCaller(t *testing.T) {
	cases := []struct {
		target Attempt
		status int
		rang   bool
		want   int
		rank   Rank
	}{
		{alone(), 300, false, 480, RankUnreachable}, {alone(), 302, false, 480, RankUnreachable}, // not followed
		{alone(), 400, false, 480, RankUnreachable}, {alone(), 401, false, 480, RankUnreachable},
		{alone(), 403, false, 480, RankUnreachable}, {alone(), 404, false, 480, RankUnreachable},
		{alone(), 407, false, 480, RankUnreachable}, {alone(), 408, false, 480, RankUnreachable},
		{alone(), 408, true, 480, RankNoAnswer}, {alone(), 415, false, 415, RankUnacceptable},
		{alone(), 480, true, 480, RankNoAnswer}, {alone(), 481, false, 480, RankUnreachable},
		{alone(), 482, false, 480, RankUnreachable}, {alone(), 486, false, 486, RankBusy},
		{alone(), 488, true, 488, RankUnacceptable}, {alone(), 500, false, 480, RankUnreachable},
		{alone(), 503, false, 480, RankUnreachable}, {alone(), 600, true, 600, RankDeclined},
		{alone(), 603, true, 603, RankDeclined}, {alone(), 606, false, 480, RankUnreachable},
		{aTrunk(), 302, false, 480, RankRefused}, {aTrunk(), 401, false, 480, RankRefused},
		{aTrunk(), 404, false, 404, RankRefused}, {aTrunk(), 407, false, 480, RankRefused},
		{aTrunk(), 408, true, 408, RankNoAnswer}, {aTrunk(), 480, true, 480, RankNoAnswer},
		{aTrunk(), 480, false, 480, RankRefused}, {aTrunk(), 481, false, 480, RankRefused},
		{aTrunk(), 482, false, 480, RankRefused}, {aTrunk(), 486, true, 486, RankBusy},
		{aTrunk(), 488, false, 488, RankRefused}, {aTrunk(), 503, false, 503, RankRefused},
		{aTrunk(), 600, true, 600, RankBusy}, {aTrunk(), 603, true, 603, RankDeclined},
	}
	for _, c := range cases {
		p := &play{r: New(), s: NewState(testTerms()), now: t0}
		p.do(Event{Kind: EvRouted, Targets: []Attempt{c.target}})
		if c.rang {
			p.do(on(EvRinging, 0, 0))
		}
		_, acts := p.r.Next(p.s, fails(0, 0, c.status), p.now)
		i := 0
		for i < len(acts) && acts[i].Kind != ActReject {
			i++
		}
		if i == len(acts) {
			t.Errorf("trunk=%v %d: no final response", c.target.Trunk, c.status)
			continue
		}
		if acts[i].Status != c.want {
			t.Errorf("trunk=%v %d rang=%v: caller gets %d, want %d", c.target.Trunk, c.status, c.rang, acts[i].Status, c.want)
		}
		after, _ := p.r.Next(p.s, fails(0, 0, c.status), p.now)
		if got := after.Attempts[0].Outcome.Rank; got != c.rank {
			t.Errorf("trunk=%v %d rang=%v: rank %d, want %d", c.target.Trunk, c.status, c.rang, got, c.rank)
		}
	}
}

func TestToTheCaller(t *testing.T) {
	policy := func(r RingPolicy, progress bool) Terms {
		return with(func(t *Terms) { t.Ringing, t.Progress, t.RingTimeout = r, progress, 5*time.Minute })
	}
	early := func(i, n int) Event {
		return Event{Kind: EvRinging, Attempt: i, Invite: n, Status: 183, Early: true}
	}
	run(t, []scenario{
		{name: "trying: only when a device rings", terms: policy(RingTrying, true), targets: []Attempt{sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, accepts(0, false), ""},
			{s, registers(0, 8), "invite 0.0"},
			{s, on(EvRinging, 0, 0), "ring ringing"},
		}},
		{name: "on_push: with the first accepted push, once", terms: policy(RingOnPush, false), targets: []Attempt{sleeping(), sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0, push 1"},
			{s, accepts(0, false), "ring pushed"},
			{s, accepts(1, false), ""},
			{s, registers(0, 8), "invite 0.0"},
			{s, on(EvRinging, 0, 0), ""},
		}},
		{name: "each stage in a 180 of its own where the trunk wants it", terms: policy(RingOnPush, true), targets: []Attempt{sleeping(), sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0, push 1"},
			{s, accepts(0, false), "ring pushed"},
			{s, registers(0, 8), "ring registered, invite 0.0"},
			{0, accepts(1, false), ""},
			{s, on(EvRinging, 0, 0), "ring ringing"},
			{s, registers(1, 9), "invite 1.0"},
			{s, on(EvRinging, 1, 0), ""},
		}},
		{name: "at_once", terms: policy(RingAtOnce, false), targets: []Attempt{sleeping()}, steps: []step{
			{0, just(EvRouted), "ring, push 0"},
			{s, accepts(0, false), ""},
		}},
		{name: "at_once does not speak for a trunk", terms: policy(RingAtOnce, false), targets: []Attempt{aTrunk()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, on(EvRinging, 0, 0), "ring ringing"},
		}},
		{name: "again every 60 s, with the last stage", terms: policy(RingTrying, true), targets: []Attempt{alone()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{10 * s, on(EvRinging, 0, 0), "ring ringing"},
			{121 * s, just(Nothing), "@1m10s ring ringing, @2m10s ring ringing"},
			{0, on(EvAnswered, 0, 0), "answer 0.0"},
			{61 * s, just(Nothing), ""},
		}},
		{name: "early media of the only one", terms: policy(RingOnPush, true), targets: []Attempt{aTrunk()}, steps: []step{
			{0, just(EvRouted), "invite 0.0"},
			{s, early(0, 0), "early 0.0"},
			{s, early(0, 0), ""},
			{s, on(EvRinging, 0, 0), ""},
			{60 * s, just(Nothing), "@1m1s ring ringing"},
		}},
		{name: "not while another one is alive", terms: policy(RingOnPush, false), targets: []Attempt{alone(), sleeping()}, steps: []step{
			{0, just(EvRouted), "invite 0.0, push 1"},
			{s, early(0, 0), "ring ringing"},
			{s, refuses(1, false), "push alert 1"},
			{s, refuses(1, true), ""},
			{s, early(0, 0), "early 0.0"},
		}},
	})
}

func TestFate(t *testing.T) {
	run(t, []scenario{
		{name: "cancelled while pushed", targets: []Attempt{sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, accepts(0, false), "ring pushed"},
			{s, just(EvCancelled), "fate 0 487 Call cancelled, reject 487 by caller"},
			{s, accepts(0, false), ""},
			{0, registers(0, 8), ""},
		}},
		{name: "the push was on its way", targets: []Attempt{sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, just(EvCancelled), "fate 0 487 Call cancelled, reject 487 by caller"},
		}},
		{name: "the PBX says who was quicker", targets: []Attempt{sleeping(), live()}, steps: []step{
			{0, just(EvRouted), "push 0, invite 1.0"},
			{s, Event{Kind: EvCancelled, Reasons: []string{`Q.850;cause=26`, reasonElsewhere}},
				"fate 0 200 Call completed elsewhere, cancel 1.0 (Q.850;cause=26, " + reasonElsewhere + "), reject 487 by caller"},
		}},
		{name: "or that somebody declined", targets: []Attempt{sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, Event{Kind: EvCancelled, Reasons: []string{`SIP;cause=603`}}, "fate 0 603 Declined elsewhere, reject 487 by caller"},
		}},
		{name: "answered elsewhere", targets: []Attempt{sleeping(), live()}, steps: []step{
			{0, just(EvRouted), "push 0, invite 1.0"},
			{s, on(EvAnswered, 1, 0), "answer 1.0, fate 0 200 Call completed elsewhere"},
		}},
		{name: "not if the INVITE arrived", targets: []Attempt{sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, accepts(0, false), "ring pushed"},
			{s, registers(0, 8), "invite 0.0"},
			{s, on(EvTrying, 0, 0), ""},
			{s, just(EvCancelled), "cancel 0.0, reject 487 by caller"},
		}},
		{name: "if it perhaps did not", targets: []Attempt{sleeping()}, steps: []step{
			{0, just(EvRouted), "push 0"},
			{s, accepts(0, false), "ring pushed"},
			{s, registers(0, 8), "invite 0.0"},
			{s, just(EvCancelled), "cancel 0.0, fate 0 487 Call cancelled, reject 487 by caller"},
		}},
		{name: "not for a device that was not pushed, or whose push was refused", targets: []Attempt{alone(), voipOnly(), alone()}, steps: []step{
			{0, just(EvRouted), "invite 0.0, push 1, invite 2.0"},
			{s, refuses(1, false), ""},
			{s, just(EvCancelled), "cancel 0.0, cancel 2.0, reject 487 by caller"},
		}},
		{name: "once per device", targets: []Attempt{sleeping(), live()}, steps: []step{
			{0, just(EvRouted), "push 0, invite 1.0"},
			{s, on(EvRinging, 1, 0), "ring ringing"},
			{0, accepts(0, false), ""},
			{29 * s, just(Nothing), "@9s push alert 0, @30s fate 0 480 No answer"},
			{s, just(EvCancelled), "cancel 1.0, reject 487 by caller"},
		}},
	})
}
