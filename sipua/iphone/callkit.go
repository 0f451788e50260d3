package iphone

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
)

// callState is the state of a call on the call screen.
type callState string

const (
	ringing   callState = "ringing"
	answering callState = "answering"
	active    callState = "active"
)

// callScreen is CallKit: the system's call screen, and CXProvider for the app. On a
// phone without CallKit it is a screen that the app shows itself, which rings as
// long as the app lets it and takes no time to give the microphone away.
type callScreen struct {
	device *Device
	calls  map[uuid.UUID]*screenCall // those that live
	order  []uuid.UUID               // as they came
}

// screenCall is a call that the user sees.
type screenCall struct {
	id      uuid.UUID
	state   callState
	name    string
	limit   *time.Timer // of ringing
	pending []*action
}

func newCallScreen(d *Device) *callScreen {
	return &callScreen{device: d, calls: make(map[uuid.UUID]*screenCall)}
}

func (s *callScreen) live(id uuid.UUID) *screenCall { return s.calls[id] }

// inCall says that a call was answered.
func (s *callScreen) inCall() bool {
	for _, c := range s.calls {
		if c.state != ringing {
			return true
		}
	}
	return false
}

// reportNewIncomingCall shows a call to the user, as CXProvider's method of that
// name. Whatever comes of it, it counts as a report. Errors: errAlreadyExists.
func (s *callScreen) reportNewIncomingCall(id uuid.UUID, caller string) error {
	d := s.device
	d.reported()
	if s.live(id) != nil {
		return fmt.Errorf("%s: %w", id, errAlreadyExists)
	}
	c := &screenCall{id: id, state: ringing, name: caller}
	s.calls[id] = c
	s.order = append(s.order, id)
	d.tell(Event{Kind: Reported, UUID: id, Text: caller})
	if d.callKit() && d.cfg.OS >= 16 {
		c.limit = d.queue.after(d.cfg.Timing.Ring, func() { s.rangTooLong(c) })
	}
	d.cfg.User.call(d, id)
	return nil
}

// rangTooLong is CallKit's own end of a call: by the same action as the user's.
func (s *callScreen) rangTooLong(c *screenCall) {
	if s.calls[c.id] != c || c.state != ringing {
		return
	}
	if err := s.perform(endCall, c.id, RingLimit); err != nil {
		s.device.log.Debug("ring limit", "error", err)
	}
}

// reportCallEnded takes a call off the screen: CXProvider's reportCall(with:
// endedAt:reason:). No action comes back for it.
func (s *callScreen) reportCallEnded(id uuid.UUID, reason Reason) {
	if c := s.live(id); c != nil {
		s.end(c, reason)
	}
}

func (s *callScreen) end(c *screenCall, reason Reason) {
	if c.limit != nil {
		c.limit.Stop()
	}
	delete(s.calls, c.id)
	s.order = slices.DeleteFunc(s.order, func(id uuid.UUID) bool { return id == c.id })
	s.device.tell(Event{Kind: Ended, UUID: c.id, Reason: reason})
}

func (s *callScreen) endAll(reason Reason) {
	for _, id := range slices.Clone(s.order) {
		c := s.calls[id]
		for _, a := range c.pending {
			a.cancel()
		}
		s.end(c, reason)
	}
}

// perform gives an action to the app.
func (s *callScreen) perform(kind actionKind, id uuid.UUID, reason Reason) error {
	d, c := s.device, s.live(id)
	if c == nil || d.ios.process == nil {
		return fmt.Errorf("%s: %w", kind, errUnknownCall)
	}
	a := &action{kind: kind, uuid: id, screen: s, reason: reason}
	c.pending = append(c.pending, a)
	if d.callKit() {
		a.limit = d.queue.after(d.cfg.Timing.Action, a.expire)
	}
	if kind == answerCall {
		c.state = answering
		if c.limit != nil {
			c.limit.Stop()
		}
		d.ios.process.app.performAnswer(a)
		return nil
	}
	d.ios.process.app.performEnd(a)
	return nil
}

// fulfilled is what CallKit does when the app did what it was asked for.
func (s *callScreen) fulfilled(a *action) {
	d, c := s.device, s.live(a.uuid)
	if c == nil {
		return
	}
	if a.kind == endCall {
		s.end(c, a.reason)
		return
	}
	c.state = active
	d.tell(Event{Kind: Fulfilled, UUID: c.id})
	wait := d.cfg.Timing.Audio
	if !d.callKit() {
		wait = 0
	}
	d.queue.after(wait, func() {
		if s.calls[c.id] == c && d.ios.process != nil {
			d.ios.process.app.didActivateAudio(c.id)
		}
	})
}

// failed is what it does when not: a call that cannot be answered is over.
func (s *callScreen) failed(a *action) {
	if c := s.live(a.uuid); c != nil && a.kind == answerCall {
		s.end(c, Failed)
	}
}

// cancel ends an action whose app is gone.
func (a *action) cancel() {
	if a.limit != nil {
		a.limit.Stop()
	}
	if a.state == pending {
		a.state = done
	}
}
