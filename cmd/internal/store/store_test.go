package store

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"wakebridge/sipua/location"
	"wakebridge/sipua/location/locationtest"
)

// childFolder makes the test binary the process that TestKill kills.
const childFolder = "WAKEBRIDGE_STORE_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childFolder); dir != "" {
		os.Exit(child(dir))
	}
	goleak.VerifyTestMain(m)
}

var discard = slog.New(slog.DiscardHandler)

func openIn(t *testing.T, dir string) *DB {
	t.Helper()
	db, err := Open(t.Context(), Options{Dir: dir, Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeDB(t, db) })
	return db
}

func closeDB(t *testing.T, db *DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func commit(t *testing.T, db *DB, devices ...location.Device) {
	t.Helper()
	if err := db.Commit(t.Context(), location.Batch{Put: devices}); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, db *DB) location.State {
	t.Helper()
	state, err := db.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func TestContract(t *testing.T) {
	locationtest.Contract(t, func(t *testing.T) location.Store { return openIn(t, t.TempDir()) })
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	commit(t, db, locationtest.Device("alice", "k"))
	if err := db.AppendRecord(t.Context(), RecordRow{ID: "c", Started: time.Now()}); err != nil {
		t.Fatal(err)
	}
	closeDB(t, db)
	db = openIn(t, dir)
	state := load(t, db)
	if len(state.Devices) != 1 || state.Devices[0].Push.VoIP != locationtest.Device("alice", "k").Push.VoIP {
		t.Errorf("%v", state.Devices)
	}
	if _, ok, err := db.Record(t.Context(), "c"); !ok || err != nil {
		t.Errorf("record: %t, %v", ok, err)
	}
	if db.MovedAside() != "" {
		t.Error("a good database was moved aside")
	}
}

func TestClose(t *testing.T) {
	db := openIn(t, t.TempDir())
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			err := db.Commit(context.Background(), location.Batch{Put: []location.Device{locationtest.Device("alice", fmt.Sprint(i))}})
			if err != nil && !errors.Is(err, ErrClosed) {
				t.Errorf("Commit: %v", err)
			}
		})
	}
	closeDB(t, db)
	closeDB(t, db)
	wg.Wait()
	for what, err := range map[string]error{
		"Commit":       db.Commit(t.Context(), location.Batch{Put: []location.Device{locationtest.Device("a", "b")}}),
		"AppendRecord": db.AppendRecord(t.Context(), RecordRow{ID: "c", Started: time.Now()}),
		"SpoolRecord":  db.SpoolRecord(RecordRow{ID: "c", Started: time.Now()}),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
}

func TestPermissions(t *testing.T) {
	mode := func(name string) fs.FileMode {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	base := t.TempDir()
	for _, test := range []struct {
		name  string
		make  func(dir string) error
		wants fs.FileMode
	}{
		{"new", func(string) error { return nil }, 0o700},
		{"new with parents", func(string) error { return nil }, 0o700},
		{"empty, open", func(dir string) error { return os.Mkdir(dir, 0o755) }, 0o700},
		{"ours, open", func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, fileName), nil, 0o644))
		}, 0o700},
		{"others' too", func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "other"), nil, 0o644))
		}, 0o755},
	} {
		dir := filepath.Join(base, strings.ReplaceAll(test.name, " ", "/")+" #?%20ü")
		if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := test.make(dir); err != nil {
			t.Fatal(err)
		}
		db := openIn(t, dir)
		commit(t, db, locationtest.Device("alice", "k"))
		load(t, db)
		if got := mode(dir); got != test.wants {
			t.Errorf("%s: folder %s", test.name, got)
		}
		for _, name := range append(files(filepath.Join(dir, fileName)), filepath.Join(dir, lockName)) {
			if got := mode(name); got != 0o600 {
				t.Errorf("%s: %s is %s", test.name, filepath.Base(name), got)
			}
		}
		closeDB(t, db)
	}
}

func TestInUse(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	if _, err := Open(t.Context(), Options{Dir: dir, Log: discard}); !errors.Is(err, ErrInUse) {
		t.Errorf("second Open: %v", err)
	}
	closeDB(t, db)
	openIn(t, dir)
}

func TestCannotOpen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if _, err := Open(t.Context(), Options{Dir: dir, Log: discard}); err == nil {
			t.Errorf("opened in %s", dir)
		}
	}
}

// The database of a newer version is neither used nor moved aside.
func TestNewerSchema(t *testing.T) {
	dir := t.TempDir()
	closeDB(t, openIn(t, dir))
	tamper(t, dir, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)")
	if _, err := Open(t.Context(), Options{Dir: dir, Log: discard}); !errors.Is(err, ErrNewer) {
		t.Errorf("Open: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*damaged*")); err != nil || len(left) != 0 {
		t.Errorf("moved aside: %v, %v", left, err)
	}
}

// tamper runs statements on the closed database in dir.
func tamper(t *testing.T, dir string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(filepath.Join(dir, fileName)))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// What "durable" rests on: kill -9 alone would not show it.
func TestPragmas(t *testing.T) {
	db := openIn(t, t.TempDir())
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "busy_timeout": "5000"} {
		var got string
		if err := db.write.db.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s, %v", pragma, got, err)
		}
	}
	if _, err := db.read.Exec("DELETE FROM devices"); err == nil {
		t.Error("the readers can write")
	}
}

// A full disk: the write fails and says why, reading goes on, and the next
// write succeeds once there is room.
func TestDiskFull(t *testing.T) {
	db := openIn(t, t.TempDir())
	commit(t, db, locationtest.Device("alice", "old"))
	limit := func(pages int) {
		if _, err := db.write.db.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", pages)); err != nil {
			t.Fatal(err)
		}
	}
	limit(1) // no more than there are
	big := locationtest.Device("alice", "big")
	big.Bindings[0].UserAgent = strings.Repeat("x", 1<<16)
	err := db.Commit(t.Context(), location.Batch{Put: []location.Device{big}, Delete: []location.Ref{{AOR: big.AOR, Key: "old"}}})
	if !errors.Is(err, ErrDiskFull) || strings.Contains(err.Error(), big.Push.VoIP.Value) {
		t.Fatalf("Commit: %v", err)
	}
	if state := load(t, db); len(state.Devices) != 1 || state.Devices[0].Key != "old" {
		t.Errorf("after a failed commit: %v", state.Devices)
	}
	record := RecordRow{ID: "c", Started: time.Now(), Reason: strings.Repeat("x", 1<<16)}
	if err := db.AppendRecord(t.Context(), record); !errors.Is(err, ErrDiskFull) {
		t.Errorf("AppendRecord: %v", err)
	}
	for i := range 3 {
		record.ID = fmt.Sprint("spooled", i)
		if err := db.SpoolRecord(record); err != nil {
			t.Fatal(err)
		}
	}
	limit(1 << 20)
	commit(t, db, big)
	for i := range 3 {
		eventually(t, func() bool {
			_, ok, err := db.Record(t.Context(), fmt.Sprint("spooled", i))
			return ok && err == nil
		})
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 10 s")
		}
	}
}

// While the disk hangs, readers read and writers wait no longer than they want to.
func TestSlowDisk(t *testing.T) {
	db := openIn(t, t.TempDir())
	commit(t, db, locationtest.Device("alice", "old"))
	hang, hanging := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- db.write.do(context.Background(), func(*sql.Tx) error { close(hanging); <-hang; return nil })
	}()
	<-hanging
	if state := load(t, db); len(state.Devices) != 1 {
		t.Errorf("read %v", state.Devices)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := db.Commit(ctx, location.Batch{Put: []location.Device{locationtest.Device("alice", "late")}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Commit: %v", err)
	}
	if err := db.SpoolRecord(RecordRow{ID: "c", Started: time.Now()}); err != nil {
		t.Errorf("SpoolRecord: %v", err)
	}
	close(hang)
	if err := <-done; err != nil {
		t.Error(err)
	}
	// What was queued is written all the same, in its order.
	early := locationtest.Device("alice", "late")
	early.Instance = "newer"
	commit(t, db, early)
	if state := load(t, db); len(state.Devices) != 2 || state.Devices[1].Instance != "newer" {
		t.Errorf("%v", state.Devices)
	}
}

// One write of a group that cannot be done takes no other with it.
func TestGroupFailsAlone(t *testing.T) {
	db := openIn(t, t.TempDir())
	hang, hanging := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := db.write.do(context.Background(), func(*sql.Tx) error { close(hanging); <-hang; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-hanging
	broken := errors.New("broken")
	for i := range 10 {
		wg.Go(func() {
			if i == 5 {
				err := db.write.do(context.Background(), func(tx *sql.Tx) error {
					_, err := tx.Exec("DELETE FROM devices")
					return errors.Join(broken, err)
				})
				if !errors.Is(err, broken) {
					t.Errorf("broken write: %v", err)
				}
				return
			}
			if err := db.Commit(context.Background(), location.Batch{Put: []location.Device{locationtest.Device("alice", fmt.Sprint(i))}}); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, func() bool { return len(db.write.jobs) == 10 })
	close(hang)
	wg.Wait()
	if state := load(t, db); len(state.Devices) != 9 {
		t.Errorf("%d devices", len(state.Devices))
	}
}

// The stored tokens are in the files, and nowhere else.
func TestLogsAndErrorsShowNoToken(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	d := locationtest.Device("alice", "k")
	commit(t, db, d, locationtest.Device("bob", "k"))
	closeDB(t, db)
	// One document with a wrong digit, one that is no JSON any more.
	tamper(t, dir, "UPDATE devices SET doc = CAST(replace(CAST(doc AS TEXT), '0a1b2c3d', '0a1b2c3e') AS BLOB) WHERE user = 'alice'",
		"UPDATE devices SET doc = substr(doc, 1, 100) WHERE user = 'bob'")
	var out bytes.Buffer
	db, err := Open(t.Context(), Options{Dir: dir, Log: slog.New(slog.NewJSONHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer closeDB(t, db)
	if state := load(t, db); len(state.Devices) != 0 {
		t.Errorf("loaded damaged devices: %v", state.Devices)
	}
	if lines := bufio.NewScanner(bytes.NewReader(out.Bytes())); !lines.Scan() || !strings.Contains(out.String(), "alice") || !strings.Contains(out.String(), "bob") {
		t.Errorf("log: %s", out.String())
	}
	for _, secret := range []string{d.Push.VoIP.Value, d.Push.Alert.Value, "0a1b2c3e"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("the log shows a token: %s", out.String())
		}
	}
}
