package bridge

import (
	"cmp"
	"fmt"
	"time"

	"wakebridge/bridge/rules"
	"wakebridge/sipua/location"
)

// pushName is a kind of push for people.
func pushName(alert bool) string {
	if alert {
		return "alert push"
	}
	return "VoIP push"
}

// Record is the entry of a push in its call's record; what names the push for
// people: "VoIP push".
func (r WakeResult) Record(what string) PushRecord {
	kind := location.VoIP
	if r.Alert {
		kind = location.Alert
	}
	return PushRecord{
		Kind: kind.String(), Accepted: r.Accepted, Reason: r.Reason, Words: r.tell(what), ID: r.ID, Environment: r.Environment,
		LatencyMS: millis(r.Latency), Tries: r.Tries, Hedged: r.Hedged, Written: r.Written, At: r.At,
	}
}

// tell says what became of a push: "VoIP push accepted by APNs (production) after
// 42 ms, second try by hedge".
func (r WakeResult) tell(what string) string {
	service := cmp.Or(r.Service, "the push service")
	if r.Environment != "" {
		service += " (" + r.Environment + ")"
	}
	switch {
	case r.Accepted:
		what += " accepted by " + service
	case r.Stopped:
		what += " sent to " + service + ", but its answer was not needed any more"
	default:
		what += " failed: " + cmp.Or(r.Words, r.Reason, "nobody says why")
	}
	if r.Unanswered && r.Tries > 1 {
		what += " (one request had no answer and may have reached the phone)"
	}
	if r.Latency > 0 {
		what += " after " + short(r.Latency)
	}
	switch {
	case r.Hedged && r.Tries <= 2:
		what += ", second try by hedge"
	case r.Hedged:
		what += fmt.Sprintf(", %d tries, one of them by hedge", r.Tries)
	case r.Tries > 1:
		what += fmt.Sprintf(", %d tries", r.Tries)
	}
	return what
}

// short is a duration as precise as people want it.
func short(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", millis(d))
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// millis are the milliseconds of a duration, at least one if it is any: 0 is for what
// is not known.
func millis(d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return max(d.Milliseconds(), 1)
}

// pushTerms are those of a device that may be woken.
func (c *Call) pushTerms(t *try, d location.Device) rules.PushTerms {
	var p rules.PushTerms
	if c.b.cfg.Alerts != nil {
		p.Repeat = c.b.cfg.Alerts.Repeat(d.Push)
	}
	if !d.AlertFirst(c.started) {
		if d.Push.VoIP.Held(c.started) {
			c.note("%s was pushed to too often (429 of the push service); it has no better token", t.name)
		}
		return p
	}
	p.Suspect, p.After = true, max(d.VoIPDue().Sub(c.started), 0)
	when := "a VoIP push follows"
	switch {
	case p.After >= c.state.Terms.WakeTimeout:
		when = "no VoIP push in this call"
	case p.After > 0:
		when += " after " + short(p.After)
	}
	if !d.Suspected() {
		c.note("%s was pushed to too often (429 of the push service): alert push first, %s", t.name, when)
		return p
	}
	c.note("%s did not come after its last %d VoIP pushes, which were accepted: alert push first, %s", t.name, d.Health.Unanswered, when)
	return p
}

// notPushed says why a device was sent no push at all, "" if it was sent one.
func (c *Call) notPushed(i int) string {
	t, a := c.attempts[i], &c.state.Attempts[i]
	switch {
	case t.trunk != nil || len(t.rec.Pushes) > 0:
		return ""
	case a.WasPushed() && c.permit.refused != "":
		return c.permit.refused
	case a.WasPushed():
		return "its push was stopped before it left: the device came, or the call was over"
	case a.Push.None != "":
		return a.Push.None
	case a.Busy:
		return "it is in another call (calls.waiting)"
	}
	return "no push was needed: its connection was alive"
}

// missed are the devices whose users do not know yet that there was this call.
func (c *Call) missed() []Missed {
	if c.b.cfg.Alerts == nil {
		return nil
	}
	switch c.rec.Result {
	case rules.Cancelled, rules.NoAnswer, rules.Unreachable, rules.Failed:
	case rules.Answered, rules.Declined, rules.Busy, rules.Rejected:
		return nil // on another phone of theirs, or before anybody was called
	}
	if !c.rec.Answered.IsZero() {
		return nil
	}
	var out []Missed
	for i, t := range c.attempts {
		due, sent := t.comesUntil()
		unaware := t.fate != nil && !t.fate.Told && (t.fate.Cause == 480 || t.fate.Cause == 487)
		if sent && unaware && !t.device.Push.Alert.IsZero() {
			w := c.wake(t)
			w.AlertOnly = true
			out = append(out, Missed{Wake: w, Attempt: i, Due: due})
		}
	}
	return out
}

// comesUntil is when a pushed device that did not come yet is not expected any
// more; false if no push left.
func (t *try) comesUntil() (time.Time, bool) {
	for _, p := range t.rec.Pushes {
		if p.Accepted || !p.Written.IsZero() {
			return p.At.Add(rules.SecondChanceAfter), true
		}
	}
	return time.Time{}, false
}
