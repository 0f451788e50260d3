package bridge_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	payloads "wakebridge/push"
	"wakebridge/sipua/header"
	"wakebridge/sipua/leg"
)

// A name is on the call screen by the push, and again by the INVITE: the same, and
// nothing in it turns the text around.
func TestNamesOfPushAndInviteAreAlike(t *testing.T) {
	for name, want := range map[string]string{
		"gpj.\u202etxt\u202c":         "gpj.txt",
		"\u2067Bank\u2069 \u200fA":    "Bank A",
		"\ufeffAnna":                  "Anna",
		`Zoë \"Z\" \\ O'Neil`:         `Zoë "Z" \ O'Neil`, // a quoted-string
		"👨\u200d👩\u200d👧 ❤\ufe0f":     "👨\u200d👩\u200d👧 ❤\ufe0f",
		"\u05e9\u05dc\u05d5\u05dd 12": "\u05e9\u05dc\u05d5\u05dd 12",
	} {
		inWorld(t, func(o *options) { o.peer.TrustIdentity = true }, func(w *world) {
			phone := w.sleeper("va")
			a := w.ua("100", pbxHost).call("alice", func(inv *leg.Invite) {
				inv.Headers = append(inv.Headers, sip.NewHeader("P-Asserted-Identity", `"`+name+`" <sip:+4930123@carrier.example>`))
			})
			w.pass(time.Second)
			pushed := w.waker.pushes()[0].Name
			b, err := payloads.Payload(payloads.Notification{Kind: payloads.VoIP, UUID: w.waker.pushes()[0].UUID, Name: pushed}, nil)
			if err != nil {
				t.Fatal(err)
			}
			var payload struct{ Name string }
			if err := json.Unmarshal(b, &payload); err != nil {
				t.Fatal(err)
			}
			phone.register(alice)
			invited := phone.invited(0).invite.From().DisplayName // between quotes, as it is written
			if pushed != want || payload.Name != want || header.UnescapeDisplay(invited) != want || invited != header.EscapeDisplay(want) {
				t.Errorf("%+q: pushed %+q, payload %+q, INVITE %+q, want %+q", name, pushed, payload.Name, invited, want)
			}
			a.giveUp()
		})
	}
}
