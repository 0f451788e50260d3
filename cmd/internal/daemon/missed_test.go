package daemon

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wakebridge/bridge"
	"wakebridge/config"
	"wakebridge/push"
	"wakebridge/push/apnssim"
	"wakebridge/sipua/location"
)

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

// Nobody answers the push to one phone: the other one is told in time, and the record
// has both in the end.
func TestMissedCallOfASilentPhone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNight(t, location.Rules{AfterExpiry: true})
		defer n.shut()
		n.post.silent = map[push.DeviceToken]bool{alertToken: true}
		amended := make(chan bridge.Record, 4)
		a := newAlerts(n.waker, n.memory, func(r bridge.Record) { amended <- r }, slog.New(slog.DiscardHandler))
		one, two := n.phone("1", day, 0, alertToken), n.phone("2", day, 0, "cccc0000cccc0000")
		rec := bridge.Record{ID: "c"}
		rec.Attempts = make([]bridge.AttemptRecord, 2)
		a.Missed([]bridge.Missed{missedBy(one, "u1", time.Second, 0), missedBy(two, "u2", 2*time.Second, 1)}, rec)
		n.pass(3 * time.Second)
		synctest.Wait()
		if sent := n.post.all(); len(sent) != 1 || len(amended) != 1 {
			t.Errorf("%d pushes, %d amendments", len(sent), len(amended))
		}
		n.pass(2 * time.Minute)
		a.close()
		<-amended
		if r := <-amended; len(r.Attempts[0].Pushes) != 1 || r.Attempts[0].Pushes[0].Accepted || len(r.Attempts[1].Pushes) != 1 {
			t.Errorf("%+v", r)
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
