package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	type account struct {
		Name     string
		Password Secret
		Pointer  *Secret
		List     []Secret
		Map      map[string]Secret
		hidden   Secret
	}
	const text = "hunter2"
	s := NewSecret(text)
	a := account{Name: "a", Password: s, Pointer: &s, List: []Secret{s}, Map: map[string]Secret{"k": s}, hidden: s}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p", "%10v"} {
		fmt.Fprintf(&out, verb+" "+verb+" "+verb+"\n", s, &s, a)
		fmt.Fprintf(&out, verb+"\n", []any{s, &s, a, &a})
	}
	logger := slog.New(slog.NewTextHandler(&out, nil))
	logger.Info("x", "secret", s, "account", a, "pointer", &a)
	logger = slog.New(slog.NewJSONHandler(&out, nil))
	logger.Info("x", "secret", s, "account", a, "pointer", &a)
	for _, encode := range []func(any) ([]byte, error){json.Marshal, yaml.Marshal} {
		for _, v := range []any{s, &s, a, &a} {
			data, err := encode(v)
			if err != nil {
				t.Fatal(err)
			}
			out.Write(data)
		}
	}
	fmt.Fprintln(&out, s.String(), s.GoString(), errors.New(fmt.Sprint(s)))
	if got := out.String(); strings.Contains(got, text) || strings.Contains(got, fmt.Sprintf("%x", text)) {
		t.Errorf("told in:\n%s", got)
	}
	if strings.Count(out.String(), redacted) < 50 {
		t.Errorf("hardly redacted:\n%s", out.String())
	}
	if s.Reveal() != text || s.IsZero() || !NewSecret("").IsZero() || NewSecret("").Reveal() != "" {
		t.Error("the secret itself is lost")
	}
	if fmt.Sprint(Secret{}) != redacted {
		t.Error("an empty secret tells that it is empty")
	}
}

func TestRenderedSecretsAreMaskedAndRefused(t *testing.T) {
	cfg := Default()
	cfg.Domains = []Domain{{Name: "a.example", Auth: []string{"md5"}, Users: []User{{Name: "a", Password: NewSecret("hunter2")}}}}
	text, err := Render(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte("hunter2")) || !bytes.Contains(text, []byte(`password: "<redacted>"`)) {
		t.Errorf("got\n%s", text)
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "500ms": 500 * time.Millisecond, "30s": 30 * time.Second, "90m": 90 * time.Minute,
		"1h30m": 90 * time.Minute, "1.5h": 90 * time.Minute, "7d": 7 * day, "1d12h": 36 * time.Hour, "0d": 0,
		"1d0s": day, "365d": 365 * day,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]error{
		"0": errNoUnit, "30": errNoUnit, "1.5": errNoUnit, "-3": errNoUnit, "1e3": errNoUnit, "0x10": errDuration,
		"inf": errNoUnit, "": errDuration, "d": errDuration, "s": errDuration, "1.5d": errDuration, "-1d": errDuration,
		"-1s": errDuration, "+1s": errDuration, "1d-1s": errDuration, "1d1d": errDuration, "1h1d": errDuration, "1w": errDuration,
		"1 s": errDuration, " 1s": errDuration, "99999d": errDuration, "9999999h": errDuration, "1S": errDuration,
		"65535d2000000h": errDuration,
	} {
		if got, err := ParseDuration(text); !errors.Is(err, want) {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for want, d := range map[string]time.Duration{
		"0s": 0, "1m": time.Minute, "1h": time.Hour, "1h30m": 90 * time.Minute, "1m30s": 90 * time.Second,
		"90d": 90 * day, "1d12h": 36 * time.Hour, "1h0m1s": time.Hour + time.Second, "10m": 10 * time.Minute,
	} {
		if got := FormatDuration(d); got != want {
			t.Errorf("%v is written %s, want %s", d, got, want)
		}
	}
}

func TestDurationsAreReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(65000*day)).Draw(t, "d"))
		if rapid.Bool().Draw(t, "whole") {
			d = d.Truncate(time.Minute)
		}
		if got, err := ParseDuration(FormatDuration(d)); err != nil || got != d {
			t.Fatalf("%v is written %q and read %v, %v", d, FormatDuration(d), got, err)
		}
	})
}

func TestRates(t *testing.T) {
	for text, want := range map[string]Rate{
		"20/s": {20, time.Second}, "6/m": {6, time.Minute}, "100/h": {100, time.Hour}, "off": {},
		"1000000/s": {1000000, time.Second},
	} {
		got, err := ParseRate(text)
		if err != nil || got != want || got.String() != text || got.Off() != (text == "off") {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "20", "20/", "/s", "0/s", "-1/s", "1.5/s", "20/d", "20/S", "20 / s", "1000001/s", "Off", "99999999999/s"} {
		if got, err := ParseRate(text); !errors.Is(err, errRate) {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
	if got := (Rate{6, time.Minute}).PerSecond(); got != 0.1 {
		t.Errorf("6/m is %v per second", got)
	}
	if (Rate{}).PerSecond() != 0 {
		t.Error("off has a rate")
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{
		"1KiB": 1 << 10, "1536KiB": 1536 << 10, "64MiB": 64 << 20, "1GiB": 1 << 30, "8388607TiB": 8388607 << 40, "0KiB": 0,
	} {
		got, err := ParseSize(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "GiB", "1GB", "1gib", "1.5GiB", "-1GiB", "+1GiB", "01GiB", "1 GiB", "1GiBB", "8388608TiB", "99999999999999999999KiB"} {
		if got, err := ParseSize(text); !errors.Is(err, errSize) {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
	if _, err := ParseSize("1024"); !errors.Is(err, errSizeNoUnit) {
		t.Error(err)
	}
}

// Any configuration of valid scalars survives being rendered and loaded.
func TestScalarsSurviveRendering(t *testing.T) {
	folder := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		cfg := Default()
		second := func(name string, from, to int) time.Duration {
			return time.Duration(rapid.IntRange(from, to).Draw(rt, name)) * time.Second
		}
		cfg.Node.ID = rapid.StringMatching(`[A-Za-z0-9._-]{0,64}`).Draw(rt, "id")
		cfg.Node.DataDir = "/" + rapid.StringMatching(`[a-z0-9 "'#:{}é-]{0,20}[a-z0-9]`).Draw(rt, "dir")
		cfg.Log.Level = rapid.SampledFrom([]string{"debug", "info", "warn", "error"}).Draw(rt, "level")
		cfg.Media.RTPStart = 2 * rapid.IntRange(3000, 20000).Draw(rt, "start")
		cfg.Media.RTPEnd = cfg.Media.RTPStart + rapid.IntRange(3, 20000).Draw(rt, "length")
		cfg.Listen[0].Bind = netip.AddrPortFrom(netip.IPv6Unspecified(), 5060)
		cfg.Calls.RingTimeout = second("ring", 2, 600)
		cfg.Push.WakeTimeout = cfg.Calls.RingTimeout - time.Second
		cfg.Calls.MergeWindow = second("merge", 0, 60)
		cfg.Push.AfterExpiry = rapid.Bool().Draw(rt, "after")
		cfg.Capture.MaxBytes = Size(rapid.IntRange(16<<10, 1<<22).Draw(rt, "bytes")) << 10
		cfg.Limits.WakesPerUser = Rate{rapid.IntRange(1, maxRate).Draw(rt, "wakes"), time.Hour}
		cfg.Limits.AuthFailures.Max = rapid.IntRange(0, 100).Draw(rt, "failures")
		cfg.Media.Allow = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"opus", "g722", "alaw", "ulaw"}), 0, 4,
			rapid.ID).Draw(rt, "allow")
		text, err := Render(cfg)
		if err != nil {
			rt.Fatal(err)
		}
		path := folder + "/wakebridge.yaml"
		writeFile(t, path, string(text), 0o600)
		got, err := Load(path, nil)
		if err != nil {
			rt.Fatalf("%v\n%s", err, text)
		}
		if !reflect.DeepEqual(got, cfg) {
			rt.Fatalf("got %+v\nwant %+v\n%s", got, cfg, text)
		}
	})
}

func TestNearest(t *testing.T) {
	keys := []string{"name", "kind", "match", "contact", "qualify", "max_calls", "environment"}
	for word, want := range map[string]string{
		"naem": "name", "knd": "kind", "mach": "match", "contacts": "contact", "qualify_frequency": "qualify",
		"MAX_CALLS": "max_calls", "maxcalls": "max_calls", "env": "environment", "frobnicate": "", "": "", "x": "",
		strings.Repeat("name", 20): "",
	} {
		if got := nearest(word, keys); got != want {
			t.Errorf("%q is nearest to %q, want %q", word, got, want)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abcd", "badc", 2},
		{"kitten", "sitting", 3}, {"ca", "abc", 3},
	} {
		if got := editDistance(c.a, c.b); got != c.want {
			t.Errorf("%q to %q is %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
