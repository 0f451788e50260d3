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
	dialing   callState = "dialing" // the user calls
	ringing   callState = "ringing"
	answering callState = "answering"
	active    callState = "active"
	held      callState = "held"
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
	muted   bool
	audio   bool        // the app may send and play audio of it
	yields  bool        // a cellular call holds it, or will when it is answered
	limit   *time.Timer // of ringing
	pending []*action
}

func newCallScreen(d *Device) *callScreen {
	return &callScreen{device: d, calls: make(map[uuid.UUID]*screenCall)}
}

func (s *callScreen) live(id uuid.UUID) *screenCall { return s.calls[id] }

// inCall says that there is a call that does not only ring.
func (s *callScreen) inCall() bool {
	for _, c := range s.calls {
		if c.state != ringing {
			return true
		}
	}
	return false
}

// full says that the app has as many calls as it told CallKit that it can have; one
// that rings is none yet.
func (s *callScreen) full() bool {
	taken := 0
	for _, c := range s.calls {
		if c.state != ringing {
			taken++
		}
	}
	return s.device.callKit() && taken >= s.device.cfg.App.CallGroups
}

// callUpdate is CXCallUpdate: who calls.
type callUpdate struct{ name, handle string }

func (u callUpdate) caller() string {
	switch {
	case u.name != "":
		return u.name
	case u.handle != "":
		return u.handle
	}
	return "Unknown caller"
}

// reportNewIncomingCall shows a call to the user, as CXProvider's method of that
// name. Whatever comes of it, it counts as a report. Errors: errAlreadyExists, and
// errUnentitled, errFilteredByDoNotDisturb and errFilteredByBlockList for a call that
// the user is not shown.
func (s *callScreen) reportNewIncomingCall(id uuid.UUID, u callUpdate) error {
	d := s.device
	d.reported()
	if s.live(id) != nil {
		return fmt.Errorf("%s: %w", id, errAlreadyExists)
	}
	if err := s.filter(id, u); err != nil {
		return err
	}
	c := s.add(id, ringing, u.caller())
	d.tell(Event{Kind: Reported, UUID: id, Text: c.name})
	if d.callKit() && d.cfg.OS >= 16 {
		c.limit = d.queue.after(d.cfg.Timing.Ring, func() { s.rangTooLong(c) })
	}
	d.cfg.User.call(d, id)
	return nil
}

// filter keeps calls from the user that he does not want to see.
func (s *callScreen) filter(id uuid.UUID, u callUpdate) error {
	d := s.device
	switch {
	case !d.callKit():
		return nil
	case d.cfg.App.Unentitled:
		d.tell(Event{Kind: Filtered, UUID: id, Reason: ByEntitlement, Text: u.caller()})
		return fmt.Errorf("%s: %w", id, errUnentitled)
	case u.handle != "" && slices.Contains(d.ios.blockList, u.handle):
		d.tell(Event{Kind: Filtered, UUID: id, Reason: ByBlockList, Text: u.caller()})
		return fmt.Errorf("%s: %w", id, errFilteredByBlockList)
	case d.ios.doNotDisturb:
		d.tell(Event{Kind: Filtered, UUID: id, Reason: ByDoNotDisturb, Text: u.caller()})
		return fmt.Errorf("%s: %w", id, errFilteredByDoNotDisturb)
	}
	return nil
}

func (s *callScreen) add(id uuid.UUID, state callState, name string) *screenCall {
	c := &screenCall{id: id, state: state, name: name}
	s.calls[id] = c
	s.order = append(s.order, id)
	return c
}

// reportOutgoingCallConnected is CXProvider's reportOutgoingCall(with:connectedAt:).
func (s *callScreen) reportOutgoingCallConnected(id uuid.UUID) {
	if c := s.live(id); c != nil && c.state == dialing {
		c.state = active
		s.device.tell(Event{Kind: Connected, UUID: id})
	}
}

// rangTooLong is CallKit's own end of a call: by the same action as the user's.
func (s *callScreen) rangTooLong(c *screenCall) {
	if s.calls[c.id] != c || c.state != ringing {
		return
	}
	if err := s.perform(wish{kind: endCall, uuid: c.id, reason: RingLimit}); err != nil {
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
	s.deactivateAudio(c)
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

// reset is CallKit losing its memory: the calls leave the screen, and the app is
// told.
func (s *callScreen) reset() {
	s.device.tell(Event{Kind: ProviderReset})
	s.endAll(ByReset)
	if p := s.device.ios.process; p != nil {
		p.app.providerDidReset()
	}
}
