package media

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"wakebridge/bridge/media/relay"
)

// EventKind is what happened on a side.
type EventKind uint8

const (
	// FirstPacket: the first acceptable RTP packet (or datagram) of a stream.
	FirstPacket EventKind = iota + 1
	// Silent: the time-out passed without an acceptable packet. It comes again
	// only after packets came again and stopped.
	Silent
)

// String names the kind.
func (k EventKind) String() string {
	switch k {
	case FirstPacket:
		return "first packet"
	case Silent:
		return "silent"
	}
	return "unknown"
}

// Event is what a Side reports.
type Event struct {
	Kind   EventKind
	Stream int       // FirstPacket: m= line, from 0; Silent: -1, it concerns the side
	At     time.Time // when it came, or when the time-out passed
	// Allowed is the time-out that passed (Silence or Hold; FirstPacket plus
	// Silence when nothing ever came), 0 for FirstPacket.
	Allowed time.Duration
}

// line is the port pair of one m= line.
type line struct {
	lease  lease
	stream relay.Stream
	remote Remote
	due    due
	ear    *ear        // hears keys; nil: nobody asks; by Side.mu
	came   atomic.Bool // the first packet
	told   bool        // and it was reported; watchdog's
}

// reachable says that signalling gave the far end an address to send to.
func (l *line) reachable() bool { return l.live() && !l.remote.RTP.Addr().IsUnspecified() }

// Side is one leg's sockets. SetRemote, Answered, Grow, Join, Part, Watch, Play,
// Hush, Press, Detect and Close belong to the goroutine that owns the leg; Ports,
// Stats and Insert may be called from any, also after Close.
type Side struct {
	relay *Relay
	pool  *ports

	mu       sync.Mutex // guards all below; never held during I/O
	lines    []*line
	partner  *Side
	answered time.Time // zero: not yet
	held     bool      // all live lines are on hold
	datagram bool      // all live lines are no RTP
	turned   time.Time // when held or datagram changed
	watch    func(Event)
	own
	closed bool

	changed chan struct{} // wakes the watchdog
	done    chan struct{}
	guard   sync.WaitGroup
	closing sync.Once

	observed Observation // by mu; Local has no port
}

// own is what a side says of its own accord.
type own struct {
	hush   func() // ends what is played; nil: nothing is
	keypad keypad
}

func newSide(r *Relay, pool *ports) *Side {
	s := &Side{relay: r, pool: pool, changed: make(chan struct{}, 1), done: make(chan struct{})}
	s.guard.Go(s.watchdog) // Close waits; before enter, which lets Relay.Close find the side
	if !r.enter(s) {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
	}
	return s
}

// Ports are the RTP ports in the order of the m= lines; RTCP is one above each.
func (s *Side) Ports() []uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]uint16, len(s.lines))
	for i, l := range s.lines {
		all[i] = l.lease.port
	}
	return all
}

// Grow opens port pairs until the side has streams of them (a re-INVITE added
// m= lines); it never closes any. Errors as NewSide; after an error the side is
// as before.
func (s *Side) Grow(streams int) error {
	s.mu.Lock()
	missing := streams - len(s.lines)
	s.mu.Unlock()
	var added []*line
	for range missing {
		l, err := s.open()
		if err != nil {
			s.shut(added)
			return err
		}
		added = append(added, l)
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.shut(added)
		return ErrClosed
	}
	s.lines = append(s.lines, added...)
	s.showAll(added)
	if !s.answered.IsZero() {
		for _, l := range added {
			l.stream.Answered()
		}
	}
	partner := s.partner
	s.mu.Unlock()
	if partner != nil {
		connect(s, partner)
	}
	return nil
}

// open binds one pair and gives it to the engine.
func (s *Side) open() (*line, error) {
	pair, lease, err := s.pool.open()
	if err != nil {
		s.relay.metrics.exhausted.Inc()
		return nil, err
	}
	l := &line{lease: lease}
	first := func() {
		l.came.Store(true)
		s.wake()
	}
	l.stream, err = s.relay.engine.Open(pair, relay.Options{First: first, Past: lease.past, Older: lease.older})
	if err != nil {
		s.pool.give(lease, time.Now())
		return nil, ErrClosed
	}
	s.relay.hold(1)
	return l, nil
}

// shut closes lines and sends their ports to rest.
func (s *Side) shut(lines []*line) {
	for _, l := range lines {
		l.stream.Close()
		l.ear.close()
		l.lease.sent(l.stream.Senders()...)
		s.pool.give(l.lease, time.Now())
	}
	s.relay.hold(-len(lines))
}

// SetRemote says what signalling knows of a stream's far end, again after each
// offer and answer, and when its signalling comes over another connection. Each time
// the latch is reopened.
func (s *Side) SetRemote(stream int, remote Remote) {
	s.mu.Lock()
	if stream < 0 || stream >= len(s.lines) {
		n := len(s.lines)
		s.mu.Unlock()
		s.relay.log.Error("media stream does not exist", "stream", stream, "streams", n)
		return
	}
	l := s.lines[stream]
	l.remote = remote
	l.stream.SetRemote(remote)
	now := time.Now()
	held := every(s.lines, func(r Remote) bool { return r.Hold })
	datagram := every(s.lines, func(r Remote) bool { return r.Datagram })
	if held || held != s.held || datagram != s.datagram { // on hold, any word of signalling is a sign of life
		s.held, s.datagram, s.turned = held, datagram, now
	}
	l.reckon(s.answered, now)
	s.mu.Unlock()
	s.wake()
}

// every says that there are live lines and the far ends of all are such.
func every(lines []*line, such func(Remote) bool) bool {
	some := false
	for _, l := range lines {
		if !l.live() {
			continue
		}
		if !such(l.remote) {
			return false
		}
		some = true
	}
	return some
}

// live says that signalling named a far end and did not refuse the line.
func (l *line) live() bool { return !l.remote.Disabled() }

// Answered says that the leg was answered: 2 s after the next acceptable packet
// each latch turns strict, and time-outs begin to count. Idempotent.
func (s *Side) Answered() {
	s.mu.Lock()
	if s.answered.IsZero() {
		s.answered = time.Now()
		for _, l := range s.lines {
			l.stream.Answered()
			l.reckon(s.answered, s.answered)
		}
	}
	s.mu.Unlock()
	s.wake()
}

// Watch reports events to f from the side's own goroutine, one at a time, those
// that happened before as well; nil stops it. f must only post: it must not
// block nor call the side. No call begins after Close returned.
func (s *Side) Watch(f func(Event)) {
	s.mu.Lock()
	s.watch = f
	s.mu.Unlock()
	s.wake()
}

// Observe shows the packets of all streams from now on, of those too that Grow adds;
// to nobody without an Observer. The port of Observation.Local is filled in.
func (s *Side) Observe(o Observation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observed = o
	s.showAll(s.lines)
}

// showAll tells lines who sees them; mu is held.
func (s *Side) showAll(lines []*line) {
	for _, l := range lines {
		o := s.observed
		o.Local = netip.AddrPortFrom(o.Local.Addr(), l.lease.port)
		l.stream.Observe(o)
	}
}

// Stats are the counters by m= line, final after Close.
func (s *Side) Stats() []StreamStats {
	s.mu.Lock()
	lines := s.lines
	s.mu.Unlock()
	all := make([]StreamStats, len(lines))
	for i, l := range lines {
		all[i] = l.stream.Stats()
	}
	return all
}

// Join forwards stream i of a to stream i of b and back; sides joined to others
// are parted first, those joined to each other stay so without a gap. Streams that the other side lacks are counted and dropped
// until it grows.
func Join(a, b *Side) {
	if a == b || a.joined(b) && b.joined(a) {
		return
	}
	a.Part()
	b.Part()
	if !a.pair(b) {
		return
	}
	if !b.pair(a) {
		a.Part()
		return
	}
	connect(a, b)
}

// joined says that the side has that partner.
func (s *Side) joined(partner *Side) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.partner == partner
}

// pair remembers the partner; false: the side is closed.
func (s *Side) pair(partner *Side) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.partner = partner
	return true
}

// connect links the streams both sides have.
func connect(a, b *Side) {
	from, to := a.streams(), b.streams()
	for i := range min(len(from), len(to)) {
		from[i].Forward(to[i])
		to[i].Forward(from[i])
	}
}

func (s *Side) streams() []relay.Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]relay.Stream, len(s.lines))
	for i, l := range s.lines {
		all[i] = l.stream
	}
	return all
}

// Part ends forwarding in both directions. Without a partner it does nothing.
func (s *Side) Part() {
	s.mu.Lock()
	partner := s.partner
	s.partner = nil
	s.mu.Unlock()
	if partner == nil {
		return
	}
	for _, stream := range s.streams() {
		stream.Forward(nil)
	}
	partner.mu.Lock()
	ours := partner.partner == s
	if ours {
		partner.partner = nil
	}
	partner.mu.Unlock()
	if !ours {
		return
	}
	for _, stream := range partner.streams() {
		stream.Forward(nil)
	}
}

// Close parts the side, closes its sockets, waits for its goroutines and sends
// its ports to rest. Idempotent.
func (s *Side) Close() {
	s.closing.Do(func() {
		s.mu.Lock()
		s.closed = true
		lines := s.lines
		s.mu.Unlock()
		s.Hush()
		s.Part()
		close(s.done)
		s.shut(lines)
		s.relay.leave(s, s.Stats())
		s.guard.Wait()
	})
}

// wake makes the watchdog look again.
func (s *Side) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}
