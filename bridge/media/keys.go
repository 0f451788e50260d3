package media

import (
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/pion/rtp"

	"wakebridge/bridge/media/dtmf"
	"wakebridge/bridge/media/relay"
)

// How keys are sent one after the other.
const (
	// keyGap is the silence between two keys: more than the 40 ms that a receiver of
	// tones needs (ITU-T Q.24), and time for the repeated ends of the first.
	keyGap = 60 * time.Millisecond
	// keyTail is how often the end of the last of several keys is repeated beyond what
	// RFC 4733 s2.5.1.4 wants: phones forget what waits in their jitter buffer when the
	// SSRC changes, so other packets must have pushed the end out of it (baresip 1.0
	// never heard it; its buffer holds five).
	keyTail = 5
	// maxKeys is how many keys may wait.
	maxKeys = 32
)

// Key is one key for a side's far end.
type Key struct {
	Stream      int    // m= line, from 0
	PayloadType uint8  // of telephone events, 0 to 127
	Clock       uint32 // of that payload type in Hz, at least 50
	Press       dtmf.Press
}

// keypad are the keys that a side has to send.
type keypad struct {
	queue   []Key // by Side.mu
	running bool  // by Side.mu; the goroutine is there
}

// Press sends a key to the far end as a telephone event (RFC 4733), after those that
// wait, in place of what the partner sends there meanwhile; it only queues. Errors:
// ErrNoStream, ErrNowhere, ErrKeys, ErrClosed.
func (s *Side) Press(k Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case k.Stream < 0 || k.Stream >= len(s.lines):
		return fmt.Errorf("stream %d of %d: %w", k.Stream, len(s.lines), ErrNoStream)
	case !s.lines[k.Stream].reachable():
		return ErrNowhere
	case len(s.keypad.queue) >= maxKeys:
		return ErrKeys
	}
	s.keypad.queue = append(s.keypad.queue, k)
	if !s.keypad.running {
		s.keypad.running = true
		s.guard.Go(s.sendKeys) // Close waits; it ends with the queue
	}
	return nil
}

// nextKey is the next key in the queue; false ends the keypad's goroutine.
func (s *Side) nextKey() (Key, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.keypad.queue) == 0 {
		s.keypad = keypad{}
		return Key{}, false
	}
	k := s.keypad.queue[0]
	s.keypad.queue = s.keypad.queue[1:]
	return k, true
}

// sendKeys is the keypad's goroutine. Keys that follow each other are one insertion,
// so that their receiver hears one sender all the while.
func (s *Side) sendKeys() {
	defer s.fault()
	var in *Insertion
	var last Key
	var lastEnd Frame
	var begin time.Time // of in
	end := func() {
		if in != nil {
			in.End()
		}
	}
	defer func() { end() }()
	for {
		if in != nil && !s.repeatEnd(in, lastEnd) {
			return
		}
		k, more := s.nextKey()
		if !more {
			return
		}
		if in == nil || k.Stream != last.Stream || k.Clock != last.Clock {
			end()
			var err error
			if in, err = s.Insert(k.Stream, Insert{Clock: k.Clock, Hold: true}); err != nil {
				in = nil
				continue // the side is closed
			}
			begin = time.Now()
		}
		last = k
		var open bool
		if lastEnd, open = s.sendKey(in, k, begin); !open {
			return
		}
	}
}

// repeatEnd sends the end of a key again and again until another key waits, or
// keyTail is reached; false: the side is closed.
func (s *Side) repeatEnd(in *Insertion, end Frame) bool {
	for range keyTail {
		s.mu.Lock()
		waits := len(s.keypad.queue) > 0
		s.mu.Unlock()
		if waits {
			return true
		}
		in.Send(end)
		if !s.until(time.Now().Add(dtmf.Interval)) {
			return false
		}
	}
	return true
}

// sendKey sends the packets of one key, the last of which it returns, and waits out
// the gap; false: the side is closed.
func (s *Side) sendKey(in *Insertion, k Key, begin time.Time) (end Frame, open bool) {
	start := time.Now()
	stamp := uint32(uint64(start.Sub(begin)) * uint64(k.Clock) / uint64(time.Second)) //nolint:gosec // timestamps wrap
	encoder := dtmf.NewEncoder(k.Press, k.Clock, stamp)
	for p, more := encoder.Next(); more; p, more = encoder.Next() {
		if !s.until(start.Add(p.Due)) {
			return end, false
		}
		end = Frame{PayloadType: k.PayloadType, Marker: p.Marker, Timestamp: p.Timestamp, Payload: p.Payload[:]}
		in.Send(end)
	}
	return end, s.until(start.Add(k.Press.Duration + keyGap))
}

// until waits; false: the side is closed.
func (s *Side) until(t time.Time) bool {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-s.done:
		return false
	case <-timer.C:
		return true
	}
}

// Keys says which keys of a stream's far end are told.
type Keys struct {
	// Clocks are the payload types of telephone events, with their clocks in Hz.
	Clocks map[uint8]uint32
	// Take keeps their packets from the partner (Converted).
	Take bool
	// Began is told that a key went down, unless its first packet ends it; nil: nobody
	// asks. Report gets each key once, when it went up. They must only post: they must
	// not block nor call the side. No call begins after Close returned.
	Began  func()
	Report func(dtmf.Press)
}

// Detect tells the keys that a stream's far end presses; nil: not any more. Under the
// same Clocks and Take all goes on as it was. Errors: ErrNoStream, ErrClosed.
func (s *Side) Detect(stream int, k *Keys) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case stream < 0 || stream >= len(s.lines):
		return fmt.Errorf("stream %d of %d: %w", stream, len(s.lines), ErrNoStream)
	}
	l := s.lines[stream]
	if k != nil && len(k.Clocks) == 0 {
		k = nil
	}
	if l.ear.does(k) {
		return nil
	}
	l.ear.close()
	l.ear = nil
	if k == nil {
		l.stream.Tap(nil)
		return nil
	}
	l.ear = newEar(*k)
	tap := &relay.Tap{Take: k.Take, Packet: l.ear.packet}
	for t := range k.Clocks {
		tap.PayloadTypes = append(tap.PayloadTypes, t)
	}
	l.stream.Tap(tap)
	return nil
}

// ear is what hears the keys of one stream. A nil ear hears nothing.
type ear struct {
	keys Keys

	mu       sync.Mutex // the engine's goroutine and the timer
	detector *dtmf.Detector
	ended    bool        // a key did, by the packet that is looked at
	quiet    *time.Timer // runs while a key is down
	closed   bool
}

func newEar(k Keys) *ear {
	k.Clocks = maps.Clone(k.Clocks)
	e := &ear{keys: k}
	e.detector = dtmf.NewDetector(k.Clocks, func(p dtmf.Press) {
		e.ended = true
		k.Report(p)
	})
	e.quiet = time.AfterFunc(dtmf.Quiet, e.expire)
	e.quiet.Stop()
	return e
}

// does says that the ear does already what k wants.
func (e *ear) does(k *Keys) bool {
	if e == nil || k == nil {
		return e == nil && k == nil
	}
	return e.keys.Take == k.Take && maps.Equal(e.keys.Clocks, k.Clocks)
}

// packet runs on the engine's goroutine.
func (e *ear) packet(h *rtp.Header, payload []byte, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	was := e.detector.Open()
	e.ended = false
	e.detector.Packet(h, payload, at)
	if e.detector.Open() {
		if (!was || e.ended) && e.keys.Began != nil { // also in place of one whose end was lost
			e.keys.Began()
		}
		e.quiet.Reset(dtmf.Quiet)
		return
	}
	e.quiet.Stop()
}

// expire ends a key of which nothing came any more.
func (e *ear) expire() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	if e.detector.Expire(time.Now()); e.detector.Open() { // a packet came meanwhile
		e.quiet.Reset(dtmf.Quiet)
	}
}

// close ends all reports.
func (e *ear) close() {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	e.quiet.Stop()
}
