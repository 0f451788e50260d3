package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/google/uuid"

	"wakebridge/bridge"
	"wakebridge/bridge/media/capture"
	"wakebridge/cmd/internal/api"
	"wakebridge/cmd/internal/store"
	"wakebridge/sipua"
)

// openCapture opens the store of captures: before the endpoint, whose last messages
// belong to them.
func (d *Daemon) openCapture(context.Context) error {
	c := d.cfg.Capture
	whole := c.Packets == "all"
	calls := map[string]capture.Calls{"off": capture.Off, "failed": capture.Failed, "all": capture.All}
	captures, err := capture.New(capture.Config{
		Dir: filepath.Join(d.cfg.Node.DataDir, "captures"), Calls: calls[c.Calls], Whole: whole, Decrypt: c.Decrypt,
		Keep: c.Keep, MaxBytes: int64(c.MaxBytes), Redact: bridge.Redact(whole && !c.Decrypt), Version: d.opts.Version, Log: d.log, Registerer: d.registry,
	})
	if err != nil {
		return fmt.Errorf("node.data_dir %s: %w", d.cfg.Node.DataDir, err)
	}
	d.captures = captures
	d.onClose(func(context.Context) { captures.Close() })
	return nil
}

// tap is sipua.Config.Tap: for captures, and for who started the daemon.
func (d *Daemon) tap() func(sipua.Traffic) {
	switch {
	case d.captures.Calls() == capture.Off:
		return d.opts.Tap
	case d.opts.Tap == nil:
		return bridge.Capture(d.captures)
	}
	record := bridge.Capture(d.captures)
	return func(t sipua.Traffic) {
		record(t)
		d.opts.Tap(t)
	}
}

// Capture implements api.Captures. A call is also found by the uuid that a device knows
// it by.
func (d *Daemon) Capture(ctx context.Context, id string) (io.ReadCloser, int64, error) {
	f, err := d.captures.Open(id)
	var call store.RecordRow
	var recorded bool
	if errors.Is(err, capture.ErrNone) {
		var failed error
		if call, recorded, failed = d.store.Record(ctx, id); failed != nil {
			err = failed
		} else if recorded && call.ID != id {
			f, err = d.captures.Open(call.ID)
		}
	}
	switch {
	case err == nil:
		return f, f.Size, nil
	case errors.Is(err, capture.ErrNone):
		return nil, 0, d.noCapture(id, recorded || d.bridge.Find(id) != nil)
	}
	d.log.Error("capture cannot be read", "call", id, "error", err)
	return nil, 0, api.Problem{Status: 500, Title: "The capture cannot be read", Fix: "Look at the server's log."}
}

// noCapture says why there is none.
func (d *Daemon) noCapture(id string, known bool) api.Problem {
	none := api.Problem{Status: 404, Title: "The call has no capture"}
	switch calls := d.captures.Calls(); {
	case !known:
		none.Title, none.Detail = "No such call", id[:min(len(id), len(uuid.Nil.String()))]
		none.Fix = "The log has the id, a UUID, as call= in each line about a call."
	case calls == capture.Off:
		none.Detail = "capture.calls is off"
		none.Fix = "Set capture.calls to failed or all, restart, and call again."
	case calls == capture.Failed:
		none.Detail = "capture.calls is failed, and the call went well, or its capture was removed since"
		none.Fix = "Set capture.calls to all to keep every call; capture.keep and capture.max_bytes say how long."
	default:
		none.Detail = "it was removed, as old or for newer ones, or never written"
		none.Fix = "See capture.keep and capture.max_bytes, wakebridge_capture_errors_total, and captures in the log."
	}
	return none
}
