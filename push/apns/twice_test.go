package apns_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/net/http2"

	"wakebridge/push"
	"wakebridge/push/apns"
	"wakebridge/push/apnssim"
)

// arrived counts what the phone has got, by apns-id.
func (w *world) arrived() map[string]int {
	got := make(map[string]int)
	for {
		select {
		case d := <-w.phone.Deliveries():
			got[d.APNsID]++
		default:
			return got
		}
	}
}

// TestLostAfterAcceptance: the answer is lost, the push is not. It is sent once
// more, for nobody can know, and never a third time.
func TestLostAfterAcceptance(t *testing.T) {
	for name, a := range map[string]apnssim.Action{
		"cut":   {Fault: apnssim.Cut, Deliver: true},
		"reset": {Fault: apnssim.Reset, Deliver: true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				d := w.dispatcher()
				w.fault(apnssim.Match{Times: 1}, a)
				r := w.ask(d, w.request())
				accepted(t, r)
				if got := w.arrived()[r.ID]; got != 2 || !r.Hedged || w.counter("wakebridge_push_hedged_total") != 1 {
					t.Errorf("the phone got it %d times, %+v", got, r)
				}
				w.fault(apnssim.Match{}, a)
				r = w.ask(d, w.request())
				if got := w.arrived()[r.ID]; got != 2 || r.Outcome != push.NoAnswer || r.Reason != push.Lost || r.Tries != 2 {
					t.Errorf("the phone got it %d times, %+v", got, r)
				}
			})
		})
	}
}

// TestRefusedBesideAnOpenRequest: a refusal by which the push is repeated ends the
// wait for the other request, which may have been accepted and counts.
func TestRefusedBesideAnOpenRequest(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Hang, Deliver: true})
		w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Respond, Status: 403, Reason: "ExpiredProviderToken"})
		w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Cut, Deliver: true})
		r := w.push()
		if got := w.arrived()[pushID]; got != 2 || r.Outcome != push.NoAnswer || r.Reason != push.Lost || !r.Hedged || r.Tries != 3 {
			t.Errorf("the phone got it %d times, %+v", got, r)
		}
	})
}

// TestSilentAfterAHedge: both requests of a hedged try were refused for now, so the
// next try may be hedged as well.
func TestSilentAfterAHedge(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Delay, Latency: 2 * time.Second})
		w.fault(apnssim.Match{Times: 2}, apnssim.Action{Fault: apnssim.Respond, Status: 503, Reason: "ServiceUnavailable"})
		w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Hang, Deliver: true})
		start := time.Now()
		r := w.push()
		accepted(t, r)
		if took := time.Since(start); took > 4*time.Second || r.Tries != 4 || !r.Hedged || w.arrived()[pushID] != 2 {
			t.Errorf("%+v after %s", r, took)
		}
	})
}

// TestStoppedWhileRepeated: the call is over when a push whose answer was lost is
// under way again. Nobody waits for an answer, but that it was repeated is counted.
func TestStoppedWhileRepeated(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		d := w.dispatcher()
		w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Cut, Deliver: true})
		w.fault(apnssim.Match{}, apnssim.Action{Fault: apnssim.Hang, Deliver: true})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		results := make(chan push.Result, 1)
		d.Dispatch(ctx, w.request(), func(r push.Result) { results <- r })
		time.Sleep(time.Second)
		stop()
		r := <-results
		if r.Reason != push.Stopped || !r.Hedged || r.Tries != 2 || r.Written.IsZero() || w.counter("wakebridge_push_hedged_total") != 1 || w.arrived()[r.ID] != 2 {
			t.Errorf("%+v", r)
		}
	})
}

// TestRefusedStreamsCostNothing: the server says that it did nothing (RFC 9113
// s8.7), so all three tries are ours.
func TestRefusedStreamsCostNothing(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.fault(apnssim.Match{Times: 2}, apnssim.Action{Fault: apnssim.Reset, Code: http2.ErrCodeRefusedStream})
		r := w.push()
		accepted(t, r)
		if r.Tries != 3 || r.Hedged || w.arrived()[pushID] != 1 {
			t.Errorf("%+v", r)
		}
	})
}

// TestAtMostTwice throws faults at pushes, in any order: the phone gets each at
// most twice, and twice only where the result says that it was hedged.
func TestAtMostTwice(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inWorld(t, func(c *apnssim.Config, _ *apns.Config) { c.Limits.PushBurst = 10_000 }, func(t *testing.T, w *world) {
				dice := rand.New(rand.NewPCG(seed, 1))
				faults := []apnssim.Action{
					{Fault: apnssim.Cut, Deliver: true}, {Fault: apnssim.Cut},
					{Fault: apnssim.Reset, Deliver: true}, {Fault: apnssim.Reset}, {Fault: apnssim.Reset, Code: http2.ErrCodeRefusedStream},
					{Fault: apnssim.Delay, Latency: 1600 * time.Millisecond}, {Fault: apnssim.Delay, Latency: 5 * time.Second},
					{Fault: apnssim.GoAway, Reason: "Shutdown"}, {Fault: apnssim.GoAway, Reason: "IdleTimeout", Unprocessed: true},
					{Fault: apnssim.Respond, Status: 503, Reason: "ServiceUnavailable"}, {Fault: apnssim.Respond, Status: 500, Reason: "InternalServerError"},
					{Fault: apnssim.Hang, Deliver: true}, {Fault: apnssim.Hang}, {Fault: apnssim.Blackhole},
					{Fault: apnssim.Respond, Status: 403, Reason: "ExpiredProviderToken"}, {Fault: apnssim.Respond, Status: 413, Reason: "PayloadTooLarge"},
					{Fault: apnssim.Respond, Status: 429, Reason: "TooManyRequests"},
				}
				results := make(map[string]push.Result)
				got := make(map[string]int)
				twice := 0
				for range 100 {
					w.ClearFaults()
					for range dice.IntN(4) {
						w.fault(apnssim.Match{Times: 1}, faults[dice.IntN(len(faults))])
					}
					id := uuid.NewString()
					n := call(id)
					ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
					results[id] = w.sender.Send(ctx, push.Target{Token: w.voip, Environment: push.Production}, n)
					cancel()
					time.Sleep(time.Duration(dice.IntN(10)) * time.Second)
					for id, n := range w.arrived() {
						got[id] += n
					}
				}
				time.Sleep(time.Minute)
				for id, n := range w.arrived() {
					got[id] += n
				}
				for id, r := range results {
					n := got[id]
					if n > 2 || n == 2 && !r.Hedged || n == 0 && r.Outcome == push.Accepted {
						t.Errorf("the phone got a push %d times: %+v", n, r)
					}
					if n > 0 && r.Outcome == push.Refused && !r.Maybe {
						t.Errorf("the phone has a push that counts as refused: %+v", r)
					}
					if n == 2 {
						twice++
					}
				}
				if twice == 0 || len(results) != 100 {
					t.Errorf("%d of %d pushes came twice: the faults prove nothing", twice, len(results))
				}
			})
		})
	}
}
