package iphone_test

import (
	"fmt"
	"strings"
	"testing"

	"wakebridge/sipua/iphone"
	"wakebridge/sipua/softphone"
)

func foreign(c *iphone.Config) { c.Foreign, c.App.Provider = true, "apns.dev" }

// flexisipPush is the payload that Flexisip makes of a call: with the device's instance
// as its "uuid", and no UUID of the call.
func flexisipPush(callID string) []byte {
	return fmt.Appendf(nil, `{"aps":{"sound":"","loc-key":"IC_MSG","loc-args":[""],"call-id":"%s","uuid":"0f8fad5b-d9cb-469f-a165-70867728950e","send-time":"2026-01-01 10:00:00"},`+
		`"from-uri":"","display-name":"","pn_ttl":90,"customPayload":{}}`, callID)
}

// inviteAs sends the INVITE of a call that only its Call-ID names.
func (w *world) inviteAs(callID string) *softphone.Call {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	c, err := w.server.Call(softphone.Outgoing{Target: w.contact.Address, Flow: w.flow, CallID: callID})
	w.must(err)
	return c
}

// A server that is not Wakebridge tells nobody what became of a call: that is no fault of
// its, and ends the call as it does with us.
func TestForeignServerOwesNoFate(t *testing.T) {
	inWorld(t, foreign, func(t *testing.T, w *world) {
		after := w.asleep()
		w.pushBytes("voip", flexisipPush("one@caller"))
		contact := w.registered().Contact().Value()
		if strings.Contains(contact, "x-wake-fate") || !strings.Contains(contact, "pn-provider=apns.dev;") {
			t.Errorf("the app announces %s", contact)
		}
		w.see(after, iphone.Suspended)
		w.tells(after, "push received", "app resumed", "call reported", "registering", "registered", "call ended(unanswered)", "app suspended")
		w.clean()
	})
}

// Calls that only their Call-ID names are kept apart, though the payload's uuid is the
// same, and are one call each, whether push or INVITE is first.
func TestForeignCallsAreKnownByTheirCallID(t *testing.T) {
	inWorld(t, func(c *iphone.Config) { foreign(c); c.User = iphone.AnswerAfter(0) }, func(t *testing.T, w *world) {
		w.asleep()
		for _, callID := range []string{"one@caller", "two@caller"} {
			after := w.seq()
			w.pushBytes("voip", flexisipPush(callID))
			w.registered()
			c := w.inviteAs(callID)
			w.answered(c)
			w.see(after, iphone.Fulfilled)
			w.must(c.Hangup())
			w.see(after, iphone.Ended)
		}
		after := w.seq()
		c := w.inviteAs("three@caller") // over the connection, which lives
		w.see(after, iphone.Reported)
		w.pushBytes("voip", flexisipPush("three@caller"))
		w.answered(c)
		w.registered()
		w.see(after, iphone.Fulfilled)
		w.must(c.Hangup())
		w.see(after, iphone.Suspended)
		if n := strings.Count(w.story(after), "call reported"); n != 1 {
			t.Errorf("%d calls on the screen: %s", n, w.story(after))
		}
		w.clean()
	})
}
