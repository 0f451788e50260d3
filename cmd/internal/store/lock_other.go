//go:build !unix

package store

import (
	"fmt"
	"os"
)

// folderLock is the lock file.
type folderLock struct{ *os.File }

// lock opens the lock file; where there is no flock it locks nobody out.
func lock(path string) (*folderLock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the data folder: %w", err)
	}
	return &folderLock{f}, nil
}
