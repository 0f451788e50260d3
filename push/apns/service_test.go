package apns_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"wakebridge/push"
	"wakebridge/push/apns"
	"wakebridge/push/apnssim"
)

// dispatcher is the whole of package push over the service.
func (w *world) dispatcher() *push.Dispatcher {
	w.t.Helper()
	mux, err := push.NewMux(w.service.Routes()...)
	must(w.t, err)
	delivery, err := push.NewDelivery(push.Config{Mux: mux, Log: w.config.Log, Metrics: w.metrics})
	must(w.t, err)
	d := push.NewDispatcher(delivery)
	w.t.Cleanup(func() { must(w.t, d.Close()) })
	return d
}

func (w *world) request() push.Request {
	return push.Request{
		Device: push.Device{App: push.App{BundleID: bundle, TeamID: team}, VoIP: w.voip, Alert: w.alert},
		Notification: push.Notification{
			UUID: callID, CallID: callID + "@node", Handle: "201", HandleType: "phone", Name: "Anna",
			ExpiresAt: time.Now().Add(25 * time.Second), Expiration: time.Now().Add(25 * time.Second),
		},
	}
}

func (w *world) ask(d *push.Dispatcher, req push.Request) push.Result {
	w.t.Helper()
	results := make(chan push.Result, 1)
	d.Dispatch(w.t.Context(), req, func(r push.Result) { results <- r })
	return <-results
}

// TestSecondChance is a call to a phone whose VoIP token died: the refusal is
// told at once and in words, and the same call may push the alert token.
func TestSecondChance(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		d := w.dispatcher()
		must(t, w.SetTokenState(w.voip.Secret(), apnssim.Unregistered, time.Now()))
		start := time.Now()
		r := w.ask(d, w.request())
		if r.Outcome != push.Refused || r.Reason != "Unregistered" || r.Kind != push.VoIP || r.Dead.Token != w.voip || time.Since(start) > 50*time.Millisecond {
			t.Errorf("%+v", r)
		}
		voip := r.ID
		req := w.request()
		req.Device.Environment, req.Want = r.Environment, push.OnlyAlert
		r = w.ask(d, req)
		accepted(t, r)
		if r.Kind != push.Alert || r.ID == voip {
			t.Errorf("%+v", r)
		}
		got := <-w.phone.Deliveries()
		if got.PushType != "alert" || got.APNsID != r.ID || !strings.Contains(string(got.Payload), `"title":"Anna"`) {
			t.Errorf("%+v", got)
		}
		if log := w.log.String(); !strings.Contains(log, "APNs refused the token: Unregistered") || !strings.Contains(log, callID) {
			t.Errorf("the log does not tell the story: %s", log)
		}
		if got := w.counter("wakebridge_push_requests_total"); got != 2 {
			t.Errorf("%v pushes counted", got)
		}
	})
}

// TestSlowAnswerIsHedged: the hedge's yes counts. The phone may get the push
// twice, with one uuid and one apns-id.
func TestSlowAnswerIsHedged(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Delay, Latency: 2 * time.Second})
		start := time.Now()
		r := w.ask(w.dispatcher(), w.request())
		accepted(t, r)
		if took := time.Since(start); took > 1600*time.Millisecond || !r.Hedged || r.Written.Sub(start) > 10*time.Millisecond {
			t.Errorf("took %v, %+v", took, r)
		}
		time.Sleep(time.Minute)
		entries := w.Requests(apnssim.Filter{})
		if len(entries) != 2 || entries[0].APNsID != r.ID || entries[1].APNsID != r.ID || entries[0].Conn == entries[1].Conn {
			t.Errorf("%d requests", len(entries))
		}
		if got := w.counter("wakebridge_push_hedged_total"); got != 1 {
			t.Errorf("%v hedges counted", got)
		}
	})
}

func TestServiceMetricsAreRegisteredOnce(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		if _, err := apns.New(w.config); err == nil {
			t.Error("the same registerer twice: no error")
		}
		if got := w.counter("wakebridge_apns_dials_total"); got != 2 {
			t.Errorf("%v dials counted", got)
		}
	})
}

// TestStopBeforeSending: a CANCEL before the push leaves sends none.
func TestStopBeforeSending(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		ctx, stop := context.WithCancel(t.Context())
		stop()
		results := make(chan push.Result, 1)
		w.dispatcher().Dispatch(ctx, w.request(), func(r push.Result) { results <- r })
		if r := <-results; r.Outcome != push.NoAnswer || r.Reason != push.Stopped || r.Tries != 0 {
			t.Errorf("%+v", r)
		}
		r := w.sender.Send(ctx, push.Target{Token: w.voip}, call(pushID))
		time.Sleep(10 * time.Second)
		if got := w.Requests(apnssim.Filter{}); len(got) != 0 || r.Reason != push.Stopped {
			t.Errorf("%d requests, %+v", len(got), r)
		}
	})
}
