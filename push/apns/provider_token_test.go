package apns_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"wakebridge/push"
	"wakebridge/push/apns"
	"wakebridge/push/apnssim"
)

func TestOneProviderTokenForAHundredCallers(t *testing.T) {
	inWorld(t, func(c *apnssim.Config, _ *apns.Config) { c.Limits.PushBurst = 1000 }, func(t *testing.T, w *world) {
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				r := w.sender.Send(t.Context(), push.Target{Token: w.voip}, call(uuid.NewString()))
				if r.Outcome != push.Accepted || r.Tries != 1 {
					t.Errorf("%+v", r)
				}
			})
		}
		all.Wait()
		if got := w.bearers(); len(got) != 1 {
			t.Errorf("%d provider tokens", len(got))
		}
		if got := w.Stats(); got.Connections != 2 || got.Refused != 0 {
			t.Errorf("a cold burst: %+v", got)
		}
		if got := w.counter("wakebridge_apns_provider_tokens_total"); got != 1 {
			t.Errorf("metric says %v", got)
		}
	})
}

func TestProviderTokenIsRenewedAfter40Minutes(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		accepted(t, w.push())
		time.Sleep(39 * time.Minute)
		accepted(t, w.push())
		if got := len(w.bearers()); got != 1 {
			t.Errorf("%d provider tokens after 39 minutes", got)
		}
		time.Sleep(2 * time.Minute)
		accepted(t, w.push())
		if got := len(w.bearers()); got != 2 {
			t.Errorf("%d provider tokens after 41 minutes", got)
		}
		for range 12 { // hours of rare calls: never stale, never too often
			time.Sleep(31 * time.Minute)
			accepted(t, w.push())
		}
		if got := w.Stats().Connections; got != 2 {
			t.Errorf("%d connections in a quiet night", got)
		}
	})
}

func TestExpiredProviderTokenIsRenewedOnce(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		expired := apnssim.Action{Fault: apnssim.Respond, Status: 403, Reason: "ExpiredProviderToken"}
		w.fault(apnssim.Match{Times: 1}, expired)
		r := w.push()
		accepted(t, r)
		if got := len(w.bearers()); got != 2 || r.Tries != 2 {
			t.Errorf("%d provider tokens, %+v", got, r)
		}
		// Our clock is wrong: Apple finds each new one expired as well. That
		// must not become a flood of tokens.
		w.fault(apnssim.Match{}, expired)
		for range 5 {
			r = w.push()
			if r.Outcome != push.Refused || r.Reason != "ExpiredProviderToken" || !strings.Contains(r.Text, "clock") {
				t.Errorf("%+v", r)
			}
		}
		if got := len(w.bearers()); got != 2 {
			t.Errorf("%d provider tokens within 20 minutes", got)
		}
		time.Sleep(21 * time.Minute)
		w.ClearFaults()
		w.fault(apnssim.Match{Times: 1}, expired)
		accepted(t, w.push())
		if got := len(w.bearers()); got != 3 {
			t.Errorf("%d provider tokens after a rest", got)
		}
	})
}

func TestAppsOfOneKeyShareConnectionsAndToken(t *testing.T) {
	inWorld(t, func(_ *apnssim.Config, c *apns.Config) {
		c.Apps = append(c.Apps, apns.App{BundleID: "com.example.tablet", TeamID: team})
	}, func(t *testing.T, w *world) {
		must(t, w.AddApp(team, "com.example.tablet"))
		accepted(t, w.push())
		tablet := push.DeviceToken(w.phone.RegisterVoIP("com.example.tablet"))
		accepted(t, w.service.Routes()[1].Sender.Send(t.Context(), push.Target{Token: tablet}, call(uuid.NewString())))
		if c, b := w.Stats().Connections, len(w.bearers()); c != 2 || b != 1 {
			t.Errorf("%d connections, %d provider tokens", c, b)
		}
	})
}

func TestTeamsDoNotShareConnections(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		must(t, w.service.Close())
		const other, otherApp = "ZYXWV98765", "org.other.phone"
		must(t, w.AddTeam(other, otherApp))
		w.config.Metrics = nil
		w.config.Apps = append(w.config.Apps, apns.App{BundleID: otherApp, TeamID: other, Keys: []apns.Key{w.newKey(other, "OTHERKEY01")}})
		w.start()
		accepted(t, w.push())
		token := push.DeviceToken(w.phone.RegisterVoIP(otherApp))
		accepted(t, w.service.Routes()[1].Sender.Send(t.Context(), push.Target{Token: token}, call(uuid.NewString())))
		teams := map[uint64]string{}
		for _, e := range w.Requests(apnssim.Filter{}) {
			if was, ok := teams[e.Conn]; ok && was != e.Provider.TeamID {
				t.Errorf("connection %d carries two teams", e.Conn)
			}
			teams[e.Conn] = e.Provider.TeamID
		}
		if len(teams) != 2 {
			t.Errorf("teams by connection: %v", teams)
		}
	})
}

// TestProviderTokensRest20Minutes: Apple wants no new token within 20 minutes of the
// last, wherever in a period the first one is made.
func TestProviderTokensRest20Minutes(t *testing.T) {
	for _, first := range phases() {
		t.Run(first.String(), func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				w.sleepTo(first)
				w.pushFor(2 * time.Hour)
				w.checkRests(0)
			})
		})
	}
}

// TestProviderTokensRestAfterAForcedOne: a token that Apple called expired, wherever
// in a period, is followed by one at once, and that by none for 20 minutes.
func TestProviderTokensRestAfterAForcedOne(t *testing.T) {
	for _, forced := range phases() {
		t.Run(forced.String(), func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				time.Sleep(time.Minute)
				accepted(t, w.push())
				w.sleepTo(40*time.Minute + forced)
				w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Respond, Status: 403, Reason: "ExpiredProviderToken"})
				w.pushFor(2 * time.Hour)
				w.checkRests(1)
			})
		})
	}
}

// phases are times in the 40 minutes of a provider token.
func phases() []time.Duration {
	const m = time.Minute
	return []time.Duration{5 * time.Second, 19 * m, 21 * m, 39 * m, 39*m + time.Second, 39*m + 50*time.Second}
}

// sleepTo sleeps until so long after the start of the token's period in which the
// bubble's clock starts.
func (w *world) sleepTo(phase time.Duration) {
	start := time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC) // where synctest starts
	time.Sleep(time.Until(start.Truncate(40 * time.Minute).Add(phase)))
}

// pushFor sends a push every minute, each of which must be accepted.
func (w *world) pushFor(d time.Duration) {
	w.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Minute) {
		accepted(w.t, w.push())
	}
}

// checkRests checks that each token is shown 20 minutes or more after the last, but for
// those that an expired one forced, and that none lasts over its hour.
func (w *world) checkRests(forced int) {
	w.t.Helper()
	var shown time.Time
	var last, expired string
	tokens := 0
	for _, e := range w.Requests(apnssim.Filter{}) {
		if b := e.Get("authorization"); b != last {
			rest := e.ReceivedAt.Sub(shown)
			switch {
			case tokens == 0:
			case expired == last:
				forced--
			case rest < 20*time.Minute:
				w.t.Errorf("at %s comes a new token, %v after the last", e.ReceivedAt.Format(time.TimeOnly), rest)
			}
			shown, last = e.ReceivedAt, b
			tokens++
		}
		if e.Verdict.Reason == "ExpiredProviderToken" {
			expired = last
		}
		if age := e.ReceivedAt.Sub(e.Provider.IssuedAt); age > 59*time.Minute+time.Second {
			w.t.Errorf("a token of %v", age)
		}
	}
	if forced != 0 || tokens < 3 || tokens > 6 {
		w.t.Errorf("%d tokens in 2 hours, %d too few of them forced", tokens, forced)
	}
}

// TestRestartsShowOneProviderToken: a server that starts again and again, as one does
// that crashes, must not make Apple refuse its tokens for their number.
func TestRestartsShowOneProviderToken(t *testing.T) {
	for _, c := range []struct{ first, every time.Duration }{
		{time.Minute, time.Minute},
		{30 * time.Minute, time.Minute},
		{39*time.Minute + 5*time.Second, 5 * time.Second},
	} {
		t.Run(c.first.String(), func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				w.config.Metrics = nil
				w.sleepTo(c.first)
				for range 5 {
					accepted(t, w.push())
					must(t, w.service.Close())
					time.Sleep(c.every)
					w.start()
				}
				if got := w.bearers(); len(got) != 1 {
					t.Errorf("%d provider tokens", len(got))
				}
			})
		})
	}
}

// counter is the sum of a counter's values.
func (w *world) counter(name string) (sum float64) {
	w.t.Helper()
	families, err := w.metrics.Gather()
	must(w.t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}
