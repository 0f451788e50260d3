package bridge_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge"
	"wakebridge/sipua"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/location"
)

func TestDrain(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.sleeper("va")
		other := w.ua("x", phone2Host)
		a := pbx.call("alice")
		ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Minute)
		defer cancel()
		drained := make(chan struct{})
		go func() { // awaited below
			defer close(drained)
			w.bridge.Drain(ctx)
		}()
		w.pass(time.Second)
		refused := pbx.call("alice")
		f := last[leg.Failed](refused)
		if f.Status != 503 || f.Response.GetHeader("Retry-After") == nil {
			t.Errorf("a new call got %d", f.Status)
		}
		phone.register(alice) // the waking goes on
		b := phone.invited(0)
		b.pickUp()
		a.expect("180, 200")
		other.register(alice)
		for range 5 { // media keeps the call
			w.speak(pbx, phone)
			w.pass(55 * time.Second)
		}
		w.speak(pbx, phone)
		b.expect("ACK")
		w.pass(25 * time.Second)
		<-drained
		b.expect("ACK, BYE")
		r := w.recorded()
		if len(r) != 2 || r[0].Result != bridge.Rejected || r[0].Status != 503 ||
			r[1].HangupBy != "server" || !strings.Contains(r[1].Reason, "shutting down") || r[1].Result != bridge.Answered {
			t.Errorf("records: %+v", r)
		}
	})
}

func TestDrainReturnsWhenTheLastCallIsOver(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		phone.invited(0).pickUp()
		left := 0
		w.books.writing = func() { left = w.bridge.Active() }
		start := time.Now()
		go func() {
			time.Sleep(7 * time.Second)
			pbx.post(func() { a.Bye() })
		}()
		w.bridge.Drain(w.t.Context())
		if d := time.Since(start); d < 7*time.Second || d > 8*time.Second {
			t.Errorf("drained after %s", d)
		}
		if len(w.recorded()) != 1 {
			t.Error("drained without a record")
		}
		if left != 1 {
			t.Error("the call counted as over before its record was written")
		}
	})
}

// Close ends calls in every state, and waits for no peer longer than it may.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.shut()
		pbx, phone, quiet := w.ua("100", pbxHost), w.ua("x1", phoneHost), w.ua("v2", phone2Host)
		phone.register(alice)
		quiet.register(bob)
		answered := pbx.call("alice")
		phone.invited(0).pickUp()
		ringing := pbx.call("alice", func(inv *leg.Invite) { inv.From.URI.User = "101" })
		phone.invited(1).ring()
		w.net.Partition(phone2Host, serverHost) // bob's phone is gone, nobody knows
		waking := pbx.call("bob")
		w.pass(2 * time.Second)
		ctx, cancel := context.WithTimeout(w.t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		w.bridge.Close(ctx)
		if d := time.Since(start); d > 3*time.Second+50*time.Millisecond {
			t.Errorf("closed after %s", d)
		}
		w.settle()
		answered.expect("200, BYE")
		ringing.expect("180, 480")
		waking.expect("180, 480")
		phone.invited(1).expect("CANCEL")
		if n := w.relay.PortsInUse(); n != 0 || w.bridge.Active() != 0 {
			t.Errorf("%d ports and %d calls are left", n, w.bridge.Active())
		}
		r := w.recorded()
		if len(r) != 3 {
			w.t.Fatalf("%d records", len(r))
		}
		for _, r := range r {
			if r.HangupBy != "server" || !strings.Contains(r.Reason, "shutting down") {
				t.Errorf("record: %+v", r)
			}
		}
		w.bridge.Close(ctx) // again
		pbx.call("alice").expect("503")
		w.pass(time.Minute)
		if _, dialogs, servers, clients := w.ep.Sizes(); dialogs+servers+clients > 0 {
			t.Errorf("%d dialogs, %d server and %d client transactions are left", dialogs, servers, clients)
		}
	})
}

func TestHangup(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		b.pickUp()
		var id string
		w.hangup(&id)
		a.expect("200, BYE")
		b.expect("ACK, BYE")
		r := w.record()
		if r.Reason != "the operator's wish" || r.HangupBy != "server" || r.ID != id {
			t.Errorf("record: %+v", r)
		}
		if w.bridge.Find(id) != nil {
			t.Error("the call is still known")
		}
	})
}

// hangup ends the only call by its id, which a push or record names.
func (w *world) hangup(id *string) {
	w.t.Helper()
	ids := w.bridge.IDs()
	if len(ids) != 1 {
		w.t.Fatalf("calls: %v", ids)
	}
	*id = ids[0]
	w.bridge.Find(*id).Hangup("the operator's wish")
	w.settle()
}

func TestMaxDuration(t *testing.T) {
	inWorld(t, func(o *options) { o.terms.MaxDuration = 40 * time.Second }, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		phone.invited(0).pickUp()
		w.pass(41 * time.Second)
		a.expect("200, BYE")
		if r := w.record(); !strings.Contains(r.Reason, "calls.max_duration") {
			t.Errorf("record: %+v", r)
		}
	})
}

// S7: a panic ends that call only.
func TestPanicIsContained(t *testing.T) {
	route := func(q bridge.Query) bridge.Plan {
		if q.Called.User == "crash" {
			panic("route")
		}
		return plan(q)
	}
	inWorld(t, func(o *options) { o.route = route }, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		phone.invited(0).pickUp()
		pbx.call("crash").expect("500")
		if r := w.record(); r.Result != bridge.Failed || r.Status != 500 || r.Reason != "internal error" {
			t.Errorf("record: %+v", r)
		}
		a.expect("200")
		a.hangUp()
	})
}

// A panic with INVITEs and pushes out ends them too.
func TestPanicLater(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.waker.answer = func(wake bridge.Wake) *bridge.WakeResult {
			if wake.AlertOnly {
				panic("second chance")
			}
			return &bridge.WakeResult{Accepted: true}
		}
		pbx, two := w.ua("100", pbxHost), w.ua("x", phone2Host)
		w.sleeper("va")
		two.register(alice)
		a := pbx.call("alice")
		two.invited(0).ring()
		w.pass(9 * time.Second)
		a.expect("180, 500")
		two.invited(0).expect("CANCEL")
		if f := w.fates.all(); len(f) != 2 || f[0].Cause != 480 || f[1].KeepUntil.IsZero() {
			t.Errorf("fates: %+v", f)
		}
		if r := w.record(); len(r.Attempts) != 2 {
			t.Errorf("record: %+v", r)
		}
	})
}

func TestMergeWindow(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx := w.ua("100", pbxHost)
		w.sleeper("va")
		a := pbx.call("alice")
		second := pbx.call("alice")
		second.expect("486")
		pbx.call("alice").expect("486") // the refused one was not the first
		w.pushed(1)
		other := pbx.call("alice", func(inv *leg.Invite) { inv.From.URI.User = "101" })
		other.expect("180")
		// Callers without a number are not taken for each other.
		hidden := func(inv *leg.Invite) { inv.Headers = append(inv.Headers, sip.NewHeader("Privacy", "id")) }
		x, y := pbx.call("alice", hidden), pbx.call("alice", hidden)
		x.expect("180")
		y.expect("180")
		w.pass(2*time.Second + time.Millisecond)
		late := pbx.call("alice")
		late.expect("180")
		// Who gave up may try again at once.
		late.giveUp()
		late = pbx.call("alice")
		late.expect("180")
		for _, d := range []*dialog{a, other, x, y, late} {
			d.giveUp()
		}
		if r := w.recorded(); r[0].Result != bridge.Busy || !strings.Contains(r[0].Reason, "calls.merge_window") || r[0].HangupBy != "server" {
			t.Errorf("record: %+v", r[0])
		}
	})
}

// Users are no PBX that rings twice; and 0 is off.
func TestNoMerging(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		b := w.ua("bob", bobHost)
		b.register(bob)
		w.sleeper("va")
		x, y := b.call("alice"), b.call("alice")
		y.expect("180")
		x.giveUp()
		y.giveUp()
	})
	inWorld(t, func(o *options) { o.terms.MergeWindow = 0 }, func(w *world) {
		pbx := w.ua("100", pbxHost)
		w.sleeper("va")
		x, y := pbx.call("alice"), pbx.call("alice")
		y.expect("180")
		x.giveUp()
		y.giveUp()
	})
}

func TestLimitsOfWakes(t *testing.T) {
	limits := func(o *options) {
		o.terms.MergeWindow = 0
		o.terms.WakesPerCaller = bridge.Rate{Count: 2, Per: time.Minute}
		o.terms.WakesPerUser = bridge.Rate{Count: 3, Per: time.Minute}
	}
	from := func(user string) func(*leg.Invite) {
		return func(inv *leg.Invite) { inv.From.URI.User = user }
	}
	inWorld(t, limits, func(w *world) {
		pbx := w.ua("100", pbxHost)
		w.sleeper("va")
		for i, want := range []string{"180", "180", "480", "480", "480"} {
			a := pbx.call("alice", from("100"))
			a.expect(want)
			if want == "180" {
				a.giveUp()
			} else if r := w.recorded()[i]; !strings.Contains(r.Reason, "limits.wakes_per_caller") || r.Result != bridge.Unreachable {
				t.Errorf("record: %+v", r)
			}
		}
		// The spammer used up nobody else's share.
		a := pbx.call("alice", from("101"))
		a.expect("180")
		a.giveUp()
		pbx.call("alice", from("102")).expect("480")
		if r := w.recorded(); !strings.Contains(r[len(r)-1].Reason, "limits.wakes_per_user") {
			t.Errorf("record: %+v", r)
		}
		w.pushed(3)
		w.pass(21 * time.Second)
		a = pbx.call("alice", from("103"))
		a.expect("180")
		a.giveUp()
	})
	// A call counts once, however many phones it wakes.
	inWorld(t, func(o *options) { o.terms.WakesPerUser = bridge.Rate{Count: 1, Per: time.Minute} }, func(w *world) {
		pbx, two := w.ua("100", pbxHost), w.ua("va2", phone2Host)
		w.sleeper("va")
		two.register(alice)
		two.sleep()
		a := pbx.call("alice")
		w.pushed(2)
		a.giveUp()
	})
	// Over the limit live connections still ring, and calls that wake nobody count
	// for nothing.
	inWorld(t, limits, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		for i := range 5 {
			a := pbx.call("alice")
			phone.invited(i).ring()
			a.giveUp()
		}
		phone.sleep()
		a := pbx.call("alice")
		a.expect("180")
		w.pushed(1)
		a.giveUp()
		for range 2 {
			pbx.call("alice").giveUpIfItCan()
		}
		phone.register(alice) // and hears of the calls it missed
		w.pass(time.Second)
		a = pbx.call("alice")
		phone.newest().ring()
		a.expect("180")
		w.pushed(2)
		a.giveUp()
	})
}

func (d *dialog) giveUpIfItCan() {
	d.u.do(func() {
		if err := d.Cancel(); err != nil && !errors.Is(err, leg.ErrEnded) && !errors.Is(err, leg.ErrState) {
			d.u.w.t.Errorf("cancel: %v", err)
		}
	})
}

func TestSecondCallToAPhoneInACall(t *testing.T) {
	for _, busy := range []bool{false, true} {
		inWorld(t, func(o *options) { o.terms.WaitingBusy = busy }, func(w *world) {
			pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
			phone.register(alice)
			a := pbx.call("alice")
			phone.invited(0).pickUp()
			second := pbx.call("alice", func(inv *leg.Invite) { inv.From.URI.User = "101" })
			if !busy {
				phone.invited(1).ring()
				second.expect("180")
				second.giveUp()
				a.hangUp()
				return
			}
			second.expect("486")
			if r := w.record(); r.Result != bridge.Busy || !strings.Contains(r.Reason, "calls.waiting") || r.HangupBy != "server" {
				t.Errorf("record: %+v", r)
			}
			a.hangUp()
			third := pbx.call("alice")
			phone.invited(1).ring()
			third.giveUp()
			fourth := pbx.call("alice")
			fourth.giveUp() // the first INVITE's end does not matter: the phone is free
			fourth.expect("487")
		})
	}
}

// A phone that places a call is in a call like one that answered: others find it
// busy, it is told of old calls by the REGISTER's answer, and its tokens stay.
func TestCallingPhoneIsInACall(t *testing.T) {
	inWorld(t, func(o *options) { o.terms.WaitingBusy = true }, func(w *world) {
		pbx, caller, callee := w.ua("100", pbxHost), w.ua("vb", bobHost), w.ua("va", phoneHost)
		caller.register(bob)
		callee.register(alice)
		a := caller.call("alice", func(inv *leg.Invite) { inv.From.URI.User = "bob" })
		callee.invited(0).pickUp()
		d := w.memory.Devices(bob)[0]
		if !w.bridge.InCall(bob, d.Key) {
			t.Fatal("the phone that calls is in no call")
		}
		pbx.call("bob").expect("486")
		old := []location.Fate{{AOR: bob, DeviceKey: d.Key, UUID: "u", Cause: 487, ExpiresAt: time.Now()}}
		if rest := w.bridge.Late(d, old); len(rest) != 1 {
			t.Errorf("left for the answer: %v", rest)
		}
		w.pass(time.Second)
		if caller.got(0) != nil {
			t.Error("an INVITE into its call")
		}
		a.hangUp()
		w.settle()
		if w.bridge.InCall(bob, d.Key) {
			t.Error("it is in a call after the call")
		}
	})
}

// While a call goes on there is a record of it without an end, with its answer as
// soon as there is one: all that is left if the process dies.
func TestCallsAreNotedWhileTheyGoOn(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		phone.invited(0).pickUp()
		w.settle()
		begun := w.books.begun
		if len(begun) != 2 || !begun[0].Answered.IsZero() || begun[1].Answered.IsZero() || !begun[1].Ended.IsZero() || begun[0].User != alice.String() {
			t.Errorf("noted: %+v", begun)
		}
		a.hangUp()
		if r := w.record(); r.ID != begun[0].ID || r.Ended.IsZero() {
			t.Errorf("record: %+v", r)
		}
	})
}

// A phone behind an edge proxy is called by way of it (RFC 3327 s5.3).
func TestPathIsTheRoute(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		b := w.memory.Devices(alice)[0].Bindings[0]
		b.Path = []string{"<sip:near.example.com;lr>", "<sip:far.example.com;lr>"}
		w.memory.Apply(location.Upsert{AOR: alice, Binding: b, Announced: location.Query}).Release()
		a := pbx.call("alice")
		if got := sipua.Values(phone.invited(0).invite, "Route"); strings.Join(got, ",") != strings.Join(b.Path, ",") {
			t.Errorf("Route %q", got)
		}
		a.giveUp()
	})
}

// What a known caller is refused at the door has a record with its reason.
func TestTurnedAwayCallsAreRecorded(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx := w.ua("100", pbxHost)
		w.bridge.Drain(t.Context())
		pbx.call("alice").expect("503")
		if r := w.record(); r.Result != bridge.Rejected || r.Status != 503 || !strings.Contains(r.Reason, "it drains") || r.Trunk == "" || r.Ended.IsZero() {
			t.Errorf("record: %+v", r)
		}
	})
}

// A cancelled INVITE whose phone says nothing does not make that phone busy.
func TestSilentPhoneIsNotBusy(t *testing.T) {
	inWorld(t, func(o *options) { o.terms.WaitingBusy = true }, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
		phone.register(alice)
		w.net.Partition(phoneHost, serverHost)
		a := pbx.call("alice")
		w.pass(time.Second)
		a.giveUp()
		again := pbx.call("alice")
		again.expect("")
		again.giveUp()
		again.expect("487")
		w.pass(10 * time.Second)
		w.net.Heal(phoneHost, serverHost)
		w.pass(2 * time.Minute)
		for _, r := range w.recorded() { // the legs took long to close, the calls did not
			if r.Ended.Sub(r.Started) > time.Second {
				t.Errorf("ended %s after its start", r.Ended.Sub(r.Started))
			}
		}
	})
}

// A caller who gives up before its call was even looked at has nobody woken.
func TestCancelRightBehindTheInvite(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		looked := make(chan struct{})
		w.looking = func() { <-looked }
		b := w.ua("bob", bobHost)
		b.register(bob)
		w.sleeper("va")
		a := b.call("alice")
		a.giveUp()
		close(looked)
		w.settle()
		a.expect("487")
		w.pushed(0)
		if r := w.record(); r.Result != bridge.Cancelled || r.From != bob.String() || len(r.Attempts) != 0 {
			t.Errorf("record: %+v", r)
		}
	})
}

// A call that is over but for the outcomes of its pushes is still known, for its record
// is not written, and holds nothing: neither its trunk's place nor its caller's.
func TestCallThatIsHeardOutHoldsNothing(t *testing.T) {
	inWorld(t, func(o *options) {
		o.peer.MaxCalls = 1
		o.terms.MergeWindow = 10 * time.Second
	}, func(w *world) {
		first := true
		w.waker.lost = true
		w.waker.answer = func(bridge.Wake) *bridge.WakeResult {
			if first {
				first = false
				return nil
			}
			return &bridge.WakeResult{Accepted: true}
		}
		pbx, _ := w.ua("100", pbxHost), w.sleeper("va")
		a := pbx.call("alice")
		w.pass(time.Second)
		a.giveUp()
		if n := len(w.recorded()); n != 0 || w.bridge.Active() != 1 {
			t.Fatalf("%d records, %d calls: nothing is heard out", n, w.bridge.Active())
		}
		b := pbx.call("alice")
		w.pass(3 * time.Second)
		if got := b.told(); got != "180" || w.bridge.Active() != 2 {
			t.Errorf("the next call of %d was told %q", w.bridge.Active(), got)
		}
		b.giveUp()
		w.pass(10 * time.Second)
		if n := len(w.recorded()); n != 2 || w.bridge.Active() != 0 {
			t.Errorf("%d records, %d calls", n, w.bridge.Active())
		}
	})
}
