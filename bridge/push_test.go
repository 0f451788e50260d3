package bridge_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wakebridge/bridge"
	"wakebridge/sipua/location"
	"wakebridge/sipua/memnet"
)

// alerts tells what the bridge wants users to see.
type alerts struct {
	repeat time.Duration

	mu     sync.Mutex
	missed []bridge.Missed
	record bridge.Record
}

func (a *alerts) Repeat(location.PushInfo) time.Duration { return a.repeat }

func (a *alerts) Missed(m []bridge.Missed, r bridge.Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.missed, a.record = append(a.missed, m...), r
}

// names are the devices that are told of a missed call.
func (a *alerts) names() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for _, m := range a.missed {
		out = append(out, m.Device)
	}
	return strings.Join(out, " ")
}

// stages are the observations of wakebridge_wake_seconds: "stage count seconds".
func stages(t *testing.T, reg *prometheus.Registry) string {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range families {
		if f.GetName() != "wakebridge_wake_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			h := m.GetHistogram()
			out = append(out, fmt.Sprintf("%s %d %.3g", m.GetLabel()[0].GetValue(), h.GetSampleCount(), h.GetSampleSum()))
		}
	}
	return strings.Join(out, ", ")
}

// Each stage of waking is observed once per call, for the device that was woken
// and got there first.
func TestWakeStages(t *testing.T) {
	tests := []struct {
		name string
		call func(w *world, pbx *ua)
		want string
	}{
		{"a woken phone answers", func(w *world, pbx *ua) {
			phone := w.sleeper("va")
			a := pbx.call("alice")
			w.pass(2 * time.Second)
			phone.register(alice)
			w.pass(time.Second)
			phone.invited(0).ring()
			w.pass(3 * time.Second)
			phone.invited(0).pickUp()
			a.hangUp()
		}, "answered 1 6, invited 1 2, push_accepted 1 0, push_written 1 0, registered 1 2, ringing 1 3"},
		{"its second push and its second connection count for nothing", func(w *world, pbx *ua) {
			phone := w.sleeper("va")
			a := pbx.call("alice")
			w.pass(9 * time.Second)
			w.pushed(2)
			phone.register(alice)
			first := phone.invited(0)
			first.ring()
			w.pass(time.Second)
			phone.sleep()
			first.must(func() error { first.Drop(); return nil })
			phone.register(alice)
			phone.invited(1).ring()
			phone.invited(1).pickUp()
			a.hangUp()
		}, "answered 1 10, invited 1 9, push_accepted 1 0, push_written 1 0, registered 1 9, ringing 1 9"},
		{"two phones: the first of them", func(w *world, pbx *ua) {
			one, two := w.sleeper("va"), w.ua("va2", phone2Host)
			two.register(alice)
			two.sleep()
			a := pbx.call("alice")
			w.pass(time.Second)
			one.register(alice)
			w.pass(time.Second)
			two.register(alice)
			two.invited(0).ring()
			w.pass(time.Second)
			one.invited(0).ring()
			one.invited(0).pickUp()
			a.hangUp()
		}, "answered 1 3, invited 1 1, push_accepted 1 0, push_written 1 0, registered 1 1, ringing 1 2"},
		{"a live phone answers what a sleeping one was woken for", func(w *world, pbx *ua) {
			w.sleeper("va")
			two := w.ua("va2", phone2Host)
			two.register(alice)
			a := pbx.call("alice")
			w.pass(time.Second)
			two.invited(0).ring()
			two.invited(0).pickUp()
			a.hangUp()
		}, "push_accepted 1 0, push_written 1 0"},
		{"nobody is woken", func(w *world, pbx *ua) {
			phone := w.ua("va", phoneHost)
			phone.register(alice)
			a := pbx.call("alice")
			phone.invited(0).ring()
			phone.invited(0).pickUp()
			a.hangUp()
		}, ""},
		{"the push is refused", func(w *world, pbx *ua) {
			w.waker.answer = func(wake bridge.Wake) *bridge.WakeResult { return &bridge.WakeResult{Alert: wake.AlertOnly} }
			w.sleeper("va")
			pbx.call("alice")
		}, "push_written 1 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reg := prometheus.NewRegistry()
			inWorld(t, func(o *options) { o.metrics = reg }, func(w *world) {
				tt.call(w, w.ua("100", pbxHost))
				if got := stages(t, reg); got != tt.want {
					t.Errorf("stages: %s\n  want: %s", got, tt.want)
				}
			})
		})
	}
}

// The PBX does not hear our answers for a while and repeats its INVITE.
func TestRetransmittedInvitePushesOnce(t *testing.T) {
	inWorld(t, func(o *options) { o.terms.MergeWindow = 0 }, func(w *world) {
		var mu sync.Mutex
		invites := 0
		defer w.net.Tap(func(p memnet.Packet) {
			mu.Lock()
			defer mu.Unlock()
			if p.Src.Addr() == pbxHost && bytes.HasPrefix(p.Data, []byte("INVITE ")) {
				invites++
			}
		})()
		pbx, phone := w.ua("100", pbxHost), w.sleeper("va")
		w.net.Impair(pbxHost, serverHost, memnet.Impairment{Duplicate: 1})
		w.net.Impair(serverHost, pbxHost, memnet.Impairment{Loss: 1})
		a := pbx.call("alice")
		w.pass(4 * time.Second)
		mu.Lock()
		n := invites
		mu.Unlock()
		if n < 4 {
			t.Fatalf("%d INVITEs were sent: the test proves nothing", n)
		}
		w.pushed(1)
		w.net.Impair(serverHost, pbxHost, memnet.Impairment{})
		w.net.Impair(pbxHost, serverHost, memnet.Impairment{})
		phone.register(alice)
		phone.invited(0).pickUp()
		w.pass(4 * time.Second)
		a.expect("200") // the 180 was lost
		a.hangUp()
		w.pushed(1)
		if r := w.record(); len(r.Attempts[0].Pushes) != 1 {
			t.Errorf("record: %+v", r)
		}
	})
}

func TestPushesInWords(t *testing.T) {
	tests := []struct {
		result bridge.WakeResult
		want   string
	}{
		{bridge.WakeResult{Accepted: true, Service: "APNs", Environment: "production", Latency: 42 * time.Millisecond, Tries: 1},
			"VoIP push accepted by APNs (production) after 42 ms"},
		{bridge.WakeResult{Accepted: true, Service: "APNs", Environment: "sandbox", Latency: 1530 * time.Millisecond, Tries: 2, Hedged: true},
			"VoIP push accepted by APNs (sandbox) after 1.5 s, second try by hedge"},
		{bridge.WakeResult{Accepted: true, Service: "APNs", Environment: "sandbox", Latency: 300 * time.Microsecond, Tries: 2},
			"VoIP push accepted by APNs (sandbox) after 1 ms, 2 tries"},
		{bridge.WakeResult{Accepted: true, Latency: 2 * time.Second, Tries: 4, Hedged: true},
			"VoIP push accepted by the push service after 2.0 s, 4 tries, one of them by hedge"},
		{bridge.WakeResult{Service: "APNs", Reason: "BadDeviceToken", Words: "APNs refused the token: BadDeviceToken (sandbox token?)", Latency: 60 * time.Millisecond, Tries: 2},
			"VoIP push failed: APNs refused the token: BadDeviceToken (sandbox token?) after 60 ms, 2 tries"},
		{bridge.WakeResult{Reason: "deadline"}, "VoIP push failed: deadline"},
		{bridge.WakeResult{}, "VoIP push failed: nobody says why"},
		{bridge.WakeResult{Stopped: true, Service: "FCM", Latency: 80 * time.Millisecond, Tries: 1},
			"VoIP push sent to FCM, but its answer was not needed any more after 80 ms"},
	}
	for _, tt := range tests {
		if got := tt.result.Record("VoIP push").Words; got != tt.want {
			t.Errorf("got %s\nwant %s", got, tt.want)
		}
	}
	quick := bridge.WakeResult{Accepted: true, Service: "APNs", Latency: 400 * time.Microsecond}.Record("VoIP push")
	if quick.LatencyMS != 1 || quick.Words != "VoIP push accepted by APNs after 1 ms" {
		t.Errorf("the record and its words differ: %+v", quick)
	}
	if never := (bridge.WakeResult{Reason: "deadline"}).Record("VoIP push"); never.LatencyMS != 0 {
		t.Errorf("a latency that nobody knows: %+v", never)
	}
	inWorld(t, nil, func(w *world) {
		w.waker.answer = func(wake bridge.Wake) *bridge.WakeResult {
			return &bridge.WakeResult{Alert: wake.AlertOnly, Accepted: wake.AlertOnly, Service: "APNs", Environment: "production", Reason: "TooManyRequests",
				Words: "too many pushes to this device", ID: "id", Latency: 42 * time.Millisecond, Tries: 2, Hedged: true}
		}
		w.sleeper("va")
		w.ua("100", pbxHost).call("alice").giveUp()
		r := w.record()
		p := r.Attempts[0].Pushes
		if len(p) != 2 || p[0].Kind != "voip" || p[0].Accepted || !strings.Contains(p[0].Words, "VoIP push failed: too many pushes to this device") ||
			p[1].Kind != "alert" || !p[1].Accepted || p[1].Words != "alert push accepted by APNs (production) after 42 ms, second try by hedge" ||
			p[1].Environment != "production" || p[1].LatencyMS != 42 || p[1].Tries != 2 || !p[1].Hedged || r.Attempts[0].NotPushed != "" {
			t.Errorf("record: %+v", r)
		}
		if steps := fmt.Sprint(r.Steps); !strings.Contains(steps, "alert push accepted by APNs (production) after 42 ms") {
			t.Errorf("steps: %s", steps)
		}
	})
}

// Why a phone was sent no push at all is in the record.
func TestWhyNoPush(t *testing.T) {
	tests := []struct {
		name   string
		change func(*options)
		call   func(w *world, pbx *ua)
		want   string
	}{
		{"no token", nil, func(w *world, pbx *ua) { w.sleeper("x"); pbx.call("alice") }, "it has no push token"},
		{"logged out", nil, func(w *world, pbx *ua) {
			w.sleeper("va")
			w.memory.Apply(location.MarkLoggedOut{AOR: alice, Key: w.memory.Devices(alice)[0].Key}).Release()
			pbx.call("alice")
		}, "it logged out"},
		{"long gone", nil, func(w *world, pbx *ua) {
			w.sleeper("va")
			w.pass(91 * 24 * time.Hour)
			pbx.flow = nil
			pbx.call("alice")
		}, "it was not seen for too long (push.device_ttl, push.after_expiry)"},
		{"a live connection", nil, func(w *world, pbx *ua) {
			phone := w.ua("va", phoneHost)
			phone.register(alice)
			a := pbx.call("alice")
			phone.invited(0).ring()
			a.giveUp()
		}, "no push was needed: its connection was alive"},
		{"woken too often", func(o *options) {
			o.terms.WakesPerUser = bridge.Rate{Count: 1, Per: time.Hour}
			o.terms.MergeWindow = 0
		}, func(w *world, pbx *ua) {
			w.sleeper("va")
			pbx.call("alice").giveUp()
			pbx.call("alice")
		}, "woken too often: more than 1 calls per 1h0m0s for this user (limits.wakes_per_user)"},
		{"in another call", func(o *options) { o.terms.WaitingBusy = true; o.terms.MergeWindow = 0 }, func(w *world, pbx *ua) {
			phone := w.ua("va", phoneHost)
			phone.register(alice)
			a := pbx.call("alice")
			phone.invited(0).pickUp()
			pbx.call("alice").expect("486")
			a.hangUp()
		}, "it is in another call (calls.waiting)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, tt.change, func(w *world) {
				tt.call(w, w.ua("100", pbxHost))
				var got []string
				for _, r := range w.recorded() {
					for _, a := range r.Attempts {
						got = append(got, a.NotPushed)
					}
				}
				if !strings.Contains(strings.Join(got, "\n"), tt.want) {
					t.Errorf("%q, want %q", got, tt.want)
				}
			})
		})
	}
}

// Over the limit a quiet phone is not pushed; its INVITE goes on, and the operator
// reads why.
func TestLimitSparesTheLiveConnection(t *testing.T) {
	inWorld(t, func(o *options) {
		o.terms.WakesPerUser = bridge.Rate{Count: 1, Per: time.Hour}
		o.terms.MergeWindow = 0
	}, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		phone.sleep()
		pbx.call("alice").giveUp()
		phone.register(alice)
		w.pass(time.Second)
		w.net.Impair(phoneHost, serverHost, memnet.Impairment{Loss: 1}) // it hears us, we do not hear it
		a := pbx.call("alice")
		w.pass(4 * time.Second)
		w.net.Impair(phoneHost, serverHost, memnet.Impairment{})
		w.pass(4 * time.Second)
		d := phone.newest()
		d.ring()
		d.pickUp()
		a.expect("180, 200")
		a.hangUp()
		w.pushed(1)
		r := w.recorded()
		last := r[len(r)-1]
		if last.Result != bridge.Answered || !strings.Contains(last.Attempts[0].NotPushed, "limits.wakes_per_user") ||
			!strings.Contains(fmt.Sprint(last.Steps), "is not woken: woken too often") {
			t.Errorf("record: %+v", last)
		}
	})
}

// A device that does not come any more is told of in the record, gets its alert
// push first, and the VoIP push when that is due.
func TestSuspectedPhone(t *testing.T) {
	inWorld(t, func(o *options) { o.terms.MergeWindow = 0 }, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.sleeper("va")
		key := w.memory.Devices(alice)[0].Key
		for range 2 {
			w.memory.Apply(location.PushReport{AOR: alice, Key: key, Kind: location.VoIP, Accepted: true}).Release()
		}
		w.pass(10 * time.Second)
		a := pbx.call("alice")
		w.pass(19 * time.Second)
		if p := w.pushed(1); !p[0].AlertOnly || p[0].VoIPOnly {
			t.Errorf("push: %+v", p[0].Wake)
		}
		w.pass(time.Second)
		if p := w.pushed(2); p[1].AlertOnly || !p[1].VoIPOnly || !p[1].Fleeting || p[1].UUID != p[0].UUID || p[1].at.Sub(a.at) != 20*time.Second {
			t.Errorf("push: %+v %s", p[1].Wake, p[1].at.Sub(a.at))
		}
		phone.register(alice)
		phone.invited(0).pickUp()
		a.hangUp()
		if steps := fmt.Sprint(w.record().Steps); !strings.Contains(steps, "did not come after its last 2 VoIP pushes, which were accepted: alert push first, a VoIP push follows after 20.0 s") {
			t.Errorf("steps: %s", steps)
		}
		phone.sleep()
		b := pbx.call("alice")
		if p := w.pushed(3); p[2].AlertOnly {
			t.Errorf("its REGISTER is forgotten: %+v", p[2].Wake)
		}
		b.giveUp()
	})
}

func TestAlertIsRepeated(t *testing.T) {
	inWorld(t, func(o *options) { o.alerts = &alerts{repeat: 7 * time.Second} }, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.sleeper("a")
		a := pbx.call("alice")
		w.pass(15 * time.Second)
		p := w.pushed(3)
		for i := range p {
			if !p[i].AlertOnly || p[i].UUID != p[0].UUID || p[i].at.Sub(a.at) != time.Duration(i)*7*time.Second {
				t.Errorf("push %d at %s: %+v", i, p[i].at.Sub(a.at), p[i].Wake)
			}
		}
		phone.register(alice)
		phone.invited(0).ring()
		w.pass(20 * time.Second)
		w.pushed(3)
		a.giveUp()
		if r := w.record(); len(r.Attempts[0].Pushes) != 3 {
			t.Errorf("record: %+v", r)
		}
	})
}

// A push service keeps one push for a phone without network, the latest: the second kind
// of push must not take the place of the first that was accepted. One that was refused
// has no place.
func TestSecondPushIsNotKept(t *testing.T) {
	for first, until := range map[string]time.Duration{"accepted": 16 * time.Second, "refused": 13 * time.Second} {
		t.Run(first, func(t *testing.T) {
			refused := first == "refused"
			inWorld(t, func(o *options) { o.alerts = &alerts{repeat: 7 * time.Second} }, func(w *world) {
				w.waker.answer = func(wake bridge.Wake) *bridge.WakeResult {
					return &bridge.WakeResult{Alert: wake.AlertOnly, Accepted: wake.AlertOnly || !refused, Service: "APNs"}
				}
				w.sleeper("va")
				a := w.ua("100", pbxHost).call("alice")
				w.pass(until)
				p := w.pushed(3) // VoIP, alert, alert again
				if p[0].AlertOnly || p[0].Fleeting || !p[1].AlertOnly || p[1].Fleeting == refused || p[2].Fleeting == refused {
					t.Errorf("%+v, %+v, %+v", p[0].Wake, p[1].Wake, p[2].Wake)
				}
				a.giveUp()
			})
		})
	}
}
