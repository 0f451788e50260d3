package iphone

import (
	"sync"
	"time"
)

// mainQueue is the device's one goroutine: iOS, the app's main thread and the user
// take turns on it.
type mainQueue struct {
	mu     sync.Mutex
	tasks  []func()
	closed bool
	wake   chan struct{}
	done   chan struct{} // closed by close
}

func newMainQueue() *mainQueue {
	return &mainQueue{wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// post queues a task; after close it is dropped.
func (q *mainQueue) post(f func()) {
	q.mu.Lock()
	if !q.closed {
		q.tasks = append(q.tasks, f)
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// do runs a task and waits for it.
func (q *mainQueue) do(f func() error) error {
	result := make(chan error, 1)
	q.post(func() { result <- f() })
	select {
	case err := <-result:
		return err
	case <-q.done:
		return ErrClosed
	}
}

// after posts a task once d has passed.
func (q *mainQueue) after(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(d, func() { q.post(f) })
}

func (q *mainQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed = true
		q.tasks = nil
		close(q.done)
	}
}

// run runs the tasks, and settle behind each.
func (q *mainQueue) run(settle func()) {
	for {
		q.mu.Lock()
		var f func()
		if len(q.tasks) > 0 {
			f = q.tasks[0]
			q.tasks[0] = nil
			q.tasks = q.tasks[1:]
		}
		q.mu.Unlock()
		if f != nil {
			f()
			settle()
			continue
		}
		select {
		case <-q.wake:
		case <-q.done:
			return
		}
	}
}
