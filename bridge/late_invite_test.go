package bridge_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/bridge/sdes"
	"wakebridge/bridge/sdp"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/memnet"
)

// noOffer makes an INVITE without SDP.
func noOffer(inv *leg.Invite) { inv.Body = nil }

// answersLate gives the caller's ACK an answer to the offer in the 200, and is that offer.
func (d *dialog) answersLate(answer []byte) *sdp.Description {
	d.u.w.t.Helper()
	body := last[leg.Answered](d).Body
	if len(body) == 0 {
		d.u.w.t.Fatal("the 200 has no offer")
	}
	d.acks(answer)
	return parsed(d.u.w, body)
}

// An INVITE without an offer to a phone that sleeps or not, from a PBX or a user, and to
// a trunk; with a ringback tone or without: the callee gets an ordinary INVITE, its
// answer is the offer in the caller's 200, and sound passes once the ACK has answered.
func TestInviteWithoutOffer(t *testing.T) {
	pbxCalls := func(prepare func(w *world, phone *ua)) func(w *world) (*dialog, *dialog) {
		return func(w *world) (a, b *dialog) {
			pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
			phone.register(alice)
			if prepare != nil {
				phone.sleep()
			}
			a = pbx.call("alice", noOffer)
			if prepare != nil {
				prepare(w, phone)
			}
			return a, phone.invited(0)
		}
	}
	wakes := func(w *world, phone *ua) {
		if n := len(w.pushed(1)); n != 1 {
			w.t.Errorf("%d pushes", n)
		}
		w.pass(time.Second)
		phone.register(alice)
	}
	for name, tt := range map[string]struct {
		change func(*options)
		call   func(w *world) (a, b *dialog)
	}{
		"awake":         {nil, pbxCalls(nil)},
		"asleep":        {nil, pbxCalls(wakes)},
		"with ringback": {toned, pbxCalls(wakes)},
		"to a trunk": {nil, func(w *world) (a, b *dialog) {
			pbx, phone := w.ua("100", pbxHost), w.ua("bob", bobHost)
			a = phone.call("900", noOffer)
			return a, pbx.invited(0)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, tt.change, func(w *world) {
				a, b := tt.call(w)
				if s := parsed(w, b.invite.Body()).Streams(); len(s) != 1 || strings.Join(s[0].Formats, " ") != "8 0 101" || !s[0].Active() {
					t.Errorf("the callee was offered\n%s", b.invite.Body())
				}
				b.must(func() error { return b.Progress(183, b.u.sdp()) }) // no offer goes to the caller in it
				b.pickUp()
				told := a.told()
				if strings.Contains(told, "sdp") || !strings.Contains(told, "180") || !strings.HasSuffix(told, "200") {
					t.Errorf("the caller was told %s", told)
				}
				w.pass(3 * time.Second) // the 200 is repeated
				if s := a.answersLate(a.u.sdp()).Streams(); len(s) != 1 || strings.Join(s[0].Formats, " ") != "0 8" || s[0].Addr != serverHost {
					t.Errorf("the caller was offered %+v", s)
				}
				w.heardBoth("after the ACK", a.u, b.u)
				b.expect("ACK")
				a.asks()
				a.acks(a.u.sdp())
				w.heardBoth("after a refresh", a.u, b.u)
				a.hangUp()
				if r := w.record(); r.Result != bridge.Answered || len(r.Media) != 2 || r.Media[0].Streams[0].RTP.Packets != 2 {
					t.Errorf("record: %s %+v", r.Result, r.Media)
				}
			})
		})
	}
}

// Of two phones only the one that answers has its answer offered to the caller.
func TestInviteWithoutOfferToTwoPhones(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, one, two := w.ua("100", pbxHost), w.ua("va", phoneHost), w.ua("vb", phone2Host)
		one.register(alice)
		two.register(alice)
		a := pbx.call("alice", noOffer)
		lost, won := one.invited(0), two.invited(0)
		lost.ring()
		won.must(func() error { return won.Answer([]byte(strings.ReplaceAll(string(two.sdp()), "AVP 0 8", "AVP 0"))) })
		lost.expect(`CANCEL SIP;cause=200;text="Call completed elsewhere"`)
		if f := a.answersLate([]byte(strings.ReplaceAll(string(pbx.sdp()), "AVP 0 8", "AVP 0"))).Streams()[0].Formats; strings.Join(f, " ") != "0 8" {
			t.Errorf("offered %v", f)
		}
		won.expect("ACK")
		w.heardBoth("with the second phone", pbx, two)
		a.hangUp()
	})
}

// A caller without an offer takes its INVITE back, before and in the moment of the answer.
func TestInviteWithoutOfferIsCancelled(t *testing.T) {
	for name, delay := range map[string]time.Duration{"ringing": 0, "crossing": 100 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
				phone.register(alice)
				a := pbx.call("alice", noOffer)
				b := phone.invited(0)
				b.ring()
				w.net.ImpairBoth(pbxHost, serverHost, memnet.Impairment{Delay: delay})
				if delay > 0 {
					b.pickUp()
				}
				a.giveUp()
				w.pass(2 * time.Second)
				told, want := b.told(), "CANCEL"
				if delay > 0 {
					want = "ACK, BYE" // the caller's ACK has no answer
				}
				if !strings.HasPrefix(told, want) {
					t.Errorf("the phone was told %s", told)
				}
			})
		})
	}
}

// Without an answer that can be used in its ACK, or without an ACK, there is no call.
func TestNoAnswerToTheOfferInThe200(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(u *ua) []byte
		reason string
	}{
		"empty":     {func(*ua) []byte { return nil }, "no answer"},
		"nonsense":  {func(*ua) []byte { return []byte("nonsense") }, "malformed"},
		"codec":     {func(u *ua) []byte { return []byte(strings.ReplaceAll(string(u.sdp()), "AVP 0 8", "AVP 18")) }, "not offered"},
		"no stream": {func(u *ua) []byte { return []byte(strings.ReplaceAll(string(u.sdp()), "m=audio 40000", "m=audio 0")) }, "accepts no stream"},
		"no ACK":    {nil, "no ACK"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
				phone.register(alice)
				a := pbx.call("alice", noOffer)
				b := phone.invited(0)
				b.pickUp()
				want := "200, BYE SIP;cause=488;text=\"No usable answer in the ACK\""
				if tt.answer != nil {
					a.answersLate(tt.answer(pbx))
				} else {
					w.pass(33 * time.Second)
					a.must(func() error { a.Drop(); return nil })
					want = "200"
				}
				if told := strings.TrimPrefix(a.told(), "180, "); tt.answer != nil && told != want {
					t.Errorf("the caller was told %s", told)
				}
				if told := b.told(); !strings.HasPrefix(told, "ACK, BYE") {
					t.Errorf("the phone was told %s", told)
				}
				if r := w.record(); r.Result != bridge.Failed || !strings.Contains(r.Reason, tt.reason) {
					t.Errorf("record: %s, %s", r.Result, r.Reason)
				}
			})
		})
	}
}

// The phone hangs up, or holds, before the ACK has come.
func TestPhoneActsBeforeTheAck(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice", noOffer)
		b := phone.invited(0)
		b.pickUp()
		b.hangUp()
		a.answersLate(pbx.sdp())
		if told := a.told(); !strings.HasSuffix(told, "200, BYE") {
			t.Errorf("the caller was told %s", told)
		}
	})
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice", noOffer)
		b := phone.invited(0)
		b.pickUp()
		b.must(func() error { return b.Reinvite(phone.sdp("a=sendonly")) })
		w.pass(time.Second)
		a.answersLate(pbx.sdp())
		w.pass(5 * time.Second)
		if o := a.offers(); len(o) != 1 || direction(parsed(w, []byte(o[0]))) != sdp.SendOnly {
			t.Fatalf("the PBX was offered %q", o)
		}
		a.must(func() error { return a.AnswerOffer(pbx.sdp("a=recvonly")) })
		if got := last[leg.OfferAnswered](b); got.Status != 200 {
			t.Errorf("the phone's offer: %d", got.Status)
		}
		a.hangUp()
	})
}

// only is the ua's description with one codec alone.
func (u *ua) only(codec string) []byte {
	return []byte(strings.ReplaceAll(string(u.sdp()), "AVP 0 8", "AVP "+codec))
}

// A phone answers with one codec of two, and the caller has the other one: the phone is
// asked for that; if it has the first one only, the caller is.
func TestCallerHasAnotherCodec(t *testing.T) {
	for name, second := range map[string]string{"the phone has both": "0", "the phone has one": "8"} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
				phone.register(alice)
				a := pbx.call("alice", noOffer)
				b := phone.invited(0)
				b.must(func() error { return b.Answer(phone.only("8")) })
				says := pbx.only("0")
				if second == "8" {
					says = pbx.sdp() // 0 first
				}
				if f := a.answersLate(says).Streams()[0].Formats; strings.Join(f, " ") != "8 0" {
					t.Errorf("offered %v", f)
				}
				if o := b.offers(); len(o) != 1 || !strings.Contains(o[0], "RTP/AVP 0") {
					t.Fatalf("the phone was offered %q", o)
				}
				b.must(func() error { return b.AnswerOffer(phone.only(second)) })
				o := a.offers()
				if second == "8" {
					if len(o) != 1 || !strings.Contains(o[0], "RTP/AVP 8\r\n") {
						t.Fatalf("the PBX was offered %q", o)
					}
					a.must(func() error { return a.AnswerOffer(pbx.only("8")) })
				} else {
					if len(o) != 0 {
						t.Errorf("the PBX was offered %q", o)
					}
					w.heardBoth("in the other codec", pbx, phone)
				}
				a.hangUp()
			})
		})
	}
}

// What the caller's ACK narrows is told to the phone.
func TestAckNarrowsTheFirstSession(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice", noOffer)
		b := phone.invited(0)
		b.pickUp()
		a.answersLate([]byte(strings.ReplaceAll(string(pbx.sdp("a=sendonly")), "AVP 0 8", "AVP 0")))
		o := b.offers()
		if len(o) != 1 || !strings.Contains(o[0], "RTP/AVP 0\r\n") || direction(parsed(w, []byte(o[0]))) != sdp.SendOnly {
			t.Fatalf("the phone was offered %q", o)
		}
		b.must(func() error {
			return b.AnswerOffer([]byte(strings.ReplaceAll(string(phone.sdp("a=recvonly")), "AVP 0 8", "AVP 0")))
		})
		if _, n := w.speak(pbx, phone); n != 1 {
			t.Errorf("the phone heard %d packets", n)
		}
		a.hangUp()
	})
}

// SRTP as the policy wants it on each leg: an offerless caller that must have it gets
// keys in the 200, or no call at all where they may not be told.
func TestInviteWithoutOfferAndSRTP(t *testing.T) {
	const cm80 = "AES_CM_128_HMAC_SHA1_80"
	inWorld(t, secureTrunk, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
		phone.register(alice)
		a := pbx.call("alice", noOffer)
		b := phone.invited(0)
		if parsed(w, b.invite.Body()).Streams()[0].IsSecure() {
			t.Error("SRTP is offered to an app whose policy is off")
		}
		b.pickUp()
		body := string(last[leg.Answered](a).Body)
		ours := ""
		for line := range strings.Lines(body) {
			if strings.HasPrefix(line, "a=crypto:") && strings.Contains(line, cm80) {
				ours = strings.TrimSpace(line)
			}
		}
		if ours == "" || !strings.Contains(body, "RTP/SAVP") {
			t.Fatalf("the PBX was offered\n%s", body)
		}
		mine := strings.Replace(cryptoLine(1, cm80, 30, 1), ":1 ", strings.TrimPrefix(strings.Fields(ours)[0], "a=crypto")+" ", 1)
		a.acks(pbx.securing(mine))
		out, in := transform(t, mine, nil), transform(t, ours, nil)
		sealed, err := out.EncryptRTP(nil, numbered(1), nil)
		w.must(err)
		if heard := w.carries(pbx, phone, sealed); !bytes.Equal(heard, numbered(1)) {
			t.Errorf("the phone got %x", heard)
		}
		clear, err := in.DecryptRTP(nil, w.carries(phone, pbx, numbered(1)), nil)
		if err != nil || !bytes.Equal(clear, numbered(1)) {
			t.Errorf("the PBX got %x: %v", clear, err)
		}
		// A refresh goes on under the same keys.
		a.asks()
		a.acks(pbx.securing(mine))
		sealed, err = out.EncryptRTP(nil, numbered(2), nil)
		w.must(err)
		if heard := w.carries(pbx, phone, sealed); !bytes.Equal(heard, numbered(2)) {
			t.Errorf("after a refresh the phone got %x", heard)
		}
		a.hangUp()
	})
	inWorld(t, secureTrunk, func(w *world) { // it answers plain RTP
		pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
		phone.register(alice)
		a := pbx.call("alice", noOffer)
		phone.invited(0).pickUp()
		a.answersLate(pbx.sdp())
		if r := w.record(); r.Result != bridge.Failed || !strings.Contains(r.Reason, "RTP/SAVP to RTP/AVP") {
			t.Errorf("record: %s, %s", r.Result, r.Reason)
		}
	})
	inWorld(t, secure(sdes.Off, sdes.Required), func(w *world) { // keys over UDP
		pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
		phone.register(alice)
		pbx.call("alice", noOffer).expect("488")
		if phone.got(0) != nil {
			t.Error("the phone was called")
		}
	})
	inWorld(t, secure(sdes.Required, sdes.Off), func(w *world) { // the app's is required, and it is not on TLS
		pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
		phone.register(alice)
		a := pbx.call("alice", noOffer)
		if phone.got(0) != nil || !strings.Contains(a.told(), "488") {
			t.Errorf("the phone was called; the PBX was told %s", a.told())
		}
	})
}

// Silence counts from the ACK with the answer as it else does from the 200.
func TestSilenceAfterInviteWithoutOffer(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice", noOffer)
		phone.invited(0).pickUp()
		w.pass(20 * time.Second)
		a.answersLate(pbx.sdp())
		w.pass(89 * time.Second)
		if w.bridge.Active() != 1 {
			t.Fatal("the call was ended within the allowance")
		}
		w.pass(2 * time.Second)
		if r := w.record(); !strings.Contains(r.Reason, "sent no media for 1m30s") {
			t.Errorf("record: %s", r.Reason)
		}
	})
}
