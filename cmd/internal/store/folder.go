package store

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	fileName = "wakebridge.db"
	lockName = "wakebridge.lock"

	groupAndOthers = 0o077
)

// prepareFolder makes dir, mode 0700. A folder that was there before is
// narrowed only if it is ours alone: an operator may have pointed us at one
// that others need.
func prepareFolder(dir string, log *slog.Logger) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the data folder: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if info.Mode().Perm()&groupAndOthers == 0 {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	ours := len(entries) == 0
	for _, e := range entries {
		ours = ours || strings.HasPrefix(e.Name(), fileName)
	}
	if !ours {
		log.Warn("data folder is open to others; the database in it is not", "folder", dir, "mode", info.Mode().Perm().String(), "fix", "chmod 700")
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("narrowing the data folder: %w", err)
	}
	return nil
}

// prepareFile makes the database file before SQLite does: its -wal and -shm
// inherit the mode.
func prepareFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	for _, name := range files(path) {
		if err := os.Chmod(name, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("narrowing the database: %w", err)
		}
	}
	return nil
}

func files(path string) []string { return []string{path, path + "-wal", path + "-shm"} }

// moveAside renames a damaged database, with its journal, so that SQLite's
// tools still open it, and returns its new path.
func moveAside(path string, now time.Time) (string, error) {
	aside := path + ".damaged-" + now.UTC().Format("20060102T150405.000Z")
	for i, name := range files(path) {
		err := os.Rename(name, files(aside)[i])
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("moving the damaged database aside: %w", err)
		}
	}
	return filepath.Clean(aside), nil
}
