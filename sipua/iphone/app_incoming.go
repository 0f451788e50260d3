package iphone

import (
	"errors"
	"time"

	"github.com/google/uuid"
)

// The first flow: a call comes in, by a push or by its INVITE, and is reported to
// CallKit.

// didReceiveIncomingPush implements delegate. The report comes first: no network
// is touched before it, for iOS kills the app that returns from here without one.
func (a *app) didReceiveIncomingPush(p Push, _ *pushMetadata) {
	push, err := readPush(p.Payload)
	if err != nil {
		a.process.device.violate(RulePayload, uuid.Nil, err.Error())
		a.reportGarbage()
		return
	}
	if a.incoming(incomingCall{callPush: push, pushed: true}) {
		a.connect()
	}
}

// reportGarbage shows a call that is none, because something has to be shown.
func (a *app) reportGarbage() {
	id := uuid.New()
	if err := a.provider.reportNewIncomingCall(id, callUpdate{}); err == nil {
		a.provider.reportCallEnded(id, Failed)
	}
}

// incomingCall is what a push or an INVITE says of a call.
type incomingCall struct {
	callPush
	pushed bool
}

// incoming reports a call and enters it into the dictionary; live is false if it is
// over already, which is told right behind the report.
func (a *app) incoming(i incomingCall) (live bool) {
	err := a.provider.reportNewIncomingCall(i.uuid, callUpdate{name: i.name, handle: i.handle})
	if errors.Is(err, errAlreadyExists) {
		// The INVITE was faster, or the push came twice: all is well.
		if c := a.dictionary[i.uuid]; c != nil && c.callID == "" {
			c.callID = i.callID
		}
		return true
	}
	if reason, over := a.storage.over(i.uuid); over {
		a.provider.reportCallEnded(i.uuid, reason)
		return false
	}
	if !i.expires.IsZero() && !time.Now().Before(i.expires) {
		a.storage.remember(i.uuid, Unanswered)
		a.process.post(func() { a.provider.reportCallEnded(i.uuid, Unanswered) })
		return false
	}
	c := &call{uuid: i.uuid, callID: i.callID, pushed: i.pushed}
	if reason := filteredBy(err); reason != "" { // not shown; the caller is told when the INVITE is here
		a.storage.remember(i.uuid, reason)
		c.refusal = refusalOf(reason)
	}
	a.dictionary[i.uuid] = c
	// Without a registration there is nobody to say that the call is over.
	last := time.Until(i.expires)
	if i.expires.IsZero() {
		last = time.Minute
	}
	c.wait.start(a.process, last+a.process.device.cfg.Timing.Invite, func() { a.finish(c, Unanswered) })
	return true
}

// filteredBy is why CallKit did not show a reported call, "" if it did.
func filteredBy(err error) Reason {
	switch {
	case errors.Is(err, errUnentitled):
		return ByEntitlement
	case errors.Is(err, errFilteredByDoNotDisturb):
		return ByDoNotDisturb
	case errors.Is(err, errFilteredByBlockList):
		return ByBlockList
	}
	return ""
}

// refusalOf is the status with which the app refuses the INVITE of a call that is
// over for it, or that the user was not shown: temporarily unavailable is what RFC
// 3261 s21.4.18 has for do-not-disturb, and a blocked caller hears busy.
func refusalOf(reason Reason) int {
	switch reason {
	case ByDecline, ByUser, RingLimit:
		return 603
	case ByBlockList:
		return 486
	}
	return 480
}

// stopper is a timer that may be started anew.
type stopper struct{ timer *time.Timer }

func (s *stopper) start(p *process, d time.Duration, f func()) {
	s.stop()
	var t *time.Timer
	t = p.after(d, func() {
		if s.timer == t {
			s.timer = nil
			f()
		}
	})
	s.timer = t
}

func (s *stopper) stop() {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}
