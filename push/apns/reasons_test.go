package apns_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"wakebridge/push"
	"wakebridge/push/apnssim"
)

// TestEveryReasonAgainstTheSimulator is Apple's table of reasons on the wire:
// once and for ever refused, what do we do, and what does the next push meet?
func TestEveryReasonAgainstTheSimulator(t *testing.T) {
	const (
		none  = ""
		alarm = "alarm"      // ours
		whole = "credential" // held back with it
		part  = "topic"      // held back for the topic
	)
	tests := []struct {
		status int
		reason push.Reason
		tries  int  // where the refusal goes on
		mended bool // where it comes once
		dead   bool
		fault  string
	}{
		{400, "BadCollapseId", 1, false, false, alarm},
		{400, "BadDeviceToken", 1, false, true, none},
		{400, "BadExpirationDate", 1, false, false, alarm},
		{400, "BadMessageId", 1, false, false, alarm},
		{400, "BadPriority", 1, false, false, alarm},
		{400, "BadTopic", 1, false, false, alarm},
		{400, "DeviceTokenNotForTopic", 1, false, false, alarm},
		{400, "DuplicateHeaders", 1, false, false, alarm},
		{400, "IdleTimeout", 3, true, false, none},
		{400, "InvalidPushType", 1, false, false, alarm},
		{400, "MissingDeviceToken", 1, false, false, alarm},
		{400, "MissingTopic", 1, false, false, alarm},
		{400, "PayloadEmpty", 1, false, false, alarm},
		{400, "TopicDisallowed", 1, false, false, part},
		{403, "BadCertificate", 1, false, false, whole},
		{403, "BadCertificateEnvironment", 1, false, false, whole},
		{403, "BadEnvironmentKeyInToken", 1, false, false, whole},
		{403, "ExpiredProviderToken", 2, true, false, whole},
		{403, "Forbidden", 1, false, false, whole},
		{403, "InvalidProviderToken", 1, false, false, whole},
		{403, "MissingProviderToken", 1, false, false, whole},
		{404, "BadPath", 1, false, false, alarm},
		{405, "MethodNotAllowed", 1, false, false, alarm},
		{410, "ExpiredToken", 1, false, true, none},
		{410, "Unregistered", 1, false, true, none},
		{413, "PayloadTooLarge", 2, true, false, alarm},
		{429, "TooManyProviderTokenUpdates", 1, false, false, none},
		{429, "TooManyRequests", 1, false, false, none},
		{500, "InternalServerError", 3, true, false, none},
		{503, "ServiceUnavailable", 3, true, false, none},
		{503, "Shutdown", 3, true, false, none},
	}
	for _, tt := range tests {
		t.Run(string(tt.reason), func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				refusal := apnssim.Action{Fault: apnssim.Respond, Status: tt.status, Reason: string(tt.reason)}
				w.fault(apnssim.Match{}, refusal)
				r := w.push()
				if r.Outcome != push.Refused || r.Status != tt.status || r.Reason != tt.reason || r.Tries != tt.tries || r.Hedged || r.Dead.IsZero() == tt.dead {
					t.Errorf("%+v", r)
				}
				if !strings.Contains(r.Text, string(tt.reason)) || len(w.Requests(apnssim.Filter{APNsID: pushID})) != tt.tries {
					t.Errorf("%d requests, text %q", len(w.Requests(apnssim.Filter{})), r.Text)
				}
				if alarmed := w.counter("wakebridge_apns_alarms_total") > 0; alarmed != (tt.fault == alarm) || alarmed != strings.Contains(w.log.String(), "for a fault of ours") {
					t.Errorf("alarm: %v\n%s", alarmed, w.log)
				}
				if got := w.broken(""); got > 0 != (tt.fault == whole) {
					t.Errorf("credential broken: %v", got)
				}
				if got := w.broken(bundle + ".voip"); got > 0 != (tt.fault == part) {
					t.Errorf("topic broken: %v", got)
				}
				r = w.push()
				if held := r.Reason == push.BrokenCredential && r.Tries == 0; held != (tt.fault == whole || tt.fault == part) {
					t.Errorf("the next push: %+v", r)
				}
				time.Sleep(time.Hour) // all rests are over
				w.ClearFaults()
				accepted(t, w.push())
				w.fault(apnssim.Match{Times: 1}, refusal)
				if r = w.push(); (r.Outcome == push.Accepted) != tt.mended {
					t.Errorf("refused once: %+v", r)
				}
			})
		})
	}
}

func TestAlarmsDoNotFloodTheLog(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.fault(apnssim.Match{}, apnssim.Action{Fault: apnssim.Respond, Status: 400, Reason: "BadTopic"})
		for range 50 {
			w.push()
		}
		if told, counted := strings.Count(w.log.String(), "for a fault of ours"), w.counter("wakebridge_apns_alarms_total"); told != 1 || counted != 50 {
			t.Errorf("told %d times, counted %v", told, counted)
		}
		time.Sleep(11 * time.Minute)
		w.push()
		if told := strings.Count(w.log.String(), "for a fault of ours"); told != 2 {
			t.Errorf("told %d times after a rest", told)
		}
	})
}

// TestTooLargePayloadIsSentAgainSmall: a call without its name is better than
// none.
func TestTooLargePayloadIsSentAgainSmall(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Respond, Status: 413, Reason: "PayloadTooLarge"})
		r := w.push()
		accepted(t, r)
		requests := w.Requests(apnssim.Filter{APNsID: pushID})
		if len(requests) != 2 || r.Tries != 2 || r.Hedged {
			t.Fatalf("%d requests, %+v", len(requests), r)
		}
		whole, least := requests[0].Payload, requests[1].Payload
		if !bytes.Contains(whole, []byte("Anna")) || bytes.Contains(least, []byte("Anna")) || !bytes.Contains(least, []byte(callID)) || len(least) >= len(whole) {
			t.Errorf("first %s\nthen %s", whole, least)
		}
	})
}

// TestTooManyProviderTokens: Apple wants the old one back, and no new one for
// 20 minutes. The push that met the complaint goes out all the same.
func TestTooManyProviderTokens(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		accepted(t, w.push())
		time.Sleep(41 * time.Minute)
		w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Respond, Status: 429, Reason: "TooManyProviderTokenUpdates"})
		r := w.push() // with a new token
		accepted(t, r)
		used := w.bearers()
		if len(used) != 3 || used[0] != used[2] || r.Tries != 2 {
			t.Errorf("%d tokens in a row, %+v", len(used), r)
		}
		// It is used to its end, the hour, though past its 40 minutes.
		for range 17 {
			time.Sleep(time.Minute)
			accepted(t, w.push())
		}
		if got := len(w.bearers()); got != 3 {
			t.Errorf("%d changes of token", got)
		}
		time.Sleep(10 * time.Minute)
		accepted(t, w.push())
		if got := len(w.bearers()); got != 4 {
			t.Errorf("%d changes of token after the rest", got)
		}
	})
}

// TestTooManyProviderTokensWithoutAnOldOne: right after a start there is none
// to go back to. The one that was refused stays: Apple will take it.
func TestTooManyProviderTokensWithoutAnOldOne(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.fault(apnssim.Match{Times: 3}, apnssim.Action{Fault: apnssim.Respond, Status: 429, Reason: "TooManyProviderTokenUpdates"})
		for range 3 {
			if r := w.push(); r.Reason != "TooManyProviderTokenUpdates" || r.Tries != 1 {
				t.Errorf("%+v", r)
			}
			time.Sleep(time.Minute)
		}
		w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Respond, Status: 403, Reason: "ExpiredProviderToken"})
		w.push()
		accepted(t, w.push())
		if got := len(w.bearers()); got != 1 {
			t.Errorf("%d tokens", got)
		}
	})
}
