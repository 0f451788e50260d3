package bridge_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/bridge/sdp"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/memnet"
)

// parsed reads a description of the server.
func parsed(w *world, body []byte) *sdp.Description {
	w.t.Helper()
	d, err := sdp.Parse(body)
	w.must(err)
	return d
}

// asks sends a re-INVITE without an offer and is the offer that came in its 200.
func (d *dialog) asks() *sdp.Description {
	d.u.w.t.Helper()
	d.must(func() error { return d.Reinvite(nil) })
	got := last[leg.OfferAnswered](d)
	if got.Status != 200 || len(got.Body) == 0 {
		d.u.w.t.Fatalf("the re-INVITE without an offer was answered %d %q", got.Status, got.Body)
	}
	return parsed(d.u.w, got.Body)
}

func (d *dialog) acks(body []byte) { d.u.w.t.Helper(); d.must(func() error { return d.Ack(body) }) }

// direction is that of the first stream.
func direction(d *sdp.Description) sdp.Direction { return d.Streams()[0].Direction }

// heardBoth checks that a packet passes in each direction.
func (w *world) heardBoth(what string, x, y *ua) {
	w.t.Helper()
	if toX, toY := w.speak(x, y); toX != 1 || toY != 1 {
		w.t.Errorf("%s: %d and %d packets arrived", what, toX, toY)
	}
}

// A session refresh without an offer, by either leg: the session is offered as it is,
// under the same version, and the other leg hears nothing of it.
func TestRefreshWithoutOffer(t *testing.T) {
	for _, callee := range []bool{false, true} {
		inWorld(t, nil, func(w *world) {
			a, b := w.answered()
			from, to, had := a, b, last[leg.Answered](a).Body
			if callee {
				from, to, had = b, a, b.invite.Body()
			}
			for range 2 {
				offer := from.asks()
				if got := offer.Bytes(); !bytes.Equal(got, had) {
					t.Errorf("callee %v: offered\n%s\nbefore it was\n%s", callee, got, had)
				}
				from.acks(from.u.sdp())
				w.heardBoth("after the refresh", a.u, b.u)
			}
			if o := to.offers(); len(o) != 0 {
				t.Errorf("the other leg was offered %q", o)
			}
			a.hangUp()
		})
	}
}

// Hold and resume by re-INVITEs without an offer: what the ACK answers crosses by an
// ordinary re-INVITE, and the offer to who holds is what the other one wants by itself.
func TestHoldAndResumeWithoutOffer(t *testing.T) {
	for _, callee := range []bool{false, true} {
		inWorld(t, nil, func(w *world) {
			a, b := w.answered()
			from, to := a, b
			if callee {
				from, to = b, a
			}
			cross := func(says, answers sdp.Direction) {
				t.Helper()
				before := len(to.offers())
				if d := direction(from.asks()); d != sdp.SendRecv {
					t.Errorf("offered %s", d)
				}
				from.acks(from.u.sdp("a=" + says.String()))
				o := to.offers()
				if len(o) != before+1 || direction(parsed(w, []byte(o[before]))) != says {
					t.Fatalf("the other leg was offered %q", o)
				}
				to.must(func() error { return to.AnswerOffer(to.u.sdp("a=" + answers.String())) })
			}
			cross(sdp.SendOnly, sdp.RecvOnly)
			if d := direction(from.asks()); d != sdp.SendRecv { // a refresh while it holds
				t.Errorf("offered %s", d)
			}
			from.acks(from.u.sdp("a=sendonly"))
			w.pass(20 * time.Minute) // no silence of a call that is not on hold
			cross(sdp.SendRecv, sdp.SendRecv)
			w.heardBoth("after the hold", a.u, b.u)
			if n := len(to.offers()); n != 2 {
				t.Errorf("%d offers crossed", n)
			}
			a.hangUp()
		})
	}
}

// Who is held by the other leg itself is not offered more than that.
func TestOfferWhileHeldByTheOther(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, b := w.answered()
		b.must(func() error { return b.Reinvite(b.u.sdp("a=sendonly")) })
		a.must(func() error { return a.AnswerOffer(a.u.sdp("a=recvonly")) })
		if d := direction(a.asks()); d != sdp.SendOnly {
			t.Errorf("offered %s", d)
		}
		a.acks(a.u.sdp("a=recvonly"))
		a.must(func() error { return a.Reinvite(a.u.sdp("a=inactive")) }) // both hold
		b.must(func() error { return b.AnswerOffer(b.u.sdp("a=inactive")) })
		if d := direction(a.asks()); d != sdp.SendOnly {
			t.Errorf("offered %s while both hold", d)
		}
		a.acks(a.u.sdp("a=recvonly"))
		b.must(func() error { return b.AnswerOffer(b.u.sdp("a=sendonly")) })
		a.hangUp()
	})
}

// What the other leg does not take, or cannot be asked because it sleeps, is undone:
// who answered in its ACK is offered the session as it was.
func TestAnswerThatTheOtherLegRefuses(t *testing.T) {
	for name, refuse := range map[string]func(*world, *dialog){
		"refused": func(_ *world, b *dialog) { b.must(func() error { return b.RejectOffer(488, "") }) },
		"asleep":  func(*world, *dialog) {},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				a, b := w.answered()
				if name == "asleep" {
					b.u.sleep()
				}
				a.asks()
				a.acks(a.u.sdp("a=inactive"))
				refuse(w, b)
				w.settle()
				if o := a.offers(); len(o) != 1 || direction(parsed(w, []byte(o[0]))) != sdp.SendRecv {
					t.Fatalf("the PBX was offered %q", o)
				}
				a.must(func() error { return a.AnswerOffer(a.u.sdp()) })
				w.heardBoth("after it was undone", a.u, b.u)
				a.asks() // nothing is pending
				a.acks(a.u.sdp())
				if name == "asleep" {
					b.u.register(alice)
					b.must(func() error { return b.SetFlow(b.u.flow) })
				}
				a.hangUp()
			})
		})
	}
}

// Fewer codecs in the ACK are told to the other leg; another order of them, another
// address or no telephone events are not.
func TestCodecsInTheAck(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, b := w.answered()
		a.asks()
		a.acks([]byte(strings.ReplaceAll(string(a.u.sdp("a=ptime:30")), "AVP 0 8", "AVP 8 0")))
		if o := b.offers(); len(o) != 0 {
			t.Errorf("the phone was offered %q", o)
		}
		a.asks()
		a.acks([]byte(strings.ReplaceAll(string(a.u.sdp()), "AVP 0 8", "AVP 8")))
		o := b.offers()
		if len(o) != 1 || !strings.Contains(o[0], "RTP/AVP 8\r\n") {
			t.Fatalf("the phone was offered %q", o)
		}
		b.must(func() error { return b.AnswerOffer([]byte(strings.ReplaceAll(string(b.u.sdp()), "AVP 0 8", "AVP 8"))) })
		a.hangUp()
	})
}

// Without an answer in the ACK nothing was agreed, and the session stays; after one
// that does not fit its sender is offered the session once more.
func TestNoAnswerInTheAck(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, b := w.answered()
		a.asks()
		a.acks(nil)
		w.heardBoth("after an ACK without SDP", a.u, b.u)
		for _, body := range []string{"nonsense", strings.ReplaceAll(string(a.u.sdp()), "AVP 0 8", "AVP 18")} {
			n := len(a.offers())
			a.asks()
			a.acks([]byte(body))
			if len(a.offers()) != n+1 {
				t.Fatalf("after %q the PBX was offered %q", body, a.offers())
			}
			a.must(func() error { return a.AnswerOffer(a.u.sdp()) })
			w.heardBoth("after it was offered again", a.u, b.u)
		}
		if len(b.offers()) != 0 {
			t.Errorf("the phone was offered %q", b.offers())
		}
		a.hangUp()
		b.expect("ACK, BYE")
	})
}

// While the ACK is on its way the other leg's offer meets a 491, and is made in the end;
// the 200 is repeated until then.
func TestGlareWithAWaitingAck(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, b := w.answered()
		a.asks()
		b.must(func() error { return b.Reinvite(b.u.sdp("a=sendonly")) })
		w.pass(3 * time.Second) // the 200 comes four times
		if n := len(a.offers()); n != 0 {
			t.Errorf("the PBX was offered %d times before its ACK", n)
		}
		a.acks(a.u.sdp("a=inactive")) // it holds, too: whose turn it is does not matter
		for range 20 {
			w.pass(time.Second)
			for _, d := range []*dialog{a, b} {
				d.u.do(func() {
					if err := d.AnswerOffer(d.u.sdp("a=inactive")); err != nil && err != leg.ErrState { //nolint:errorlint // it is never wrapped
						t.Error(err)
					}
				})
			}
		}
		if got := last[leg.OfferAnswered](b); got.Status != 200 {
			t.Errorf("the phone's offer: %d", got.Status)
		}
		if len(b.offers()) != 1 || len(a.offers()) != 1 {
			t.Errorf("the PBX was offered %q, the phone %q", a.offers(), b.offers())
		}
		a.hangUp()
	})
}

// The ACK never comes: the call ends as after any 200 without one.
func TestOfferIn200IsNeverAnswered(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, b := w.answered()
		a.asks()
		w.pass(33 * time.Second)
		if got := b.told(); got != "ACK, BYE" {
			t.Errorf("the phone was told %s", got)
		}
		if r := w.record(); r.Result != bridge.Failed || !strings.Contains(r.Reason, "no ACK") {
			t.Errorf("record: %s, %s", r.Result, r.Reason)
		}
	})
}

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
		if f := a.answersLate([]byte(strings.ReplaceAll(string(pbx.sdp()), "AVP 0 8", "AVP 0"))).Streams()[0].Formats; len(f) != 1 || f[0] != "0" {
			t.Errorf("offered %v", f)
		}
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
	inWorld(t, secure(bridge.SRTPOff, bridge.SRTPRequired), func(w *world) { // keys over UDP
		pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
		phone.register(alice)
		pbx.call("alice", noOffer).expect("488")
		if phone.got(0) != nil {
			t.Error("the phone was called")
		}
	})
	inWorld(t, secure(bridge.SRTPRequired, bridge.SRTPOff), func(w *world) { // the app's is required, and it is not on TLS
		pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
		phone.register(alice)
		a := pbx.call("alice", noOffer)
		if phone.got(0) != nil || !strings.Contains(a.told(), "488") {
			t.Errorf("the phone was called; the PBX was told %s", a.told())
		}
	})
}
