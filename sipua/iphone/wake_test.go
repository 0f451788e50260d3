package iphone_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/header"
	"wakebridge/sipua/iphone"
	"wakebridge/sipua/softphone"
)

func user(h iphone.Habit) func(*iphone.Config) {
	return func(c *iphone.Config) { c.User = h }
}

func TestAWokenCallIsAnswered(t *testing.T) {
	inWorld(t, user(iphone.AnswerAfter(2*time.Second)), func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		c := w.invite(in)
		w.answered(c)
		w.see(after, iphone.AudioStarted)
		time.Sleep(2 * time.Second)
		w.must(c.Hangup())
		w.see(after, iphone.Ended)
		w.see(after, iphone.Suspended)
		w.tells(after, "push received", "app resumed", "call reported", "registering", "registered", "INVITE received", "180 sent", "user answered",
			"200 sent", "answer fulfilled", "audio started", "call ended(remoteEnded)", "app suspended")
		heard, said := w.phone.Call(in.id).Audio(), c.Audio()
		if heard.Tone(440) < 0.95 || heard.Lost != 0 || heard.Received < 90 {
			t.Errorf("the phone heard %d packets, lost %d, tone %.2f", heard.Received, heard.Lost, heard.Tone(440))
		}
		if said.Tone(1000) < 0.95 || said.Lost != 0 || said.Received < 90 {
			t.Errorf("the caller heard %d packets, lost %d, tone %.2f", said.Received, said.Lost, said.Tone(1000))
		}
		if wait := heard.FirstSent.Sub(at(w, after, iphone.Fulfilled)); wait < 150*time.Millisecond {
			t.Errorf("audio %s after the answer was fulfilled: CallKit had not activated it", wait)
		}
	})
}

func at(w *world, after int, kind iphone.Kind) time.Time {
	w.t.Helper()
	return w.see(after, kind).At
}

func TestAKilledAppIsStartedByAPush(t *testing.T) {
	inWorld(t, user(iphone.AnswerAfter(time.Second)), func(t *testing.T, w *world) {
		w.asleep()
		w.must(w.phone.Kill())
		after := w.seq()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		w.answered(w.invite(in))
		w.see(after, iphone.Fulfilled)
		w.tells(after, "push received", "app launched", "call reported", "registering", "registered", "INVITE received", "180 sent", "user answered",
			"200 sent", "answer fulfilled")
	})
}

// The user opens the app while a push starts it.
func TestOpenedWhileAPushStartsIt(t *testing.T) {
	for name, resumed := range map[string]bool{"started": false, "resumed": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				after, kind := w.asleep(), iphone.Woken
				if !resumed {
					w.must(w.phone.Kill())
					kind = iphone.Launched
				}
				w.push("voip", newIncoming())
				time.Sleep(100 * time.Millisecond)
				w.must(w.phone.Open())
				if e := w.see(after, kind); e.Text != "foreground" {
					t.Errorf("%+v", e)
				}
				w.see(after, iphone.Reported)
			})
		})
	}
}

func TestRegisterAnnouncesBothTokens(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.must(w.phone.Open())
		req := w.registered()
		p, err := header.ParsePush(*req.Contact())
		if err != nil || p.TeamID != "ABCDE12345" || p.BundleID != bundle || p.VoIPToken != voipToken || p.AlertToken != alertToken {
			t.Errorf("%s: %+v, %v", req.Contact(), p, err)
		}
		instance, err := header.Instance(*req.Contact())
		if err != nil || instance == "" || !header.ReadsFate(*req.Contact()) {
			t.Errorf("contact %s", req.Contact())
		}
		// The same installation, whatever its process went through.
		w.must(w.phone.Ready(w.ctx()))
		w.must(w.phone.Kill())
		w.must(w.phone.Open())
		again, err := header.Instance(*w.registered().Contact())
		if err != nil || again != instance {
			t.Errorf("instance %s, then %s", instance, again)
		}
	})
}

// R1: without CallKit no VoIP token is even asked for.
func TestWithoutCallKitThereIsNoVoIPToken(t *testing.T) {
	for name, change := range map[string]func(*iphone.Config){
		"iOS 8":   func(c *iphone.Config) { c.OS = 8 },
		"iOS 9":   func(c *iphone.Config) { c.OS = 9 },
		"no kit":  func(c *iphone.Config) { c.NoCallKit = true },
		"iOS 10":  func(c *iphone.Config) { c.OS = 10 },
		"default": func(*iphone.Config) {},
	} {
		inWorld(t, change, func(t *testing.T, w *world) {
			w.must(w.phone.Open())
			req := w.registered()
			p, err := header.ParsePush(*req.Contact())
			if err != nil {
				t.Fatal(err)
			}
			kit := name == "iOS 10" || name == "default"
			if (p.VoIPToken != "") != kit || p.AlertToken != alertToken || slices.Contains(w.apns.asked, "voip") != kit {
				t.Errorf("%s: announced %s, asked for %v", name, p, w.apns.asked)
			}
		})
	}
}

func TestDecliningNeedsTheInvite(t *testing.T) {
	inWorld(t, user(iphone.DeclineAfter(0)), func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		c := w.invite(in)
		if e := w.ends(c); e.Status != 603 {
			t.Errorf("the caller got %d", e.Status)
		}
		w.tells(after, "push received", "app resumed", "call reported", "registering", "user declined", "call ended(declined)", "registered",
			"INVITE received", "decline sent")
		w.see(after, iphone.Suspended)
	})
}

func TestDecliningARingingCall(t *testing.T) {
	inWorld(t, user(iphone.DeclineAfter(3*time.Second)), func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		c := w.invite(in)
		if e := w.ends(c); e.Status != 603 {
			t.Errorf("the caller got %d", e.Status)
		}
		w.tells(after, "push received", "app resumed", "call reported", "registering", "registered", "INVITE received", "180 sent", "user declined",
			"decline sent", "call ended(declined)")
	})
}

func TestAnsweringBeforeTheInviteWaitsForIt(t *testing.T) {
	inWorld(t, user(iphone.AnswerAfter(0)), func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		time.Sleep(5 * time.Second)
		c := w.invite(in)
		w.answered(c)
		w.see(after, iphone.Fulfilled)
		if slices.ContainsFunc(c.Events(), func(e softphone.Event) bool { return e.Kind == softphone.Ringing }) {
			t.Error("a call that the user had answered rang")
		}
		w.tells(after, "push received", "app resumed", "call reported", "registering", "user answered", "registered", "INVITE received", "200 sent",
			"answer fulfilled")
	})
}

func TestHangingUpInTheAppIsATransaction(t *testing.T) {
	inWorld(t, user(iphone.AnswerAfter(time.Second)), func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		c := w.invite(in)
		w.see(after, iphone.AudioStarted)
		w.must(w.phone.HangUp(in.id))
		if e := w.ends(c); e.Cause != softphone.CauseBye || !e.ByRemote {
			t.Errorf("%+v", e)
		}
		if e := w.see(after, iphone.Ended); e.Reason != iphone.ByUser {
			t.Errorf("%+v", e)
		}
		w.clean()
	})
}

func TestCancelTellsWhy(t *testing.T) {
	reasons := map[string]iphone.Reason{
		"": iphone.RemoteEnded,
		`SIP;cause=200;text="Call completed elsewhere"`: iphone.AnsweredElsewhere,
		`SIP;cause=603;text="Declined"`:                 iphone.DeclinedElsewhere,
		`Q.850;cause=16, SIP;cause=200`:                 iphone.AnsweredElsewhere,
		`SIP;cause=480;text="No answer"`:                iphone.Unanswered,
		`SIP;cause=487;text="Call cancelled"`:           iphone.RemoteEnded,
		`SIP;cause=487, SIP;cause=200`:                  iphone.AnsweredElsewhere,
		`Q.850;cause=200`:                               iphone.RemoteEnded,
		"garbage;;;":                                    iphone.RemoteEnded,
	}
	for cause, want := range fates(t) {
		reasons["SIP;cause="+cause] = want
	}
	for reason, want := range reasons {
		inWorld(t, nil, func(t *testing.T, w *world) {
			after := w.asleep()
			in := newIncoming()
			w.push("voip", in)
			w.registered()
			c := w.invite(in)
			w.see(after, iphone.Ringing)
			synctest.Wait()
			var reasons []string
			if reason != "" {
				reasons = []string{reason}
			}
			w.must(c.Hangup(reasons...))
			if e := w.ends(c); e.Status != 487 {
				t.Errorf("%q: %+v", reason, e)
			}
			if e := w.see(after, iphone.Ended); e.Reason != want {
				t.Errorf("%q: %s, want %s", reason, e.Reason, want)
			}
			w.clean()
		})
	}
}

// fates is the table of the app developers' guide: a cause, and what CallKit is told.
func fates(t *testing.T) map[string]iphone.Reason {
	t.Helper()
	guide, err := os.ReadFile("../../docs/app-developers.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rows, _ := strings.Cut(string(guide), "\n| cause |")
	rows, _, _ = strings.Cut(rows, "\n\n")
	all := make(map[string]iphone.Reason)
	for _, m := range regexp.MustCompile("(?m)^\\| ([0-9]{3})[^|]*\\|[^|]*\\| `\\.([A-Za-z]+)` \\|$").FindAllStringSubmatch(rows, -1) {
		all[m[1]] = iphone.Reason(m[2])
	}
	if len(all) != 4 {
		t.Fatalf("the guide has %v", all)
	}
	return all
}

func TestFateInThe200EndsTheCall(t *testing.T) {
	for cause, want := range fates(t) {
		inWorld(t, nil, func(t *testing.T, w *world) {
			after := w.asleep()
			in := newIncoming()
			w.ended = []string{in.id.String() + ";cause=" + cause + `;text="over"`}
			w.push("voip", in)
			if e := w.see(after, iphone.Ended); e.Reason != want {
				t.Errorf("%s: %s", cause, e.Reason)
			}
			w.tells(after, "push received", "app resumed", "call reported", "registering", "registered", "fate told("+string(want)+")", "call ended("+string(want)+")")
			w.see(after, iphone.Suspended)
		})
	}
}

func TestFateEndsACallThatTheUserHasAnswered(t *testing.T) {
	inWorld(t, user(iphone.AnswerAfter(0)), func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.ended = []string{in.id.String() + ";cause=487"}
		w.push("voip", in)
		w.see(after, iphone.FateTold)
		w.tells(after, "push received", "app resumed", "call reported", "registering", "user answered", "registered", "fate told(remoteEnded)",
			"call ended(remoteEnded)", "action failed")
	})
}

func TestLatePushIsReportedAndEnded(t *testing.T) {
	inWorld(t, user(iphone.AnswerAfter(time.Second)), func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in, func(p map[string]any) { p["expires_at"] = time.Now().UnixMilli() })
		w.see(after, iphone.Suspended)
		w.tells(after, "push received", "app resumed", "call reported", "call ended(unanswered)", "app suspended")
		if len(w.registers) > 0 {
			t.Error("registered for a call that is over")
		}
	})
}

func TestPushOfAnEndedCallIsReportedAndEnded(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		c := w.invite(in)
		w.see(after, iphone.Ringing)
		synctest.Wait()
		w.must(c.Hangup(`SIP;cause=200`))
		w.see(after, iphone.Ended)
		time.Sleep(9 * time.Minute)
		after = w.seq()
		w.push("voip", in)
		w.see(after, iphone.Ended)
		w.tells(after, "push received", "app resumed", "call reported", "call ended(answeredElsewhere)")
		// After ten minutes it is forgotten, and expires_at has to do.
		time.Sleep(2 * time.Minute)
		after = w.seq()
		w.push("voip", in)
		w.see(after, iphone.Registered)
	})
}

func TestPushBehindTheInviteChangesNothing(t *testing.T) {
	inWorld(t, user(iphone.AnswerAfter(3*time.Second)), func(t *testing.T, w *world) {
		w.must(w.phone.Open())
		w.must(w.phone.Ready(w.ctx()))
		w.registered()
		after := w.seq()
		in := newIncoming()
		c := w.invite(in)
		w.see(after, iphone.Ringing)
		w.push("voip", in)
		w.push("voip", in)
		w.registered() // RFC 8599 s4.1.3
		w.answered(c)
		w.see(after, iphone.Fulfilled)
		n := 0
		for _, e := range w.phone.Timeline()[after:] {
			if e.Kind == iphone.Reported {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d calls on the screen: %s", n, w.story(after))
		}
		w.clean()
	})
}

func TestNoInviteEndsTheCallAndIsTheServersFault(t *testing.T) {
	for name, habit := range map[string]iphone.Habit{"ignored": iphone.Ignore(), "answered": iphone.AnswerAfter(0), "declined": iphone.DeclineAfter(0)} {
		inWorld(t, user(habit), func(t *testing.T, w *world) {
			after := w.asleep()
			in := newIncoming()
			w.push("voip", in)
			w.registered()
			w.see(after, iphone.Suspended)
			v := w.phone.Violations()
			if len(v) != 1 || v[0].Rule != iphone.RuleInvite || v[0].UUID != in.id {
				t.Errorf("%s: %+v", name, v)
			}
			want := map[string]iphone.Reason{"ignored": iphone.Unanswered, "answered": iphone.Failed, "declined": iphone.ByDecline}[name]
			if e := w.see(after, iphone.Ended); e.Reason != want {
				t.Errorf("%s: %s", name, w.story(after))
			}
		})
	}
}

func TestRingLimitDeclines(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		c := w.invite(in)
		e := w.ends(c)
		if rang := e.At.Sub(at(w, after, iphone.Reported)); e.Status != 603 || rang < time.Minute || rang > time.Minute+10*time.Millisecond {
			t.Errorf("%d after %s", e.Status, rang)
		}
		if e := w.see(after, iphone.Ended); e.Reason != iphone.RingLimit {
			t.Errorf("%+v", e)
		}
		w.clean()
	})
}

// Before iOS 16 CallKit let a call ring for ever.
func TestOldSystemsRingOn(t *testing.T) {
	inWorld(t, func(c *iphone.Config) { c.OS = 15 }, func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		c := w.invite(in)
		time.Sleep(3 * time.Minute)
		w.must(w.phone.Answer(in.id))
		w.answered(c)
		w.see(after, iphone.Fulfilled)
		w.clean()
	})
}

func TestAlertPushNeedsATap(t *testing.T) {
	inWorld(t, func(c *iphone.Config) { c.OS = 9; c.User = iphone.AnswerAfter(2 * time.Second) }, func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("alert", in)
		w.registered()
		c := w.invite(in)
		w.answered(c)
		w.see(after, iphone.AudioStarted)
		w.tells(after, "push received", "notification shown", "notification tapped", "app resumed", "registering", "registered", "INVITE received",
			"call reported", "180 sent", "user answered", "200 sent", "answer fulfilled", "audio started")
		w.must(c.Hangup())
		w.see(after, iphone.Ended)
	})
}

func TestAlertPushAloneRunsNothing(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("alert", in)
		w.push("alert", in)
		time.Sleep(time.Minute)
		w.tells(after, "push received", "notification shown", "push received", "notification shown")
		w.must(w.phone.Tap())
		w.registered()
		if err := w.phone.Tap(); err == nil {
			t.Error("the second notification of a call does not replace the first")
		}
	})
}

func TestTapOnANotificationOfAKilledApp(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.asleep()
		w.must(w.phone.Kill())
		after := w.seq()
		in := newIncoming()
		w.push("alert", in)
		synctest.Wait()
		w.must(w.phone.Tap())
		w.registered()
		w.see(after, iphone.Registered)
		w.tells(after, "push received", "notification shown", "notification tapped", "app launched", "registering", "registered")
		time.Sleep(time.Second)
		if len(w.registers) != 0 {
			t.Errorf("%d REGISTERs too many", len(w.registers))
		}
	})
}

func TestRegisterRefusedEndsTheCallLater(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		after := w.asleep()
		w.mu.Lock()
		w.reply = nil
		w.mu.Unlock()
		in := newIncoming()
		w.mu.Lock()
		w.reply = forbidden
		w.mu.Unlock()
		w.push("voip", in)
		e := w.see(after, iphone.Ended)
		if e.Reason != iphone.Unanswered || e.At.Sub(at(w, after, iphone.Reported)) > 40*time.Second {
			t.Errorf("%s", w.story(after))
		}
		w.clean() // it is nobody's rule that a phone may register
	})
}

// The end of a call whose INVITE came is told with the next 200, when the connection
// went away before the CANCEL.
func TestFateEndsACallWhoseConnectionIsLost(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		first := w.invite(in)
		w.see(after, iphone.Ringing)
		w.mu.Lock()
		flow := w.flow
		w.ended = []string{in.id.String() + ";cause=200"}
		w.mu.Unlock()
		flow.Shut(errNo)
		told := w.see(after, iphone.FateTold)
		ended := w.see(after, iphone.Ended)
		if ended.Reason != iphone.AnsweredElsewhere || !ended.At.Equal(told.At) {
			t.Errorf("told %+v, ended %+v", told, ended)
		}
		w.ends(first)
		w.clean()
	})
}

// The server ended the call while the phone was away, and was started again: it knows
// what became of the call, and nothing of its dialog.
func TestFateEndsACallThatTheServerForgot(t *testing.T) {
	inWorld(t, user(iphone.AnswerAfter(0)), func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		c := w.invite(in)
		w.answered(c)
		w.mu.Lock()
		flow := w.flow
		w.ended = []string{in.id.String() + `;cause=480;text="Call ended"`}
		w.mu.Unlock()
		flow.Shut(errNo)
		told := w.see(after, iphone.FateTold)
		ended := w.see(after, iphone.Ended)
		if ended.Reason != iphone.RemoteEnded || !ended.At.Equal(told.At) {
			t.Errorf("told %+v, ended %+v", told, ended)
		}
		w.must(c.Hangup())
		w.ends(c)
		w.clean()
	})
}

func TestLostPhonesINVITEComesAgain(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		first := w.invite(in)
		w.see(after, iphone.Ringing)
		w.mu.Lock()
		flow := w.flow
		w.mu.Unlock()
		flow.Shut(errNo)
		w.see(after, iphone.FlowLost)
		w.registered()
		second := w.invite(in)
		time.Sleep(time.Second)
		w.must(w.phone.Answer(in.id))
		w.answered(second)
		w.see(after, iphone.Fulfilled)
		w.ends(first)
		w.clean()
		w.must(second.Hangup())
		if e := w.see(after, iphone.Ended); e.Reason != iphone.RemoteEnded {
			t.Errorf("%+v", e)
		}
	})
}

func TestSecondInviteOfOneCallIsRefused(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		first := w.invite(in)
		w.see(after, iphone.Ringing)
		second := w.invite(in)
		if e := w.ends(second); e.Status != 482 {
			t.Errorf("second INVITE: %+v", e)
		}
		w.must(w.phone.Answer(in.id))
		w.answered(first)
		w.clean()
	})
}

func TestInviteWithoutUUIDIsFoundByCallID(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		synctest.Wait()
		w.mu.Lock()
		out := softphone.Outgoing{Target: w.contact.Address, Flow: w.flow, CallID: in.callID}
		w.mu.Unlock()
		c, err := w.server.Call(out)
		w.must(err)
		w.see(after, iphone.Ringing)
		w.must(w.phone.Answer(in.id))
		w.answered(c)
		w.clean()
	})
}

func TestOtherCallIDIsTheServersFault(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in, func(p map[string]any) { p["call_id"] = "another" })
		w.registered()
		w.invite(in)
		w.see(after, iphone.Ringing)
		if v := w.phone.Violations(); len(v) != 1 || v[0].Rule != iphone.RuleCallID {
			t.Errorf("%+v", v)
		}
	})
}

func TestGarbageIsReportedAndIsTheServersFault(t *testing.T) {
	for _, payload := range []string{"", "null", "[]", `{"type":"call"}`, `{"type":"call","uuid":"123"}`, `{"type":"refresh","uuid":"0f8fad5b-d9cb-469f-a165-70867728950e"}`} {
		inWorld(t, nil, func(t *testing.T, w *world) {
			after := w.asleep()
			w.pushBytes("voip", []byte(payload))
			w.see(after, iphone.Suspended)
			v := w.phone.Violations()
			if len(v) != 1 || v[0].Rule != iphone.RulePayload {
				t.Errorf("%q: %+v", payload, v)
			}
			if got := w.story(after); got != "push received; app resumed; rule violated; call reported; call ended(failed); app suspended" {
				t.Errorf("%q: %s", payload, got)
			}
		})
	}
}

func TestKillDuringACallSaysNothing(t *testing.T) {
	inWorld(t, user(iphone.AnswerAfter(time.Second)), func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		c := w.invite(in)
		w.see(after, iphone.AudioStarted)
		w.must(w.phone.Kill())
		if e := w.see(after, iphone.Ended); e.Reason != iphone.ByKill {
			t.Errorf("%+v", e)
		}
		time.Sleep(10 * time.Second)
		for _, e := range c.Events() {
			if e.Kind == softphone.Ended {
				t.Error("a killed app said BYE")
			}
		}
		w.must(w.phone.Open()) // and comes back
		w.see(w.seq(), iphone.Registered)
		w.clean()
	})
}

func TestAirplaneMode(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.must(w.phone.Open())
		w.must(w.phone.Ready(w.ctx()))
		after := w.seq()
		w.must(w.phone.Airplane(true))
		w.see(after, iphone.FlowLost)
		w.see(after, iphone.RegisterFailed)
		if w.apns.online {
			t.Error("pushes still reach it")
		}
		after = w.seq()
		w.must(w.phone.Airplane(false))
		w.see(after, iphone.Registered)
		w.clean()
	})
}

func TestVerbsNeedACall(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		in := newIncoming()
		for name, verb := range map[string]func() error{
			"answer": func() error { return w.phone.Answer(in.id) }, "decline": func() error { return w.phone.Decline(in.id) },
			"end": func() error { return w.phone.End(in.id) }, "hang up": func() error { return w.phone.HangUp(in.id) },
			"sleep": w.phone.Sleep, "kill": w.phone.Kill, "tap": w.phone.Tap,
		} {
			if err := verb(); err == nil {
				t.Errorf("%s without a call or app", name)
			}
		}
		w.clean()
	})
}

func TestTwoCallsRightAfterEachOther(t *testing.T) {
	inWorld(t, user(iphone.AnswerAfter(time.Second)), func(t *testing.T, w *world) {
		w.asleep()
		for range 3 {
			after := w.seq()
			in := newIncoming()
			w.push("voip", in)
			w.registered()
			c := w.invite(in)
			w.answered(c)
			w.see(after, iphone.AudioStarted)
			w.must(c.Hangup())
			w.see(after, iphone.Ended)
		}
		w.clean()
	})
}

func TestCallerVanishesAfterThe200(t *testing.T) {
	inWorld(t, user(iphone.AnswerAfter(time.Second)), func(t *testing.T, w *world) {
		after := w.asleep()
		in := newIncoming()
		w.push("voip", in)
		w.registered()
		w.invite(in)
		w.see(after, iphone.Ringing)
		synctest.Wait()
		w.net.Partition(serverAddr.Addr(), phoneAddr)
		e := w.see(after, iphone.Ended)
		if e.Reason != iphone.Failed {
			t.Errorf("%+v", e)
		}
		w.tells(after, "push received", "app resumed", "call reported", "registering", "registered", "INVITE received", "180 sent", "user answered",
			"200 sent", "call ended(failed)", "action failed")
	})
}

func forbidden(tx *sipua.ServerTx) *sip.Response { return tx.NewResponse(403, "") }
