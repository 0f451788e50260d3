package bridge_test

import (
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
