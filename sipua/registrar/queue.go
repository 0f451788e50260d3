package registrar

import (
	"sync"
	"time"
)

// queue is an unbounded queue whose reader takes many at once.
type queue[T any] struct {
	mu     sync.Mutex
	items  []T
	closed bool
	signal chan struct{} // one element: there is something, or it was closed
}

func newQueue[T any]() *queue[T] { return &queue[T]{signal: make(chan struct{}, 1)} }

// put adds an item; false once closed.
func (q *queue[T]) put(item T) bool {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return false
	}
	q.items = append(q.items, item)
	q.mu.Unlock()
	q.wake()
	return true
}

func (q *queue[T]) wake() {
	select {
	case q.signal <- struct{}{}:
	default:
	}
}

func (q *queue[T]) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

func (q *queue[T]) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.wake()
}

// take waits for items, at most for wait, and returns up to limit of them; open
// is false once the queue is closed and empty after these.
func (q *queue[T]) take(limit int, wait time.Duration) (items []T, open bool) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		q.mu.Lock()
		if n := min(limit, len(q.items)); n > 0 {
			items = q.items[:n:n]
			q.items = q.items[n:]
			q.mu.Unlock()
			return items, true
		}
		closed := q.closed
		q.mu.Unlock()
		if closed {
			return nil, false
		}
		select {
		case <-q.signal:
		case <-timer.C:
			return nil, true
		}
	}
}
