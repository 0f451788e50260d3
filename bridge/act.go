package bridge

import (
	"errors"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/header"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/location"
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
		c.attempts[a.attempt].stop()
	case actInvite:
		c.invite(a)
	case actAgain:
		c.withLeg(a, "retransmit", func(l *leg.Leg) error { return l.Resend() })
	case actCancel:
		c.withLeg(a, "cancel", func(l *leg.Leg) error { return l.Cancel(a.reasons...) })
	case actBye:
		c.withLeg(a, "bye", func(l *leg.Leg) error { return l.Bye(a.reasons...) })
	case actRing:
		c.ring(a)
	case actAnswer:
		c.answer(a)
	case actReject:
		c.reject(a)
	case actByeCaller:
		if a.reason != "" {
			c.rec.Reason = a.reason
			c.hungUpBy("server")
		}
		c.late("bye", c.a.Bye(a.reasons...))
	case actFate:
		c.fate(a)
	case actWatchAlive:
		c.watchAlive(a)
	case actBug:
		c.log.Error("an event came that cannot come in this phase", "event", a.reason, "attempt", a.attempt)
	}
}

func (c *Call) withLeg(a action, verb string, do func(*leg.Leg) error) {
	t := c.attempts[a.attempt]
	if a.invite >= len(t.legs) || t.legs[a.invite].leg == nil || t.legs[a.invite].over {
		return
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
	if old := c.timers[key]; old != nil {
		old.Stop()
	}
	after := a.after
	if a.timer == timerRing || a.timer == timerWake {
		after -= time.Since(c.started) // one clock, from the INVITE
	}
	ev := event{kind: a.timer.event(), attempt: a.attempt, gen: a.gen}
	c.timers[key] = time.AfterFunc(after, func() { c.box.post(func() { c.expired(ev, a) }) })
}

// expired drops the event of a timer that was started anew since.
func (c *Call) expired(ev event, a action) {
	if a.attempt < 0 && c.state.timers[a.timer] != a.gen {
		return
	}
	if ev.kind == evRingTimeout || ev.kind == evMaxDuration {
		c.note("%s passed", ev.kind)
	}
	c.step(ev)
}

// ring tells the caller that a device is being woken, or rings.
func (c *Call) ring(a action) {
	now := time.Now()
	if c.rec.Rang.IsZero() {
		c.rec.Rang = now
		c.b.metrics.pdd.Observe(now.Sub(c.started).Seconds())
	}
	var headers []sip.Header
	if c.state.terms.Progress && a.stage != stageNone {
		headers = append(headers, sip.NewHeader(header.NameWakeStatus, a.stage.String()))
	}
	c.late("ring", c.a.Ring(headers...))
}

// answer gives the winner's 2xx to the caller and joins the media.
func (c *Call) answer(a action) {
	t := c.attempts[a.attempt]
	body, err := c.media.answerFrom(t)
	if err != nil {
		c.note("%s: its answer cannot be used: %v", t.name, err)
		c.rec.Reason = "the callee's answer cannot be used: " + err.Error()
		c.rec.Result = Failed
		c.late("reject", c.a.Reject(sipua.Status(err), ""))
		c.withLeg(a, "bye", func(l *leg.Leg) error { return l.Bye() })
		return
	}
	if err := c.a.Answer(body); err != nil {
		c.late("answer", err)
		c.withLeg(a, "bye", func(l *leg.Leg) error { return l.Bye() })
		return
	}
	c.rec.Answered = time.Now()
	c.rec.Result, c.rec.Status, c.rec.Reason = Answered, 200, "answered by "+t.name
	c.b.metrics.reached(metricAnswered, c.started, c.rec.Answered)
	c.media.answered(t)
}

// reject gives the caller the final response.
func (c *Call) reject(a action) {
	phrase := a.phrase
	if phrase == "" {
		phrase = sipua.Phrase(a.status)
	}
	c.rec.Status = a.status
	if c.rec.Reason == "" {
		c.rec.Reason = a.reason
	}
	if c.rec.Result == "" {
		c.rec.Result = resultOf(c.state, a.status)
	}
	if a.status != 487 {
		c.hungUpBy("server")
	}
	c.note("%d to the caller: %s", a.status, a.reason)
	c.late("reject", c.a.Reject(a.status, phrase))
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
	now := time.Now()
	c.b.cfg.Fates.Put(location.Fate{
		AOR: t.device.AOR, DeviceKey: t.device.Key, UUID: t.uuid, Cause: a.status, Text: a.reason,
		ExpiresAt: c.started.Add(c.state.terms.WakeTimeout - expiresBeforeWake), Recorded: now, KeepUntil: now.Add(callLivesAfterBye),
	})
}

// watchAlive tells the rules when the device's doubtful flow shows life.
func (c *Call) watchAlive(a action) {
	f := c.b.cfg.Endpoint().Flow(a.flow)
	if f == nil {
		return
	}
	i := a.attempt
	forget := f.OnLife(func() {
		c.box.post(func() {
			if c.state.phase == waking || c.state.phase == ringing {
				c.step(event{kind: evAlive, attempt: i, flow: a.flow})
			}
		})
	})
	c.cleanup = append(c.cleanup, forget)
}
