//go:build unix

package store

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// folderLock is the lock file, held.
type folderLock struct{ *os.File }

// lock takes the folder for this process; the lock goes with the process,
// however it dies. Memory is the truth at run time, so two processes on one
// journal would undo each other's work.
func lock(path string) (*folderLock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the data folder: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return &folderLock{f}, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrInUse
	}
	return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), f.Close())
}

// Close gives the folder back. Closing the file alone would leave the lock with a
// process that was forked meanwhile, until it executes its program.
func (l *folderLock) Close() error {
	return errors.Join(unix.Flock(int(l.Fd()), unix.LOCK_UN), l.File.Close())
}
