package memnet

import "time"

// signal wakes everybody who waits for a change. The network's mutex guards it; waiting happens without it.
type signal struct{ ch chan struct{} }

// wait returns a channel that the next raise closes.
func (s *signal) wait() <-chan struct{} {
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) raise() {
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}

// deadline is one of a connection's deadlines. The network's mutex guards it.
type deadline struct {
	timer   *time.Timer
	passed  bool
	changed signal // raised when the deadline passes
}

// set replaces the deadline; the zero time removes it. n.mu is held.
func (d *deadline) set(n *Network, t time.Time) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.passed = false
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		d.pass()
		return
	}
	var own *time.Timer
	own = time.AfterFunc(wait, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if d.timer == own { // not replaced while this function waited for the mutex
			d.pass()
		}
	})
	d.timer = own
}

func (d *deadline) pass() {
	d.passed = true
	d.changed.raise()
}

// stop forgets the timer when the connection closes. n.mu is held.
func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// await gives up n.mu until one of the channels closes, and takes it again.
func (n *Network) await(change, deadline, done <-chan struct{}) {
	n.mu.Unlock()
	defer n.mu.Lock()
	select {
	case <-change:
	case <-deadline:
	case <-done:
	}
}
