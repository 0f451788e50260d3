package leg

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
)

// mailbox gives a leg's closures to its owner, one at a time and in order. Once
// abandoned it runs them itself, where they are put, still one at a time: a leg
// that is saying goodbye must not depend on an owner that has left.
type mailbox struct {
	post func(func())
	log  *slog.Logger

	mu        sync.Mutex
	queue     []func()
	abandoned bool
	running   bool // a closure runs, here or on the owner
}

// put queues f. It never waits while the owner is there.
func (b *mailbox) put(f func()) {
	b.mu.Lock()
	b.queue = append(b.queue, f)
	abandoned := b.abandoned
	b.mu.Unlock()
	if abandoned {
		b.drain()
		return
	}
	b.post(b.next)
}

// next runs the oldest closure on the owner. One call per put keeps the order
// between the legs of a call.
func (b *mailbox) next() {
	b.mu.Lock()
	if b.abandoned || len(b.queue) == 0 {
		b.mu.Unlock()
		return
	}
	f := b.pop()
	b.running = true
	b.mu.Unlock()
	defer b.rest() // also when f panics: the owner's barrier calls Drop then
	f()
}

func (b *mailbox) pop() func() {
	f := b.queue[0]
	b.queue[0] = nil
	b.queue = b.queue[1:]
	return f
}

// rest ends a closure's run; what was put into an abandoned mailbox meanwhile runs
// now.
func (b *mailbox) rest() {
	b.mu.Lock()
	b.running = false
	abandoned := b.abandoned
	b.mu.Unlock()
	if abandoned {
		b.drain()
	}
}

// abandon lets the mailbox run by itself from now on. Inside a closure that begins
// when the closure returns; elsewhere at once, so the caller must not touch the
// leg's state afterwards.
func (b *mailbox) abandon() {
	b.mu.Lock()
	b.abandoned = true
	b.mu.Unlock()
	b.drain()
}

// drain runs what is queued, unless somebody is doing so.
func (b *mailbox) drain() {
	for {
		b.mu.Lock()
		if b.running || len(b.queue) == 0 {
			b.mu.Unlock()
			return
		}
		f := b.pop()
		b.running = true
		b.mu.Unlock()
		b.contained(f)
		b.mu.Lock()
		b.running = false
		b.mu.Unlock()
	}
}

// contained runs f where no owner's barrier stands behind it.
func (b *mailbox) contained(f func()) {
	defer func() {
		if p := recover(); p != nil {
			b.log.Error("panic in a leg that was ending", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	f()
}
