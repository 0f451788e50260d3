package apns_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"wakebridge/push"
	"wakebridge/push/apns"
	"wakebridge/push/apnssim"
)

// fresh is a token that Apple does not know.
const fresh = push.DeviceToken("00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff")

// sandboxPhone is a phone whose app was started from Xcode.
func (w *world) sandboxPhone() push.DeviceToken {
	w.t.Helper()
	phone := w.NewDevice("developer")
	must(w.t, phone.UseEnvironment(apnssim.Sandbox))
	return push.DeviceToken(phone.RegisterVoIP(bundle))
}

func (w *world) sendTo(t push.DeviceToken, env push.Environment) push.Result {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 25*time.Second)
	defer cancel()
	return w.sender.Send(ctx, push.Target{Token: t, Environment: env}, call(pushID))
}

func TestEnvironmentIsLearned(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		token := w.sandboxPhone()
		r := w.sendTo(token, push.Auto)
		accepted(t, r)
		if r.Environment != push.Sandbox || r.Tries != 2 {
			t.Errorf("first push: %+v", r)
		}
		time.Sleep(time.Second)
		if got := w.Stats().Open; got != 4 {
			t.Errorf("%d warm connections after the sandbox came into use", got)
		}
		r = w.sendTo(token, r.Environment)
		accepted(t, r)
		if r.Environment != push.Sandbox || r.Tries != 1 {
			t.Errorf("second push: %+v", r)
		}
		r = w.sendTo(w.voip, "")
		accepted(t, r)
		if r.Environment != push.Production || r.Tries != 1 {
			t.Errorf("a production token: %+v", r)
		}
	})
}

// TestEnvironmentThatWasSaid: an app says where its token is of; wrong or right, the push
// arrives, and a wrong word kills no token.
func TestEnvironmentThatWasSaid(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sandbox := w.sandboxPhone()
		for _, tt := range []struct {
			token push.DeviceToken
			said  push.Environment
			of    push.Environment
			tries int
		}{
			{sandbox, push.Sandbox, push.Sandbox, 1}, {sandbox, push.Production, push.Sandbox, 2},
			{w.voip, push.Production, push.Production, 1}, {w.voip, push.Sandbox, push.Production, 2},
		} {
			r := w.sender.Send(t.Context(), push.Target{Token: tt.token, Likely: tt.said}, call(uuid.NewString()))
			accepted(t, r)
			if r.Environment != tt.of || r.Tries != tt.tries || !r.Dead.IsZero() {
				t.Errorf("said %s: %+v", tt.said, r)
			}
		}
		if r := w.sender.Send(t.Context(), push.Target{Token: fresh, Likely: push.Sandbox}, call(uuid.NewString())); r.Dead.IsZero() || r.Tries != 2 {
			t.Errorf("of no environment: %+v", r)
		}
	})
}

func TestBadDeviceToken(t *testing.T) {
	tests := []struct {
		name  string
		env   push.Environment // of the device
		app   push.Environment
		key   push.Environment
		tries int
		text  string
	}{
		{"in both environments", push.Auto, push.Auto, push.Auto, 2, "neither a production nor a sandbox token"},
		{"in the one that is known", push.Sandbox, push.Auto, push.Auto, 1, "(production token?)"},
		{"in the one that is configured", push.Auto, push.Production, push.Auto, 1, "(sandbox token?)"},
		{"configured against what the app says", push.Sandbox, push.Production, push.Auto, 1, "(sandbox token?)"},
		{"in the only one of the key", push.Auto, push.Auto, push.Sandbox, 1, "(production token?)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(_ *apnssim.Config, c *apns.Config) { c.Apps[0].Environment = tt.app }, func(t *testing.T, w *world) {
				if tt.key.Known() {
					must(t, w.service.Close())
					w.config.Metrics = nil
					w.config.Apps[0].Keys[0].Environment = tt.key
					w.start()
				}
				before := time.Now()
				r := w.sendTo(fresh, tt.env)
				if r.Outcome != push.Refused || r.Reason != "BadDeviceToken" || r.Status != 400 || r.Tries != tt.tries || !strings.Contains(r.Text, tt.text) {
					t.Errorf("%+v", r)
				}
				want := push.TokenDead{Kind: push.VoIP, Token: fresh, Since: before}
				if r.Dead != want {
					t.Errorf("dead: %+v, want %+v", r.Dead, want)
				}
				if got := len(w.Requests(apnssim.Filter{})); got != tt.tries {
					t.Errorf("%d requests", got)
				}
			})
		})
	}
}

// TestTokenOutlivesASilentEnvironment: one environment's "bad token" proves
// nothing as long as the other cannot be asked.
func TestTokenOutlivesASilentEnvironment(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		token := w.sandboxPhone()
		w.fault(apnssim.Match{Environment: apnssim.Sandbox}, apnssim.Action{Fault: apnssim.Respond, Status: 503, Reason: "ServiceUnavailable"})
		r := w.sendTo(token, push.Auto)
		if r.Outcome != push.Refused || r.Reason != "BadDeviceToken" || r.Environment != push.Production || !r.Dead.IsZero() || r.Tries != 4 {
			t.Errorf("%+v", r)
		}
		if !strings.Contains(r.Text, "sandbox token?") {
			t.Errorf("text %q", r.Text)
		}
	})
}

func TestKeyOfOneEnvironmentOnly(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		must(t, w.service.Close())
		must(t, w.PutKey(apnssim.Key{ID: keyID, TeamID: team, Public: w.public, Environment: apnssim.Sandbox}))
		w.config.Metrics = nil
		w.start()
		token := w.sandboxPhone()
		r := w.sendTo(token, push.Auto) // Apple says BadEnvironmentKeyInToken in production
		accepted(t, r)
		if r.Environment != push.Sandbox {
			t.Errorf("%+v", r)
		}
		r = w.sendTo(w.voip, push.Production)
		if r.Outcome != push.Refused || r.Reason != push.BrokenCredential || r.Tries != 0 || !r.Dead.IsZero() || !strings.Contains(r.Text, "BadEnvironmentKeyInToken") {
			t.Errorf("%+v", r)
		}
		must(t, w.service.Close())
		w.config.Apps[0].Keys[0].Environment = push.Sandbox // now we know it too
		w.start()
		r = w.sendTo(w.voip, push.Production)
		if r.Outcome != push.Refused || r.Reason != push.NoCredential || !strings.Contains(r.Text, "no key") {
			t.Errorf("%+v", r)
		}
	})
}

func TestUnregisteredTokenDiesAsOfItsTimestamp(t *testing.T) {
	for _, state := range []apnssim.State{apnssim.Unregistered, apnssim.Expired} {
		t.Run(string(state), func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				since := time.UnixMilli(time.Now().Add(-time.Hour).UnixMilli() + 123)
				must(t, w.SetTokenState(w.voip.Secret(), state, since))
				r := w.push()
				if r.Outcome != push.Refused || r.Status != 410 || r.Tries != 1 || r.Dead.Kind != push.VoIP || r.Dead.Token != w.voip {
					t.Errorf("%+v", r)
				}
				if !r.Dead.Since.Equal(since) {
					t.Errorf("dead since %v, want %v: the milliseconds count", r.Dead.Since, since)
				}
				if r.Dead.Outlived(since.Add(-time.Millisecond)) || !r.Dead.Outlived(since.Add(time.Millisecond)) {
					t.Error("a registration before the time stamp survives, or a later one does not")
				}
				// The second chance of the call: the alert token is as good as ever.
				n := call(pushID)
				n.Kind = push.Alert
				accepted(t, w.sender.Send(t.Context(), push.Target{Token: w.alert, Environment: r.Environment}, n))
			})
		})
	}
}
