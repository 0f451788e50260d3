package apnssim

import (
	"net/http"
	"testing"
	"time"
)

func TestPushReachesTheDevice(t *testing.T) {
	b := newBench(t, Config{})
	res := b.push(b.client(Production), func(r *http.Request) {
		r.Header.Set("apns-id", "123e4567-e89b-12d3-a456-4266554400a0")
	})
	if res.status != 200 || res.Reason != "" {
		t.Fatalf("answer %+v", res)
	}
	if got := res.header.Get("apns-id"); got != "123e4567-e89b-12d3-a456-4266554400a0" {
		t.Errorf("apns-id %q is not echoed", got)
	}
	v := next(t, b.device)
	if v.Topic != bundle+".voip" || v.Bundle != bundle || v.PushType != "voip" || v.Priority != 10 ||
		v.Token != b.voip || !v.Expiration.Equal(time.Unix(0, 0)) || string(v.Payload) != `{"aps":{},"uuid":"1"}` {
		t.Errorf("delivery %+v", v)
	}
	if v.ReceivedAt.IsZero() || v.DeliveredAt.Before(v.ReceivedAt) {
		t.Errorf("received %v, delivered %v", v.ReceivedAt, v.DeliveredAt)
	}
}
