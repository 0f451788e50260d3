package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"wakebridge/cmd/internal/daemon"
)

// The two simulators meet: the phone has its tokens from `sim apns`.
func TestSimPhoneAtSimAPNs(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, printed := io.Pipe()
	var wg sync.WaitGroup
	var errs bytes.Buffer
	wg.Go(func() {
		run(ctx, []string{"sim", "apns", "--json", "--for", "30s"}, printed, &errs)
		printed.Close()
	})
	lines := bufio.NewReader(out)
	var ready struct{ Admin string }
	first, err := lines.ReadBytes('\n')
	if err != nil || json.Unmarshal(first, &ready) != nil || ready.Admin == "" {
		t.Fatalf("%v: %s%s", err, first, &errs)
	}
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("wait token-issued voip\nwait token-issued alert\nairplane on\nairplane off\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	admin := ready.Admin
	if !strings.HasPrefix(admin, "http") {
		admin = "http://" + admin
	}
	var told, problems bytes.Buffer
	code := run(t.Context(), []string{"sim", "phone", "--user", "a", "--server", "127.0.0.1:1", "--apns", admin, "--script", script, "--json"}, &told, &problems)
	if code != exitOK || !strings.Contains(told.String(), `"result":"passed"`) {
		t.Errorf("exit %d\n%s%s", code, &told, &problems)
	}
	cancel()
	if _, err := io.Copy(io.Discard, lines); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

// Options that could have no effect are mistakes, and the text says the cure.
func TestSimPhoneUsage(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no user":           {[]string{}, "user is missing"},
		"whose environment": {[]string{"--user", "a", "--environment", "prod"}, "apns"},
		"no environment":    {[]string{"--user", "a", "--apns", "http://127.0.0.1:1", "--environment", "prod"}, "neither production nor sandbox"},
		"to roam nowhere":   {[]string{"--user", "a", "--policy", "changes-address"}, "bind, on Linux 127.0.0.2,127.0.0.3"},
		"one address":       {[]string{"--user", "a", "--policy", "changes-address", "--bind", "127.0.0.2"}, "name two"},
		"no script":         {[]string{"--user", "a", "--script", "/nowhere/script"}, "/nowhere/script"},
		"no password":       {[]string{"--user", "a", "--password-file", "/nowhere/password"}, "/nowhere/password"},
		"no address":        {[]string{"--user", "a", "--bind", "here"}, "--bind"},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), append([]string{"sim", "phone"}, c.args...), &out, &errs); code != exitUsage || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%s: exit %d\n%s%s", name, code, &out, &errs)
		}
		if out.Len() > 0 {
			t.Errorf("%s: %s", name, &out)
		}
		code := run(t.Context(), append([]string{"sim", "phone", "--json"}, c.args...), &out, io.Discard)
		var doc struct{ Result, Error string }
		if err := json.Unmarshal(out.Bytes(), &doc); err != nil || code != exitUsage || doc.Result != "failed" || !strings.Contains(doc.Error, c.want) {
			t.Errorf("%s: exit %d, %v: %s", name, code, err, &out)
		}
	}
}

// What serve prints without a file is a phone that is woken: sim phone takes it as it
// stands.
func TestSimPhoneOfTheDevelopmentSetUp(t *testing.T) {
	dev, err := daemon.NewDevelopment()
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	free := netip.MustParseAddrPort("127.0.0.1:0")
	for i := range dev.Config.Listen {
		dev.Config.Listen[i].Bind = free
	}
	dev.Config.HTTP.Bind, dev.Config.Media.RTPStart, dev.Config.Media.RTPEnd = free, 0, 0
	logged := newLog()
	d, err := daemon.New(t.Context(), dev.Config, daemon.Options{Log: slog.New(slog.NewJSONHandler(logged, nil)), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Stop(t.Context()) })
	for i := range dev.Config.Listen { // as they are printed: with their ports
		dev.Config.Listen[i].Bind = netip.MustParseAddrPort(logged.addr(t, "tcp"))
	}
	if err := dev.ServeAdmin(); err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	if err := dev.Explain(&told); err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(told.String(), "wakebridge sim phone ")
	line, _, _ = strings.Cut(line, "\n")
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("wait token-issued voip\nwait registered\nstatus\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	args := append([]string{"sim", "phone", "--script", script}, strings.Fields(line)...)
	if code := run(t.Context(), args, &out, &errs); code != exitOK || !strings.Contains(out.String(), "tokens: VoIP true, alert true") {
		t.Errorf("%q: exit %d\n%s%s", args, code, &out, &errs)
	}
}
