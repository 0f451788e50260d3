package media

import "time"

// quiet is what the silence rule knows of a side.
type quiet struct {
	answered time.Time // zero: not yet
	alive    time.Time // last acceptable packet of any stream; zero: none
	turned   time.Time // when hold began, was spoken of or ended, or the kind of media changed; zero: never
	held     bool
	live     bool // some m= line is in use
}

// deadline is when the side counts as silent, and the time-out that passes
// then; ok is false while nothing counts. Silence counts from the last packet,
// before the first one from FirstPacket after the answer, and anew when a hold
// ends or media without reports does (DESIGN s7). On hold it counts from the last word of
// signalling as well: a session refresh shows that somebody is there.
func (t Timeouts) deadline(q quiet) (at time.Time, allowed time.Duration, ok bool) {
	if q.answered.IsZero() || !q.live {
		return time.Time{}, 0, false
	}
	allowed, start := t.Silence, q.alive
	first := q.alive.Before(q.answered)
	switch {
	case q.held:
		allowed = t.Hold
	case first:
		start = q.answered.Add(t.FirstPacket)
	}
	for _, other := range []time.Time{q.answered, q.turned} {
		if start.Before(other) {
			start = other
		}
	}
	if allowed == 0 {
		return time.Time{}, 0, false
	}
	at = start.Add(allowed)
	if first && !q.held {
		allowed += t.FirstPacket
	}
	return at, allowed, true
}

// watchdog is the goroutine that reports a side's events; Close ends it.
func (s *Side) watchdog() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var reported time.Time // the last deadline that was reported
	for {
		select {
		case <-s.done:
			return
		case <-s.changed:
		case <-timer.C:
		}
		timer.Stop()
		if next, ok := s.look(&reported); ok {
			timer.Reset(next)
		}
	}
}

// look reports what happened and says after what time to look again.
func (s *Side) look(reported *time.Time) (next time.Duration, again bool) {
	s.mu.Lock()
	watch, lines := s.watch, s.lines
	q := quiet{answered: s.answered, held: s.held, turned: s.turned}
	for _, l := range lines {
		q.live = q.live || l.live()
	}
	var partner *Side
	if s.datagram {
		partner = s.partner
	}
	s.mu.Unlock()
	if partner != nil { // who receives a fax page sends nothing for minutes, and there is no RTCP
		for _, stream := range partner.streams() {
			if alive := stream.Stats().Alive; alive.After(q.alive) {
				q.alive = alive
			}
		}
	}
	for i, l := range lines {
		stats := l.stream.Stats()
		if stats.Alive.After(q.alive) {
			q.alive = stats.Alive
		}
		if watch != nil && l.came.Load() && !l.told {
			l.told = true
			watch(Event{Kind: FirstPacket, Stream: i, At: stats.First})
		}
	}
	at, allowed, ok := s.relay.timeouts.deadline(q)
	if !ok {
		return 0, false
	}
	if left := time.Until(at); left > 0 {
		return left, true
	}
	if watch != nil && !at.Equal(*reported) {
		*reported = at
		watch(Event{Kind: Silent, Stream: -1, At: at, Allowed: allowed})
	}
	return allowed, true // packets may come again
}
