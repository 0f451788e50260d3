package relay

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// fill is how many streams one worker gets before the next one is used: few
// workers with much to do wake less often than many with little. It is about a
// sixth of a core.
const fill = 512

// Workers is the Engine of Linux: a fixed number of goroutines, each a loop over
// the sockets of many streams. No goroutine per socket, no allocation and no lock
// per packet. What gathers packets is the gather, the bell and the alarm.
//
// What was tried and lost, at 400 streams unless it says otherwise: blocking system
// calls (0.61 of the C loop's CPU, now 0.44: the runtime's watching thread spins);
// the runtime's timers (850 wakings per second at 100 streams, now 490); edge trigger
// (in C 5.2 µs per packet against 5.5, within the spread, for one more system call per
// socket). Connected sockets save a sixth (4.6 µs), but the kernel would hide from the
// latch whoever comes from another address. recvmmsg finds one packet where a stream
// has 50 per second (19.9 against 20.2 µs). Busy polling takes all of a core: 50 µs per
// packet at 400 streams, 17 at 1,200. io_uring was not measured: it has no well-kept
// library and is forbidden in most containers.
type Workers struct {
	log     *slog.Logger
	workers []*worker
	running sync.WaitGroup

	mu     sync.Mutex
	load   []int // streams by worker
	open   map[*wired]struct{}
	closed bool
}

// NewWorkers starts an engine of n workers, at least one. The error is that of the
// kernel, which has no descriptors left.
func NewWorkers(n int, log *slog.Logger) (*Workers, error) {
	e := &Workers{log: log, load: make([]int, max(n, 1)), open: make(map[*wired]struct{})}
	for range e.load {
		w, err := newWorker(e)
		if err != nil {
			e.Close()
			return nil, fmt.Errorf("media worker: %w", err)
		}
		e.workers = append(e.workers, w)
		e.running.Go(w.run) // Close waits
	}
	return e, nil
}

// Open implements Engine. The pair's connections must be UDP sockets of the system.
func (e *Workers) Open(pair Pair, o Options) (Stream, error) {
	s := &wired{engine: e, first: o.First, receiver: newReceiver(o.Past, time.Now(), o.Older...)}
	s.fd = [2]int{-1, -1}
	var errs [2]error
	s.fd[rtpChannel], s.family, errs[0] = descriptor(pair.RTP)
	s.fd[rtcpChannel], _, errs[1] = descriptor(pair.RTCP)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, errors.Join(err, s.closeSockets())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, errors.Join(ErrClosed, s.closeSockets())
	}
	i := e.place()
	s.worker, s.index = e.workers[i], i
	if err := s.worker.add(s); err != nil {
		return nil, errors.Join(err, s.closeSockets())
	}
	e.load[i]++
	e.open[s] = struct{}{}
	return s, nil
}

// place is the worker for the next stream: the first that is not full, else the one
// with the fewest. mu is held.
func (e *Workers) place() int {
	best := 0
	for i, n := range e.load {
		if n < fill {
			return i
		}
		if n < e.load[best] {
			best = i
		}
	}
	return best
}

// forget gives up a stream's place and waits until no worker can be sending from
// its sockets any more.
func (e *Workers) forget(s *wired) {
	e.mu.Lock()
	if _, known := e.open[s]; known {
		delete(e.open, s)
		e.load[s.index]--
	}
	e.mu.Unlock()
	for _, w := range e.workers {
		w.mu.Lock()   // it has ended the batch in which it may have read the old outlet
		w.mu.Unlock() //nolint:staticcheck // see above
	}
}

// Close implements Engine.
func (e *Workers) Close() {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		e.running.Wait()
		return
	}
	e.closed = true
	all := make([]*wired, 0, len(e.open))
	for s := range e.open {
		all = append(all, s)
	}
	e.mu.Unlock()
	for _, s := range all {
		s.Close()
	}
	for _, w := range e.workers {
		w.end()
	}
	e.running.Wait()
	for _, w := range e.workers {
		if err := w.free(); err != nil {
			e.log.Warn("media worker", "error", err)
		}
	}
}
