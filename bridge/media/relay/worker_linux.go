package relay

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// worker is one loop. mu guards all of its streams; the loop holds it for a batch of
// packets, control calls hold it for a moment.
type worker struct {
	engine *Workers
	bell   *bell
	alarm  *alarm
	poll   int // epoll over the sockets

	mu     sync.Mutex
	ports  []port // by descriptor
	ended  bool
	events [256]unix.EpollEvent
	taken  [burst]datagram
}

// burst is how many packets a worker reads before it sends them on, one behind the
// other: whoever receives several of them is woken once.
const burst = 32

// datagram is one packet as it came from a socket.
type datagram struct {
	stream  *wired
	channel channel
	size    int
	from    rawAddr
	buf     [maxPacket + 1]byte // one more, so that a longer packet shows
}

// port says whose a descriptor is.
type port struct {
	stream  *wired
	channel channel
	read    time.Time // when it was read last
}

// eager is how soon a socket is ready again that is in a hurry. It is of no call's
// 20 ms: it has video's bursts, or somebody shoots at it, and what its far end says
// must not be lost behind that. It is read until it is empty, but after all others.
// Those get one read for each packet and no more.
const eager = 5 * time.Millisecond

func newWorker(e *Workers) (*worker, error) {
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	b, err := newBell(poll)
	if err != nil {
		return nil, errors.Join(err, unix.Close(poll))
	}
	a, err := newAlarm()
	if err != nil {
		return nil, errors.Join(err, b.close(), unix.Close(poll))
	}
	return &worker{engine: e, poll: poll, bell: b, alarm: a}, nil
}

func (w *worker) watch(fd int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)} //nolint:gosec // descriptors are small
	if err := unix.EpollCtl(w.poll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("watch a media socket: %w", err)
	}
	return nil
}

func (w *worker) add(s *wired) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch, fd := range s.fd {
		if fd >= len(w.ports) {
			w.ports = append(w.ports, make([]port, fd+1-len(w.ports))...)
		}
		if err := w.watch(fd); err != nil {
			w.dropLocked(s)
			return err
		}
		w.ports[fd] = port{stream: s, channel: channel(ch)} //nolint:gosec // 0 or 1
	}
	return nil
}

// dropLocked forgets a stream's sockets; those not watched yet are no fault.
func (w *worker) dropLocked(s *wired) {
	for _, fd := range s.fd {
		if fd < 0 || fd >= len(w.ports) || w.ports[fd].stream != s {
			continue
		}
		w.ports[fd] = port{}
		if err := unix.EpollCtl(w.poll, unix.EPOLL_CTL_DEL, fd, nil); err != nil {
			w.engine.log.Warn("media socket was not watched", "error", err)
		}
	}
}

// end lets the loop return.
func (w *worker) end() {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	w.bell.end()
	w.alarm.end()
}

// free gives the descriptors back once the loop has returned.
func (w *worker) free() error {
	return errors.Join(w.bell.close(), w.alarm.close(), unix.Close(w.poll))
}

// run is the worker's goroutine: it waits for packets, or lets them gather, and
// relays all that came.
func (w *worker) run() {
	var g gather
	for {
		began := time.Now()
		n, err := ready(w.poll, w.events[:])
		if err != nil {
			w.engine.log.Error("media worker cannot wait", "error", err)
			time.Sleep(readPause)
		}
		taken, ended := w.batch(n)
		if ended {
			return
		}
		now := time.Now()
		if period := g.took(taken, now); period > 0 {
			w.bell.off()
			w.alarm.sleep(period - now.Sub(began)) // less what the batch took: its packets waited for that
		} else if taken == 0 || n < len(w.events) {
			w.bell.wait()
		}
	}
}

// batch relays what n events announce.
func (w *worker) batch(n int) (taken int, ended bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for events := w.events[:n]; len(events) > 0; {
		now := time.Now()
		k := min(len(events), burst)
		held := w.read(events[:k], now)
		events = events[k:]
		for i := range held {
			d := &w.taken[i]
			d.stream.handle(d.channel, inbound{d.buf[:d.size], d.from.netip(), now})
		}
		taken += held
	}
	return taken, w.ended
}

// read takes a packet from each of at most burst sockets, then more from those in a
// hurry while there is room, and says how many there were.
func (w *worker) read(events []unix.EpollEvent, now time.Time) (held int) {
	var hurried [burst]int
	n := 0
	for i := range events {
		fd := int(events[i].Fd)
		if fd >= len(w.ports) || w.ports[fd].stream == nil {
			continue // a stream that was closed meanwhile
		}
		if !w.take(fd, held) {
			continue
		}
		held++
		if p := &w.ports[fd]; now.Sub(p.read) < eager {
			hurried[n] = fd
			n++
		}
		w.ports[fd].read = now
	}
	for _, fd := range hurried[:n] {
		for held < burst && w.take(fd, held) {
			held++
		}
	}
	return held
}

// take reads a packet into a place. False: nothing is there any more, or there was an
// error that this call has cleared.
func (w *worker) take(fd, place int) bool {
	d := &w.taken[place]
	size, errno := receive(fd, d.buf[:], &d.from)
	if errno != 0 {
		return false
	}
	d.stream, d.channel, d.size = w.ports[fd].stream, w.ports[fd].channel, size
	return true
}
