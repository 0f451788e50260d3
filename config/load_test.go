package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

const documented = "../docs/wakebridge.yaml"

// resolved is Default with its paths relative to folder, as Load leaves them.
func resolved(folder string) *Config {
	cfg := Default()
	resolvePaths(reflect.ValueOf(cfg).Elem(), schema{}, folder)
	return cfg
}

func mustLoad(t *testing.T, path string, environ ...string) *Config {
	t.Helper()
	cfg, err := Load(path, environ)
	if err != nil {
		t.Fatalf("Load(%s):\n%s", path, explain(t, err))
	}
	return cfg
}

func explain(t *testing.T, err error) string {
	t.Helper()
	var report *Report
	if !errors.As(err, &report) || !errors.Is(err, ErrInvalid) {
		t.Fatalf("the error is no report: %v", err)
	}
	var b strings.Builder
	if err := report.Explain(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func writeFile(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	// WriteFile's mode is subject to the umask.
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestRenderedDefaultLoadsAsDefault(t *testing.T) {
	text, err := Render(Default())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "wakebridge.yaml")
	writeFile(t, path, string(text), 0o600)
	if got, want := mustLoad(t, path), resolved(filepath.Dir(path)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v\nfrom:\n%s", got, want, text)
	}
}

func TestWithoutAFileTheDefaultsHold(t *testing.T) {
	if got := mustLoad(t, ""); !reflect.DeepEqual(got, Default()) {
		t.Errorf("got %+v", got)
	}
}

func TestDocumentedFileHoldsTheDefaults(t *testing.T) {
	if got, want := mustLoad(t, documented), resolved(filepath.Dir(documented)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

// The file says every key outside of entries, so that equality with the
// defaults is not the work of the defaults themselves.
func TestDocumentedFileHoldsEveryKey(t *testing.T) {
	written := writtenKeys(t, readText(t, documented))
	examples := writtenKeys(t, uncommented(readText(t, documented)))
	schema{}.walk(reflect.TypeFor[Config](), "", func(pattern string, _ field) {
		switch {
		case strings.Contains(pattern, "[]"):
			if !examples[pattern] {
				t.Errorf("%s is in no example", pattern)
			}
		case !written[pattern]:
			t.Errorf("%s is not documented", pattern)
		}
	})
}

func TestDocumentedExamplesAreValid(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "wakebridge.yaml")
	writeFile(t, path, uncommented(readText(t, documented)), 0o600)
	chain, key := testCertificate(t)
	writeFile(t, filepath.Join(folder, "tls/cert.pem"), chain, 0o644)
	writeFile(t, filepath.Join(folder, "tls/key.pem"), key, 0o600)
	writeFile(t, filepath.Join(folder, "secrets/AuthKey_KEY1234567.p8"), testSigningKey(t), 0o600)
	writeFile(t, filepath.Join(folder, "secrets/fcm.json"), testServiceAccount(t), 0o600)
	for name, topic := range map[string]string{"voip": "com.example.tablet.voip", "alert": "com.example.tablet"} {
		writeFile(t, filepath.Join(folder, "secrets", name+".p12"), testP12(t, pushCertificate(t, topic, time.Hour), "hunter2"), 0o600)
		writeFile(t, filepath.Join(folder, "secrets", name+".password"), "hunter2\n", 0o600)
	}
	writeFile(t, filepath.Join(folder, "secrets/alice"), "wonderland\n", 0o600)
	writeFile(t, filepath.Join(folder, "secrets/carol.sha256"), strings.Repeat("a", 64)+"\n", 0o600)
	writeFile(t, filepath.Join(folder, "secrets/dave.md5"), strings.Repeat("b", 32)+"\n", 0o600)

	cfg := mustLoad(t, path)
	if len(cfg.Listen) != 3 || len(cfg.Domains) != 1 || len(cfg.Domains[0].Users) != 4 ||
		len(cfg.Trunks) != 1 || len(cfg.Routes) != 4 || len(cfg.Push.Apps) != 3 {
		t.Fatalf("examples are missing: %+v", cfg)
	}
	if got := cfg.Domains[0].Users[0].Password.Reveal(); got != "wonderland" {
		t.Errorf("alice's password is %q", got)
	}
	if got := cfg.Domains[0].Users[1].Numbers; !reflect.DeepEqual(got, []string{"202"}) {
		t.Errorf("bob's numbers are %q", got)
	}
	if got, want := cfg.Push.Apps[0].Keys[0].File, filepath.Join(folder, "secrets/AuthKey_KEY1234567.p8"); got != want {
		t.Errorf("the key's file is %s, want %s", got, want)
	}

	// What the examples spell out as defaults of entries are these defaults.
	for _, entry := range []any{cfg.Domains[0], cfg.Trunks[0], cfg.Routes[2], cfg.Push.Apps[0], cfg.Push.Apps[0].Keys[0]} {
		compareDefaults(t, reflect.ValueOf(entry))
	}
}

// compareDefaults compares the keys of an entry that have a default.
func compareDefaults(t *testing.T, entry reflect.Value) {
	t.Helper()
	want := entryDefault(entry.Type())
	for _, f := range (schema{}).fields(entry.Type()) {
		if f.required || f.name || f.shape == entries || f.key == "from" || f.key == "team_id" {
			continue
		}
		if got := entry.Field(f.index).Interface(); !reflect.DeepEqual(got, want.Field(f.index).Interface()) {
			t.Errorf("%s.%s: the example says %v, the default is %v", entry.Type().Name(), f.key, got, want.Field(f.index))
		}
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// uncommented turns the examples, "#" and two spaces or more, into keys.
func uncommented(text string) string {
	return regexp.MustCompile(`(?m)^#(  .*)$`).ReplaceAllString(text, "$1")
}

// writtenKeys are the patterns of all keys in a YAML text.
func writtenKeys(t *testing.T, text string) map[string]bool {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	var walk func(n *yaml.Node, path string)
	walk = func(n *yaml.Node, path string) {
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				key := join(path, n.Content[i].Value)
				keys[key] = true
				walk(n.Content[i+1], key)
			}
		case yaml.SequenceNode:
			for _, item := range n.Content {
				walk(item, path+"[]")
			}
		}
	}
	walk(doc.Content[0], "")
	return keys
}
