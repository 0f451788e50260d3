package iphone

import (
	"context"
	"errors"

	"wakebridge/sipua/softphone"
)

// What CallKit asks for during a call, by the pattern of the answer: dictionary,
// deed, fulfil.

// talking is the entry of a call that was answered, by us or the peer; nil if there
// is none.
func (a *app) talking(act *action) *call {
	c := a.dictionary[act.uuid]
	if c == nil || c.leg == nil || !answered(c.leg) {
		act.fail()
		return nil
	}
	return c
}

// performSetHeld implements delegate: a re-INVITE says it to the peer, one after the
// other, and the answer is waited for off the main queue.
func (a *app) performSetHeld(act *action) {
	c := a.talking(act)
	if c == nil {
		return
	}
	reinvite := c.leg.Resume
	if act.on {
		reinvite = c.leg.Hold
	}
	d := a.process.device
	before, through := c.changes, make(chan struct{})
	c.changes = through
	d.wg.Go(func() { // awaited by Close, which ends ctx
		defer close(through)
		if before != nil {
			<-before
		}
		ctx, cancel := context.WithTimeout(d.ctx, d.cfg.Timing.Action*2/3) // or the action times out
		defer cancel()
		err := reinvite(ctx)
		a.process.post(func() {
			switch {
			case err == nil:
				act.fulfil()
			case errors.Is(err, softphone.ErrClosed):
			default:
				d.log.Info("hold", "uuid", act.uuid, "on", act.on, "error", err)
				act.fail()
			}
		})
	})
}

// performSetMuted implements delegate: the peer is not told, it hears silence.
func (a *app) performSetMuted(act *action) {
	if c := a.talking(act); c != nil {
		c.leg.Mute(act.on)
		act.fulfil()
	}
}

// performPlayDTMF implements delegate.
func (a *app) performPlayDTMF(act *action) {
	c := a.talking(act)
	if c == nil {
		return
	}
	if err := c.leg.Press(act.text); err != nil {
		a.process.device.log.Info("play DTMF", "uuid", act.uuid, "error", err)
		act.fail()
		return
	}
	act.fulfil()
}
