package bridge_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"wakebridge/bridge/sdp"
	"wakebridge/sipua/leg"
)

// fax is the ua's description of T.38 in place of audio (T.38 annex D).
func (u *ua) fax() []byte {
	head, _, _ := strings.Cut(string(u.sdp()), "m=")
	return []byte(head + "m=image 40000 udptl t38\r\na=T38FaxVersion:0\r\na=T38FaxRateManagement:transferredTCF\r\n")
}

// reaches is where a description tells its reader to send.
func (w *world) reaches(body []byte) netip.AddrPort {
	w.t.Helper()
	d, err := sdp.Parse(body)
	if err != nil {
		w.t.Fatal(err)
	}
	return d.Streams()[0].Target()
}

// exchange is a re-INVITE from a that b accepts; from and to are where a and b are told
// to send.
func (w *world) exchange(a, b *dialog, offer, answer []byte) (from, to netip.AddrPort) {
	w.t.Helper()
	a.must(func() error { return a.Reinvite(offer) })
	to = w.reaches(last[leg.Offer](b).Body)
	b.must(func() error { return b.AnswerOffer(answer) })
	got := last[leg.OfferAnswered](a)
	if got.Status != 200 {
		w.t.Fatalf("re-INVITE: %d", got.Status)
	}
	w.pass(time.Second)
	return w.reaches(got.Body), to
}

// udptl sends what is no RTP.
func (u *ua) udptl(to netip.AddrPort) {
	u.w.t.Helper()
	if _, err := u.rtp.WriteTo([]byte{0, 1, 1, 6, 0}, net.UDPAddrFromAddrPort(to)); err != nil {
		u.w.t.Fatal(err)
	}
	u.w.settle()
}

// A fax: audio, then T.38 with a page of five minutes in which the receiving end sends
// nothing, then audio again. Nobody is hung up, and all packets pass.
func TestFaxOverT38(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, b := w.answered()
		if x, y := w.speak(a.u, b.u); x != 1 || y != 1 {
			t.Errorf("before: %d and %d packets arrived", x, y)
		}
		callee, caller := w.exchange(b, a, b.u.fax(), a.u.fax())
		b.u.udptl(callee) // it is ready, and then it listens
		if n := a.u.heard(); n != 1 {
			t.Errorf("%d datagrams arrived at the caller", n)
		}
		pages := 0
		for range 100 {
			a.u.udptl(caller)
			w.pass(3 * time.Second)
			pages += b.u.heard()
		}
		if pages != 100 {
			t.Errorf("%d datagrams of the page arrived, want 100", pages)
		}
		w.exchange(b, a, b.u.sdp(), a.u.sdp())
		w.pass(50 * time.Second)
		if x, y := w.speak(a.u, b.u); x != 1 || y != 1 {
			t.Errorf("after: %d and %d packets arrived", x, y)
		}
		a.expect("200, re-INVITE, ACK, re-INVITE, ACK")
		a.hangUp()
	})
}
