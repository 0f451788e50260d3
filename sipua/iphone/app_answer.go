package iphone

import (
	"errors"

	"wakebridge/sipua"
	"wakebridge/sipua/softphone"
)

// The second flow: the user answers on the call screen.

// performAnswer implements delegate.
func (a *app) performAnswer(act *action) { a.answer(act) }

// answer looks the call up in the dictionary; one that is not there cannot be
// answered. It accepts the call, or waits for its INVITE to do so, and fulfils the
// action when the caller's ACK is there.
func (a *app) answer(act *action) {
	c := a.dictionary[act.uuid]
	if c == nil || c.refusal != 0 {
		act.fail()
		return
	}
	c.answer = act
	if c.reachable() {
		a.accept(c)
		return
	}
	a.awaitInvite(c)
}

// accept sends the 200.
func (a *app) accept(c *call) {
	c.wait.stop()
	err := c.leg.Answer()
	if err == nil {
		a.tell(Event{Kind: Accepted, UUID: c.uuid})
		if a.departs.accepted != nil {
			a.departs.accepted(c)
		}
		return
	}
	if e, over := endOf(c.leg); over { // the caller was faster
		a.legEnded(c, e)
		return
	}
	status := 500
	if errors.Is(err, softphone.ErrMedia) {
		status = sipua.Status(err)
	}
	a.process.device.log.Warn("answer", "uuid", c.uuid, "error", err)
	if err := c.leg.Reject(status, ""); err != nil {
		a.process.device.log.Info("reject", "uuid", c.uuid, "error", err)
	}
	a.finish(c, Failed)
}

// confirmed is the ACK of our 200.
func (a *app) confirmed(c *call) {
	c.stands = false
	act := c.answer
	if act == nil {
		return
	}
	c.answer = nil
	if a.departs.confirmed != nil {
		a.departs.confirmed(act)
		return
	}
	act.fulfil()
}

// timedOutPerforming implements delegate: the screen has given the call up.
func (a *app) timedOutPerforming(act *action) {
	c := a.dictionary[act.uuid]
	if c == nil || act.kind != answerCall && act.kind != startCall {
		return
	}
	c.answer = nil
	a.hangUpLeg(c)
	a.finish(c, Failed)
}

func endOf(leg *softphone.Call) (softphone.Event, bool) {
	all := leg.Events()
	if n := len(all); n > 0 && all[n-1].Kind == softphone.Ended {
		return all[n-1], true
	}
	return softphone.Event{}, false
}
