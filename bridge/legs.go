package bridge

import (
	"cmp"
	"errors"
	"time"

	"wakebridge/bridge/rules"
	"wakebridge/sipua"
	"wakebridge/sipua/header"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/location"
)

// callerEvent is what the A leg reports.
func (c *Call) callerEvent(ev leg.Event) {
	switch ev := ev.(type) {
	case leg.Cancelled:
		c.step(rules.Event{Kind: rules.EvCancelled, Attempt: rules.OfTheCall, Reasons: crossing(ev.Reasons)})
	case leg.Confirmed:
		c.callerConfirmed(ev)
	case leg.Offer:
		c.media.offered(c.a.Leg, ev.Body)
	case leg.Info:
		c.info(c.a.Leg, ev)
	case leg.InfoAnswered:
		c.media.keypads.told(c.a.Leg, ev)
	case leg.OfferAnswered:
		c.media.answeredOffer(c.a.Leg, ev)
	case leg.OfferWithdrawn:
		c.media.withdrawn(c.a.Leg)
	case leg.FlowLost:
		c.note("the caller's connection is gone")
		if c.origin.Trunk == "" && (c.state.Phase == rules.Routing || c.state.Unanswered()) {
			c.step(rules.Event{Kind: rules.EvCallerGone, Attempt: rules.OfTheCall, Reason: "its connection closed"})
		}
	case leg.Ended:
		c.callerEnded(ev)
	}
}

// callerConfirmed handles the ACK of our 200, which has the answer if the INVITE had no
// offer. Without one that can be used there is no call.
func (c *Call) callerConfirmed(ev leg.Confirmed) {
	if ev.Reinvite {
		c.media.confirmed(c.a.Leg, ev.Body)
		return
	}
	c.note("the caller confirmed")
	c.step(rules.Event{Kind: rules.EvConfirmed, Attempt: rules.OfTheCall})
	if c.state.Phase != rules.Bridged {
		return
	}
	if err := c.media.begin(ev.Body); err != nil {
		c.rec.Result = rules.Failed
		c.step(rules.Event{Kind: rules.EvHangup, Attempt: rules.OfTheCall, Reasons: []string{reasonNoMedia},
			Reason: "the answer in the caller's ACK cannot be used: " + err.Error()})
	}
	c.media.straighten()
}

func (c *Call) callerEnded(ev leg.Ended) {
	c.a.over = true
	c.a.release()
	c.a.leave()
	c.b.seeOff(deviceRef{c.origin.User, c.a.device}, c.a.Leg, "", nil)
	switch {
	case c.state.Phase == rules.Ending:
	case ev.ByRemote:
		c.hungUpBy(rules.ByCaller)
		c.step(rules.Event{Kind: rules.EvCallerBye, Attempt: rules.OfTheCall, Reasons: crossing(ev.Reasons)})
	default:
		c.hungUpBy(rules.ByServer)
		c.rec.Reason = "the caller did not respond any more (" + ev.Cause.String() + ")"
		if ev.Cause == leg.CauseAckTimeout {
			c.rec.Result, c.rec.Reason = rules.Failed, "the caller never confirmed the answer (no ACK)"
		}
		c.step(rules.Event{Kind: rules.EvCallerGone, Attempt: rules.OfTheCall, Reason: ev.Cause.String()})
	}
	c.checkOver()
}

// crossing are the Reason headers of one leg as the other may see them: parsed
// and written anew, because nothing crosses that we do not understand.
func crossing(values []string) []string {
	reasons, err := header.ParseReasons(values...)
	if err != nil {
		return nil
	}
	var out []string
	for _, r := range reasons {
		if s := r.String(); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// calleeEvent is what the leg of INVITE number n of attempt i reports.
func (c *Call) calleeEvent(i, n int, ev leg.Event) {
	t := c.attempts[i]
	l := t.legs[n]
	switch ev := ev.(type) {
	case leg.Provisional:
		c.provisional(i, n, ev)
	case leg.Answered:
		c.calleeAnswered(i, n, ev)
	case leg.Failed:
		c.calleeFailed(i, n, ev)
	case leg.CancelWent:
		l.arrived = l.arrived || !l.proxied
	case leg.CancelHeard:
		c.cancelHeard(i, n)
	case leg.Confirmed:
		c.media.confirmed(l.leg, ev.Body)
	case leg.Offer:
		c.media.offered(l.leg, ev.Body)
	case leg.Info:
		c.info(l.leg, ev)
	case leg.InfoAnswered:
		c.media.keypads.told(l.leg, ev)
	case leg.OfferAnswered:
		c.media.answeredOffer(l.leg, ev)
	case leg.OfferWithdrawn:
		c.media.withdrawn(l.leg)
	case leg.FlowLost:
		c.note("%s: its connection is gone", t.name)
		c.step(rules.Event{Kind: rules.EvFlowGone, Attempt: i, Flow: l.flow})
	case leg.Ended:
		l.over = true
		l.leave()
		var word *location.Fate
		if l.leg.Heard() != nil { // what the device is told is the BYE's from now on
			word, t.fate = t.fate, nil
		}
		c.b.seeOff(deviceRef{t.device.AOR, t.device.Key}, l.leg, t.uuid, word)
		if c.isWinner(i, n) && c.state.Phase != rules.Ending {
			if !ev.ByRemote {
				c.hungUpBy(rules.ByServer)
				c.rec.Reason = t.name + " did not respond any more (" + ev.Cause.String() + ")"
			}
			c.step(rules.Event{Kind: rules.EvCalleeBye, Attempt: i, Invite: n, Reasons: crossing(ev.Reasons)})
		}
		c.letGo(i)
		c.checkOver()
	}
}

func (c *Call) provisional(i, n int, ev leg.Provisional) {
	t := c.attempts[i]
	l := t.legs[n]
	// Nobody rings below 180, and a proxy on the way says that for itself: 100 (RFC 3261
	// s16.2), or 110 when it has sent a push of its own (Flexisip).
	trying := ev.Status < 180
	relayed := trying && l.proxied
	if !relayed {
		l.arrived = true
		c.came(i, n)
	}
	if trying {
		c.step(rules.Event{Kind: rules.EvTrying, Attempt: i, Invite: n, Relayed: relayed})
		return
	}
	if t.rec.Rang.IsZero() {
		t.rec.Rang = time.Now()
		c.reached(i, metricRinging, t.rec.Rang)
		c.note("%s rings", t.name)
	}
	c.media.keypads.allows(l.leg, ev.Response)
	if len(ev.Body) > 0 {
		was := l.early
		l.early = ev.Body
		c.media.earlyAgain(t, l, was)
	}
	c.step(rules.Event{Kind: rules.EvRinging, Attempt: i, Invite: n, Status: ev.Status, Early: len(ev.Body) > 0 && !c.media.late})
}

// came tells once per INVITE that a device that was pushed is here.
func (c *Call) came(i, n int) {
	t := c.attempts[i]
	if t.trunk == nil && !t.legs[n].proved && c.state.Attempts[i].WasPushed() {
		t.legs[n].proved = true
		c.b.cfg.Waker.Reached(t.device.AOR, t.device.Key)
	}
}

// answerOf is the SDP of a 2xx. Some gateways say it in the 183 only, against RFC 3261
// s13.2.1.
func answerOf(l *tried, ev leg.Answered) []byte {
	if len(ev.Body) == 0 {
		return l.early
	}
	return ev.Body
}

// calleeAnswered looks at the answer before the rules do: what cannot be passed
// on is no answer.
func (c *Call) calleeAnswered(i, n int, ev leg.Answered) {
	t := c.attempts[i]
	c.came(i, n)
	if ev.AfterCancel {
		return // the leg ends it; Ended follows
	}
	if t.rec.Answered.IsZero() {
		t.rec.Answered = time.Now()
	}
	c.note("%s answered", t.name)
	if !c.state.Unanswered() || c.state.Attempts[i].Phase.Over() {
		c.step(rules.Event{Kind: rules.EvAnswered, Attempt: i, Invite: n})
		return
	}
	c.media.keypads.allows(t.legs[n].leg, ev.Response)
	session, err := c.media.agree(t, t.legs[n], answerOf(t.legs[n], ev))
	if err != nil {
		c.note("%s: its answer cannot be used: %v", t.name, err)
		c.step(rules.Event{Kind: rules.EvUnusable, Attempt: i, Invite: n, Status: sipua.Status(err), Reason: err.Error()})
		return
	}
	t.legs[n].session = session
	c.step(rules.Event{Kind: rules.EvAnswered, Attempt: i, Invite: n})
}

func (c *Call) calleeFailed(i, n int, ev leg.Failed) {
	t := c.attempts[i]
	theirs := c.saidByDevice(i, n, ev)
	switch {
	case theirs:
		c.arrived(t)
	case ev.Response == nil && !ev.BeforeProvisional:
		t.legs[n].arrived = t.legs[n].arrived || !t.legs[n].proxied
		c.unheard(i, n)
	}
	out := rules.Event{Kind: rules.EvFailed, Attempt: i, Invite: n, Status: ev.Status, Phrase: header.Clean(ev.Phrase)}
	out.Relayed = ev.Response != nil && !theirs
	if theirs && out.FromDevice() {
		c.came(i, n)
	}
	if ev.Err != nil {
		out.Reason = ev.Err.Error()
		out.Own = errors.Is(ev.Err, sipua.ErrUnsafeHeader)
		out.NoFlow = !out.Own
	}
	if c.state.Attempts[i].Phase.Over() {
		c.log.Debug("INVITE ended", "device", t.name, "status", ev.Status)
	} else {
		c.note("%s: %d %s", t.name, out.Status, cmp.Or(out.Reason, out.Phrase))
		if unacceptable := ev.Status == 488 || ev.Status == 415; unacceptable && c.media.sent != nil {
			c.note("%s was offered only the codecs of the SDP that the caller has (media.ringback, early media)", t.name)
		}
	}
	c.step(out)
}

// saidByDevice says that a final response shows that the device had the INVITE. A proxy on
// the way may say it for a device that sleeps, 487 to a CANCEL for instance.
func (c *Call) saidByDevice(i, n int, ev leg.Failed) bool {
	l := c.attempts[i].legs[n]
	users := ev.Status == 486 || ev.Status >= 600
	return ev.Response != nil && (!l.proxied || l.arrived || users || c.state.Attempts[i].Came)
}

// winner is the leg that was answered, nil while there is none or when it ended.
func (c *Call) winner() *tried {
	if c.state.Winner == rules.NoWinner {
		return nil
	}
	l := c.attempts[c.state.Winner].legs[c.state.Answer]
	if l.over {
		return nil
	}
	return l
}

func (c *Call) isWinner(i, n int) bool { return c.state.Winner == i && c.state.Answer == n }

// move carries an established leg over to the flow that its device came back on.
func (c *Call) move(l *leg.Leg, id sipua.FlowID) {
	f := c.b.cfg.Endpoint().Flow(id)
	if f != nil && f != l.Flow() {
		c.note("the call goes on over another connection")
		c.late("move", l.SetFlow(f))
		c.media.moved(l)
	}
}

// letGo gives the ports of an attempt back that lost: the call may last.
func (c *Call) letGo(i int) {
	t := c.attempts[i]
	if i >= len(c.state.Attempts) || !c.state.Attempts[i].Phase.Over() || c.state.Winner == i || t.side == nil {
		return
	}
	for _, l := range t.legs {
		if !l.over {
			return
		}
	}
	t.side.Close()
	t.side = nil
}
