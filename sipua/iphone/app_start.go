package iphone

import (
	"fmt"
	"strings"

	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"

	"wakebridge/sipua/softphone"
)

// The user calls somebody, by the pattern of the other flows: a transaction is
// requested, its action starts the call, and CallKit is told when it is answered.

// dialTapped implements delegate.
func (a *app) dialTapped(number string) {
	if err := a.controller.request(transaction{kind: startCall, uuid: uuid.New(), text: number}); err != nil {
		a.tell(Event{Kind: ActionFailed, Text: err.Error()})
	}
}

// performStart implements delegate: it calls, once the app is registered.
func (a *app) performStart(act *action) {
	c := &call{uuid: act.uuid, number: act.text, answer: act}
	a.dictionary[c.uuid] = c
	if a.line.registered {
		a.place(c)
		return
	}
	c.wait.start(a.process, a.process.device.cfg.Timing.Invite, func() { a.finish(c, Failed) })
	if !a.line.connecting {
		a.connect()
	}
}

// place sends the INVITE, and fulfils the action that asked for it.
func (a *app) place(c *call) {
	if c.leg != nil {
		return
	}
	c.wait.stop()
	target, err := a.target(c.number)
	var leg *softphone.Call
	if err == nil {
		leg, err = a.phone.Call(softphone.Outgoing{Target: target, Flow: a.line.flow})
	}
	if err != nil {
		a.process.device.log.Info("call", "error", err)
		a.finish(c, Failed)
		return
	}
	c.leg = leg
	a.process.device.hear(c.uuid, leg)
	act := c.answer
	c.answer = nil
	if act != nil {
		act.fulfil()
	}
}

// target is the URI of a number, or of a SIP URI that the user dialled.
func (a *app) target(number string) (sip.Uri, error) {
	var uri sip.Uri
	text := number
	if !strings.HasPrefix(number, "sip:") && !strings.HasPrefix(number, "sips:") {
		text = "sip:" + number
		if !strings.Contains(number, "@") {
			text += "@" + a.process.device.cfg.Account.AOR.Domain
		}
	}
	if err := sip.ParseUri(text, &uri); err != nil {
		return sip.Uri{}, fmt.Errorf("call %q: %w", number, err)
	}
	return uri, nil
}
