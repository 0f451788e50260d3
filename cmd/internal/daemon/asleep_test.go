package daemon

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wakebridge/bridge"
	"wakebridge/config"
	"wakebridge/push"
	"wakebridge/push/apnssim"
	"wakebridge/sipua/location"
	"wakebridge/sipua/location/locationtest"
)

// post is a push service in the memory of a test, in virtual time.
type post struct {
	answer func() push.Result // nil: accepted

	mu   sync.Mutex
	sent []posted
}

type posted struct {
	push.Notification
	to push.DeviceToken
	at time.Time
}

func (p *post) Can() push.Capability { return push.Capability{VoIP: true, Alert: true} }

func (p *post) Send(_ context.Context, t push.Target, n push.Notification) push.Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = append(p.sent, posted{n, t.Token, time.Now()})
	if p.answer != nil {
		return p.answer()
	}
	return push.Result{Outcome: push.Accepted, Status: 200, Environment: push.Production, Written: time.Now(), Tries: 1}
}

func (p *post) all() []posted {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]posted(nil), p.sent...)
}

// night is a location full of sleeping phones, and what is pushed to them.
type night struct {
	t      *testing.T
	post   *post
	waker  *waker
	memory *location.Memory
}

func newNight(t *testing.T, rules location.Rules) *night {
	t.Helper()
	n := &night{t: t, post: &post{}}
	var err error
	if n.memory, err = location.NewMemory(t.Context(), &locationtest.Store{}, rules); err != nil {
		t.Fatal(err)
	}
	mux, err := push.NewMux(push.Route{App: push.App{BundleID: DevBundle, TeamID: DevTeam}, Sender: n.post})
	if err != nil {
		t.Fatal(err)
	}
	delivery, err := push.NewDelivery(push.Config{Mux: mux})
	if err != nil {
		t.Fatal(err)
	}
	n.waker = &waker{dispatcher: push.NewDispatcher(delivery), mux: mux, names: map[push.App]bool{{BundleID: DevBundle}: true},
		alerts: map[string]alertTerms{DevBundle: {missed: true}},
		edit:   func(e ...location.Edit) { n.memory.Apply(e...).Release() }}
	return n
}

// phone is a device of alice's whose binding lasts for lease.
func (n *night) phone(name string, lease time.Duration, flow location.FlowID, alert string) location.Device {
	n.t.Helper()
	now := time.Now()
	a := n.memory.Apply(location.Upsert{AOR: callee, Announced: location.Tokens,
		Binding: location.Binding{Contact: "<sip:" + name + "@10.0.0.3>", Instance: name, Flow: flow, Registered: now, Expires: now.Add(lease)},
		Push: location.PushInfo{Provider: "apns", BundleID: DevBundle, TeamID: DevTeam,
			VoIP: location.Token{Value: "aa" + strings.Repeat("0", 16) + name, Kind: location.VoIP}, Alert: location.Token{Value: alert, Kind: location.Alert}}})
	a.Release()
	d, _ := n.memory.Device(a.Refs[0])
	return d
}

// pass lets time pass, and devices expire.
func (n *night) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
	n.memory.Apply(location.Expire{Now: time.Now()}).Release()
}

func (n *night) shut() {
	if err := n.waker.close(); err != nil {
		n.t.Error(err)
	}
}

const (
	day        = 24 * time.Hour
	alertToken = "bbbb0000bbbb0000"
)

func TestRefreshBeforeTheBindingEnds(t *testing.T) {
	never := func(location.FlowID) bool { return false }
	tests := []struct {
		name  string
		rules location.Rules
		alive func(location.FlowID) bool
		begin func(*night) // makes the phones
		then  func(*night) // is called a day before the end of a week
		want  []time.Duration
	}{
		{"a sleeping phone: a tenth before the end, then ever more rarely", location.Rules{AfterExpiry: true}, never,
			func(n *night) { n.phone("1", 7*day, 0, alertToken) }, nil, []time.Duration{7*day - 7*day/10, 7*day - 7*day/10 + 3*time.Hour, 7*day - 7*day/10 + 9*time.Hour}},
		{"the same without pushes after the end", location.Rules{}, never,
			func(n *night) { n.phone("1", 7*day, 0, alertToken) }, nil, []time.Duration{7*day - 7*day/10, 7*day - 7*day/10 + 3*time.Hour, 7*day - 7*day/10 + 9*time.Hour}},
		{"it registered in time", location.Rules{AfterExpiry: true}, never,
			func(n *night) { n.phone("1", 7*day, 0, alertToken) }, func(n *night) { n.phone("1", 7*day, 0, alertToken) }, nil},
		{"it logged out", location.Rules{AfterExpiry: true}, never,
			func(n *night) { n.phone("1", 7*day, 0, alertToken) },
			func(n *night) { n.memory.Apply(location.MarkLoggedOut{AOR: callee, Key: "1"}).Release() }, nil},
		{"VoIP token alone", location.Rules{AfterExpiry: true}, never, func(n *night) { n.phone("1", 7*day, 0, "") }, nil, nil},
		{"a live connection", location.Rules{AfterExpiry: true}, func(id location.FlowID) bool { return id == 7 },
			func(n *night) { n.phone("1", 7*day, 7, alertToken) }, nil, nil},
		{"a connection that shows no life", location.Rules{AfterExpiry: true}, never,
			func(n *night) { n.phone("1", 7*day, 7, alertToken) }, nil, []time.Duration{7*day - 7*day/10, 7*day - 7*day/10 + 3*time.Hour, 7*day - 7*day/10 + 9*time.Hour}},
		{"ten minutes", location.Rules{AfterExpiry: true}, never,
			func(n *night) { n.phone("1", 10*time.Minute, 0, alertToken) }, nil, []time.Duration{8 * time.Minute}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNight(t, tt.rules)
				defer n.shut()
				start := time.Now()
				tt.begin(n)
				r := newRefresher(n.waker, n.memory, tt.alive)
				defer r.close()
				n.pass(6 * day)
				if tt.then != nil {
					tt.then(n)
				}
				n.pass(day + time.Hour)
				sent := n.post.all()
				if len(sent) != len(tt.want) {
					t.Fatalf("%d pushes, want %d", len(sent), len(tt.want))
				}
				for i, p := range sent {
					// A REGISTER is noticed at the latest a minute later; none was here.
					if late := p.at.Sub(start.Add(tt.want[i])); late < 0 || late > time.Millisecond {
						t.Errorf("push %d after %s, want %s", i, p.at.Sub(start), tt.want[i])
					}
					if p.Kind != push.Background || p.to != alertToken || p.UUID != "" || p.ID == "" || i > 0 && p.ID == sent[i-1].ID || !p.Expiration.After(p.at) {
						t.Errorf("push %d: %+v", i, p)
					}
				}
			})
		})
	}
}

// A phone that went to sleep since it was looked at is asked a little later.
func TestRefreshLooksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNight(t, location.Rules{AfterExpiry: true})
		defer n.shut()
		n.phone("1", 7*day, 7, alertToken)
		var mu sync.Mutex
		awake := true
		r := newRefresher(n.waker, n.memory, func(location.FlowID) bool { mu.Lock(); defer mu.Unlock(); return awake })
		defer r.close()
		n.pass(6*day + 8*time.Hour)
		mu.Lock()
		awake = false
		mu.Unlock()
		if len(n.post.all()) != 0 {
			t.Error("asked while awake")
		}
		n.pass(15 * time.Minute)
		if len(n.post.all()) != 1 {
			t.Errorf("%d pushes", len(n.post.all()))
		}
	})
}

// After a long stop everything is due at once: calls must still find places.
func TestRefreshKeepsItsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNight(t, location.Rules{AfterExpiry: true})
		defer n.shut()
		for i := range 50 {
			n.phone("i"+string(rune('A'+i)), 7*day, 0, alertToken+string(rune('A'+i)))
		}
		time.Sleep(6*day + 10*time.Hour)
		r := newRefresher(n.waker, n.memory, func(location.FlowID) bool { return false })
		defer r.close()
		synctest.Wait()
		time.Sleep(time.Second)
		if got := len(n.post.all()); got < 10 || got > 11 {
			t.Errorf("%d pushes in a second", got)
		}
		time.Sleep(time.Minute)
		seen := map[push.DeviceToken]bool{}
		for _, p := range n.post.all() {
			seen[p.to] = true
		}
		if len(seen) != 50 || len(n.post.all()) != 50 {
			t.Errorf("%d pushes to %d phones", len(n.post.all()), len(seen))
		}
	})
}

// What a refresh push teaches is learned: a dead token is forgotten, and what the
// service accepts is no unanswered call.
func TestRefreshLearns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNight(t, location.Rules{AfterExpiry: true})
		defer n.shut()
		n.phone("1", 7*day, 0, alertToken)
		r := newRefresher(n.waker, n.memory, func(location.FlowID) bool { return false })
		defer r.close()
		n.pass(6*day + 8*time.Hour)
		d := n.memory.Devices(callee)[0]
		if h := d.Health; h.Refreshes != 1 || h.Unanswered != 0 || h.Accepted != 1 || h.LastRefresh.IsZero() || d.Push.Alert.Environment != location.Production {
			t.Errorf("%+v %+v", h, d.Push)
		}
		n.post.mu.Lock()
		n.post.answer = func() push.Result {
			return push.Result{Outcome: push.Refused, Reason: "Unregistered", Status: 410, Written: time.Now(), Dead: push.TokenDead{Kind: push.Background, Token: alertToken, Since: time.Now()}}
		}
		n.post.mu.Unlock()
		n.pass(3 * time.Hour)
		if d := n.memory.Devices(callee)[0]; !d.Push.Alert.IsZero() || d.Push.VoIP.IsZero() {
			t.Errorf("tokens: %+v", d.Push)
		}
		n.pass(14 * time.Hour)
		if len(n.post.all()) != 2 {
			t.Errorf("%d pushes", len(n.post.all()))
		}
	})
}

// missedBy is a call that a device missed a moment ago.
func missedBy(d location.Device, uuid string, due time.Duration, attempt int) bridge.Missed {
	w := wakeOf(d)
	w.UUID, w.AlertOnly = uuid, true
	return bridge.Missed{Wake: w, Attempt: attempt, Due: time.Now().Add(due)}
}

func TestMissedCallIsTold(t *testing.T) {
	fate := func(told bool) location.Edit {
		return location.PutFate{Fate: location.Fate{AOR: callee, DeviceKey: "1", UUID: "u1", Cause: 487, Recorded: time.Now(), Told: told}}
	}
	tests := []struct {
		name   string
		change func(*night)
		during func(*night) // the time in which the device may come by itself
		want   int
	}{
		{"it does not come", nil, func(n *night) { n.memory.Apply(fate(false)).Release() }, 1},
		{"its fate is not stored yet", nil, nil, 1},
		{"it came and was told its fate", nil, func(n *night) { n.memory.Apply(fate(true)).Release() }, 0},
		{"it was told of another call", nil, func(n *night) {
			n.memory.Apply(location.PutFate{Fate: location.Fate{AOR: callee, DeviceKey: "1", UUID: "u0", Cause: 487, Recorded: time.Now(), Told: true}}).Release()
		}, 1},
		{"it logged out", nil, func(n *night) { n.memory.Apply(location.MarkLoggedOut{AOR: callee, Key: "1"}).Release() }, 0},
		{"its alert token died", nil, func(n *night) {
			n.memory.Apply(location.RemoveToken{Kind: location.Alert, Value: alertToken, NotAfter: time.Now()}).Release()
		}, 0},
		{"apps[].missed_call_alert: false", func(n *night) { n.waker.alerts[DevBundle] = alertTerms{} }, nil, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNight(t, location.Rules{AfterExpiry: true})
				defer n.shut()
				if tt.change != nil {
					tt.change(n)
				}
				var amended []bridge.Record
				a := newAlerts(n.waker, n.memory, func(r bridge.Record) { amended = append(amended, r) }, slog.New(slog.DiscardHandler))
				rec := bridge.Record{ID: "c"}
				rec.Attempts = []bridge.AttemptRecord{{Device: "1", Pushes: []bridge.PushRecord{{Kind: "voip"}}}}
				a.Missed([]bridge.Missed{missedBy(n.phone("1", day, 0, alertToken), "u1", 6*time.Second, 0)}, rec)
				n.pass(6*time.Second - time.Millisecond)
				if len(n.post.all()) != 0 {
					t.Error("told while it may still come")
				}
				if tt.during != nil {
					tt.during(n)
				}
				n.pass(time.Millisecond)
				a.close()
				sent := n.post.all()
				if len(sent) != tt.want || len(amended) != tt.want || len(rec.Attempts[0].Pushes) != 1 {
					t.Fatalf("%d pushes, %d amendments, %+v", len(sent), len(amended), rec)
				}
				for i, p := range sent {
					if p.Kind != push.Alert || !p.Missed || p.CollapseID != "u1" || p.UUID != "u1" || p.Name != "Anna Berg" || p.to != alertToken ||
						p.Expiration.Sub(p.at) != day || !p.ExpiresAt.IsZero() {
						t.Errorf("push: %+v", p)
					}
					if added := amended[i].Attempts[0].Pushes; len(added) != 2 || !added[1].Accepted || !strings.HasPrefix(added[1].Words, "missed-call alert push accepted by APNs (production)") {
						t.Errorf("record: %+v", added)
					}
				}
			})
		})
	}
}

// Whoever waits when the server ends is told nothing, and holds nobody up.
func TestMissedCallsAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNight(t, location.Rules{AfterExpiry: true})
		defer n.shut()
		a := newAlerts(n.waker, n.memory, func(bridge.Record) { t.Error("amended") }, slog.New(slog.DiscardHandler))
		d := n.phone("1", day, 0, alertToken)
		a.Missed([]bridge.Missed{missedBy(d, "u1", 6*time.Second, 0)}, bridge.Record{})
		begin := time.Now()
		a.close()
		a.Missed([]bridge.Missed{missedBy(d, "u2", 0, 0)}, bridge.Record{})
		if time.Since(begin) > 0 || len(n.post.all()) != 0 {
			t.Errorf("%s, %d pushes", time.Since(begin), len(n.post.all()))
		}
	})
}

// Two phones missed one call: both are told, and the record has both.
func TestTwoPhonesMissedACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNight(t, location.Rules{AfterExpiry: true})
		defer n.shut()
		var last bridge.Record
		a := newAlerts(n.waker, n.memory, func(r bridge.Record) { last = r }, slog.New(slog.DiscardHandler))
		one, two := n.phone("1", day, 0, alertToken), n.phone("2", day, 0, "cccc0000cccc0000")
		rec := bridge.Record{ID: "c"}
		rec.Attempts = make([]bridge.AttemptRecord, 2)
		a.Missed([]bridge.Missed{missedBy(one, "u1", 2*time.Second, 0), missedBy(two, "u2", time.Second, 1)}, rec)
		n.pass(2 * time.Second)
		a.close()
		if len(n.post.all()) != 2 || len(last.Attempts[0].Pushes) != 1 || len(last.Attempts[1].Pushes) != 1 {
			t.Errorf("%d pushes, record %+v", len(n.post.all()), last)
		}
	})
}

// A missed call as Apple's service gets it.
func TestMissedCallOverAPNs(t *testing.T) {
	p := newPushing(t, func(c *config.Push) { c.Apps[0].MissedCallAlert = true })
	phone := p.phone(apnssim.Production)
	d := p.registers(phone.RegisterVoIP(DevBundle), phone.RegisterAlert(DevBundle))
	amended := make(chan bridge.Record, 1)
	a := newAlerts(p.waker, p.memory, func(r bridge.Record) { amended <- r }, slog.New(slog.DiscardHandler))
	rec := bridge.Record{}
	rec.Attempts = make([]bridge.AttemptRecord, 1)
	a.Missed([]bridge.Missed{missedBy(d, "5f0f5b1c-0000-4000-8000-000000000001", 0, 0)}, rec)
	r := <-amended
	a.close()
	sent := p.dev.APNs.Requests(apnssim.Filter{})
	if len(sent) != 1 {
		t.Fatalf("%d requests", len(sent))
	}
	e := sent[0]
	var body struct {
		Type string
		APS  struct {
			Alert struct{ Title, Body string }
		}
	}
	if err := json.Unmarshal(e.Payload, &body); err != nil || body.Type != "missed" || body.APS.Alert.Title != "Anna Berg" || body.APS.Alert.Body != "Missed video call" {
		t.Errorf("%v %s", err, e.Payload)
	}
	if e.Verdict.Status != 200 || e.Get("apns-push-type") != "alert" || e.Get("apns-topic") != DevBundle || e.Get("apns-collapse-id") != "5f0f5b1c-0000-4000-8000-000000000001" {
		t.Errorf("%d %+v", e.Verdict.Status, e.Header)
	}
	if w := r.Attempts[0].Pushes[0].Words; !strings.HasPrefix(w, "missed-call alert push accepted by APNs (production) after ") {
		t.Errorf("record: %s", w)
	}
}

// A refresh push as Apple's service gets it.
func TestRefreshOverAPNs(t *testing.T) {
	p := newPushing(t, nil)
	phone := p.phone(apnssim.Production)
	d := p.registers(phone.RegisterVoIP(DevBundle), phone.RegisterAlert(DevBundle))
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
	<-learned
	e := p.dev.APNs.Requests(apnssim.Filter{})[0]
	if e.Verdict.Status != 200 || e.Get("apns-push-type") != "background" || e.Get("apns-priority") != "5" || e.Get("apns-topic") != DevBundle ||
		!strings.Contains(string(e.Payload), `"content-available":1`) || strings.Contains(string(e.Payload), "alert") {
		t.Errorf("%d %+v %s", e.Verdict.Status, e.Header, e.Payload)
	}
	if h := p.device().Health; h.Refreshes != 1 || h.Accepted != 1 {
		t.Errorf("%+v", h)
	}
}
