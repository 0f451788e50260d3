package store

import (
	"context"
	"time"
)

// row is one row of an answer. database/sql's own conversions are of no use
// here: a damaged row fails the whole query, and the error shows what is in it.
type row struct {
	values []any
	bad    bool // a column did not hold what belongs there
}

// column is the value of column i, of type T; anything else spoils the row.
func column[T any](r *row, i int) T {
	v, ok := r.values[i].(T)
	r.bad = r.bad || !ok
	return v
}

func (r *row) text(i int) string  { return column[string](r, i) }
func (r *row) bytes(i int) []byte { return column[[]byte](r, i) }
func (r *row) int(i int) int      { return int(column[int64](r, i)) }
func (r *row) time(i int) time.Time {
	return fromMillis(column[int64](r, i))
}

// optionalTime is the zero time for NULL.
func (r *row) optionalTime(i int) time.Time {
	if r.values[i] == nil {
		return time.Time{}
	}
	return r.time(i)
}

// each calls use for every row that query finds.
func (db *DB) each(ctx context.Context, query string, args []any, use func(*row)) error {
	rows, err := db.read.QueryContext(ctx, query, args...)
	if err != nil {
		return explain(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return explain(err)
	}
	for rows.Next() {
		r := row{values: make([]any, len(columns))}
		into := make([]any, len(columns))
		for i := range into {
			into[i] = &r.values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return explain(err)
		}
		use(&r)
	}
	return explain(rows.Err())
}
