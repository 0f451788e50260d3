package store

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	maxSpooled = 10_000
	spoolBatch = 256         // records written in one go
	retryAfter = time.Second // a failed write is tried again so much later
)

// spool holds records until the disk has them, so that a call never waits for
// one: not for a slow disk, and not for a full one to be emptied.
type spool struct {
	writer *writer
	log    *slog.Logger

	mu     sync.Mutex
	rows   map[string][]any // by call
	order  []string         // of the calls in rows
	closed bool

	wake chan struct{} // of capacity 1
	done chan struct{}
}

func startSpool(w *writer, log *slog.Logger) *spool {
	s := &spool{writer: w, log: log, rows: map[string][]any{}, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go s.run() // close waits for it
	return s
}

// add takes the row of a call; a row of the same call that still waits is
// replaced.
func (s *spool) add(id string, row []any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if _, waits := s.rows[id]; !waits {
		if len(s.order) >= maxSpooled {
			return fmt.Errorf("call %q: %w", id, ErrSpoolFull)
		}
		s.order = append(s.order, id)
	}
	s.rows[id] = row
	s.nudge()
	return nil
}

func (s *spool) nudge() {
	select {
	case s.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// close writes what waits, once, and says how many records were lost if the
// disk refuses.
func (s *spool) close() error {
	s.mu.Lock()
	s.closed = true
	s.nudge()
	s.mu.Unlock()
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	if lost := len(s.order); lost > 0 {
		return fmt.Errorf("store: %d call records could not be written and are lost", lost)
	}
	return nil
}

func (s *spool) run() {
	defer close(s.done)
	retry := time.NewTimer(retryAfter)
	retry.Stop()
	defer retry.Stop()
	failing := false
	for {
		select {
		case <-s.wake:
		case <-retry.C:
		}
		last := s.ended() // nothing is added after that
		err := s.drain()
		if err != nil && !failing {
			s.log.Error("call records wait for the disk", "error", err)
		}
		if err == nil && failing {
			s.log.Info("call records are written again")
		}
		failing = err != nil
		if last {
			return
		}
		if failing {
			retry.Reset(retryAfter)
		}
	}
}

func (s *spool) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// drain writes until nothing waits or a write fails.
func (s *spool) drain() error {
	for {
		ids, rows := s.oldest()
		if len(ids) == 0 {
			return nil
		}
		err := s.writer.do(context.Background(), func(tx *sql.Tx) error { return execAll(tx, putCall, rows) })
		if err != nil {
			return err
		}
		s.written(ids, rows)
	}
}

func (s *spool) oldest() (ids []string, rows [][]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids = append(ids, s.order[:min(spoolBatch, len(s.order))]...)
	for _, id := range ids {
		rows = append(rows, s.rows[id])
	}
	return ids, rows
}

// written forgets the rows that the disk has. One that was replaced meanwhile
// stays, as the newest of those that wait.
func (s *spool) written(ids []string, rows [][]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.order = s.order[len(ids):]
	for i, id := range ids {
		if &s.rows[id][0] == &rows[i][0] {
			delete(s.rows, id)
		} else {
			s.order = append(s.order, id)
		}
	}
}
