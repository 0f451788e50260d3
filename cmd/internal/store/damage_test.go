package store

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"wakebridge/sipua/location"
	"wakebridge/sipua/location/locationtest"
)

// wellFilled is the image of a database with devices, fates and records.
func wellFilled(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	db := openIn(t, dir)
	var b location.Batch
	for i := range 30 {
		b.Put = append(b.Put, locationtest.Device("alice", fmt.Sprint(i)))
		b.PutFates = append(b.PutFates, locationtest.Fate("alice", fmt.Sprint(i), "u"))
		if err := db.AppendRecord(t.Context(), RecordRow{ID: fmt.Sprint(i), Started: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	closeDB(t, db)
	image, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// start opens a database with that content and uses it: whatever it finds, the
// service starts, and what it then writes is kept.
func start(t *testing.T, image []byte) (devices int, moved bool) {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, fileName)
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	db, err := Open(t.Context(), Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if errors.Is(err, ErrNewer) {
		t.Logf("looks newer: %v", err)
		return 0, true
	}
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	defer closeDB(t, db)
	state := load(t, db)
	if aside := db.MovedAside(); aside != "" {
		kept, err := os.ReadFile(aside)
		if err != nil || len(kept) == 0 { // an attempt to mend it may have changed it
			t.Errorf("the damaged database was not kept: %v", err)
		}
		if !bytes.Contains(log.Bytes(), []byte("level=ERROR")) || len(state.Devices) != 0 {
			t.Errorf("%d devices after moving aside, log %s", len(state.Devices), log.String())
		}
	}
	commit(t, db, locationtest.Device("new", "k"))
	if after := load(t, db); len(after.Devices) != len(state.Devices)+1 {
		t.Errorf("%d devices, then one more, then %d", len(state.Devices), len(after.Devices))
	}
	return len(state.Devices), db.MovedAside() != ""
}

func TestUndamaged(t *testing.T) {
	if devices, moved := start(t, wellFilled(t)); devices != 30 || moved {
		t.Errorf("%d devices, moved aside: %t", devices, moved)
	}
	if devices, moved := start(t, nil); devices != 0 || moved {
		t.Errorf("empty file: %d devices, moved aside: %t", devices, moved)
	}
}

func TestForeignFile(t *testing.T) {
	good := wellFilled(t)
	header := func(at int, value byte) []byte {
		image := bytes.Clone(good)
		image[at] = value
		return image
	}
	for name, image := range map[string][]byte{
		"text":      []byte("this is no database, this is no database, this is no database, this is no database, this is no database"),
		"zeroes":    make([]byte, 8192),
		"read-only": header(18, 10), // the write version: SQLite reads such files, and refuses to write
		"format":    header(47, 9),  // the schema format, a plain SQL error
		"no tables": nil,
	} {
		t.Run(name, func(t *testing.T) {
			if image == nil {
				dir := t.TempDir()
				closeDB(t, openIn(t, dir))
				tamper(t, dir, "DROP TABLE devices")
				var err error
				if image, err = os.ReadFile(filepath.Join(dir, fileName)); err != nil {
					t.Fatal(err)
				}
			}
			if _, moved := start(t, image); !moved {
				t.Error("not moved aside")
			}
		})
	}
}

// A damaged index is made anew, and nothing is lost.
func TestDamagedIndex(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, fileName)
	if err := os.WriteFile(path, wellFilled(t), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		t.Fatal(err)
	}
	var page int
	if err := db.QueryRow("SELECT rootpage FROM sqlite_master WHERE name = 'calls_by_start'").Scan(&page); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	image[page*4096-3] ^= 1 // in the first row that was entered
	if devices, moved := start(t, image); devices != 30 || moved {
		t.Errorf("%d devices, moved aside: %t", devices, moved)
	}
}

func TestTruncated(t *testing.T) {
	image := wellFilled(t)
	for size := 4096; size < len(image); size += 4096 {
		if _, moved := start(t, image[:size]); !moved {
			t.Errorf("cut to %d bytes and not moved aside", size)
		}
		if devices, _ := start(t, image[:size-100]); devices != 0 {
			t.Errorf("cut to %d bytes: %d devices", size-100, devices)
		}
	}
}

func TestFlippedBits(t *testing.T) {
	image := wellFilled(t)
	random := rand.New(rand.NewPCG(20260101, 1))
	moved := 0
	for range 60 {
		bad := bytes.Clone(image)
		for range 1 + random.IntN(20) {
			bad[random.IntN(len(bad))] ^= 1 << random.IntN(8)
		}
		if _, m := start(t, bad); m {
			moved++
		}
	}
	if moved == 0 {
		t.Error("no damage was found at all")
	}
	t.Logf("%d of 60 moved aside", moved)
}

// A whole page of noise.
func TestNoisePages(t *testing.T) {
	image := wellFilled(t)
	random := rand.New(rand.NewPCG(1, 2))
	for page := 0; page < len(image); page += 4096 {
		bad := bytes.Clone(image)
		for i := page; i < page+4096; i++ {
			bad[i] = byte(random.Uint32())
		}
		if _, moved := start(t, bad); !moved {
			t.Errorf("noise in page %d was not found", page/4096)
		}
	}
}
