package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wakebridge/config"
)

func TestLogger(t *testing.T) {
	tests := []struct {
		level, format string
		json          bool
		info          bool // is written
	}{
		{"info", "json", true, true},
		{"info", "text", false, true},
		{"info", "auto", true, true}, // a buffer is no terminal
		{"debug", "json", true, true},
		{"warn", "json", true, false},
		{"error", "text", false, false},
	}
	for _, tt := range tests {
		cfg := config.Default()
		cfg.Log = config.Log{Level: tt.level, Format: tt.format}
		var out bytes.Buffer
		log := NewLogger(cfg, &out)
		log.Info("something")
		if (out.Len() > 0) != tt.info {
			t.Errorf("%+v: Info wrote %q", tt, &out)
		}
		out.Reset()
		log.Error("said by a peer", "agent", "x\x1b[31m\r\nlevel=INFO")
		text := out.String()
		if json.Valid(out.Bytes()) != tt.json {
			t.Errorf("%+v: %s", tt, text)
		}
		if strings.ContainsAny(text, "\x1b\r") || strings.Count(text, "\n") != 1 {
			t.Errorf("%+v: a peer's words steer the terminal: %q", tt, text)
		}
	}
}

func TestLoggerIntoAFile(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	NewLogger(config.Default(), file).Info("something")
	if text, err := os.ReadFile(file.Name()); err != nil || !json.Valid(text) {
		t.Errorf("%v %s", err, text)
	}
}

func TestLoggerWithoutALevel(t *testing.T) {
	var out bytes.Buffer
	NewLogger(&Config{}, &out).Info("something")
	if !strings.Contains(out.String(), "log.level") || !strings.Contains(out.String(), "something") {
		t.Errorf("%s", &out)
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.yaml")
	if err := os.WriteFile(path, []byte("node: { id: pb1 }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(path, []string{"WAKEBRIDGE_LOG_LEVEL=warn"})
	if err != nil || cfg.Node.ID != "pb1" || cfg.Log.Level != "warn" {
		t.Errorf("%v %+v", err, cfg)
	}
	_, err = Load(path, []string{"WAKEBRIDGE_LOG_LEVEL=loud"})
	var report *Report
	if !errors.As(err, &report) || len(report.Faults) != 1 || report.Faults[0].Key != "WAKEBRIDGE_LOG_LEVEL" {
		t.Errorf("%v", err)
	}
	if got := NewSecret("x"); got.Reveal() != "x" || got.String() == "x" {
		t.Errorf("a secret shows itself: %s", got)
	}
}

func TestWarningsAreLogged(t *testing.T) {
	var out strings.Builder
	cfg := &Config{Warnings: []Fault{{File: "a.yaml", Line: 2, Column: 3, Key: "k", Problem: "p", Cure: "c"}}}
	Warn(cfg, slog.New(slog.NewTextHandler(&out, nil)))
	if got := out.String(); !strings.Contains(got, "level=WARN") || !strings.Contains(got, `at="a.yaml:2:3: k: p"`) || !strings.Contains(got, "cure=c") {
		t.Errorf("%s", got)
	}
}
