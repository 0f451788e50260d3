package bridge_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge"
	"wakebridge/bridge/sdp"
	"wakebridge/sipua"
	"wakebridge/sipua/leg"
)

// target is where the SDP that a ua got newest tells it to send.
func (u *ua) target() netip.AddrPort {
	u.w.t.Helper()
	var out netip.AddrPort
	u.do(func() {
		for _, d := range u.calls {
			bodies := [][]byte{}
			if d.invite != nil {
				bodies = append(bodies, d.invite.Body())
			}
			for _, e := range d.events {
				switch e := e.(type) {
				case leg.Provisional:
					bodies = append(bodies, e.Body)
				case leg.Answered:
					bodies = append(bodies, e.Body)
				}
			}
			for _, b := range bodies {
				if desc, err := sdp.Parse(b); err == nil && len(desc.Streams()) > 0 {
					out = desc.Streams()[0].Target()
				}
			}
		}
	})
	return out
}

// rtpPacket is one of PCMU.
func rtpPacket(seq byte) []byte {
	return append([]byte{0x80, 0, 0, seq, 0, 0, 0, seq, 1, 2, 3, 4}, make([]byte, 160)...)
}

// speak sends a packet each way and says how many arrived.
func (w *world) speak(x, y *ua) (toX, toY int) {
	w.t.Helper()
	for _, u := range []*ua{x, y} {
		if _, err := u.rtp.WriteTo(rtpPacket(1), net.UDPAddrFromAddrPort(u.target())); err != nil {
			w.t.Fatal(err)
		}
	}
	w.settle()
	return x.heard(), y.heard()
}

// heard counts the packets that came.
func (u *ua) heard() int {
	n := 0
	buf := make([]byte, 2000)
	for {
		if err := u.rtp.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			u.w.t.Fatal(err)
		}
		if _, _, err := u.rtp.ReadFrom(buf); err != nil {
			return n
		}
		n++
	}
}

func TestMediaGoesBothWays(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		if n := w.relay.PortsInUse(); n != 4 {
			t.Errorf("%d ports before the answer, want those of both legs", n)
		}
		phone.invited(0).pickUp()
		for range 3 {
			if x, y := w.speak(pbx, phone); x != 1 || y != 1 {
				t.Errorf("%d and %d packets arrived", x, y)
			}
		}
		a.hangUp()
		if n := w.relay.PortsInUse(); n != 0 {
			t.Errorf("%d ports after the call", n)
		}
		r := w.record()
		if len(r.Media) != 2 || r.Media[0].Leg != "A" || r.Media[0].Streams[0].RTP.Packets != 3 {
			t.Errorf("media: %+v", r.Media)
		}
	})
}

// A caller may talk as soon as it has the 200: all is joined before that leaves.
func TestMediaIsJoinedBeforeTheAnswer(t *testing.T) {
	var answered func(to []byte) // the SDP of the 200 that is about to leave
	tap := func(m sipua.Traffic) {
		res, ok := m.Message.(*sip.Response)
		if ok && m.Sent && res.StatusCode == 200 && res.CSeq().MethodName == sip.INVITE && answered != nil {
			answered(res.Body())
		}
	}
	inWorld(t, func(o *options) { o.tap = tap }, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		times := 0
		answered = func(to []byte) {
			times++
			d, err := sdp.Parse(to)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := pbx.rtp.WriteTo(rtpPacket(1), net.UDPAddrFromAddrPort(d.Streams()[0].Target())); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Millisecond) // the relay has the packet, the call is still here
		}
		a := pbx.call("alice")
		phone.invited(0).pickUp()
		w.pass(time.Second)
		a.expect("200")
		if n := phone.heard(); n != 1 || times != 1 {
			t.Errorf("the phone heard %d packets by %d answers", n, times)
		}
		a.hangUp()
		s := w.record().Media[0].Streams[0]
		if s.RTP.Packets != 1 || s.Rejected.Total() != 0 {
			t.Errorf("the caller's: %+v", s)
		}
	})
}

func TestHoldAndResume(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		b.pickUp()
		for _, from := range []*dialog{a, b} {
			to := map[*dialog]*dialog{a: b, b: a}[from]
			for _, mode := range []string{"sendonly", "sendrecv"} {
				from.must(func() error { return from.Reinvite(from.u.sdp("a=" + mode)) })
				offer := last[leg.Offer](to)
				if !strings.Contains(string(offer.Body), "a="+mode) || strings.Contains(string(offer.Body), from.u.host.String()) {
					t.Errorf("offer:\n%s", offer.Body)
				}
				back := map[string]string{"sendonly": "recvonly", "sendrecv": "sendrecv"}[mode]
				to.must(func() error { return to.AnswerOffer(to.u.sdp("a=" + back)) })
				if got := last[leg.OfferAnswered](from); got.Status != 200 || !strings.Contains(string(got.Body), "a="+back) {
					t.Errorf("answer: %d\n%s", got.Status, got.Body)
				}
				w.pass(time.Second)
			}
		}
		if x, y := w.speak(pbx, phone); x != 1 || y != 1 {
			t.Errorf("after resuming %d and %d packets arrived", x, y)
		}
		a.hangUp()
		b.expect("ACK, re-INVITE, ACK, re-INVITE, ACK, re-INVITE 200, re-INVITE 200, BYE")
	})
}

func TestReinviteRefused(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		b.pickUp()
		for status, want := range map[int]int{488: 488, 401: 488, 500: 500} {
			a.must(func() error { return a.Reinvite(pbx.sdp("a=sendonly")) })
			b.must(func() error { return b.RejectOffer(status, "") })
			if got := last[leg.OfferAnswered](a); got.Status != want {
				t.Errorf("%d became %d, want %d", status, got.Status, want)
			}
			w.pass(time.Second)
		}
		a.must(func() error { return a.Reinvite([]byte("v=0\r\nm=nonsense\r\n")) })
		if got := last[leg.OfferAnswered](a); got.Status != 400 {
			t.Errorf("nonsense got %d", got.Status)
		}
		w.pass(time.Second)
		if x, y := w.speak(pbx, phone); x != 1 || y != 1 {
			t.Errorf("%d and %d packets arrived", x, y)
		}
		a.hangUp()
	})
}

// N7: both offer at once.
func TestReinviteGlare(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		b.pickUp()
		for _, d := range []*dialog{a, b} {
			d.u.do(func() {
				d.on = func(e leg.Event) {
					if o, ok := e.(leg.Offer); ok && len(o.Body) > 0 {
						if err := d.AnswerOffer(d.u.sdp()); err != nil {
							t.Errorf("answer: %v", err)
						}
					}
				}
			})
		}
		a.u.post(func() { a.Reinvite(a.u.sdp("a=sendrecv")) })
		b.u.post(func() { b.Reinvite(b.u.sdp("a=sendrecv")) })
		w.pass(20 * time.Second)
		for _, d := range []*dialog{a, b} {
			if got := last[leg.OfferAnswered](d); got.Status != 200 {
				t.Errorf("%s: %d", d.u.name, got.Status)
			}
		}
		a.hangUp()
	})
}

func TestEarlyMedia(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		b, pbx := w.ua("bob", bobHost), w.ua("100", pbxHost)
		b.register(bob)
		a := b.call("9100")
		out := pbx.invited(0)
		out.must(func() error { return out.Progress(183, pbx.sdp()) })
		a.expect("183 sdp")
		if x, y := w.speak(b, pbx); x != 1 || y != 1 {
			t.Errorf("%d and %d packets arrived", x, y)
		}
		out.ring() // the caller goes on listening
		a.expect("183 sdp")
		w.pass(5 * time.Second)
		out.must(func() error { return out.Answer(pbx.sdp("a=ptime:30")) })
		a.expect("183 sdp, 200")
		var early, final []byte
		b.do(func() {
			for _, e := range a.events {
				switch e := e.(type) {
				case leg.Provisional:
					if e.Status == 183 {
						early = e.Body
					}
				case leg.Answered:
					final = e.Body
				}
			}
		})
		if string(early) != string(final) {
			t.Errorf("the 200 says\n%s\nthe 183 said\n%s", final, early)
		}
		a.hangUp()
		out.expect("ACK, BYE")
	})
}

// While another device may still answer, the caller hears none of them.
func TestNoEarlyMediaOfOneOfTwo(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, one, two := w.ua("100", pbxHost), w.ua("x1", phoneHost), w.ua("x2", phone2Host)
		one.register(alice)
		two.register(alice)
		a := pbx.call("alice")
		c := one.invited(0)
		c.must(func() error { return c.Progress(183, one.sdp()) })
		a.expect("180")
		two.invited(0).refuse(486)
		c.must(func() error { return c.Progress(183, one.sdp()) })
		a.expect("180, 183 sdp")
		c.pickUp()
		a.hangUp()
	})
}

func TestEarlyMediaThatCannotBeRelayed(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		b.must(func() error { return b.Progress(183, []byte("nonsense")) })
		a.expect("180")
		b.pickUp()
		a.expect("180, 200")
		a.hangUp()
	})
}

// An answer that cannot be passed on is no answer: the other phone may have a
// better one.
func TestUnusableAnswer(t *testing.T) {
	bad := []byte(strings.ReplaceAll(string((&ua{host: phoneHost, name: "x"}).sdp()), "RTP/AVP 0 8", "RTP/AVP 18"))
	t.Run("the only one", func(t *testing.T) {
		inWorld(t, nil, func(w *world) {
			pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
			phone.register(alice)
			a := pbx.call("alice")
			b := phone.invited(0)
			b.must(func() error { return b.Answer(bad) })
			a.expect("488")
			b.expect("ACK, BYE")
			r := w.record()
			if r.Result != bridge.Failed || r.Status != 488 || !strings.Contains(r.Reason, "cannot be passed on") || !r.Answered.IsZero() {
				t.Errorf("record: %+v", r)
			}
		})
	})
	t.Run("one of two", func(t *testing.T) {
		inWorld(t, nil, func(w *world) {
			pbx, one, two := w.ua("100", pbxHost), w.ua("x1", phoneHost), w.ua("x2", phone2Host)
			one.register(alice)
			two.register(alice)
			a := pbx.call("alice")
			one.invited(0).must(func() error { return one.calls[0].Answer(bad) })
			two.invited(0).pickUp()
			a.expect("200")
			one.invited(0).expect("ACK, BYE")
			a.hangUp()
			if r := w.record(); r.Result != bridge.Answered {
				t.Errorf("record: %+v", r)
			}
		})
	})
}

// A gateway that answers with more than it was offered is understood, and its caller
// sees nothing of that.
func TestAnswerWithMoreThanWasOffered(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		b.must(func() error {
			return b.Answer([]byte(strings.ReplaceAll(string(phone.sdp("a=rtpmap:13 CN/8000")), "RTP/AVP 0 8", "RTP/AVP 0 18 13")))
		})
		a.expect("200")
		if body := string(last[leg.Answered](a).Body); !strings.Contains(body, "RTP/AVP 0\r\n") || strings.Contains(body, "CN") {
			t.Errorf("the caller got\n%s", body)
		}
		if toPBX, toPhone := w.speak(pbx, phone); toPBX != 1 || toPhone != 1 {
			t.Errorf("heard %d, %d", toPBX, toPhone)
		}
		a.hangUp()
	})
}

func TestNoPortsLeft(t *testing.T) {
	inWorld(t, func(o *options) { o.media.PortStart, o.media.PortEnd = 10000, 10003 }, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		phone.invited(0).pickUp()
		for i := range 5 {
			pbx.call("alice").expect("503")
			if n := w.relay.PortsInUse(); n != 4 {
				t.Errorf("%d ports after %d calls that got none", n, i+1)
			}
		}
		a.hangUp()
		w.pass(time.Second)
		r := w.recorded()
		if len(r) != 6 || r[0].Status != 503 || !strings.Contains(r[0].Reason, "no free media ports") {
			t.Errorf("records: %+v", r)
		}
		again := pbx.call("alice") // the ports are back
		phone.invited(1).pickUp()
		if x, y := w.speak(pbx, phone); x != 1 || y != 1 {
			t.Errorf("%d and %d packets arrived", x, y)
		}
		again.hangUp()
	})
	inWorld(t, func(o *options) { o.media.PortStart, o.media.PortEnd = 10000, 10001 }, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		pbx.call("alice").expect("503") // there are ports for one leg only
		if phone.got(0) != nil {
			t.Error("the phone rang for a call without ports")
		}
	})
}

// Nobody is woken, and no trunk called, for a call whose caller can have no media.
func TestNobodyIsWokenWithoutPorts(t *testing.T) {
	full := func(o *options) { o.media.PortStart, o.media.PortEnd, o.media.Quarantine = 10000, 10003, 5*time.Second }
	inWorld(t, full, func(w *world) {
		pbx, b := w.ua("100", pbxHost), w.ua("bob", bobHost)
		w.sleeper("va")
		b.register(bob)
		busy := pbx.call("bob")
		b.invited(0).pickUp()
		pbx.call("alice").expect("503")
		b.call("9100").expect("503")
		w.pushed(0)
		if pbx.got(0) != nil {
			t.Error("the trunk was called")
		}
		busy.hangUp()
		pbx.call("alice").expect("503") // the ports still rest
		w.pass(5 * time.Second)
		a := pbx.call("alice")
		a.expect("180")
		w.pushed(1)
		if n := w.relay.PortsInUse(); n != 2 {
			t.Errorf("%d ports while the phone is woken, want the caller's", n)
		}
		a.giveUp()
		if n := w.relay.PortsInUse(); n != 0 {
			t.Errorf("%d ports after the call", n)
		}
	})
	inWorld(t, func(o *options) { o.shown = netip.MustParseAddr("2001:db8::1") }, func(w *world) {
		pbx := w.ua("100", pbxHost)
		w.sleeper("va")
		pbx.call("alice").expect("488")
		w.pushed(0)
		if r := w.record(); r.Result != bridge.Failed || !strings.Contains(r.Reason, "IPv6: no media address of this family") || len(r.Media) != 0 {
			t.Errorf("record: %+v", r)
		}
	})
}

func TestOffersThatCannotBeRelayed(t *testing.T) {
	for body, want := range map[string]string{
		"nonsense": "400",
		"v=0\r\no=- 1 1 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\nm=audio 4000 RTP/SAVP 0\r\n": "488",
	} {
		inWorld(t, nil, func(w *world) {
			pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
			phone.register(alice)
			pbx.call("alice", func(inv *leg.Invite) { inv.Body = []byte(body) }).expect(want)
			if phone.got(0) != nil {
				t.Error("the phone was called")
			}
		})
	}
}

// N11: nobody sends anything any more.
func TestSilence(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		b.pickUp()
		w.speak(pbx, phone)
		w.pass(61 * time.Second)
		a.expect("200, BYE")
		b.expect("ACK, BYE")
		if r := w.record(); r.HangupBy != "server" || !strings.Contains(r.Reason, "sent no media for 1m0s") || r.Result != bridge.Answered {
			t.Errorf("record: %+v", r)
		}
	})
}

func TestMediaOfAnAppMayComeFromItsSignallingAddress(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		// Behind a NAT the app names an address that nobody can reach.
		b.must(func() error {
			return b.Answer([]byte(strings.ReplaceAll(string(phone.sdp()), phoneHost.String(), "192.168.7.7")))
		})
		w.speak(pbx, phone)
		if x, y := w.speak(pbx, phone); x != 1 || y != 1 {
			t.Errorf("%d and %d packets arrived", x, y)
		}
		a.hangUp()
	})
}
