package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good.yaml", "node: { id: pb1 }\n")
	bad := write("bad.yaml", "node: { id: pb1 }\ncalls: { ring_timeout: 30, decline: maybe }\n")
	warned := write("warned.yaml", "domains: [{ name: a.b, users: [{ name: alice, password: x }] }]\n")
	tests := []struct {
		name   string
		args   []string
		code   int
		stdout string // contained
		stderr string
	}{
		{"version", []string{"version"}, exitOK, "wakebridge dev", ""},
		{"good file", []string{"check", good}, exitOK, "no fault found", ""},
		{"warnings are no fault", []string{"check", warned}, exitOK, "warned.yaml:1:10: domains: push.apps is empty", ""},
		{"every fault at once, with cure", []string{"check", bad}, exitConfig, "", "bad.yaml:2:24: calls.ring_timeout"},
		{"the second fault too", []string{"check", bad}, exitConfig, "", "calls.decline"},
		{"missing file", []string{"check", filepath.Join(dir, "none.yaml")}, exitConfig, "", "none.yaml"},
		{"serve refuses the same", []string{"serve", "--config", bad}, exitConfig, "", "cure:"},
		{"no such command", []string{"wake"}, exitUsage, "", "wakebridge help"},
		{"no such flag", []string{"serve", "--nothing"}, exitUsage, "", "--nothing"},
		{"too few arguments", []string{"check"}, exitUsage, "", "FILE"},
		{"too many arguments", []string{"serve", "x"}, exitUsage, "", "takes no argument"},
		{"sim phone without a user", []string{"sim", "phone"}, exitUsage, "", "user is missing"},
		{"sim phone, no such policy", []string{"sim", "phone", "--user", "a", "--policy", "perfect"}, exitUsage, "", "perfect"},
		{"sim phone, no such address", []string{"sim", "phone", "--user", "a", "--bind", "here"}, exitUsage, "", "--bind"},
		{"sim phone, no such script", []string{"sim", "phone", "--user", "a", "--script", filepath.Join(dir, "none")}, exitUsage, "", "none"},
		{"sim phone, no such password", []string{"sim", "phone", "--user", "a", "--password-file", filepath.Join(dir, "none")}, exitUsage, "", "none"},
		{"sim phone, a script goes through", []string{"sim", "phone", "--user", "a", "--server", "127.0.0.1:1", "--json", "--script",
			write("good.txt", "wait register-failed\nstatus\n")}, exitOK, `"result":"passed"`, ""},
		{"sim phone, a script fails", []string{"sim", "phone", "--user", "a", "--server", "127.0.0.1:1", "--script",
			write("bad.txt", "answer\n")}, exitFailed, "no such call", ""},
		{"sim phone lists its policies", []string{"sim", "phone", "--help"}, exitOK, "fulfils-late", ""},
		{"no such scene", []string{"demo", "--scene", "moon"}, exitUsage, "", "late-phone"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := run(t.Context(), tt.args, &out, &errs)
			if code != tt.code || !strings.Contains(out.String(), tt.stdout) || !strings.Contains(errs.String(), tt.stderr) {
				t.Errorf("wakebridge %s: exit %d\nstdout: %s\nstderr: %s", strings.Join(tt.args, " "), code, &out, &errs)
			}
		})
	}
}

func TestCheckAsJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(path, []byte("nodes: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"check", "--json", path}, &out, &errs); code != exitConfig {
		t.Errorf("exit %d", code)
	}
	var doc struct {
		Valid  bool
		Faults []struct {
			Line int
			Key  string
			Cure string
		}
	}
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
		t.Fatalf("%v in %s", err, &out)
	}
	if doc.Valid || len(doc.Faults) != 1 || doc.Faults[0].Line != 1 || doc.Faults[0].Key != "nodes" || !strings.Contains(doc.Faults[0].Cure, "node") {
		t.Errorf("%+v", doc)
	}
}

func TestWarningsAsJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "warned.yaml")
	if err := os.WriteFile(path, []byte("domains: [{ name: a.b, users: [{ name: alice, password: x }] }]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"check", "--json", path}, &out, &errs); code != exitOK {
		t.Errorf("exit %d", code)
	}
	var doc struct {
		Valid    bool
		Faults   []any
		Warnings []struct {
			Line      int
			Key, Cure string
		}
	}
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
		t.Fatalf("%v in %s", err, &out)
	}
	if !doc.Valid || len(doc.Faults) != 0 || len(doc.Warnings) != 1 || doc.Warnings[0].Line != 1 || doc.Warnings[0].Key != "domains" || doc.Warnings[0].Cure == "" {
		t.Errorf("%+v", doc)
	}
}
