package e2e

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/sim"
	"wakebridge/config"
	"wakebridge/sipua/iphone"
)

// The guide's configuration has no fault, once the simulator has made its key and CA.
func TestGuideConfiguration(t *testing.T) {
	dir := t.TempDir()
	ca, _, _ := certificate(t)
	root, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "apns"), 0o700); err != nil {
		t.Fatal(err)
	}
	text := found(t, guide(t), "(?s)```yaml\n(.*?)```")
	for name, b := range map[string][]byte{
		"apns/AuthKey_KEY1234567.p8": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		"apns/apns-ca.pem":           root,
		"wakebridge.yaml":            []byte(text),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Load(filepath.Join(dir, "wakebridge.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Domains[0].Users) != 2 || cfg.Push.Apps[0].BundleID != "com.example.phone" {
		t.Errorf("%+v", cfg.Domains)
	}
}

// The guide's scripts go through: alice sleeps and is woken, bob calls her.
func TestGuideScripts(t *testing.T) {
	scripts := regexp.MustCompile("(?s)```text\n(wait registered\n.*?)```").FindAllStringSubmatch(guide(t), -1)
	if len(scripts) != 2 {
		t.Fatalf("%d scripts", len(scripts))
	}
	s := start(t, nil)
	alice := simPhone(t, s, "", scripts[0][1])
	alice.sees(t, 1, iphone.Suspended)
	allAsleep(t, s, 1)
	bob := simPhone(t, s, "", scripts[1][1], func(o *sim.PhoneOptions) { o.Account.User, o.Pushes.URL = "bob", "" })
	for name, r := range map[string]*simRun{"alice": alice, "bob": bob} {
		if last := r.end(t); last.Result != "passed" || r.err != nil {
			t.Errorf("%s: %+v, %v%s", name, last, r.err, r.story())
		}
	}
	if rec := s.record(t, 0); rec.Result != bridge.Answered || len(rec.Attempts) != 1 || len(rec.Attempts[0].Pushes) != 1 {
		t.Errorf("record: %s", show(rec))
	}
	// All that the guide shows of it alice's phone told; what crosses has no order.
	for line := range strings.Lines(found(t, guide(t), "(?s)```text\n([0-9:.]+  \\[1\\] registered.*?)passed\n```")) {
		what := strings.TrimSpace(line[strings.Index(line, "]")+1:])
		what, _, _ = strings.Cut(strings.ReplaceAll(what, ": ", "  "), "  ")
		if !strings.Contains(alice.story(), "\n  "+what+" ") {
			t.Errorf("the phone did not tell %q:%s", what, alice.story())
		}
	}
}
