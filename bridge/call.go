package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge/sdp"
	"wakebridge/sipua"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/location"
)

// Call is one call: an A leg, and an attempt for each device or trunk that may
// answer it. Everything but its mailbox belongs to the goroutine of run.
type Call struct {
	b       *Bridge
	id      string
	log     *slog.Logger
	box     *mailbox
	tx      *sipua.ServerTx
	origin  Origin
	started time.Time

	a        *leg.Leg
	aOver    bool
	state    state
	attempts []*try
	rec      Record
	media    *callMedia
	caller   caller
	plan     Plan
	timers   map[timerKey]*time.Timer
	cleanup  []func() // run when the call is over, last first
	ctx      context.Context
	cancel   context.CancelFunc
	done     bool
}

type timerKey struct {
	timer   timer
	attempt int
}

func newCall(b *Bridge, tx *sipua.ServerTx, origin Origin) *Call {
	req := tx.Request
	c := &Call{
		b: b, id: newUUID(), box: newMailbox(), tx: tx, origin: origin, started: time.Now(),
		timers: make(map[timerKey]*time.Timer),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.log = b.log.With("call", c.id)
	c.state = state{winner: -1, terms: terms{
		RingTimeout: b.cfg.Terms.RingTimeout, WakeTimeout: b.cfg.Terms.WakeTimeout, Ringing: b.cfg.Terms.Ringing,
		DeclineOne: b.cfg.Terms.DeclineOne, DeclineWindow: b.cfg.Terms.DeclineWindow, MaxDuration: b.cfg.Terms.MaxDuration,
	}}
	c.rec = Record{ID: c.id, CallID: req.CallID().Value(), Started: c.started, To: req.Recipient.String(), Trunk: origin.Trunk}
	// The leg exists before this returns to the read loop, so that a CANCEL right
	// behind the INVITE finds it.
	c.a = leg.NewUAS(leg.Config{
		Endpoint: b.cfg.Endpoint(), Post: c.box.post, Emit: func(_ *leg.Leg, ev leg.Event) { c.callerEvent(ev) },
		Log: c.log.With("leg", legA), ContactUser: req.Recipient.User,
	}, tx)
	return c
}

// run is the owner of the call. It ends when the last leg is gone.
func (c *Call) run() {
	defer c.finish()
	c.guard(c.route)
	for !c.done {
		<-c.box.signal
		for _, fn := range c.box.take() {
			if c.done {
				break
			}
			c.guard(fn)
		}
	}
}

// guard contains a panic to this call: it is ended with 500 or BYE.
func (c *Call) guard(fn func()) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		c.b.metrics.panics.Inc()
		c.log.Error("panic in a call", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		c.rec.Result, c.rec.Reason = Failed, "internal error"
		c.drop()
		c.done = true
	}()
	fn()
}

// drop ends every leg, in the right way for where it stands.
func (c *Call) drop() {
	c.a.Drop()
	for _, t := range c.attempts {
		for _, l := range t.legs {
			l.leg.Drop()
		}
	}
}

// Hangup ends the call for a reason that the record keeps. From any goroutine.
func (c *Call) Hangup(reason string) {
	c.box.post(func() { c.step(event{kind: evHangup, reason: reason}) })
}

// abandon ends the call's goroutine without waiting for the peers.
func (c *Call) abandon() {
	c.box.post(func() {
		c.drop()
		c.done = true
	})
}

// step lets the rules decide about an event and does what they want.
func (c *Call) step(ev event) {
	before := c.state.phase
	next, actions := c.b.rules.next(c.state, ev, time.Now())
	c.state = next
	for _, a := range actions {
		c.act(a)
	}
	if c.state.phase != before {
		c.log.Debug("call", "phase", c.state.phase.String(), "event", ev.kind.String())
	}
	if c.state.phase == ending {
		c.checkOver()
	}
}

// checkOver ends the call when no leg is left.
func (c *Call) checkOver() {
	if !c.aOver {
		return
	}
	for _, t := range c.attempts {
		for _, l := range t.legs {
			if !l.over {
				return
			}
		}
	}
	c.state, _ = c.b.rules.next(c.state, event{kind: evClosed}, time.Now())
	c.done = true
}

// note adds a step to the record and the log.
func (c *Call) note(format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	c.rec.Steps = append(c.rec.Steps, Step{At: time.Now(), What: what})
	c.log.Debug(what)
}

// route finds the targets of the call and starts it.
func (c *Call) route() {
	c.identify()
	c.plan = c.b.cfg.Router.Route(Query{Origin: c.origin, Called: c.tx.Request.Recipient})
	c.note("%s", c.plan.Reason)
	offer, err := sdp.Parse(c.tx.Request.Body())
	if err != nil {
		c.refuse(488, "", "the offer cannot be relayed: "+err.Error())
		return
	}
	c.media = newCallMedia(c, offer)
	if t := c.b.cfg.Trunks.ByName(c.origin.Trunk); t != nil {
		c.state.terms.Progress = t.Progress
		if !c.acquire(t) {
			return
		}
	}
	switch {
	case c.plan.Status != 0:
		c.refuse(c.plan.Status, "", c.plan.Reason)
	case c.plan.Trunk != "":
		c.toTrunk()
	default:
		c.toUser()
	}
}

func (c *Call) refuse(status int, phrase, reason string) {
	if c.rec.Result == "" {
		c.rec.Result = Rejected
	}
	c.step(event{kind: evRefuse, status: status, phrase: phrase, reason: reason})
}

// acquirer is what a trunk lends: one of its calls.
type acquirer interface {
	Acquire() (release func(), err error)
}

// acquire counts the call at a trunk, or refuses it.
func (c *Call) acquire(t acquirer) bool {
	release, err := t.Acquire()
	if err != nil {
		c.refuse(sipua.Status(err), "Trunk Full", err.Error())
		return false
	}
	c.cleanup = append(c.cleanup, release)
	return true
}

// toTrunk calls a number at a trunk.
func (c *Call) toTrunk() {
	t := c.b.cfg.Trunks.ByName(c.plan.Trunk)
	if t == nil {
		c.refuse(503, "", "no trunk is called "+c.plan.Trunk)
		return
	}
	if c.rec.Trunk == "" {
		c.rec.Trunk = t.Name
	}
	if !c.acquire(t) {
		return
	}
	connected := make(chan struct{})
	c.cleanup = append(c.cleanup, func() { <-connected })
	go func() { // awaited by cleanup, ended by the call's context
		defer close(connected)
		ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
		defer cancel()
		flow, err := t.Connect(ctx)
		c.box.post(func() {
			if c.state.phase != routing {
				return // cancelled meanwhile
			}
			if err != nil {
				c.rec.Result = Unreachable
				c.refuse(sipua.Status(err), "", "trunk "+t.Name+" cannot be reached: "+err.Error())
				return
			}
			c.attempts = []*try{newTrunkTry(t, flow, c.plan.Number)}
			c.step(event{kind: evRouted, targets: []attempt{{trunk: true, flow: sipua.FlowID(flow.ID()), alive: true}}})
		})
	}()
}

// toUser rings and wakes the devices of a user.
func (c *Call) toUser() {
	c.rec.User = c.plan.User.String()
	double := mergeKey{c.caller.handle, c.plan.User.String(), c.origin.Trunk}
	if c.b.isDouble(double, c.started) {
		c.rec.Result = Busy
		c.refuse(mergedAnswer, "", "the same caller already reaches this user (calls.merge_window)")
		return
	}
	c.cleanup = append(c.cleanup, func() { c.b.settled(double) })
	// Posts of the watch queue behind this function, so they find the attempts.
	devices, stop := c.b.cfg.Locator.Watch(c.plan.User, func(ch location.Change) {
		c.box.post(func() { c.located(ch) })
	})
	c.cleanup = append(c.cleanup, stop)
	if len(devices) == 0 {
		c.rec.Result = Unreachable
		c.step(event{kind: evRefuse, status: 480, reason: "the user has no device: it never registered, or logged out"})
		return
	}
	targets := make([]attempt, 0, len(devices))
	noPush := c.limit(devices)
	for _, d := range devices {
		t := newDeviceTry(c, d)
		targets = append(targets, c.reach(t, d, noPush))
		c.attempts = append(c.attempts, t)
	}
	c.step(event{kind: evRouted, targets: targets})
}

// limit counts this call against the limits of wakes, if it would wake anybody.
func (c *Call) limit(devices []location.Device) string {
	for _, d := range devices {
		if d.Wakeable {
			return c.b.wakes.allow(c.plan.User.String(), c.caller.handle, c.started)
		}
	}
	return ""
}

// reach is the rules' view of a device.
func (c *Call) reach(t *try, d location.Device, noPush string) attempt {
	a := attempt{noPush: noPush, busy: c.b.cfg.Terms.WaitingBusy && c.b.InCall(d.AOR, d.Key)}
	if d.Wakeable {
		a.hasVoIP, a.hasPush = !d.Push.VoIP.IsZero(), !d.Push.Alert.IsZero()
	}
	if b, ok := d.Flow(); ok {
		if f := c.b.cfg.Endpoint().Flow(sipua.FlowID(b.Flow)); f != nil {
			a.flow, a.alive = f.ID(), f.Alive()
			t.bind(b)
		}
	}
	return a
}

// located is a change of one of the user's devices while the call lives.
func (c *Call) located(ch location.Change) {
	if c.state.phase == ending || c.state.phase == ended {
		return
	}
	i := c.attemptOf(ch.Device.Key)
	switch ch.Kind {
	case location.Registered:
		if i < 0 {
			return // a device that was not there when the call began
		}
		c.registered(i, ch)
	case location.FlowLost:
		if i >= 0 {
			c.note("%s: its connection is gone", c.attempts[i].name)
			c.step(event{kind: evFlowGone, attempt: i, flow: sipua.FlowID(ch.Flow)})
		}
	}
}

func (c *Call) registered(i int, ch location.Change) {
	t := c.attempts[i]
	b, ok := ch.Device.Flow()
	if !ok {
		return
	}
	if t.rec.Registered.IsZero() {
		t.rec.Registered = b.Registered // when it was authorised: the disk may have come in between
		if len(t.rec.Pushes) > 0 || t.wake != nil {
			c.b.metrics.reached(metricRegistered, c.started, b.Registered)
		}
	}
	c.note("%s registered", t.name)
	t.bind(b)
	kind := evRegistered
	if flow := sipua.FlowID(b.Flow); flow == c.state.attempts[i].flow {
		kind = evSameFlow
	}
	if c.state.winner == i {
		c.moveLeg(i, sipua.FlowID(b.Flow))
	}
	c.step(event{kind: kind, attempt: i, flow: sipua.FlowID(b.Flow)})
}

// moveLeg carries an answered leg over to the flow that its device came back on.
func (c *Call) moveLeg(i int, id sipua.FlowID) {
	f := c.b.cfg.Endpoint().Flow(id)
	if f == nil {
		return
	}
	for _, l := range c.attempts[i].legs {
		if !l.over && l.leg.Flow() != f {
			c.late("move", l.leg.SetFlow(f))
		}
	}
}

func (c *Call) attemptOf(device string) int {
	for i, t := range c.attempts {
		if t.device.Key == device && t.trunk == nil {
			return i
		}
	}
	return -1
}

// callerEvent is what the A leg reports.
func (c *Call) callerEvent(ev leg.Event) {
	switch ev := ev.(type) {
	case leg.Cancelled:
		c.rec.HangupBy = "caller"
		c.step(event{kind: evCancelled, reasons: ev.Reasons})
	case leg.Confirmed:
		c.note("the caller confirmed")
		c.step(event{kind: evConfirmed})
	case leg.Offer:
		c.media.offered(c.a, ev.Body)
	case leg.OfferAnswered:
		c.media.answeredOffer(c.a, ev)
	case leg.OfferWithdrawn:
		c.media.withdrawn(c.a)
	case leg.FlowLost:
		if c.state.phase < answering && c.origin.Trunk == "" {
			c.step(event{kind: evCallerGone, reason: "the connection closed"})
		}
	case leg.Ended:
		c.aOver = true
		switch {
		case ev.ByRemote:
			c.hungUpBy("caller")
			c.step(event{kind: evCallerBye, reasons: ev.Reasons})
		case c.state.phase != ending:
			c.step(event{kind: evCallerGone, reason: ev.Cause.String()})
		default:
			c.checkOver()
		}
	}
}

func (c *Call) hungUpBy(who string) {
	if c.rec.HangupBy == "" {
		c.rec.HangupBy = who
	}
}

// calleeEvent is what the leg of INVITE number n of attempt i reports.
func (c *Call) calleeEvent(i, n int, ev leg.Event) {
	t := c.attempts[i]
	l := t.legs[n]
	switch ev := ev.(type) {
	case leg.Provisional:
		c.provisional(i, n, ev)
	case leg.Answered:
		t.answer = ev.Body
		if ev.AfterCancel {
			return // the leg ends it; Ended follows
		}
		if t.rec.Answered.IsZero() {
			t.rec.Answered = time.Now()
		}
		c.note("%s answered", t.name)
		c.step(event{kind: evAnswered, attempt: i, invite: n})
	case leg.Failed:
		c.note("%s: %d %s", t.name, ev.Status, ev.Phrase)
		c.step(event{kind: evFailed, attempt: i, invite: n, status: ev.Status, phrase: ev.Phrase, noFlow: ev.Response == nil})
	case leg.Offer:
		c.media.offered(l.leg, ev.Body)
	case leg.OfferAnswered:
		c.media.answeredOffer(l.leg, ev)
	case leg.OfferWithdrawn:
		c.media.withdrawn(l.leg)
	case leg.FlowLost:
		c.note("%s: its connection is gone", t.name)
		c.step(event{kind: evFlowGone, attempt: i, flow: l.flow})
	case leg.Ended:
		l.over = true
		l.leave()
		if c.state.winner == i && c.state.phase != ending {
			if ev.ByRemote {
				c.hungUpBy("callee")
			}
			c.step(event{kind: evCalleeBye, attempt: -1, reasons: ev.Reasons})
		}
		if c.state.phase == ending {
			c.checkOver()
		}
	}
}

func (c *Call) provisional(i, n int, ev leg.Provisional) {
	t := c.attempts[i]
	if ev.Status == 100 {
		c.step(event{kind: evTrying, attempt: i, invite: n})
		return
	}
	if t.rec.Rang.IsZero() {
		t.rec.Rang = time.Now()
		c.b.metrics.reached(metricRinging, c.started, t.rec.Rang)
		c.note("%s rings", t.name)
	}
	if len(ev.Body) > 0 {
		c.media.early(i, n, ev)
	}
	c.step(event{kind: evRinging, attempt: i, invite: n, status: ev.Status})
}

// finish writes the record and gives everything back.
func (c *Call) finish() {
	c.cancel()
	for _, t := range c.timers {
		t.Stop()
	}
	c.rec.Ended = time.Now()
	if c.media != nil {
		c.rec.Media = c.media.close()
	}
	c.box.close()
	for i := len(c.cleanup) - 1; i >= 0; i-- {
		c.cleanup[i]()
	}
	for _, t := range c.attempts {
		t.stop()
		for _, l := range t.legs {
			l.leave()
		}
		if c.state.winner >= 0 && c.attempts[c.state.winner] == t {
			t.rec.Outcome = won.String()
		}
		c.rec.Attempts = append(c.rec.Attempts, t.rec)
	}
	for i := range c.state.attempts {
		a, r := c.state.attempts[i], &c.rec.Attempts[i]
		if r.Outcome == "" {
			r.Outcome = a.phase.String()
		}
		if a.outcome.reason != "" && a.phase != won {
			r.Outcome = a.outcome.reason
		}
	}
	c.b.metrics.calls.WithLabelValues(string(c.rec.Result)).Inc()
	c.b.forget(c)
	c.log.Info("call over", "from", c.caller.handle, "to", c.rec.To, "result", c.rec.Result, "status", c.rec.Status,
		"reason", c.rec.Reason, "duration", c.rec.Ended.Sub(c.rec.Started).Round(time.Millisecond))
	if err := c.b.cfg.Records.Append(c.rec); err != nil {
		c.log.Error("record of the call is lost", "error", err)
	}
}

// headerValue copies a header of the caller's INVITE that may cross.
func (c *Call) headerValue(name string) string { return sipua.Value(c.tx.Request, name) }

// maxForwards is what the INVITEs of the B legs carry: one less than the A
// leg's, so that a loop through us ends (RFC 3261 s16.6 step 3).
func (c *Call) maxForwards() *sip.MaxForwardsHeader {
	v := uint32(defaultMaxForwards)
	if mf := c.tx.Request.MaxForwards(); mf != nil {
		v = mf.Val()
	}
	left := sip.MaxForwardsHeader(max(v, 1) - 1)
	return &left
}
