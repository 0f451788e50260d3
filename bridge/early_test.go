package bridge_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"wakebridge/sipua/leg"
)

// listen gives the ua another socket for its RTP, and says so in place of 40000.
func (u *ua) listen(port uint16, body []byte) []byte {
	u.w.t.Helper()
	conn, err := u.w.net.Host(u.host).ListenPacket(netip.AddrPortFrom(u.host, port))
	if err != nil {
		u.w.t.Fatal(err)
	}
	u.rtp.Close()
	u.rtp = conn
	return []byte(strings.Replace(string(body), "m=audio 40000", "m=audio 40400", 1))
}

// A forwarded call: the announcement comes from one place, what follows from another. Who
// answers in the end has its own SDP, or a codec of its own, of which the caller hears in
// a re-INVITE, because its 200 repeats what the 183 said.
func TestEarlyMediaChanges(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		b.must(func() error { return b.Progress(183, phone.offering("0")) })
		a.expect("183 sdp")
		if x, y := w.speak(pbx, phone); x != 1 || y != 1 {
			t.Errorf("%d and %d packets arrived", x, y)
		}
		moved := phone.listen(40400, phone.offering("0"))
		b.must(func() error { return b.Progress(183, moved) })
		if x, y := w.speak(pbx, phone); x != 1 || y != 1 {
			t.Errorf("after the second 183 %d and %d packets arrived", x, y)
		}
		b.must(func() error { return b.Progress(183, phone.offering("8")) })
		if x, y := w.speak(pbx, phone); x != 1 || y != 1 {
			t.Errorf("after a 183 with another codec %d and %d packets arrived", x, y)
		}
		b.must(func() error {
			return b.Answer([]byte(strings.Replace(string(moved), "RTP/AVP 0", "RTP/AVP 8", 1)))
		})
		w.pass(100 * time.Millisecond)
		if got := a.told(); !strings.HasSuffix(got, "200, re-INVITE") {
			t.Fatalf("the caller was told %s", got)
		}
		if offer := string(last[leg.Offer](a).Body); !strings.Contains(offer, "RTP/AVP 8\r\n") {
			t.Errorf("the caller is offered\n%s", offer)
		}
		a.must(func() error { return a.AnswerOffer(pbx.offering("8")) })
		for _, u := range []*ua{pbx, phone} {
			packet := rtpPacket(2)
			packet[1] = 8
			if _, err := u.rtp.WriteTo(packet, net.UDPAddrFromAddrPort(u.target())); err != nil {
				t.Fatal(err)
			}
		}
		w.settle()
		if x, y := pbx.heard(), phone.heard(); x != 1 || y != 1 {
			t.Errorf("after the answer %d and %d packets arrived", x, y)
		}
		a.hangUp()
	})
}

// The caller refuses the codec of the answer, for it was told another one: the callee is
// offered that alone, and the call ends if it has it no more.
func TestEarlyMediaChangesAgainstTheCallersWill(t *testing.T) {
	for name, accepts := range map[string]bool{"the callee gives way": true, "nobody does": false} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
				phone.register(alice)
				a := pbx.call("alice")
				b := phone.invited(0)
				b.must(func() error { return b.Progress(183, phone.offering("0")) })
				b.must(func() error { return b.Answer(phone.offering("8")) })
				w.pass(100 * time.Millisecond)
				a.must(func() error { return a.RejectOffer(488, "") })
				w.pass(100 * time.Millisecond)
				offer := last[leg.Offer](b)
				if !strings.Contains(string(offer.Body), "RTP/AVP 0\r\n") {
					t.Fatalf("the callee is offered\n%s", offer.Body)
				}
				if !accepts {
					b.must(func() error { return b.RejectOffer(488, "") })
					w.pass(time.Second)
					if r := w.record(); !strings.Contains(r.Reason, "no codec in common") || !strings.HasSuffix(b.told(), "BYE") {
						t.Errorf("%q; the callee was told %s", r.Reason, b.told())
					}
					return
				}
				b.must(func() error { return b.AnswerOffer(phone.offering("0")) })
				w.heardBoth(name, pbx, phone)
				a.hangUp()
			})
		})
	}
}

// A 183 that lets the caller only listen, or not even that, or that has no video yet: the
// 200 repeats it, so a re-INVITE says what the answer allows.
func TestEarlyMediaIsLess(t *testing.T) {
	const video = "m=video 40002 RTP/AVP 96"
	for early, want := range map[string]string{"a=sendonly": "sendrecv", "a=inactive": "sendrecv", "m=video 0 RTP/AVP 96": "video"} {
		t.Run(early, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
				phone.register(alice)
				var more []string
				if want == "video" {
					more = []string{video}
				}
				a := pbx.call("alice", func(inv *leg.Invite) { inv.Body = pbx.sdp(more...) })
				b := phone.invited(0)
				b.must(func() error { return b.Progress(183, phone.sdp(early)) })
				a.expect("183 sdp")
				b.must(func() error { return b.Answer(phone.sdp(more...)) })
				w.pass(100 * time.Millisecond)
				if got := a.told(); !strings.HasSuffix(got, "200, re-INVITE") {
					t.Fatalf("the caller was told %s", got)
				}
				for i, s := range parsed(w, last[leg.Offer](a).Body).Streams() {
					if !s.Active() || s.Direction.String() != "sendrecv" {
						t.Errorf("m-line %d: port %d, %s", i+1, s.Port, s.Direction)
					}
				}
				a.must(func() error { return a.AnswerOffer(pbx.sdp(more...)) })
				w.heardBoth(early, pbx, phone)
				a.hangUp()
			})
		})
	}
}

// A gateway that says its SDP in the 183 only is understood; who never said any is not.
func TestAnswerInThe183Only(t *testing.T) {
	for name, early := range map[string]bool{"in the 183": true, "nowhere": false} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
				phone.register(alice)
				a := pbx.call("alice")
				b := phone.invited(0)
				if early {
					b.must(func() error { return b.Progress(183, phone.sdp()) })
				}
				b.must(func() error { return b.Answer(nil) })
				w.pass(100 * time.Millisecond)
				if !early {
					a.expect("488")
					return
				}
				a.expect("183 sdp, 200")
				if x, y := w.speak(pbx, phone); x != 1 || y != 1 {
					t.Errorf("%d and %d packets arrived", x, y)
				}
				a.hangUp()
			})
		})
	}
}
