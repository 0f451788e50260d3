package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// RecordRow is the stored form of a call's record. A row with an ID that is
// there already replaces it: a record is written when the call starts and again
// when it ends.
type RecordRow struct {
	ID       string // of the call, unique
	Started  time.Time
	Answered time.Time // zero: not answered
	Ended    time.Time // zero: the call was going on when this was written
	From     string
	To       string
	Trunk    string
	User     string
	Status   int    // SIP status that the caller got, or that ended the call
	Reason   string // for a person
	Devices  []RecordDevice
	Doc      json.RawMessage // the rest, a JSON value; nil: null
}

// RecordDevice is one device that the call tried.
type RecordDevice struct {
	Device  string `json:"device"` // its key
	UUID    string `json:"uuid"`   // of (call, device)
	Outcome string `json:"outcome"`
}

// Position is a place in the list of records, between two of them.
type Position struct {
	Started time.Time
	ID      string
}

// Position is the place right behind r, where the next page begins.
func (r RecordRow) Position() Position { return Position{Started: r.Started, ID: r.ID} }

const (
	selectCalls = `SELECT id, started_ms, answered_ms, ended_ms, caller, called, trunk, user, status, reason, devices, doc FROM calls`
	newestFirst = " ORDER BY started_ms DESC, id DESC LIMIT ?"
	putCall     = `INSERT INTO calls (id, started_ms, answered_ms, ended_ms, caller, called, trunk, user, status, reason, devices, doc)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET started_ms = excluded.started_ms, answered_ms = excluded.answered_ms, ended_ms = excluded.ended_ms,
			caller = excluded.caller, called = excluded.called, trunk = excluded.trunk, user = excluded.user,
			status = excluded.status, reason = excluded.reason, devices = excluded.devices, doc = excluded.doc`
)

// AppendRecord writes r and returns when it is durable. The error wraps
// ErrBadRecord, ErrDiskFull, ErrClosed, or ctx's.
func (db *DB) AppendRecord(ctx context.Context, r RecordRow) error {
	row, err := r.columns()
	if err != nil {
		return err
	}
	return db.write.do(ctx, func(tx *sql.Tx) error { return execAll(tx, putCall, [][]any{row}) })
}

// SpoolRecord takes r and returns at once. It is written as soon as the disk
// allows, up to maxSpooled records wait for that. The error wraps ErrBadRecord,
// ErrSpoolFull or ErrClosed. Records of one ID must all be spooled or all be
// appended.
func (db *DB) SpoolRecord(r RecordRow) error {
	row, err := r.columns()
	if err != nil {
		return err
	}
	return db.spool.add(r.ID, row)
}

// Record returns the record of a call by its ID or by the uuid of one of its
// devices; false if there is none.
func (db *DB) Record(ctx context.Context, idOrUUID string) (RecordRow, bool, error) {
	for _, where := range []string{
		" WHERE id = ?",
		" WHERE EXISTS (SELECT 1 FROM json_each(iif(json_valid(devices), devices, '[]')) WHERE lower(value ->> 'uuid') = lower(?)) ORDER BY started_ms DESC LIMIT 1",
	} {
		rows, err := db.records(ctx, where, idOrUUID)
		if err != nil || len(rows) > 0 {
			return first(rows), err == nil, err
		}
	}
	return RecordRow{}, false, nil
}

func first(rows []RecordRow) RecordRow {
	if len(rows) == 0 {
		return RecordRow{}
	}
	return rows[0]
}

// Records returns up to limit records, the one that started last first, from
// behind before on; from the first on if before is zero.
func (db *DB) Records(ctx context.Context, limit int, before Position) ([]RecordRow, error) {
	if limit <= 0 {
		return nil, nil
	}
	if before == (Position{}) {
		return db.records(ctx, newestFirst, limit)
	}
	return db.records(ctx, " WHERE (started_ms, id) < (?, ?)"+newestFirst, millis(before.Started), before.ID, limit)
}

// Unended returns the records without an end, the oldest first. Right after
// Open these are the calls that the last process took with it.
func (db *DB) Unended(ctx context.Context) ([]RecordRow, error) {
	return db.records(ctx, " WHERE ended_ms IS NULL ORDER BY started_ms, id")
}

func (db *DB) records(ctx context.Context, where string, args ...any) ([]RecordRow, error) {
	var out []RecordRow
	err := db.each(ctx, selectCalls+where, args, func(row *row) {
		r := RecordRow{
			ID: row.text(0), Started: row.time(1), Answered: row.optionalTime(2), Ended: row.optionalTime(3),
			From: row.text(4), To: row.text(5), Trunk: row.text(6), User: row.text(7), Status: row.int(8), Reason: row.text(9),
			Doc: json.RawMessage(row.text(11)),
		}
		if err := json.Unmarshal([]byte(row.text(10)), &r.Devices); err != nil || row.bad || !json.Valid(r.Doc) {
			db.log.Error("a call record is damaged", "call", r.ID)
			r.Devices, r.Doc = nil, json.RawMessage("null")
		}
		out = append(out, r)
	})
	if err != nil {
		return nil, fmt.Errorf("reading records: %w", err)
	}
	return out, nil
}

// columns are r's values in the order of putCall.
func (r RecordRow) columns() ([]any, error) {
	doc := r.Doc
	if doc == nil {
		doc = json.RawMessage("null")
	}
	if r.ID == "" || r.Started.IsZero() || !json.Valid(doc) {
		return nil, fmt.Errorf("call %q: %w", r.ID, ErrBadRecord)
	}
	devices, err := json.Marshal(append([]RecordDevice{}, r.Devices...))
	if err != nil {
		return nil, errors.Join(ErrBadRecord, err)
	}
	return []any{
		r.ID, millis(r.Started), nullMillis(r.Answered), nullMillis(r.Ended), r.From, r.To, r.Trunk, r.User,
		r.Status, r.Reason, string(devices), string(doc),
	}, nil
}

func nullMillis(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: millis(t), Valid: !t.IsZero()}
}
