package apns_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"wakebridge/push"
	"wakebridge/push/apns"
	"wakebridge/push/apnssim"
)

// gauge is the value of a gauge with these labels, -1 if it is not there.
func (w *world) gauge(name string, labels map[string]string) float64 {
	w.t.Helper()
	families, err := w.metrics.Gather()
	must(w.t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	next:
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if want, ok := labels[l.GetName()]; ok && want != l.GetValue() {
					continue next
				}
			}
			return m.GetGauge().GetValue()
		}
	}
	return -1
}

func (w *world) broken(topic string) float64 {
	return w.gauge("wakebridge_apns_credential_broken", map[string]string{"env": "production", "credential": keyID, "topic": topic})
}

// TestRevokedKeyRests: after one refusal nothing more is sent for a while, the
// pause grows, one push at a time tries, and a mended key is used at once.
func TestRevokedKeyRests(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		accepted(t, w.push())
		w.RemoveKey(keyID)
		r := w.push()
		if r.Outcome != push.Refused || r.Reason != "InvalidProviderToken" || r.Status != 403 || w.broken("") != 1 {
			t.Fatalf("%+v, broken %v", r, w.broken(""))
		}
		before := len(w.Requests(apnssim.Filter{}))
		for range 10 {
			start := time.Now()
			r = w.push()
			if r.Outcome != push.Refused || r.Reason != push.BrokenCredential || r.Status != 0 || r.Tries != 0 || time.Since(start) != 0 ||
				!strings.Contains(r.Text, "InvalidProviderToken") || !strings.Contains(r.Text, "tried again in") {
				t.Fatalf("%+v after %v", r, time.Since(start))
			}
		}
		if got := len(w.Requests(apnssim.Filter{})); got != before {
			t.Errorf("%d requests while the credential rests", got-before)
		}
		// An hour of a push each second: ever fewer reach Apple.
		var tried []time.Duration
		begin := time.Now()
		for range 3600 {
			if r = w.push(); r.Status == 403 {
				tried = append(tried, time.Since(begin).Round(time.Second))
			}
			time.Sleep(time.Second)
		}
		if len(tried) < 12 || len(tried) > 20 || tried[1]-tried[0] < 10*time.Second || tried[len(tried)-1]-tried[len(tried)-2] < 5*time.Minute {
			t.Errorf("tried at %v", tried)
		}
		if got := strings.Count(w.log.String(), "APNs refuses the credential"); got != 1 {
			t.Errorf("the operator was told %d times", got)
		}
		must(t, w.PutKey(apnssim.Key{ID: keyID, TeamID: team, Public: w.public}))
		time.Sleep(5 * time.Minute)
		accepted(t, w.push())
		if w.broken("") != 0 || !strings.Contains(w.log.String(), "APNs takes the credential again") {
			t.Errorf("broken %v after it worked", w.broken(""))
		}
		accepted(t, w.push())
		w.RemoveKey(keyID)
		w.push()
		time.Sleep(5 * time.Second) // the pause began anew
		if r = w.push(); r.Status != 403 {
			t.Errorf("after the first pause: %+v", r)
		}
	})
}

// TestSilentProbe: while one push tries a broken credential, the others wait for it; if it
// is silent for 1.5 s, all of them go.
func TestSilentProbe(t *testing.T) {
	inWorld(t, func(c *apnssim.Config, _ *apns.Config) { c.Limits.StreamsBefore = 10 }, func(t *testing.T, w *world) {
		w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Respond, Status: 403, Reason: "Forbidden"})
		w.push()
		w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Hang})
		time.Sleep(6 * time.Second)
		before := len(w.Requests(apnssim.Filter{}))
		results := make(chan push.Result, 6)
		start := time.Now()
		for range cap(results) {
			go func() { results <- w.push() }()
		}
		time.Sleep(1400 * time.Millisecond)
		if n := len(w.Requests(apnssim.Filter{})) - before; n != 1 {
			t.Errorf("%d requests, want one", n)
		}
		for range cap(results) {
			accepted(t, <-results)
		}
		if took := time.Since(start); took > 1600*time.Millisecond {
			t.Errorf("the others waited for %s", took)
		}
		accepted(t, w.push())
		if w.broken("") != 0 {
			t.Error("still broken")
		}
	})
}

// TestProbeOfACallThatIsOver: a probe that is only heard out keeps nobody waiting, whatever
// it hears.
func TestProbeOfACallThatIsOver(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Respond, Status: 403, Reason: "Forbidden"})
		w.push()
		time.Sleep(6 * time.Second)
		w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Delay, Latency: 3 * time.Second})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		req := w.request()
		heard := make(chan push.Result, 1)
		req.Heard = func(r push.Result) { heard <- r }
		w.dispatcher().Dispatch(ctx, req, func(push.Result) {})
		time.Sleep(500 * time.Millisecond)
		stop()
		synctest.Wait()
		start := time.Now()
		accepted(t, w.push())
		if took := time.Since(start); took > 300*time.Millisecond {
			t.Errorf("the next push took %s", took)
		}
		accepted(t, <-heard)
	})
}

// TestMendedCredentialServesAllAtOnce: the first call after the operator mended a key
// goes to all the phones of a user, not only to the one that shows that it is.
func TestMendedCredentialServesAllAtOnce(t *testing.T) {
	for name, mended := range map[string]bool{"mended": true, "still broken": false} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				w.RemoveKey(keyID)
				w.push()
				if mended {
					must(t, w.PutKey(apnssim.Key{ID: keyID, TeamID: team, Public: w.public}))
				}
				time.Sleep(6 * time.Second)
				before := len(w.Requests(apnssim.Filter{}))
				results := make(chan push.Result, 3)
				for range cap(results) {
					go func() { results <- w.push() }()
				}
				for range cap(results) {
					if r := <-results; (r.Outcome == push.Accepted) != mended {
						t.Errorf("%+v", r)
					}
				}
				if n := len(w.Requests(apnssim.Filter{})) - before; !mended && n != 1 {
					t.Errorf("%d requests with a broken key", n)
				}
			})
		})
	}
}

// TestATokensFaultProvesTheKey: what APNs says of a device token it says to
// somebody it knows.
func TestATokensFaultProvesTheKey(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Respond, Status: 403, Reason: "InvalidProviderToken"})
		w.push()
		time.Sleep(6 * time.Second)
		if r := w.sendTo(fresh, push.Production); r.Reason != "BadDeviceToken" {
			t.Errorf("%+v", r)
		}
		accepted(t, w.push())
	})
}

// TestKeyOfOtherTopics: a key for one app breaks for the other app's topic
// only.
func TestKeyOfOtherTopics(t *testing.T) {
	const tablet = "com.example.tablet"
	inWorld(t, func(_ *apnssim.Config, c *apns.Config) {
		c.Apps = append(c.Apps, apns.App{BundleID: tablet, TeamID: team})
	}, func(t *testing.T, w *world) {
		must(t, w.AddApp(team, tablet))
		must(t, w.PutKey(apnssim.Key{ID: keyID, TeamID: team, Public: w.public, Topics: []string{bundle}}))
		token := push.DeviceToken(w.phone.RegisterVoIP(tablet))
		send := func() push.Result {
			return w.service.Routes()[1].Sender.Send(t.Context(), push.Target{Token: token, Environment: push.Production}, call(uuid.NewString()))
		}
		if r := send(); r.Reason != "TopicDisallowed" || r.Status != 400 || !r.Dead.IsZero() {
			t.Errorf("%+v", r)
		}
		if r := send(); r.Reason != push.BrokenCredential || r.Tries != 0 || !strings.Contains(r.Text, "TopicDisallowed") {
			t.Errorf("%+v", r)
		}
		if w.broken(tablet+".voip") != 1 || w.broken("") != 0 {
			t.Errorf("broken: %v for the topic, %v as a whole", w.broken(tablet+".voip"), w.broken(""))
		}
		accepted(t, w.push()) // the first app does not care
		must(t, w.PutKey(apnssim.Key{ID: keyID, TeamID: team, Public: w.public}))
		time.Sleep(6 * time.Second)
		accepted(t, send())
		if w.broken(tablet+".voip") != 0 {
			t.Error("still broken")
		}
	})
}

// TestKeyOfOneEnvironmentIsLearned: a phone whose environment is not known
// costs one refusal, the next ones none.
func TestKeyOfOneEnvironmentIsLearned(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		must(t, w.PutKey(apnssim.Key{ID: keyID, TeamID: team, Public: w.public, Environment: apnssim.Sandbox}))
		token := w.sandboxPhone()
		for i, tries := range []int{2, 1, 1} {
			r := w.sendTo(token, push.Auto)
			accepted(t, r)
			if r.Tries != tries || r.Environment != push.Sandbox {
				t.Errorf("push %d: %+v", i+1, r)
			}
		}
	})
}
