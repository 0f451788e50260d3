package bridge_test

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge"
	"wakebridge/sipua"
)

// overTCP runs a test for a call from the trunk and for one to it, which is up and whose
// connection the PBX has closed: Asterisk does so with idle ones.
func overTCP(t *testing.T, run func(w *world, trunk, user *dialog)) {
	t.Helper()
	tcp := func(o *options) { o.peer.Contact.UriParams = sip.HeaderParams{{K: "transport", V: "tcp"}} }
	closes := func(w *world, d *dialog) {
		d.Flow().Shut(errGone)
		w.pass(time.Minute)
	}
	t.Run("from the trunk", func(t *testing.T) {
		inWorld(t, tcp, func(w *world) {
			pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
			phone.register(alice)
			pbx.connect(sipua.TCP)
			a := pbx.call("alice")
			b := phone.invited(0)
			b.pickUp()
			a.expect("200")
			closes(w, a)
			run(w, a, b)
		})
	})
	t.Run("to the trunk", func(t *testing.T) {
		inWorld(t, tcp, func(w *world) {
			pbx, phone := w.ua("100", pbxHost), w.ua("bob", bobHost)
			phone.register(bob)
			a := phone.call("9100")
			b := pbx.invited(0)
			b.pickUp()
			a.expect("200")
			closes(w, b)
			run(w, b, a)
		})
	})
}

// The trunk hears the BYE over a new connection (RFC 3261 s18.1.1).
func TestByeToATrunkWhoseConnectionClosed(t *testing.T) {
	overTCP(t, func(w *world, trunk, user *dialog) {
		user.hangUp()
		w.pass(time.Second)
		if got := trunk.lastWord(); got != "BYE" {
			t.Errorf("the trunk was told %q", got)
		}
		if r := w.record(); r.Result != bridge.Answered {
			t.Errorf("record: %+v", r)
		}
	})
}

// So it is with a re-INVITE and its ACK, and with what the trunk says after that.
func TestReinviteToATrunkWhoseConnectionClosed(t *testing.T) {
	overTCP(t, func(w *world, trunk, user *dialog) {
		user.must(func() error { return user.Reinvite(user.u.sdp("a=sendonly")) })
		w.pass(time.Second)
		if got := trunk.lastWord(); got != "re-INVITE" {
			t.Fatalf("the trunk was told %q", got)
		}
		trunk.must(func() error { return trunk.AnswerOffer(trunk.u.sdp("a=recvonly")) })
		w.pass(time.Second)
		if got := user.lastWord(); got != "re-INVITE 200" {
			t.Errorf("the user was told %q", got)
		}
		if got := trunk.lastWord(); got != "ACK" {
			t.Errorf("the trunk was told %q", got)
		}
		trunk.hangUp()
		w.pass(time.Second)
		if got := user.lastWord(); got != "BYE" {
			t.Errorf("the user was told %q", got)
		}
	})
}

// A trunk that is not there any more keeps no call up.
func TestByeToATrunkThatIsGone(t *testing.T) {
	overTCP(t, func(w *world, trunk, user *dialog) {
		w.net.Partition(pbxHost, serverHost)
		user.hangUp()
		w.pass(time.Second)
		if n := w.bridge.Active(); n != 0 {
			t.Errorf("%d calls wait for the trunk", n)
		}
		w.pass(time.Minute)
		trunk.u.do(trunk.Drop)
	})
}

func (d *dialog) lastWord() string {
	words := ""
	d.u.do(func() {
		for _, e := range d.events {
			if s := wordsOf(e); s != "" {
				words = s
			}
		}
	})
	return words
}

// The requests of a dialog with a trunk go to its Contact, if that is the trunk: here a
// gateway that is called through a dispatcher, or calls through one, and stays in no path
// (RFC 3261 s12.2.1.1). A stranger that a Contact names gets nothing (I9).
func TestRequestsGoToTheTrunksContact(t *testing.T) {
	gateway, stranger := netip.AddrPortFrom(phone2Host, 5080), netip.AddrPortFrom(mobileHost, 5080)
	for _, tt := range []struct {
		name       string
		contact    netip.AddrPort
		want, user string
	}{
		{"gateway, from the trunk", gateway, "BYE", "va"},
		{"gateway, to the trunk", gateway, "ACK BYE", "bob"},
		{"stranger, from the trunk", stranger, "", "va"},
		{"stranger, to the trunk", stranger, "", "bob"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var mu sync.Mutex
			var sent []string // methods, by the server to the Contact
			inWorld(t, func(o *options) {
				o.peer.Match = append(o.peer.Match, netip.PrefixFrom(gateway.Addr(), 32))
				o.peer.ForceRPort = true
				o.tap = func(m sipua.Traffic) {
					mu.Lock()
					defer mu.Unlock()
					req, ok := m.Message.(*sip.Request)
					if ok && m.Sent && m.Flow.Remote() == tt.contact && !slices.Contains(sent, string(req.Method)) { // they are repeated
						sent = append(sent, string(req.Method))
					}
				}
			}, func(w *world) {
				w.shown = map[netip.Addr]netip.AddrPort{pbxHost: tt.contact}
				pbx := w.ua("100", pbxHost)
				var trunk, user *dialog
				if tt.user == "va" {
					phone := w.ua("va", phoneHost)
					phone.register(alice)
					trunk = pbx.call("alice")
					user = phone.invited(0)
					user.pickUp()
				} else {
					phone := w.ua("bob", bobHost)
					phone.register(bob)
					user = phone.call("9100")
					trunk = pbx.invited(0)
					trunk.pickUp()
				}
				user.hangUp()
				w.pass(time.Second)
				mu.Lock()
				got := strings.Join(sent, " ")
				mu.Unlock()
				if got != tt.want {
					t.Errorf("sent to the Contact: [%s], want [%s]", got, tt.want)
				}
				if got := trunk.lastWord() == "BYE"; got != (tt.want == "") {
					t.Errorf("the source was told %q", trunk.lastWord())
				}
				w.pass(time.Minute)
				trunk.u.do(trunk.Drop)
			})
		})
	}
}
