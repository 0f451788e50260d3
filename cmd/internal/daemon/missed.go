package daemon

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"wakebridge/bridge"
	"wakebridge/push"
	"wakebridge/sipua/location"
)

// alertTerms are what push.apps says of alert pushes to an app.
type alertTerms struct {
	repeat time.Duration // alert_repeat
	missed bool          // missed_call_alert
}

// missedKept is how long the push service keeps the word of a missed call for a
// phone that it cannot reach.
const missedKept = 24 * time.Hour

// alerts implements bridge.Alerts: it tells users of the calls that they missed.
type alerts struct {
	waker  *waker
	memory *location.Memory
	amend  func(bridge.Record) // replaces the record of a call
	log    *slog.Logger

	life    context.Context // ends with close
	stop    context.CancelFunc
	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

func newAlerts(w *waker, m *location.Memory, amend func(bridge.Record), log *slog.Logger) *alerts {
	a := &alerts{waker: w, memory: m, amend: amend, log: log}
	a.life, a.stop = context.WithCancel(context.Background())
	return a
}

// close gives up what is not sent yet: the devices' fates are stored, so they hear
// of their calls when they register.
func (a *alerts) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.stop()
	a.running.Wait()
}

// Repeat implements bridge.Alerts.
func (a *alerts) Repeat(p location.PushInfo) time.Duration { return a.waker.alerts[p.BundleID].repeat }

// Missed implements bridge.Alerts.
func (a *alerts) Missed(missed []bridge.Missed, rec bridge.Record) {
	missed = slices.DeleteFunc(slices.Clone(missed), func(m bridge.Missed) bool { return !a.waker.alerts[m.Push.BundleID].missed })
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || len(missed) == 0 {
		return
	}
	a.running.Go(func() { // awaited by close
		a.waker.contain("telling of a missed call", func() { a.tell(missed, rec) })
	})
}

// tell pushes to the devices that did not come in time, and completes the record with
// each outcome: no phone waits for the push to another one.
func (a *alerts) tell(missed []bridge.Missed, rec bridge.Record) {
	rec.Attempts = slices.Clone(rec.Attempts)
	type outcome struct {
		of   int // attempt
		push bridge.PushRecord
		ok   bool
	}
	outcomes := make(chan outcome, len(missed))
	for _, m := range missed {
		go func() { // received below
			o := outcome{of: m.Attempt}
			a.waker.contain("telling of a missed call", func() { o.push, o.ok = a.tellOne(m) })
			outcomes <- o
		}()
	}
	for range missed {
		if o := <-outcomes; o.ok && o.of < len(rec.Attempts) {
			at := &rec.Attempts[o.of]
			at.Pushes = append(slices.Clone(at.Pushes), o.push)
			a.amend(rec)
		}
	}
}

// tellOne pushes to a device once it is due; false if it needs no push then.
func (a *alerts) tellOne(m bridge.Missed) (bridge.PushRecord, bool) {
	select {
	case <-a.life.Done():
		return bridge.PushRecord{}, false
	case <-time.After(time.Until(m.Due)):
	}
	device, ok := a.unaware(m)
	if !ok {
		return bridge.PushRecord{}, false
	}
	m.Push = device.Push
	p := resultOf(m.Push.Provider, a.send(m.Wake)).Record("missed-call alert push")
	a.log.Info("missed call", "uuid", m.UUID, "aor", m.AOR.String(), "device", m.Device, "result", p.Words)
	return p, true
}

// unaware is the device as it is now; false if it must not or need not be told: it
// came meanwhile and heard its fate, or may be pushed no more.
func (a *alerts) unaware(m bridge.Missed) (location.Device, bool) {
	ref := location.Ref{AOR: m.AOR, Key: m.Device}
	for _, f := range a.memory.Fates(ref) {
		if f.UUID == m.UUID && f.Told {
			return location.Device{}, false
		}
	}
	d, ok := a.memory.Device(ref)
	return d, ok && d.Wakeable && !d.Push.Alert.IsZero()
}

// send waits for the outcome, at most for a minute.
func (a *alerts) send(w bridge.Wake) push.Result {
	req := a.waker.request(w)
	n := &req.Notification
	n.Missed, n.ExpiresAt, n.Expiration = true, time.Time{}, time.Now().Add(missedKept)
	outcome := make(chan push.Result, 1)
	a.waker.dispatcher.Dispatch(a.life, req, func(r push.Result) { outcome <- r })
	res := <-outcome
	a.waker.learn(w, res)
	return res
}

// amend replaces the record of a call that is over.
func (d *Daemon) amend(rec bridge.Record) {
	row, err := rowOf(rec)
	if err == nil {
		err = d.store.SpoolRecord(row)
	}
	if err != nil {
		d.log.Error("the record of a call lacks its missed-call push", "call", rec.ID, "error", err)
	}
}

// resultOf is what the call's record says of a push.
func resultOf(provider string, res push.Result) bridge.WakeResult {
	service := map[string]string{"apns": "APNs", "fcm": "FCM"}[provider]
	env := ""
	if res.Environment.Known() {
		env = string(res.Environment)
	}
	return bridge.WakeResult{
		Unanswered: res.Outcome != push.Accepted && res.Maybe || res.Outcome == push.NoAnswer && !res.Written.IsZero(),
		Alert:      res.Kind == push.Alert, Accepted: res.Outcome == push.Accepted, Service: service, Reason: string(res.Reason),
		Words: cmp.Or(res.Text, string(res.Reason)), ID: res.ID, Environment: env, Written: res.Written, At: time.Now(),
		Latency: res.Latency, Tries: res.Tries, Hedged: res.Hedged,
	}
}
