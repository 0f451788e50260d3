package bridge

import (
	"context"
	"fmt"
	"time"

	"wakebridge/bridge/rules"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge/media"
	"wakebridge/bridge/sdes"
	"wakebridge/bridge/sdp"
	"wakebridge/sipua"
	"wakebridge/sipua/header"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/location"
	"wakebridge/sipua/trunk"
)

// try is what the owner holds for one attempt of the rules: the device or trunk,
// its INVITEs, its pushes. Its index is the attempt's.
type try struct {
	name    string // for people
	device  location.Device
	contact sip.Uri   // where the INVITE goes; the newest binding's
	path    []sip.Uri // and by which proxies (RFC 3327)
	trunk   *trunk.Trunk
	flow    *sipua.Flow // of a trunk
	number  string      // dialled at the trunk
	uuid    string
	callID  string
	legs    []*tried
	side    *media.Side // the B side, made with the first INVITE
	wake    context.CancelCauseFunc
	wakeCtx context.Context
	fate    *location.Fate
	doubt   rules.Action // the fate that waits for the end of the waiting; no status: none
	boot    boot
	rec     AttemptRecord
}

// tried is one INVITE of an attempt.
type tried struct {
	leg     *leg.Leg
	flow    sipua.FlowID
	over    bool
	proxied bool             // it went by way of proxies
	arrived bool             // the device had it: a 1xx of its own came
	proved  bool             // that pushes bring the device is told
	leave   func()           // the device is no longer in this call
	offered *sdp.Description // what its INVITE offers
	basis   *sdp.Description // the caller's offer that this was made of, perhaps with telephone events
	bound   bool             // that offer was cut to what the caller was promised
	orPlain bool             // plain RTP may be offered if SRTP is refused
	early   []byte           // SDP of its newest 1xx
	session *session         // what its 2xx agreed
	again   []sipua.FlowID   // over which its CANCEL was said again
	taken   rules.Action     // the CANCEL of a call that is over for the device; no status: none
}

func newTrunkTry(t *trunk.Trunk, f *sipua.Flow, number string) *try {
	return &try{name: "trunk " + t.Name, trunk: t, flow: f, number: number, rec: AttemptRecord{Device: "trunk " + t.Name}}
}

func newDeviceTry(c *Call, d location.Device) *try {
	id := newUUID()
	t := &try{name: deviceName(d), device: d, uuid: id, callID: id + "@" + c.b.cfg.Terms.Node}
	t.rec = AttemptRecord{Device: t.name, UUID: id}
	return t
}

// deviceName is how an operator recognises a device.
func deviceName(d location.Device) string {
	agent := ""
	if len(d.Bindings) > 0 {
		agent = d.Bindings[0].UserAgent
	}
	if agent == "" {
		return d.Key
	}
	return fmt.Sprintf("%s (%s)", agent, d.Key)
}

// bind notes the binding over which the device is reached now; false if its
// Contact cannot be called.
func (t *try) bind(b location.Binding) bool {
	var uri sip.Uri
	var params sip.HeaderParams
	if _, err := sip.ParseAddressValue(b.Contact, &uri, &params); err != nil {
		return false
	}
	var path []sip.Uri
	for _, hop := range b.Path {
		var via sip.Uri
		if _, err := sip.ParseAddressValue(hop, &via, &sip.HeaderParams{}); err != nil {
			return false
		}
		path = append(path, via)
	}
	t.contact, t.path = header.StripPush(uri), path
	return true
}

// target is where an INVITE goes now.
func (t *try) target() string { return fmt.Sprint(&t.contact, t.path) }

// stop ends what is under way for the attempt's pushes; why is ErrReached or nil.
func (t *try) stop(why error) {
	if t.wake != nil {
		t.wake(why)
		t.wake, t.wakeCtx = nil, nil
	}
}

// permit is the leave of the limits to wake, asked once per call.
type permit struct {
	asked   bool
	refused string // why, "" if it was given
}

// mayWake counts this call against the limits of wakes when it first wants to
// push; the result is why it may not.
func (c *Call) mayWake() string {
	if !c.permit.asked {
		c.permit = permit{true, c.b.wakes.allow(c.plan.User.String(), c.caller.handle, c.started)}
	}
	return c.permit.refused
}

// push wakes the device.
func (c *Call) push(a rules.Action) {
	t := c.attempts[a.Attempt]
	i := a.Attempt
	if why := c.mayWake(); why != "" {
		c.note("%s is not woken: %s", t.name, why)
		c.own.box.post(func() { c.step(rules.Event{Kind: rules.EvPushRefused, Attempt: i, Alert: a.Alert, Reason: why}) })
		return
	}
	if t.wakeCtx == nil {
		ctx, stop := context.WithCancelCause(c.own.ctx)
		ctx, release := context.WithDeadline(ctx, c.started.Add(c.state.Terms.WakeTimeout))
		t.wakeCtx, t.wake = ctx, func(why error) { stop(why); release() }
	}
	c.note("%s sent to wake %s", pushName(a.Alert), t.name)
	w := c.wake(t)
	s := &c.state.Attempts[i]
	w.AlertOnly, w.VoIPOnly = a.Alert, !a.Alert && s.Alert != rules.PushNone
	w.Fleeting = a.Alert && s.VoIP == rules.PushAccepted || !a.Alert && s.Alert == rules.PushAccepted
	c.own.unheard++
	c.b.cfg.Waker.Wake(t.wakeCtx, w, func(r WakeResult) { c.own.outcomes.post(func() { c.woken(i, r) }) })
}

// wake is what a push to the device says of this call.
func (c *Call) wake(t *try) Wake {
	from := ""
	if !c.caller.private {
		from = c.caller.uri.String()
	}
	return Wake{
		AOR: t.device.AOR, Device: t.device.Key, Push: t.device.Push,
		UUID: t.uuid, CallID: t.callID, Handle: c.caller.handle, HandleType: c.caller.kind, Name: c.caller.name,
		From: from, To: c.plan.User.String(), Video: c.media.video(), SentAt: time.Now(), ExpiresAt: c.expiresAt(),
	}
}

// woken notes what became of a push.
func (c *Call) woken(i int, r WakeResult) {
	c.own.unheard--
	if r.Stopped && r.Written.IsZero() {
		return
	}
	t := c.attempts[i]
	rec := r.Record(pushName(r.Alert))
	t.rec.Pushes = append(t.rec.Pushes, rec)
	c.record("%s: %s", t.name, rec.Words)
	c.own.capture.Comment(time.Now(), pushWords(t.name, t.device.Push, rec))
	if !r.Written.IsZero() {
		c.reached(i, metricPushWritten, r.Written)
	}
	if r.Stopped || c.own.done {
		return // no answer was needed; whether the push arrived, the device's REGISTER tells
	}
	ev := rules.Event{Kind: rules.EvPushRefused, Attempt: i, Alert: r.Alert, Reason: r.Words, Maybe: r.Unanswered}
	if r.Accepted {
		ev.Kind = rules.EvPushAccepted
		c.reached(i, metricPushAccepted, r.At)
	}
	c.step(ev)
}

// invite sends an INVITE to a device or trunk.
func (c *Call) invite(a rules.Action) {
	t := c.attempts[a.Attempt]
	i, n := a.Attempt, a.Invite
	flow := t.flow
	if t.trunk == nil {
		flow = c.b.cfg.Endpoint().Flow(a.Flow)
	}
	t.doubt = rules.Action{}
	l := &tried{flow: a.Flow, proxied: len(t.path) > 0, leave: func() {}}
	t.legs = append(t.legs, l)
	fail := func(ev rules.Event) {
		l.over = true
		ev.Kind, ev.Attempt, ev.Invite = rules.EvFailed, i, n
		c.own.box.post(func() { c.step(ev) })
	}
	if flow == nil {
		fail(rules.Event{NoFlow: true, Reason: "its connection is gone"})
		return
	}
	offer, err := c.media.invitationTo(t, l, flow)
	if err != nil {
		c.note("%s: no INVITE can be made: %v", t.name, err)
		fail(rules.Event{Own: true, Status: sipua.Status(err), Phrase: sdes.Phrase(err), Reason: err.Error()})
		return
	}
	if t.trunk == nil {
		l.leave = c.b.occupy(deviceRef{t.device.AOR, t.device.Key})
	}
	now := time.Now()
	if t.rec.Invited.IsZero() {
		t.rec.Invited = now
		if !t.rec.Registered.IsZero() {
			c.b.metrics.invite.Observe(now.Sub(t.rec.Registered).Seconds())
		}
	}
	c.reached(i, metricInvited, now)
	c.note("INVITE to %s", t.name)
	inv := c.invitation(t, flow, offer)
	c.own.capture.Claim(inv.CallID)
	inv.Otherwise = func(status int) []byte { return c.media.otherwise(t, l, flow, status) }
	l.leg = leg.NewUAC(leg.Config{
		Endpoint: c.b.cfg.Endpoint(), Post: c.own.box.post, Emit: func(_ *leg.Leg, ev leg.Event) { c.calleeEvent(i, n, ev) },
		Log: c.log.With("leg", legB, "attempt", i), ContactUser: c.caller.uri.User, Reach: reachOf(t.trunk),
	}, inv)
}

// invitation is the INVITE of a B leg. Only what is known to be meant for the
// callee crosses from the A leg.
func (c *Call) invitation(t *try, flow *sipua.Flow, offer []byte) leg.Invite {
	inv := leg.Invite{Flow: flow, CallID: sipua.NewTag(), Body: offer, Headers: []sip.Header{c.maxForwards()}}
	from := leg.Address{Name: c.caller.name, URI: c.caller.uri}
	if c.caller.private {
		from.Name = "Anonymous"
		inv.Headers = append(inv.Headers, sip.NewHeader(header.NamePrivacy, "id"))
	}
	if t.trunk != nil {
		inv.RequestURI = *t.trunk.Contact.Clone()
		inv.RequestURI.User = escapeUser(t.number)
		inv.To = leg.Address{URI: sip.Uri{Scheme: "sip", User: inv.RequestURI.User, Host: t.trunk.Contact.Host}}
		if number := c.b.cfg.Directory.Number(c.origin.User); number != "" && !c.caller.private {
			from.URI.User = escapeUser(number)
		}
		inv.From = from
		return inv
	}
	inv.RequestURI, inv.Route = t.contact, t.path
	inv.CallID = t.callID
	inv.To = leg.Address{URI: *c.plan.User.URI()}
	if !c.caller.private {
		// The app calls back what it sees: an address at its own domain.
		from.URI = sip.Uri{Scheme: "sip", User: c.caller.uri.User, Host: c.plan.User.Domain}
	}
	inv.From = from
	inv.Headers = append(inv.Headers, sip.NewHeader(header.NameCallUUID, t.uuid))
	return inv
}
