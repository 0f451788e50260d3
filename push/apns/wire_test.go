package apns_test

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"wakebridge/push"
	"wakebridge/push/apnssim"
)

func TestHeadersOnTheWire(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		until := time.Now().Add(25 * time.Second)
		tests := []struct {
			name       string
			kind       push.Kind
			expiration time.Time
			want       map[string]string
		}{
			{"VoIP kept for a while", push.VoIP, until, map[string]string{
				"apns-topic": bundle + ".voip", "apns-push-type": "voip", "apns-priority": "10",
				"apns-expiration": strconv.FormatInt(until.Unix(), 10), "apns-id": pushID,
			}},
			{"VoIP now or never", push.VoIP, time.Time{}, map[string]string{
				"apns-topic": bundle + ".voip", "apns-push-type": "voip", "apns-priority": "10",
				"apns-expiration": "0", "apns-id": pushID,
			}},
			{"VoIP that expired at the epoch", push.VoIP, time.Unix(0, 0), map[string]string{
				"apns-topic": bundle + ".voip", "apns-push-type": "voip", "apns-priority": "10",
				"apns-expiration": "0", "apns-id": pushID,
			}},
			{"alert", push.Alert, until, map[string]string{
				"apns-topic": bundle, "apns-push-type": "alert", "apns-priority": "10",
				"apns-expiration": strconv.FormatInt(until.Unix(), 10), "apns-id": pushID, "apns-collapse-id": callID,
			}},
			{"background", push.Background, time.Time{}, map[string]string{
				"apns-topic": bundle, "apns-push-type": "background", "apns-priority": "5",
				"apns-expiration": "0", "apns-id": pushID,
			}},
		}
		for _, tt := range tests {
			n := call(pushID)
			n.Kind, n.Expiration = tt.kind, tt.expiration
			token := w.alert
			switch tt.kind {
			case push.VoIP:
				token = w.voip
			case push.Alert:
				n.CollapseID = callID
			}
			accepted(t, w.sender.Send(t.Context(), push.Target{Token: token}, n))
			entries := w.Requests(apnssim.Filter{})
			e := entries[len(entries)-1]
			for _, f := range e.Header {
				switch f.Name {
				case "authorization", "content-type", "content-length", "user-agent", "accept-encoding":
					continue
				}
				if f.Name[0] != ':' && tt.want[f.Name] != f.Value {
					t.Errorf("%s: %s: %q, want %q", tt.name, f.Name, f.Value, tt.want[f.Name])
				}
			}
			for name := range tt.want {
				if e.Get(name) == "" {
					t.Errorf("%s: no %s", tt.name, name)
				}
			}
			var payload struct {
				UUID      string `json:"uuid"`
				ExpiresAt int64  `json:"expires_at"`
			}
			if err := json.Unmarshal(e.Payload, &payload); err != nil || payload.UUID != callID || payload.ExpiresAt != n.ExpiresAt.UnixMilli() {
				t.Errorf("%s: payload %s, %v", tt.name, e.Payload, err)
			}
		}
	})
}

func TestResultOfAnAcceptedPush(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		before := time.Now()
		r := w.push()
		accepted(t, r)
		if r.Environment != push.Production || r.Tries != 1 || r.Hedged || r.Written.Before(before) || time.Since(before) != 40*time.Millisecond {
			t.Errorf("%+v after %v", r, time.Since(before))
		}
		if got := <-w.phone.Deliveries(); got.APNsID != pushID {
			t.Errorf("delivered %+v", got)
		}
	})
}

func TestMalformedTokensAreNotSent(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		for _, token := range []push.DeviceToken{"a", "../3/device/ab", "abc\r\nx: y", "ab cd", "ab%2e", push.DeviceToken(make([]byte, 64)), push.DeviceToken(w.voip.Secret() + w.voip.Secret() + w.voip.Secret() + w.voip.Secret())} {
			r := w.sender.Send(t.Context(), push.Target{Token: token}, call(pushID))
			if r.Outcome != push.Refused || r.Reason != push.Malformed || r.Text == "" {
				t.Errorf("%q: %+v", token.Secret(), r)
			}
		}
		if got := w.Requests(apnssim.Filter{}); len(got) != 0 {
			t.Errorf("Apple saw %d requests", len(got))
		}
	})
}
