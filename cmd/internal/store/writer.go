package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	sqlite3 "modernc.org/sqlite/lib"
)

const (
	queueLen  = 256
	groupSize = 64 // writes that share a transaction at most
)

// write is what one caller wants written, as statements on tx.
type write func(tx *sql.Tx) error

type job struct {
	write write
	reply chan error // of capacity 1
}

// writer has the one connection that writes to itself. Writes that wait together are
// committed together.
type writer struct {
	db      *sql.DB // of one connection
	jobs    chan job
	closing chan struct{}
	done    chan struct{}
}

func startWriter(db *sql.DB) *writer {
	w := &writer{db: db, jobs: make(chan job, queueLen), closing: make(chan struct{}), done: make(chan struct{})}
	go w.run() // close waits for it
	return w
}

// close writes what is queued and waits for that. It must be called once.
func (w *writer) close() {
	close(w.closing)
	<-w.done
}

// do returns when write was committed (nil), was not (an error), or may still
// be (ctx's error).
func (w *writer) do(ctx context.Context, write write) error {
	j := job{write: write, reply: make(chan error, 1)}
	select {
	case <-w.closing:
		return ErrClosed
	default:
	}
	select {
	case w.jobs <- j:
	case <-w.closing:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("waiting for the disk: %w", context.Cause(ctx))
	}
	select {
	case err := <-j.reply:
		return err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the disk: %w", context.Cause(ctx))
	case <-w.done:
	}
	// The writer ended: it answered, or the job came too late for it.
	select {
	case err := <-j.reply:
		return err
	default:
		return ErrClosed
	}
}

func (w *writer) run() {
	defer close(w.done)
	for {
		select {
		case j := <-w.jobs:
			w.commit(w.gather(j))
		case <-w.closing:
			for {
				select {
				case j := <-w.jobs:
					w.commit(w.gather(j))
				default:
					return
				}
			}
		}
	}
}

// gather adds what else waits to first.
func (w *writer) gather(first job) []job {
	group := []job{first}
	for len(group) < groupSize {
		select {
		case j := <-w.jobs:
			group = append(group, j)
		default:
			return group
		}
	}
	return group
}

// commit writes a group in one transaction. If one of them cannot be written,
// each gets a transaction of its own, so that none fails for another.
func (w *writer) commit(group []job) {
	failed, err := w.transact(group)
	if failed && len(group) > 1 {
		for _, j := range group {
			w.commit([]job{j})
		}
		return
	}
	for _, j := range group {
		j.reply <- err
	}
}

// transact says whether a write failed, rather than the transaction as a whole.
// It does without the context of whoever waits: others share the transaction.
func (w *writer) transact(group []job) (failed bool, err error) {
	tx, err := w.db.BeginTx(context.Background(), nil)
	if err != nil {
		return false, fmt.Errorf("beginning a transaction: %w", explain(err))
	}
	for _, j := range group {
		if err := j.write(tx); err != nil {
			return true, rollBack(tx, explain(err))
		}
	}
	if err := tx.Commit(); err != nil {
		return false, fmt.Errorf("committing: %w", explain(err))
	}
	return false, nil
}

// rollBack ends the transaction that cause broke. After the worst errors, a
// full disk among them, SQLite has done so itself and calls this a mistake.
func rollBack(tx *sql.Tx, cause error) error {
	if err := tx.Rollback(); err != nil && sqliteCode(err) != sqlite3.SQLITE_ERROR {
		return errors.Join(cause, fmt.Errorf("rolling back: %w", err))
	}
	return cause
}
