package bridge

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/header"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/location"
)

// How long after a push ran out its device is still told by an INVITE, and how
// long that INVITE may live.
const (
	tellUntilAfter = 30 * time.Second
	tellWithin     = 40 * time.Second
)

// quietOffer is the offer of an INVITE that only tells a device that its call is
// over: it is cancelled before anybody could answer it with media.
const quietOffer = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=audio 9 RTP/AVP 0 8\r\na=inactive\r\n"

// Late tells a device that registered too late, and does not read X-Call-Ended (or whose
// answer left without it), what became of its calls: an INVITE with the Call-ID that the
// push named, and a CANCEL with the Reason as soon as it arrived. It returns at once, with
// those fates that the answer to the REGISTER must tell instead: all of a device in another call,
// and those of which an app shows nothing any more.
func (b *Bridge) Late(d location.Device, fates []location.Fate) (rest []location.Fate) {
	binding, ok := d.Flow()
	if !ok || b.InCall(d.AOR, d.Key) {
		return fates
	}
	for _, f := range fates {
		if time.Now().After(f.ExpiresAt.Add(tellUntilAfter)) {
			rest = append(rest, f)
			continue
		}
		if !b.tell(d, binding, f) {
			return fates
		}
	}
	return rest
}

// tell starts to tell a device a fate by INVITE; false once the bridge is closed.
func (b *Bridge) tell(d location.Device, binding location.Binding, f location.Fate) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.wg.Add(1)
	go func() { // awaited by Close
		defer b.wg.Done()
		defer b.contain("telling a late device", deviceRef{d.AOR, d.Key})
		b.tellLate(d, binding, f)
	}()
	return true
}

// tellLate owns the one leg that tells a fate.
func (b *Bridge) tellLate(d location.Device, binding location.Binding, f location.Fate) {
	flow := b.cfg.Endpoint().Flow(sipua.FlowID(binding.Flow))
	if flow == nil {
		return
	}
	t := &try{}
	if !t.bind(binding) {
		return
	}
	box := newMailbox()
	defer box.close()
	over := false
	reason := fmt.Sprintf("SIP;cause=%d;text=%s", f.Cause, header.Quote(f.Text))
	var l *leg.Leg
	l = leg.NewUAC(leg.Config{
		Endpoint: b.cfg.Endpoint(), Post: box.post, Log: b.log.With("device", d.Key, "fate", f.UUID),
		Emit: func(_ *leg.Leg, ev leg.Event) {
			switch ev := ev.(type) {
			case leg.Answered:
				if !ev.AfterCancel {
					logLate(b, l.Bye(reason))
				}
			case leg.Ended:
				over = true
			}
		},
	}, leg.Invite{
		Flow: flow, RequestURI: t.contact, Route: t.path, CallID: f.UUID + "@" + b.cfg.Terms.Node,
		From: leg.Address{URI: sip.Uri{Scheme: "sip", User: "anonymous", Host: "anonymous.invalid"}},
		To:   leg.Address{URI: *d.AOR.URI()}, Body: []byte(quietOffer),
		Headers: []sip.Header{sip.NewHeader(header.NameCallUUID, f.UUID)},
	})
	logLate(b, l.Cancel(reason)) // the leg holds it until a 1xx came
	giveUp := time.NewTimer(tellWithin)
	defer giveUp.Stop()
	for !over {
		select {
		case <-box.signal:
			for _, fn := range box.take() {
				fn()
			}
		case <-giveUp.C:
			l.Drop()
			return
		case <-b.quit:
			l.Drop()
			return
		}
	}
}

// overtaken tells a device its fates that registered in the moment in which they were
// left: if the answer to its REGISTER was faster, it is told by INVITE, whether or not it
// reads the header. shown is the UUID of a call that it has on its screen, "" for none: of
// that it is told even in another call, because no other one appears for it.
func (b *Bridge) overtaken(d location.Device, shown string) {
	binding, ok := d.Flow()
	if !ok || b.flowOf(d) == nil {
		return
	}
	ref := deviceRef{d.AOR, d.Key}
	b.expecting(func() {
		defer b.contain("telling a device that was fast", ref)
		soon := time.NewTimer(settlesIn) // the answer has left by then, with them or without
		defer soon.Stop()
		select {
		case <-soon.C:
		case <-b.quit:
			return
		}
		var rest []location.Fate
		for _, f := range b.cfg.Fates.Take(d.Ref(), binding.Flow) {
			if f.UUID != shown || !b.tell(d, binding, f) {
				rest = append(rest, f)
			}
		}
		b.Late(d, rest) // what is left comes with a REGISTER over another flow
	})
}

// contain keeps a panic to what was done for one device.
func (b *Bridge) contain(what string, ref deviceRef) {
	if p := recover(); p != nil {
		b.metrics.panics.Inc()
		b.log.Error("panic", "while", what, "device", ref.key, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	}
}

func logLate(b *Bridge, err error) {
	if err != nil {
		b.log.Debug("tell a late device", "error", err)
	}
}
