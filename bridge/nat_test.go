package bridge_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"wakebridge/sipua/leg"
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

// naming is the ua's description with another address in c=.
func (u *ua) naming(connection string) []byte {
	return []byte(strings.Replace(string(u.sdp()), "c=IN IP4 "+u.host.String(), "c=IN "+connection, 1))
}

// Who names an address that nobody can reach, or a name that nobody resolves, is heard
// from where its signalling comes, and hears. A trunk that must name its address does not.
func TestMediaFromTheSignallingAddress(t *testing.T) {
	const name, private = "IP4 pbx.example.com", "IP4 192.168.7.7"
	for _, tt := range []struct {
		what, pbx, phone string
		force            bool
		want             int
	}{
		{"the phone has a host name", "IP4 " + pbxHost.String(), name, false, 1},
		{"the trunk has a host name", name, "IP4 " + phoneHost.String(), false, 1},
		{"both have host names", name, name, false, 1},
		{"a trunk behind a NAT", private, private, true, 1},
		{"a trunk that should name its address", private, "IP4 " + phoneHost.String(), false, 0},
	} {
		t.Run(tt.what, func(t *testing.T) {
			inWorld(t, func(o *options) { o.peer.ForceRPort = tt.force }, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
				phone.register(alice)
				a := pbx.call("alice", func(inv *leg.Invite) { inv.Body = pbx.naming(tt.pbx) })
				b := phone.invited(0)
				b.must(func() error { return b.Answer(phone.naming(tt.phone)) })
				w.speak(pbx, phone)
				w.pass(5 * time.Second)
				if x, y := w.speak(pbx, phone); x != tt.want || y != tt.want {
					t.Errorf("%d and %d packets arrived, want %d", x, y, tt.want)
				}
				stranger := w.ua("mallory", mobileHost)
				if _, err := stranger.rtp.WriteTo(rtpPacket(9), net.UDPAddrFromAddrPort(phone.target())); err != nil {
					t.Fatal(err)
				}
				w.settle()
				if n := pbx.heard(); n != 0 {
					t.Errorf("the trunk heard %d packets of a stranger", n)
				}
				a.hangUp()
			})
		})
		t.Run(tt.what+", called", func(t *testing.T) {
			inWorld(t, func(o *options) { o.peer.ForceRPort = tt.force }, func(w *world) {
				b, pbx := w.ua("bob", bobHost), w.ua("100", pbxHost)
				b.register(bob)
				a := b.call("9100", func(inv *leg.Invite) {
					inv.Body = b.naming(strings.Replace(tt.phone, phoneHost.String(), bobHost.String(), 1))
				})
				out := pbx.invited(0)
				out.must(func() error { return out.Answer(pbx.naming(tt.pbx)) })
				w.speak(b, pbx)
				w.pass(5 * time.Second)
				if x, y := w.speak(b, pbx); x != tt.want || y != tt.want {
					t.Errorf("%d and %d packets arrived, want %d", x, y, tt.want)
				}
				a.hangUp()
			})
		})
	}
}
