package bridge_test

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/bridge/sdes"
	"wakebridge/bridge/sdp"
	"wakebridge/sipua/leg"
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

// Who resumes finds the other leg still on hold, by its own wish: neither is blamed for
// silence.
func TestResumeWhileTheOtherHolds(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, b := w.answered()
		w.heardBoth("at first", a.u, b.u)
		a.asks()
		a.acks(a.u.sdp("a=sendonly"))
		b.must(func() error { return b.AnswerOffer(b.u.sdp("a=recvonly")) })
		a.asks()
		a.acks(a.u.sdp())
		b.must(func() error { return b.AnswerOffer(b.u.sdp("a=inactive")) })
		w.pass(20 * time.Minute)
		if w.bridge.Active() != 1 {
			t.Fatalf("the call was ended: %s", w.record().Reason)
		}
		a.hangUp()
	})
}

// A stream that the PBX takes in its ACK goes to a phone with SRTP only once the phone
// has keys for it: never in the clear.
func TestNewStreamWaitsForItsKeys(t *testing.T) {
	const cm80 = "AES_CM_128_HMAC_SHA1_80"
	inWorld(t, func(o *options) { o.terms.SRTP = sdes.Terms{Apps: sdes.Required, AnyTransport: true} }, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		mine := cryptoLine(0, cm80, 30, 1)
		for line := range strings.Lines(string(b.invite.Body())) {
			if strings.HasPrefix(line, "a=crypto:") && strings.Contains(line, cm80) {
				mine = strings.Replace(mine, "a=crypto:0", strings.Fields(line)[0], 1)
			}
		}
		b.must(func() error { return b.Answer(phone.securing(mine)) })
		video := []string{mine, "m=video 40002 RTP/SAVP 34", cryptoLine(1, cm80, 30, 2)}
		b.must(func() error { return b.Reinvite(phone.securing(video...)) })
		a.must(func() error { return a.AnswerOffer(pbx.sdp("m=video 0 RTP/AVP 34")) })
		offer := a.asks().Streams()
		if len(offer) != 2 || !offer[1].Active() || offer[1].IsSecure() {
			t.Fatalf("the PBX was offered %+v", offer)
		}
		screen, err := w.net.Host(phoneHost).ListenPacket(netip.AddrPortFrom(phoneHost, 40002))
		w.must(err)
		defer screen.Close()
		camera, err := w.net.Host(pbxHost).ListenPacket(netip.AddrPortFrom(pbxHost, 40002))
		w.must(err)
		defer camera.Close()
		shows := func() int {
			pkt := numbered(9)
			pkt[1] = 34
			_, err := camera.WriteTo(pkt, net.UDPAddrFromAddrPort(offer[1].Target()))
			w.must(err)
			w.settle()
			w.must(screen.SetReadDeadline(time.Now().Add(time.Millisecond)))
			n, _, err := screen.ReadFrom(make([]byte, 2000))
			if err != nil {
				return 0
			}
			return n
		}
		a.acks(pbx.sdp("m=video 40002 RTP/AVP 34"))
		if n := shows(); n != 0 {
			t.Errorf("%d octets of video went to the phone before its keys were agreed", n)
		}
		if len(b.offers()) != 1 {
			t.Fatalf("the phone was offered %q", b.offers())
		}
		keys := []string{}
		section := ""
		for line := range strings.Lines(b.offers()[0]) {
			if strings.HasPrefix(line, "m=") {
				section = line[:7]
			}
			if strings.HasPrefix(line, "a=crypto:") && strings.Contains(line, cm80) {
				keys = append(keys, section+strings.Fields(line)[0])
			}
		}
		if len(keys) != 2 {
			t.Fatalf("keys for %q:\n%s", keys, b.offers()[0])
		}
		b.must(func() error {
			return b.AnswerOffer(phone.securing(strings.Replace(cryptoLine(0, cm80, 30, 1), "a=crypto:0", keys[0][7:], 1), "m=video 40002 RTP/SAVP 34",
				strings.Replace(cryptoLine(0, cm80, 30, 2), "a=crypto:0", keys[1][7:], 1)))
		})
		if n, plain := shows(), len(numbered(9)); n <= plain {
			t.Errorf("the phone got %d octets of video, of %d in the clear", n, plain)
		}
		a.hangUp()
	})
}
