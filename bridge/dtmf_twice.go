package bridge

import "time"

// A key by INFO is the one that came as a telephone event if that was heard less than
// twiceBefore ago, or is within twiceAfter.
const (
	twiceBefore = 500 * time.Millisecond
	twiceAfter  = 200 * time.Millisecond
)

// twice is what is known of a leg that could tell each key twice, as telephone event
// and by INFO: some phones can be set to, and the other leg must not be pressed each
// key twice.
type twice struct {
	heardAt  time.Time   // when it sent a telephone event last
	only     bool        // it sent a key by INFO, and no event came with it
	waiting  []infoIn    // by INFO, until that is known
	patience *time.Timer // for those; nil: nobody waited yet
	noted    bool        // that it does so
}

// began is what media tells of a key that goes down: it only posts.
func (k *keypads) began(e *keyEnd) func() {
	return func() { k.m.c.own.box.post(func() { k.saw(e) }) }
}

// saw notes that a leg sent a telephone event: what waits came by INFO as well.
func (k *keypads) saw(e *keyEnd) {
	e.heardAt, e.only = time.Now(), false
	if len(e.waiting) > 0 {
		k.left(e)
		e.waiting = nil
	}
}

// left notes that keys by INFO are left out.
func (k *keypads) left(e *keyEnd) {
	if !e.noted {
		e.noted = true
		k.m.c.note("DTMF comes as events and by INFO; the INFO are left out")
	}
}

// waits says that a key by INFO is not passed on, or not yet: the leg may send it as a
// telephone event too.
func (k *keypads) waits(in infoIn) bool {
	e := k.end(in.from)
	switch {
	case !e.events().ok || e.only:
		return false
	case time.Since(e.heardAt) < twiceBefore:
		k.left(e)
		return true
	}
	if e.waiting = append(e.waiting, in); len(e.waiting) > 1 {
		return true
	}
	if e.patience != nil {
		e.patience.Reset(twiceAfter)
		return true
	}
	e.patience = time.AfterFunc(twiceAfter, func() {
		k.m.c.own.box.post(func() { k.waited(e) })
	})
	k.m.c.own.atEnd = append(k.m.c.own.atEnd, func() { e.patience.Stop() })
	return true
}

// waited passes on what waited in vain.
func (k *keypads) waited(e *keyEnd) {
	waiting := e.waiting
	e.waiting = nil
	for _, in := range waiting {
		e.only = true
		k.pass(in)
	}
}
