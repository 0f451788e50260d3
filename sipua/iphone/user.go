package iphone

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"wakebridge/sipua/softphone"
)

// Habit is what the user does with a call without being told by a verb.
type Habit struct {
	do    func(d *Device, id uuid.UUID) error // nil: nothing
	after time.Duration
	taps  bool // on a notification
}

// Ignore is a user who is not there.
func Ignore() Habit { return Habit{} }

// AnswerAfter is a user who answers that long after the call is shown, and who taps
// on a notification of a call after the same time.
func AnswerAfter(d time.Duration) Habit { return Habit{do: (*Device).answer, after: d, taps: true} }

// DeclineAfter is a user who declines that long after the call is shown.
func DeclineAfter(d time.Duration) Habit { return Habit{do: (*Device).decline, after: d} }

// call lets the user see a call.
func (h Habit) call(d *Device, id uuid.UUID) {
	if h.do == nil {
		return
	}
	d.queue.after(h.after, func() {
		if err := h.do(d, id); err != nil {
			d.log.Debug("the user comes too late", "uuid", id, "error", err)
		}
	})
}

// notification lets the user see a notification.
func (h Habit) notification(d *Device) {
	if !h.taps {
		return
	}
	d.queue.after(h.after, func() {
		if err := d.tap(); err != nil {
			d.log.Debug("the user taps on nothing", "error", err)
		}
	})
}

// SetUser changes what the user does with the calls to come.
func (d *Device) SetUser(h Habit) error {
	return d.queue.do(func() error { d.cfg.User = h; return nil })
}

// Open is the user unlocking the phone and opening the app: it runs in front of
// him, and registers.
func (d *Device) Open() error {
	return d.queue.do(func() error {
		d.open()
		return nil
	})
}

func (d *Device) open() {
	d.unlock()
	d.wake(foreground, func() {})
}

// Background is the user leaving the app: it is suspended when it has nothing to
// do. One that is suspended already stays so. Errors: ErrNotRunning without a process,
// ErrClosed.
func (d *Device) Background() error {
	return d.queue.do(func() error {
		p := d.ios.process
		if p == nil {
			return ErrNotRunning
		}
		if p.state == foreground {
			p.state = background
		}
		return nil
	})
}

// Sleep is Lock without the wait: the app is suspended at once, its connection
// closes without un-REGISTER. One that is suspended already stays so. Errors:
// ErrNotRunning without a process, ErrClosed.
func (d *Device) Sleep() error {
	return d.queue.do(func() error {
		p := d.ios.process
		if p == nil {
			return ErrNotRunning
		}
		if p.state != suspended {
			p.suspend()
		}
		return nil
	})
}

// Kill ends the app's process: no BYE, no un-REGISTER, its calls leave the screen.
// A push starts it again.
func (d *Device) Kill() error {
	return d.queue.do(func() error {
		if d.ios.process == nil {
			return ErrNotRunning
		}
		d.ios.process.kill("by the user")
		return nil
	})
}

// running runs f with a process that is not suspended.
func (d *Device) running(f func(p *process)) error {
	return d.queue.do(func() error {
		p := d.ios.process
		if p == nil || p.state == suspended {
			return ErrNotRunning
		}
		f(p)
		return nil
	})
}

// Airplane takes the device off all networks, or back. Its connections close, and
// pushes wait at the push service.
func (d *Device) Airplane(on bool) error {
	return d.queue.do(func() error { d.airplane(on); return nil })
}

func (d *Device) airplane(on bool) {
	if d.ios.offline == on {
		return
	}
	d.ios.offline = on
	d.cfg.Pushes.Online(!on)
	if p := d.ios.process; p != nil {
		p.app.reachabilityChanged(!on)
	}
}

// Answer is the user answering on the call screen, which holds the call that he is
// in ("Hold & Accept"); uuid.Nil means the call that has been ringing longest. When
// the app has as many calls as it can, the screen ends one that is on hold already
// ("End Held & Accept"), and if there is none the one that he is in. Errors:
// ErrNoCall, ErrClosed.
func (d *Device) Answer(id uuid.UUID) error {
	return d.queue.do(func() error { return d.answer(id) })
}

// Decline is the user declining on the call screen; see Answer.
func (d *Device) Decline(id uuid.UUID) error {
	return d.queue.do(func() error { return d.decline(id) })
}

// End is the user hanging up on the call screen; uuid.Nil means the call that he
// talks in, else the oldest that was answered or dialled. Errors as for Answer.
func (d *Device) End(id uuid.UUID) error {
	return d.queue.do(func() error {
		c, err := d.findTaken(id)
		if err != nil {
			return err
		}
		d.tell(Event{Kind: UserHungUp, UUID: c.id})
		return d.ios.screen.perform(wish{kind: endCall, uuid: c.id, reason: ByUser})
	})
}

// HangUp is the user hanging up inside the app, which tells CallKit by a
// transaction; else as End.
func (d *Device) HangUp(id uuid.UUID) error {
	return d.queue.do(func() error {
		c, err := d.findTaken(id)
		if err != nil {
			return err
		}
		if d.ios.process == nil {
			return ErrNotRunning
		}
		d.tell(Event{Kind: UserHungUp, UUID: c.id, Text: "in the app"})
		d.ios.process.app.hangUpTapped(c.id)
		return nil
	})
}

// Tap is the user tapping on the newest notification: the app opens. Errors:
// ErrNoNotification, ErrClosed.
func (d *Device) Tap() error { return d.queue.do(d.tap) }

func (d *Device) answer(id uuid.UUID) error {
	c, err := d.find(id, ringing)
	if err != nil {
		return err
	}
	return d.take(c)
}

// take answers a call, beside those for which there is room.
func (d *Device) take(c *screenCall) error {
	s := d.ios.screen
	if s.full() {
		if err := s.makeRoom(held); err != nil {
			if err = s.makeRoom(active, answering, dialing); err != nil {
				return err
			}
		}
	}
	d.tell(Event{Kind: UserAnswered, UUID: c.id})
	s.holdOthers(c)
	return s.perform(wish{kind: answerCall, uuid: c.id})
}

func (d *Device) decline(id uuid.UUID) error {
	c, err := d.find(id, ringing)
	if err != nil {
		return err
	}
	d.tell(Event{Kind: UserDeclined, UUID: c.id})
	return d.ios.screen.perform(wish{kind: endCall, uuid: c.id, reason: ByDecline})
}

// find is the call of that UUID, or the oldest, that is in one of the states.
func (d *Device) find(id uuid.UUID, states ...callState) (*screenCall, error) {
	for _, other := range d.ios.screen.order {
		if id != uuid.Nil && id != other {
			continue
		}
		for _, s := range states {
			if c := d.ios.screen.calls[other]; c.state == s {
				return c, nil
			}
		}
	}
	return nil, fmt.Errorf("%w: none is %s", ErrNoCall, oneOf(states))
}

// oneOf are states for a person: "active, dialing or held".
func oneOf(states []callState) string {
	text := string(states[0])
	for i, s := range states[1:] {
		if i < len(states)-2 {
			text += ", " + string(s)
		} else {
			text += " or " + string(s)
		}
	}
	return text
}

// findTaken is the call of that UUID, or the one that the user talks in, or the
// oldest that he took.
func (d *Device) findTaken(id uuid.UUID) (*screenCall, error) {
	if c, err := d.find(id, active); err == nil {
		return c, nil
	}
	return d.find(id, answering, active, dialing, held)
}

// Ready waits until the app is registered, as after Open.
func (d *Device) Ready(ctx context.Context) error {
	_, err := d.Wait(ctx, 0, Registered)
	return err
}

// Call is the SIP call behind a call of the screen, also when it is over, for its
// audio; nil if its INVITE never came.
func (d *Device) Call(id uuid.UUID) *softphone.Call {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.heard[id]
}
