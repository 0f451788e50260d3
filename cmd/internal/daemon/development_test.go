package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wakebridge/config"
	"wakebridge/push/apnssim"
)

func TestDevelopment(t *testing.T) {
	dev, err := NewDevelopment()
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	other, err := NewDevelopmentWith(apnssim.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	c := dev.Config
	for _, l := range c.Listen {
		if !l.Bind.Addr().IsLoopback() {
			t.Errorf("listens on %s", l.Bind)
		}
	}
	if !c.HTTP.Bind.Addr().IsLoopback() || !c.Media.Bind[0].IsLoopback() {
		t.Errorf("beyond loopback: %s %s", c.HTTP.Bind, c.Media.Bind)
	}
	var text strings.Builder
	if err := dev.Explain(&text); err != nil {
		t.Fatal(err)
	}
	for i, u := range c.Domains[0].Users {
		if len(u.Password.Reveal()) < 12 || u.Password == other.Config.Domains[0].Users[i].Password {
			t.Errorf("%s has no password of its own", u.Name)
		}
		if !strings.Contains(text.String(), u.Password.Reveal()) {
			t.Errorf("the password of %s is not told:\n%s", u.Name, &text)
		}
	}
	for _, file := range []string{c.Push.Apps[0].Keys[0].File, c.Push.APNs.CAFile} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", file, info, err)
		}
	}
	dir := filepath.Dir(c.Push.APNs.CAFile)
	dev.Close()
	dev.Close() // twice is fine
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", dir, err)
	}
}

// The set-up fills in what Load would have.
func TestDevelopmentHasTheDefaults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.yaml")
	text := "domains: [{ name: " + DevDomain + ", users: [{ name: alice, password: x }] }]\n" +
		"trunks: [{ name: pbx, kind: peer, match: [\"127.0.0.2\"], contact: \"sip:127.0.0.2:5060\" }]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := development(t).Config
	got, want := c.Domains[0], cfg.Domains[0]
	if got.MaxContacts != want.MaxContacts || got.Expires != want.Expires || strings.Join(got.Auth, " ") != strings.Join(want.Auth, " ") {
		t.Errorf("domain %+v, want %+v", got, want)
	}
	if g, w := c.Trunks[0], cfg.Trunks[0]; g.MaxCalls != w.MaxCalls || g.ForceRPort != w.ForceRPort || g.TrustIdentity != w.TrustIdentity || g.Kind != w.Kind {
		t.Errorf("trunk %+v, want %+v", g, w)
	}
	if c.Calls != cfg.Calls || c.Push.Expires != cfg.Push.Expires || c.Limits != cfg.Limits {
		t.Errorf("%+v", c)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestExplainSaysThatItCannot(t *testing.T) {
	if err := development(t).Explain(brokenPipe{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("%v", err)
	}
}
