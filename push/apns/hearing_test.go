package apns_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"wakebridge/push"
	"wakebridge/push/apnssim"
)

// stopped dispatches a push, stops it after a while, and says what was reported then
// and heard later.
func (w *world) stopped(after time.Duration) (reported push.Result, heard []push.Result) {
	w.t.Helper()
	ctx, stop := context.WithCancel(w.t.Context())
	defer stop()
	d := w.dispatcher()
	results, late := make(chan push.Result, 2), make(chan push.Result, 2)
	req := w.request()
	req.Heard = func(r push.Result) { late <- r }
	d.Dispatch(ctx, req, func(r push.Result) { results <- r })
	time.Sleep(after)
	stop()
	synctest.Wait()
	select {
	case reported = <-results:
	default:
		w.t.Fatal("the stop was not reported at once")
	}
	time.Sleep(10 * time.Second)
	synctest.Wait()
	for len(late) > 0 {
		heard = append(heard, <-late)
	}
	if len(results) > 0 {
		w.t.Errorf("reported twice: %+v", <-results)
	}
	return reported, heard
}

// A push that was on its way when it was stopped is heard out: its token is dead all
// the same. The stop is reported at once.
func TestStoppedPushIsHeardOut(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.fault(apnssim.Match{}, apnssim.Action{Fault: apnssim.Delay, Latency: 3 * time.Second})
		w.fault(apnssim.Match{}, apnssim.Action{Fault: apnssim.Respond, Status: 410, Reason: "Unregistered"})
		reported, heard := w.stopped(time.Second)
		if reported.Reason != push.Stopped || reported.Written.IsZero() || reported.Tries != 1 || reported.Kind != push.VoIP || reported.Latency != time.Second {
			t.Errorf("reported %+v", reported)
		}
		if len(heard) != 1 || heard[0].Status != 410 || heard[0].Dead.IsZero() {
			t.Errorf("heard %+v", heard)
		}
		if got := w.Requests(apnssim.Filter{}); len(got) != 1 {
			t.Errorf("%d requests", len(got))
		}
	})
}

// After the stop nothing more is sent: no hedge, no retry, no other environment.
func TestNothingIsSentAfterTheStop(t *testing.T) {
	for name, answer := range map[string]apnssim.Action{
		"hedge":       {Fault: apnssim.Hang},
		"retry":       {Fault: apnssim.Respond, Status: 503, Reason: "ServiceUnavailable"},
		"environment": {Fault: apnssim.Respond, Status: 400, Reason: "BadDeviceToken"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				w.fault(apnssim.Match{}, apnssim.Action{Fault: apnssim.Delay, Latency: 2 * time.Second})
				w.fault(apnssim.Match{}, answer)
				reported, heard := w.stopped(time.Second)
				if reported.Reason != push.Stopped || len(heard) != 1 || heard[0].Outcome == push.Accepted || !heard[0].Dead.IsZero() {
					t.Errorf("reported %+v, heard %+v", reported, heard)
				}
				if heard[0].Status != answer.Status {
					t.Errorf("heard %+v", heard[0])
				}
				if got := w.Requests(apnssim.Filter{}); len(got) != 1 {
					t.Errorf("%d requests", len(got))
				}
			})
		})
	}
}

// Close waits for nobody who is only listened to.
func TestCloseEndsTheHearing(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.fault(apnssim.Match{}, apnssim.Action{Fault: apnssim.Hang})
		ctx, stop := context.WithCancel(t.Context())
		d := w.dispatcher()
		req := w.request()
		heard := make(chan push.Result, 1)
		req.Heard = func(r push.Result) { heard <- r }
		d.Dispatch(ctx, req, func(push.Result) {})
		time.Sleep(time.Second)
		stop()
		synctest.Wait()
		start := time.Now()
		must(t, d.Close())
		if took := time.Since(start); took != 0 || len(heard) != 1 || (<-heard).Reason != push.Stopped {
			t.Errorf("closed after %s", took)
		}
	})
}
