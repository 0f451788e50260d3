//go:build unix

package store

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A process that was forked while the store was open holds a copy of the lock's
// descriptor until it executes its program; the folder is free all the same.
func TestLockOutlivesNoClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), lockName)
	held, err := lock(path)
	if err != nil {
		t.Fatal(err)
	}
	inChild, err := unix.Dup(int(held.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inChild)
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
