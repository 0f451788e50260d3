package daemon

import (
	"testing"
	"time"

	"wakebridge/push/apnssim"
	"wakebridge/sipua/location"
)

// Apple's 429 about a token holds that token and no other; its other refusals hold
// none.
func TestTooManyPushesHoldTheToken(t *testing.T) {
	for _, tt := range []struct {
		reason      string
		alert       bool
		voip, other bool
	}{
		{"TooManyRequests", false, true, false},
		{"TooManyRequests", true, false, true},
		{"TopicDisallowed", false, false, false},
	} {
		p := newPushing(t, nil)
		status := 429
		if tt.reason == "TopicDisallowed" {
			status = 403
		}
		if _, err := p.dev.APNs.AddFault(apnssim.Rule{Action: apnssim.Action{Fault: apnssim.Respond, Status: status, Reason: tt.reason}}); err != nil {
			t.Fatal(err)
		}
		phone := p.phone(apnssim.Production)
		w := wakeOf(p.registers(phone.RegisterVoIP(DevBundle), phone.RegisterAlert(DevBundle)))
		w.AlertOnly = tt.alert
		if r := p.wake(w); r.Accepted || r.Reason != tt.reason {
			t.Fatalf("%+v", r)
		}
		d, now := p.device(), time.Now()
		if d.Push.VoIP.Held(now) != tt.voip || d.Push.Alert.Held(now) != tt.other || d.AlertFirst(now) != tt.voip {
			t.Errorf("%s: %+v", tt.reason, d.Push)
		}
		for _, kind := range []location.TokenKind{location.VoIP, location.Alert} {
			if v := d.Push.Token(kind); v.Held(now) && v.NotBefore.Sub(v.Throttled) != 30*time.Second {
				t.Errorf("held from %s to %s", v.Throttled, v.NotBefore)
			}
		}
	}
}
