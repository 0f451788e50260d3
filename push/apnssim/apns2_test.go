package apnssim_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/sideshow/apns2"
	"github.com/sideshow/apns2/payload"
	"github.com/sideshow/apns2/token"

	"wakebridge/push/apnssim"
)

// apns2Client is apns2 as its users have it, but for the trusted CA.
func (b *bench) apns2Client(env apnssim.Environment) *apns2.Client {
	c := apns2.NewTokenClient(&token.Token{AuthKey: b.key, KeyID: keyID, TeamID: team})
	c.Host = b.URL(env)
	c.HTTPClient = &http.Client{Transport: b.client(env).Transport, Timeout: 10 * time.Second}
	return c
}

// TestAPNS2 is the contract with a client that we did not write.
func TestAPNS2(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	c := b.apns2Client(apnssim.Production)
	push := func(n *apns2.Notification) *apns2.Response {
		t.Helper()
		res, err := c.Push(n)
		must(t, err)
		return res
	}
	voip := func() *apns2.Notification {
		return &apns2.Notification{
			DeviceToken: b.voip, Topic: bundle + ".voip", PushType: apns2.PushTypeVOIP, Priority: 10,
			ApnsID: "123e4567-e89b-12d3-a456-4266554400a0", Expiration: time.Now().Add(30 * time.Second),
			Payload: payload.NewPayload().Custom("uuid", "42"),
		}
	}
	n := voip()
	if res := push(n); !res.Sent() || res.ApnsID != n.ApnsID {
		t.Fatalf("voip: %+v", res)
	}
	v := next(t, b.device)
	if v.PushType != "voip" || v.Expiration.Unix() != n.Expiration.Unix() || string(v.Payload) != `{"aps":{},"uuid":"42"}` {
		t.Errorf("delivery %+v", v)
	}
	if res := push(&apns2.Notification{DeviceToken: b.alert, Topic: bundle, Payload: payload.NewPayload().Alert("hello")}); !res.Sent() || res.ApnsID == "" {
		t.Errorf("alert: %+v", res)
	}
	if v := next(t, b.device); v.PushType != "alert" || !v.Expiration.IsZero() {
		t.Errorf("alert delivery %+v", v)
	}

	// Its trap: "not stored" cannot be asked for.
	n = voip()
	n.Expiration = time.Unix(0, 0)
	b.device.Online(false)
	push(n)
	b.device.Online(true)
	if v := next(t, b.device); !v.Expiration.IsZero() {
		t.Errorf("apns2 sends expiration 0 now (%v): drop the work-around in the sender", v.Expiration)
	}

	n = voip()
	n.DeviceToken = b.alert
	if res := push(n); res.StatusCode != 400 || res.Reason != apns2.ReasonDeviceTokenNotForTopic {
		t.Errorf("alert token: %+v", res)
	}
	b.device.Reinstall(bundle)
	if res := push(voip()); res.StatusCode != 410 || res.Reason != apns2.ReasonUnregistered || time.Since(res.Timestamp.Time) > time.Minute {
		t.Errorf("old installation: %+v", res)
	}
	n = voip()
	n.DeviceToken = "00"
	if res := push(n); res.StatusCode != 400 || res.Reason != apns2.ReasonBadDeviceToken {
		t.Errorf("made-up token: %+v", res)
	}
	b.voip = b.device.RegisterVoIP(bundle)
	b.fault(apnssim.Match{}, apnssim.Action{Fault: apnssim.GoAway, Reason: "Shutdown", Unprocessed: true})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if res, err := c.PushWithContext(ctx, voip()); err == nil {
		t.Errorf("every connection says GOAWAY, yet: %+v", res)
	}
	b.ClearFaults()
	if res := push(voip()); !res.Sent() {
		t.Errorf("after the trouble: %+v", res)
	}
	if e := b.Requests(apnssim.Filter{})[0]; e.Provider.KeyID != keyID || e.Get("content-type") == "" || e.Get("authorization") == "" {
		t.Errorf("journal %+v", e)
	}
}

func TestAPNS2TokenTrouble(t *testing.T) {
	clock := newClock()
	b := newBench(t, apnssim.Config{Now: clock.now})
	c := b.apns2Client(apnssim.Production)
	n := &apns2.Notification{DeviceToken: b.voip, Topic: bundle + ".voip", PushType: apns2.PushTypeVOIP, Payload: []byte(`{"aps":{}}`)}
	for _, tc := range []struct {
		clock  time.Time // of the simulator
		reason string
	}{
		{time.Now().Add(61 * time.Minute), apns2.ReasonExpiredProviderToken},
		{time.Now().Add(-2 * time.Minute), apns2.ReasonInvalidProviderToken},
		{time.Now(), ""},
	} {
		clock.advance(tc.clock.Sub(clock.now()))
		res, err := c.Push(n)
		must(t, err)
		if res.Reason != tc.reason {
			t.Errorf("clock at %v: %+v, want %q", tc.clock, res, tc.reason)
		}
	}
}
