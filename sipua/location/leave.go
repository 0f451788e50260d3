package location

import (
	"slices"
	"strings"
	"time"
)

func (a *applying) removeBinding(r RemoveBinding) {
	at := a.orNow(r.At)
	if r.Contact == "*" {
		a.removeAll(r, at)
		return
	}
	d, leaves := a.leaving(r)
	if d == nil {
		return
	}
	var removed []Binding
	a.change(d, func(d *Device) {
		found := false
		d.Bindings = slices.DeleteFunc(d.Bindings, func(b Binding) bool {
			gone := leaves != nil && (b.Contact == leaves.Contact && b.RegID == leaves.RegID || found && leftBehind(b, *leaves))
			if gone {
				found, removed = true, append(removed, b)
			}
			return gone
		})
		a.startLogout(d, at)
	})
	for _, b := range removed {
		a.emit(Unregistered, d, b.Flow)
	}
}

// leftBehind says that old, which is older than the Contact that leaves, is what the
// same app left at another address: without a reg-id it has one Contact (RFC 5626
// s4.2), and cannot remove one whose network it has left.
func leftBehind(old, leaves Binding) bool {
	if leaves.Instance == "" || old.Instance != leaves.Instance || old.RegID != 0 || leaves.RegID != 0 {
		return false
	}
	// All that a proxy on the way brings comes from the same place.
	return old.Flow != leaves.Flow || old.Received != leaves.Received || len(leaves.Path) > 0 && old.Registered.Before(leaves.Registered)
}

// startLogout gives a device without a Contact its time to come back.
func (a *applying) startLogout(d *Device, at time.Time) {
	left := slices.ContainsFunc(d.Bindings, func(b Binding) bool { return b.Expires.After(at) })
	if !left && d.LogoutDue.IsZero() && d.LoggedOut.IsZero() {
		d.LogoutDue = at.Add(a.rules.Grace)
	}
}

// leaving finds the device that removes a Contact, and that Contact: nil if it
// is gone already.
func (a *applying) leaving(r RemoveBinding) (*Device, *Binding) {
	uri := NormalContact(r.Contact)
	devices := a.devices(r.AOR)
	for _, d := range devices {
		if r.Instance != "" && d.Instance != "" && r.Instance != d.Instance {
			continue
		}
		// A phone that says who it is does not remove the same private address
		// of another phone behind another NAT.
		for _, b := range d.Bindings {
			if NormalContact(b.Contact) == uri && (r.RegID == 0 || r.RegID == b.RegID) {
				return a.device(d.Ref()), &b
			}
		}
	}
	for _, d := range devices {
		if r.Instance != "" && d.Instance == r.Instance || r.Token != "" && d.Push.has(r.Token) {
			return a.device(d.Ref()), nil
		}
	}
	return nil, nil
}

// removeAll is Contact "*": every binding of the AOR goes. Who sends it is on
// its way out; the other devices only fall asleep.
func (a *applying) removeAll(r RemoveBinding, at time.Time) {
	devices := a.devices(r.AOR)
	sender, known := r.By.among(devices)
	for _, snapshot := range devices {
		d := a.device(snapshot.Ref())
		had := d.Bindings
		a.change(d, func(d *Device) {
			d.Bindings = nil
			if known && d.Key == sender {
				a.startLogout(d, at)
			}
		})
		for _, b := range had {
			a.emit(Unregistered, d, b.Flow)
		}
	}
}

// among finds the key of the device that sent a request: the one whose Call-ID it
// has, or else the only one of this user on the flow, or else the user's only one.
// False if none is, or if that one is another product: a desk phone removes
// everything when it starts, before it is known, and the only device may be an
// iPhone that sleeps.
func (s Sender) among(devices []Device) (string, bool) {
	having := func(is func(Binding) bool) []Device {
		return slices.DeleteFunc(slices.Clone(devices), func(d Device) bool { return !slices.ContainsFunc(d.Bindings, is) })
	}
	if same := having(func(b Binding) bool { return b.CallID != "" && b.CallID == s.CallID }); len(same) == 1 {
		return same[0].Key, true
	}
	if here := having(func(b Binding) bool { return b.Flow != 0 && b.Flow == s.Flow }); len(here) > 0 {
		devices = here
	}
	if len(devices) != 1 {
		return "", false
	}
	other := slices.ContainsFunc(devices[0].Bindings, func(b Binding) bool {
		return b.UserAgent != "" && s.UserAgent != "" && product(b.UserAgent) != product(s.UserAgent)
	})
	return devices[0].Key, !other
}

// product is a User-Agent as far as its first version: an update is no other product.
func product(agent string) string {
	name, _, _ := strings.Cut(agent, "/")
	words := strings.Fields(strings.ToLower(name))
	version := slices.IndexFunc(words, func(w string) bool {
		w = strings.TrimPrefix(w, "v")
		return w != "" && '0' <= w[0] && w[0] <= '9'
	})
	if version > 0 {
		words = words[:version]
	}
	return strings.Join(words, " ")
}

// logOut makes d unwakeable until it registers again. What SIP announced is
// forgotten; the backend's tokens stay, because it would not announce them
// again when the user comes back.
func (a *applying) logOut(d *Device, at time.Time) {
	a.change(d, func(d *Device) {
		d.LoggedOut, d.LogoutDue, d.TokensDue = at, time.Time{}, time.Time{}
		d.Push = d.Push.forget(fromSIP)
	})
	a.emit(LoggedOut, d, 0)
}

func (a *applying) removeToken(r RemoveToken) {
	named := func(t Token) bool { return t.Kind == r.Kind && t.Value == r.Value }
	dead := func(t Token) bool { return named(t) && !t.Updated.After(r.NotAfter) }
	outlived := false
	for _, ref := range a.byToken.refs(r.Value) {
		d := a.device(ref)
		if t := d.Push.Token(r.Kind); !dead(t) {
			outlived = outlived || named(t)
			continue
		}
		a.change(d, func(d *Device) { d.Push = d.Push.forget(dead) })
		a.emit(TokensChanged, d, 0)
	}
	if r.Gone && !outlived {
		a.dead.add(r.Kind, r.Value, a.now)
	}
}

func (a *applying) setEnvironment(s SetEnvironment) {
	for _, ref := range a.byToken.refs(s.Value) {
		d := a.device(ref)
		if t := d.Push.Token(s.Kind); t.Value != s.Value || t.Environment == s.Environment {
			continue
		}
		a.change(d, func(d *Device) { d.Push.token(s.Kind).Environment = s.Environment })
		a.emit(TokensChanged, d, 0)
	}
}

func (a *applying) expire(e Expire) {
	a.now = a.orNow(e.Now)
	for {
		key, ok := a.due.take(a.now)
		if !ok {
			return
		}
		switch key := key.(type) {
		case FateRef:
			delete(a.fates[key.Device], key.UUID)
			delete(a.toldOn, key)
			if len(a.fates[key.Device]) == 0 {
				delete(a.fates, key.Device)
			}
			a.dirty.fates[key] = struct{}{}
		case Ref:
			a.expireDevice(a.device(key), e.InCall)
		}
	}
}

func (a *applying) expireDevice(d *Device, inCall func(Ref) bool) {
	var over []Binding
	a.change(d, func(d *Device) {
		d.Bindings = slices.DeleteFunc(d.Bindings, func(b Binding) bool {
			if b.Expires.After(a.now) {
				return false
			}
			over = append(over, b)
			return true
		})
	})
	for _, b := range over {
		a.emit(Expired, d, b.Flow)
	}
	reached := func(t time.Time) bool { return !t.IsZero() && !t.After(a.now) }
	if reached(d.TokensDue) {
		busy := inCall != nil && inCall(d.Ref())
		a.change(d, func(d *Device) {
			if busy {
				d.TokensDue = a.now.Add(a.rules.Grace)
				return
			}
			d.TokensDue = time.Time{}
			d.Push = d.Push.forget(fromSIP)
		})
		if !busy {
			a.emit(TokensChanged, d, 0)
		}
	}
	if reached(d.LogoutDue) {
		a.logOut(d, d.LogoutDue)
	}
	// A device that nothing keeps is removed before Apply ends; until then it
	// must not be due again.
	if len(d.Bindings) == 0 && !a.now.Before(d.LastSeen.Add(a.rules.DeviceTTL)) {
		a.due.set(d.Ref(), time.Time{})
	}
}
