package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"wakebridge/bridge/media/capture"
	"wakebridge/bridge/rules"
	"wakebridge/sipua"
	"wakebridge/sipua/header"
	"wakebridge/sipua/leg"
)

// Call is one call: an A leg, and an attempt for each device or trunk that may
// answer it. Everything but its mailbox belongs to the goroutine of run.
type Call struct {
	b       *Bridge
	id      string
	log     *slog.Logger
	own     owner
	tx      *sipua.ServerTx
	started time.Time

	a        *inbound
	state    rules.State
	attempts []*try // as state.attempts
	origin   Origin
	caller   caller
	plan     Plan
	permit   permit
	media    *callMedia
	rec      Record
}

// owner is what a call's goroutine lives by.
type owner struct {
	box    *mailbox
	ctx    context.Context // ends with the call
	cancel context.CancelFunc
	timers map[timerKey]*time.Timer
	stages map[string]bool // of wakebridge_wake_seconds that were observed
	atEnd  []func()        // run when the call is over, last first
	done   bool
	// parting waits for the legs of a call that is over; nil until then.
	parting *time.Timer

	capture  *capture.Recording // nil: none
	outcomes *mailbox           // of pushes: it outlives box
	unheard  int                // pushes without one
}

// legsEndIn is how long the end of a call waits for its legs.
const legsEndIn = 3 * time.Second

type timerKey struct {
	timer   rules.Timer
	attempt int
}

// inbound is the A leg.
type inbound struct {
	*leg.Leg
	over    bool
	release func() // gives its trunk's place back
	device  string // of the user who calls, "" while it is not known
	leave   func() // that device is no longer in this call
	boot    boot   // of that device
}

func newCall(b *Bridge, tx *sipua.ServerTx, origin Origin) *Call {
	req := tx.Request
	c := &Call{
		b: b, id: newUUID(), tx: tx, started: time.Now(), origin: origin,
		own: owner{box: newMailbox(), outcomes: newMailbox(), timers: make(map[timerKey]*time.Timer), stages: make(map[string]bool)},
	}
	c.own.ctx, c.own.cancel = context.WithCancel(context.Background())
	c.log = b.log.With("call", c.id)
	c.state = rules.NewState(rules.Terms{
		RingTimeout: b.cfg.Terms.RingTimeout, WakeTimeout: b.cfg.Terms.WakeTimeout, Ringing: b.cfg.Terms.Ringing,
		DeclineOne: b.cfg.Terms.DeclineOne, DeclineWindow: b.cfg.Terms.DeclineWindow, MaxDuration: b.cfg.Terms.MaxDuration,
	})
	c.rec = Record{ID: c.id, CallID: req.CallID().Value(), Started: c.started, To: req.Recipient.String(), Trunk: origin.Trunk}
	c.startCapture()
	// The leg exists before this returns to the read loop, so that a CANCEL right
	// behind the INVITE finds it.
	c.a = &inbound{release: func() {}, leave: func() {}, Leg: leg.NewUAS(leg.Config{
		Endpoint: b.cfg.Endpoint(), Post: c.own.box.post, Emit: func(_ *leg.Leg, ev leg.Event) { c.callerEvent(ev) },
		Log: c.log.With("leg", legA), ContactUser: req.Recipient.User, Reach: reachOf(b.cfg.Trunks.ByName(origin.Trunk)),
	}, tx)}
	return c
}

// run is the owner of the call. It ends when the last leg is gone.
func (c *Call) run() {
	defer c.finish()
	c.guard(func() {
		c.caller = c.b.identify(c.tx.Request, c.origin)
		c.rec.From = c.caller.uri.String()
	})
	c.work() // a CANCEL right behind the INVITE: nobody is woken for it
	if !c.own.done && c.state.Phase == rules.Routing {
		c.guard(c.route)
	}
	for !c.own.done {
		select {
		case <-c.own.box.signal:
		case <-c.own.outcomes.signal:
		}
		c.work()
	}
}

// work does what is in the mailboxes.
func (c *Call) work() {
	for _, fn := range append(c.own.outcomes.take(), c.own.box.take()...) {
		if c.own.done {
			return
		}
		c.guard(fn)
	}
}

// guard contains a panic to this call: it is ended with 500 or BYE.
func (c *Call) guard(fn func()) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		c.panicked(p)
		c.rec.Result, c.rec.Reason = rules.Failed, "internal error"
		if c.rec.Answered.IsZero() {
			c.rec.Status = 500
		}
		c.own.done = true
		c.cleanUp(c.drop)
	}()
	fn()
}

func (c *Call) panicked(p any) {
	c.b.metrics.panics.Inc()
	c.log.Error("panic in a call", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
}

// drop ends every leg, in the right way for where it stands.
func (c *Call) drop() {
	c.a.Drop()
	for _, t := range c.attempts {
		for _, l := range t.legs {
			if l.leg != nil {
				l.leg.Drop()
			}
		}
	}
}

// Hangup ends the call for a reason that the record keeps. From any goroutine.
func (c *Call) Hangup(reason string) {
	c.own.box.post(func() { c.step(rules.Event{Kind: rules.EvHangup, Attempt: rules.OfTheCall, Reason: reason}) })
}

// abandon ends the call's goroutine without waiting for the peers.
func (c *Call) abandon() {
	c.own.box.post(func() {
		if c.rec.Result == "" {
			c.rec.Result, c.rec.Reason = rules.Failed, "the server was stopped"
			c.hungUpBy(rules.ByServer)
		}
		c.own.done = true
		c.drop()
	})
}

// step lets the rules decide about an event and does what they want.
func (c *Call) step(ev rules.Event) {
	before := c.state.Phase
	next, actions := c.b.rules.Next(c.state, ev, time.Now())
	c.state = next
	for _, a := range actions {
		c.act(a)
	}
	if c.state.Phase != before {
		c.log.Debug("call", "phase", c.state.Phase.String(), "event", ev.Kind.String())
		c.entered(c.state.Phase)
	}
	for i := range c.attempts {
		c.letGo(i)
	}
	c.checkOver()
}

// entered does what a new phase asks for once.
func (c *Call) entered(p rules.Phase) {
	switch p {
	case rules.Answering:
		c.b.settled(c.double(), c.id)
		c.settleFates()
	case rules.Ending:
		// Legs may take a minute to close; nothing else waits for them.
		c.rec.Ended = time.Now()
		c.settleFates()
		c.b.settled(c.double(), c.id)
		c.closeMedia()
	}
}

// checkOver ends the call when its outcome is decided and no leg is left.
func (c *Call) checkOver() {
	if c.state.Phase != rules.Ending || !c.a.over {
		return
	}
	for _, t := range c.attempts {
		for _, l := range t.legs {
			if !l.over {
				c.leaveBehind()
				return
			}
		}
	}
	c.state, _ = c.b.rules.Next(c.state, rules.Event{Kind: rules.EvClosed, Attempt: rules.OfTheCall}, time.Now())
	c.own.done = true
}

// leaveBehind gives devices whose INVITE was taken back a moment to say so. What is left
// of their legs then needs no call: where nobody answers, that may last 32 s.
func (c *Call) leaveBehind() {
	if c.own.parting != nil {
		return
	}
	c.own.parting = time.AfterFunc(legsEndIn, func() { c.own.box.post(c.dropLegs) })
}

func (c *Call) dropLegs() {
	for _, t := range c.attempts {
		for _, l := range t.legs {
			if l.over {
				continue
			}
			c.note("%s did not say that it took its INVITE for ended", t.name)
			if t.trunk == nil {
				c.b.hearOutLeg(deviceRef{t.device.AOR, t.device.Key}, l.leg, t.uuid, t.fate)
			}
			l.leg.Drop()
		}
	}
}

// note adds a step to the record, the log and the capture.
func (c *Call) note(format string, args ...any) {
	c.own.capture.Comment(time.Now(), c.record(format, args...))
}

// record adds a step to the record and the log.
func (c *Call) record(format string, args ...any) (what string) {
	what = header.Clean(fmt.Sprintf(format, args...))
	c.rec.Steps = append(c.rec.Steps, Step{At: time.Now(), What: what})
	c.log.Debug("step", "what", what)
	return what
}

func (c *Call) hungUpBy(who rules.Party) {
	if c.rec.HangupBy == "" {
		c.rec.HangupBy = string(who)
	}
}

// finish writes the record and gives everything back. Whatever it meets, the
// bridge forgets the call.
func (c *Call) finish() {
	defer c.b.forget(c)
	c.own.cancel()
	for _, t := range c.own.timers {
		t.Stop()
	}
	if c.own.parting != nil {
		c.own.parting.Stop()
	}
	c.own.box.close()
	c.cleanUp(c.close)
	for i := len(c.own.atEnd) - 1; i >= 0; i-- {
		c.cleanUp(c.own.atEnd[i])
	}
	c.cleanUp(c.hearOut)
	c.own.outcomes.close()
	c.cleanUp(c.report)
	c.cleanUp(c.endCapture)
}

// hearOut waits for the outcomes of the pushes that the end of the call stopped, so
// that its record has them.
func (c *Call) hearOut() {
	limit := time.NewTimer(heardOutWithin)
	defer limit.Stop()
	for {
		for _, fn := range c.own.outcomes.take() {
			fn()
		}
		if c.own.unheard == 0 {
			return
		}
		select {
		case <-c.own.outcomes.signal:
		case <-limit.C:
			c.note("pushes without an outcome: %d", c.own.unheard)
			return
		case <-c.b.quit:
			return
		}
	}
}

// cleanUp goes on after a panic: the rest must be given back too.
func (c *Call) cleanUp(fn func()) {
	defer func() {
		if p := recover(); p != nil {
			c.panicked(p)
		}
	}()
	fn()
}

// close ends what the attempts still hold, and tells fates for good.
func (c *Call) close() {
	if c.rec.Ended.IsZero() {
		c.rec.Ended = time.Now()
	}
	c.closeMedia()
	c.a.release()
	c.a.leave()
	c.b.settled(c.double(), c.id)
	for i, t := range c.attempts {
		t.stop(nil)
		for _, l := range t.legs {
			l.leave()
		}
		if i < len(c.state.Attempts) {
			c.lastFate(i, t)
		}
	}
}

// report writes the record.
func (c *Call) report() {
	for i, t := range c.attempts {
		if i < len(c.state.Attempts) {
			t.rec.Outcome = c.state.Attempts[i].Told()
			t.rec.NotPushed = c.notPushed(i)
		}
		c.rec.Attempts = append(c.rec.Attempts, t.rec)
	}
	if c.rec.Result == "" {
		c.rec.Result = rules.Failed
	}
	c.b.metrics.calls.WithLabelValues(string(c.rec.Result)).Inc()
	c.log.Info("call over", "from", c.caller.handle, "to", c.rec.To, "result", c.rec.Result, "status", c.rec.Status,
		"reason", c.rec.Reason, "audio", strings.Join(c.rec.Audio, "; "), "duration_s", c.rec.Ended.Sub(c.rec.Started).Round(time.Millisecond).Seconds())
	if err := c.b.cfg.Records.Append(c.rec); err != nil {
		c.log.Error("record of the call is lost", "error", err)
	}
	if missed := c.missed(); len(missed) > 0 {
		c.b.cfg.Alerts.Missed(missed, c.rec)
	}
}
