package daemon

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"wakebridge/cmd/internal/api"
	"wakebridge/cmd/internal/store"
	"wakebridge/config"
)

// Who asks for a capture that is not there hears why, and what to do.
func TestNoCapture(t *testing.T) {
	for calls, want := range map[string][2]string{
		"off":    {"capture.calls is off", "failed or all"},
		"failed": {"the call went well", "capture.calls to all"},
		"all":    {"removed", "capture.keep"},
	} {
		t.Run(calls, func(t *testing.T) {
			d := start(t, func(c *config.Config) { c.Capture.Calls = calls })
			call := store.RecordRow{ID: uuid.NewString(), Started: time.Now(), Ended: time.Now()}
			if err := d.store.AppendRecord(t.Context(), call); err != nil {
				t.Fatal(err)
			}
			ask := func(id string) api.Problem {
				t.Helper()
				status, body := get(t, d, "/v1/calls/"+id+"/pcap")
				var p api.Problem
				if err := json.Unmarshal([]byte(body), &p); err != nil || status != http.StatusNotFound || p.Status != status {
					t.Errorf("%d %s", status, body)
				}
				return p
			}
			if p := ask(call.ID); !strings.Contains(p.Detail, want[0]) || !strings.Contains(p.Fix, want[1]) {
				t.Errorf("%+v", p)
			}
			for _, id := range []string{uuid.NewString(), "..%2Fwakebridge", strings.Repeat("a", 2000)} {
				if p := ask(id); p.Title != "No such call" || len(p.Detail) > 36 {
					t.Errorf("%+v", p)
				}
			}
		})
	}
}

// A capture from before the start is served, with its type and length.
func TestCaptureIsServed(t *testing.T) {
	id := uuid.NewString()
	d := start(t, func(c *config.Config) {
		folder := filepath.Join(c.Node.DataDir, "captures")
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, id+".pcapng"), []byte("pages"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+d.HTTPAddr().String()+"/v1/calls/"+id+"/pcap", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if h := res.Header; res.StatusCode != 200 || res.ContentLength != 5 || h.Get("Content-Type") != "application/vnd.tcpdump.pcap" ||
		h.Get("Content-Disposition") != `attachment; filename="`+id+`.pcapng"` {
		t.Errorf("%d %v", res.StatusCode, h)
	}
}
