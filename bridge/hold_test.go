package bridge_test

import (
	"strings"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/sipua/leg"
)

// A call on hold may be silent on both legs for as long as media.timeout.hold says,
// however the hold is spelled and whoever asked for it: not every phone plays music.
func TestHoldIsNotSilence(t *testing.T) {
	spellings := map[string]func(*ua) (offer []byte, answer string){
		"sendonly": func(u *ua) ([]byte, string) { return u.sdp("a=sendonly"), "recvonly" },
		"inactive": func(u *ua) ([]byte, string) { return u.sdp("a=inactive"), "inactive" },
		"c=0.0.0.0": func(u *ua) ([]byte, string) {
			return []byte(strings.ReplaceAll(string(u.sdp()), "c=IN IP4 "+u.host.String(), "c=IN IP4 0.0.0.0")), "sendrecv"
		},
	}
	for name, spelling := range spellings {
		for _, callee := range []bool{false, true} {
			who := map[bool]string{false: "caller", true: "callee"}[callee]
			t.Run(name+" by the "+who, func(t *testing.T) {
				inWorld(t, nil, func(w *world) {
					pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
					phone.register(alice)
					a := pbx.call("alice")
					b := phone.invited(0)
					b.pickUp()
					w.speak(pbx, phone)
					from, to := a, b
					if callee {
						from, to = b, a
					}
					exchange := func(offer []byte, answer string) {
						t.Helper()
						from.must(func() error { return from.Reinvite(offer) })
						to.must(func() error { return to.AnswerOffer(to.u.sdp("a=" + answer)) })
						if got := last[leg.OfferAnswered](from); got.Status != 200 {
							t.Fatalf("%d", got.Status)
						}
					}
					exchange(spelling(from.u))
					w.pass(29 * time.Minute)
					if n := w.bridge.Active(); n != 1 {
						t.Fatal("the call was ended while it was on hold")
					}
					exchange(from.u.sdp("a=sendrecv"), "sendrecv")
					w.pass(59 * time.Second)
					if n := w.bridge.Active(); n != 1 {
						t.Fatal("the time-out after the hold is too short")
					}
					w.pass(2 * time.Second)
					r := w.record()
					if r.HangupBy != "server" || !strings.Contains(r.Reason, "sent no media for 1m0s") {
						t.Errorf("record: %s, %s", r.HangupBy, r.Reason)
					}
				})
			})
		}
	}
	for name, hold := range map[string]time.Duration{"for ever is too long": 30 * time.Minute, "unless it is not": 0} {
		t.Run(name, func(t *testing.T) { holdsForLong(t, hold) })
	}
}

// holdsForLong has a call on hold without a packet: nothing but a session refresh keeps it
// beyond the time-out.
func holdsForLong(t *testing.T, hold time.Duration) {
	inWorld(t, func(o *options) { o.media.Timeouts.Hold = hold }, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		b.pickUp()
		a.must(func() error { return a.Reinvite(pbx.sdp("a=sendonly")) })
		b.must(func() error { return b.AnswerOffer(phone.sdp("a=recvonly")) })
		w.pass(29 * time.Minute)
		a.must(func() error { return a.Reinvite(pbx.sdp("a=sendonly")) })
		b.must(func() error { return b.AnswerOffer(phone.sdp("a=recvonly")) })
		w.pass(29 * time.Minute)
		if n := w.bridge.Active(); n != 1 {
			t.Fatal("the call was ended in spite of a session refresh")
		}
		w.pass(time.Minute + time.Second)
		if hold == 0 {
			w.pass(2 * time.Hour)
			a.hangUp()
			return
		}
		if r := w.record(); !strings.Contains(r.Reason, "sent no media for 30m0s") {
			t.Errorf("record: %s", r.Reason)
		}
	})
}

// Who plays music into a hold is heard, and the other one still need not send.
func TestMusicOnHold(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		b.pickUp()
		w.speak(pbx, phone)
		a.must(func() error { return a.Reinvite(pbx.sdp("a=sendonly")) })
		b.must(func() error { return b.AnswerOffer(phone.sdp("a=recvonly")) })
		for i := range 40 {
			w.pass(10 * time.Second)
			if _, music := w.speak(pbx, phone); music != 1 {
				t.Fatalf("after %d s of hold %d packets of music arrived", 10*(i+1), music)
			}
		}
		a.hangUp()
		if r := w.record(); r.Result != bridge.Answered || r.HangupBy == "server" || len(r.Audio) != 0 {
			t.Errorf("record: %s %s %q", r.Result, r.HangupBy, r.Audio)
		}
	})
}

// CallKit may start audio late: silence counts from 30 s after the answer only.
func TestAllowanceBeforeTheFirstPacket(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		pbx.call("alice")
		phone.invited(0).pickUp()
		w.pass(89 * time.Second)
		if w.bridge.Active() != 1 {
			t.Fatal("the call was ended within the allowance")
		}
		w.pass(2 * time.Second)
		if r := w.record(); !strings.Contains(r.Reason, "sent no media for 1m30s") || len(r.Audio) != 1 || r.Audio[0] != "nobody sent anything" {
			t.Errorf("record: %s, %q", r.Reason, r.Audio)
		}
	})
}
