package iphone_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge/media/audio"
	"wakebridge/sipua"
	"wakebridge/sipua/iphone"
	"wakebridge/sipua/memnet"
	"wakebridge/sipua/softphone"
)

// ring wakes the phone until its call rings.
func (w *world) ring() (in incoming, c *softphone.Call, after int) {
	w.t.Helper()
	after = w.asleep()
	in = newIncoming()
	w.push("voip", in)
	w.registered()
	c = w.invite(in)
	w.see(after, iphone.Ringing)
	synctest.Wait()
	return in, c, after
}

// What the two sides do at once crosses on the way: whoever is faster, the call
// ends on both, and no rule is broken.
func TestCrossings(t *testing.T) {
	for _, deed := range []string{"answer", "decline"} {
		for ms := -60; ms <= 60; ms += 10 {
			inWorld(t, nil, func(t *testing.T, w *world) {
				in, c, after := w.ring()
				w.net.ImpairBoth(serverAddr.Addr(), phoneAddr, memnet.Impairment{Delay: 20 * time.Millisecond})
				done := make(chan error, 1)
				go func() {
					time.Sleep(100 * time.Millisecond)
					if deed == "answer" {
						done <- w.phone.Answer(in.id)
						return
					}
					done <- w.phone.Decline(in.id)
				}()
				time.Sleep(time.Duration(100+ms) * time.Millisecond)
				if err := c.Hangup(); err != nil {
					t.Logf("%s, %d ms: the caller was too late: %v", deed, ms, err)
				}
				if err := <-done; err != nil {
					t.Logf("%s, %d ms: the user was too late: %v", deed, ms, err)
				}
				e := w.ends(c)
				w.see(after, iphone.Ended)
				w.see(after, iphone.Suspended)
				w.clean()
				if deed == "decline" && e.Status != 603 && e.Status != 487 {
					t.Errorf("decline, %d ms: %+v", ms, e)
				}
				if err := w.phone.End(in.id); err == nil {
					t.Errorf("%s, %d ms: the call is still there", deed, ms)
				}
			})
		}
	}
}

func TestBothHangUpAtOnce(t *testing.T) {
	inWorld(t, user(iphone.AnswerAfter(time.Second)), func(t *testing.T, w *world) {
		in, c, after := w.ring()
		w.see(after, iphone.AudioStarted)
		w.net.ImpairBoth(serverAddr.Addr(), phoneAddr, memnet.Impairment{Delay: 50 * time.Millisecond})
		w.must(w.phone.End(in.id))
		w.must(c.Hangup())
		w.ends(c)
		w.see(after, iphone.Ended)
		time.Sleep(time.Minute)
		w.clean()
	})
}

func TestInviteOfAnEndedCall(t *testing.T) {
	for name, c := range map[string]struct {
		end    func(w *world, in incoming, c *softphone.Call)
		status int
	}{
		"declined":  {func(w *world, in incoming, _ *softphone.Call) { w.must(w.phone.Decline(in.id)) }, 603},
		"cancelled": {func(w *world, _ incoming, c *softphone.Call) { w.must(c.Hangup()) }, 480},
	} {
		inWorld(t, nil, func(t *testing.T, w *world) {
			in, call, after := w.ring()
			c.end(w, in, call)
			w.see(after, iphone.Ended)
			again := w.invite(in)
			if e := w.ends(again); e.Status != c.status {
				t.Errorf("%s: %+v", name, e)
			}
			n := 0
			for _, e := range w.phone.Timeline()[after:] {
				if e.Kind == iphone.Reported {
					n++
				}
			}
			if n != 1 {
				t.Errorf("%s: shown %d times", name, n)
			}
			w.clean()
		})
	}
}

func TestNoCommonCodec(t *testing.T) {
	inWorld(t, func(c *iphone.Config) {
		c.User, c.Audio.Codecs = iphone.AnswerAfter(time.Second), []audio.Codec{99}
	}, func(t *testing.T, w *world) {
		_, c, after := w.ring()
		if e := w.ends(c); e.Status != 488 {
			t.Errorf("%+v", e)
		}
		if e := w.see(after, iphone.Ended); e.Reason != iphone.Failed {
			t.Errorf("%+v", e)
		}
		w.clean()
	})
}

// An action has its time, and an app that is late hears of it.
func TestAnswerThatTimesOut(t *testing.T) {
	inWorld(t, func(c *iphone.Config) {
		c.User, c.Timing.Action = iphone.AnswerAfter(0), 5*time.Second
	}, func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		w.see(after, iphone.ActionTimedOut)
		c := w.invite(in) // too late
		if e := w.ends(c); e.Status != 480 {
			t.Errorf("%+v", e)
		}
		if v := w.phone.Violations(); len(v) != 1 || v[0].Rule != iphone.RuleAction {
			t.Errorf("%+v", v)
		}
	})
}

func TestFateOfAnUnknownCallSilencesItsPush(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		in := newIncoming()
		w.ended = []string{in.id.String() + ";cause=200"}
		w.must(w.phone.Open())
		w.see(0, iphone.FateTold)
		w.must(w.phone.Sleep())
		after := w.seq()
		w.push("voip", in)
		w.see(after, iphone.Suspended)
		w.tells(after, "push received", "app resumed", "call reported", "call ended(answeredElsewhere)", "app suspended")
	})
}

// The server is wrong here: the INVITE is with the phone, and the call goes on.
func TestFateOfACallWhoseInviteIsHere(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		in, c, after := w.ring()
		w.mu.Lock()
		w.ended = []string{in.id.String() + ";cause=487"}
		w.mu.Unlock()
		w.push("voip", in)
		w.see(after, iphone.FateTold)
		w.must(w.phone.Answer(in.id))
		w.answered(c)
	})
}

// An app that iOS suspended by itself is asleep: to want just that is no mistake,
// and nothing happens a second time.
func TestSleepOfASleepingApp(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		if err := w.phone.Sleep(); !errors.Is(err, iphone.ErrNotRunning) {
			t.Errorf("before the app was started: %v", err)
		}
		after := w.asleep()
		w.must(w.phone.Sleep())
		time.Sleep(time.Minute)
		if s, err := w.phone.Status(); err != nil || s.App != "suspended" {
			t.Errorf("%v: %+v", err, s)
		}
		if n := w.seq(); n != after {
			t.Errorf("%d events of it", n-after)
		}
		in := newIncoming()
		w.push("voip", in)
		w.see(after, iphone.Woken)
		w.must(w.phone.Kill())
		if err := w.phone.Sleep(); !errors.Is(err, iphone.ErrNotRunning) {
			t.Errorf("killed: %v", err)
		}
	})
}

func TestALockedPhoneSleepsAndAUserChanges(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.must(w.phone.Open())
		w.must(w.phone.Ready(w.ctx()))
		w.registered()
		time.Sleep(time.Hour) // in front of the user it stays awake
		w.must(w.phone.Lock())
		locked := time.Now()
		e := w.see(0, iphone.Suspended)
		if wait := e.At.Sub(locked); wait != 5*time.Second {
			t.Errorf("suspended after %s", wait)
		}
		w.must(w.phone.SetUser(iphone.DeclineAfter(time.Second)))
		after := w.seq()
		in := newIncoming()
		w.push("voip", in)
		for len(w.registers) > 0 {
			<-w.registers
		}
		w.registered()
		if e := w.ends(w.invite(in)); e.Status != 603 {
			t.Errorf("%+v", e)
		}
		w.see(after, iphone.Suspended)
		w.clean()
	})
}

// A phone that dozes between the calls of a day stays as it was.
func TestManyCallsOfADay(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.asleep()
		deeds := []func(w *world, in incoming, c *softphone.Call, after int){
			func(w *world, _ incoming, c *softphone.Call, _ int) { w.must(c.Hangup()) },
			func(w *world, in incoming, _ *softphone.Call, _ int) { w.must(w.phone.Decline(in.id)) },
			func(w *world, in incoming, c *softphone.Call, after int) {
				w.must(w.phone.Answer(in.id))
				w.see(after, iphone.AudioStarted)
				w.must(c.Hangup())
			},
			func(w *world, in incoming, _ *softphone.Call, after int) {
				w.must(w.phone.Answer(in.id))
				w.see(after, iphone.AudioStarted)
				w.must(w.phone.HangUp(in.id))
			},
		}
		for i := range 24 {
			after := w.seq()
			in := newIncoming()
			w.push("voip", in)
			w.registered()
			c := w.invite(in)
			w.see(after, iphone.Ringing)
			synctest.Wait()
			deeds[i%len(deeds)](w, in, c, after)
			w.ends(c)
			w.see(after, iphone.Suspended)
			time.Sleep(time.Duration(i) * time.Minute)
		}
		w.clean()
		flows, dialogs, serverTxs, clientTxs := w.server.Endpoint().Sizes()
		if got := fmt.Sprint(flows, dialogs, serverTxs, clientTxs); got != "0 0 0 0" {
			t.Errorf("left at the server: %s", got)
		}
	})
}

// RFC 8599 s4.1.4: the INVITE may be here before the 200 to REGISTER.
func TestInviteOvertakesThe200(t *testing.T) {
	inWorld(t, user(iphone.AnswerAfter(3*time.Second)), func(t *testing.T, w *world) {
		after := w.asleep()
		w.mu.Lock()
		w.reply = func(tx *sipua.ServerTx) *sip.Response {
			time.AfterFunc(time.Second, func() {
				res := tx.NewResponse(200, "")
				res.AppendHeader(tx.Request.Contact().Clone())
				if err := tx.Respond(res); err != nil {
					t.Error(err)
				}
			})
			return nil
		}
		w.mu.Unlock()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		c := w.inviteNow(in)
		w.answered(c)
		w.see(after, iphone.AudioStarted)
		w.tells(after, "push received", "app resumed", "call reported", "registering", "INVITE received", "180 sent", "registered", "user answered",
			"200 sent", "answer fulfilled", "audio started")
		time.Sleep(time.Minute)
		w.must(c.Hangup())
		w.see(after, iphone.Ended)
	})
}
