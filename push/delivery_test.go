package push

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// fakeSender is a push service of functions.
type fakeSender struct {
	can  Capability
	send func(ctx context.Context, t Target, n Notification) Result
}

func (s fakeSender) Can() Capability { return s.can }

func (s fakeSender) Send(ctx context.Context, t Target, n Notification) Result {
	return s.send(ctx, t, n)
}

var phone = App{BundleID: "com.example.phone", TeamID: "ABCDE12345"}

// deliver makes a Delivery for phone over send.
func newDelivery(t *testing.T, c Config, send func(context.Context, Target, Notification) Result) *Delivery {
	t.Helper()
	mux, err := NewMux(Route{phone, fakeSender{Capability{VoIP: true, Alert: true}, send}})
	if err != nil {
		t.Fatal(err)
	}
	c.Mux = mux
	d, err := NewDelivery(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func accept(context.Context, Target, Notification) Result { return Result{Outcome: Accepted} }

// hang answers nothing until it is stopped.
func hang(ctx context.Context, _ Target, _ Notification) Result {
	<-ctx.Done()
	return Result{Reason: Ended(ctx.Err()), Tries: 1}
}

func aRequest() Request {
	return Request{Device: Device{App: phone, VoIP: secret, Alert: secret}, Notification: Notification{UUID: "6f1c2a7e-98f5-4c32-9b1c-0d4f3a2b1c0d"}}
}

func TestDeliverCompletesTheNotification(t *testing.T) {
	t.Parallel()
	var got Notification
	var to Target
	d := newDelivery(t, Config{}, func(_ context.Context, tt Target, n Notification) Result {
		got, to = n, tt
		return Result{Outcome: Accepted}
	})
	req := aRequest()
	req.Device.Environment = Sandbox
	req.Notification.CollapseID = "never for VoIP"
	r := d.Deliver(t.Context(), req)
	if r.Outcome != Accepted || r.Kind != VoIP || r.ID != got.ID || len(got.ID) != 36 {
		t.Errorf("%+v", r)
	}
	if got.Kind != VoIP || got.CollapseID != "" || got.SentAt.IsZero() || to != (Target{Token: secret, Environment: Sandbox}) {
		t.Errorf("%+v to %+v", got, to)
	}
	first := got.ID
	req.Want, req.Notification.CollapseID = OnlyAlert, ""
	if d.Deliver(t.Context(), req); got.Kind != Alert || got.CollapseID != req.Notification.UUID || got.ID == first {
		t.Errorf("second chance: %+v", got)
	}
}

func TestDeliverRefusesBeforeSending(t *testing.T) {
	t.Parallel()
	d := newDelivery(t, Config{}, func(context.Context, Target, Notification) Result {
		t.Error("something was sent")
		return Result{}
	})
	stopped, stop := context.WithCancel(t.Context())
	stop()
	tests := []struct {
		name   string
		ctx    context.Context
		change func(*Request)
		want   Outcome
		reason Reason
		text   string
	}{
		{"unknown app", t.Context(), func(r *Request) { r.Device.App.BundleID = "com.other" }, Refused, UnknownApp, `"ABCDE12345.com.other"`},
		{"no token", t.Context(), func(r *Request) { r.Device = Device{App: phone} }, Refused, NoToken, "no alert token"},
		{"caller hung up", stopped, func(*Request) {}, NoAnswer, Stopped, "no longer needed"},
		{"too late", t.Context(), func(r *Request) { r.Notification.ExpiresAt = time.Now().Add(-time.Second) }, NoAnswer, Deadline, "in time"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req := aRequest()
			tt.change(&req)
			r := d.Deliver(tt.ctx, req)
			if r.Outcome != tt.want || r.Reason != tt.reason || !strings.Contains(r.Text, tt.text) {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestDeliverEndsAtExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDelivery(t, Config{}, hang)
		req := aRequest()
		req.Notification.ExpiresAt = time.Now().Add(25 * time.Second)
		r := d.Deliver(t.Context(), req)
		if r.Outcome != NoAnswer || r.Reason != Deadline || r.Latency != 25*time.Second {
			t.Errorf("%+v", r)
		}
		if r = d.Deliver(t.Context(), aRequest()); r.Reason != Deadline || r.Latency != longest {
			t.Errorf("without a deadline: %+v", r)
		}
	})
}

func TestDeliverBoundsWhatIsInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		release := make(chan struct{})
		d := newDelivery(t, Config{InFlight: 3}, func(context.Context, Target, Notification) Result {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			<-release
			return Result{Outcome: Accepted}
		})
		results := make(chan Result, 10)
		for range 10 {
			go func() { results <- d.Deliver(t.Context(), aRequest()) }()
		}
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if r := d.Deliver(short, aRequest()); r.Reason != Overloaded || r.Outcome != NoAnswer {
			t.Errorf("with no place free: %+v", r)
		}
		close(release)
		for range 10 {
			if r := <-results; r.Outcome != Accepted {
				t.Errorf("%+v", r)
			}
		}
		if most.Load() != 3 {
			t.Errorf("%d in flight", most.Load())
		}
	})
}

func TestDeliverLogsWithoutSecretsAndCounts(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	reg := prometheus.NewRegistry()
	d := newDelivery(t, Config{Log: slog.New(slog.NewJSONHandler(&log, nil)), Metrics: reg}, func(_ context.Context, to Target, _ Notification) Result {
		return Result{Outcome: Refused, Reason: "Unregistered", Status: 410, Environment: Production, Text: "APNs refused the token: Unregistered",
			Dead: TokenDead{Kind: VoIP, Token: to.Token, Since: time.UnixMilli(5)}}
	})
	d.Deliver(t.Context(), aRequest())
	req := aRequest()
	req.Device.App.BundleID = "com.evil\n" + string(secret[:0])
	d.Deliver(t.Context(), req)
	if strings.Contains(log.String(), string(secret)) || !strings.Contains(log.String(), "…cdef") {
		t.Errorf("log: %s", log.String())
	}
	var line map[string]any
	if err := json.Unmarshal(bytes.SplitN(log.Bytes(), []byte("\n"), 2)[0], &line); err != nil {
		t.Fatal(err)
	}
	if ms, ok := line["latency_ms"].(float64); !ok || ms < 0 || ms > 10_000 {
		t.Errorf("the latency has no unit: %v", line)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			key := f.GetName()
			for _, l := range m.GetLabel() {
				key += " " + l.GetValue()
			}
			seen[key] = true
		}
	}
	for _, want := range []string{
		"wakebridge_push_requests_total com.example.phone production voip refused apns",
		"wakebridge_push_requests_total unknown none none refused unknown",
		"wakebridge_push_duration_seconds refused",
	} {
		if !seen[want] {
			t.Errorf("no metric %q in %v", want, seen)
		}
	}
	if _, err := NewDelivery(Config{Mux: d.mux, Metrics: reg}); err == nil {
		t.Error("the same registerer twice: no error")
	}
}

func TestMux(t *testing.T) {
	t.Parallel()
	s := fakeSender{send: accept}
	if _, err := NewMux(Route{App: App{BundleID: "a"}}, Route{Sender: s}); !errors.Is(err, ErrNoSender) {
		t.Errorf("incomplete routes: %v", err)
	}
	if _, err := NewMux(Route{App{"a", "T1", ""}, s}, Route{App{"a", "T1", ""}, s}); !errors.Is(err, ErrDuplicateApp) {
		t.Errorf("doubled route: %v", err)
	}
	mux, err := NewMux(Route{App{"one", "T1", ""}, s}, Route{App{"two", "T1", ""}, s}, Route{App{"two", "T2", ""}, s}, Route{App{"free", "", ""}, s})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		in, want App
		ok       bool
	}{
		{App{"one", "T1", ""}, App{"one", "T1", ""}, true},
		{App{"one", "", ""}, App{"one", "T1", ""}, true},
		{App{"one", "T2", ""}, App{}, false},
		{App{"two", "T2", ""}, App{"two", "T2", ""}, true},
		{App{"two", "", ""}, App{}, false}, // which of the two?
		{App{"free", "T9", ""}, App{"free", "", ""}, true},
		{App{"none", "T1", ""}, App{}, false},
		{App{}, App{}, false},
	}
	for _, tt := range tests {
		r, ok := mux.Find(tt.in)
		if ok != tt.ok || ok && r.App != tt.want {
			t.Errorf("Find(%+v) = %+v, %v", tt.in, r.App, ok)
		}
	}
}
