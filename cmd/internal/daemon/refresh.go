package daemon

import (
	"context"
	"sync"
	"time"

	"wakebridge/bridge"
	"wakebridge/push"
	"wakebridge/sipua"
	"wakebridge/sipua/location"
)

// How the refresher works: slowly, since calls' pushes share its places in flight.
const (
	refreshLook   = time.Minute            // the longest sleep: a REGISTER may have made something due earlier
	refreshPace   = 100 * time.Millisecond // between two pushes
	refreshWithin = 5 * time.Second        // for one push
)

// refresher asks apps by background push to register again before their bindings
// end (RFC 8599 s5.5). Who is to be asked when is location.Rules.RefreshAt's to
// say. Close it when done.
type refresher struct {
	waker  *waker
	memory *location.Memory
	alive  func(location.FlowID) bool // a flow on which the app itself may refresh
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// newRefresher starts its goroutine.
func newRefresher(w *waker, m *location.Memory, alive func(location.FlowID) bool) *refresher {
	ctx, stop := context.WithCancel(context.Background())
	r := &refresher{waker: w, memory: m, alive: alive, stop: stop}
	r.done.Go(func() { r.run(ctx) }) // awaited by close
	return r
}

func (r *refresher) close() {
	r.stop()
	r.done.Wait()
}

func (r *refresher) run(ctx context.Context) {
	for ctx.Err() == nil {
		wait := refreshLook // after a panic
		r.waker.contain("asking a phone to register again", func() { wait = r.step(ctx) })
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// step sees to one device, and says how long to wait then.
func (r *refresher) step(ctx context.Context) time.Duration {
	d, ok := r.memory.TakeRefresh(time.Now())
	switch {
	case !ok:
		return r.untilDue()
	case !r.ask(ctx, d):
		return 0
	}
	return refreshPace
}

// untilDue is how long nothing is to be done.
func (r *refresher) untilDue() time.Duration {
	at, ok := r.memory.NextRefresh()
	if !ok {
		return refreshLook
	}
	return min(max(time.Until(at), time.Millisecond), refreshLook)
}

// ask pushes to one device; false if it needs no push now.
func (r *refresher) ask(ctx context.Context, d location.Device) bool {
	if b, ok := d.Flow(); !d.Wakeable || ok && r.alive(b.Flow) {
		return false
	}
	w := bridge.Wake{AOR: d.AOR, Device: d.Key, Push: d.Push, AlertOnly: true}
	req := r.waker.request(w)
	req.Want = push.OnlyBackground
	req.Notification = push.Notification{To: d.AOR.String(), Expiration: endOf(d)}
	r.waker.edit(location.Refreshed{AOR: d.AOR, Key: d.Key, At: time.Now()})
	ctx, cancel := context.WithTimeout(ctx, refreshWithin)
	r.waker.dispatcher.Dispatch(ctx, req, func(res push.Result) {
		cancel()
		r.waker.learn(w, res)
	})
	return true
}

// endOf is when the last binding ends: a push that comes later is of no use.
func endOf(d location.Device) time.Time {
	var end time.Time
	for _, b := range d.Bindings {
		if b.Expires.After(end) {
			end = b.Expires
		}
	}
	return end
}

// alive says that a flow is there and has shown life.
func (d *Daemon) alive(id location.FlowID) bool {
	f := d.endpoint.Flow(sipua.FlowID(id))
	return f != nil && f.Alive()
}
