package iphone

import "github.com/google/uuid"

// What the user does during a call, and to make one.

// Dial is the user calling a number, or a SIP URI, in the app, which opens for it.
func (d *Device) Dial(number string) error {
	return d.queue.do(func() error {
		d.unlock()
		d.wake(foreground, func() { d.ios.process.app.dialTapped(number) })
		return nil
	})
}

// EndAndAnswer is the user choosing "End & Accept" on the call screen: the call that
// he is in ends, and the one that rings is answered; else as Answer.
func (d *Device) EndAndAnswer(id uuid.UUID) error {
	return d.queue.do(func() error {
		c, err := d.find(id, ringing)
		if err != nil {
			return err
		}
		if err := d.ios.screen.makeRoom(active, answering, dialing); err != nil {
			return err
		}
		return d.take(c)
	})
}

// Hold is the user putting a call on hold on the call screen; uuid.Nil means the
// one that he talks in. Errors: ErrNoCall, ErrClosed.
func (d *Device) Hold(id uuid.UUID) error {
	return d.act(wish{kind: setHeldCall, uuid: id, on: true}, active)
}

// Unhold is the user going on with a call, and holding the one that he is in;
// uuid.Nil means the one that waits longest. Errors as for Hold.
func (d *Device) Unhold(id uuid.UUID) error {
	return d.queue.do(func() error {
		c, err := d.find(id, held)
		if err != nil {
			return err
		}
		d.ios.screen.holdOthers(c)
		return d.ios.screen.perform(wish{kind: setHeldCall, uuid: c.id})
	})
}

// Mute is the user muting himself, or not any more; else as Hold.
func (d *Device) Mute(id uuid.UUID, on bool) error {
	return d.act(wish{kind: setMutedCall, uuid: id, on: on}, active, held)
}

// Press is the user pressing keys on the call screen; else as Hold.
func (d *Device) Press(id uuid.UUID, digits string) error {
	return d.act(wish{kind: playDTMFCall, uuid: id, text: digits}, active)
}

// act performs what is wanted of a call that is in one of the states.
func (d *Device) act(w wish, states ...callState) error {
	return d.queue.do(func() error {
		c, err := d.find(w.uuid, states...)
		if err != nil {
			return err
		}
		w.uuid = c.id
		return d.ios.screen.perform(w)
	})
}

// Cellular is a call of the mobile network that begins, or ends: meanwhile the
// calls of the app are on hold.
func (d *Device) Cellular(on bool) error {
	return d.queue.do(func() error { d.ios.screen.cellular(on); return nil })
}
