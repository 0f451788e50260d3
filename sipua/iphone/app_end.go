package iphone

import "github.com/google/uuid"

// The third flow: the user hangs up, inside the app or on the call screen, or
// CallKit ends a call that rang too long.

// hangUpTapped implements delegate: CallKit hears of everything that the user does
// in the app, by a transaction that it is requested to perform.
func (a *app) hangUpTapped(id uuid.UUID) {
	if err := a.controller.request(transaction{kind: endCall, uuid: id, reason: ByUser}); err != nil {
		a.process.device.log.Info("hang up", "uuid", id, "error", err)
	}
}

// performEnd implements delegate.
func (a *app) performEnd(act *action) { a.end(act) }

// end hangs up and fulfils the action. A call whose INVITE is not here yet is
// declined when it comes: the app stays registered for it, so that the caller
// learns it at once.
func (a *app) end(act *action) {
	c := a.dictionary[act.uuid]
	if c == nil {
		act.fail()
		return
	}
	a.storage.remember(c.uuid, act.reason)
	if c.reachable() || c.number != "" {
		a.hangUpLeg(c)
		delete(a.dictionary, c.uuid)
		c.wait.stop()
	} else {
		c.refusal = 603
		if a.line.registered {
			a.awaitInvite(c)
		}
	}
	act.fulfil()
	if c.answer != nil {
		c.answer.fail()
		c.answer = nil
	}
}

// hangUpLeg sends 603 or BYE.
func (a *app) hangUpLeg(c *call) {
	if c.leg == nil {
		return
	}
	if _, over := endOf(c.leg); over {
		return
	}
	was := answered(c.leg)
	if err := c.leg.Hangup(); err != nil {
		a.process.device.log.Info("hang up", "uuid", c.uuid, "error", err)
		return
	}
	if !was && c.leg.Incoming() {
		a.tell(Event{Kind: Declined, UUID: c.uuid, Text: "603"})
	}
}

// providerDidReset implements delegate: all calls are gone from the screen, and the
// app ends what is left of them.
func (a *app) providerDidReset() {
	for _, c := range a.dictionary {
		a.storage.remember(c.uuid, ByReset)
		a.hangUpLeg(c)
		delete(a.dictionary, c.uuid)
		c.wait.stop()
	}
}
