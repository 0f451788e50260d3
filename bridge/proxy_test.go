package bridge_test

import (
	"strings"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/sipua/location"
)

// behindProxy is a phone of alice's behind an edge proxy: its connection is the proxy's,
// which lives always and says 100 for itself. Who answers the ua's INVITEs beyond that is
// the phone.
func (w *world) behindProxy(name string) *ua {
	w.t.Helper()
	u := w.ua(name, phoneHost)
	u.path = []string{"<sip:edge.example.com;lr>"}
	u.register(alice)
	return u
}

// The 100 of an edge proxy is not the phone's: one that sleeps is pushed, and invited once
// more when it comes, by way of the proxy's connection that has been there all the time.
func TestPhoneSleepsBehindAProxy(t *testing.T) {
	t.Run("100", func(t *testing.T) { sleepsBehindAProxy(t, nil) })
	t.Run("110 Push sent", func(t *testing.T) { // Flexisip's
		sleepsBehindAProxy(t, func(d *dialog) { d.must(func() error { return d.Progress(110, nil) }) })
	})
}

func sleepsBehindAProxy(t *testing.T, says func(*dialog)) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.behindProxy("va")
		a := pbx.call("alice")
		first := phone.invited(0) // nobody is there for it
		if says != nil {
			says(first)
		}
		w.pass(1499 * time.Millisecond)
		w.pushed(0)
		w.pass(time.Millisecond)
		w.pushed(1)
		w.pass(time.Second)
		phone.refresh(alice)
		b := phone.invited(1)
		if b.invite.CallID().Value() != first.invite.CallID().Value() || b.invite.From().Params.ToString(';') == first.invite.From().Params.ToString(';') {
			t.Errorf("INVITE\n%s", b.invite)
		}
		w.pass(time.Second)
		phone.refresh(alice)
		if phone.got(2) != nil {
			t.Error("a third INVITE")
		}
		b.ring()
		b.pickUp()
		a.expect("180, 200")
		first.expect("CANCEL")
		w.pass(10 * time.Second)
		w.pushed(1)
		a.hangUp()
		if r := w.record(); r.Result != bridge.Answered || len(r.Attempts[0].Pushes) != 1 || r.Attempts[0].NotPushed != "" {
			t.Errorf("record: %+v", r)
		}
	})
}

// A phone that nobody could push moves behind its proxy while it is invited; the
// connection is the same.
func TestPhoneMovesBehindItsProxy(t *testing.T) {
	for name, tt := range map[string]struct {
		behind string
		rings  bool
		again  bool
	}{
		"to another address": {"10.0.0.99", false, true},
		"while it rings":     {"10.0.0.99", true, false},
		"not at all":         {"", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.behindProxy("x")
				a := pbx.call("alice")
				first := phone.invited(0)
				if tt.rings {
					first.ring()
				}
				phone.behind = tt.behind
				phone.refresh(alice)
				again := phone.got(1)
				if (again != nil) != tt.again {
					t.Errorf("invited again: %v", again != nil)
				}
				if again != nil && again.invite.Recipient.Host != tt.behind {
					t.Errorf("INVITE to %s", again.invite.Recipient.Host)
				}
				a.giveUp()
			})
		})
	}
}

// The caller gives up, and the proxy says 487 to the CANCEL: a phone that slept through it
// is told when it comes, one that had the INVITE is not told twice. What a proxy says does
// not count as a phone that pushes bring.
func TestProxyTakesTheCancel(t *testing.T) {
	for name, tt := range map[string]struct {
		meanwhile func(phone *ua)
		told      bool // by another INVITE
		health    int  // pushes without an answer
	}{
		"the phone sleeps": {func(*ua) {}, true, 1},
		"the phone rings":  {func(phone *ua) { phone.invited(0).ring() }, false, 0},
		"the phone came":   {func(phone *ua) { phone.refresh(alice) }, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.behindProxy("va")
				w.waker.answer = func(wake bridge.Wake) *bridge.WakeResult { // as the daemon learns
					w.memory.Apply(location.PushReport{AOR: alice, Key: wake.Device, Kind: location.VoIP, Accepted: true, Sent: time.Now()}).Release()
					return &bridge.WakeResult{Accepted: true}
				}
				a := pbx.call("alice")
				w.pass(2 * time.Second)
				w.pushed(1)
				tt.meanwhile(phone)
				w.pass(time.Second)
				a.giveUp()
				w.pass(2 * time.Second)
				if got := phone.invited(0).told(); !strings.HasPrefix(got, "CANCEL") {
					t.Errorf("the phone was told %s", got)
				}
				if n := w.memory.Devices(alice)[0].Health.Unanswered; n != tt.health {
					t.Errorf("%d pushes without an answer, want %d", n, tt.health)
				}
				before := phone.newest()
				phone.refresh(alice)
				w.pass(time.Second)
				after := phone.newest()
				if (after != before) != tt.told {
					t.Errorf("told again: %v", after != before)
				}
				if tt.told {
					after.expect(`CANCEL SIP;cause=487;text="Call cancelled"`)
				}
			})
		})
	}
}
