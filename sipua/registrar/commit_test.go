package registrar_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/location"
)

// A call that waits hears of the REGISTER after the 200 when the disk is fast, and
// after 50 ms when it is not; the 200 waits for the disk in any case (K5, K6).
func TestWakeEventAndAnswer(t *testing.T) {
	for _, tt := range []struct {
		name          string
		commit        time.Duration
		event, answer string
	}{
		{"fast", 0, "0s", "0s"},
		{"just in time", 40 * time.Millisecond, "40ms", "40ms"},
		{"slow", 2 * time.Second, "50ms", "2s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				o := newOffice(t)
				p := o.phone("alice", aliceHost, sipua.TCP)
				p.must(200, p.contact(push(token1), instance(phone1)))
				p.sleep()
				p.connect()
				o.watch()
				start := time.Now()
				if tt.commit > 0 {
					time.AfterFunc(tt.commit, o.store.Hang())
				}
				out := p.once(p.contact(push(token1), instance(phone1)))
				if out.err != nil || out.res.StatusCode != 200 {
					t.Fatal(out)
				}
				if d := out.at.Sub(start).Round(time.Millisecond).String(); d != tt.answer {
					t.Errorf("answer after %s", d)
				}
				if s := o.changed(); s != "registered@"+tt.event {
					t.Errorf("changes %q", s)
				}
			})
		})
	}
}

// When the commit is fast the 200 is on the wire before any call is told: its INVITE
// comes second.
func TestAnswerBeforeEvent(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		p.must(200, p.contact(push(token1), instance(phone1)))
		p.sleep()
		p.connect()
		order := make(chan string, 4)
		o.tap = func(m sipua.Traffic) {
			if res, ok := m.Message.(*sip.Response); ok && m.Sent && res.StatusCode == 200 {
				order <- "answered"
			}
		}
		_, stop := o.mem.Watch(alice, func(c location.Change) { order <- c.Kind.String() })
		defer stop()
		p.must(200, p.contact(push(token1), instance(phone1)))
		synctest.Wait()
		close(order)
		var got []string
		for s := range order {
			got = append(got, s)
		}
		if fmt.Sprint(got) != "[answered registered]" {
			t.Errorf("%v", got)
		}
	})
}

// The 50 ms count for the REGISTER, not for the commit in front of it.
func TestSlowCommitInFrontDelaysNobody(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		a, b := o.phone("alice", aliceHost, sipua.TCP), o.phone("bob", bobHost, sipua.TCP)
		a.must(200, a.contact(push(token1), instance(phone1)))
		b.must(200, b.contact("", instance(phone2)))
		release := o.store.Hang()
		b.post(b.request(b.contact("", instance(phone2))))
		time.Sleep(time.Second)
		o.watch()
		a.post(a.request(a.contact(push(token1), instance(phone1))))
		time.Sleep(time.Second)
		if s := o.changed(); s != "registered@50ms" {
			t.Errorf("changes %q", s)
		}
		if len(a.waiting) != 0 {
			t.Error("answered before the commit")
		}
		release()
		if out := <-a.waiting; out.res.StatusCode != 200 {
			t.Error(out.res)
		}
	})
}

// K5: 200 only if it is stored. What could not be stored is stored with the next.
func TestFailingCommit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		o.watch()
		o.store.Fail(errors.New("disk full"))
		res := p.must(503, p.contact(push(token1), instance(phone1)))
		if fmt.Sprint(values(res, "Retry-After")) != "[10]" || len(values(res, "Contact"))+len(values(res, "Feature-Caps")) != 0 {
			t.Errorf("%s", res)
		}
		if s := o.changed(); s != "registered@0s" { // calls go on
			t.Errorf("changes %q", s)
		}
		if o.mem.Stats().Uncommitted == 0 {
			t.Error("nothing waits to be stored")
		}
		o.store.Fail(nil)
		p.must(200, p.contact(push(token1), instance(phone1)))
		if state, err := o.store.Load(t.Context()); err != nil || len(state.Devices) != 1 || o.mem.Stats().Uncommitted != 0 {
			t.Errorf("%v %v", state, err)
		}
	})
}

// A disk that hangs for ever costs ten seconds and a 503, not the registrar.
func TestHangingDisk(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		p.must(200, p.contact("", instance(phone1)))
		release := o.store.Hang()
		start := time.Now()
		p.must(503, p.contact("", instance(phone1)))
		if d := time.Since(start).Round(time.Millisecond); d != 10*time.Second {
			t.Errorf("after %s", d)
		}
		release()
		p.must(200, p.contact("", instance(phone1)))
	})
}

// What others edit goes the same way.
func TestEdit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		p.must(200, p.contact(push(token1), instance(phone1)))
		o.watch()
		o.reg.Edit(location.RemoveToken{Kind: location.VoIP, Value: token1, NotAfter: time.Now()})
		if s := o.changed(); s != "tokens-changed@0s" {
			t.Errorf("changes %q", s)
		}
		o.wantWakeable(false)
		o.reg.Close()
		o.reg.Edit(location.MarkLoggedOut{AOR: alice}) // nobody is there any more
	})
}
