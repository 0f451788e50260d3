package softphone

import "sync"

// loop is a goroutine and its mailbox, which never is full.
type loop struct {
	mu     sync.Mutex
	queue  []func()
	closed bool
	wake   chan struct{}
	done   chan struct{} // closed by close
}

func newLoop() *loop { return &loop{wake: make(chan struct{}, 1), done: make(chan struct{})} }

// post queues f, in order; after close it is dropped.
func (l *loop) post(f func()) {
	l.mu.Lock()
	if !l.closed {
		l.queue = append(l.queue, f)
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// do runs f on the loop and waits for it.
func (l *loop) do(f func() error) error {
	result := make(chan error, 1)
	l.post(func() { result <- f() })
	select {
	case err := <-result:
		return err
	case <-l.done:
		return ErrClosed
	}
}

func (l *loop) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		l.queue = nil
		close(l.done)
	}
}

func (l *loop) run() {
	for {
		l.mu.Lock()
		var f func()
		if len(l.queue) > 0 {
			f = l.queue[0]
			l.queue[0] = nil
			l.queue = l.queue[1:]
		}
		l.mu.Unlock()
		if f != nil {
			f()
			continue
		}
		select {
		case <-l.wake:
		case <-l.done:
			return
		}
	}
}
