package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/store"
)

// cutOff is the reason of calls that ended with the process.
const cutOff = "the server died during the call"

// endCutOff gives the calls that an earlier process took with it an end: when that
// was nobody knows, so it is when the call was heard of last.
func endCutOff(ctx context.Context, s *store.DB, log *slog.Logger) error {
	rows, err := s.Unended(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		var rec bridge.Record
		if err := json.Unmarshal(row.Doc, &rec); err != nil || rec.ID != row.ID {
			rec = bridge.Record{ID: row.ID, Started: row.Started, Answered: row.Answered, From: row.From, To: row.To, Trunk: row.Trunk, User: row.User}
		}
		rec.Ended, rec.Result, rec.Reason, rec.HangupBy = lastHeard(rec), bridge.Failed, cutOff, "server"
		if row, err = rowOf(rec); err != nil {
			return err
		}
		if err := s.AppendRecord(ctx, row); err != nil {
			return fmt.Errorf("end the record of call %s: %w", row.ID, err)
		}
	}
	if len(rows) > 0 {
		log.Warn("the last process died during calls; their records say so", "calls", len(rows))
	}
	return nil
}

// lastHeard is the newest moment that a record knows.
func lastHeard(rec bridge.Record) time.Time {
	last := rec.Started
	for _, t := range []time.Time{rec.Rang, rec.Answered} {
		if t.After(last) {
			last = t
		}
	}
	for _, s := range rec.Steps {
		if s.At.After(last) {
			last = s.At
		}
	}
	return last
}
