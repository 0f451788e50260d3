package capture

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
)

// Calls says which calls are captured.
type Calls uint8

// The choices (capture.calls).
const (
	Off    Calls = iota
	Failed       // all are recorded, those that went well are thrown away at their end
	All
)

// Config is what a Store needs. Dir, Keep and MaxBytes are required.
type Config struct {
	// Dir holds the files; it is made, mode 0700, when calls are captured.
	Dir   string
	Calls Calls
	// Whole writes whole RTP packets; else their headers only, which say who sent
	// what when, but hold no sound and no DTMF.
	Whole bool
	// Decrypt writes what SRTP holds; else it stays as it is on the wire.
	Decrypt bool
	// Keep is how long a file is kept after its call.
	Keep time.Duration
	// MaxBytes bounds all files together; the oldest go first. One call may take a
	// sixteenth of it.
	MaxBytes int64
	// Redact blanks what is secret in a signalling message, in place and keeping its
	// length. nil: nothing is secret.
	Redact  func(message []byte)
	Version string
	// Log gets faults of the disk, once until it works again. Default: discarded.
	Log *slog.Logger
	// Registerer gets the metrics wakebridge_capture_*; nil: none.
	Registerer prometheus.Registerer
}

// share is the part of MaxBytes that one call may take.
const share = 16

// sweepEvery is how often files that are too old are looked for.
const sweepEvery = 10 * time.Minute

// Store keeps the captures of all calls. All methods may be called from any
// goroutine; those of a nil Store do nothing.
type Store struct {
	cfg     Config
	log     *slog.Logger
	disk    *disk
	metrics *metrics
	running sync.WaitGroup // writers and the sweeper
	quit    chan struct{}
	faulty  atomic.Bool // the disk failed last time
	lobby   lobby

	mu      sync.RWMutex
	closed  bool
	byID    map[string]*Recording
	claimed map[string][]*Recording // by the keys of Claim
}

// New opens a store and removes what a process that died has left half done, and
// what is too old or too much. Errors wrap ErrConfig, or are the disk's.
func New(cfg Config) (*Store, error) {
	if cfg.Dir == "" || cfg.Keep <= 0 || cfg.MaxBytes <= 0 {
		return nil, fmt.Errorf("%w: a folder, a time to keep and a number of bytes are required", ErrConfig)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Calls != Off {
		if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
			return nil, fmt.Errorf("folder for captures: %w", err)
		}
	}
	d, err := openDisk(cfg)
	if err != nil {
		return nil, fmt.Errorf("folder for captures: %w", err)
	}
	s := &Store{
		cfg: cfg, log: cfg.Log, disk: d, quit: make(chan struct{}),
		byID: make(map[string]*Recording), claimed: make(map[string][]*Recording),
	}
	if s.metrics, err = newMetrics(cfg.Registerer, s); err != nil {
		return nil, err
	}
	s.running.Go(s.sweep) // Close waits
	return s, nil
}

// Close finishes all recordings and waits for them. Idempotent.
func (s *Store) Close() {
	if s == nil {
		return
	}
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.quit)
	}
	s.mu.Unlock()
	s.running.Wait()
	s.metrics.unregister()
}

// sweep is the goroutine that removes files when their time is over.
func (s *Store) sweep() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		s.trouble("remove old captures", s.disk.expire(time.Now().Add(-s.cfg.Keep)))
		select {
		case <-s.quit:
			return
		case <-tick.C:
		}
	}
}

// Calls is which calls are captured; Off for a nil Store.
func (s *Store) Calls() Calls {
	if s == nil {
		return Off
	}
	return s.cfg.Calls
}

// Begin starts the recording of the call with this id, a UUID; nil if calls are not
// captured. It must be ended by Recording.End.
func (s *Store) Begin(id string) *Recording {
	if s.Calls() == Off {
		return nil
	}
	r := newRecording(s, id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.byID[id] != nil {
		return nil
	}
	s.byID[id] = r
	s.running.Go(r.run) // Close waits
	return r
}

// claim makes messages with this key r's, those too that wait for it.
func (s *Store) claim(key string, r *Recording) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID[r.id] != r {
		return
	}
	for _, m := range s.lobby.leave(key) {
		r.Message(m) // before those that find the claim
	}
	s.claimed[key] = append(s.claimed[key], r)
	r.keys = append(r.keys, key)
}

// forget lets go of a recording that has ended.
func (s *Store) forget(r *Recording) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, r.id)
	for _, key := range r.keys {
		rest := make([]*Recording, 0, 1)
		for _, other := range s.claimed[key] {
			if other != r {
				rest = append(rest, other)
			}
		}
		if s.claimed[key] = rest; len(rest) == 0 {
			delete(s.claimed, key)
		}
	}
}

// Message adds a message to the recordings that claimed its key. One that may begin a
// call waits a moment for being claimed.
func (s *Store) Message(key string, m Message) {
	if s.Calls() == Off {
		return
	}
	s.mu.RLock()
	defer s.mu.RUnlock() // a claim comes before or after all of this
	recordings := s.claimed[key]
	for _, r := range recordings {
		r.Message(m)
	}
	if m.Begins && len(recordings) == 0 {
		s.lobby.enter(key, m)
	}
}

// File is a capture to be read.
type File struct {
	io.Reader
	Size int64
	file *os.File
}

// Close gives the file back.
func (f *File) Close() error { return f.file.Close() }

// Open opens the capture of a call, that of one which goes on as far as it is written.
// The error wraps ErrNone, or is the disk's.
func (s *Store) Open(id string) (*File, error) {
	if s == nil {
		return nil, ErrNone
	}
	known, err := uuid.Parse(id)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", id, ErrNone)
	}
	id = known.String()
	s.mu.RLock()
	r := s.byID[id]
	s.mu.RUnlock()
	if r != nil {
		if f, err := r.open(); err == nil {
			return f, nil
		}
	}
	f, err := os.Open(s.disk.path(id))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrNone
	case err != nil:
		return nil, fmt.Errorf("capture of call %s: %w", id, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("capture of call %s: %w", id, err), f.Close())
	}
	return &File{Reader: f, Size: info.Size(), file: f}, nil
}

// trouble counts an error of the disk, and logs it unless the last thing failed as
// well.
func (s *Store) trouble(what string, err error) {
	if err == nil {
		return
	}
	s.metrics.errors.Inc()
	if !s.faulty.Swap(true) {
		s.log.Error("captures are lost", "what", what, "error", err)
	}
}

// recovered notes that the disk works.
func (s *Store) recovered() {
	if s.faulty.Swap(false) {
		s.log.Info("captures are written again")
	}
}
