package invariants

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"wakebridge/bridge"
	"wakebridge/sipua/iphone"
)

// Phone is what a simulated iPhone has to tell.
type Phone struct {
	Name       string
	Events     []iphone.Event
	Violations []iphone.Violation
	Broken     Broken
	// Heard is what came of each call's sound, by the UUID of the call.
	Heard map[uuid.UUID]Heard
	// Unsure is why nobody can be sure that the sound of its calls arrives; "": it has to.
	Unsure string
}

// Broken is what is wrong with a phone's app by design: its breaches are no finding,
// and their absence is one. The zero value is a correct app.
type Broken struct {
	Rule iphone.Rule // that it breaks, of iOS or RuleSound; "": none
	Dies bool        // it is killed, for that rule or by itself
}

// PhoneOf asks a device.
func PhoneOf(name string, d *iphone.Device) Phone {
	p := Phone{Name: name, Events: d.Timeline(), Violations: d.Violations(), Heard: make(map[uuid.UUID]Heard)}
	for _, e := range p.Events {
		if e.Kind != iphone.AudioStarted && e.Kind != iphone.Fulfilled {
			continue
		}
		if c := d.Call(e.UUID); c != nil {
			p.Heard[e.UUID] = heardBy(c)
		}
	}
	return p
}

// screenCall is a call as one phone showed it.
type screenCall struct {
	reported, invited, ended time.Time
	reason                   iphone.Reason
	// cut: the phone was not connected all the time between the INVITE (or the
	// report) and the end, or its app did not live so long.
	cut bool
	// back is when the phone registered with the call on its screen, since it was last cut.
	back time.Time
	// accepted: the app sent a 200, so its call is ended by BYE if another device was
	// faster.
	accepted bool
	told     bool // of its fate, with a 200 to REGISTER
	refused  bool // by the app, for the user or by itself
}

// online says that the server could reach the phone for this call until its end.
func (c *screenCall) online() bool { return !c.back.IsZero() || !c.cut && !c.invited.IsZero() }

// phone: no rule of Apple's is broken, no app is killed for it, no call stays on
// the screen, and who loses to another device is told that.
func (v *verdict) phone(p Phone) {
	v.broke(p)
	for _, broken := range p.Violations {
		if broken.Rule == p.Broken.Rule {
			continue
		}
		if broken.Rule == iphone.RuleInvite && v.refused[broken.UUID.String()] {
			continue // APNs delivered a push and then refused its repetition: nobody was woken, as far as the server can know
		}
		if broken.Rule == iphone.RuleInvite && diedInCall(p, broken.UUID) {
			continue // it is in the call, as far as the server can know, until its media is missed
		}
		v.breaks("%s: rule %s is broken at %s: %s (call %s)", p.Name, broken.Rule, clock(broken.At), broken.Text, broken.UUID)
	}
	calls := make(map[uuid.UUID]*screenCall)
	for _, e := range p.Events {
		if e.Kind == iphone.Killed && e.Text != "by the user" && !p.Broken.Dies {
			v.breaks("%s: the app was killed at %s: %s", p.Name, clock(e.At), e.Text)
		}
		note(calls, e)
	}
	for id, c := range calls {
		if rec := v.byUUID[id.String()]; rec != nil {
			v.screen(p.Name, id, c, rec)
			v.early(p, id, c, rec)
			continue
		}
		if c.ended.IsZero() {
			v.breaks("%s: the call %s, which no record has, stays on the screen", p.Name, id)
		}
	}
}

// broke: a broken app breaks what it is there to break.
func (v *verdict) broke(p Phone) {
	if rule := p.Broken.Rule; rule != "" && rule != RuleSound && !slices.ContainsFunc(p.Violations, func(b iphone.Violation) bool { return b.Rule == rule }) {
		v.breaks("%s: its app kept the rule %s, which it is there to break", p.Name, rule)
	}
	if p.Broken.Dies && !slices.ContainsFunc(p.Events, func(e iphone.Event) bool { return e.Kind == iphone.Killed }) {
		v.breaks("%s: its app was not killed", p.Name)
	}
}

// diedInCall says that the app was killed in a call that it had answered: a push that
// comes late starts one that knows nothing of it.
func diedInCall(p Phone, id uuid.UUID) bool {
	accepted := false
	for _, e := range p.Events {
		if e.UUID != id {
			continue
		}
		accepted = accepted || e.Kind == iphone.Accepted
		if accepted && e.Kind == iphone.Ended && e.Reason == iphone.ByKill {
			return true
		}
	}
	return false
}

// note adds an event to the calls it concerns.
func note(calls map[uuid.UUID]*screenCall, e iphone.Event) {
	c := calls[e.UUID]
	switch e.Kind {
	case iphone.Reported:
		if c == nil {
			calls[e.UUID] = &screenCall{reported: e.At}
		}
	case iphone.FlowLost, iphone.Suspended, iphone.Killed, iphone.RegisterFailed:
		for _, c := range calls {
			if c.ended.IsZero() {
				c.cut, c.back = true, time.Time{}
			}
		}
	case iphone.Registered:
		for _, c := range calls {
			if c.ended.IsZero() && c.back.IsZero() {
				c.back = e.At
			}
		}
	}
	if c == nil {
		return
	}
	switch e.Kind {
	case iphone.InviteReceived:
		c.invited = e.At
	case iphone.Accepted:
		c.accepted = true
	case iphone.FateTold:
		c.told = true
	case iphone.Declined:
		c.refused = true
	case iphone.Ended:
		if c.ended.IsZero() {
			c.ended, c.reason = e.At, e.Reason
		}
	}
}

// screen judges a call on a phone by its record.
func (v *verdict) screen(name string, id uuid.UUID, c *screenCall, rec *bridge.Record) {
	if c.ended.IsZero() {
		v.breaks("%s: the call %s ended at %s (%s) and stays on the screen", name, id, clock(rec.Ended), rec.Reason)
		return
	}
	told := rec.Ended
	if !c.online() {
		return // nobody can tell it
	}
	if c.cut || c.invited.IsZero() {
		// With the fate, or by the CANCEL or BYE that is repeated then.
		if c.back.After(told) {
			told = c.back
		}
	}
	if late := c.ended.Sub(told); late > v.limits.Screen {
		v.breaks("%s: the call %s stays on the screen for %s after its end or the REGISTER behind it", name, id, late)
	}
	if v.lost(id, rec) && c.ended.After(rec.Answered) && slices.Contains(notToldSo(), c.reason) &&
		!(c.accepted && c.reason == iphone.RemoteEnded) {
		v.breaks("%s: the call %s was answered by another device, and ended here as %s", name, id, c.reason)
	}
}

// early: a phone that is online does not give a call up that lasts, unless it is told to,
// or refuses it, or its app broke a rule.
func (v *verdict) early(p Phone, id uuid.UUID, c *screenCall, rec *bridge.Record) {
	alone := c.reason == iphone.Unanswered || c.reason == iphone.Failed
	if !alone || c.ended.IsZero() || !c.ended.Before(rec.Ended) || !c.online() || c.told || c.refused {
		return
	}
	if c.ended.Equal(c.reported) {
		return // its push came when it had expired
	}
	asked := span{c.ended.Add(-v.limits.Screen), c.ended.Add(v.limits.Wire)}
	if slices.ContainsFunc(v.ends[id.String()], func(at time.Time) bool { return span{at, at}.meets(asked) }) {
		return
	}
	if slices.ContainsFunc(p.Violations, func(b iphone.Violation) bool { return b.UUID == id }) {
		return
	}
	v.breaks("%s: the call %s left the screen at %s as %s, and lasted until %s (%s)", p.Name, id, clock(c.ended), c.reason, clock(rec.Ended), rec.Reason)
}

// notToldSo are ends that the server brought about without the true reason.
func notToldSo() []iphone.Reason {
	return []iphone.Reason{iphone.Failed, iphone.RemoteEnded, iphone.Unanswered, iphone.DeclinedElsewhere}
}

// lost says that the call was answered, and by another device than the one with
// that UUID.
func (v *verdict) lost(id uuid.UUID, rec *bridge.Record) bool {
	if rec.Result != bridge.Answered {
		return false
	}
	for _, a := range rec.Attempts {
		if uuidOf(a.UUID) == id.String() {
			return a.Answered.IsZero()
		}
	}
	return false
}
