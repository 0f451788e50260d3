package fcm_test

import (
	"context"
	"testing"
	"time"

	"wakebridge/push"
	"wakebridge/push/fcm/fcmsim"
)

// A message that was on its way when its call ended is heard out, and not sent again:
// its token is dead all the same.
func TestStoppedMessageIsHeardOut(t *testing.T) {
	for _, c := range []struct {
		status int
		reason string
		dead   bool
	}{{404, "UNREGISTERED", true}, {503, "UNAVAILABLE", false}} {
		h := newHarness(t)
		route := h.service.Routes()[0]
		mux, err := push.NewMux(route)
		if err != nil {
			t.Fatal(err)
		}
		delivery, err := push.NewDelivery(push.Config{Mux: mux})
		if err != nil {
			t.Fatal(err)
		}
		d := push.NewDispatcher(delivery)
		wait := make(chan struct{})
		h.sim.Fail(fcmsim.Fault{Status: c.status, Reason: c.reason, Wait: wait})
		reports, heard := make(chan push.Result, 2), make(chan push.Result, 2)
		ctx, stop := context.WithCancel(t.Context())
		d.Dispatch(ctx, push.Request{Device: push.Device{App: route.App, VoIP: token}, Notification: call(), Heard: func(r push.Result) { heard <- r }},
			func(r push.Result) { reports <- r })
		<-wait
		h.send(token) // by its end the first one is known to be written
		stop()
		if r := <-reports; r.Reason != push.Stopped || r.Tries != 1 || r.Written.IsZero() || r.Kind != push.VoIP {
			t.Errorf("reported %+v", r)
		}
		wait <- struct{}{}
		if r := <-heard; r.Status != c.status || r.Dead.IsZero() == c.dead {
			t.Errorf("heard %+v", r)
		}
		start := time.Now()
		if err := d.Close(); err != nil || time.Since(start) > push.HearOut/2 {
			t.Errorf("closed after %s, %v", time.Since(start), err)
		}
		if got := h.sim.Requests(); len(got) != 2 || len(reports)+len(heard) > 0 {
			t.Errorf("%d requests, %d more reports", len(got), len(reports)+len(heard))
		}
	}
}
