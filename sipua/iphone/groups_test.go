package iphone_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"wakebridge/sipua/iphone"
	"wakebridge/sipua/softphone"
)

func groups(n int) func(*iphone.Config) { return func(c *iphone.Config) { c.App.CallGroups = n } }

// knock lets another call ring through what there is.
func (w *world) knock() (incoming, *softphone.Call) {
	w.t.Helper()
	after, in := w.seq(), newIncoming()
	c := w.invite(in)
	w.see(after, iphone.Ringing)
	return in, c
}

// states are the calls on the screen.
func (w *world) states(want ...string) {
	w.t.Helper()
	s, err := w.phone.Status()
	w.must(err)
	ok := len(s.Calls) == len(want)
	for i, c := range s.Calls {
		ok = ok && c.State == want[i]
	}
	if !ok {
		w.t.Errorf("on the screen: %+v, wanted %q", s.Calls, want)
	}
}

// "End & Accept": the call that the user is in ends by BYE, and he talks in the one
// that rang.
func TestEndAndAccept(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		_, first, after := w.talk()
		in, second := w.knock()
		w.must(w.phone.EndAndAnswer(uuid.Nil))
		if e := w.ends(first); e.Cause != softphone.CauseBye || !e.ByRemote {
			t.Errorf("the first: %+v", e)
		}
		w.answered(second)
		w.see(w.see(after, iphone.Fulfilled).Seq, iphone.AudioStarted)
		w.states("active")
		if share, _ := hears(second); share < 0.9 {
			t.Errorf("tone %.2f in the second", share)
		}
		w.tells(after, "INVITE received", "call reported", "180 sent", "user hung up", "call ended(hungUp)", "user answered", "200 sent",
			"answer fulfilled", "audio started")
		w.must(w.phone.End(in.id))
		w.ends(second)
	})
}

// Without a call that is in the way there is nothing to end.
func TestEndAndAcceptNeedsTwoCalls(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		after := w.asleep()
		if err := w.phone.EndAndAnswer(uuid.Nil); err == nil {
			t.Error("nothing rings")
		}
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		c := w.invite(in)
		w.see(after, iphone.Ringing)
		if err := w.phone.EndAndAnswer(uuid.Nil); err == nil {
			t.Error("nothing is in its way")
		}
		w.states("ringing")
		w.must(c.Hangup())
	})
}

// An app that can have one call only is not offered to hold it.
func TestAnswerWithOneCallGroup(t *testing.T) {
	inWorld(t, groups(1), func(t *testing.T, w *world) {
		_, first, after := w.talk()
		_, second := w.knock()
		w.must(w.phone.Answer(uuid.Nil))
		w.ends(first)
		w.answered(second)
		w.see(w.see(after, iphone.Fulfilled).Seq, iphone.AudioStarted)
		w.states("active")
		w.clean()
	})
}

// "End Held & Accept": with one call active and one on hold, the third takes the
// place of the one on hold.
func TestAThirdCall(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		_, first, _ := w.talk()
		_, second, _ := w.anotherCall(false)
		w.seen(first, softphone.Held)
		_, third := w.knock()
		w.must(w.phone.Answer(uuid.Nil))
		if e := w.ends(first); e.Cause != softphone.CauseBye {
			t.Errorf("the first: %+v", e)
		}
		w.answered(third)
		w.seen(second, softphone.Held)
		time.Sleep(time.Second)
		w.states("held", "active")
		w.clean()
	})
}

// A call more than the app can have is not begun (maximumCallGroupsReached); one that
// rings does not count.
func TestDiallingWithAllGroupsTaken(t *testing.T) {
	inWorld(t, groups(1), func(t *testing.T, w *world) {
		w.talk()
		after := w.seq()
		w.must(w.phone.Dial("300"))
		synctest.Wait()
		w.states("active")
		if story := w.story(after); strings.Contains(story, string(iphone.Calling)) {
			t.Error(story)
		}
		if e := w.see(after, iphone.ActionFailed); e.Text != "CXStartCallAction: maximum of call groups is reached" {
			t.Errorf("the user hears %q", e.Text)
		}
		w.clean()
	})
}

// Who calls somebody during a call puts that one on hold.
func TestDiallingHoldsACall(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		_, first, after := w.talk()
		w.must(w.phone.Dial("300"))
		second, err := w.server.Accept(w.ctx())
		w.must(err)
		second.Ring()
		second.Answer()
		w.seen(first, softphone.Held)
		w.see(after, iphone.Connected)
		w.see(after, iphone.Held)
		w.states("held", "active")
		if share, packets := hears(first); packets > 0 {
			t.Errorf("%d packets, tone %.2f in the first", packets, share)
		}
		w.clean()
	})
}
