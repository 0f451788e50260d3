package daemon

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/config"
	"wakebridge/push/fcm/fcmsim"
	"wakebridge/sipua/location"
)

const (
	androidProject = "example"
	androidToken   = "cX9-_y:APA91bHun4MxP5egoKMwt2KZFBaFUH"
)

// androidSim is a simulated FCM that knows androidToken; change makes an app of
// it, beside the others.
func androidSim(t *testing.T) (sim *fcmsim.Sim, change func(*config.Push)) {
	t.Helper()
	sim, err := fcmsim.New(androidProject)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	sim.Register(androidToken)
	account, err := sim.Account()
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, text []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	app := config.App{Provider: "fcm", ProjectID: androidProject, ServiceAccountFile: file("fcm.json", account), Payload: "wakebridge", CallerName: true}
	service := config.FCM{URL: sim.URL(), CAFile: file("ca.pem", sim.CA())}
	return sim, func(c *config.Push) { c.Apps, c.FCM = append(c.Apps, app), service }
}

// registersAndroid makes an Android device of alice's known.
func (p *pushing) registersAndroid(project string) location.Device {
	p.t.Helper()
	now := time.Now()
	p.memory.Apply(location.Upsert{AOR: callee, Announced: location.Tokens,
		Binding: location.Binding{Contact: "<sip:alice@10.0.0.3>", Instance: "urn:uuid:1", Registered: now, Expires: now.Add(time.Hour)},
		Push:    location.PushInfo{Provider: "fcm", BundleID: project, VoIP: location.Token{Value: androidToken, Kind: location.VoIP}}}).Release()
	return p.device()
}

func delivery(t *testing.T, sim *fcmsim.Sim) fcmsim.Message {
	t.Helper()
	select {
	case m := <-sim.Deliveries():
		return m
	case <-time.After(10 * time.Second):
		t.Fatal("no push came")
		return fcmsim.Message{}
	}
}

func TestAndroidIsWoken(t *testing.T) {
	for _, named := range []bool{true, false} {
		sim, change := androidSim(t)
		p := newPushing(t, func(c *config.Push) {
			change(c)
			c.Apps[1].CallerName = named
		})
		w := wakeOf(p.registersAndroid(androidProject))
		r := p.wake(w)
		if !r.Accepted || r.Alert || r.Environment != "" || r.ID == "" || r.Written.IsZero() {
			t.Errorf("%+v", r)
		}
		m := delivery(t, sim)
		if m.Data["uuid"] != w.UUID || m.Data["call_id"] != w.CallID || m.Data["type"] != "call" || m.Token != androidToken ||
			(m.Data["name"] == "Anna Berg") != named || (m.Data["handle"] == "") == named {
			t.Errorf("caller_name %t: %+v", named, m)
		}
		if h := p.device().Health; h.Accepted != 1 || h.Unanswered != 1 {
			t.Errorf("health: %+v", h)
		}
		w.AlertOnly = true
		if r := p.wake(w); r.Accepted || r.Reason != "no token" {
			t.Errorf("there is no second chance on Android: %+v", r)
		}
	}
}

// An Android app is asked to register before its binding ends, by a quiet message to the
// one token that it has; that is no call for which it did not come.
func TestAndroidIsRefreshed(t *testing.T) {
	sim, change := androidSim(t)
	p := newPushing(t, change)
	d := p.registersAndroid(androidProject)
	if at := (location.Rules{AfterExpiry: true}).RefreshAt(d); !at.Equal(d.Bindings[0].Expires.Add(-6 * time.Minute)) {
		t.Errorf("due %s", at)
	}
	learned, edit := make(chan struct{}, 1), p.waker.edit
	p.waker.edit = func(e ...location.Edit) {
		edit(e...)
		if _, ok := e[0].(location.PushReport); ok {
			learned <- struct{}{}
		}
	}
	r := &refresher{waker: p.waker, memory: p.memory, alive: func(location.FlowID) bool { return false }}
	if !r.ask(t.Context(), d) {
		t.Fatal("not asked")
	}
	m := delivery(t, sim)
	if m.Token != androidToken || m.Priority != "NORMAL" || m.Data["type"] != "refresh" || m.Data["uuid"] != "" {
		t.Errorf("%+v", m)
	}
	<-learned
	if h := p.device().Health; h.Refreshes != 1 || h.Accepted != 1 || h.Unanswered != 0 {
		t.Errorf("%+v", h)
	}
}

func TestDeadAndroidToken(t *testing.T) {
	sim, change := androidSim(t)
	sim.Refuse(androidToken, "UNREGISTERED")
	p := newPushing(t, change)
	r := p.wake(wakeOf(p.registersAndroid(androidProject)))
	if r.Accepted || r.Reason != "UNREGISTERED" || !strings.Contains(r.Words, "FCM refused the token") {
		t.Errorf("%+v", r)
	}
	if d := p.device(); d.Push.HasToken() || d.Health.Refused != 1 {
		t.Errorf("%+v %+v", d.Push, d.Health)
	}
}

func TestServesAndroid(t *testing.T) {
	_, change := androidSim(t)
	both := newPushing(t, change)
	android := newPushing(t, func(c *config.Push) {
		change(c)
		c.Apps = c.Apps[1:]
	})
	two := newPushing(t, func(c *config.Push) {
		change(c)
		other := c.Apps[1]
		other.ProjectID = "other-project"
		c.Apps = append(c.Apps, other)
	})
	apple := newPushing(t, nil)
	for name, tt := range map[string]struct {
		p                     *pushing
		services              []string
		apns, project, number bool
	}{
		"both":         {both, []string{"apns", "fcm"}, true, true, true},
		"Android only": {android, []string{"fcm"}, false, true, true},
		"two projects": {two, []string{"apns", "fcm"}, true, true, false},
		"Apple only":   {apple, []string{"apns"}, true, false, false},
	} {
		terms := tt.p.waker.terms(tt.p.dev.Config.Push.Expires)
		if !slices.Equal(terms.Services, tt.services) {
			t.Errorf("%s: %v", name, terms.Services)
		}
		if terms.Serves("apns", DevBundle, DevTeam) != tt.apns || terms.Serves("fcm", androidProject, "") != tt.project ||
			terms.Serves("fcm", "123456789012", "") != tt.number || terms.Serves("fcm", "xx", "") || terms.Serves("fcm", "", "") ||
			terms.Serves("webpush", androidProject, "") || terms.Serves("apns", androidProject, "") {
			t.Errorf("%s: serves the wrong apps", name)
		}
	}
}

// A call that ends before the phone came takes its push back; one that goes on,
// or whose time to wake is over, does not.
func TestCancelOfAndroidPush(t *testing.T) {
	tests := []struct {
		name   string
		end    func(cancel context.CancelCauseFunc)
		cancel bool
	}{
		{"the call is over", func(c context.CancelCauseFunc) { c(nil) }, true},
		{"the phone is here", func(c context.CancelCauseFunc) { c(bridge.ErrReached) }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sim, change := androidSim(t)
			p := newPushing(t, change)
			w := wakeOf(p.registersAndroid(androidProject))
			ctx, cancel := context.WithCancelCause(t.Context())
			results := make(chan bridge.WakeResult, 1)
			p.waker.Wake(ctx, w, func(r bridge.WakeResult) { results <- r })
			if r := <-results; !r.Accepted {
				t.Fatalf("%+v", r)
			}
			if m := delivery(t, sim); m.Data["type"] != "call" {
				t.Fatalf("%+v", m)
			}
			tt.end(cancel)
			if tt.cancel {
				if m := delivery(t, sim); m.Data["type"] != "cancel" || m.Data["uuid"] != w.UUID || m.Token != androidToken {
					t.Errorf("%+v", m)
				}
			}
			if r := p.wake(w); !r.Accepted { // behind it a push of another call
				t.Errorf("%+v", r)
			}
			if m := delivery(t, sim); m.Data["type"] != "call" {
				t.Errorf("%+v", m)
			}
			if h := p.device().Health; h.Accepted != 2 {
				t.Errorf("a cancel counts as a wake: %+v", h)
			}
		})
	}
}

// An accepted push stays when its time is over: the app knows when that is.
func TestNoCancelAfterTheTimeToWake(t *testing.T) {
	sim, change := androidSim(t)
	p := newPushing(t, change)
	w := wakeOf(p.registersAndroid(androidProject))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	results := make(chan bridge.WakeResult, 1)
	p.waker.Wake(ctx, w, func(r bridge.WakeResult) { results <- r })
	if r := <-results; !r.Accepted {
		t.Fatalf("%+v", r)
	}
	<-ctx.Done()
	p.wake(w)
	if a, b := delivery(t, sim), delivery(t, sim); a.Data["type"] != "call" || b.Data["type"] != "call" {
		t.Errorf("%+v %+v", a, b)
	}
}

func TestAndroidErrorsNameTheirKey(t *testing.T) {
	_, change := androidSim(t)
	for want, spoil := range map[string]func(*config.Push){
		"push.apps[example].service_account_file": func(c *config.Push) { c.Apps[1].ServiceAccountFile = c.FCM.CAFile },
		"push.fcm.ca_file":                        func(c *config.Push) { c.FCM.CAFile = c.Apps[1].ServiceAccountFile },
		"push.apps: ":                             func(c *config.Push) { c.FCM.URL = "http://127.0.0.1" },
	} {
		cfg := development(t).Config.Push
		change(&cfg)
		spoil(&cfg)
		w, err := newWaker(cfg, quiet().Log, nil, nil)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: %v", want, err)
		}
		if err == nil {
			w.close()
		}
	}
}
