package iphone_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"

	"wakebridge/sipua/header"
	"wakebridge/sipua/iphone"
)

// A call that CallKit does not show counts as reported, and the app refuses its
// INVITE.
func TestFilteredCalls(t *testing.T) {
	for name, c := range map[string]struct {
		set    func(w *world)
		status int
		reason string
	}{
		"do not disturb": {func(w *world) { w.must(w.phone.DoNotDisturb(true)) }, 480, "filteredByDoNotDisturb"},
		"block list":     {func(w *world) { w.must(w.phone.Block("999", "201")) }, 486, "filteredByBlockList"},
		"entitlement":    {func(*world) {}, 480, "unentitled"},
	} {
		inWorld(t, func(cfg *iphone.Config) {
			cfg.User, cfg.App.Unentitled = iphone.AnswerAfter(0), name == "entitlement"
		}, func(t *testing.T, w *world) {
			after := w.asleep()
			c.set(w)
			in := newIncoming()
			w.push("voip", in)
			w.registered()
			if e := w.ends(w.invite(in)); e.Status != c.status {
				t.Errorf("%s, woken: %+v", name, e)
			}
			w.see(after, iphone.Suspended)
			w.tells(after, "push received", "app resumed", "call filtered("+c.reason+")", "registering", "registered", "INVITE received", "decline sent",
				"app suspended")
			after = w.seq()
			w.push("voip", in) // the same push, late
			w.see(after, iphone.Suspended)
			w.tells(after, "push received", "app resumed", "call filtered("+c.reason+")", "app suspended")

			w.must(w.phone.Open())
			w.registered()
			w.see(after, iphone.Registered)
			after = w.seq()
			if e := w.ends(w.invite(newIncoming())); e.Status != c.status {
				t.Errorf("%s, awake: %+v", name, e)
			}
			w.tells(after, "INVITE received", "call filtered("+c.reason+")", "decline sent")

			if name == "entitlement" { // no user gives it
				return
			}
			w.must(w.phone.DoNotDisturb(false))
			w.must(w.phone.Block())
			w.answered(w.invite(newIncoming()))
			w.clean()
		})
	}
}

// The ordinary push of a phone without CallKit knows neither.
func TestNoFilterWithoutCallKit(t *testing.T) {
	inWorld(t, func(c *iphone.Config) { c.OS = 9; c.User = iphone.AnswerAfter(time.Second) }, func(t *testing.T, w *world) {
		w.must(w.phone.DoNotDisturb(true))
		w.must(w.phone.Open())
		w.must(w.phone.Ready(w.ctx()))
		w.answered(w.invite(newIncoming()))
		w.clean()
	})
}

// After a restart nothing that the app stored can be read: it reports the call of a
// push, and cannot register for it. Once unlocked it does.
func TestBeforeTheFirstUnlock(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.asleep()
		w.must(w.phone.Restart())
		after := w.seq()
		w.push("voip", newIncoming())
		w.see(after, iphone.Ended)
		synctest.Wait()
		if n := len(w.registers); n != 0 {
			t.Errorf("%d REGISTERs", n)
		}
		w.see(after, iphone.Suspended)
		w.tells(after, "push received", "app launched", "call reported", "register failed", "call ended(unanswered)", "app suspended")

		after = w.seq()
		in := newIncoming()
		w.push("voip", in)
		w.see(after, iphone.RegisterFailed)
		w.must(w.phone.Unlock())
		w.registered()
		c := w.invite(in)
		w.see(after, iphone.Ringing)
		w.must(w.phone.Answer(in.id))
		w.answered(c)
		w.see(after, iphone.AudioStarted)
		w.must(w.phone.Lock()) // an answered call goes on
		time.Sleep(time.Minute)
		w.must(c.Hangup())
		w.see(after, iphone.Suspended)
		w.tells(after, "push received", "app resumed", "call reported", "register failed", "unlocked", "registering", "registered", "INVITE received",
			"180 sent", "user answered", "200 sent", "answer fulfilled", "audio started", "locked", "call ended(remoteEnded)", "app suspended")
		w.must(w.phone.Unlock()) // not the first time any more
		w.tells(w.seq()-1, "unlocked")
	})
}

// An app that is suspended when the phone is unlocked does nothing; the next push
// finds it as any other.
func TestUnlockingASleepingApp(t *testing.T) {
	inWorld(t, user(iphone.AnswerAfter(time.Second)), func(t *testing.T, w *world) {
		w.asleep()
		w.must(w.phone.Restart())
		after := w.seq()
		w.push("voip", newIncoming(), func(p map[string]any) { p["expires_at"] = time.Now().Add(time.Second).UnixMilli() })
		w.see(after, iphone.Suspended)
		w.must(w.phone.Unlock())
		time.Sleep(time.Minute)
		if n := len(w.registers); n != 0 {
			t.Errorf("%d REGISTERs of a sleeping app", n)
		}
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		w.answered(w.invite(in))
		w.clean()
	})
}

// Whoever taps on a notification of a locked phone unlocks it.
func TestTapUnlocks(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.asleep()
		w.must(w.phone.Lock())
		after := w.seq()
		w.push("alert", newIncoming())
		w.see(after, iphone.Notified)
		w.must(w.phone.Tap())
		w.see(after, iphone.Registered)
		w.tells(after, "push received", "notification shown", "unlocked", "notification tapped", "app resumed", "registering", "registered")
	})
}

func TestARestartEndsAllAtOnce(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		after := w.asleep()
		w.push("voip", newIncoming())
		w.see(after, iphone.PushReceived)
		w.must(w.phone.Restart()) // while the app is being started
		time.Sleep(time.Minute)
		w.tells(after, "push received", "device restarted")
		in := newIncoming()
		w.push("voip", in)
		w.see(after, iphone.Reported)
		w.must(w.phone.Restart())
		if e := w.see(after, iphone.Ended); e.UUID != in.id || e.Reason != iphone.ByKill {
			t.Errorf("%+v", e)
		}
		time.Sleep(time.Minute)
		w.clean()
	})
}

func TestReinstallGivesNewTokensAndAnotherInstance(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.must(w.phone.Open())
		before := w.registered()
		w.must(w.phone.Reinstall())
		w.must(w.phone.Open())
		after := w.registered()
		for name, read := range map[string]func(c sip.ContactHeader) (string, error){
			"instance": header.Instance,
			"token":    voipTokenOf,
		} {
			was, err := read(*before.Contact())
			w.must(err)
			is, err := read(*after.Contact())
			w.must(err)
			if is == was || is == "" {
				t.Errorf("%s %s, before %s", name, is, was)
			}
		}
		w.clean()
	})
}

func voipTokenOf(c sip.ContactHeader) (string, error) {
	p, err := header.ParsePush(c)
	return p.VoIPToken, err
}

func TestAnInvalidTokenIsAnnouncedNoMore(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.must(w.phone.Open())
		w.must(w.phone.Ready(w.ctx()))
		w.registered()
		w.must(w.phone.InvalidateToken())
		p, err := header.ParsePush(*w.registered().Contact())
		if err != nil || p.VoIPToken != "" || p.AlertToken != alertToken {
			t.Errorf("%s, %v", p, err)
		}
		after := w.seq()
		w.push("voip", newIncoming())
		w.see(after, iphone.Violated) // a push to it is the server's fault
	})
}

// A push source that gives no token leaves the app without one.
func TestNoTokens(t *testing.T) {
	inWorld(t, func(c *iphone.Config) { c.Pushes = tokenless{c.Pushes} }, func(t *testing.T, w *world) {
		w.must(w.phone.Open())
		p, err := header.ParsePush(*w.registered().Contact())
		if err != nil || p.VoIPToken != "" || p.AlertToken != "" {
			t.Errorf("%s, %v", p, err)
		}
	})
}

type tokenless struct{ iphone.PushSource }

func (tokenless) RegisterVoIP(string) string  { return "" }
func (tokenless) RegisterAlert(string) string { return "" }

func TestStatus(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		s, err := w.phone.Status()
		w.must(err)
		if s.App != "not running" || s.Registered || !s.Online || s.VoIPToken || len(s.Calls) != 0 {
			t.Errorf("new: %+v", s)
		}
		in, _, _ := w.talk()
		w.must(w.phone.Mute(uuid.Nil, true))
		w.must(w.phone.Lock())
		s, err = w.phone.Status()
		w.must(err)
		want := iphone.CallStatus{UUID: in.id, State: "active", Name: "Alice", Muted: true}
		if s.App != "background" || !s.Registered || !s.Locked || !s.VoIPToken || !s.CallKit || len(s.Calls) != 1 || s.Calls[0] != want {
			t.Errorf("in a call: %+v", s)
		}
		w.must(w.phone.Airplane(true))
		s, err = w.phone.Status()
		w.must(err)
		if s.Online {
			t.Errorf("in airplane mode: %+v", s)
		}
		w.phone.Close()
		if _, err := w.phone.Status(); err == nil {
			t.Error("status of a closed device")
		}
	})
}
