package bridge

import (
	"cmp"
	"context"
	"slices"
	"time"

	"wakebridge/bridge/rules"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge/sdes"
	"wakebridge/bridge/sdp"
	"wakebridge/sipua"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/location"
	"wakebridge/sipua/trunk"
)

const (
	mergedAnswer       = 486
	connectWithin      = 10 * time.Second // to a trunk
	defaultMaxForwards = 70
)

// route finds the targets of the call and starts it.
func (c *Call) route() {
	c.plan = c.b.cfg.Router.Route(Query{Origin: c.origin, Called: c.tx.Request.Recipient})
	c.note("%s", c.plan.Reason)
	if err := c.readOffer(); err != nil {
		c.refuse(sipua.Status(err), sdes.Phrase(err), "the offer cannot be relayed: "+err.Error())
		return
	}
	c.state.Terms.Tone = c.media.prepareTone()
	if t := c.b.cfg.Trunks.ByName(c.origin.Trunk); t != nil {
		c.state.Terms.Progress = t.Progress
		release, ok := c.acquire(t)
		if !ok {
			return
		}
		c.a.release = release
	}
	c.watchCaller()
	switch {
	case c.plan.Status != 0:
		c.refuse(c.plan.Status, "", c.plan.Reason)
	case c.plan.Trunk != "":
		c.toTrunk()
	default:
		c.toUser()
	}
}

// readOffer begins the call's media with the caller's offer, or with one of ours for
// the callees where the INVITE has none.
func (c *Call) readOffer() error {
	body, err := sipua.SessionBody(c.tx.Request)
	if err != nil {
		return err
	}
	if len(body) == 0 {
		return c.offerForCaller()
	}
	offer, err := sdp.Parse(body)
	if err == nil {
		offer, err = c.admit(offer, c.origin.Trunk == "", c.tx.Flow())
	}
	if err != nil {
		return err
	}
	c.media = newCallMedia(c, offer)
	return nil
}

// openMedia takes the caller's ports, or refuses the call.
func (c *Call) openMedia() bool {
	err := c.media.open()
	if err != nil {
		c.rec.Result = rules.Failed
		c.refuse(sipua.Status(err), "", "the caller can have no media: "+err.Error())
	}
	return err == nil
}

// refuse ends a call that has no target.
func (c *Call) refuse(status int, phrase, reason string) {
	if c.rec.Result == "" {
		c.rec.Result = rules.Rejected
	}
	c.step(rules.Event{Kind: rules.EvRefuse, Attempt: rules.OfTheCall, Status: status, Phrase: phrase, Reason: reason})
}

// acquire counts the call at a trunk, or refuses it.
func (c *Call) acquire(t *trunk.Trunk) (release func(), ok bool) {
	release, err := t.Acquire()
	if err != nil {
		c.refuse(sipua.Status(err), "Trunk Full", err.Error())
		return nil, false
	}
	return release, true
}

// toTrunk calls a number at a trunk.
func (c *Call) toTrunk() {
	t := c.b.cfg.Trunks.ByName(c.plan.Trunk)
	if t == nil {
		c.refuse(503, "", "no trunk is called "+c.plan.Trunk)
		return
	}
	c.rec.Trunk = cmp.Or(c.rec.Trunk, t.Name)
	release, ok := c.acquire(t)
	if !ok {
		return
	}
	c.own.atEnd = append(c.own.atEnd, release)
	if !c.openMedia() {
		return
	}
	connected := make(chan struct{})
	c.own.atEnd = append(c.own.atEnd, func() { <-connected })
	go func() { // awaited at the call's end, ended by the call's context
		defer close(connected)
		ctx, cancel := context.WithTimeout(c.own.ctx, connectWithin)
		defer cancel()
		flow, err := t.Connect(ctx)
		c.own.box.post(func() { c.connected(t, flow, err) })
	}()
}

// reachOf is leg.Config.Reach: a trunk is found again when its connection is gone, a device
// comes by itself.
func reachOf(t *trunk.Trunk) func(context.Context, sip.Uri, *sipua.Flow) (*sipua.Flow, error) {
	if t == nil {
		return nil
	}
	return t.Reach
}

func (c *Call) connected(t *trunk.Trunk, flow *sipua.Flow, err error) {
	if c.state.Phase != rules.Routing {
		return // cancelled meanwhile
	}
	if err != nil {
		c.rec.Result = rules.Unreachable
		c.refuse(sipua.Status(err), "", "trunk "+t.Name+" cannot be reached: "+err.Error())
		return
	}
	c.attempts = []*try{newTrunkTry(t, flow, c.plan.Number)}
	c.b.cfg.Records.Begin(c.rec)
	c.step(rules.Event{Kind: rules.EvRouted, Attempt: rules.OfTheCall, Targets: []rules.Attempt{{Trunk: true, Flow: flow.ID(), Alive: true}}})
}

// toUser rings and wakes the devices of a user.
func (c *Call) toUser() {
	c.rec.User = c.plan.User.String()
	if c.b.isDouble(c.double(), c.id, c.started) {
		c.rec.Result = rules.Busy
		c.refuse(mergedAnswer, "", "the same caller already reaches this user (calls.merge_window)")
		return
	}
	// Posts of the watch queue behind this function, so they find the attempts.
	devices, stop := c.b.cfg.Locator.Watch(c.plan.User, func(ch location.Change) {
		c.own.box.post(func() { c.located(ch) })
	})
	c.own.atEnd = append(c.own.atEnd, stop)
	if len(devices) == 0 {
		c.rec.Result = rules.Unreachable
		c.refuse(480, "", "the user has no device: it never registered, or logged out")
		return
	}
	if !c.openMedia() {
		return
	}
	targets := make([]rules.Attempt, 0, len(devices))
	for _, d := range devices {
		t := newDeviceTry(c, d)
		targets = append(targets, c.reach(t, d))
		c.attempts = append(c.attempts, t)
	}
	c.b.cfg.Records.Begin(c.rec)
	c.step(rules.Event{Kind: rules.EvRouted, Attempt: rules.OfTheCall, Targets: targets})
}

// double is what a second INVITE of the same call would share with this one; no
// caller if there is none to compare.
func (c *Call) double() double {
	if c.origin.Trunk == "" {
		return double{}
	}
	return double{caller: c.caller.handle, called: c.plan.User, trunk: c.origin.Trunk}
}

// reach is the rules' view of a device.
func (c *Call) reach(t *try, d location.Device) rules.Attempt {
	a := rules.Attempt{Busy: c.b.cfg.Terms.WaitingBusy && c.b.InCall(d.AOR, d.Key)}
	switch {
	case d.Wakeable:
		a.HasVoIP, a.HasPush = !d.Push.VoIP.IsZero(), !d.Push.Alert.IsZero()
		if a.HasPush && d.VoIPFirst(c.started) {
			a.HasPush = false
			c.note("%s got too many alert pushes (429 of the push service): none in this call", t.name)
		}
		a.Push = c.pushTerms(t, d)
	case !d.LoggedOut.IsZero():
		a.Push.None = "it logged out"
	case d.Push.HasToken():
		a.Push.None = "it was not seen for too long (push.device_ttl, push.after_expiry)"
	default:
		a.Push.None = "it has no push token"
	}
	if b, ok := d.Flow(); ok {
		if f := c.b.cfg.Endpoint().Flow(sipua.FlowID(b.Flow)); f != nil && t.bind(b) {
			a.Flow, a.Alive, t.boot = f.ID(), f.Alive(), boot(b.CallID)
		}
	}
	return a
}

// located is a change of one of the user's devices while the call lives.
func (c *Call) located(ch location.Change) {
	i := c.attemptOf(ch.Device.Key)
	if i < 0 {
		return // a device that was not there when the call began
	}
	if ch.Kind == location.Registered {
		c.cameBack(i, ch.Device)
	}
	if c.state.Phase == rules.Ending {
		return
	}
	switch ch.Kind {
	case location.Registered:
		c.registered(i, ch)
	case location.FlowLost:
		c.note("%s: its connection is gone", c.attempts[i].name)
		c.step(rules.Event{Kind: rules.EvFlowGone, Attempt: i, Flow: sipua.FlowID(ch.Flow)})
	}
}

func (c *Call) registered(i int, ch location.Change) {
	t := c.attempts[i]
	b, ok := ch.Device.Flow()
	before := t.target()
	if !ok || !t.bind(b) {
		return
	}
	moved := len(t.path) > 0 && t.target() != before // behind its proxy, whose flow stays
	now := time.Now()
	if t.rec.Registered.IsZero() {
		t.rec.Registered = now
	}
	c.reached(i, metricRegistered, now)
	c.note("%s registered", t.name)
	flow := sipua.FlowID(b.Flow)
	anew := t.boot.another(ch.Device, b)
	if c.state.Winner == i {
		if l := c.winner(); l != nil {
			anew = anew && mayForget(l.leg.Flow(), b)
			c.move(l.leg, flow)
			c.probe(l.leg, anew)
		}
		return
	}
	kind := rules.EvRegistered
	if flow == c.state.Attempts[i].Flow && !moved {
		kind = rules.EvSameFlow
		anew = anew && outlives(c.b.cfg.Endpoint().Flow(flow), b)
	}
	c.step(rules.Event{Kind: kind, Attempt: i, Flow: flow, Reborn: anew})
}

// boot is the Call-ID of an app's REGISTERs, the same until it is started anew (RFC 3261
// s10.2.4): from then on it knows nothing of its calls.
type boot string

// another notes that an app registers, and says whether it was started anew since: not if
// it has several flows (RFC 5626), each with a Call-ID of its own.
func (b *boot) another(d location.Device, with location.Binding) bool {
	before := *b
	if before == boot(with.CallID) || slices.ContainsFunc(d.Bindings, func(o location.Binding) bool {
		return boot(o.CallID) == before && o.RegID != with.RegID && o.Flow != 0
	}) {
		return false
	}
	*b = boot(with.CallID)
	return before != "" && *b != ""
}

// outlives says that a flow stays although the app that registers by b over it is started
// anew: nobody closes a UDP flow, and that behind a proxy is the proxy's.
func outlives(f *sipua.Flow, b location.Binding) bool {
	return len(b.Path) > 0 || f != nil && f.Transport() == sipua.UDP
}

// mayForget says that an app which registers by b under another Call-ID may know its dialog
// on f no more. While f lives it may be a second user agent that registers under the same
// instance, unless that is the flow on which it registers.
func mayForget(f *sipua.Flow, b location.Binding) bool {
	return f.Gone() || f.ID() == sipua.FlowID(b.Flow) && outlives(f, b)
}

func (c *Call) attemptOf(device string) int {
	for i, t := range c.attempts {
		if t.device.Key == device && t.trunk == nil {
			return i
		}
	}
	return -1
}

// watchCaller follows the app of a user who calls to the flow on which it comes
// back after it lost its own: else its BYE would not be known, nor ours arrive.
func (c *Call) watchCaller() {
	if c.origin.User.IsZero() {
		return
	}
	now, stop := c.b.cfg.Locator.Watch(c.origin.User, func(ch location.Change) {
		c.own.box.post(func() { c.callerLocated(ch) })
	})
	c.own.atEnd = append(c.own.atEnd, stop)
	for _, d := range now {
		c.callerIs(d)
	}
}

// callerIs notes which device calls, if it is d: it is in a call from now on.
func (c *Call) callerIs(d location.Device) {
	onOurFlow := func(b location.Binding) bool { return b.Flow != 0 && sipua.FlowID(b.Flow) == c.tx.Flow().ID() }
	if n := slices.IndexFunc(d.Bindings, onOurFlow); n >= 0 && c.a.device == "" && !c.a.over {
		c.a.device, c.a.leave, c.a.boot = d.Key, c.b.occupy(deviceRef{d.AOR, d.Key}), boot(d.Bindings[n].CallID)
	}
}

// callerLocated is a change of one of the devices of the user who calls.
func (c *Call) callerLocated(ch location.Change) {
	b, ok := ch.Device.Flow()
	if !ok || ch.Kind != location.Registered {
		return
	}
	c.callerIs(ch.Device)
	if ch.Device.Key != c.a.device {
		return
	}
	anew := c.a.boot.another(ch.Device, b)
	anew = anew && mayForget(c.a.Flow(), b)
	if c.state.Phase == rules.Answering || c.state.Phase == rules.Bridged {
		c.move(c.a.Leg, sipua.FlowID(b.Flow))
	}
	if c.state.Phase == rules.Bridged { // before its ACK, no BYE
		c.probe(c.a.Leg, anew)
	}
}

// probe asks an app that was started anew in a call whether it knows that still: if not,
// the other one must not wait for it in silence.
func (c *Call) probe(l *leg.Leg, anew bool) {
	if anew {
		c.late("probe", l.Probe())
	}
}

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
