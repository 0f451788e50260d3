package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/daemon"
	"wakebridge/cmd/internal/e2e/invariants"
	"wakebridge/cmd/internal/sim"
	"wakebridge/config"
	"wakebridge/push/apnssim"
	"wakebridge/sipua"
	"wakebridge/sipua/iphone"
	"wakebridge/sipua/softphone"
)

// simLine is any document that `sim phone --json` prints.
type simLine struct {
	Phone      int
	Kind       iphone.Kind
	Reason     iphone.Reason
	Text       string
	Command    string
	OK         *bool
	Error      string
	Result     string
	Status     *iphone.Status
	Violations []struct{ Rule iphone.Rule }
}

// simRun is a run of `sim phone` with a script, against a server and its APNs.
type simRun struct {
	policy string
	ended  chan struct{}
	err    error // once ended

	mu      sync.Mutex
	lines   []simLine
	devices []*iphone.Device
	broken  invariants.Broken
}

// simPhone starts alice's phone.
func simPhone(t *testing.T, s *server, policy, script string, change ...func(*sim.PhoneOptions)) *simRun {
	t.Helper()
	return simPhoneObeying(t, s, policy, strings.NewReader(script), change...)
}

// simPhoneObeying is simPhone with a script that is still being written.
func simPhoneObeying(t *testing.T, s *server, policy string, script io.Reader, change ...func(*sim.PhoneOptions)) *simRun {
	t.Helper()
	admin := httptest.NewServer(s.apns.AdminHandler())
	t.Cleanup(admin.Close)
	opts := sim.PhoneOptions{Policy: policy, Script: true, JSON: true, Log: slog.New(slog.DiscardHandler)}
	opts.Account = sim.PhoneAccount{Server: s.Addr(sipua.TCP).String(), User: "alice", Password: "secret", Domain: daemon.DevDomain}
	opts.App.BundleID, opts.App.TeamID = sim.DefaultBundle, sim.DefaultTeam
	opts.Pushes.URL = admin.URL
	opts.Bind = []netip.Addr{netip.MustParseAddr("127.0.0.5"), netip.MustParseAddr("127.0.0.6")}
	for _, c := range change {
		c(&opts)
	}
	r := &simRun{policy: policy, ended: make(chan struct{})}
	opts.SwitchedOn = r.switchedOn
	s.mu.Lock()
	s.sims = append(s.sims, r)
	s.mu.Unlock()
	out, to := io.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	var wg sync.WaitGroup
	wg.Go(func() {
		for sc := bufio.NewScanner(out); sc.Scan(); {
			var l simLine
			if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
				t.Errorf("%v: %s", err, sc.Text())
			}
			r.mu.Lock()
			r.lines = append(r.lines, l)
			r.mu.Unlock()
		}
	})
	wg.Go(func() {
		defer close(r.ended)
		r.err = sim.RunPhone(ctx, opts, script, to)
		to.Close()
		if c, ok := script.(io.Closer); ok {
			c.Close() // who writes it hears that nobody reads
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return r
}

func (r *simRun) switchedOn(d *iphone.Device) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.devices = append(r.devices, d)
}

// breaks says that the app is broken by design, and how: all else of it is checked
// as of any, when the server ends.
func (r *simRun) breaks(how invariants.Broken) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = how
}

// phones are the run's phones for the check.
func (r *simRun) phones() []invariants.Phone {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]invariants.Phone, 0, len(r.devices))
	for i, d := range r.devices {
		p := invariants.PhoneOf(fmt.Sprint("phone ", i+1, " ", r.policy), d)
		p.Broken = r.broken
		all = append(all, p)
	}
	return all
}

// sees waits for an event of a phone.
func (r *simRun) sees(t *testing.T, phone int, kind iphone.Kind) {
	t.Helper()
	wait(t, 20*time.Second, string(kind), func() (bool, string) {
		r.mu.Lock()
		has := slices.ContainsFunc(r.lines, func(l simLine) bool { return l.Phone == phone && l.Kind == kind })
		r.mu.Unlock()
		return has, r.story()
	})
}

// story is what the phones told, for messages.
func (r *simRun) story() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for _, l := range r.lines {
		b.WriteString("\n  " + string(l.Kind) + l.Command + l.Result + " " + l.Text + " " + l.Error)
	}
	return b.String()
}

// end waits for the end, and returns the last line.
func (r *simRun) end(t *testing.T) simLine {
	t.Helper()
	select {
	case <-r.ended:
	case <-time.After(time.Minute):
		t.Fatal("the script does not end")
	}
	var last simLine
	wait(t, 5*time.Second, "the result", func() (bool, string) {
		r.mu.Lock()
		if n := len(r.lines); n > 0 {
			last = r.lines[n-1]
		}
		r.mu.Unlock()
		return last.Result != "", r.story()
	})
	return last
}

// allAsleep waits until the server knows that nobody of alice is connected.
func allAsleep(t *testing.T, s *server, phones int) {
	t.Helper()
	wait(t, 10*time.Second, "the phone to be asleep", func() (bool, string) {
		all := s.Memory().Devices(sipua.NewAOR("alice", daemon.DevDomain))
		for _, d := range all {
			if _, awake := d.Flow(); awake {
				return false, "a flow is open"
			}
		}
		return len(all) == phones, "devices are missing"
	})
}

// The phone sleeps, a call wakes it, the script answers, presses keys and hangs up.
func TestSimPhoneIsWokenAndAnswers(t *testing.T) {
	p, port := pbx(t, 440)
	s := start(t, trunkAt(port))
	r := simPhone(t, s, "", `
		# as a vendor's CI would have it
		wait registered
		sleep
		wait asleep
		wait push
		wait ringing
		answer
		wait talking
		dtmf 42
		wait keys-pressed 42
		hold
		wait held
		unhold
		wait talking
		status
		pause 1s
		end
		wait ended hungUp
	`)
	r.sees(t, 1, iphone.Suspended)
	allAsleep(t, s, 1)
	out := dial(t, s, p, "201")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, kind := range []softphone.Kind{softphone.Ringing, softphone.Answered, softphone.Held, softphone.Resumed} {
		if _, err := out.Wait(ctx, kind); err != nil {
			t.Fatalf("%s: %v%s", kind, err, r.story())
		}
	}
	hears(t, "the caller", out, 620)
	if _, err := out.Ended(ctx); err != nil {
		t.Fatal(err)
	}
	if last := r.end(t); last.Result != "passed" || r.err != nil {
		t.Errorf("%+v, %v%s", last, r.err, r.story())
	}
	if got := out.Digits(); got != "42" {
		t.Errorf("the caller got the keys %q", got)
	}
	if rec := s.record(t, 0); rec.Result != bridge.Answered || rec.HangupBy != "callee" {
		t.Errorf("record: %+v", rec)
	}
	pushed := s.apns.Requests(apnssim.Filter{})
	if len(pushed) != 1 || pushed[0].Verdict.Status != 200 {
		t.Errorf("%d pushes", len(pushed))
	}
}

// Over UDP nothing tells the server that the phone sleeps: it sends the INVITE into
// the void first, and wakes the phone when nothing comes back.
func TestSimPhoneOverUDP(t *testing.T) {
	t.Parallel() // the INVITE in the void lasts 32 s
	p, port := pbx(t, 440)
	s := start(t, trunkAt(port))
	r := simPhone(t, s, "", "wait registered\nsleep\nwait ringing\nwait 180-sent\nanswer\nwait talking\npause 1s\nend\nwait ended hungUp\n",
		func(o *sim.PhoneOptions) { o.Account.Transport, o.Account.Server = "udp", s.Addr(sipua.UDP).String() })
	r.sees(t, 1, iphone.Suspended)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out := dial(t, s, p, "201")
	if _, err := out.Wait(ctx, softphone.Answered); err != nil {
		t.Fatalf("%v%s", err, r.story())
	}
	hears(t, "the caller", out, 620)
	if e, err := out.Ended(ctx); err != nil || e.Cause != softphone.CauseBye {
		t.Errorf("the caller: %+v, %v", e, err)
	}
	if last := r.end(t); last.Result != "passed" || r.err != nil {
		t.Errorf("%+v, %v%s", last, r.err, r.story())
	}
	if rec := s.record(t, 0); rec.Result != bridge.Answered || len(rec.Attempts) != 1 || len(rec.Attempts[0].Pushes) != 1 || rec.Ended.Sub(rec.Answered) > 10*time.Second {
		t.Errorf("record: %s", show(rec))
	}
}

// An app that registers and refuses: the caller hears that it is busy; the phone
// broke no rule of iOS.
func TestSimPhoneThatRejects(t *testing.T) {
	p, port := pbx(t, 440)
	s := start(t, trunkAt(port))
	r := simPhone(t, s, "rejects", "wait registered\nsleep\nwait ringing\nwait decline-sent 486\nwait ended failed\n")
	r.sees(t, 1, iphone.Suspended)
	allAsleep(t, s, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	e, err := dial(t, s, p, "201").Ended(ctx)
	if err != nil || e.Status != 486 {
		t.Errorf("the caller: %+v, %v", e, err)
	}
	if last := r.end(t); last.Result != "passed" || r.err != nil {
		t.Errorf("%+v, %v%s", last, r.err, r.story())
	}
}

// An app that reports nothing is killed: the script goes through, and fails for the
// broken rule.
func TestSimPhoneThatReportsNothing(t *testing.T) {
	p, port := pbx(t, 440)
	s := start(t, trunkAt(port))
	r := simPhone(t, s, "never-reports", "wait registered\nsleep\nwait killed\nwait rule-violated 1s\n")
	r.breaks(invariants.Broken{Rule: iphone.RuleReport, Dies: true})
	r.sees(t, 1, iphone.Suspended)
	allAsleep(t, s, 1)
	out := dial(t, s, p, "201")
	r.sees(t, 1, iphone.Killed)
	last := r.end(t)
	if last.Result != "failed" || !errors.Is(r.err, sim.ErrScript) || len(last.Violations) != 1 || last.Violations[0].Rule != iphone.RuleReport {
		t.Errorf("%+v, %v%s", last, r.err, r.story())
	}
	if err := out.Hangup(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if e, err := out.Ended(ctx); err != nil || e.Status != 487 {
		t.Errorf("the caller: %+v, %v", e, err)
	}
}

// Two phones of one user: the one that does not answer hears that the other did.
func TestSimPhonesOfOneUser(t *testing.T) {
	p, port := pbx(t, 440)
	s := start(t, trunkAt(port))
	r := simPhone(t, s, "two-phones", `
		wait registered
		sleep
		phone 2
		wait registered
		sleep
		wait 180-sent
		phone 1
		wait 180-sent
		answer
		wait talking
		phone 2
		wait ended answeredElsewhere
		phone 1
		pause 1s
		end
		wait ended hungUp
	`)
	r.sees(t, 2, iphone.Suspended)
	allAsleep(t, s, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if e, err := dial(t, s, p, "201").Ended(ctx); err != nil || e.Cause != softphone.CauseBye {
		t.Errorf("the caller: %+v, %v", e, err)
	}
	if last := r.end(t); last.Result != "passed" || r.err != nil {
		t.Errorf("%+v, %v%s", last, r.err, r.story())
	}
}

// "End & Accept": the first caller hears the end, the second one the phone.
func TestSimPhoneEndsOneCallForAnother(t *testing.T) {
	p, port := pbx(t, 440)
	s := start(t, func(c *config.Config) {
		trunkAt(port)(c)
		c.Calls.MergeWindow = 0 // both come from one number
	})
	r := simPhone(t, s, "", "wait registered\nwait ringing\nanswer\nwait talking\nwait ringing\nend-and-answer\nwait ended hungUp\nwait talking\nwait ended remoteEnded\n")
	r.sees(t, 1, iphone.Registered)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	first := dial(t, s, p, "201")
	hearsASecond(t, "the first caller", first, 620)
	second := dial(t, s, p, "201")
	if e, err := first.Ended(ctx); err != nil || e.Cause != softphone.CauseBye || !e.ByRemote {
		t.Errorf("the first caller: %+v, %v%s", e, err, r.story())
	}
	hearsASecond(t, "the second caller", second, 620)
	if err := second.Hangup(); err != nil {
		t.Error(err)
	}
	if last := r.end(t); last.Result != "passed" || r.err != nil {
		t.Errorf("%+v, %v%s", last, r.err, r.story())
	}
}

// An app that was built without the entitlement is woken, and shows nothing: the
// caller hears that nobody is there.
func TestSimPhoneWithoutEntitlement(t *testing.T) {
	p, port := pbx(t, 440)
	s := start(t, func(c *config.Config) {
		trunkAt(port)(c)
		c.Push.WakeTimeout, c.Calls.RingTimeout = 6*time.Second, 8*time.Second
	})
	r := simPhone(t, s, "", "wait registered\nsleep\nwait call-filtered unentitled\nwait decline-sent 480\n", func(o *sim.PhoneOptions) { o.App.Unentitled = true })
	r.sees(t, 1, iphone.Suspended)
	allAsleep(t, s, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if e, err := dial(t, s, p, "201").Ended(ctx); err != nil || e.Status != 480 {
		t.Errorf("the caller: %+v, %v", e, err)
	}
	if last := r.end(t); last.Result != "passed" || r.err != nil {
		t.Errorf("%+v, %v%s", last, r.err, r.story())
	}
}
