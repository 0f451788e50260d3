package bridge_test

import (
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge"
	"wakebridge/sipua"
	"wakebridge/sipua/leg"
)

func TestUserCallsTheTrunk(t *testing.T) {
	for _, transport := range []string{"udp", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			inWorld(t, func(o *options) {
				o.peer.Contact.UriParams = sip.HeaderParams{{K: "transport", V: transport}}
			}, func(w *world) {
				b, pbx := w.ua("bob", bobHost), w.ua("100", pbxHost)
				b.register(bob)
				a := b.call("9100")
				out := pbx.invited(0)
				if out.invite.Recipient.User != "9100" || out.invite.From().Address.User != "202" || out.invite.From().DisplayName != "Bob B." ||
					sipua.Value(out.invite, "X-Call-UUID") != "" || out.invite.CallID().Value() == a.CallID() {
					t.Errorf("INVITE:\n%s", out.invite)
				}
				out.ring()
				a.expect("180")
				out.pickUp()
				a.expect("180, 200")
				if x, y := w.speak(b, pbx); x != 1 || y != 1 {
					t.Errorf("%d and %d packets arrived", x, y)
				}
				out.hangUp()
				a.expect("180, 200, BYE")
				if r := w.record(); r.Result != bridge.Answered || r.Trunk != "pbx" || r.HangupBy != "callee" || r.Attempts[0].Outcome != "won" {
					t.Errorf("record: %+v", r)
				}
			})
		})
	}
}

func TestTrunkRefuses(t *testing.T) {
	for status, want := range map[int]int{404: 404, 486: 486, 503: 503, 603: 603, 302: 480, 481: 480, 407: 480} {
		inWorld(t, nil, func(w *world) {
			b, pbx := w.ua("bob", bobHost), w.ua("100", pbxHost)
			b.register(bob)
			a := b.call("9100")
			out := pbx.invited(0)
			out.must(func() error { return out.Reject(status, "Why Not") })
			f := last[leg.Failed](a)
			if f.Status != want || want == status && f.Phrase != "Why Not" {
				t.Errorf("%d became %d %s", status, f.Status, f.Phrase)
			}
			if r := w.record(); r.Status != want || r.HangupBy != "callee" {
				t.Errorf("record: %+v", r)
			}
		})
	}
}

// 183 and 200 never come; the trunk is not a sleeping phone.
func TestTrunkRingsForLong(t *testing.T) {
	inWorld(t, func(o *options) { o.terms.RingTimeout = 130 * time.Second }, func(w *world) {
		b, pbx := w.ua("bob", bobHost), w.ua("100", pbxHost)
		b.register(bob)
		a := b.call("9100")
		out := pbx.invited(0)
		out.ring()
		w.pass(90 * time.Second)
		a.expect("180, 180") // again after 60 s
		w.pass(40 * time.Second)
		a.expect("180, 180, 180, 480")
		out.expect(`CANCEL SIP;cause=480;text="No answer"`)
	})
}

func TestTrunkIsFull(t *testing.T) {
	inWorld(t, func(o *options) { o.peer.MaxCalls = 1 }, func(w *world) {
		b, pbx, phone := w.ua("bob", bobHost), w.ua("100", pbxHost), w.ua("va", phoneHost)
		b.register(bob)
		phone.register(alice)
		w.net.Partition(phoneHost, serverHost)
		in := pbx.call("alice")
		out := b.call("9100")
		out.expect("503")
		if r := w.record(); r.Result != bridge.Rejected || !strings.Contains(r.Reason, "trunk has no call left") {
			t.Errorf("record: %+v", r)
		}
		in.giveUp() // gives its place back at once, although the phone never said a word
		out = b.call("9100")
		pbx.invited(0).pickUp()
		out.expect("200")
		pbx.call("alice").expect("503")
		out.hangUp()
	})
}

func TestTrunkCannotBeReached(t *testing.T) {
	inWorld(t, func(o *options) {
		o.peer.Contact.UriParams = sip.HeaderParams{{K: "transport", V: "tcp"}}
	}, func(w *world) {
		b := w.ua("bob", bobHost) // nobody listens at the PBX
		b.register(bob)
		a := b.call("9100")
		a.expect("503")
		if r := w.record(); r.Result != bridge.Unreachable || !strings.Contains(r.Reason, "trunk pbx cannot be reached") {
			t.Errorf("record: %+v", r)
		}
	})
}

// The caller gives up while the trunk's connection is being made.
func TestCallerCancelsWhileConnecting(t *testing.T) {
	inWorld(t, func(o *options) {
		o.peer.Contact.UriParams = sip.HeaderParams{{K: "transport", V: "tcp"}}
	}, func(w *world) {
		b, pbx := w.ua("bob", bobHost), w.ua("100", pbxHost)
		b.register(bob)
		w.net.Partition(pbxHost, serverHost)
		a := b.call("9100")
		w.pass(3 * time.Second)
		a.giveUp()
		a.expect("487")
		w.net.Heal(pbxHost, serverHost)
		w.pass(5 * time.Second)
		if pbx.got(0) != nil {
			t.Error("the trunk was called")
		}
		if r := w.record(); r.Result != bridge.Cancelled || r.HangupBy != "caller" || len(r.Attempts) != 0 {
			t.Errorf("record: %+v", r)
		}
	})
}

func TestRoutesThatEnd(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx := w.ua("100", pbxHost)
		pbx.call("nobody").expect("404")
		if r := w.record(); r.Result != bridge.Rejected || r.Reason != "no route matches" || r.HangupBy != "server" {
			t.Errorf("record: %+v", r)
		}
		// A final response that no final response can be must not leave the caller
		// waiting.
		pbx.call("200").expect("500")
	})
}

func TestStrangers(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		x := w.ua("mallory", bobHost)
		x.call("alice").expect("401")
		x.call("alice", func(inv *leg.Invite) { inv.From.URI.Host = "elsewhere.example" }).expect("403")
		if r := w.recorded(); len(r) > 0 {
			t.Errorf("records: %+v", r)
		}
	})
}

// The caller's app loses its connection before the answer: nobody is there to
// answer to.
func TestCallersConnectionBreaks(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		b, phone := w.ua("bob", bobHost), w.ua("va", phoneHost)
		b.register(bob)
		phone.register(alice)
		a := b.call("alice")
		c := phone.invited(0)
		c.ring()
		b.sleep()
		c.expect("CANCEL")
		if r := w.record(); r.Result != bridge.Cancelled || r.HangupBy != "caller" || !strings.Contains(r.Reason, "connection closed") {
			t.Errorf("record: %+v", r)
		}
		a.must(func() error { a.Drop(); return nil })
	})
}

// A trunk's connection is not its call (RFC 3261 s18.2.2).
func TestTrunksConnectionBreaks(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		first := pbx.connect(sipua.TCP)
		a := pbx.call("alice")
		b := phone.invited(0)
		b.ring()
		first.Shut(errGone)
		w.pass(time.Second)
		b.expect("")
		b.refuse(486)
		_ = a // its transaction went with its connection
		if r := w.record(); r.Result != bridge.Busy {
			t.Errorf("record: %+v", r)
		}
	})
}

func TestMaxForwards(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		hops := func(n uint32) func(*leg.Invite) {
			return func(inv *leg.Invite) {
				mf := sip.MaxForwardsHeader(n)
				inv.Headers = append(inv.Headers, &mf)
			}
		}
		pbx.call("alice", hops(0)).expect("483")
		a := pbx.call("alice", hops(2))
		if got := phone.invited(0).invite.MaxForwards().Val(); got != 1 {
			t.Errorf("Max-Forwards %d", got)
		}
		a.giveUp()
	})
}

func TestTrustedIdentity(t *testing.T) {
	for value, want := range map[string]string{
		`"Zoe" <sip:+4930123@carrier.example>`: "+4930123", `<tel:+49-30-123>`: "+4930123", `garbage`: "100",
	} {
		inWorld(t, func(o *options) { o.peer.TrustIdentity = true }, func(w *world) {
			pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
			phone.register(alice)
			a := pbx.call("alice", func(inv *leg.Invite) {
				inv.Headers = append(inv.Headers, sip.NewHeader("P-Asserted-Identity", value))
			})
			from := phone.invited(0).invite.From().Address
			if from.User != want || from.Scheme != "sip" || from.Host != domain {
				t.Errorf("%s: From %s", value, from.String())
			}
			a.giveUp()
		})
	}
}
