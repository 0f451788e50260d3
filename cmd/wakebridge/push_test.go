package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wakebridge/cmd/internal/api"
	"wakebridge/cmd/internal/daemon"
)

// pushServer is a running server whose alice has a device; it is the URL, and the
// device's tokens.
func pushServer(t *testing.T, bearer string) (server, voip, alert string) {
	t.Helper()
	dev, err := daemon.NewDevelopment()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	free := netip.MustParseAddrPort("127.0.0.1:0")
	for i := range dev.Config.Listen {
		dev.Config.Listen[i].Bind = free
	}
	dev.Config.HTTP.Bind, dev.Config.HTTP.Token = free, daemon.NewSecret(bearer)
	dev.Config.Media.RTPStart, dev.Config.Media.RTPEnd = 0, 0
	d, err := daemon.New(t.Context(), dev.Config, daemon.Options{Log: slog.New(slog.DiscardHandler), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Stop(t.Context()) })
	phone := dev.APNs.NewDevice("phone")
	if err := phone.UseEnvironment("production"); err != nil {
		t.Fatal(err)
	}
	server, voip, alert = "http://"+d.HTTPAddr().String(), phone.RegisterVoIP(daemon.DevBundle), phone.RegisterAlert(daemon.DevBundle)
	body, err := json.Marshal(api.Announcement{Provider: "apns", BundleID: daemon.DevBundle, VoIPToken: voip, AlertToken: alert})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server+"/v1/users/alice/devices/urn:uuid:5f0f5b1c-0000-4000-8000-000000000001", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+bearer)
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		t.Fatal(res.Status)
	}
	return server, voip, alert
}

func TestPushTest(t *testing.T) {
	const bearer = "0123456789abcdef"
	server, voip, alert := pushServer(t, bearer)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(bearer+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		args   []string
		code   int
		stdout []string
		stderr string
	}{
		{"all devices", []string{"--user", "alice"}, exitOK, []string{"alert push to alice@", "ok      provider token", "answered by production"}, ""},
		{"VoIP", []string{"--user", "alice", "--voip"}, exitOK, []string{"voip push to alice@"}, ""},
		{"a token", []string{"--token", alert, "--app", daemon.DevBundle}, exitOK, []string{"…" + alert[len(alert)-4:]}, ""},
		{"tokens mixed up", []string{"--token", voip, "--app", daemon.DevBundle}, exitFailed, []string{"FAILED  push", "DeviceTokenNotForTopic", "cure: see that the app"}, ""},
		{"nobody comes", []string{"--user", "alice", "--wait", "20ms"}, exitFailed, []string{"FAILED  register", "cure:"}, ""},
		{"JSON", []string{"--user", "alice", "--json"}, exitOK, []string{`{"ok":true,"reports":[{`, `"name":"network"`}, ""},
		{"no such user", []string{"--user", "carol"}, exitFailed, nil, "domains[].users"},
		{"neither", nil, exitUsage, nil, "--user"},
		{"a wait that is over before it begins", []string{"--user", "alice", "--wait", "-5s"}, exitUsage, nil, "--wait -5s"},
		{"a wait that is too long", []string{"--user", "alice", "--wait", "61s"}, exitUsage, nil, "up to 1m0s"},
		{"both", []string{"--user", "alice", "--token", "ab", "--app", "x"}, exitUsage, nil, "--user"},
		{"a token without app", []string{"--token", "ab"}, exitUsage, nil, "--app"},
		{"no server", []string{"--user", "alice", "--server", "http://127.0.0.1:1"}, exitFailed, nil, "http.bind"},
		{"no token file", []string{"--user", "alice", "--token-file", ""}, exitFailed, nil, "http.token_file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			args := append([]string{"push", "test", "--server", server, "--token-file", file}, tt.args...)
			if code := run(t.Context(), args, &out, &errs); code != tt.code || !strings.Contains(errs.String(), tt.stderr) {
				t.Errorf("exit %d\nstdout: %s\nstderr: %s", code, &out, &errs)
			}
			for _, want := range tt.stdout {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in\n%s", want, &out)
				}
			}
			if text := out.String() + errs.String(); strings.Contains(text, voip) || strings.Contains(text, alert) || strings.Contains(text, bearer) {
				t.Errorf("a secret is shown:\n%s", text)
			}
		})
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"push"}, &out, &errs); code != exitUsage || !strings.Contains(errs.String(), "test") {
		t.Errorf("push alone: exit %d %s", code, &errs)
	}
	if code := run(t.Context(), []string{"push", "test", "--help"}, &out, &errs); code != exitOK || !strings.Contains(out.String(), "RINGS") {
		t.Errorf("the help does not warn: exit %d %s", code, &out)
	}
}
