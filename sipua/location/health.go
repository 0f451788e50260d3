package location

import "time"

// How a device is treated that pushes do not bring here. iOS stops delivering
// VoIP pushes to an app that failed to report calls, and a phone that was not
// unlocked since it started cannot register: more of the same would not help.
const (
	suspectAfter = 2                // accepted VoIP pushes that did not bring it
	firstBackOff = 30 * time.Second // between two VoIP pushes to a suspected device, doubled
	lastBackOff  = 10 * time.Minute // up to this
)

// Suspected says that VoIP pushes do not seem to wake d any more: the provider
// accepted at least two of them since it last registered or answered a call. Then alert pushes go
// first, and VoIP pushes wait for VoIPDue. A device without an alert token is
// never suspected: VoIP pushes are all there is.
func (d Device) Suspected() bool {
	return d.Health.Unanswered >= suspectAfter && !d.Push.VoIP.IsZero() && !d.Push.Alert.IsZero()
}

// AlertFirst says that at now alert pushes go to d before VoIP pushes, which wait
// for VoIPDue: it is suspected, or its VoIP token is held. Where an alert push could
// not go either, or there is no such token, nothing waits: one of them must.
func (d Device) AlertFirst(now time.Time) bool {
	p := d.Push
	return d.Suspected() || p.VoIP.Held(now) && !p.Alert.IsZero() && !p.Alert.Held(now)
}

// VoIPFirst says that at now there should be no alert push in place of a VoIP push,
// nor after one: that token is held, the other is not.
func (d Device) VoIPFirst(now time.Time) bool {
	return d.Push.Alert.Held(now) && !d.Push.VoIP.IsZero() && !d.Push.VoIP.Held(now) && !d.Suspected()
}

// VoIPDue is when a device that gets alert pushes first may get its next VoIP push.
// One that is suspected: 30 s after the last one, twice as long after each further
// one that did not bring it, and at most 10 min. One whose token is held: when it is
// not any more. The zero time: at once.
func (d Device) VoIPDue() time.Time {
	due := d.Push.VoIP.NotBefore
	if !d.Suspected() {
		return due
	}
	wait := firstBackOff
	for range d.Health.Unanswered - suspectAfter {
		if wait *= 2; wait >= lastBackOff {
			wait = lastBackOff
			break
		}
	}
	if next := d.Health.LastVoIP.Add(wait); next.After(due) {
		due = next
	}
	return due
}

// throttle holds a token. Several pushes that were refused at once count as one.
func (a *applying) throttle(r Throttle) {
	at := a.orNow(r.At)
	for _, ref := range a.byToken.refs(r.Value) {
		d := a.device(ref)
		if t := d.Push.Token(r.Kind); t.Value != r.Value || t.Held(at) {
			continue
		}
		a.change(d, func(d *Device) {
			t, wait := d.Push.token(r.Kind), firstBackOff
			if !t.NotBefore.IsZero() && at.Before(t.NotBefore.Add(lastBackOff)) {
				wait = min(2*t.NotBefore.Sub(t.Throttled), lastBackOff)
			}
			t.Throttled, t.NotBefore = at, at.Add(wait)
		})
		a.emit(TokensChanged, d, 0)
	}
}

// pushReport counts a push in the device's health. A VoIP push that left before
// the device registered or answered is not unanswered, even if the provider's word
// came later than the device.
func (a *applying) pushReport(r PushReport) {
	d := a.device(Ref{r.AOR, r.Key})
	if d == nil {
		return
	}
	before := d.Suspected()
	a.change(d, func(d *Device) {
		h, at := &d.Health, a.orNow(r.At)
		if !r.Accepted {
			h.Refused, h.LastRefused, h.LastReason = h.Refused+1, at, r.Reason
			return
		}
		h.Accepted, h.LastAccepted = h.Accepted+1, at
		if r.Kind != VoIP {
			return
		}
		h.LastVoIP = at
		if r.Sent.IsZero() || !d.cameAfter(r.Sent) {
			h.Unanswered++
		}
	})
	if !before && d.Suspected() {
		a.note(Suspected, d.Ref(), Ref{}, "")
	}
}

// cameAfter says that d registered or answered later than at.
func (d *Device) cameAfter(at time.Time) bool {
	return d.Health.Reached.After(at) || len(d.Bindings) > 0 && d.Bindings[0].Registered.After(at)
}

// reached notes that pushes bring the device. A call's first answer comes between
// push and ringing: where no push was in doubt, it costs the disk nothing.
func (a *applying) reached(r Reached) {
	d, at := a.device(Ref{r.AOR, r.Key}), a.orNow(r.At)
	switch {
	case d == nil:
		return
	case d.Health.Unanswered == 0:
		d.Health.Reached = at
		return
	}
	suspected := d.Suspected()
	a.change(d, func(d *Device) { d.Health.Unanswered, d.Health.Reached = 0, at })
	if suspected {
		a.note(Recovered, d.Ref(), Ref{}, "")
	}
}
