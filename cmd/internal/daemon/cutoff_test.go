package daemon

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/store"
)

// Calls that a process took with it are ended by the next one, once, at the last
// moment that is known; those that ended stay as they are.
func TestCallsCutOffAreEnded(t *testing.T) {
	ctx := t.Context()
	db, err := store.Open(ctx, store.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	start := time.Now().Add(-time.Hour).UTC().Truncate(time.Millisecond)
	waking := bridge.Record{ID: "waking", Started: start, From: "sip:100@pbx", User: "sip:alice@example.com",
		Detail: bridge.Detail{Steps: []bridge.Step{{At: start.Add(3 * time.Second), What: "VoIP push sent"}}}}
	talking := bridge.Record{ID: "talking", Started: start, Answered: start.Add(9 * time.Second), Result: bridge.Answered, Status: 200}
	over := bridge.Record{ID: "over", Started: start, Ended: start.Add(time.Minute), Result: bridge.Busy, Status: 486, Reason: "the device is busy"}
	for _, r := range []bridge.Record{waking, talking, over} {
		row, err := rowOf(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.AppendRecord(ctx, row); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.AppendRecord(ctx, store.RecordRow{ID: "old form", Started: start}); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	for range 2 {
		if err := endCutOff(ctx, db, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(log.String(), "calls=3"); n != 1 || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("log:\n%s", &log)
	}
	for id, ended := range map[string]time.Duration{"waking": 3 * time.Second, "talking": 9 * time.Second, "over": time.Minute, "old form": 0} {
		row, found, err := db.Record(ctx, id)
		if err != nil || !found {
			t.Fatal(id, err)
		}
		var r bridge.Record
		if err := json.Unmarshal(row.Doc, &r); err != nil {
			t.Fatal(err)
		}
		want := cutOff
		if id == "over" {
			want = over.Reason
		}
		if !row.Ended.Equal(start.Add(ended)) || row.Reason != want || r.Reason != want || (r.Result == bridge.Failed) != (id != "over") {
			t.Errorf("%s: ended %s, %q, %+v", id, row.Ended.Sub(start), row.Reason, r)
		}
	}
}
