package iphone_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wakebridge/sipua"
	"wakebridge/sipua/header"
	"wakebridge/sipua/iphone"
	"wakebridge/sipua/memnet"
	"wakebridge/sipua/softphone"
)

// with is a phone of a policy whose user answers after a second.
func with(t *testing.T, policy string) func(*iphone.Config) {
	t.Helper()
	p, err := iphone.PolicyNamed(policy)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *iphone.Config) {
		c.Policy = p
		c.User = iphone.AnswerAfter(time.Second)
	}
}

// broken are the rules that a phone broke.
func (w *world) broken() []iphone.Rule {
	var out []iphone.Rule
	for _, v := range w.phone.Violations() {
		out = append(out, v.Rule)
	}
	return out
}

func TestPoliciesHaveNames(t *testing.T) {
	all := iphone.Policies()
	names := make(map[string]bool)
	for _, p := range all {
		if p.Name == "" || p.About == "" || names[p.Name] {
			t.Errorf("%q: %q", p.Name, p.About)
		}
		names[p.Name] = true
	}
	if len(all) != 15 || all[0].Name != iphone.CorrectPolicy { // the correct app, the article's, and 13
		t.Errorf("%d policies, %s first", len(all), all[0].Name)
	}
	if _, err := iphone.PolicyNamed("perfect"); !errors.Is(err, iphone.ErrPolicy) {
		t.Errorf("%v", err)
	}
}

// The article's app fulfils before the ACK: CallKit shows a call that may not be.
func TestTheArticlesAppDoesNotWaitForTheACK(t *testing.T) {
	inWorld(t, with(t, "article"), func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		c := w.invite(in)
		w.see(after, iphone.Ringing)
		synctest.Wait()
		w.net.Partition(serverAddr.Addr(), phoneAddr) // no ACK
		w.see(after, iphone.AudioStarted)
		w.tells(after, "push received", "app resumed", "call reported", "registering", "registered", "INVITE received", "180 sent", "user answered",
			"200 sent", "answer fulfilled", "audio started")
		w.must(c.Hangup())
	})
}

// R4 and R6: what is not reported kills, and the third time iOS has enough.
func TestAppsThatDoNotReportAreBlocked(t *testing.T) {
	for _, policy := range []string{"never-reports", "reports-late"} {
		inWorld(t, with(t, policy), func(t *testing.T, w *world) {
			w.asleep()
			for i := range 3 {
				after := w.seq()
				w.push("voip", newIncoming())
				w.see(after, iphone.Killed)
				time.Sleep(time.Minute)
				if got := w.story(after); strings.Contains(got, "pushes blocked") != (i == 2) || strings.Contains(got, "call reported") {
					t.Errorf("%s, push %d: %s", policy, i+1, got)
				}
			}
			after := w.seq()
			w.push("voip", newIncoming())
			time.Sleep(time.Minute)
			if got := w.story(after); got != "push received; push withheld" {
				t.Errorf("%s: %s", policy, got)
			}
			s, err := w.phone.Status()
			w.must(err)
			if !s.Blocked || s.Strikes != 3 || len(w.broken()) != 3 || w.broken()[0] != iphone.RuleReport {
				t.Errorf("%s: %+v, %v", policy, s, w.broken())
			}
			w.must(w.phone.Reinstall())
			w.must(w.phone.Open())
			w.see(after, iphone.Registered)
			w.must(w.phone.Kill())
			after = w.seq()
			w.push("voip", newIncoming())
			w.see(after, iphone.Launched) // delivered again
		})
	}
}

func TestStrikesAreCounted(t *testing.T) {
	inWorld(t, func(c *iphone.Config) { with(t, "never-reports")(c); c.Strikes = 1 }, func(t *testing.T, w *world) {
		after := w.asleep()
		w.push("voip", newIncoming())
		w.see(after, iphone.Blocked)
	})
}

// In front of the user even these live.
func TestReportsLateInTheForeground(t *testing.T) {
	inWorld(t, with(t, "reports-late"), func(t *testing.T, w *world) {
		w.must(w.phone.Open())
		w.must(w.phone.Ready(w.ctx()))
		w.registered()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		c := w.invite(in)
		w.answered(c)
		w.clean()
	})
}

func TestNeverRegisters(t *testing.T) {
	inWorld(t, with(t, "never-registers"), func(t *testing.T, w *world) {
		after := w.asleep()
		w.push("voip", newIncoming())
		w.see(after, iphone.Suspended)
		if n := len(w.registers); n != 0 {
			t.Errorf("%d REGISTERs", n)
		}
		w.tells(after, "push received", "app resumed", "call reported", "user answered", "call ended(failed)", "action failed", "app suspended")
	})
}

func TestRejects(t *testing.T) {
	inWorld(t, with(t, "rejects"), func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		if e := w.ends(w.invite(in)); e.Status != 486 {
			t.Errorf("%+v", e)
		}
		w.see(after, iphone.Suspended)
		w.tells(after, "push received", "app resumed", "call reported", "registering", "registered", "INVITE received", "decline sent", "call ended(failed)",
			"app suspended")
	})
}

func TestRegistersTwice(t *testing.T) {
	inWorld(t, with(t, "registers-twice"), func(t *testing.T, w *world) {
		w.must(w.phone.Open())
		var instances, flows []string
		for range 2 {
			req := w.registered()
			i, err := header.Instance(*req.Contact())
			w.must(err)
			instances, flows = append(instances, i), append(flows, req.Contact().Address.String())
		}
		if instances[0] != instances[1] || flows[0] == flows[1] {
			t.Errorf("instances %v, contacts %v", instances, flows)
		}
		w.must(w.phone.Ready(w.ctx()))
		c := w.invite(newIncoming()) // over the newest, whichever that is
		w.answered(c)
		w.must(c.Hangup())
		w.must(w.phone.Sleep())
		time.Sleep(time.Second)
		if n := w.gone.Load(); n != 2 {
			t.Errorf("%d connections closed", n)
		}
		for len(w.registers) > 0 {
			<-w.registers
		}
		w.push("voip", newIncoming())
		w.registered()
		w.registered()
		w.clean()
	})
}

func TestNoAudio(t *testing.T) {
	inWorld(t, with(t, "no-audio"), func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		c := w.invite(in)
		w.see(after, iphone.Fulfilled)
		time.Sleep(10 * time.Second)
		if n := c.Audio().Received; n != 0 {
			t.Errorf("%d packets", n)
		}
		if n := w.phone.Call(in.id).Audio().Received; n < 450 {
			t.Errorf("it heard %d packets", n)
		}
		w.clean()
	})
}

func TestDiesAfterTheAnswer(t *testing.T) {
	inWorld(t, with(t, "dies-after-answer"), func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		c := w.invite(in)
		w.answered(c)
		if e := w.see(after, iphone.Killed); e.Text != "kill -9" {
			t.Errorf("%+v", e)
		}
		time.Sleep(10 * time.Second)
		for _, e := range c.Events() {
			if e.Kind == softphone.Ended {
				t.Errorf("the caller heard of it: %+v", e)
			}
		}
		w.clean()
	})
}

// The phone registers for the push, and again from elsewhere.
func TestChangesAddress(t *testing.T) {
	elsewhere := netip.MustParseAddr("10.0.0.10")
	var here *memnet.Host
	inWorld(t, func(c *iphone.Config) {
		with(t, "changes-address")(c)
		dial := c.Network.Dial
		c.Network.Dial = func(ctx context.Context, tr sipua.Transport, to sipua.Destination) (net.Conn, error) {
			if here != nil {
				return here.Dial(ctx, netip.AddrPort{}, to.Addr)
			}
			return dial(ctx, tr, to)
		}
	}, func(t *testing.T, w *world) {
		w.asleep()
		w.roam = func() { here = w.net.Host(elsewhere) }
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		again := w.registered()
		if got := again.Contact().Address.Host; got != elsewhere.String() {
			t.Errorf("registered from %s", got)
		}
		w.answered(w.invite(in))
		w.clean()
	})
}

func TestFulfilsLate(t *testing.T) {
	inWorld(t, with(t, "fulfils-late"), func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		c := w.invite(in)
		w.answered(c)
		w.see(after, iphone.ActionTimedOut)
		time.Sleep(10 * time.Second)
		if got := w.broken(); !slices.Equal(got, []iphone.Rule{iphone.RuleAction, iphone.RuleAction}) {
			t.Errorf("%v", got)
		}
		if strings.Contains(w.story(after), "answer fulfilled") {
			t.Error("the fulfilment counted")
		}
		if n := c.Audio().Received; n != 0 {
			t.Errorf("%d packets", n)
		}
		w.must(c.Hangup())
	})
}

func TestStaleToken(t *testing.T) {
	inWorld(t, with(t, "stale-token"), func(t *testing.T, w *world) {
		for range 2 {
			w.must(w.phone.Open())
			p, err := header.ParsePush(*w.registered().Contact())
			if err != nil || p.VoIPToken != voipToken || p.AlertToken != alertToken {
				t.Errorf("%s, %v", p, err)
			}
			w.must(w.phone.Ready(w.ctx()))
			w.must(w.phone.Kill())
		}
		w.apns.mu.Lock()
		defer w.apns.mu.Unlock()
		if w.apns.installs == 0 {
			t.Error("its tokens are good")
		}
	})
}

func TestStaysInTheForeground(t *testing.T) {
	inWorld(t, with(t, "foreground"), func(t *testing.T, w *world) {
		w.registered() // by itself
		time.Sleep(time.Hour)
		in := newIncoming()
		after := w.seq()
		c := w.invite(in)
		w.see(after, iphone.Ringing)
		w.push("voip", in)
		w.answered(c)
		w.see(after, iphone.AudioStarted)
		w.must(c.Hangup())
		time.Sleep(time.Minute)
		w.tells(after, "INVITE received", "call reported", "180 sent", "push received", "registering", "registered", "user answered", "200 sent",
			"answer fulfilled", "audio started", "call ended(remoteEnded)")
	})
}

func TestTwoPhones(t *testing.T) {
	p, err := iphone.PolicyNamed("two-phones")
	if err != nil || p.Phones != 2 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestOnlineAfterCancel(t *testing.T) {
	inWorld(t, with(t, "online-after-cancel"), func(t *testing.T, w *world) {
		w.asleep()
		online := func() bool {
			synctest.Wait()
			w.apns.mu.Lock()
			defer w.apns.mu.Unlock()
			return w.apns.online
		}
		if online() {
			t.Error("asleep and online")
		}
		time.Sleep(18 * time.Second) // asleep for 19
		if online() {
			t.Error("online too early")
		}
		time.Sleep(2 * time.Second)
		if !online() {
			t.Error("offline for ever")
		}
		// Its push comes now, the caller is gone: the server says so.
		in := newIncoming()
		w.mu.Lock()
		w.ended = []string{in.id.String() + ";cause=487"}
		w.mu.Unlock()
		after := w.seq()
		w.push("voip", in)
		w.see(after, iphone.FateTold)
		w.see(after, iphone.Ended)
		w.clean()
	})
}
