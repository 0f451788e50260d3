package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// The form that "wakebridge check" and "serve" print.
func TestExplain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wakebridge.yaml")
	writeFile(t, path, "calls:\n  ring_timeout: 50\nnode: { idd: x }\n", 0o600)
	_, err := Load(path, []string{"WAKEBRIDGE_PUSH=x"})
	want := path + ":2:17: calls.ring_timeout: 50 has no unit\n" +
		"    cure: write 50s if seconds are meant; units are ms, s, m, h and d\n" +
		path + ":3:9: node.idd: unknown key\n" +
		"    cure: did you mean id?\n" +
		"environment: WAKEBRIDGE_PUSH: names the section push, which is not a single value\n" +
		"    cure: name a key beneath it, or unset the variable\n" +
		"3 faults\n"
	if got := explain(t, err); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got, want := err.Error(), path+":2:17: calls.ring_timeout: 50 has no unit (and 2 more)"; got != want {
		t.Errorf("Error() is %q", got)
	}
	data, err := json.Marshal(err)
	if err != nil || !strings.Contains(string(data), `"line":2,"column":17,"key":"calls.ring_timeout"`) {
		t.Errorf("as JSON: %s, %v", data, err)
	}
	if got := explain(t, &Report{Faults: []Fault{{File: "a", Problem: "b"}}}); got != "a: b\n1 fault\n" {
		t.Errorf("got %q", got)
	}
	if (&Report{}).Error() != ErrInvalid.Error() {
		t.Error("an empty report has no text")
	}
}

func TestReportIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wakebridge.yaml")
	var text strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&text, "wake_timeout_%d: 1\n", i)
	}
	writeFile(t, path, text.String(), 0o600)
	start := time.Now()
	_, err := Load(path, nil)
	var report *Report
	if !errors.As(err, &report) || len(report.Faults) != maxFaults || report.Omitted != 50_000-maxFaults {
		t.Fatalf("got %v", err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
	if !strings.HasSuffix(explain(t, err), "50000 faults, 49800 of them not shown\n") {
		t.Error("the omitted are not counted")
	}
}

// A key cannot steer the terminal of the one who reads the report.
func TestReportsArePrintable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wakebridge.yaml")
	writeFile(t, path, "\"a\\e[31m\\r\\n"+strings.Repeat("x", 1000)+"\": 1\n", 0o600)
	_, err := Load(path, nil)
	text := explain(t, err)
	if strings.ContainsAny(text, "\x1b\r") || strings.Count(text, "\n") != 3 || len(text) > 1000 {
		t.Errorf("got %q", text)
	}
}

func TestFaultWithoutPlaceNamesTheFile(t *testing.T) {
	f := Fault{File: "a.yaml", Key: "k", Problem: "p"}
	if f.String() != "a.yaml: k: p" {
		t.Errorf("got %q", f.String())
	}
}

// A whole configuration in its typed form.
func TestTypedValues(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wakebridge.yaml")
	writeFile(t, path, `
network:
  external_media_address: { v4: "203.0.113.1", v6: "2001:db8::1" }
  local_net: ["::ffff:10.0.0.1", fe80::/10]
media:
  bind: ["127.0.0.1", "::1"]
  allow: [opus, telephone-event]
domains:
  - name: sip.example.com
    auth: [sha-256]
    expires: { max: 2h }
    users: [{ name: alice, ha1_sha256: "`+strings.Repeat("0a", 32)+`", numbers: ["201"] }]
trunks:
  - { name: pbx, kind: peer, match: ["10.0.0.5"], contact: "sip:pbx@[2001:db8::5]:5080;transport=tls;lr", force_rport: false }
routes:
  - { name: out, from: pbx, match: '^\+', to: user, user: alice@SIP.example.com }
limits: { auth_failures: off, connections: off, invite_per_source: off }
`, 0o600)
	cfg := mustLoad(t, path)
	want := resolved(filepath.Dir(path))
	want.Network.ExternalMediaAddress = Addresses{V4: netip.MustParseAddr("203.0.113.1"), V6: netip.MustParseAddr("2001:db8::1")}
	want.Network.LocalNet = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("fe80::/10")}
	want.Media.Bind = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}
	want.Media.Allow = []string{"opus", "telephone-event"}
	want.Domains = []Domain{{
		Name: "sip.example.com", Auth: []string{"sha-256"}, MaxContacts: 5,
		Expires: Expires{Min: time.Minute, Default: time.Hour, Max: 2 * time.Hour},
		Users:   []User{{Name: "alice", HA1SHA256: NewSecret(strings.Repeat("0a", 32)), Numbers: []string{"201"}}},
	}}
	want.Trunks = []Trunk{{
		Name: "pbx", Kind: "peer", Match: []netip.Prefix{netip.MustParsePrefix("10.0.0.5/32")},
		Contact: "sip:pbx@[2001:db8::5]:5080;transport=tls;lr", Qualify: 30 * time.Second, MaxCalls: 100,
	}}
	want.Routes = []Route{{Name: "out", From: "pbx", Match: `^\+`, To: "user", User: "alice@SIP.example.com", Status: 403}}
	want.Limits.AuthFailures.Max, want.Limits.Connections, want.Limits.InvitePerSource = 0, Connections{}, Rate{}
	cfg.Warnings = nil
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
	if !cfg.Limits.AuthFailures.Off() {
		t.Error("auth_failures is not off")
	}
}

// Two loads share nothing that one of them could change.
func TestDefaultsAreFresh(t *testing.T) {
	a, b := mustLoad(t, ""), mustLoad(t, "")
	a.Network.LocalNet[0], a.Listen[0].Transport = netip.Prefix{}, "x"
	if !reflect.DeepEqual(b, Default()) {
		t.Error("a change of one configuration shows in another")
	}
}
