package daemon

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"wakebridge/sipua"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// development is a set-up on free ports.
func development(t *testing.T) *Development {
	t.Helper()
	dev, err := NewDevelopment()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	free := netip.MustParseAddrPort("127.0.0.1:0")
	for i := range dev.Config.Listen {
		dev.Config.Listen[i].Bind = free
	}
	dev.Config.HTTP.Bind = free
	return dev
}

func TestStartServeStop(t *testing.T) {
	dev := development(t)
	d, err := New(t.Context(), dev.Config, Options{Log: slog.New(slog.DiscardHandler), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	for _, transport := range []sipua.Transport{sipua.UDP, sipua.TCP} {
		if !d.Addr(transport).IsValid() {
			t.Errorf("not listening on %s", transport)
		}
	}
	for path, want := range map[string]string{"/healthz": "ok", "/readyz": `"ready":true`, "/metrics": "wakebridge_calls_active 0"} {
		if body := get(t, d, path); !strings.Contains(body, want) {
			t.Errorf("GET %s: %s; want %q", path, body, want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	d.Drain(ctx)
	if body := get(t, d, "/readyz"); !strings.Contains(body, `"ready":false`) {
		t.Errorf("ready while draining: %s", body)
	}
	d.Stop(ctx)
	d.Stop(ctx) // twice is fine
}

func get(t *testing.T, d *Daemon, path string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+d.HTTPAddr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestPortInUseNamesTheKey(t *testing.T) {
	dev := development(t)
	log := slog.New(slog.DiscardHandler)
	first, err := New(t.Context(), dev.Config, Options{Log: log, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Stop(t.Context())
	other := development(t)
	other.Config.Listen[1].Bind = first.Addr(sipua.TCP)
	second, err := New(t.Context(), other.Config, Options{Log: log, Version: "test"})
	if err == nil {
		second.Stop(t.Context())
		t.Fatal("two servers on one port")
	}
	if !strings.Contains(err.Error(), "listen[1]") || !strings.Contains(err.Error(), "another program") {
		t.Errorf("the error does not help: %v", err)
	}
}
