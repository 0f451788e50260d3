package store

import (
	"context"
	"database/sql"
	"fmt"
	"hash/crc32"
	"time"

	"wakebridge/sipua"
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

// checkSum is over a device's document and its name.
func checkSum(d location.Device, doc []byte) int64 {
	table := crc32.MakeTable(crc32.Castagnoli) // which is made but once
	sum := crc32.Checksum(doc, table)
	for _, column := range []string{d.AOR.User, d.AOR.Domain, d.Key} {
		sum = crc32.Update(sum, table, append([]byte(column), 0))
	}
	return int64(sum)
}

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
		puts = append(puts, []any{d.AOR.User, d.AOR.Domain, d.Key, millis(d.LastSeen), doc, checkSum(d, doc)})
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
	defer prepared.Close() //nolint:errcheck // the transaction's end tells what went wrong
	for _, row := range rows {
		if _, err := prepared.Exec(row...); err != nil {
			return fmt.Errorf("writing: %w", err)
		}
	}
	return nil
}

// Load implements location.Store. Rows that are damaged are left out, with an
// error in the log.
func (db *DB) Load(ctx context.Context) (location.State, error) {
	var state location.State
	err := db.each(ctx, selectDevices, nil, func(r *row) {
		d := location.Device{AOR: sipua.AOR{User: r.text(0), Domain: r.text(1)}, Key: r.text(2)}
		doc, crc := r.bytes(3), r.int(4)
		if r.bad || checkSum(d, doc) != int64(crc) || decode(doc, &d) != nil {
			db.log.Error("a stored device is damaged: left out until it registers again", "user", d.AOR.User, "domain", d.AOR.Domain)
			return
		}
		state.Devices = append(state.Devices, d)
	})
	if err != nil {
		return location.State{}, fmt.Errorf("reading devices: %w", err)
	}
	err = db.each(ctx, selectFates, nil, func(r *row) {
		f := location.Fate{
			AOR: sipua.AOR{User: r.text(0), Domain: r.text(1)}, DeviceKey: r.text(2), UUID: r.text(3), Cause: r.int(4), Text: r.text(5),
			ExpiresAt: r.time(6), Recorded: r.time(7), KeepUntil: r.time(8), Told: r.int(9) != 0,
		}
		if r.bad {
			db.log.Error("a stored fate is damaged: left out", "user", f.AOR.User, "domain", f.AOR.Domain)
			return
		}
		state.Fates = append(state.Fates, f)
	})
	if err != nil {
		return location.State{}, fmt.Errorf("reading fates: %w", err)
	}
	return state, nil
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
