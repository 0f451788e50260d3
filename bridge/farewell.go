package bridge

import (
	"time"

	"wakebridge/sipua"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/location"
)

const (
	// answersSoon is how long a device takes at most for its 200 to a BYE or 487 to a
	// CANCEL, if it heard it.
	answersSoon = time.Second
	// settlesIn is how long a device that comes back may need to make its new connection
	// the one of its call, once it has the 200 to its REGISTER: a BYE right behind that
	// would come from a stranger (481).
	settlesIn = 500 * time.Millisecond
	// takesBack is how long the answer to a CANCEL may take (RFC 3261 s9.1: 64*T1).
	takesBack = 32 * time.Second
	// saysGoodbye bounds how long a device that did not hear its BYE may stay away.
	saysGoodbye = fatesLive
	// wordsLive is how long the fate is kept that tells such a device instead, when it
	// registers: it has the call on its screen until then.
	wordsLive = 24 * time.Hour
)

// seeOff sees to it that a device hears the BYE with which its leg ended: a phone
// between two connections would keep the call on its screen. It returns at once; the
// call does not wait for it. A leg without a BYE of ours needs nobody. uuid is that of
// the call on the device, "" for a call that it made; word is the fate that it has already,
// of a CANCEL that met its 200, and seeOff's from now on.
func (b *Bridge) seeOff(ref deviceRef, l *leg.Leg, uuid string, word *location.Fate) {
	if l == nil || l.Heard() == nil || ref.key == "" {
		return
	}
	if !b.expecting(func() {
		defer b.contain("seeing a device off", ref)
		switch {
		case !b.farewell(ref, l, uuid):
			b.leaveWord(ref, uuid, wordsLive)
		case word != nil:
			word.Told = true
			b.cfg.Fates.Put(*word)
		}
	}) {
		b.leaveWord(ref, uuid, wordsLive)
	}
}

// hearOutLeg waits for the answer to a CANCEL which the call did not wait for: it takes
// back the device's word, if it has one, and a 2xx that met the CANCEL is seen off.
func (b *Bridge) hearOutLeg(ref deviceRef, l *leg.Leg, uuid string, word *location.Fate) {
	var told *location.Fate
	if word != nil {
		copied := *word
		copied.Told, copied.KeepUntil = true, time.Now().Add(fatesLive)
		told = &copied
	}
	b.expecting(func() {
		defer b.contain("hearing a device out", ref)
		late := time.NewTimer(takesBack)
		defer late.Stop()
		select {
		case <-l.Taken():
		case <-late.C:
			return
		case <-b.quit:
			return
		}
		switch {
		case l.Heard() != nil:
			b.seeOff(ref, l, uuid, told)
		case told != nil:
			b.cfg.Fates.Put(*told)
		}
	})
}

// expecting starts a goroutine of farewells, which Close awaits; false once nobody
// waits any more.
func (b *Bridge) expecting(run func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isClosing() {
		return false
	}
	b.farewells.Go(run)
	return true
}

func (b *Bridge) isClosing() bool {
	select {
	case <-b.quit:
		return true
	default:
		return false
	}
}

// leaveWord leaves a fate for a device that did not hear its BYE: an app that was started
// anew, by a push that came late, knows nothing of the dialog, and neither does the
// server after a restart. It is for the answer to a REGISTER only, because an INVITE
// would ring.
func (b *Bridge) leaveWord(ref deviceRef, uuid string, keep time.Duration) {
	if uuid == "" {
		return
	}
	now := time.Now()
	b.cfg.Fates.Put(location.Fate{
		AOR: ref.aor, DeviceKey: ref.key, UUID: uuid, Cause: 480, Text: "Call ended",
		ExpiresAt: now.Add(-tellUntilAfter), Recorded: now, KeepUntil: now.Add(keep),
	})
}

// farewell repeats a BYE over each flow that the device comes on, twice each time that
// it does, until it is answered or nobody expects the device any more; over the flow
// that it has now, too. What its app does not hear in time, the answers to its REGISTERs
// tell as well. It returns false if the device never heard it.
func (b *Bridge) farewell(ref deviceRef, l *leg.Leg, uuid string) bool {
	soon := time.NewTimer(answersSoon)
	defer soon.Stop()
	select {
	case <-l.Heard():
		return true
	case <-b.quit: // once more, where the device is now: what is sent now still leaves
	case <-soon.C:
	case <-l.Flow().Done():
	}
	soon.Stop()
	b.leaveWord(ref, uuid, saysGoodbye)
	box := newMailbox()
	defer box.close()
	p := &parting{b: b, ref: ref, leg: l, soon: soon}
	devices, stop := b.cfg.Locator.Watch(ref.aor, func(ch location.Change) {
		if ch.Kind == location.Registered {
			box.post(func() { p.seen(ch.Device) })
		}
	})
	defer stop()
	p.now(devices)
	over := time.NewTimer(saysGoodbye)
	defer over.Stop()
	for {
		select {
		case <-l.Heard():
			return true
		case <-b.quit:
			return false
		case <-over.C:
			b.log.Info("a device never heard the BYE of its call", "device", ref.key, "call_id", l.CallID())
			return false
		case <-soon.C:
			p.again()
		case <-box.signal:
			for _, fn := range box.take() {
				fn()
			}
		}
	}
}

// parting is a BYE that its device did not hear. It belongs to one goroutine.
type parting struct {
	b    *Bridge
	ref  deviceRef
	leg  *leg.Leg
	soon *time.Timer     // when the BYE is said again
	back location.Device // as it was seen last
	told *sipua.Flow     // the last one that had the BYE
}

// seen notes where the device is, to which the BYE goes in a moment.
func (p *parting) seen(d location.Device) {
	if d.Key == p.ref.key && p.b.flowOf(d) != nil {
		p.back = d
		p.soon.Reset(settlesIn)
	}
}

// now looks where the device is: it came back meanwhile, or is as it was and did not
// understand, or it registered over two connections and has the call on the first.
func (p *parting) now(devices []location.Device) {
	if old := p.leg.Left(); old != nil && !old.Gone() {
		p.leg.ByeAgain(old)
	}
	for _, d := range devices {
		p.seen(d)
	}
	if f := p.b.flowOf(p.back); p.b.isClosing() && f != nil && f != p.leg.Flow() {
		p.leg.ByeAgain(f)
	}
}

// again says the BYE where the device was seen last, twice: its first 481 does not count.
func (p *parting) again() {
	f := p.b.flowOf(p.back)
	if f == nil {
		return
	}
	p.b.log.Info("a BYE without answer is repeated", "device", p.ref.key, "call_id", p.leg.CallID(), "flow", f)
	p.leg.ByeAgain(f)
	if f != p.told {
		p.told = f
		p.soon.Reset(answersSoon)
	}
}

// located is a device as it is now; without a key if it is not known any more.
func (b *Bridge) located(d location.Device) location.Device {
	devices, stop := b.cfg.Locator.Watch(d.AOR, func(location.Change) {})
	stop()
	for _, now := range devices {
		if now.Key == d.Key {
			return now
		}
	}
	return location.Device{}
}

// flowOf is the flow over which a device is reached, nil if there is none.
func (b *Bridge) flowOf(d location.Device) *sipua.Flow {
	binding, ok := d.Flow()
	if !ok {
		return nil
	}
	return b.cfg.Endpoint().Flow(sipua.FlowID(binding.Flow))
}
