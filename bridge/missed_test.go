package bridge_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge"
	"wakebridge/sipua/leg"
)

// Who is told of a missed call: whoever was woken, did not come, and whose user
// nobody else spoke for.
func TestMissedCalls(t *testing.T) {
	giveUp := func(w *world, a *dialog, _ []*ua) { w.pass(12 * time.Second); a.giveUp() }
	comes := func(w *world, u *ua) *dialog {
		w.pass(5 * time.Second)
		u.register(alice)
		d := u.invited(0)
		d.ring()
		return d
	}
	tests := []struct {
		name   string
		phones []string // asleep; by their letters v(oip) and a(lert)
		silent bool     // the push service says nothing by itself
		call   func(w *world, a *dialog, phones []*ua)
		want   string
	}{
		{"nobody comes", []string{"va"}, false, func(w *world, a *dialog, _ []*ua) { w.pass(30 * time.Second); a.expect("180, 480") }, "va"},
		{"the caller gives up", []string{"va"}, false, giveUp, "va"},
		{"on two phones", []string{"va", "va2"}, false, giveUp, "va va2"},
		{"no alert token", []string{"v"}, false, giveUp, ""},
		{"no VoIP token", []string{"a"}, false, giveUp, "a"},
		{"it came and rang", []string{"va"}, false, func(w *world, a *dialog, phones []*ua) { comes(w, phones[0]); a.giveUp() }, ""},
		{"one of two came and rang", []string{"va", "va2"}, false, func(w *world, a *dialog, phones []*ua) { comes(w, phones[1]); a.giveUp() }, "va"},
		{"answered on another phone", []string{"va", "va2"}, false, func(w *world, a *dialog, phones []*ua) { comes(w, phones[1]).pickUp(); a.hangUp() }, ""},
		{"declined on another phone", []string{"va", "va2"}, false, func(w *world, a *dialog, phones []*ua) { comes(w, phones[1]).refuse(603) }, ""},
		{"busy on another phone", []string{"va", "va2"}, false, func(w *world, a *dialog, phones []*ua) {
			comes(w, phones[1]).refuse(486)
			w.pass(30 * time.Second)
		}, ""},
		{"answered elsewhere, says the PBX", []string{"va"}, false, func(w *world, a *dialog, _ []*ua) {
			w.pass(5 * time.Second)
			a.must(func() error { return a.Cancel(`SIP;cause=200;text="Call completed elsewhere"`) })
		}, ""},
		{"hung up by the server", []string{"va"}, false, func(w *world, a *dialog, _ []*ua) {
			w.pass(12 * time.Second)
			w.bridge.Close(w.t.Context())
		}, "va"},
		{"every push was refused", []string{"va"}, true, func(w *world, a *dialog, _ []*ua) {
			for range 2 {
				p := w.waker.pushes()
				p[len(p)-1].report(bridge.WakeResult{Alert: p[len(p)-1].AlertOnly, At: time.Now()})
				w.settle()
			}
			a.expect("480")
		}, ""},
		{"the push had not left", []string{"va"}, true, func(_ *world, a *dialog, _ []*ua) { a.giveUp() }, ""},
		{"it had left, without an answer", []string{"va"}, true, func(w *world, a *dialog, _ []*ua) {
			w.waker.left = true
			a.giveUp()
		}, "va"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			told := &alerts{}
			inWorld(t, func(o *options) { o.alerts = told }, func(w *world) {
				var phones []*ua
				for i, name := range tt.phones {
					u := w.ua(name, []netip.Addr{phoneHost, phone2Host}[i])
					u.register(alice)
					u.sleep()
					phones = append(phones, u)
				}
				if tt.silent {
					w.waker.answer = func(bridge.Wake) *bridge.WakeResult { return nil }
				}
				a := w.ua("100", pbxHost).call("alice")
				tt.call(w, a, phones)
				r := w.record()
				if got := told.names(); got != tt.want {
					t.Errorf("told: %q, want %q", got, tt.want)
				}
				for _, m := range told.missed {
					at := r.Attempts[m.Attempt]
					if at.UUID != m.UUID || !m.AlertOnly || m.Handle != "100" || m.Push.Alert.IsZero() || !m.Due.Equal(a.at.Add(8*time.Second)) || told.record.ID != r.ID {
						t.Errorf("missed: %+v", m)
					}
				}
			})
		})
	}
}

// A caller who hides stays hidden.
func TestMissedCallOfAPrivateCaller(t *testing.T) {
	told := &alerts{}
	inWorld(t, func(o *options) { o.alerts = told }, func(w *world) {
		w.sleeper("va")
		a := w.ua("100", pbxHost).call("alice", func(inv *leg.Invite) { inv.Headers = append(inv.Headers, sip.NewHeader("Privacy", "id")) })
		w.pass(12 * time.Second)
		a.giveUp()
		w.record()
		if told.names() != "va" || told.missed[0].Handle+told.missed[0].Name+told.missed[0].From != "" {
			t.Errorf("missed: %+v", told.missed)
		}
	})
}
