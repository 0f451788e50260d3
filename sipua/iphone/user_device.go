package iphone

import "slices"

// What the user does with the device, and what befalls it.

// Lock is the user putting the phone away: an app in front of him leaves the
// foreground, and is suspended when it has nothing to do.
func (d *Device) Lock() error {
	return d.queue.do(func() error {
		if d.ios.locked {
			return nil
		}
		d.ios.locked = true
		if p := d.ios.process; p != nil && p.state == foreground {
			p.state = background
		}
		d.tell(Event{Kind: Locked})
		return nil
	})
}

// Unlock is the user unlocking the phone; the first time since it started, apps can
// read what they stored from then on.
func (d *Device) Unlock() error {
	return d.queue.do(func() error { d.unlock(); return nil })
}

func (d *Device) unlock() {
	if !d.ios.locked {
		return
	}
	first := d.ios.sealed
	d.ios.locked, d.ios.sealed = false, false
	if !first {
		d.tell(Event{Kind: Unlocked})
		return
	}
	d.tell(Event{Kind: Unlocked, Text: "for the first time"})
	if p := d.ios.process; p != nil && p.state != suspended {
		p.app.protectedDataDidBecomeAvailable()
	}
}

// Restart is the device starting anew, by an update in the night for instance: no
// app runs, and until it is unlocked none can read its credentials, so that one
// which a push starts cannot register.
func (d *Device) Restart() error {
	return d.queue.do(func() error {
		d.remove()
		d.ios.locked, d.ios.sealed = true, true
		d.tell(Event{Kind: Restarted})
		return nil
	})
}

// Reinstall is the user removing the app and installing it again: new tokens, a new
// instance, and pushes that iOS blocked are delivered again.
func (d *Device) Reinstall() error {
	return d.queue.do(func() error {
		d.remove()
		d.cfg.Pushes.Reinstall(d.cfg.App.BundleID)
		d.ios.storage = newStorage()
		d.ios.strikes, d.ios.blocked = 0, false
		d.tell(Event{Kind: Reinstalled})
		return nil
	})
}

// InvalidateToken is PushKit saying that the VoIP token is good for nothing any
// more. Errors: ErrNotRunning, ErrClosed.
func (d *Device) InvalidateToken() error {
	return d.running(func(p *process) {
		d.tell(Event{Kind: Invalidated})
		p.app.didInvalidatePushToken()
	})
}

// DoNotDisturb says whether calls are kept from the user.
func (d *Device) DoNotDisturb(on bool) error {
	return d.queue.do(func() error { d.ios.doNotDisturb = on; return nil })
}

// Block says which callers the user does not want to hear of, by the handle that
// the app reports: a number or a user name.
func (d *Device) Block(handles ...string) error {
	return d.queue.do(func() error { d.ios.blockList = slices.Clone(handles); return nil })
}

// ResetCallKit is CallKit losing its memory of all calls.
func (d *Device) ResetCallKit() error {
	return d.queue.do(func() error { d.ios.screen.reset(); return nil })
}
