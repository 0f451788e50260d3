package push

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// maxWaiting bounds the pushes that a Dispatcher has at one time, those that
// wait for a place in flight included.
const maxWaiting = 10_000

// Dispatcher runs deliveries for callers that must not wait.
type Dispatcher struct {
	delivery *Delivery
	life     context.Context // ends with Close: what is in flight stops
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	waiting int
}

// NewDispatcher makes a Dispatcher over d.
func NewDispatcher(d *Delivery) *Dispatcher {
	life, stop := context.WithCancel(context.Background())
	return &Dispatcher{delivery: d, life: life, stop: stop}
}

// Dispatch starts a push and returns at once. report is called exactly once,
// from another goroutine, with what became of it; ctx stops the push (the
// device registered, the caller hung up, the call ended). When no more can be
// taken (Closed, Overloaded) report is called before Dispatch returns. report
// must not block: it posts to a mailbox.
func (d *Dispatcher) Dispatch(ctx context.Context, req Request, report func(Result)) {
	if why := d.enter(); why != "" {
		report(Result{Kind: req.Notification.Kind, ID: req.Notification.ID, Reason: why, Text: "the push failed: " + string(why)})
		return
	}
	go func() { // Close waits: enter counted it in running
		defer d.leave()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(d.life, cancel)()
		if req.Heard == nil {
			report(d.guarded(ctx, req))
			return
		}
		h := &Hearing{life: d.life, report: report}
		r := d.guarded(context.WithValue(ctx, hearingKey{}, h), req)
		if h.told.Load() {
			req.Heard(r)
			return
		}
		report(r)
	}()
}

// guarded is Deliver behind a barrier: a panic in a sender ends this push and
// nothing else.
func (d *Dispatcher) guarded(ctx context.Context, req Request) (r Result) {
	defer func() {
		if p := recover(); p != nil {
			d.delivery.log.ErrorContext(ctx, "push panicked", "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			r = Result{Kind: req.Notification.Kind, ID: req.Notification.ID, Reason: Broken, Text: "the push failed by a fault of this program"}
		}
	}()
	return d.delivery.Deliver(ctx, req)
}

// Close stops what is in flight, waits until each push has been reported, and
// lets no more in. It may be called again.
func (d *Dispatcher) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.stop()
	d.running.Wait()
	return nil
}

// enter takes a push in, or says why not.
func (d *Dispatcher) enter() Reason {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return Closed
	case d.waiting >= maxWaiting:
		return Overloaded
	}
	d.waiting++
	d.running.Add(1)
	return ""
}

func (d *Dispatcher) leave() {
	d.mu.Lock()
	d.waiting--
	d.mu.Unlock()
	d.running.Done()
}
