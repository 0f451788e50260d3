package bridge_test

import (
	"testing"

	"wakebridge/bridge"
)

func TestLivePhoneAnswers(t *testing.T) {
	for _, by := range []string{"caller", "callee"} {
		t.Run("BYE by "+by, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
				phone.register(alice)
				a := pbx.call("alice")
				b := phone.invited(0)
				b.ring()
				a.expect("180")
				b.pickUp()
				a.expect("180, 200")
				b.expect("ACK")
				w.pass(10e9)
				if by == "caller" {
					a.hangUp()
					b.expect("ACK, BYE")
				} else {
					b.hangUp()
					a.expect("180, 200, BYE")
				}
				r := w.record()
				if r.Result != bridge.Answered || r.Status != 200 || r.HangupBy != by || r.Ended.Sub(r.Answered) != 10e9 {
					t.Errorf("record: %+v", r)
				}
				if len(w.waker.pushes()) > 0 {
					t.Error("a live phone was pushed")
				}
			})
		})
	}
}
