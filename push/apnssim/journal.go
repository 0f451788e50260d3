package apnssim

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// Delivered is what became of a push on its way to the device.
type Delivered string

const (
	// Undecided: not accepted, or still on its way.
	Undecided Delivered = ""
	// Stored: the device is offline, it will be tried again.
	Stored Delivered = "stored"
	// Handed over to the device.
	Handed Delivered = "delivered"
	// Dropped: the device was offline and the expiration was 0 or past, or the
	// token was no longer active.
	Dropped Delivered = "dropped"
	// Lapsed: stored, and expired before the device came back.
	Lapsed Delivered = "expired"
	// Replaced: stored, and a later push for the same bundle took its place.
	Replaced Delivered = "replaced"
	// Lost by Network.
	Lost Delivered = "lost"
	// Throttled: too many background pushes (Limits.BackgroundPerHour).
	Throttled Delivered = "throttled"
)

// Entry is one request in the journal.
type Entry struct {
	Seq         uint64         `json:"seq"` // from 1, without gaps
	ReceivedAt  time.Time      `json:"received_at"`
	AnsweredAt  time.Time      `json:"answered_at,omitzero"` // zero: the client got no answer
	Environment Environment    `json:"environment"`
	Conn        uint64         `json:"conn"` // connections are numbered from 1
	Stream      uint32         `json:"stream"`
	Method      string         `json:"method"`
	Path        string         `json:"path"`
	Header      []Field        `json:"header"`  // in order, with authorization
	Payload     []byte         `json:"payload"` // at most 5121 bytes
	Provider    *ProviderToken `json:"provider,omitempty"`
	APNsID      string         `json:"apns_id"` // the client's or ours
	Verdict     Verdict        `json:"verdict"` // Status 0: no answer was decided
	Fault       Fault          `json:"fault,omitempty"`
	Delivery    Delivered      `json:"delivery,omitempty"`
	Progress
}

// Progress is how far the story of an entry is told.
type Progress struct {
	// Change is the number of the entry's latest change; every change in the
	// journal has a higher one than those before.
	Change uint64 `json:"change"`
	// Concluded: the answer was sent, or a fault swallowed it for good. Only
	// Delivery can still change.
	Concluded bool `json:"concluded"`
}

// Get returns the first value of a header field (lower-case name), or an empty
// string.
func (e Entry) Get(name string) string { return (&request{header: e.Header}).get(name) }

// Token returns the device token of the path, or an empty string.
func (e Entry) Token() string {
	t, ok := strings.CutPrefix(e.Path, devicePath)
	if !ok {
		return ""
	}
	return t
}

// Filter selects journal entries; zero fields match all.
type Filter struct {
	Token       string // device token
	Topic       string
	APNsID      string // compared without case
	Environment Environment
	Status      int
	Reason      string
	After       uint64 // only entries with a higher Seq
}

func (f Filter) match(e *Entry) bool {
	return e.Seq > f.After &&
		(f.Token == "" || strings.EqualFold(f.Token, e.Token())) &&
		(f.Topic == "" || f.Topic == e.Get("apns-topic")) &&
		(f.APNsID == "" || strings.EqualFold(f.APNsID, e.APNsID)) &&
		(f.Environment == "" || f.Environment == e.Environment) &&
		(f.Status == 0 || f.Status == e.Verdict.Status) &&
		(f.Reason == "" || f.Reason == e.Verdict.Reason)
}

// journal is a ring of the latest requests.
type journal struct {
	mu      sync.Mutex
	ring    []*Entry // ring[seq % len]
	last    uint64
	changes uint64
	changed chan struct{} // closed and replaced at every change
}

func newJournal(size int) *journal {
	return &journal{ring: make([]*Entry, size), changed: make(chan struct{})}
}

// begin remembers a request and returns its number.
func (j *journal) begin(e Entry) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.last++
	e.Seq = j.last
	j.changes++
	e.Change = j.changes
	j.ring[e.Seq%uint64(len(j.ring))] = &e
	j.notify()
	return e.Seq
}

func (j *journal) ruled(seq uint64, v Verdict) {
	j.update(seq, func(e *Entry) { e.Verdict = v })
}

func (j *journal) answered(seq uint64, at time.Time) {
	j.update(seq, func(e *Entry) { e.AnsweredAt = at })
}

// concluded says that no more is done about the answer.
func (j *journal) concluded(seq uint64) {
	j.update(seq, func(e *Entry) { e.Concluded = true })
}

func (j *journal) delivery(seq uint64, d Delivered) {
	j.update(seq, func(e *Entry) { e.Delivery = d })
}

// update changes an entry that is still in the ring. Entries that were handed
// out are copies and stay as they were.
func (j *journal) update(seq uint64, change func(*Entry)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if e := j.ring[seq%uint64(len(j.ring))]; e != nil && e.Seq == seq {
		change(e)
		j.changes++
		e.Change = j.changes
		j.notify()
	}
}

func (j *journal) notify() {
	close(j.changed)
	j.changed = make(chan struct{})
}

func (j *journal) find(f Filter) ([]Entry, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []Entry
	size := uint64(len(j.ring))
	first := f.After + 1
	if j.last > size {
		first = max(first, j.last-size+1)
	}
	for seq := first; seq <= j.last; seq++ {
		if e := j.ring[seq%size]; f.match(e) {
			found = append(found, *e)
		}
	}
	return found, j.changed
}

// Requests returns the remembered requests that match, oldest first.
func (s *Sim) Requests(f Filter) []Entry {
	found, _ := s.journal.find(f)
	return found
}

// WaitRequests waits until at least n remembered requests match and returns
// them all. Errors: ctx's, ErrClosed; with what was found so far.
func (s *Sim) WaitRequests(ctx context.Context, f Filter, n int) ([]Entry, error) {
	for {
		found, changed := s.journal.find(f)
		if len(found) >= n {
			return found, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return found, ctx.Err()
		case <-s.done:
			return found, ErrClosed
		}
	}
}

// since returns the entries that changed after the given change, in the order
// of their latest changes, and a channel that is closed at the next one.
func (j *journal) since(change uint64) ([]Entry, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []Entry
	for _, e := range j.ring {
		if e != nil && e.Change > change {
			found = append(found, *e)
		}
	}
	slices.SortFunc(found, func(a, b Entry) int { return cmp.Compare(a.Change, b.Change) })
	return found, j.changed
}

// Follow calls tell with every entry that has more to it than the change
// numbered after, and again whenever one changes, until tell fails, ctx ends or
// the simulator closes. A slow reader sees the latest state of an entry, not
// every state, and loses entries that left the ring.
// Errors: tell's, ctx's, ErrClosed.
func (s *Sim) Follow(ctx context.Context, after uint64, tell func(Entry) error) error {
	for {
		found, changed := s.journal.since(after)
		for _, e := range found {
			if err := tell(e); err != nil {
				return err
			}
			after = e.Change
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.done:
			return ErrClosed
		}
	}
}
