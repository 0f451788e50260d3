package daemon

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wakebridge/push"
	"wakebridge/push/apnssim"
	"wakebridge/sipua/location"
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
			n.phone("i"+string(rune('A'+i)), 7*day, 0, fmt.Sprintf("%s%02x", alertToken, i))
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
