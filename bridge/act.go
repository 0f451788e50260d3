package bridge

import (
	"cmp"
	"errors"
	"time"

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
func (c *Call) act(a action) {
	switch a.kind {
	case actTimer:
		c.startTimer(a)
	case actPush:
		c.push(a)
	case actStopPush:
		var why error
		if c.state.attempts[a.attempt].awake() {
			why = ErrReached
		}
		c.attempts[a.attempt].stop(why)
	case actInvite:
		c.invite(a)
	case actAgain:
		c.withLeg(a, "retransmit", func(l *leg.Leg) error { return l.Resend() })
	case actCancel:
		c.withLeg(a, "cancel", func(l *leg.Leg) error { return l.Cancel(a.reasons...) })
		c.expectHeard(a)
	case actBye:
		c.withLeg(a, "bye", func(l *leg.Leg) error { return l.Bye(a.reasons...) })
	case actRing:
		c.ring(a)
	case actTone:
		c.tone(a)
	case actEarly:
		c.early(a)
	case actAnswer:
		c.answer(a)
	case actReject:
		c.reject(a)
	case actByeCaller:
		c.byeCaller(a)
	case actFate:
		c.attempts[a.attempt].doubt = a
		if !a.wait || !c.state.unanswered() {
			c.resolve(c.attempts[a.attempt])
		}
	case actWatchAlive:
		c.watchAlive(a)
	case actBug:
		c.log.Error("an event came that cannot come in this phase", "event", a.reason, "attempt", a.attempt)
	}
}

// withLeg does something to the leg of an INVITE. One that is cancelled or ended
// does not keep its device from other calls.
func (c *Call) withLeg(a action, verb string, do func(*leg.Leg) error) {
	t := c.attempts[a.attempt]
	if a.invite >= len(t.legs) || t.legs[a.invite].leg == nil || t.legs[a.invite].over {
		return
	}
	if a.kind != actAgain {
		t.legs[a.invite].leave()
	}
	c.late(verb, do(t.legs[a.invite].leg))
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
func (c *Call) startTimer(a action) {
	key := timerKey{a.timer, a.attempt}
	if old := c.own.timers[key]; old != nil {
		old.Stop()
	}
	after := a.after
	switch a.timer {
	case timerRing, timerWake, timerNoPush:
		after -= time.Since(c.started) // one clock, from the INVITE
	}
	ev := event{kind: a.timer.event(), attempt: a.attempt, gen: a.gen}
	c.own.timers[key] = time.AfterFunc(after, func() { c.own.box.post(func() { c.step(ev) }) })
}

// ring tells the caller that a device is being woken, or rings. Once it has an
// SDP, that is what is repeated: 180 would make a PBX play its own tone instead.
func (c *Call) ring(a action) {
	c.heardRinging()
	if sent := c.media.sent; sent != nil {
		c.late("progress", c.a.Progress(183, sent, c.wakeStatus(a.stage)...))
		return
	}
	c.late("ring", c.a.Ring(c.wakeStatus(a.stage)...))
}

func (c *Call) heardRinging() {
	if c.rec.Rang.IsZero() {
		c.rec.Rang = time.Now()
		c.b.metrics.pdd.Observe(c.rec.Rang.Sub(c.started).Seconds())
	}
}

func (c *Call) wakeStatus(s stage) []sip.Header {
	if !c.state.terms.Progress || s == stageNone {
		return nil
	}
	return []sip.Header{sip.NewHeader(header.NameWakeStatus, s.String())}
}

// answer gives the winner's 2xx to the caller and joins the media.
func (c *Call) answer(a action) {
	t := c.attempts[a.attempt]
	l := t.legs[a.invite]
	if c.media.late {
		c.media.propose(t, l.leg, l.session)
	} else {
		c.media.connect(t, l.leg, l.session) // before the 200, which a caller may answer with audio at once
	}
	if err := c.a.Answer(l.session.body); err != nil {
		c.log.Error("the answer cannot be sent", "error", err)
		c.rec.Result, c.rec.Status, c.rec.Reason = Failed, 500, "the answer cannot be sent: "+err.Error()
		c.a.Drop() // its end ends the callee's leg
		return
	}
	c.rec.Answered = time.Now()
	c.rec.Result, c.rec.Status, c.rec.Reason = Answered, 200, "answered by "+t.name
	c.reached(a.attempt, metricAnswered, c.rec.Answered)
	if !c.media.late {
		c.media.answered(t)
	}
	c.b.cfg.Records.Begin(c.rec)
}

// reject gives the caller the final response.
func (c *Call) reject(a action) {
	phrase := cmp.Or(a.phrase, sipua.Phrase(a.status))
	c.rec.Status = a.status
	c.rec.Reason = cmp.Or(c.rec.Reason, a.reason)
	c.rec.Result = cmp.Or(c.rec.Result, a.result, resultOf(c.state, a.status))
	c.hungUpBy(a.by)
	c.note("%d to the caller: %s", a.status, a.reason)
	err := c.a.Reject(a.status, phrase)
	c.late("reject", err)
	if err != nil && !errors.Is(err, leg.ErrEnded) {
		c.a.Drop() // a status or phrase that cannot be: the caller must not wait
	}
}

func (c *Call) byeCaller(a action) {
	c.rec.Reason = cmp.Or(a.reason, c.rec.Reason)
	c.hungUpBy(a.by)
	c.late("bye", c.a.Bye(a.reasons...))
}

// resultOf names the outcome of a call that nobody answered.
func resultOf(s state, status int) Result {
	if status == 487 {
		return Cancelled
	}
	switch best(s.attempts).rank {
	case rankDeclined:
		return Declined
	case rankBusy:
		return Busy
	case rankNoAnswer:
		return NoAnswer
	case rankUnreachable:
		return Unreachable
	case rankRefused, rankUnacceptable:
		return Failed
	}
	return Rejected
}

// fate leaves a word for a device that was pushed and will come too late.
func (c *Call) fate(a action) {
	t := c.attempts[a.attempt]
	t.fate = &location.Fate{
		AOR: t.device.AOR, DeviceKey: t.device.Key, UUID: t.uuid, Cause: a.status, Text: a.reason,
		ExpiresAt: c.expiresAt(), Recorded: time.Now(),
	}
	c.b.cfg.Fates.Put(*t.fate)
}

// settleFates ends the waiting of fates: the call is answered, or over. Who was told, or is
// to be told, that nobody answered hears that another device did; who does not read fates
// would ring for it once more.
func (c *Call) settleFates() {
	for i, t := range c.attempts {
		if c.state.attempts[i].phase.over() {
			c.resolve(t)
		}
		if t.fate != nil && !t.fate.Told && t.device.Push.FateHeader && c.state.winner != noWinner && t.fate.Cause == 480 {
			t.fate.Cause, t.fate.Text = 200, textElsewhere
			c.b.cfg.Fates.Put(*t.fate)
		}
	}
}

// resolve leaves the fate that waits for a device. One that may not know the call has it
// only if it reads fates: others would ring.
func (c *Call) resolve(t *try) {
	a := t.doubt
	t.doubt = action{}
	if a.status == 0 || a.maybe && !t.device.Push.FateHeader {
		return
	}
	if c.state.winner != noWinner {
		a.status, a.reason = 200, textElsewhere
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

// lastFate says how long a fate is kept, now that the call is over, and leaves
// one for a device that lost it because the call ended out of order.
func (c *Call) lastFate(i int, t *try) {
	a := &c.state.attempts[i]
	if t.fate == nil && !a.phase.over() && a.mayWake() && !a.arrived() {
		c.fate(action{attempt: i, status: 480, reason: "Call ended"})
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
	devices, stop := c.b.cfg.Locator.Watch(t.device.AOR, func(location.Change) {})
	stop()
	for _, d := range devices {
		if b, ok := d.Flow(); ok && d.Key == t.device.Key && time.Since(b.Registered) < answersSoon {
			c.b.overtaken(d)
		}
	}
}

// expiresAt is when apps should not show the call any more: expiresBefore the end
// of the waking, or a quarter of it where that is short.
func (c *Call) expiresAt() time.Time {
	wake := c.state.terms.WakeTimeout
	return c.started.Add(wake - min(expiresBefore, wake/4))
}

// watchAlive tells the rules when the device's doubtful flow shows life.
func (c *Call) watchAlive(a action) {
	f := c.b.cfg.Endpoint().Flow(a.flow)
	if f == nil {
		return
	}
	ev := event{kind: evAlive, attempt: a.attempt, flow: a.flow}
	forget := f.OnLife(func() { c.own.box.post(func() { c.step(ev) }) })
	c.own.atEnd = append(c.own.atEnd, forget)
}
