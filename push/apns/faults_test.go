package apns_test

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"wakebridge/push"
	"wakebridge/push/apns"
	"wakebridge/push/apnssim"
	"wakebridge/sipua/memnet"
)

func TestHedgeBringsThePushOutWhenOneLineIsDead(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Blackhole})
		start := time.Now()
		r := w.push()
		accepted(t, r)
		if took := time.Since(start); took > 1600*time.Millisecond || !r.Hedged || r.Tries != 2 || r.ID != "" {
			t.Errorf("took %v, %+v", took, r)
		}
		start = time.Now()
		r = w.push() // the line that answered comes first now
		accepted(t, r)
		if took := time.Since(start); took > 50*time.Millisecond || r.Hedged {
			t.Errorf("the next one took %v, %+v", took, r)
		}
		time.Sleep(10 * time.Second)
		if s := w.Stats(); s.Connections != 4 || s.Open != 2 {
			t.Errorf("the dead connection was not replaced, as that of the hedge was: %+v", s)
		}
	})
}

// TestIdleLinesAreRepairedWithoutAPush: the next call must not pay for a
// connection that died in the night.
func TestIdleLinesAreRepairedWithoutAPush(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		if got := w.Stats().Open; got != 2 {
			t.Fatalf("%d warm connections before any push", got)
		}
		time.Sleep(time.Hour)
		w.blackholes()
		time.Sleep(15 * time.Second)
		if got := w.Stats().Connections; got != 4 {
			t.Errorf("%d connections in all", got)
		}
		start := time.Now()
		accepted(t, w.push())
		if took := time.Since(start); took > 50*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestGoAwayLosesNothing(t *testing.T) {
	for _, unprocessed := range []bool{false, true} {
		name := "processed"
		if unprocessed {
			name = "unprocessed"
		}
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(c *apnssim.Config, _ *apns.Config) { c.Limits.PushBurst = 1000 }, func(t *testing.T, w *world) {
				w.fault(apnssim.Match{Nth: 10}, apnssim.Action{Fault: apnssim.GoAway, Reason: "Shutdown", Unprocessed: unprocessed})
				ids := make(map[string]int)
				var mu sync.Mutex
				var all sync.WaitGroup
				for range 100 {
					id := uuid.NewString()
					mu.Lock()
					ids[id] = 0
					mu.Unlock()
					all.Go(func() {
						if r := w.sender.Send(t.Context(), push.Target{Token: w.voip}, call(id)); r.Outcome != push.Accepted {
							t.Errorf("%+v", r)
						}
					})
					time.Sleep(15 * time.Millisecond) // less than a round trip: several are under way
				}
				all.Wait()
				synctest.Wait()
				for range ids {
					ids[(<-w.phone.Deliveries()).APNsID]++
				}
				for id, n := range ids {
					if n != 1 {
						t.Errorf("push %s was delivered %d times", id, n)
					}
				}
			})
		})
	}
}

func TestConnectionFaultsAreRetriedWithTheSameID(t *testing.T) {
	for _, fault := range []apnssim.Fault{apnssim.Reset, apnssim.Cut} {
		t.Run(string(fault), func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: fault})
				start := time.Now()
				r := w.push()
				accepted(t, r)
				if took := time.Since(start); r.Tries != 2 || !r.Hedged || took > time.Second {
					t.Errorf("took %v, %+v", took, r)
				}
				if got := w.Requests(apnssim.Filter{APNsID: pushID}); len(got) != 2 || len(w.Requests(apnssim.Filter{})) != 2 {
					t.Errorf("%d requests with the id", len(got))
				}
			})
		})
	}
}

func TestServerErrorsAreRetriedAtMostThreeTimes(t *testing.T) {
	for _, a := range []apnssim.Action{
		{Fault: apnssim.Respond, Status: 500, Reason: "InternalServerError"},
		{Fault: apnssim.Respond, Status: 503, Reason: "ServiceUnavailable"},
		{Fault: apnssim.Respond, Status: 503, Reason: "Shutdown"},
		{Fault: apnssim.Respond, Status: 503, Reason: "NeverHeardOfThis"},
	} {
		t.Run(a.Reason, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				w.fault(apnssim.Match{Times: 2}, a)
				start := time.Now()
				accepted(t, w.push())
				if took := time.Since(start); took > 900*time.Millisecond || a.Reason != "Shutdown" && took < 320*time.Millisecond {
					t.Errorf("two pauses of 100 to 300 ms and three round trips took %v", took)
				}
				before := len(w.Requests(apnssim.Filter{}))
				w.fault(apnssim.Match{}, a)
				r := w.push()
				if r.Outcome != push.Refused || r.Status != a.Status || r.Reason != push.Reason(a.Reason) || r.Tries != 3 || !strings.Contains(r.Text, a.Reason) {
					t.Errorf("%+v", r)
				}
				got := w.Requests(apnssim.Filter{})[before:]
				if len(got) != 3 || got[0].Conn == got[1].Conn {
					t.Errorf("%d tries, the second on connection %d as the first", len(got), got[1].Conn)
				}
			})
		})
	}
}

func TestFinalReasonsAreReportedAtOnce(t *testing.T) {
	for _, a := range []apnssim.Action{
		{Status: 400, Reason: "DeviceTokenNotForTopic"},
		{Status: 400, Reason: "TopicDisallowed"},
		{Status: 403, Reason: "InvalidProviderToken"},
		{Status: 403, Reason: "NewIn2030"},
		{Status: 429, Reason: "TooManyRequests"},
		{Status: 429, Reason: "TooManyProviderTokenUpdates"},
	} {
		t.Run(a.Reason, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				a.Fault = apnssim.Respond
				w.fault(apnssim.Match{}, a)
				start := time.Now()
				r := w.push()
				if r.Outcome != push.Refused || r.Status != a.Status || r.Reason != push.Reason(a.Reason) || r.Tries != 1 ||
					!strings.Contains(r.Text, a.Reason) || !r.Dead.IsZero() || time.Since(start) != 40*time.Millisecond {
					t.Errorf("after %v: %+v", time.Since(start), r)
				}
			})
		})
	}
}

func TestSilenceEndsAtTheDeadlineWithOneHedge(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.fault(apnssim.Match{}, apnssim.Action{Fault: apnssim.Hang})
		start := time.Now()
		r := w.push()
		if r.Outcome != push.NoAnswer || r.Reason != push.Deadline || time.Since(start) != 25*time.Second || !r.Hedged || r.Tries != 2 {
			t.Errorf("after %v: %+v", time.Since(start), r)
		}
		if got := w.Requests(apnssim.Filter{APNsID: pushID}); len(got) != 2 || got[1].ReceivedAt.Sub(got[0].ReceivedAt) != 1500*time.Millisecond {
			t.Errorf("%d requests", len(got))
		}
	})
}

// TestOneHedgeForAllTries: the phone may get a push twice, never more. That a connection
// died with its request proves nothing.
func TestOneHedgeForAllTries(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.fault(apnssim.Match{}, apnssim.Action{Fault: apnssim.Blackhole})
		r := w.push()
		if r.Outcome != push.NoAnswer || r.Reason != push.Lost || !r.Hedged || !r.Maybe {
			t.Errorf("%+v", r)
		}
		if got := w.Requests(apnssim.Filter{APNsID: pushID}); len(got) != 2 || r.Tries != 2 {
			t.Errorf("%d requests, %+v", len(got), r)
		}
	})
}

// TestFullLineShedsToTheOther: Apple may allow a connection one stream only.
func TestFullLineShedsToTheOther(t *testing.T) {
	inWorld(t, func(c *apnssim.Config, _ *apns.Config) { c.Limits.StreamsAfter = 1 }, func(t *testing.T, w *world) {
		w.fault(apnssim.Match{}, apnssim.Action{Fault: apnssim.Delay, Latency: 300 * time.Millisecond})
		start := time.Now()
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				r := w.sender.Send(t.Context(), push.Target{Token: w.voip}, call(uuid.NewString()))
				if r.Outcome != push.Accepted || r.Hedged {
					t.Errorf("%+v", r)
				}
			})
			synctest.Wait()
		}
		all.Wait()
		if took := time.Since(start); took != 340*time.Millisecond {
			t.Errorf("two pushes over two lines took %v", took)
		}
	})
}

func TestStopEndsAPush(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.fault(apnssim.Match{}, apnssim.Action{Fault: apnssim.Hang})
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(900*time.Millisecond, stop)
		start := time.Now()
		r := w.sender.Send(ctx, push.Target{Token: w.voip}, call(pushID))
		if r.Outcome != push.NoAnswer || r.Reason != push.Stopped || time.Since(start) != 900*time.Millisecond {
			t.Errorf("after %v: %+v", time.Since(start), r)
		}
		time.Sleep(10 * time.Second)
		if got := len(w.Requests(apnssim.Filter{})); got != 1 {
			t.Errorf("%d requests: a hedge after the stop", got)
		}
		if s := w.Stats(); s.Connections != 2 {
			t.Errorf("a stopped push cost a connection: %+v", s)
		}
	})
}

func TestAppleUnreachable(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		must(t, w.Close()) // connections closed, new ones refused
		time.Sleep(time.Second)
		start := time.Now()
		r := w.push()
		if took := time.Since(start); r.Outcome != push.NoAnswer || r.Reason != push.Unreachable || r.Tries != 3 || took > time.Second || !r.Written.IsZero() || r.Maybe || r.Hedged {
			t.Errorf("took %v, %+v", took, r)
		}
		if !strings.Contains(r.Text, "refused") || !strings.Contains(r.Text, "17.0.0.1:443") {
			t.Errorf("text %q", r.Text)
		}
		w.mu.Lock()
		before := len(w.conns)
		w.mu.Unlock()
		if got := w.counter("wakebridge_apns_dials_total"); got < 5 || before != 2 {
			t.Errorf("%v dials counted, %d made", got, before)
		}
		// Down for an hour: dials become rare. Then it is back.
		time.Sleep(time.Hour)
		if got := w.counter("wakebridge_apns_dials_total"); got > 200 {
			t.Errorf("%v dials in an hour", got)
		}
	})
}

func TestPathCutWhileDialling(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		us := netip.MustParseAddr("10.0.0.1")
		w.network.ImpairBoth(us, w.apple, memnet.Impairment{Delay: 20 * time.Millisecond, Loss: 1})
		time.Sleep(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		r := w.sender.Send(ctx, push.Target{Token: w.voip}, call(pushID))
		if r.Outcome != push.NoAnswer || time.Since(start) > 10*time.Second || r.Reason != push.Deadline && r.Reason != push.Unreachable {
			t.Errorf("after %v: %+v", time.Since(start), r)
		}
		w.network.ImpairBoth(us, w.apple, memnet.Impairment{Delay: 20 * time.Millisecond})
		time.Sleep(2 * time.Minute) // the lines dial again by themselves
		start = time.Now()
		accepted(t, w.push())
		if took := time.Since(start); took > 50*time.Millisecond {
			t.Errorf("after the repair it took %v", took)
		}
	})
}

func TestAfterClose(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.fault(apnssim.Match{}, apnssim.Action{Fault: apnssim.Hang})
		results := make(chan push.Result, 1)
		go func() { results <- w.push() }()
		time.Sleep(time.Second)
		must(t, w.service.Close())
		if r := <-results; r.Outcome != push.NoAnswer {
			t.Errorf("in flight: %+v", r)
		}
		must(t, w.service.Close())
		if r := w.push(); r.Outcome != push.NoAnswer || r.Reason != push.Closed {
			t.Errorf("after Close: %+v", r)
		}
		time.Sleep(time.Minute)
		if s := w.Stats(); s.Open != 0 || s.Connections != 2 {
			t.Errorf("%+v", s)
		}
	})
}
