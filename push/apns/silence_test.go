package apns_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"wakebridge/push"
	"wakebridge/push/apns"
	"wakebridge/push/apnssim"
)

// TestBothLinesAreDead: the path is gone under both connections, as when a firewall was
// started anew, and nobody says so. The hedge goes out over a connection that was made for
// it: a third request there cannot be.
func TestBothLinesAreDead(t *testing.T) {
	for name, idle := range map[string]time.Duration{"a night": time.Hour, "a moment": 0} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				accepted(t, w.push())
				time.Sleep(idle)
				w.blackholes()
				start := time.Now()
				r := w.push()
				accepted(t, r)
				if took := time.Since(start); took > 1600*time.Millisecond || !r.Hedged || r.Tries != 2 {
					t.Errorf("took %v, %+v", took, r)
				}
				start = time.Now()
				r = w.push()
				accepted(t, r)
				if took := time.Since(start); took > 50*time.Millisecond || r.Hedged {
					t.Errorf("after the repair: took %v, %+v", took, r)
				}
			})
		})
	}
}

// TestSlowAppleCostsFewConnections: an Apple that is slow for long is not dialled for each
// push.
func TestSlowAppleCostsFewConnections(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.fault(apnssim.Match{}, apnssim.Action{Fault: apnssim.Delay, Latency: 1200 * time.Millisecond})
		for range 50 { // a minute and more
			accepted(t, w.push())
		}
		if s := w.Stats(); s.Connections > 2+7 {
			t.Errorf("%+v", s)
		}
	})
}

// TestSilenceCountsFromTheLastAnswer: tries that were answered, and the pauses behind
// them, make nobody wait for the hedge any longer.
func TestSilenceCountsFromTheLastAnswer(t *testing.T) {
	for name, status := range map[string]int{"ServiceUnavailable": 503, "InternalServerError": 500} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				w.fault(apnssim.Match{Times: 2}, apnssim.Action{Fault: apnssim.Respond, Status: status, Reason: name})
				w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Blackhole})
				r := w.push()
				accepted(t, r)
				got := w.Requests(apnssim.Filter{APNsID: pushID})
				if len(got) != 4 || !r.Hedged || r.Tries != 4 {
					t.Fatalf("%d requests, %+v", len(got), r)
				}
				const trip = 40 * time.Millisecond
				if silent := got[3].ReceivedAt.Sub(got[1].AnsweredAt) - trip; silent != 1500*time.Millisecond {
					t.Errorf("the hedge went out %s after the last answer", silent)
				}
			})
		})
	}
}

// TestNobodyWaitsForAnothersSilence: pushes on a dead connection are out within 1.6 s each,
// whether they come together or one after the other.
func TestNobodyWaitsForAnothersSilence(t *testing.T) {
	for name, apart := range map[string]time.Duration{"together": 0, "one after the other": 300 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				accepted(t, w.push())
				w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Blackhole})
				w.fivePushes(apart)
			})
		})
	}
}

// TestNobodyWaitsForASilentProbe: the same while a broken credential is tried, by the first
// of them.
func TestNobodyWaitsForASilentProbe(t *testing.T) {
	for name, streams := range map[string]uint32{"one stream": 1, "many": 10} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(c *apnssim.Config, _ *apns.Config) { c.Limits.StreamsBefore = streams }, func(t *testing.T, w *world) {
				accepted(t, w.push())
				w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Respond, Status: 403, Reason: "Forbidden"})
				w.push()
				time.Sleep(6 * time.Second)
				w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Blackhole})
				w.fivePushes(0)
			})
		})
	}
}

// fivePushes sends so many, which must be accepted within 1.6 s each.
func (w *world) fivePushes(apart time.Duration) {
	w.t.Helper()
	type taken struct {
		push.Result
		took time.Duration
	}
	results := make(chan taken, 5)
	for range cap(results) {
		go func() {
			start := time.Now()
			r := w.sender.Send(w.t.Context(), push.Target{Token: w.voip, Environment: push.Production}, call(uuid.NewString()))
			results <- taken{r, time.Since(start)}
		}()
		synctest.Wait()
		time.Sleep(apart)
	}
	for range cap(results) {
		if r := <-results; r.Outcome != push.Accepted || r.took > 1600*time.Millisecond {
			w.t.Errorf("took %s: %+v", r.took, r.Result)
		}
	}
}
