package apnssim

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// requests lists the journal, authorization masked: a provider token is a
// secret for an hour.
func (a *admin) requests(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	f := Filter{
		Token: q.Get("token"), Topic: q.Get("topic"), APNsID: q.Get("apns_id"),
		Environment: Environment(q.Get("environment")), Reason: q.Get("reason"),
	}
	var err error
	if f.After, err = number(q.Get("after")); err != nil {
		problem(w, http.StatusBadRequest, "after is not a number")
		return
	}
	status, err := number(q.Get("status"))
	if err != nil {
		problem(w, http.StatusBadRequest, "status is not a number")
		return
	}
	f.Status = int(status)
	list := []ShownEntry{}
	for _, e := range a.sim.Requests(f) {
		list = append(list, e.Shown())
	}
	answer(w, list)
}

// ShownEntry is an Entry for people and files: its payload is text, and its
// provider token is masked.
type ShownEntry struct {
	Entry
	Payload string `json:"payload"`
}

// Shown returns the entry for people and files.
func (e Entry) Shown() ShownEntry {
	header := make([]Field, len(e.Header))
	for i, h := range e.Header {
		if h.Name == "authorization" {
			h.Value = "****"
		}
		header[i] = h
	}
	e.Header = header
	return ShownEntry{Entry: e, Payload: string(e.Payload)}
}

func number(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	return strconv.ParseUint(s, 10, 31)
}

// heartbeat is how often a stream that has nothing to say sends an empty line.
const heartbeat = 15 * time.Second

// lines is an answer of one JSON document per line, without end.
type lines struct {
	w   http.ResponseWriter
	enc *json.Encoder
}

func newLines(w http.ResponseWriter) (*lines, error) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	l := &lines{w, json.NewEncoder(w)}
	return l, l.flush()
}

func (l *lines) flush() error { return http.NewResponseController(l.w).Flush() }

func (l *lines) write(v any) error {
	if err := l.enc.Encode(v); err != nil {
		return err
	}
	return l.flush()
}

func (l *lines) beat() error {
	if _, err := l.w.Write([]byte("\n")); err != nil {
		return err
	}
	return l.flush()
}

// journal streams entries as they change.
func (a *admin) journal(w http.ResponseWriter, r *http.Request) {
	after, err := number(r.URL.Query().Get("after"))
	if err != nil {
		problem(w, http.StatusBadRequest, "after is not a number")
		return
	}
	a.feed(w, r, func() ([]any, <-chan struct{}) {
		found, changed := a.sim.journal.since(after)
		list := make([]any, 0, len(found))
		for _, e := range found {
			list = append(list, e.Shown())
			after = e.Change
		}
		return list, changed
	})
}

// stream sends a device's deliveries as they come.
func (a *admin) stream(w http.ResponseWriter, r *http.Request, d *Device) {
	after, err := number(r.URL.Query().Get("after"))
	if err != nil {
		problem(w, http.StatusBadRequest, "after is not a number")
		return
	}
	a.feed(w, r, func() ([]any, <-chan struct{}) {
		found, changed := d.Received(after)
		list := make([]any, 0, len(found))
		for _, v := range found {
			list = append(list, v)
			after = v.Seq
		}
		return list, changed
	})
}

// feed writes what next returns, and again when its channel is closed, until
// the client leaves or the simulator closes.
func (a *admin) feed(w http.ResponseWriter, r *http.Request, next func() ([]any, <-chan struct{})) {
	out, err := newLines(w)
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for err == nil {
		list, changed := next()
		for _, v := range list {
			if err = out.write(v); err != nil {
				return
			}
		}
		select {
		case <-changed:
		case <-beat.C:
			err = out.beat()
		case <-r.Context().Done():
			return
		case <-a.sim.done:
			return
		}
	}
}
