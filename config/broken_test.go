package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what the broken files are answered into them")

// wanted begins the lines at the end of a broken file that say how each fault
// is reported: line:column key: problem | cure.
const wanted = "# want "

// Each file of testdata/broken has one kind of fault, and says itself which.
func TestBrokenFiles(t *testing.T) {
	paths, err := filepath.Glob("testdata/broken/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no broken files: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			cfg, err := Load(path, nil)
			var report *Report
			if !errors.As(err, &report) || cfg != nil {
				t.Fatalf("loaded: %+v, %v", cfg, err)
			}
			var got strings.Builder
			for _, f := range report.Faults {
				if f.Problem == "" || f.Cure == "" || f.File != path {
					t.Errorf("incomplete fault %+v", f)
				}
				got.WriteString(wanted + strings.TrimPrefix(f.String(), path+":") + " | " + f.Cure + "\n")
			}
			text := readText(t, path)
			body, want := text, ""
			if at := strings.Index(text, wanted); at >= 0 {
				body, want = text[:at], text[at:]
			}
			if *update {
				if err := os.WriteFile(path, []byte(body+got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got.String() != want {
				t.Errorf("got\n%swant\n%s", got.String(), want)
			}
		})
	}
}
