package store

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

var (
	// ErrClosed says that the DB was closed.
	ErrClosed = errors.New("store: closed")
	// ErrInUse says that another process has the folder open.
	ErrInUse = errors.New("store: the data folder is in use by another process")
	// ErrNewer says that a newer version of Wakebridge wrote the database.
	ErrNewer = errors.New("store: the database was written by a newer version")
	// ErrDiskFull says that there was no room; nothing of the write was kept.
	ErrDiskFull = errors.New("store: disk full")
	// ErrSpoolFull says that so many records wait for the disk that no more are taken.
	ErrSpoolFull = errors.New("store: too many records wait for the disk")
	// ErrBadRecord says that a record has no id, no start, or a Doc that is no JSON.
	ErrBadRecord = errors.New("store: record cannot be stored")

	errDamaged = errors.New("store: the database is damaged")
)

// sqliteCode is the primary result code of SQLite in err, 0 if there is none.
func sqliteCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff // the rest says which kind of it
	}
	return 0
}

// explain adds the sentinel that an error of SQLite stands for.
func explain(err error) error {
	switch sqliteCode(err) {
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return err
}
