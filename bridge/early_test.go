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
