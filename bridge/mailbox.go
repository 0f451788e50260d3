package bridge

import "sync"

// mailbox is what a call's owner reads. Putting never blocks and always fits;
// how many network requests may wait is each leg's to limit.
type mailbox struct {
	mu     sync.Mutex
	queue  []func()
	signal chan struct{} // one element: there is something
	closed bool
}

func newMailbox() *mailbox { return &mailbox{signal: make(chan struct{}, 1)} }

// post puts fn; after close it is dropped, because nobody would run it.
func (b *mailbox) post(fn func()) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return
	}
	b.queue = append(b.queue, fn)
	b.mu.Unlock()
	select {
	case b.signal <- struct{}{}:
	default:
	}
}

// take removes everything that was put, in order.
func (b *mailbox) take() []func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queue
	b.queue = nil
	return q
}

func (b *mailbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.queue = nil
}
