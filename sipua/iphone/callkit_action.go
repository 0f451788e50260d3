package iphone

import (
	"fmt"

	"github.com/google/uuid"
)

// perform gives an action to the app. Errors: errUnknownCall.
func (s *callScreen) perform(w wish) error {
	d, c := s.device, s.live(w.uuid)
	if w.kind == startCall && c == nil {
		c = s.add(w.uuid, dialing, w.text)
	}
	if c == nil || d.ios.process == nil {
		return fmt.Errorf("%s: %w", w.kind, errUnknownCall)
	}
	a := &action{wish: w, screen: s}
	c.pending = append(c.pending, a)
	if d.callKit() {
		a.limit = d.queue.after(d.cfg.Timing.Action, a.expire)
	}
	app := d.ios.process.app
	switch w.kind {
	case startCall:
		s.holdOthers(c)
		app.performStart(a)
	case answerCall:
		c.state = answering
		if c.limit != nil {
			c.limit.Stop()
		}
		app.performAnswer(a)
	case endCall:
		app.performEnd(a)
	case setHeldCall:
		app.performSetHeld(a)
	case setMutedCall:
		app.performSetMuted(a)
	case playDTMFCall:
		app.performPlayDTMF(a)
	}
	return nil
}

// fulfilled is what CallKit does when the app did what it was asked for.
func (s *callScreen) fulfilled(a *action) {
	d, c := s.device, s.live(a.uuid)
	if c == nil {
		return
	}
	switch a.kind {
	case startCall:
		d.tell(Event{Kind: Calling, UUID: c.id, Text: a.text})
		s.activateAudio(c)
	case answerCall:
		c.state = active
		d.tell(Event{Kind: Fulfilled, UUID: c.id})
		if c.yields { // a cellular call was faster
			s.yield(c)
			return
		}
		s.activateAudio(c)
	case endCall:
		s.end(c, a.reason)
	case setHeldCall:
		s.heldOrResumed(c, a.wish)
	case setMutedCall:
		c.muted = a.on
		kind := Unmuted
		if a.on {
			kind = Muted
		}
		d.tell(Event{Kind: kind, UUID: c.id})
	case playDTMFCall:
		d.tell(Event{Kind: KeysPressed, UUID: c.id, Text: a.text})
	}
}

// failed is what it does when not: a call that cannot be begun or answered is over.
func (s *callScreen) failed(a *action) {
	if c := s.live(a.uuid); c != nil && (a.kind == answerCall || a.kind == startCall) {
		s.end(c, Failed)
	}
}

// hold asks the app to hold a call, or to go on with it.
func (s *callScreen) hold(c *screenCall, on bool) {
	if err := s.perform(wish{kind: setHeldCall, uuid: c.id, on: on}); err != nil {
		s.device.log.Debug("hold", "uuid", c.id, "error", err)
	}
}

// holdOthers puts the calls on hold that are in the way of another: one talks.
func (s *callScreen) holdOthers(but *screenCall) {
	for _, id := range s.order {
		if c := s.calls[id]; c != nil && c != but && c.state == active {
			s.hold(c, true)
		}
	}
}

// makeRoom ends a call that is in the way of another one: for the call screen's "End
// & Accept" the one that the user talks in, for "End Held & Accept" one that waits.
func (s *callScreen) makeRoom(ends ...callState) error {
	c, err := s.device.find(uuid.Nil, ends...)
	if err != nil {
		return err
	}
	s.device.tell(Event{Kind: UserHungUp, UUID: c.id, Text: "for another call"})
	return s.perform(wish{kind: endCall, uuid: c.id, reason: ByUser})
}

// yield holds a call for the time of a cellular one.
func (s *callScreen) yield(c *screenCall) {
	c.yields = true
	if err := s.perform(wish{kind: setHeldCall, uuid: c.id, on: true, yields: true}); err != nil {
		s.device.log.Debug("hold", "uuid", c.id, "error", err)
	}
}

func (s *callScreen) heldOrResumed(c *screenCall, w wish) {
	d := s.device
	if w.on {
		c.state = held
		d.tell(Event{Kind: Held, UUID: c.id})
		s.deactivateAudio(c)
		if w.yields && !c.yields { // the cellular call is over already
			s.hold(c, false)
		}
		return
	}
	c.state, c.yields = active, false
	d.tell(Event{Kind: Resumed, UUID: c.id})
	s.activateAudio(c)
}

// activateAudio gives the app the audio of a call after a while, as iOS takes its
// time for it.
func (s *callScreen) activateAudio(c *screenCall) {
	d := s.device
	wait := d.cfg.Timing.Audio
	if !d.callKit() {
		wait = 0
	}
	d.queue.after(wait, func() {
		if s.calls[c.id] != c || c.audio || c.state == held || d.ios.process == nil {
			return
		}
		c.audio = true
		d.ios.process.app.didActivateAudio(c.id)
	})
}

func (s *callScreen) deactivateAudio(c *screenCall) {
	if !c.audio {
		return
	}
	c.audio = false
	if p := s.device.ios.process; p != nil {
		p.app.didDeactivateAudio(c.id)
	}
}

// cellular is a call of the mobile network that comes or goes: iOS gives it the
// audio, and the calls of the app wait on hold for its end.
func (s *callScreen) cellular(on bool) {
	kind := CellularEnded
	if on {
		kind = CellularCall
	}
	s.device.tell(Event{Kind: kind})
	for _, id := range s.order {
		c := s.calls[id]
		switch {
		case on && c.state == answering:
			c.yields = true
		case on && c.state == active:
			s.yield(c)
		case !on && c.yields && c.state == held:
			s.hold(c, false)
		case !on:
			c.yields = false
		}
	}
}
