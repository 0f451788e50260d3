package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func fullRecord(id string, started time.Time) RecordRow {
	return RecordRow{
		ID: id, Started: started, Answered: started.Add(4 * time.Second), Ended: started.Add(64 * time.Second),
		From: "sip:+4930@carrier.example", To: "sip:201@example.com", Trunk: "asterisk", User: "alice", Status: 200,
		Reason: "caller hung up", Doc: json.RawMessage(`{"wake_ms": 812}`),
		Devices: []RecordDevice{{"urn:uuid:1", "0e8400c2-0000-4000-8000-000000000001", "won"}, {"urn:uuid:2", "0e8400c2-0000-4000-8000-000000000002", "lost"}},
	}
}

func TestRecordRoundTrip(t *testing.T) {
	db := openIn(t, t.TempDir())
	at := time.Date(2026, 3, 29, 1, 59, 59, 987_000_000, time.UTC)
	full := fullRecord("full", at)
	bare := RecordRow{ID: "bare", Started: at.Add(time.Millisecond), Status: 480}
	for _, r := range []RecordRow{full, bare} {
		if err := db.AppendRecord(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	bare.Doc, bare.Devices = json.RawMessage("null"), []RecordDevice{}
	for by, want := range map[string]RecordRow{"full": full, "0E8400C2-0000-4000-8000-000000000002": full, "bare": bare} {
		got, ok, err := db.Record(t.Context(), by)
		if err != nil || !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("by %s: %+v, %t, %v", by, got, ok, err)
		}
	}
	if _, ok, err := db.Record(t.Context(), "nobody"); ok || err != nil {
		t.Errorf("unknown: %t, %v", ok, err)
	}
	open, err := db.Unended(t.Context())
	if err != nil || len(open) != 1 || open[0].ID != "bare" {
		t.Errorf("without an end: %v, %v", open, err)
	}
	bare.Ended = at.Add(time.Hour)
	if err := db.AppendRecord(t.Context(), bare); err != nil {
		t.Fatal(err)
	}
	if open, err := db.Unended(t.Context()); err != nil || len(open) != 0 {
		t.Errorf("without an end: %v, %v", open, err)
	}
	if all, err := db.Records(t.Context(), 10, Position{}); err != nil || len(all) != 2 {
		t.Errorf("one was written twice, but there are %d, %v", len(all), err)
	}
}

func TestBadRecord(t *testing.T) {
	db := openIn(t, t.TempDir())
	now := time.Now()
	for name, r := range map[string]RecordRow{
		"no id": {Started: now}, "no start": {ID: "x"}, "no JSON": {ID: "x", Started: now, Doc: json.RawMessage("{")},
	} {
		if err := db.AppendRecord(t.Context(), r); !errors.Is(err, ErrBadRecord) {
			t.Errorf("%s: append: %v", name, err)
		}
		if err := db.SpoolRecord(r); !errors.Is(err, ErrBadRecord) {
			t.Errorf("%s: spool: %v", name, err)
		}
	}
}

// A row that cannot be read any more hides no other.
func TestDamagedRecord(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	for i := range 3 {
		if err := db.AppendRecord(t.Context(), fullRecord(fmt.Sprint(i), time.Now())); err != nil {
			t.Fatal(err)
		}
	}
	closeDB(t, db)
	tamper(t, dir, "UPDATE calls SET devices = '[{', doc = '{' WHERE id = '1'")
	db = openIn(t, dir)
	all, err := db.Records(t.Context(), 10, Position{})
	if err != nil || len(all) != 3 {
		t.Fatalf("%v, %v", all, err)
	}
	for _, r := range all {
		if bad := r.ID == "1"; bad != (len(r.Devices) == 0) || !json.Valid(r.Doc) {
			t.Errorf("%+v", r)
		}
	}
	if _, ok, err := db.Record(t.Context(), "0e8400c2-0000-4000-8000-000000000002"); !ok || err != nil {
		t.Errorf("by uuid: %t, %v", ok, err)
	}
}

func TestRecordPages(t *testing.T) {
	db := openIn(t, t.TempDir())
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 25 {
		// Five calls each start in the same millisecond.
		if err := db.AppendRecord(t.Context(), RecordRow{ID: fmt.Sprintf("%02d", i), Started: at.Add(time.Duration(i/5) * time.Millisecond)}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	var before Position
	for {
		page, err := db.Records(t.Context(), 4, before)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			got = append(got, r.ID)
		}
		before = page[len(page)-1].Position()
	}
	for i, id := range got {
		if id != fmt.Sprintf("%02d", 24-i) {
			t.Fatalf("order: %v", got)
		}
	}
	if len(got) != 25 {
		t.Errorf("%d records", len(got))
	}
	if none, err := db.Records(t.Context(), 0, Position{}); err != nil || none != nil {
		t.Errorf("no limit: %v, %v", none, err)
	}
}

func TestSpoolIsWrittenOnClose(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 200 {
				r := fullRecord(fmt.Sprintf("%d-%d", i, j), time.Now())
				r.Ended = time.Time{}
				if err := db.SpoolRecord(r); err != nil {
					t.Error(err)
				}
				r.Ended = time.Now()
				if err := db.SpoolRecord(r); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	closeDB(t, db)
	db = openIn(t, dir)
	all, err := db.Records(t.Context(), 1000, Position{})
	if err != nil || len(all) != 800 {
		t.Errorf("%d records, %v", len(all), err)
	}
	if open, err := db.Unended(t.Context()); err != nil || len(open) != 0 {
		t.Errorf("%d are as they were first, %v", len(open), err)
	}
}

// The spool's bound, and what Close says about records that are lost: with a
// writer that answers nothing but errors.
func TestSpoolFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &writer{jobs: make(chan job), closing: make(chan struct{}), done: make(chan struct{})}
		broken := errors.New("disk full")
		var tries atomic.Int64
		go func() {
			defer close(w.done)
			for {
				select {
				case j := <-w.jobs:
					tries.Add(1)
					j.reply <- broken
				case <-w.closing:
					return
				}
			}
		}()
		s := startSpool(w, discard)
		for i := range maxSpooled {
			if err := s.add(fmt.Sprint(i), []any{i}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.add("one more", []any{0}); !errors.Is(err, ErrSpoolFull) {
			t.Errorf("beyond the bound: %v", err)
		}
		if err := s.add("7", []any{"newer"}); err != nil {
			t.Errorf("a row that replaces another: %v", err)
		}
		synctest.Wait()
		before := tries.Load()
		time.Sleep(10 * retryAfter)
		synctest.Wait()
		if n := tries.Load() - before; n < 9 || n > 11 {
			t.Errorf("tried %d times in ten turns", n)
		}
		if err := s.close(); err == nil {
			t.Error("Close says nothing of what is lost")
		}
		w.close()
	})
}
