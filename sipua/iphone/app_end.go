package iphone

// The third flow: the user hangs up, inside the app (hangUpTapped requests the
// transaction) or on the call screen, or CallKit ends a call that rang too long.

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
	if c.reachable() {
		a.hangUpLeg(c)
		delete(a.dictionary, c.uuid)
		c.wait.stop()
	} else {
		c.declined = true
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
	if !was {
		a.tell(Event{Kind: Declined, UUID: c.uuid})
	}
}
