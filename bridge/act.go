package bridge

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"wakebridge/bridge/rules"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/header"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/location"
)

const (
	expiresBefore = 5 * time.Second // the push ends before push.wake_timeout does
	fatesLive     = 5 * time.Minute // after the call
	// heardOutWithin is how long the record of a call waits for the outcomes of its
	// pushes.
	heardOutWithin = 5 * time.Second
)

// act carries out one action of the rules. A verb that comes too late (the leg
// ended meanwhile) is no fault: its Ended event is on the way.
func (c *Call) act(a rules.Action) {
	switch a.Kind {
	case rules.ActTimer:
		c.startTimer(a)
	case rules.ActPush:
		c.push(a)
	case rules.ActStopPush:
		var why error
		if c.state.Attempts[a.Attempt].Awake() {
			why = ErrReached
		}
		c.attempts[a.Attempt].stop(why)
	case rules.ActInvite:
		c.invite(a)
	case rules.ActAgain:
		c.withLeg(a, "retransmit", func(l *leg.Leg) error { return l.Resend() })
	case rules.ActCancel:
		c.withLeg(a, "cancel", func(l *leg.Leg) error { return l.Cancel(a.Reasons...) })
		c.expectHeard(a)
	case rules.ActBye:
		c.withLeg(a, "bye", func(l *leg.Leg) error { return l.Bye(a.Reasons...) })
	case rules.ActRing:
		c.ring(a)
	case rules.ActTone:
		c.tone(a)
	case rules.ActEarly:
		c.early(a)
	case rules.ActAnswer:
		c.answer(a)
	case rules.ActReject:
		c.reject(a)
	case rules.ActByeCaller:
		c.byeCaller(a)
	case rules.ActFate:
		c.attempts[a.Attempt].doubt = a
		if !a.Wait || !c.state.Unanswered() {
			c.resolve(c.attempts[a.Attempt])
		}
	case rules.ActWatchAlive:
		c.watchAlive(a)
	case rules.ActBug:
		c.log.Error("an event came that cannot come in this phase", "event", a.Reason, "attempt", a.Attempt)
	}
}

// withLeg does something to the leg of an INVITE. One that is cancelled or ended
// does not keep its device from other calls.
func (c *Call) withLeg(a rules.Action, verb string, do func(*leg.Leg) error) {
	t := c.attempts[a.Attempt]
	if a.Invite >= len(t.legs) || t.legs[a.Invite].leg == nil || t.legs[a.Invite].over {
		return
	}
	if a.Kind != rules.ActAgain {
		t.legs[a.Invite].leave()
	}
	c.late(verb, do(t.legs[a.Invite].leg))
}

func (c *Call) late(verb string, err error) {
	switch {
	case err == nil:
	case errors.Is(err, leg.ErrEnded), errors.Is(err, leg.ErrState):
		c.log.Debug("too late", "verb", verb, "error", err)
	default:
		c.log.Warn("leg", "verb", verb, "error", err)
	}
}

// startTimer replaces the timer of that name; its event carries the generation.
func (c *Call) startTimer(a rules.Action) {
	key := timerKey{a.Timer, a.Attempt}
	if old := c.own.timers[key]; old != nil {
		old.Stop()
	}
	after := a.After
	switch a.Timer {
	case rules.TimerRing, rules.TimerWake, rules.TimerNoPush:
		after -= time.Since(c.started) // one clock, from the INVITE
	}
	ev := rules.Event{Kind: a.Timer.Event(), Attempt: a.Attempt, Gen: a.Gen}
	c.own.timers[key] = time.AfterFunc(after, func() { c.own.box.post(func() { c.step(ev) }) })
}

// ring tells the caller that a device is being woken, or rings. Once it has an
// SDP, that is what is repeated: 180 would make a PBX play its own tone instead.
func (c *Call) ring(a rules.Action) {
	c.heardRinging()
	if sent := c.media.sent; sent != nil {
		c.late("progress", c.a.Progress(183, sent, c.wakeStatus(a.Stage)...))
		return
	}
	c.late("ring", c.a.Ring(c.wakeStatus(a.Stage)...))
}

func (c *Call) heardRinging() {
	if c.rec.Rang.IsZero() {
		c.rec.Rang = time.Now()
		c.b.metrics.pdd.Observe(c.rec.Rang.Sub(c.started).Seconds())
	}
}

func (c *Call) wakeStatus(s rules.Stage) []sip.Header {
	if !c.state.Terms.Progress || s == rules.StageNone {
		return nil
	}
	return []sip.Header{sip.NewHeader(header.NameWakeStatus, s.String())}
}

// answer gives the winner's 2xx to the caller and joins the media.
func (c *Call) answer(a rules.Action) {
	t := c.attempts[a.Attempt]
	l := t.legs[a.Invite]
	if c.media.late {
		c.media.propose(t, l.leg, l.session)
	} else {
		c.media.connect(t, l.leg, l.session) // before the 200, which a caller may answer with audio at once
	}
	if err := c.a.Answer(l.session.body); err != nil {
		c.log.Error("the answer cannot be sent", "error", err)
		c.rec.Result, c.rec.Status, c.rec.Reason = rules.Failed, 500, "the answer cannot be sent: "+err.Error()
		c.a.Drop() // its end ends the callee's leg
		return
	}
	c.rec.Answered = time.Now()
	c.rec.Result, c.rec.Status, c.rec.Reason = rules.Answered, 200, "answered by "+t.name
	c.reached(a.Attempt, metricAnswered, c.rec.Answered)
	if !c.media.late {
		c.media.answered(t)
	}
	c.b.cfg.Records.Begin(c.rec)
}

// reject gives the caller the final response.
func (c *Call) reject(a rules.Action) {
	phrase := cmp.Or(a.Phrase, sipua.Phrase(a.Status))
	c.rec.Status = a.Status
	c.rec.Reason = cmp.Or(c.rec.Reason, a.Reason)
	c.rec.Result = cmp.Or(c.rec.Result, a.Result, resultOf(c.state, a.Status))
	c.hungUpBy(a.By)
	c.note("%d to the caller: %s", a.Status, a.Reason)
	err := c.a.Reject(a.Status, phrase)
	c.late("reject", err)
	if err != nil && !errors.Is(err, leg.ErrEnded) {
		c.a.Drop() // a status or phrase that cannot be: the caller must not wait
	}
}

func (c *Call) byeCaller(a rules.Action) {
	c.rec.Reason = cmp.Or(a.Reason, c.rec.Reason)
	c.hungUpBy(a.By)
	c.late("bye", c.a.Bye(a.Reasons...))
}

// resultOf names the outcome of a call that nobody answered.
func resultOf(s rules.State, status int) rules.Result {
	if status == 487 {
		return rules.Cancelled
	}
	switch rules.Best(s.Attempts).Rank {
	case rules.RankDeclined:
		return rules.Declined
	case rules.RankBusy:
		return rules.Busy
	case rules.RankNoAnswer:
		return rules.NoAnswer
	case rules.RankUnreachable:
		return rules.Unreachable
	case rules.RankRefused, rules.RankUnacceptable:
		return rules.Failed
	}
	return rules.Rejected
}

// fate leaves a word for a device that was pushed and will come too late.
func (c *Call) fate(a rules.Action) {
	t := c.attempts[a.Attempt]
	t.fate = &location.Fate{
		AOR: t.device.AOR, DeviceKey: t.device.Key, UUID: t.uuid, Cause: a.Status, Text: a.Reason,
		ExpiresAt: c.expiresAt(), Recorded: time.Now(),
	}
	c.b.cfg.Fates.Put(*t.fate)
}

// settleFates ends the waiting of fates: the call is answered, or over. Who was told, or is
// to be told, that nobody answered hears that another device did; who does not read fates
// would ring for it once more.
func (c *Call) settleFates() {
	for i, t := range c.attempts {
		if c.state.Attempts[i].Phase.Over() {
			c.resolve(t)
		}
		if t.fate != nil && !t.fate.Told && t.device.Push.FateHeader && c.state.Winner != rules.NoWinner && t.fate.Cause == 480 {
			t.fate.Cause, t.fate.Text = 200, rules.TextElsewhere
			c.b.cfg.Fates.Put(*t.fate)
		}
	}
}

// resolve leaves the fate that waits for a device. One that may not know the call has it
// only if it reads fates: others would ring.
func (c *Call) resolve(t *try) {
	a := t.doubt
	t.doubt = rules.Action{}
	if a.Status == 0 || a.Maybe && !t.device.Push.FateHeader {
		return
	}
	if c.state.Winner != rules.NoWinner {
		a.Status, a.Reason = 200, rules.TextElsewhere
	}
	c.fate(a)
}

// arrived takes a fate back: the device got the INVITE after all, and its CANCEL.
func (c *Call) arrived(t *try) {
	if t.fate != nil && !t.fate.Told {
		t.fate.Told = true
		c.b.cfg.Fates.Put(*t.fate)
	}
}

// shown is the UUID of the call if the device has it on its screen, as far as we know; else
// "".
func (t *try) shown() string {
	if t.fate != nil && slices.ContainsFunc(t.legs, func(l *tried) bool { return l.arrived }) {
		return t.fate.UUID
	}
	return ""
}

// lastFate says how long a fate is kept, now that the call is over, and leaves
// one for a device that lost it because the call ended out of order.
func (c *Call) lastFate(i int, t *try) {
	a := &c.state.Attempts[i]
	if t.fate == nil && !a.Phase.Over() && a.MayWake() && !a.Arrived() {
		c.fate(rules.Action{Attempt: i, Status: 480, Reason: "Call ended"})
	}
	for n := range t.legs {
		if !t.legs[n].over { // the call does not wait for the 487 to its CANCEL
			c.unheard(i, n)
		}
	}
	if t.fate == nil {
		return
	}
	t.fate.KeepUntil = c.rec.Ended.Add(fatesLive)
	c.b.cfg.Fates.Put(*t.fate)
	if t.fate.Told {
		return
	}
	d := c.b.located(t.device)
	if b, ok := d.Flow(); ok && time.Since(b.Registered) < answersSoon {
		c.b.overtaken(d, t.shown())
	}
}

// expiresAt is when apps should not show the call any more: expiresBefore the end
// of the waking, or a quarter of it where that is short.
func (c *Call) expiresAt() time.Time {
	wake := c.state.Terms.WakeTimeout
	return c.started.Add(wake - min(expiresBefore, wake/4))
}

// watchAlive tells the rules when the device's doubtful flow shows life.
func (c *Call) watchAlive(a rules.Action) {
	f := c.b.cfg.Endpoint().Flow(a.Flow)
	if f == nil {
		return
	}
	ev := rules.Event{Kind: rules.EvAlive, Attempt: a.Attempt, Flow: a.Flow}
	forget := f.OnLife(func() { c.own.box.post(func() { c.step(ev) }) })
	c.own.atEnd = append(c.own.atEnd, forget)
}
