package e2e

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/e2e/invariants"
	"wakebridge/cmd/internal/sim"
	"wakebridge/config"
	"wakebridge/sipua/iphone"
	"wakebridge/sipua/softphone"
)

// brokenApp is what a caller and the operator see of an app.
type brokenApp struct {
	policy string
	script string // behind falling asleep; "" for a call that nobody takes
	awake  bool   // it does not fall asleep
	// status is the final response to the caller; 200: the call is answered, and the
	// caller hangs up, unless stays says that nobody does.
	status int
	stays  bool
	silent bool // nothing comes back from the phone
	// reason is contained in the record's, push the first push's reason.
	reason, push string
	audio        string // of the record
	breaks       invariants.Broken
	twice        bool // it breaks that rule twice in the call
}

const sentNothing = "the phone sent nothing"

const takesIt = "wait ringing\nanswer\nwait answered\n"

func brokenApps() []brokenApp {
	unreported := invariants.Broken{Rule: iphone.RuleReport, Dies: true}
	return []brokenApp{
		{policy: "correct", script: takesIt, status: 200},
		{policy: "article", script: takesIt, status: 200},
		{policy: "never-reports", script: "wait killed\n", status: 480, reason: "the device did not register in time", breaks: unreported},
		{policy: "reports-late", script: "wait killed\n", status: 480, reason: "the device did not register in time", breaks: unreported},
		{policy: "never-registers", script: "wait ringing\nwait ended unanswered\n", status: 480, reason: "the device did not register in time"},
		{policy: "rejects", script: "wait ringing\nwait ended\n", status: 486, reason: "the device is busy"},
		{policy: "registers-twice", script: takesIt, status: 200},
		{policy: "no-audio", script: takesIt, status: 200, silent: true, stays: true, reason: "sent no media for 8s", audio: sentNothing, breaks: invariants.Broken{Rule: invariants.RuleSound}},
		{policy: "dies-after-answer", script: "wait ringing\nanswer\nwait killed\n", status: 200, silent: true, audio: sentNothing, breaks: invariants.Broken{Dies: true}},
		{policy: "changes-address", script: "wait ringing\nwait connection-lost\nwait 180-sent\nanswer\nwait answered\n", status: 200},
		{policy: "fulfils-late", script: "wait ringing\nanswer\nwait 200-sent\n", status: 200, silent: true, audio: sentNothing, breaks: invariants.Broken{Rule: iphone.RuleAction}, twice: true},
		{policy: "stale-token", status: 480, reason: "APNs refused the token: Unregistered (the app was removed", push: "Unregistered"},
		{policy: "foreground", script: takesIt, awake: true, status: 200},
		{policy: "two-phones", script: takesIt, status: 200},
	}
}

// What a caller hears of each broken app, and what the operator reads.
func TestBrokenApps(t *testing.T) {
	for _, c := range brokenApps() {
		t.Run(c.policy, func(t *testing.T) {
			t.Parallel()
			c.play(t)
		})
	}
}

// hurried lets nobody wait for long.
func hurried(trunk func(*config.Config)) func(*config.Config) {
	return func(c *config.Config) {
		trunk(c)
		c.Push.WakeTimeout, c.Calls.RingTimeout = 12*time.Second, 25*time.Second
		c.Media.Timeout.FirstPacket, c.Media.Timeout.Silence = 4*time.Second, 4*time.Second
	}
}

func (b brokenApp) play(t *testing.T) {
	p, port := pbx(t, 440)
	s := start(t, hurried(trunkAt(port)))
	in, typed := io.Pipe()
	t.Cleanup(func() { in.Close() })
	r := simPhoneObeying(t, s, b.policy, in, func(o *sim.PhoneOptions) { o.Timing.Action = 2 * time.Second })
	r.breaks(b.breaks)
	say := func(lines string) {
		if _, err := io.WriteString(typed, lines); err != nil {
			t.Errorf("%v%s", err, r.story())
		}
	}
	phones := 1
	say("wait registered\n")
	r.sees(t, 1, iphone.Registered)
	if !b.awake {
		say("sleep\n")
		r.sees(t, 1, iphone.Suspended)
	}
	if b.policy == "two-phones" {
		phones = 2
		say("phone 2\nwait registered\nsleep\nphone 1\n")
		r.sees(t, 2, iphone.Suspended)
	}
	if !b.awake {
		allAsleep(t, s, phones)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	out := dial(t, s, p, "201")
	say(b.script)
	b.outcome(ctx, t, out, r)
	if b.status == 200 { // a phone that is switched off too early does not hear the end
		say("wait ended\n")
	}
	if phones == 2 {
		say("phone 2\nwait ended answeredElsewhere\n")
	}
	typed.Close()
	last := r.end(t)
	// What RuleSound promises the phone cannot judge for itself.
	if breaks := b.breaks.Rule != "" && b.breaks.Rule != invariants.RuleSound; (last.Result == "failed") != breaks || (len(last.Violations) > 0) != breaks {
		t.Errorf("%+v%s", last, r.story())
	}
	if n := len(last.Violations); b.twice && n != 2 {
		t.Errorf("%d rules are broken, not 2: %+v%s", n, last, r.story())
	}
	b.operator(t, s.record(t, 0))
}

// outcome is what the caller notices.
func (b brokenApp) outcome(ctx context.Context, t *testing.T, out *softphone.Call, r *simRun) {
	t.Helper()
	if b.status != 200 {
		if e, err := out.Ended(ctx); err != nil || e.Status != b.status {
			t.Errorf("the caller: %+v, %v%s", e, err, r.story())
		}
		return
	}
	if _, err := out.Wait(ctx, softphone.Answered); err != nil {
		t.Fatalf("the caller: %v%s", err, r.story())
	}
	if b.silent {
		// A phone that speaks does within 300 ms; the record says nothing of the first 3 s.
		<-time.After(4 * time.Second)
		if n := out.Audio().Received; n > 0 {
			t.Errorf("%d packets came from the phone", n)
		}
	} else {
		hearsASecond(t, "the caller", out, 620)
	}
	if !b.stays {
		if err := out.Hangup(); err != nil {
			t.Errorf("hang up: %v", err)
		}
	}
	if e, err := out.Ended(ctx); err != nil || e.ByRemote != b.stays {
		t.Errorf("the caller: %+v, %v", e, err)
	}
}

// operator checks what is on record.
func (b brokenApp) operator(t *testing.T, rec bridge.Record) {
	t.Helper()
	if rec.Status != b.status || !strings.Contains(rec.Reason, b.reason) || (rec.Result == bridge.Answered) != (b.status == 200) {
		t.Errorf("record: %s", show(rec))
	}
	if got := strings.Join(rec.Audio, "; "); got != b.audio {
		t.Errorf("the record says of the audio %q, not %q", got, b.audio)
	}
	if b.push != "" && (len(rec.Attempts) != 1 || len(rec.Attempts[0].Pushes) == 0 || rec.Attempts[0].Pushes[0].Reason != b.push) {
		t.Errorf("pushes: %s", show(rec))
	}
	accepted := 0
	for _, a := range rec.Attempts {
		for _, p := range a.Pushes {
			if p.Accepted && p.Kind == "voip" {
				accepted++
			}
		}
	}
	if accepted > len(rec.Attempts) {
		t.Errorf("%d accepted VoIP pushes for %d devices: %s", accepted, len(rec.Attempts), show(rec))
	}
}

// show is a record in a line or a few, for messages.
func show(rec bridge.Record) string {
	s := fmt.Sprintf("%s %d %q", rec.Result, rec.Status, rec.Reason)
	for _, a := range rec.Attempts {
		s += fmt.Sprintf("\n  %s: %s", a.Device, a.Outcome)
		for _, p := range a.Pushes {
			s += fmt.Sprintf("\n    %s accepted=%t %s %s", p.Kind, p.Accepted, p.Reason, p.Words)
		}
	}
	return s
}

// A phone comes back when the caller has given up: the push that waited for it rings
// for a call that is gone, and the server says so.
func TestPhoneComesBackAfterCancel(t *testing.T) {
	t.Parallel()
	p, port := pbx(t, 440)
	s := start(t, trunkAt(port))
	in, typed := io.Pipe()
	t.Cleanup(func() { in.Close() })
	r := simPhoneObeying(t, s, "online-after-cancel", in)
	io.WriteString(typed, "wait registered\nsleep\n")
	r.sees(t, 1, iphone.Suspended)
	allAsleep(t, s, 1)
	out := dial(t, s, p, "201")
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	if _, err := out.Wait(ctx, softphone.Ringing); err != nil { // the push was accepted
		t.Fatal(err)
	}
	if err := out.Hangup(); err != nil {
		t.Fatal(err)
	}
	if e, err := out.Ended(ctx); err != nil || e.Status != 487 {
		t.Errorf("%+v, %v", e, err)
	}
	io.WriteString(typed, "airplane off\nwait push\nwait fate-told remoteEnded\nwait ended remoteEnded\n")
	typed.Close()
	if last := r.end(t); last.Result != "passed" {
		t.Errorf("%+v%s", last, r.story())
	}
}
