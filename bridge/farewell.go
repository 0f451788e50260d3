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
	var back location.Device
	var told *sipua.Flow // the last one that had the BYE
	again := func(d location.Device) {
		if d.Key == ref.key && b.flowOf(d) != nil {
			back = d
			soon.Reset(settlesIn)
		}
	}
	devices, stop := b.cfg.Locator.Watch(ref.aor, func(ch location.Change) {
		if ch.Kind == location.Registered {
			box.post(func() { again(ch.Device) })
		}
	})
	defer stop()
	if old := l.Left(); old != nil && !isOver(old) {
		l.ByeAgain(old) // it registered over two connections, and has the call on the first
	}
	for _, d := range devices { // it came back meanwhile, or is as it was and did not understand
		again(d)
	}
	if f := b.flowOf(back); b.isClosing() && f != nil && f != l.Flow() {
		l.ByeAgain(f)
	}
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
			if f := b.flowOf(back); f != nil {
				b.log.Info("a BYE without answer is repeated", "device", ref.key, "call_id", l.CallID(), "flow", f)
				l.ByeAgain(f)
				if f != told { // its 481 counts the second time
					told = f
					soon.Reset(answersSoon)
				}
			}
		case <-box.signal:
			for _, fn := range box.take() {
				fn()
			}
		}
	}
}

// flowOf is the flow over which a device is reached, nil if there is none.
func (b *Bridge) flowOf(d location.Device) *sipua.Flow {
	binding, ok := d.Flow()
	if !ok {
		return nil
	}
	return b.cfg.Endpoint().Flow(sipua.FlowID(binding.Flow))
}

func isOver(f *sipua.Flow) bool {
	select {
	case <-f.Done():
		return true
	default:
		return false
	}
}
