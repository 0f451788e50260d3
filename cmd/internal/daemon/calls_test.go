package daemon

import (
	"reflect"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/bridge/sdes"
	"wakebridge/config"
	"wakebridge/sipua/location"
	"wakebridge/sipua/registrar"
)

// Each key of calls, push and limits that calls depend on changes just its own
// term.
func TestTerms(t *testing.T) {
	base := terms(config.Default(), "n1")
	want := bridge.Terms{
		Node: "n1", RingTimeout: 50 * time.Second, WakeTimeout: 30 * time.Second, Ringing: bridge.RingOnPush, DeclineWindow: 28 * time.Second,
		MaxDuration: 4 * time.Hour, MergeWindow: 2 * time.Second, Codecs: []string{},
		SRTP:         sdes.Terms{Apps: sdes.Optional},
		WakesPerUser: bridge.Rate{Count: 20, Per: time.Minute}, WakesPerCaller: bridge.Rate{Count: 6, Per: time.Minute},
	}
	if !reflect.DeepEqual(base, want) {
		t.Errorf("defaults: %+v", base)
	}
	tests := []struct {
		key    string
		set    func(*config.Config)
		expect func(*bridge.Terms)
	}{
		{"calls.ring_timeout", func(c *config.Config) { c.Calls.RingTimeout = 40 * time.Second }, func(b *bridge.Terms) { b.RingTimeout = 40 * time.Second }},
		{"calls.max_duration", func(c *config.Config) { c.Calls.MaxDuration = time.Minute }, func(b *bridge.Terms) { b.MaxDuration = time.Minute }},
		{"calls.decline", func(c *config.Config) { c.Calls.Decline = "one" }, func(b *bridge.Terms) { b.DeclineOne = true }},
		{"calls.decline_window", func(c *config.Config) { c.Calls.DeclineWindow = time.Second }, func(b *bridge.Terms) { b.DeclineWindow = time.Second }},
		{"calls.merge_window", func(c *config.Config) { c.Calls.MergeWindow = 0 }, func(b *bridge.Terms) { b.MergeWindow = 0 }},
		{"calls.waiting", func(c *config.Config) { c.Calls.Waiting = "busy" }, func(b *bridge.Terms) { b.WaitingBusy = true }},
		{"push.wake_timeout", func(c *config.Config) { c.Push.WakeTimeout = time.Second }, func(b *bridge.Terms) { b.WakeTimeout = time.Second }},
		{"push.ringing trying", func(c *config.Config) { c.Push.Ringing = "trying" }, func(b *bridge.Terms) { b.Ringing = bridge.RingTrying }},
		{"push.ringing at_once", func(c *config.Config) { c.Push.Ringing = "at_once" }, func(b *bridge.Terms) { b.Ringing = bridge.RingAtOnce }},
		{"media.allow", func(c *config.Config) { c.Media.Allow = []string{"alaw"} }, func(b *bridge.Terms) { b.Codecs = []string{"alaw"} }},
		{"media.dtmf rfc4733", func(c *config.Config) { c.Media.DTMF = "rfc4733" }, func(b *bridge.Terms) { b.DTMF = bridge.DTMFEvents }},
		{"media.dtmf info", func(c *config.Config) { c.Media.DTMF = "info" }, func(b *bridge.Terms) { b.DTMF = bridge.DTMFInfo }},
		{"media.srtp.apps", func(c *config.Config) { c.Media.SRTP.Apps = "required" }, func(b *bridge.Terms) { b.SRTP.Apps = sdes.Required }},
		{"media.srtp.trunks", func(c *config.Config) { c.Media.SRTP.Trunks = "optional" }, func(b *bridge.Terms) { b.SRTP.Trunks = sdes.Optional }},
		{"media.srtp.keys_over", func(c *config.Config) { c.Media.SRTP.KeysOver = "any" }, func(b *bridge.Terms) { b.SRTP.AnyTransport = true }},
		{"limits.wakes_per_user", func(c *config.Config) { c.Limits.WakesPerUser = config.Rate{} }, func(b *bridge.Terms) { b.WakesPerUser = bridge.Rate{} }},
		{"limits.wakes_per_caller", func(c *config.Config) { c.Limits.WakesPerCaller = config.Rate{Count: 1, Per: time.Hour} },
			func(b *bridge.Terms) { b.WakesPerCaller = bridge.Rate{Count: 1, Per: time.Hour} }},
	}
	for _, tt := range tests {
		cfg, expected := config.Default(), want
		tt.set(cfg)
		tt.expect(&expected)
		if got := terms(cfg, "n1"); !reflect.DeepEqual(got, expected) {
			t.Errorf("%s: %+v, want %+v", tt.key, got, expected)
		}
	}
}

func TestRulesOfTheLocation(t *testing.T) {
	p := config.Default().Push
	if got, want := rules(p), (location.Rules{DeviceTTL: 90 * 24 * time.Hour, AfterExpiry: true}); got != want {
		t.Errorf("defaults: %+v", got)
	}
	p.DeviceTTL, p.AfterExpiry, p.SharedToken = time.Hour, false, "refuse"
	if got, want := rules(p), (location.Rules{DeviceTTL: time.Hour, SharedToken: location.Refuse}); got != want {
		t.Errorf("%+v", got)
	}
	p.SharedToken = "newest"
	if got := rules(p).SharedToken; got != location.Newest {
		t.Errorf("%s", got)
	}
}

func TestLeases(t *testing.T) {
	got := leases([]config.Domain{{Name: "a", MaxContacts: 3, Expires: config.Expires{Min: 1, Default: 2, Max: 3}}})
	if want := []registrar.Domain{{Name: "a", MaxContacts: 3, Expires: registrar.Lease{Min: 1, Default: 2, Max: 3}}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	w := &waker{}
	if got := w.terms(config.PushExpires{Min: 4, Default: 5, Max: 6}).Expires; got != (registrar.Lease{Min: 4, Default: 5, Max: 6}) {
		t.Errorf("%+v", got)
	}
}

func TestNodeOf(t *testing.T) {
	for host, want := range map[string]string{
		"pb1": "pb1", "pb_1.example-x.org": "pb_1.example-x.org", "": "wakebridge", "büro 7\r\n": "b-ro-7-", "a@b>": "a-b-",
		string(make([]byte, 300)): "-",
	} {
		if got := nodeOf(host); got != want {
			t.Errorf("%q became %q, want %q", host, got, want)
		}
	}
	if got := nodeOf("x1234567890123456789012345678901234567890123456789012345678901234567890"); len(got) != 64 {
		t.Errorf("%d characters", len(got))
	}
}
