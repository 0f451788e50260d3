package bridge

import (
	"slices"
	"time"

	"wakebridge/bridge/rules"
	"wakebridge/sipua"
	"wakebridge/sipua/location"
)

// expectHeard gives a device that rings a moment for the 487 to a CANCEL. One that reads
// fates has its word at once, which the 487 takes back: it may come over a new connection
// before we could know that the old one is dead.
func (c *Call) expectHeard(a rules.Action) {
	t := c.attempts[a.Attempt]
	if a.Status == 0 || t.trunk != nil || a.Invite >= len(t.legs) || t.legs[a.Invite].over {
		return
	}
	t.legs[a.Invite].taken = a
	if now := c.state.Attempts[a.Attempt].Flow; now != 0 { // it may have left the other one without a sign
		c.cancelAgain(a.Attempt, a.Invite, c.b.cfg.Endpoint().Flow(now))
	}
	if t.device.Push.FateHeader {
		c.leaveFate(a.Attempt, a.Invite)
	}
	time.AfterFunc(answersSoon, func() { // posts to nobody once the call is over
		c.own.box.post(func() {
			if !t.legs[a.Invite].over {
				c.unheard(a.Attempt, a.Invite)
			}
		})
	})
}

// unheard leaves a fate for a device that rings and did not answer its CANCEL: the
// connection may be dead. The 487 takes it back, should it still come. The fate is for a
// REGISTER to come; if the device is on another connection already, it has its CANCEL
// there. In this order: who registers in between has both.
func (c *Call) unheard(i, n int) {
	t := c.attempts[i]
	if t.legs[n].taken.Status == 0 {
		return
	}
	if c.leaveFate(i, n) || t.device.Push.FateHeader {
		c.note("%s did not answer the CANCEL: it is told when it registers", t.name)
	}
	c.cancelAgain(i, n, c.b.flowOf(c.b.located(t.device)))
}

// cancelAgain says a CANCEL again on f, if that is another flow than the one on which
// nobody answered it.
func (c *Call) cancelAgain(i, n int, f *sipua.Flow) {
	t := c.attempts[i]
	l := t.legs[n]
	if l.taken.Status == 0 || f == nil || f.ID() == l.flow || slices.Contains(l.again, f.ID()) {
		return
	}
	l.again = append(l.again, f.ID())
	c.note("CANCEL to %s again, over the connection that it has now", t.name)
	l.leg.CancelAgain(f)
}

// cancelHeard: the device took the CANCEL that was said again.
func (c *Call) cancelHeard(i, n int) {
	t := c.attempts[i]
	t.legs[n].taken = rules.Action{}
	c.arrived(t)
}

// cameBack is a device that registers: what it may not have heard, because its attempt
// was decided, is said again.
func (c *Call) cameBack(i int, d location.Device) {
	t := c.attempts[i]
	for n, l := range t.legs {
		if !l.over {
			c.cancelAgain(i, n, c.b.flowOf(d))
		}
	}
	if t.fate != nil && !t.fate.Told && c.state.Attempts[i].Phase.Over() {
		c.b.overtaken(d, t.shown())
	}
}

// leaveFate leaves the word of a CANCEL to a device that rings, if there is none yet, and it
// did not take the CANCEL of a newer INVITE. To one that reads fates it is nothing if it does
// not ring after all; others would ring for it.
func (c *Call) leaveFate(i, n int) bool {
	t := c.attempts[i]
	why := t.legs[n].taken
	newer := func(l *tried) bool { return l.over && l.arrived && l.taken.Status != 0 }
	if slices.ContainsFunc(t.legs[n+1:], newer) {
		return false
	}
	if why.Status == 0 || t.fate != nil || c.state.Attempts[i].Outcome.Callee || !t.legs[n].arrived && !t.device.Push.FateHeader {
		return false
	}
	c.fate(why)
	return true
}
