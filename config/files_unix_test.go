//go:build unix

package config

import (
	"path/filepath"
	"syscall"
	"testing"
)

// A named pipe would block the program that only wants to check its files.
func TestFilesAreRegular(t *testing.T) {
	folder := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(folder, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := faultsOf(t, folder, `http: { token_file: pipe }`)
	if len(got) != 1 || got[0] != "http.token_file: pipe is not a regular file" {
		t.Errorf("got %q", got)
	}
}
