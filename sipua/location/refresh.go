package location

import (
	"slices"
	"strings"
	"time"
)

// When an app is asked by a background push to register again (RFC 8599 s5.5).
// Apple passes on few background pushes, so they keep a distance, also from
// those of earlier bindings, and one that brings no REGISTER doubles it.
const (
	refreshBefore = 120 * time.Second // the latest moment before a binding ends
	refreshByTag  = 240 * time.Second // before the end, for an app that refreshes by itself (sip.pnsreg)
	shortestLease = 4 * refreshBefore // bindings shorter than this are not worth a push
	refreshGap    = 3 * time.Hour     // between two refresh pushes
	lookAgain     = 15 * time.Minute  // at a device that needed none when its time had come
)

// RefreshAt is when a background push should ask the app of d to register
// again; the zero time: never. That is a tenth of the lease before its last
// binding ends, at least 120 s before the end, and with a growing distance
// between two pushes. A device that logged out or that has only a VoIP token of
// Apple's is never asked: each push to that must show a call.
func (r Rules) RefreshAt(d Device) time.Time {
	token := d.Push.Token(d.Push.Quiet())
	if token.IsZero() || !d.LoggedOut.IsZero() || !d.LogoutDue.IsZero() || len(d.Bindings) == 0 {
		return time.Time{}
	}
	last := slices.MaxFunc(d.Bindings, func(a, b Binding) int { return a.Expires.Compare(b.Expires) })
	lease := last.Expires.Sub(last.Registered)
	if lease < shortestLease {
		return time.Time{}
	}
	before := max(refreshBefore, lease/10)
	if strings.Contains(strings.ToLower(last.Contact), "sip.pnsreg") {
		before = refreshByTag
	}
	at := last.Expires.Add(-before)
	if next := d.Health.nextRefresh(); next.After(at) {
		at = next
	}
	if held := token.NotBefore; held.After(at) {
		at = held
	}
	if at.After(last.Expires.Add(-refreshBefore)) {
		return time.Time{}
	}
	return at
}

// nextRefresh is when the distance to the last refresh push is kept.
func (h Health) nextRefresh() time.Time {
	if h.LastRefresh.IsZero() {
		return time.Time{}
	}
	const most = 6 // doublings: 8 days
	return h.LastRefresh.Add(refreshGap << min(max(h.Refreshes-1, 0), most))
}

// NextRefresh is when TakeRefresh has something to return next; false if
// nothing waits.
func (m *Memory) NextRefresh() (time.Time, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.refresh.next()
}

// TakeRefresh returns a device whose RefreshAt has come; false if there is none.
// It is looked at again 15 min later, unless an edit of it (Refreshed, a
// REGISTER) says something else before.
func (m *Memory) TakeRefresh(now time.Time) (Device, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		key, ok := m.refresh.take(now)
		if !ok {
			return Device{}, false
		}
		ref, isDevice := key.(Ref)
		d := m.device(ref)
		if !isDevice || d == nil {
			continue
		}
		again := now.Add(lookAgain)
		if slices.ContainsFunc(d.Bindings, func(b Binding) bool { return !again.After(b.Expires.Add(-refreshBefore)) }) {
			m.refresh.set(ref, again)
		}
		return m.snapshot(d), true
	}
}

// refreshed notes a refresh push before it leaves, so that neither a crash nor
// its failure brings a second one too soon.
func (a *applying) refreshed(r Refreshed) {
	if d := a.device(Ref{r.AOR, r.Key}); d != nil {
		a.change(d, func(d *Device) {
			d.Health.Refreshes++
			d.Health.LastRefresh = a.orNow(r.At)
		})
	}
}
