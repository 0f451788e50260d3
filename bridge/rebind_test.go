package bridge_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// hiddenSDP is the ua's description from behind a NAT: it names an address that nobody
// can reach.
func (u *ua) hiddenSDP() []byte {
	return []byte(strings.ReplaceAll(string(u.sdp()), u.host.String(), "192.168.7.7"))
}

// rebind gives the ua's media another port, as a NAT does.
func (u *ua) rebind(port uint16) {
	u.w.t.Helper()
	u.rtp.Close()
	var err error
	if u.rtp, err = u.w.net.Host(u.host).ListenPacket(netip.AddrPortFrom(u.host, port)); err != nil {
		u.w.t.Fatal(err)
	}
}

// The phone comes back over another connection, from the same public address: its NAT
// shows its media at another port, and its SDP says nothing of that.
func TestNATShowsThePhoneAtAnotherPort(t *testing.T) {
	for name, back := range map[string]func(*world, *dialog, *dialog){
		"it registers": func(_ *world, _, b *dialog) { b.u.register(alice) },
		"it offers again": func(w *world, a, b *dialog) {
			b.u.register(alice)
			b.must(func() error { return b.SetFlow(b.u.flow) })
			w.exchange(b, a, b.u.hiddenSDP(), a.u.sdp())
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
				phone.register(alice)
				a := pbx.call("alice")
				b := phone.invited(0)
				b.must(func() error { return b.Answer(phone.hiddenSDP()) })
				w.speak(pbx, phone)
				w.pass(5 * time.Second)
				if x, y := w.speak(pbx, phone); x != 1 || y != 1 {
					t.Fatalf("before: %d and %d packets arrived", x, y)
				}
				phone.rebind(41000)
				if x, _ := w.speak(pbx, phone); x != 0 {
					t.Error("another port is heard without a word of signalling")
				}
				back(w, a, b)
				w.pass(time.Second)
				w.speak(pbx, phone)
				if x, y := w.speak(pbx, phone); x != 1 || y != 1 {
					t.Errorf("after: %d and %d packets arrived", x, y)
				}
				a.hangUp()
			})
		})
	}
}

// A line that is refused and taken up again may come from another port.
func TestLineTakenUpAgain(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		b.must(func() error { return b.Answer(phone.hiddenSDP()) })
		w.speak(pbx, phone)
		w.pass(5 * time.Second)
		off := func(sdp []byte) []byte { return []byte(strings.Replace(string(sdp), "m=audio 40000", "m=audio 0", 1)) }
		w.exchange(b, a, off(phone.hiddenSDP()), off(pbx.sdp()))
		phone.rebind(41000)
		w.exchange(b, a, phone.hiddenSDP(), pbx.sdp())
		w.speak(pbx, phone)
		if x, y := w.speak(pbx, phone); x != 1 || y != 1 {
			t.Errorf("%d and %d packets arrived", x, y)
		}
		a.hangUp()
	})
}
