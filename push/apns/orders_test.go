package apns_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/net/http2"

	"wakebridge/push"
	"wakebridge/push/apns"
	"wakebridge/push/apnssim"
)

// fate is one of the things that can become of a request.
type fate struct {
	name    string
	action  apnssim.Action
	reaches bool // the phone has the push
}

// fates are all that differ for what may follow: answers by what they ask for, losses by
// what they prove and whether the push went out before.
func fates() []fate {
	respond := func(status int, reason string) apnssim.Action {
		return apnssim.Action{Fault: apnssim.Respond, Status: status, Reason: reason}
	}
	late := func(by time.Duration) apnssim.Action { return apnssim.Action{Fault: apnssim.Delay, Latency: by} }
	return []fate{
		{"503", respond(503, "ServiceUnavailable"), false},
		{"expired", respond(403, "ExpiredProviderToken"), false},
		{"too large", respond(413, "PayloadTooLarge"), false},
		{"refused stream", apnssim.Action{Fault: apnssim.Reset, Code: http2.ErrCodeRefusedStream}, false},
		{"goaway", apnssim.Action{Fault: apnssim.GoAway, Reason: "Shutdown", Unprocessed: true}, false},
		{"reset", apnssim.Action{Fault: apnssim.Reset, Deliver: true}, true},
		{"cut", apnssim.Action{Fault: apnssim.Cut, Deliver: true}, true},
		{"hang", apnssim.Action{Fault: apnssim.Hang, Deliver: true}, true},
		{"blackhole", apnssim.Action{Fault: apnssim.Blackhole, Deliver: true}, true},
		{"late", late(1700 * time.Millisecond), true},
	}
}

// TestAtMostTwiceInEveryOrder lets the first three requests of a push meet every sequence
// of fates, and accepts what may follow: the phone gets it at most twice, with one apns-id,
// twice only where the result counts it; and a push that no request brought out is only
// given up with the last try.
func TestAtMostTwiceInEveryOrder(t *testing.T) {
	all := fates()
	for _, first := range all {
		t.Run(first.name, func(t *testing.T) {
			inWorld(t, func(c *apnssim.Config, _ *apns.Config) { c.Limits.PushBurst = 10_000 }, func(t *testing.T, w *world) {
				twice := 0
				for _, second := range all {
					for _, third := range all {
						if w.meets(first, second, third) == 2 {
							twice++
						}
					}
				}
				if twice == 0 {
					t.Error("no push came twice: the faults prove nothing")
				}
			})
		})
	}
}

// meets sends a push whose requests meet these fates, and says how often it arrived.
func (w *world) meets(fates ...fate) (n int) {
	w.t.Helper()
	w.ClearFaults()
	names := make([]string, len(fates))
	for i, f := range fates {
		names[i] = f.name
		w.fault(apnssim.Match{Times: 1}, f.action)
	}
	order := strings.Join(names, ", ")
	id := uuid.NewString()
	ctx, cancel := context.WithTimeout(w.t.Context(), 25*time.Second)
	defer cancel()
	r := w.sender.Send(ctx, push.Target{Token: w.voip, Environment: push.Production}, call(id))
	w.ClearFaults()
	time.Sleep(11 * time.Minute) // what hangs or rests is over, and a credential is tried again
	got := w.arrived()
	n = got[id]
	requests := w.Requests(apnssim.Filter{APNsID: id})
	told := fmt.Sprintf("%s: arrived %d times with %d requests: %+v", order, n, len(requests), r)
	switch {
	case n > 2, len(got) > 1:
		w.t.Errorf("too often: %s", told)
	case n == 2 && !r.Hedged:
		w.t.Errorf("twice, and no hedge is counted: %s", told)
	case n > 0 && r.Outcome == push.Refused && !r.Maybe:
		w.t.Errorf("it arrived and counts as refused: %s", told)
	case n == 0 && r.Outcome == push.Accepted:
		w.t.Errorf("it did not arrive and counts as accepted: %s", told)
	case n == 0 && len(requests) < 3 && r.Outcome != push.Refused:
		w.t.Errorf("it was given up: %s", told)
	}
	return n
}
