package memnet

import (
	"slices"
	"time"
)

// wire holds what is under way and runs it when it is due. One queue and one timer for the whole network make
// delivery order deterministic: two timers that fire at one instant have no order.
type wire struct {
	events  []event // the next first; of one instant, in the order of sending
	timer   *time.Timer
	running bool // an event is being run: what it schedules is run by the same loop
}

// event is something that happens on the network at a time.
type event struct {
	due time.Time
	run func()
}

// at runs f at due: before it returns if that is not in the future. n.mu is held.
func (n *Network) at(due time.Time, f func()) {
	w := &n.wire
	place, _ := slices.BinarySearchFunc(w.events, due, func(e event, due time.Time) int {
		if e.due.After(due) {
			return 1
		}
		return -1 // equal ones too: behind all that were sent before
	})
	w.events = slices.Insert(w.events, place, event{due, f})
	n.run()
}

// run runs the events that are due and sets the timer for the next. n.mu is held.
func (n *Network) run() {
	w := &n.wire
	if w.running {
		return
	}
	w.running = true
	for len(w.events) > 0 && !w.events[0].due.After(time.Now()) {
		e := w.events[0]
		w.events[0] = event{}
		w.events = w.events[1:]
		e.run()
	}
	w.running = false
	if len(w.events) == 0 {
		return
	}
	wait := time.Until(w.events[0].due)
	if w.timer != nil {
		w.timer.Reset(wait)
		return
	}
	w.timer = time.AfterFunc(wait, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.run()
	})
}

// clear forgets what is under way.
func (w *wire) clear() {
	w.events = nil
	if w.timer != nil {
		w.timer.Stop()
	}
}
