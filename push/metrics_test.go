package push

import (
	"maps"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestPushesAreCountedApart: by kind, and by service where an app of each has
// the same name.
func TestPushesAreCountedApart(t *testing.T) {
	t.Parallel()
	android := App{BundleID: phone.BundleID, Service: FCM}
	mux, err := NewMux(
		Route{phone, fakeSender{Capability{VoIP: true, Alert: true}, accept}},
		Route{android, fakeSender{Capability{VoIP: true, Cancel: true}, accept}})
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	d, err := NewDelivery(Config{Mux: mux, Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	foreign := App{BundleID: "com.evil", Service: "smoke signals"}
	for _, push := range []struct {
		app  App
		want Want
	}{
		{phone, ByPolicy}, {phone, OnlyVoIP}, {phone, OnlyAlert}, {phone, OnlyBackground}, {phone, OnlyCancel},
		{android, ByPolicy}, {android, OnlyCancel}, {foreign, OnlyVoIP}, {foreign, OnlyAlert},
	} {
		req := aRequest()
		req.Device.App, req.Want = push.app, push.want
		d.Deliver(t.Context(), req)
	}
	d.metrics.count(phone, Result{Kind: "singing"}) // no label that we do not know
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := ""
			for _, l := range m.GetLabel() { // by name: app, env, kind, result, service
				labels += l.GetValue() + " "
			}
			if f.GetName() == "wakebridge_push_requests_total" {
				got[labels] = m.GetCounter().GetValue()
			}
		}
	}
	want := map[string]float64{
		"com.example.phone none voip accepted apns ":       2,
		"com.example.phone none alert accepted apns ":      1,
		"com.example.phone none background accepted apns ": 1,
		"com.example.phone none cancel refused apns ":      1,
		"com.example.phone none none no_answer apns ":      1,
		"com.example.phone none voip accepted fcm ":        1,
		"com.example.phone none cancel accepted fcm ":      1,
		"unknown none none refused unknown ":               2,
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
