package apnssim_test

import (
	"net/http"
	"testing"
	"time"

	"wakebridge/push/apnssim"
)

func TestPushReachesTheDevice(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	const id = "123e4567-e89b-12d3-a456-4266554400a0"
	res := b.push(b.client(apnssim.Production), func(r *http.Request) { r.Header.Set("apns-id", id) })
	if res.status != 200 || res.Reason != "" || res.header.Get("apns-unique-id") != "" {
		t.Fatalf("answer %+v", res)
	}
	if got := res.header.Get("apns-id"); got != id {
		t.Errorf("apns-id %q is not echoed", got)
	}
	v := next(t, b.device)
	if v.Topic != bundle+".voip" || v.Bundle != bundle || v.PushType != "voip" || v.Priority != 10 ||
		v.Token != b.voip || !v.Expiration.Equal(time.Unix(0, 0)) || string(v.Payload) != `{"aps":{},"uuid":"1"}` || v.APNsID != id {
		t.Errorf("delivery %+v", v)
	}
	if v.ReceivedAt.IsZero() || v.DeliveredAt.Before(v.ReceivedAt) {
		t.Errorf("received %v, delivered %v", v.ReceivedAt, v.DeliveredAt)
	}
}

func TestSandboxAddsUniqueID(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	must(t, b.device.UseEnvironment(apnssim.Sandbox))
	b.voip = b.device.RegisterVoIP(bundle)
	res := b.push(b.client(apnssim.Sandbox), nil)
	if res.status != 200 || len(res.header.Get("apns-unique-id")) != 36 || len(res.header.Get("apns-id")) != 36 {
		t.Fatalf("answer %+v", res)
	}
}

func TestTokens(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	if len(b.voip) != 64 || len(b.alert) != 64 || b.voip == b.alert {
		t.Fatalf("tokens %q, %q", b.voip, b.alert)
	}
	if again := b.device.RegisterVoIP(bundle); again != b.voip {
		t.Error("a second registration gave another token")
	}
	other := b.NewDevice("other").RegisterVoIP(bundle)
	if other == b.voip {
		t.Error("two devices share a token")
	}
	if b.NewDevice("iphone") != b.device || b.Device("iphone") != b.device || b.Device("nobody") != nil {
		t.Error("devices are not found by name")
	}
}

func TestReinstall(t *testing.T) {
	clock := newClock()
	b := newBench(t, apnssim.Config{Now: clock.now})
	c := b.client(apnssim.Production)
	b.device.Reinstall("com.example.other")
	if res := b.push(c, nil); res.status != 200 {
		t.Fatalf("another app's reinstallation: %+v", res)
	}
	b.device.Reinstall(bundle)
	res := b.push(c, nil)
	if res.status != 410 || res.Reason != "Unregistered" || res.Timestamp != clock.now().UnixMilli() {
		t.Errorf("old token: %+v", res)
	}
	fresh := b.device.RegisterVoIP(bundle)
	if fresh == b.voip {
		t.Fatal("reinstalled app kept its token")
	}
	b.voip = fresh
	if res := b.push(c, nil); res.status != 200 {
		t.Errorf("new token: %+v", res)
	}
}

func TestTokenStates(t *testing.T) {
	since := time.UnixMilli(1_700_000_000_123)
	b := newBench(t, apnssim.Config{})
	c := b.client(apnssim.Production)
	for _, tc := range []struct {
		state  apnssim.State
		status int
		reason string
	}{
		{apnssim.Expired, 410, "ExpiredToken"},
		{apnssim.Unregistered, 410, "Unregistered"},
		{apnssim.Active, 200, ""},
	} {
		must(t, b.SetTokenState(b.voip, tc.state, since))
		res := b.push(c, nil)
		if res.status != tc.status || res.Reason != tc.reason {
			t.Errorf("%s: %+v", tc.state, res)
		}
		if want := since.UnixMilli(); tc.status == 410 && res.Timestamp != want {
			t.Errorf("%s: timestamp %d, want %d", tc.state, res.Timestamp, want)
		}
	}
}
