package iphone_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"wakebridge/bridge/media/audio"
	"wakebridge/sipua/header"
	"wakebridge/sipua/iphone"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/softphone"

	"github.com/emiago/sipgo/sip"
)

// talk is a phone that was woken, answered and hears its caller.
func (w *world) talk() (in incoming, c *softphone.Call, after int) {
	w.t.Helper()
	w.asleep()
	return w.anotherCall(true)
}

func (w *world) anotherCall(push bool) (in incoming, c *softphone.Call, after int) {
	w.t.Helper()
	after = w.seq()
	in = newIncoming()
	if push {
		w.push("voip", in)
		w.registered()
	}
	c = w.invite(in)
	w.see(after, iphone.Ringing)
	w.must(w.phone.Answer(in.id))
	w.see(after, iphone.AudioStarted)
	time.Sleep(time.Second)
	return in, c, w.seq()
}

// seen waits for an event of the caller's side.
func (w *world) seen(c *softphone.Call, kind softphone.Kind) {
	w.t.Helper()
	if _, err := c.Wait(w.ctx(), kind); err != nil {
		w.t.Fatalf("%s: %v\n%s", kind, err, w.story(0))
	}
}

// hears says what share of the next second at the caller is the phone's tone.
func hears(c *softphone.Call) (share float64, packets uint64) {
	before, from := c.Audio().Received, len(c.Audio().Samples)
	time.Sleep(time.Second)
	a := c.Audio()
	return audio.Tone(a.Samples[from:], 1000), a.Received - before
}

func TestHoldIsAReinvite(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		in, c, after := w.talk()
		w.must(w.phone.Hold(uuid.Nil))
		w.see(after, iphone.Held)
		w.seen(c, softphone.Held)
		time.Sleep(time.Second)
		if _, packets := hears(c); packets != 0 {
			t.Errorf("%d packets of a call on hold", packets)
		}
		if err := w.phone.Hold(in.id); err == nil {
			t.Error("held twice")
		}
		w.must(w.phone.Unhold(uuid.Nil))
		w.see(after, iphone.Resumed)
		w.seen(c, softphone.Resumed)
		time.Sleep(time.Second)
		if share, _ := hears(c); share < 0.9 {
			t.Errorf("tone %.2f after the hold", share)
		}
		w.tells(after, "call held", "audio stopped", "call resumed", "audio started")
		w.must(w.phone.End(uuid.Nil))
		w.ends(c)
	})
}

// A re-INVITE that gets no answer fails the action; the call goes on.
func TestHoldThatFails(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		_, c, after := w.talk()
		w.net.Partition(serverAddr.Addr(), phoneAddr)
		w.must(w.phone.Hold(uuid.Nil))
		w.see(after, iphone.ActionFailed)
		s, err := w.phone.Status()
		w.must(err)
		if len(s.Calls) > 0 && s.Calls[0].State != "active" {
			t.Errorf("%+v", s.Calls)
		}
		w.clean()
		w.must(c.Hangup())
	})
}

func TestMuteIsSilence(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		in, c, after := w.talk()
		w.must(w.phone.Mute(in.id, true))
		time.Sleep(time.Second)
		if share, packets := hears(c); share > 0.1 || packets < 45 {
			t.Errorf("tone %.2f in %d packets of a muted phone", share, packets)
		}
		w.must(w.phone.Mute(uuid.Nil, false))
		time.Sleep(time.Second)
		if share, _ := hears(c); share < 0.9 {
			t.Errorf("tone %.2f", share)
		}
		w.tells(after, "muted", "unmuted")
	})
}

func TestDTMF(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		_, c, after := w.talk()
		w.must(w.phone.Press(uuid.Nil, "12#"))
		time.Sleep(2 * time.Second)
		if got := c.Digits(); got != "12#" {
			t.Errorf("the caller got %q", got)
		}
		w.tells(after, "keys pressed")
		w.must(w.phone.Press(uuid.Nil, "?"))
		w.tells(after, "keys pressed", "action failed")
	})
}

// A second call rings through the first: answering it holds that.
func TestASecondCall(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		_, first, after := w.talk()
		_, second, _ := w.anotherCall(false)
		w.seen(first, softphone.Held)
		// The ACK of the one and the 200 of the other cross.
		got := strings.Split(w.story(after), "; ")
		want := []string{"INVITE received", "call reported", "180 sent", "user answered", "200 sent", "answer fulfilled", "call held", "audio stopped",
			"audio started"}
		if slices.Sort(got[5:]); !slices.Equal(got[:5], want[:5]) || !slices.Equal(got[5:], slices.Sorted(slices.Values(want[5:]))) {
			t.Errorf("the phone's story is %q", got)
		}
		w.must(w.phone.Unhold(uuid.Nil)) // swaps
		w.seen(first, softphone.Resumed)
		w.seen(second, softphone.Held)
		time.Sleep(time.Second)
		if share, _ := hears(first); share < 0.9 {
			t.Errorf("tone %.2f in the first", share)
		}
		w.must(w.phone.End(uuid.Nil)) // of the one that he talks in
		w.ends(first)
		s, err := w.phone.Status()
		w.must(err)
		if len(s.Calls) != 1 || s.Calls[0].State != "held" {
			t.Errorf("%+v", s.Calls)
		}
		w.must(w.phone.End(uuid.Nil))
		w.ends(second)
		w.clean()
	})
}

func TestDecliningASecondCall(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		_, first, after := w.talk()
		in := newIncoming()
		w.push("voip", in) // in a call nothing has to be reported; the app does it all the same
		c := w.invite(in)
		w.see(after, iphone.Ringing)
		w.must(w.phone.Decline(in.id))
		if e := w.ends(c); e.Status != 603 {
			t.Errorf("%+v", e)
		}
		if share, _ := hears(first); share < 0.9 {
			t.Errorf("tone %.2f in the first", share)
		}
		w.clean()
	})
}

func TestACellularCallHolds(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		_, c, after := w.talk()
		w.must(w.phone.Cellular(true))
		w.seen(c, softphone.Held)
		time.Sleep(time.Minute)
		w.must(w.phone.Cellular(false))
		w.seen(c, softphone.Resumed)
		time.Sleep(time.Second)
		if share, _ := hears(c); share < 0.9 {
			t.Errorf("tone %.2f after it", share)
		}
		w.tells(after, "cellular call", "call held", "audio stopped", "cellular call ended", "call resumed", "audio started")
	})
}

// A cellular call that is over before the hold is through leaves nothing on hold.
func TestAShortCellularCall(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		_, c, after := w.talk()
		w.must(w.phone.Cellular(true))
		w.must(w.phone.Cellular(false))
		w.seen(c, softphone.Resumed)
		w.see(after, iphone.AudioStarted)
		w.tells(after, "cellular call", "cellular call ended", "call held", "audio stopped", "call resumed", "audio started")
	})
}

// Whoever wants a call held while a hold is under way gets it.
func TestHoldsDoNotMeet(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		_, c, after := w.talk()
		w.must(w.phone.Hold(uuid.Nil))
		w.must(w.phone.Cellular(true)) // holds as well
		w.seen(c, softphone.Held)
		time.Sleep(time.Second)
		w.tells(after, "cellular call", "call held", "audio stopped", "call held")
		w.must(w.phone.Cellular(false))
		w.seen(c, softphone.Resumed)
	})
}

// A call that is just being answered when a cellular one comes is held at once, and
// its audio does not start before that is over.
func TestACellularCallBehindTheAnswer(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		c := w.invite(in)
		w.see(after, iphone.Ringing)
		after = w.seq()
		w.must(w.phone.Answer(in.id))
		w.must(w.phone.Cellular(true))
		w.see(after, iphone.Held)
		time.Sleep(time.Second)
		if n := c.Audio().Received; n != 0 {
			t.Errorf("%d packets", n)
		}
		w.must(w.phone.Cellular(false))
		w.see(after, iphone.AudioStarted)
		w.tells(after, "user answered", "200 sent", "cellular call", "answer fulfilled", "call held", "cellular call ended", "call resumed", "audio started")
	})
}

func TestProviderReset(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		_, first, after := w.talk()
		in := newIncoming()
		second := w.invite(in)
		w.see(after, iphone.Ringing)
		w.must(w.phone.ResetCallKit())
		if e := w.ends(first); e.Cause != softphone.CauseBye {
			t.Errorf("the call: %+v", e)
		}
		if e := w.ends(second); e.Status != 603 {
			t.Errorf("the ringing one: %+v", e)
		}
		s, err := w.phone.Status()
		w.must(err)
		if len(s.Calls) != 0 {
			t.Errorf("left: %+v", s.Calls)
		}
		w.clean()
	})
}

// The user calls: a transaction, its action, the INVITE, and CallKit is told when
// it is answered.
func TestAnOutgoingCall(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.must(w.phone.Dial("201"))
		c, err := w.server.Accept(w.ctx())
		w.must(err)
		if to := c.Invite().Recipient.User; to != "201" {
			t.Errorf("called %s", to)
		}
		w.must(c.Ring())
		time.Sleep(3 * time.Second)
		w.must(c.Answer())
		w.see(0, iphone.Connected)
		time.Sleep(time.Second)
		if share, _ := hears(c); share < 0.9 {
			t.Errorf("tone %.2f", share)
		}
		w.must(w.phone.HangUp(uuid.Nil))
		w.ends(c)
		w.tells(0, "app launched", "token issued", "token issued", "registering", "registered", "calling", "audio started", "call connected",
			"user hung up", "call ended(hungUp)")
	})
}

func TestOutgoingCallsThatComeToNothing(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(w *world, c *softphone.Call)
		want iphone.Reason
	}{
		"busy":      {func(w *world, c *softphone.Call) { w.must(c.Busy()) }, iphone.RemoteEnded},
		"nobody":    {func(w *world, c *softphone.Call) { w.must(c.Reject(480, "")) }, iphone.Unanswered},
		"unknown":   {func(w *world, c *softphone.Call) { w.must(c.Reject(404, "")) }, iphone.Failed},
		"given up":  {func(w *world, _ *softphone.Call) { w.must(w.phone.End(uuid.Nil)) }, iphone.ByUser},
		"no server": {nil, iphone.Failed},
	} {
		inWorld(t, nil, func(t *testing.T, w *world) {
			if c.end == nil {
				w.reply = forbidden
			}
			w.must(w.phone.Dial("sip:201@example.com"))
			if c.end != nil {
				call, err := w.server.Accept(w.ctx())
				w.must(err)
				w.must(call.Ring())
				time.Sleep(time.Second)
				c.end(w, call)
				w.ends(call)
			}
			if e := w.see(0, iphone.Ended); e.Reason != c.want {
				t.Errorf("%s: %+v", name, e)
			}
			w.clean()
		})
	}
}

// An INVITE that names no UUID and comes by another Call-ID than any that a push
// announced belongs to the only call that waits.
func TestInviteForTheOnlyCallThatWaits(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in, func(p map[string]any) { delete(p, "call_id") })
		w.registered()
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		w.mu.Lock()
		flow, contact := w.flow, w.contact
		w.mu.Unlock()
		_, err := w.server.Call(softphone.Outgoing{Target: header.StripPush(contact.Address), Flow: flow,
			From: leg.Address{URI: sip.Uri{Scheme: "sip", User: "201", Host: "example.com"}}})
		w.must(err)
		if e := w.see(after, iphone.Ringing); e.UUID != in.id {
			t.Errorf("another call rings: %+v", e)
		}
		w.clean()
	})
}
