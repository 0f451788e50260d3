package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// Captures has what was on the wire of calls.
type Captures interface {
	// Capture opens the capture of a call, a pcapng file of size bytes. The error is a
	// Problem that says why there is none.
	Capture(ctx context.Context, id string) (file io.ReadCloser, size int64, err error)
}

// pcapType is the media type of captures.
const pcapType = "application/vnd.tcpdump.pcap"

func (h *handlers) getCapture(w http.ResponseWriter, r *http.Request) {
	file, size, err := h.cfg.Captures.Capture(r.Context(), r.PathValue("id"))
	if err != nil {
		var problem Problem
		if !errors.As(err, &problem) {
			h.cfg.Log.Error("capture", "error", err)
			problem = Problem{Status: http.StatusInternalServerError, Title: "The capture cannot be read", Fix: "Look at the server's log."}
		}
		h.fail(w, problem)
		return
	}
	defer file.Close()
	w.Header().Set("Content-Type", pcapType)
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s.pcapng"`, r.PathValue("id")))
	w.Header().Set("Cache-Control", "no-store")
	if _, err := io.Copy(w, file); err != nil {
		h.cfg.Log.Debug("write HTTP response", "error", err)
	}
}
