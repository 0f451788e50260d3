package store

import (
	"context"
	"database/sql"
	"fmt"
	"hash/crc32"
	"time"

	"wakebridge/sipua/location"
)

const (
	selectDevices = "SELECT user, domain, key, doc, crc FROM devices"
	putDevice     = `INSERT INTO devices (user, domain, key, last_seen_ms, doc, crc) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET last_seen_ms = excluded.last_seen_ms, doc = excluded.doc, crc = excluded.crc`
	deleteDevice = "DELETE FROM devices WHERE user = ? AND domain = ? AND key = ?"

	selectFates = "SELECT user, domain, device, uuid, cause, text, expires_ms, recorded_ms, keep_until_ms, told FROM fates"
	putFate     = `INSERT INTO fates (user, domain, device, uuid, cause, text, expires_ms, recorded_ms, keep_until_ms, told)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET cause = excluded.cause, text = excluded.text, expires_ms = excluded.expires_ms,
			recorded_ms = excluded.recorded_ms, keep_until_ms = excluded.keep_until_ms, told = excluded.told`
	deleteFate = "DELETE FROM fates WHERE user = ? AND domain = ? AND device = ? AND uuid = ?"
)

// checkSum of a document, to be made afresh: crc32 keeps its tables itself.
func checkSum(doc []byte) uint32 { return crc32.Checksum(doc, crc32.MakeTable(crc32.Castagnoli)) }

// Commit implements location.Store.
func (db *DB) Commit(ctx context.Context, batch location.Batch) error {
	if batch.Len() == 0 {
		return nil
	}
	var puts, deletes, fates, forgets [][]any
	for _, d := range batch.Put {
		doc, err := encode(d)
		if err != nil {
			return fmt.Errorf("encoding device %s: %w", d.Key, err)
		}
		puts = append(puts, []any{d.AOR.User, d.AOR.Domain, d.Key, millis(d.LastSeen), doc, checkSum(doc)})
	}
	for _, ref := range batch.Delete {
		deletes = append(deletes, []any{ref.AOR.User, ref.AOR.Domain, ref.Key})
	}
	for _, f := range batch.PutFates {
		fates = append(fates, []any{
			f.AOR.User, f.AOR.Domain, f.DeviceKey, f.UUID, f.Cause, f.Text,
			millis(f.ExpiresAt), millis(f.Recorded), millis(f.KeepUntil), f.Told,
		})
	}
	for _, ref := range batch.DeleteFates {
		forgets = append(forgets, []any{ref.Device.AOR.User, ref.Device.AOR.Domain, ref.Device.Key, ref.UUID})
	}
	return db.write.do(ctx, func(tx *sql.Tx) error {
		for _, s := range []struct {
			statement string
			rows      [][]any
		}{{putDevice, puts}, {deleteDevice, deletes}, {putFate, fates}, {deleteFate, forgets}} {
			if err := execAll(tx, s.statement, s.rows); err != nil {
				return err
			}
		}
		return nil
	})
}

// execAll runs statement for each row of arguments.
func execAll(tx *sql.Tx, statement string, rows [][]any) (err error) {
	if len(rows) == 0 {
		return nil
	}
	prepared, err := tx.Prepare(statement)
	if err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	for _, row := range rows {
		if _, err := prepared.Exec(row...); err != nil {
			return fmt.Errorf("writing: %w", err) // tx closes prepared when it ends
		}
	}
	if err := prepared.Close(); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

// Load implements location.Store. A device whose document is damaged is left
// out, with an error in the log.
func (db *DB) Load(ctx context.Context) (location.State, error) {
	var state location.State

	err := db.each(ctx, selectDevices, nil, func(row *sql.Rows) error {
		var d location.Device
		var doc []byte
		var crc uint32
		if err := row.Scan(&d.AOR.User, &d.AOR.Domain, &d.Key, &doc, &crc); err != nil {
			return err
		}
		if checkSum(doc) != crc || decode(doc, &d) != nil {

			db.log.Error("a stored device is damaged: left out until it registers again", "aor", d.AOR.String(), "device", d.Key)
			return nil
		}
		state.Devices = append(state.Devices, d)
		return nil
	})
	if err != nil {
		return location.State{}, fmt.Errorf("reading devices: %w", err)
	}
	err = db.each(ctx, selectFates, nil, func(row *sql.Rows) error {
		var f location.Fate
		var expires, recorded, keep int64
		if err := row.Scan(&f.AOR.User, &f.AOR.Domain, &f.DeviceKey, &f.UUID, &f.Cause, &f.Text, &expires, &recorded, &keep, &f.Told); err != nil {
			return err
		}
		f.ExpiresAt, f.Recorded, f.KeepUntil = fromMillis(expires), fromMillis(recorded), fromMillis(keep)
		state.Fates = append(state.Fates, f)
		return nil
	})
	if err != nil {
		return location.State{}, fmt.Errorf("reading fates: %w", err)
	}
	return state, nil
}

// each calls scan for every row that query finds.
func (db *DB) each(ctx context.Context, query string, args []any, scan func(*sql.Rows) error) error {
	rows, err := db.read.QueryContext(ctx, query, args...)
	if err != nil {
		return explain(err)
	}
	defer rows.Close() //nolint:errcheck // Err, below, has what went wrong
	for rows.Next() {
		if err := scan(rows); err != nil {
			return explain(err)
		}
	}
	return explain(rows.Err())
}

// millis is t in milliseconds of UTC since 1970, 0 for the zero time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
