package iphone

import (
	"slices"
	"strconv"

	"github.com/google/uuid"

	"wakebridge/sipua"
	"wakebridge/sipua/header"
	"wakebridge/sipua/softphone"
)

// legEvent takes what happens to SIP calls.
func (a *app) legEvent(leg *softphone.Call, e softphone.Event) {
	if e.Kind == softphone.Invited {
		a.invited(leg)
		return
	}
	c := a.callOf(leg)
	if c == nil {
		return
	}
	switch e.Kind {
	case softphone.Answered:
		if c.number != "" {
			a.provider.reportOutgoingCallConnected(c.uuid)
		}
	case softphone.Confirmed:
		a.confirmed(c)
	case softphone.FlowLost:
		a.tell(Event{Kind: FlowLost, UUID: c.uuid})
		// An answered call goes on over the next connection, a ringing one comes
		// again.
		c.lost = leg.Incoming() && !answered(leg)
	case softphone.Ended:
		if !c.lost || e.ByRemote { // a CANCEL may come over the next connection
			a.legEnded(c, e)
		}
	}
}

func answered(leg *softphone.Call) bool {
	return slices.ContainsFunc(leg.Events(), func(e softphone.Event) bool { return e.Kind == softphone.Answered })
}

// invited finds the entry that an INVITE belongs to, or reports a new call.
func (a *app) invited(leg *softphone.Call) {
	id, callID := a.match(leg)
	a.tell(Event{Kind: InviteReceived, UUID: id})
	if reason, over := a.storage.over(id); over && a.dictionary[id] == nil {
		// It is over for us.
		if status := refusalOf(reason); status == 480 {
			a.reject(leg, status)
		} else {
			a.refuse(leg, id, status)
		}
		return
	}
	c := a.dictionary[id]
	if c != nil && c.reachable() && !c.stands {
		// Two INVITEs of one call reach us over two connections: one is enough.
		a.reject(leg, 482)
		return
	}
	if c == nil {
		from := leg.Invite().From()
		in := incomingCall{callPush: callPush{uuid: id, name: header.UnescapeDisplay(from.DisplayName), handle: from.Address.User}}
		if !a.incoming(in) {
			a.reject(leg, 480)
			return
		}
		c = a.dictionary[id]
	} else if c.callID != "" && c.callID != callID {
		a.process.device.violate(RuleCallID, id, "the push announced Call-ID "+c.callID+", the INVITE has "+callID)
	}
	a.attach(c, leg)
}

// match is the UUID of an INVITE's call: X-Call-UUID, else the entry that waits for
// this Call-ID, else the only one that waits for any, else a new one, by which a push
// that is slower is known.
func (a *app) match(leg *softphone.Call) (id uuid.UUID, callID string) {
	callID = sipua.Value(leg.Invite(), "Call-ID")
	id, err := header.ParseCallUUID(sipua.Value(leg.Invite(), header.NameCallUUID))
	if err == nil {
		return id, callID
	}
	for _, c := range a.dictionary {
		if c.callID == callID {
			return c.uuid, callID
		}
	}
	var waiting []uuid.UUID
	for _, c := range a.dictionary {
		if c.pushed && c.callID == "" && c.leg == nil {
			waiting = append(waiting, c.uuid)
		}
	}
	if len(waiting) == 1 {
		return waiting[0], callID
	}
	return uuidOfCallID(callID), callID
}

// attach gives a call its leg, and does what the user wanted of it meanwhile.
func (a *app) attach(c *call, leg *softphone.Call) {
	c.leg, c.lost, c.stands = leg, false, false
	c.wait.stop()
	a.process.device.hear(c.uuid, leg)
	if a.departs.attached != nil && a.departs.attached(c) {
		return
	}
	if c.decided() {
		a.decide(c)
		return
	}
	if err := leg.Ring(); err != nil {
		a.process.device.log.Info("ring", "uuid", c.uuid, "error", err)
		return
	}
	a.tell(Event{Kind: Ringing, UUID: c.uuid})
}

// decide does what the user wants of a call that rings.
func (a *app) decide(c *call) {
	if c.refusal != 0 {
		delete(a.dictionary, c.uuid)
		a.refuse(c.leg, c.uuid, c.refusal)
		return
	}
	a.accept(c)
}

// refuse refuses a call for the user.
func (a *app) refuse(leg *softphone.Call, id uuid.UUID, status int) {
	if a.reject(leg, status) {
		a.tell(Event{Kind: Declined, UUID: id, Text: strconv.Itoa(status)})
	}
}

func (a *app) reject(leg *softphone.Call, status int) bool {
	if err := leg.Reject(status, ""); err != nil {
		a.process.device.log.Info("reject", "status", status, "error", err)
		return false
	}
	return true
}

// legEnded ends a call because its leg has ended, and not by us.
func (a *app) legEnded(c *call, e softphone.Event) {
	reason := Failed
	switch {
	case e.Cause == softphone.CauseCancelled && e.ByRemote:
		reason = reasonOfCancel(e.Reasons)
	case e.Cause == softphone.CauseBye && e.ByRemote:
		reason = RemoteEnded
	case c.number != "" && e.Status >= 300:
		reason = reasonOfRejection(e.Status)
	}
	a.finish(c, reason)
}

// reasonOfRejection is why a call of ours ended before it was answered.
func reasonOfRejection(status int) Reason {
	switch status {
	case 486, 600, 603:
		return RemoteEnded
	case 408, 480:
		return Unanswered
	}
	return Failed
}

// reasonOfCancel reads the Reason header fields of a CANCEL (RFC 3326); their causes
// are those of X-Call-Ended.
func reasonOfCancel(values []string) Reason {
	reasons, err := header.ParseReasons(values...)
	if err != nil {
		return RemoteEnded
	}
	for _, r := range reasons {
		if reason := reasonOfFate(r.Cause); r.Is(header.ReasonSIP) && reason != RemoteEnded {
			return reason
		}
	}
	return RemoteEnded
}

// hear keeps a leg for Device.Call.
func (d *Device) hear(id uuid.UUID, leg *softphone.Call) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heard[id] = leg
}
