// Package store keeps what must outlive the process in one SQLite database:
// the journal of the devices and fates (location.Store) and the records of
// calls.
//
// All writes go through one goroutine, which puts what waits into one
// transaction with one fsync (WAL, synchronous FULL). Reads have connections of
// their own and never wait for a write. A damaged database is moved aside when
// it is opened, and an empty one takes its place; at run time errors are
// returned and nothing else stops.
//
// The database holds push tokens: its folder is 0700, its files 0600. Errors
// and logs hold none.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"path/filepath"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the database/sql driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"wakebridge/sipua/location"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Options says how to open a DB.
type Options struct {
	Dir string       // made if it is not there
	Log *slog.Logger // never nil
}

// DB is the open database. Make it with Open. Its methods may be called from
// any goroutine.
type DB struct {
	log   *slog.Logger
	aside string
	lock  *folderLock
	read  *sql.DB
	write *writer
	spool *spool

	close func() error
}

var _ location.Store = (*DB)(nil)

// Open opens the database in o.Dir, or makes it. A damaged database is moved
// aside and reported by an error in the log and by MovedAside. The error wraps
// ErrInUse, ErrNewer, ErrDiskFull, or the operating system's.
func Open(ctx context.Context, o Options) (*DB, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if err := prepareFolder(dir, o.Log); err != nil {
		return nil, err
	}
	held, err := lock(filepath.Join(dir, lockName))
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, fileName)
	db := &DB{log: o.Log, lock: held}
	pools, err := open(ctx, path, o.Log)
	if errors.Is(err, errDamaged) {
		damage := err
		if db.aside, err = moveAside(path, time.Now()); err == nil {
			o.Log.Error("database is damaged: moved aside, starting with an empty one; sleeping devices cannot be woken until they register again",
				"database", path, "moved_to", db.aside, "error", damage)
			pools, err = open(ctx, path, o.Log)
		}
	}
	if err != nil {
		return nil, errors.Join(err, held.Close())
	}
	db.read = pools.read
	db.write = startWriter(pools.write)
	db.spool = startSpool(db.write, o.Log)
	db.close = sync.OnceValue(func() error {
		spooled := db.spool.close()
		db.write.close()
		return errors.Join(spooled, pools.close(), held.Close())
	})
	return db, nil
}

// MovedAside is where the damaged database went that Open found, "" if it found
// none.
func (db *DB) MovedAside() string { return db.aside }

// Close writes what waits and closes the database. Later writes return
// ErrClosed. It waits for the disk, may be called again and then returns the
// same.
func (db *DB) Close() error { return db.close() }

// pools are the connections: one that writes, a few that read.
type pools struct{ write, read *sql.DB }

func (p pools) close() error {
	var errs []error
	if p.read != nil {
		errs = append(errs, p.read.Close())
	}
	if p.write != nil { // the last to close folds the journal into the database
		errs = append(errs, p.write.Close())
	}
	return errors.Join(errs...)
}

// open opens the database at path and brings its schema up to date. The error
// wraps errDamaged if the file is not what we wrote.
func open(ctx context.Context, path string, log *slog.Logger) (pools, error) {
	if err := prepareFile(path); err != nil {
		return pools{}, err
	}
	p, err := openPools(ctx, path, log)
	if err != nil {
		return pools{}, errors.Join(explain(err), p.close())
	}
	return p, nil
}

func openPools(ctx context.Context, path string, log *slog.Logger) (pools, error) {
	var p pools
	var err error
	// Full synchronous: a commit that was acknowledged survives a power cut.
	if p.write, err = sql.Open("sqlite", dsn(path, "journal_mode(WAL)", "synchronous(FULL)", "journal_size_limit(16777216)")+"&_txlock=immediate"); err != nil {
		return p, fmt.Errorf("opening the database: %w", err)
	}
	p.write.SetMaxOpenConns(1)
	if err := check(ctx, p.write, log); err != nil {
		return p, err
	}
	if err := migrate(ctx, p.write); err != nil {
		return p, err
	}
	if p.read, err = sql.Open("sqlite", dsn(path, "query_only(1)")); err != nil {
		return p, fmt.Errorf("opening the database: %w", err)
	}
	p.read.SetMaxOpenConns(4)
	return p, nil
}

func dsn(path string, pragmas ...string) string {
	u := url.URL{Scheme: "file", Path: path}
	u.RawQuery = url.Values{"_pragma": append([]string{"busy_timeout(5000)"}, pragmas...)}.Encode()
	return u.String()
}

// check looks at every page. Indices that do not say what the tables say would
// refuse later writes; they are made anew.
func check(ctx context.Context, db *sql.DB, log *slog.Logger) error {
	all, err := verdict(ctx, db, "PRAGMA integrity_check(1)")
	if err != nil || all == "ok" {
		return err
	}
	if tables, err := verdict(ctx, db, "PRAGMA quick_check(1)"); err != nil || tables != "ok" {
		return errors.Join(fmt.Errorf("%w: %s", errDamaged, all), err)
	}
	if _, err := db.ExecContext(ctx, "REINDEX"); err != nil {
		return fmt.Errorf("%w: %s: %w", errDamaged, all, err)
	}
	again, err := verdict(ctx, db, "PRAGMA integrity_check(1)")
	if err == nil && again != "ok" {
		err = fmt.Errorf("%w: %s", errDamaged, again)
	}
	if err == nil {
		log.Error("the database had damaged indices, which were made anew; its disk may be failing", "found", all)
	}
	return err
}

func verdict(ctx context.Context, db *sql.DB, pragma string) (string, error) {
	var said string
	err := db.QueryRowContext(ctx, pragma).Scan(&said)
	if sqliteCode(err) == sqlite3.SQLITE_ERROR {
		// The statement is right, so the file is wrong ("unsupported file format").
		return "", fmt.Errorf("%w: %w", errDamaged, err)
	}
	if err != nil {
		return "", fmt.Errorf("checking the database: %w", err)
	}
	return said, nil
}

func migrate(ctx context.Context, db *sql.DB) error {
	sources, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, sources, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	have, want, err := provider.GetVersions(ctx)
	switch {
	case sqliteCode(err) == sqlite3.SQLITE_ERROR:
		return fmt.Errorf("%w: schema version: %w", errDamaged, err)
	case err != nil:
		return fmt.Errorf("schema version: %w", err)
	case have > want:
		return fmt.Errorf("%w: schema %d, this version knows %d", ErrNewer, have, want)
	}
	if _, err := provider.Up(ctx); err != nil {
		return asDamage(have <= 0 || have == want, fmt.Errorf("migrating the database from schema %d to %d: %w", have, want, err))
	}
	return asDamage(have == want, usable(ctx, db))
}

// asDamage decides what an SQL error means: a schema that should be empty and
// is not, or that should be ours and is not, is damage; otherwise it is a
// mistake of ours, for which no database is moved aside.
func asDamage(shouldWork bool, err error) error {
	if shouldWork && sqliteCode(err) == sqlite3.SQLITE_ERROR {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return err
}

// usable tries to write, and prepares every statement against the schema.
func usable(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, deleteFate, "", "", "", "") // which is not there
	if sqliteCode(err) == sqlite3.SQLITE_READONLY {
		// We may write to the file (prepareFile did), but its header says no.
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	if err != nil {
		return fmt.Errorf("trying to write: %w", explain(err))
	}
	for _, query := range []string{
		selectDevices, putDevice, deleteDevice, selectFates, putFate, deleteFate, selectCalls + newestFirst, putCall,
	} {
		statement, err := db.PrepareContext(ctx, query)
		if err != nil {
			return fmt.Errorf("schema: %w", err)
		}
		if err := statement.Close(); err != nil { //nolint:sqlclosecheck // one at a time, not all at the end
			return fmt.Errorf("schema: %w", err)
		}
	}
	return nil
}
