package bridge_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"wakebridge/sipua"
)

// onUDP is a phone with one UDP address, which it keeps when it is started anew.
func (w *world) onUDP(name string, host netip.Addr, aor sipua.AOR) *ua {
	w.t.Helper()
	u := w.ua(name, host)
	u.connect(sipua.UDP)
	u.refresh(aor)
	return u
}

// An app that is started anew while it rings is invited again, over the UDP flow that did
// not notice, and its word is the one that counts.
func TestStartedAnewAtTheSameAddress(t *testing.T) {
	for name, tt := range map[string]struct {
		rings bool // before
		end   func(w *world, a, b *dialog)
		want  string // at the caller
	}{
		"answered": {true, func(_ *world, a, b *dialog) { b.ring(); b.pickUp(); a.hangUp() }, "180, 200"},
		"busy":     {true, func(_ *world, _, b *dialog) { b.ring(); b.refuse(486) }, "180, 486"},
		"given up": {true, func(w *world, a, b *dialog) {
			b.ring()
			a.giveUp()
			b.expect("CANCEL")
			w.pass(3 * time.Second)
			b.u.refresh(alice)
			w.pass(time.Second)
			if b.u.newest() != b {
				w.t.Error("the phone is told twice")
			}
		}, "180, 487"},
		"killed before it rang": {false, func(_ *world, a, b *dialog) { b.pickUp(); a.hangUp() }, "180, 200"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.onUDP("va", phoneHost, alice)
				a := pbx.call("alice")
				first := phone.invited(0)
				if tt.rings {
					first.ring()
				}
				flow := w.flowOf(alice)
				phone.restart(alice)
				if w.flowOf(alice) != flow {
					t.Fatal("another flow")
				}
				b := phone.newest()
				if b == first {
					t.Fatal("not invited again")
				}
				if x, y := b.invite.CallID().Value(), first.invite.CallID().Value(); x != y {
					t.Errorf("Call-ID %s after %s", x, y)
				}
				tt.end(w, a, b)
				w.pass(time.Second)
				a.expect(tt.want)
			})
		})
	}
}

// In a call, an app that was started anew at the same address knows nothing of it: the other
// one does not wait for it in silence. One that only changed its Call-ID keeps its call.
func TestStartedAnewAtTheSameAddressInACall(t *testing.T) {
	for name, tt := range map[string]struct{ calls, killed bool }{
		"the called one":                     {false, true},
		"the calling one":                    {true, true},
		"only another Call-ID":               {false, false},
		"only another Call-ID of the caller": {true, false},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				caller, called := w.onUDP("bob", bobHost, bob), w.onUDP("v", phoneHost, alice)
				a := caller.call("alice")
				b := called.invited(0)
				b.pickUp()
				w.pass(time.Second)
				phone, aor, near, far := called, alice, b, a
				if tt.calls {
					phone, aor, near, far = caller, bob, a, b
				}
				if tt.killed {
					phone.restart(aor)
				} else {
					phone.boot = "2"
					phone.refresh(aor)
				}
				w.pass(2 * time.Second)
				if over := strings.HasSuffix(far.told(), "BYE"); over != tt.killed {
					t.Errorf("the other one was told %s", far.told())
				}
				if !tt.killed {
					near.hangUp()
				}
				w.pass(time.Second)
			})
		})
	}
}
