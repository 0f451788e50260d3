package media

import "time"

// Due says how long the far end of a stream was expected to send: the leg was
// answered, the m= line in use and not on hold.
type Due struct {
	// Since is when the newest such time began, zero if it is over.
	Since time.Time
	// Total is all of it.
	Total time.Duration
}

// due counts it.
type due struct {
	since time.Time
	past  time.Duration
}

// set notes whether the far end is expected to send from now on.
func (d *due) set(expected bool, now time.Time) {
	switch {
	case expected && d.since.IsZero():
		d.since = now
	case !expected && !d.since.IsZero():
		d.past, d.since = d.past+now.Sub(d.since), time.Time{}
	}
}

// reckon applies what changed; Side.mu is held.
func (l *line) reckon(answered, now time.Time) {
	l.due.set(!answered.IsZero() && l.live() && !l.remote.Hold, now)
}

// Due is by m= line, up to the given time.
func (s *Side) Due(until time.Time) []Due {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Due, len(s.lines))
	for i, l := range s.lines {
		all[i] = Due{Since: l.due.since, Total: l.due.past}
		if !l.due.since.IsZero() {
			all[i].Total += max(0, until.Sub(l.due.since))
		}
	}
	return all
}
