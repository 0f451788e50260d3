package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// FuzzLoad holds Load to its contract on any file and variables: no panic, a
// report with whole faults or a configuration that survives being rendered.
func FuzzLoad(f *testing.F) {
	paths, err := filepath.Glob("testdata/broken/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range append(paths, documented, "testdata/contract.yaml") {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data), "")
	}
	f.Add(twoTrunks, "WAKEBRIDGE_TRUNKS_ASTERISK_CONTACT=sip:a\nWAKEBRIDGE_LISTEN_0_BIND=[::]:1\nWAKEBRIDGE_LIMITS_CONNECTIONS=off")
	f.Add("a: &a [*a]", "WAKEBRIDGE_A=1")
	f.Add("listen: &a [*a]", "WAKEBRIDGE_LISTEN_0_BIND=1")
	folder := f.TempDir()
	f.Fuzz(func(t *testing.T, text, environ string) {
		path := filepath.Join(folder, "wakebridge.yaml")
		writeFile(t, path, text, 0o600)
		cfg, err := Load(path, strings.Split(environ, "\n"))
		if err != nil {
			var report *Report
			if !errors.As(err, &report) || cfg != nil || len(report.Faults) == 0 || len(report.Faults) > maxFaults {
				t.Fatalf("bad report %v", err)
			}
			for _, fault := range report.Faults {
				if fault.File == "" || fault.Problem == "" || strings.Contains(fault.Cure, "report this") {
					t.Fatalf("bad fault %+v", fault)
				}
			}
			return
		}
		rendered, err := Render(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(rendered), redacted) {
			return
		}
		writeFile(t, path, string(rendered), 0o600)
		again, err := Load(path, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, rendered)
		}
		if !reflect.DeepEqual(again, cfg) {
			t.Fatalf("got %+v\nwant %+v", again, cfg)
		}
	})
}

func FuzzParseDuration(f *testing.F) {
	for _, text := range []string{"30s", "7d", "1d12h", "1.5h", "30", "-1s", "99999d", "1e9h"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDuration(text)
		if err != nil {
			return
		}
		if again, err := ParseDuration(FormatDuration(d)); err != nil || again != d || d < 0 {
			t.Fatalf("%q is %v, read again %v, %v", text, d, again, err)
		}
	})
}
