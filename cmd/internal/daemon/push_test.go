package daemon

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wakebridge/bridge"
	"wakebridge/config"
	"wakebridge/push/apnssim"
	"wakebridge/sipua"
	"wakebridge/sipua/location"
	"wakebridge/sipua/location/locationtest"
)

// pushing is a waker against the simulated APNs, and a location that learns from
// it.
type pushing struct {
	t      *testing.T
	dev    *Development
	waker  *waker
	memory *location.Memory
}

var callee = sipua.NewAOR("alice", DevDomain)

func newPushing(t *testing.T, change func(*config.Push)) *pushing {
	t.Helper()
	p := &pushing{t: t, dev: development(t)}
	cfg := p.dev.Config.Push
	if change != nil {
		change(&cfg)
	}
	var err error
	if p.memory, err = location.NewMemory(t.Context(), &locationtest.Store{}, location.Rules{AfterExpiry: true}); err != nil {
		t.Fatal(err)
	}
	if p.waker, err = newWaker(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), nil); err != nil {
		t.Fatal(err)
	}
	p.waker.edit = func(e ...location.Edit) { p.memory.Apply(e...).Release() }
	p.waker.settle = func(_ context.Context, e ...location.Edit) error {
		p.memory.Apply(e...).Release()
		return nil
	}
	t.Cleanup(p.shut)
	return p
}

func (p *pushing) shut() {
	if err := p.waker.close(); err != nil {
		p.t.Error(err)
	}
}

// registers makes a device of alice's known with its tokens.
func (p *pushing) registers(voip, alert string) location.Device {
	p.t.Helper()
	now := time.Now()
	p.memory.Apply(location.Upsert{AOR: callee, Announced: location.Tokens,
		Binding: location.Binding{Contact: "<sip:alice@10.0.0.3>", Instance: "urn:uuid:1", Registered: now, Expires: now.Add(time.Hour)},
		Push: location.PushInfo{Provider: "apns", BundleID: DevBundle, TeamID: DevTeam,
			VoIP: location.Token{Value: voip, Kind: location.VoIP}, Alert: location.Token{Value: alert, Kind: location.Alert}}}).Release()
	return p.device()
}

func (p *pushing) device() location.Device {
	p.t.Helper()
	all := p.memory.Devices(callee)
	if len(all) != 1 {
		p.t.Fatalf("%d devices", len(all))
	}
	return all[0]
}

// phone is a simulated one, in an environment of APNs.
func (p *pushing) phone(env apnssim.Environment) *apnssim.Device {
	p.t.Helper()
	d := p.dev.APNs.NewDevice("phone")
	if err := d.UseEnvironment(env); err != nil {
		p.t.Fatal(err)
	}
	return d
}

func wakeOf(d location.Device) bridge.Wake {
	now := time.Now()
	return bridge.Wake{AOR: d.AOR, Device: d.Key, Push: d.Push, UUID: "5f0f5b1c-0000-4000-8000-000000000001",
		CallID: "5f0f5b1c-0000-4000-8000-000000000001@pb1", Handle: "+4989123", HandleType: "phone", Name: "Anna Berg",
		From: "sip:+4989123@pbx", To: d.AOR.String(), Video: true, SentAt: now, ExpiresAt: now.Add(25 * time.Second)}
}

// wake pushes and waits for the outcome.
func (p *pushing) wake(w bridge.Wake) bridge.WakeResult {
	p.t.Helper()
	results := make(chan bridge.WakeResult, 2)
	p.waker.Wake(p.t.Context(), w, func(r bridge.WakeResult) { results <- r })
	select {
	case r := <-results:
		return r
	case <-time.After(20 * time.Second):
		p.t.Fatal("no outcome")
		return bridge.WakeResult{}
	}
}

// requests are the environments that were asked, in order.
func (p *pushing) requests(after int) string {
	var out []string
	for _, e := range p.dev.APNs.Requests(apnssim.Filter{})[after:] {
		out = append(out, string(e.Environment))
	}
	return strings.Join(out, " ")
}

// A phone that answers its calls over a connection that lived needs no REGISTER to
// count as awake.
func TestPushesThatAreAnsweredInACall(t *testing.T) {
	p := newPushing(t, nil)
	phone := p.phone(apnssim.Production)
	d := p.registers(phone.RegisterVoIP(DevBundle), phone.RegisterAlert(DevBundle))
	var asBridge bridge.Waker = p.waker
	for range 3 {
		if r := p.wake(wakeOf(d)); !r.Accepted {
			t.Fatalf("%+v", r)
		}
		if h := p.device().Health; h.Unanswered != 1 {
			t.Errorf("pushed: %+v", h)
		}
		asBridge.Reached(d.AOR, d.Key)
		if d := p.device(); d.Suspected() || d.Health.Unanswered != 0 || d.Health.Reached.IsZero() {
			t.Errorf("answered: %+v", d.Health)
		}
	}
}

func TestEnvironmentIsLearnedAndRemembered(t *testing.T) {
	p := newPushing(t, nil)
	phone := p.phone(apnssim.Sandbox)
	d := p.registers(phone.RegisterVoIP(DevBundle), phone.RegisterAlert(DevBundle))
	r := p.wake(wakeOf(d))
	if !r.Accepted || r.Alert || r.Environment != "sandbox" || r.ID == "" || r.Written.IsZero() || r.At.Before(r.Written) {
		t.Errorf("%+v", r)
	}
	if got := p.requests(0); got != "production sandbox" {
		t.Errorf("asked: %s", got)
	}
	d = p.device()
	if d.Push.VoIP.Environment != location.Sandbox || d.Push.Alert.Environment != location.UnknownEnvironment {
		t.Errorf("learned: %+v", d.Push)
	}
	if r := p.wake(wakeOf(d)); !r.Accepted {
		t.Errorf("%+v", r)
	}
	if got := p.requests(2); got != "sandbox" {
		t.Errorf("asked the second time: %s", got)
	}
	if h := p.device().Health; h.Accepted != 2 || h.Unanswered != 2 || h.Refused != 0 || h.LastAccepted.IsZero() {
		t.Errorf("health: %+v", h)
	}
	if r := p.wake(wakeOf(p.registers(d.Push.VoIP.Value, d.Push.Alert.Value))); !r.Accepted || p.requests(3) != "sandbox" {
		t.Errorf("the same token again: %+v, asked: %s", r, p.requests(3))
	}
}

func TestEnvironmentOfTheAppIsTheOperatorsWord(t *testing.T) {
	p := newPushing(t, func(c *config.Push) { c.Apps[0].Environment = "production" })
	phone := p.phone(apnssim.Sandbox)
	r := p.wake(wakeOf(p.registers(phone.RegisterVoIP(DevBundle), "")))
	if r.Accepted || r.Reason != "BadDeviceToken" || !strings.Contains(r.Words, "sandbox token?") || p.requests(0) != "production" {
		t.Errorf("%+v, asked: %s", r, p.requests(0))
	}
}

func TestKeyServesOneEnvironment(t *testing.T) {
	p := newPushing(t, func(c *config.Push) { c.Apps[0].Keys[0].Environment = "sandbox" })
	phone := p.phone(apnssim.Sandbox)
	r := p.wake(wakeOf(p.registers(phone.RegisterVoIP(DevBundle), "")))
	if !r.Accepted || p.requests(0) != "sandbox" {
		t.Errorf("%+v, asked: %s", r, p.requests(0))
	}
}

func TestDeadTokens(t *testing.T) {
	hourAgo := time.Now().Add(-time.Hour)
	tests := []struct {
		name  string
		since time.Time // of the 410; zero: a token that nobody knows
		stays bool
	}{
		{"410 now", time.Now().Add(time.Second), false},
		{"410 before the device registered it again", hourAgo, true},
		{"BadDeviceToken everywhere", time.Time{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPushing(t, nil)
			phone := p.phone(apnssim.Production)
			voip, alert := phone.RegisterVoIP(DevBundle), phone.RegisterAlert(DevBundle)
			reason := "BadDeviceToken"
			if tt.since.IsZero() {
				voip = strings.Repeat("ab", 32)
			} else {
				reason = "Unregistered"
				if err := p.dev.APNs.SetTokenState(voip, apnssim.Unregistered, tt.since); err != nil {
					t.Fatal(err)
				}
			}
			r := p.wake(wakeOf(p.registers(voip, alert)))
			if r.Accepted || r.Reason != reason || !strings.Contains(r.Words, reason) {
				t.Errorf("%+v", r)
			}
			d := p.device()
			if (d.Push.VoIP.Value == voip) != tt.stays || d.Push.Alert.Value != alert {
				t.Errorf("tokens now: %+v", d.Push)
			}
			if h := d.Health; h.Refused != 1 || h.LastReason != reason || h.Accepted != 0 {
				t.Errorf("health: %+v", h)
			}
			w := wakeOf(d)
			w.AlertOnly = true
			if r := p.wake(w); !r.Accepted || !r.Alert {
				t.Errorf("the alert token is as good as before: %+v", r)
			}
		})
	}
}

func TestPolicy(t *testing.T) {
	tests := []struct {
		name        string
		voip, alert bool // the device has them
		alertOnly   bool
		want        string // push type, "" for none
	}{
		{"both tokens", true, true, false, "voip"},
		{"both, the second chance", true, true, true, "alert"},
		{"no CallKit", false, true, false, "alert"},
		{"no alerts", true, false, false, "voip"},
		{"no alerts, the second chance", true, false, true, ""},
		{"none", false, false, false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPushing(t, nil)
			phone := p.phone(apnssim.Production)
			var voip, alert string
			if tt.voip {
				voip = phone.RegisterVoIP(DevBundle)
			}
			if tt.alert {
				alert = phone.RegisterAlert(DevBundle)
			}
			w := wakeOf(p.registers(voip, alert))
			w.Push.BundleID, w.AlertOnly = DevBundle, tt.alertOnly
			r := p.wake(w)
			sent := p.dev.APNs.Requests(apnssim.Filter{})
			if tt.want == "" {
				if r.Accepted || r.Reason != "no token" || len(sent) != 0 {
					t.Errorf("%+v, %d requests", r, len(sent))
				}
				if h := p.device().Health; h.Refused != 0 || h.LastReason != "" {
					t.Errorf("our own verdict counts as APNs': %+v", h)
				}
				return
			}
			if !r.Accepted || r.Alert != (tt.want == "alert") || len(sent) != 1 {
				t.Fatalf("%+v, %d requests", r, len(sent))
			}
			topic, collapse := DevBundle, w.UUID
			if tt.want == "voip" {
				topic, collapse = DevBundle+".voip", ""
			}
			e := sent[0]
			if e.Get("apns-push-type") != tt.want || e.Get("apns-topic") != topic || e.Get("apns-priority") != "10" || e.Get("apns-collapse-id") != collapse ||
				e.Get("apns-expiration") != strconv.FormatInt(w.ExpiresAt.Unix(), 10) || e.APNsID != r.ID {
				t.Errorf("%+v", e.Header)
			}
			if h := p.device().Health; h.Accepted != 1 || (h.Unanswered == 1) != (tt.want == "voip") {
				t.Errorf("health: %+v", h)
			}
		})
	}
}

func TestCallerName(t *testing.T) {
	for _, shown := range []bool{true, false} {
		p := newPushing(t, func(c *config.Push) { c.Apps[0].CallerName = shown })
		phone := p.phone(apnssim.Production)
		w := wakeOf(p.registers(phone.RegisterVoIP(DevBundle), phone.RegisterAlert(DevBundle)))
		if r := p.wake(w); !r.Accepted {
			t.Fatalf("%+v", r)
		}
		w.AlertOnly = true
		if r := p.wake(w); !r.Accepted {
			t.Fatalf("%+v", r)
		}
		for _, e := range p.dev.APNs.Requests(apnssim.Filter{}) {
			text := string(e.Payload)
			if strings.Contains(text, "Anna") != shown || strings.Contains(text, "4989123") != shown {
				t.Errorf("caller_name: %t, %s: %s", shown, e.Get("apns-push-type"), text)
			}
			var body struct {
				UUID      string
				CallID    string `json:"call_id"`
				To        string
				Video     bool
				SentAt    int64 `json:"sent_at"`
				ExpiresAt int64 `json:"expires_at"`
			}
			if err := json.Unmarshal(e.Payload, &body); err != nil || body.UUID != w.UUID || body.CallID != w.CallID || body.To != w.To ||
				!body.Video || body.SentAt != w.SentAt.UnixMilli() || body.ExpiresAt != w.ExpiresAt.UnixMilli() {
				t.Errorf("%v %+v", err, body)
			}
		}
	}
}

// The device registered by itself, or the call is over: the call hears of it either
// way, and whether the push was sent.
func TestStoppedPush(t *testing.T) {
	for _, sent := range []bool{true, false} {
		p := newPushing(t, nil)
		if _, err := p.dev.APNs.AddFault(apnssim.Rule{Action: apnssim.Action{Fault: apnssim.Hang}}); err != nil {
			t.Fatal(err)
		}
		phone := p.phone(apnssim.Production)
		d := p.registers(phone.RegisterVoIP(DevBundle), "")
		ctx, cancel := context.WithCancel(t.Context())
		if !sent {
			cancel()
		}
		reports := make(chan bridge.WakeResult, 2)
		p.waker.Wake(ctx, wakeOf(d), func(r bridge.WakeResult) { reports <- r })
		if sent {
			if _, err := p.dev.APNs.WaitRequests(t.Context(), apnssim.Filter{}, 1); err != nil {
				t.Fatal(err)
			}
			cancel()
		}
		p.shut() // waits for the push
		close(reports)
		r, reported := <-reports
		if !reported || !r.Stopped || r.Accepted || r.Written.IsZero() == sent || r.Reason != "stopped" {
			t.Errorf("sent %t: %+v", sent, r)
		}
		if h := p.device().Health; h.Refused+h.Accepted != 0 {
			t.Errorf("health: %+v", h)
		}
		cancel()
	}
}

// Whoever waits while the server ends hears of his push.
func TestPushStoppedByTheEndIsReported(t *testing.T) {
	p := newPushing(t, nil)
	if _, err := p.dev.APNs.AddFault(apnssim.Rule{Action: apnssim.Action{Fault: apnssim.Hang}}); err != nil {
		t.Fatal(err)
	}
	phone := p.phone(apnssim.Production)
	reports := make(chan bridge.WakeResult, 1)
	p.waker.Wake(t.Context(), wakeOf(p.registers(phone.RegisterVoIP(DevBundle), "")), func(r bridge.WakeResult) { reports <- r })
	if _, err := p.dev.APNs.WaitRequests(t.Context(), apnssim.Filter{}, 1); err != nil {
		t.Fatal(err)
	}
	p.shut()
	if r := <-reports; r.Accepted || r.Stopped || r.Reason != "stopped" {
		t.Errorf("%+v", r)
	}
}

func TestDeadlineIsReported(t *testing.T) {
	p := newPushing(t, nil)
	if _, err := p.dev.APNs.AddFault(apnssim.Rule{Action: apnssim.Action{Fault: apnssim.Hang}}); err != nil {
		t.Fatal(err)
	}
	phone := p.phone(apnssim.Production)
	w := wakeOf(p.registers(phone.RegisterVoIP(DevBundle), ""))
	w.ExpiresAt = time.Now().Add(300 * time.Millisecond)
	if r := p.wake(w); r.Accepted || r.Reason != "deadline" || !strings.Contains(r.Words, "in time") {
		t.Errorf("%+v", r)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	reports := make(chan bridge.WakeResult, 1)
	p.waker.Wake(ctx, wakeOf(p.device()), func(r bridge.WakeResult) { reports <- r })
	if r := <-reports; r.Accepted || r.Reason != "deadline" {
		t.Errorf("the call's own deadline: %+v", r)
	}
	if h := p.device().Health; h.Refused != 0 {
		t.Errorf("health: %+v", h)
	}
}

func TestServes(t *testing.T) {
	p := newPushing(t, nil)
	terms := p.waker.terms(p.dev.Config.Push.Expires)
	tests := []struct {
		provider, bundle, team string
		want                   bool
	}{
		{"apns", DevBundle, DevTeam, true},
		{"apns", DevBundle, "", true},
		{"apns", DevBundle, "OTHERTEAM1", false},
		{"apns", "com.example.other", DevTeam, false},
		{"fcm", DevBundle, DevTeam, false},
	}
	for _, tt := range tests {
		if got := terms.Serves(tt.provider, tt.bundle, tt.team); got != tt.want {
			t.Errorf("%+v: %t", tt, got)
		}
	}
	w := wakeOf(p.registers(strings.Repeat("ab", 32), ""))
	w.Push.BundleID = "com.example.other"
	if r := p.wake(w); r.Accepted || r.Reason != "unknown app" || !strings.Contains(r.Words, "push.apps") {
		t.Errorf("%+v", r)
	}
}

func TestNoApps(t *testing.T) {
	p := newPushing(t, func(c *config.Push) { c.Apps = nil })
	if p.waker.serves("apns", DevBundle, DevTeam) {
		t.Error("serves an app that is not configured")
	}
	if r := p.wake(wakeOf(p.registers(strings.Repeat("ab", 32), ""))); r.Accepted || r.Reason != "unknown app" {
		t.Errorf("%+v", r)
	}
}

func TestPushErrorsNameTheirKey(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const secret = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg"
	tests := []struct {
		name   string
		change func(*config.Push)
		want   string
	}{
		{"no key file", func(c *config.Push) { c.Apps[0].Keys[0].File = filepath.Join(dir, "none.p8") }, "push.apps[" + DevBundle + "].keys[" + DevKey + "]"},
		{"no key in it", func(c *config.Push) {
			c.Apps[0].Keys[0].File = file("bad.p8", "-----BEGIN PRIVATE KEY-----\n"+secret+"\n-----END PRIVATE KEY-----\n")
		},
			"push.apps[" + DevBundle + "].keys[" + DevKey + "]"},
		{"no CA file", func(c *config.Push) { c.APNs.CAFile = filepath.Join(dir, "none.pem") }, "push.apns.ca_file"},
		{"no CA in it", func(c *config.Push) { c.APNs.CAFile = file("ca.pem", "nothing") }, "push.apns.ca_file"},
		{"no VoIP certificate file", func(c *config.Push) { c.Apps[0].VoIPCertificate.File = filepath.Join(dir, "none.p12") }, "push.apps[" + DevBundle + "].voip_certificate"},
		{"no certificate in it", func(c *config.Push) { c.Apps[0].AlertCertificate.File = file("bad.p12", secret) }, "push.apps[" + DevBundle + "].alert_certificate"},
		{"no such template", func(c *config.Push) { c.Apps[0].Payload = "acme" }, "push.apps[" + DevBundle + "].payload"},
		{"an address that is none", func(c *config.Push) { c.APNs.Sandbox = "http://127.0.0.1" }, "push.apps: "},
		{"one app twice", func(c *config.Push) { c.Apps = append(c.Apps, c.Apps[0]) }, "push.apps: "},
	}
	for _, tt := range tests {
		cfg := development(t).Config.Push
		tt.change(&cfg)
		w, err := newWaker(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), nil)
		if err == nil {
			t.Errorf("%s: no error", tt.name)
			w.close()
			continue
		}
		if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// The call needs the push no more, and hears so at once; what APNs says of its token
// counts for the next call.
func TestStoppedPushTeaches(t *testing.T) {
	p := newPushing(t, nil)
	for _, a := range []apnssim.Action{{Fault: apnssim.Delay, Latency: 1500 * time.Millisecond}, {Fault: apnssim.Respond, Status: 410, Reason: "Unregistered"}} {
		if _, err := p.dev.APNs.AddFault(apnssim.Rule{Action: a}); err != nil {
			t.Fatal(err)
		}
	}
	d := p.registers(p.phone(apnssim.Production).RegisterVoIP(DevBundle), "")
	gone := make(chan struct{}, 1)
	_, forget := p.memory.Watch(callee, func(c location.Change) {
		if c.Kind == location.TokensChanged && c.Device.Push.VoIP.IsZero() {
			gone <- struct{}{}
		}
	})
	defer forget()
	reports := make(chan bridge.WakeResult, 2)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	time.AfterFunc(700*time.Millisecond, cancel) // written long before, answered later
	p.waker.Wake(ctx, wakeOf(d), func(r bridge.WakeResult) { reports <- r })
	if r := <-reports; !r.Stopped || r.Reason != "stopped" {
		t.Errorf("%+v", r)
	}
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Fatal("the token of a 410 after the stop lives on")
	}
	if h := p.device().Health; h.Refused != 1 || len(reports) > 0 {
		t.Errorf("health: %+v, %d more reports", h, len(reports))
	}
}
