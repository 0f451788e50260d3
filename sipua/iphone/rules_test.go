package iphone

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"wakebridge/sipua"
)

// stub is an app that does what a test says, mostly wrong.
type stub struct {
	process *process
	onPush  func(s *stub, mustReport *pushMetadata)
	answers []*action
	ends    []*action
	late    []*action
	all     []*action // of the other kinds
	audio   []string
	resets  int
	unlocks int
	pushes  int
	must    []*pushMetadata
}

func (s *stub) didLaunch(bool)                  {}
func (s *stub) didBecomeActive()                {}
func (s *stub) didUpdatePushToken(bool, string) {}
func (s *stub) didReceiveIncomingPush(_ Push, metadata *pushMetadata) {
	s.pushes++
	s.must = append(s.must, metadata)
	if s.onPush != nil {
		s.onPush(s, metadata)
	}
}
func (s *stub) didReceiveNotification([]byte) {}
func (s *stub) performAnswer(a *action)       { s.answers = append(s.answers, a) }
func (s *stub) performEnd(a *action)          { s.ends = append(s.ends, a) }
func (s *stub) timedOutPerforming(a *action)  { s.late = append(s.late, a) }
func (s *stub) performStart(a *action)        { s.all = append(s.all, a) }
func (s *stub) performSetHeld(a *action)      { s.all = append(s.all, a) }
func (s *stub) performSetMuted(a *action)     { s.all = append(s.all, a) }
func (s *stub) performPlayDTMF(a *action)     { s.all = append(s.all, a) }
func (s *stub) didActivateAudio(uuid.UUID)    { s.audio = append(s.audio, "on") }
func (s *stub) didDeactivateAudio(uuid.UUID)  { s.audio = append(s.audio, "off") }
func (s *stub) providerDidReset()             { s.resets++ }
func (s *stub) didInvalidatePushToken()       {}
func (s *stub) isRegistered() bool            { return false }
func (s *stub) hangUpTapped(uuid.UUID)        {}
func (s *stub) dialTapped(string)             {}
func (s *stub) protectedDataDidBecomeAvailable() {
	s.unlocks++
}
func (s *stub) reachabilityChanged(bool) {}
func (s *stub) busy() bool               { return len(s.process.device.ios.screen.calls) > 0 }
func (s *stub) willSuspend()             {}
func (s *stub) killed()                  {}
func (s *stub) report(id uuid.UUID) error {
	return s.process.device.ios.screen.reportNewIncomingCall(id, callUpdate{name: "x"})
}
func (s *stub) request(k actionKind, id uuid.UUID) error {
	return callController{s.process}.request(transaction{kind: k, uuid: id, reason: ByUser})
}

// noPushes is a push service without any: the tests call deliver.
type noPushes struct{}

func (noPushes) RegisterVoIP(string) string  { return "aa" }
func (noPushes) RegisterAlert(string) string { return "bb" }
func (noPushes) Reinstall(string)            {}
func (noPushes) Online(bool)                 {}
func (noPushes) Next(ctx context.Context) (Push, error) {
	<-ctx.Done()
	return Push{}, ctx.Err()
}

// withStub runs a test with a device on which the stub is installed.
func withStub(t *testing.T, cfg Config, onPush func(s *stub, metadata *pushMetadata), f func(t *testing.T, d *Device, apps func() []*stub)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg.Pushes, cfg.Log = noPushes{}, slog.New(slog.DiscardHandler)
		cfg.Account.AOR = sipua.NewAOR("bob", "example.com")
		d := New(cfg)
		defer d.Close()
		var all []*stub
		on(t, d, func() {
			d.ios.storage.voipToken, d.ios.storage.alertToken = "aa", "bb"
			d.ios.newApp = func(p *process) (delegate, error) {
				s := &stub{process: p, onPush: onPush}
				all = append(all, s)
				return s, nil
			}
		})
		f(t, d, func() []*stub {
			var out []*stub
			on(t, d, func() { out = append(out, all...) })
			return out
		})
	})
}

// on runs f on the main queue.
func on(t *testing.T, d *Device, f func()) {
	t.Helper()
	if err := d.queue.do(func() error { f(); return nil }); err != nil {
		t.Fatal(err)
	}
}

func push(t *testing.T, d *Device) {
	t.Helper()
	on(t, d, func() { d.received(Push{Token: "aa", Type: pushVoIP, Payload: []byte(`{}`)}) })
}

func rulesOf(d *Device) []Rule {
	var out []Rule
	for _, v := range d.Violations() {
		out = append(out, v.Rule)
	}
	return out
}

func last(d *Device) Event {
	all := d.Timeline()
	return all[len(all)-1]
}

// R4: an app that returns without a report is killed, and a later push starts it
// again.
func TestNoReportKills(t *testing.T) {
	withStub(t, Config{}, nil, func(t *testing.T, d *Device, apps func() []*stub) {
		for i := range 2 {
			push(t, d)
			time.Sleep(10 * time.Second)
			if got := rulesOf(d); len(got) != i+1 || got[i] != RuleReport {
				t.Fatalf("push %d: %v", i+1, got)
			}
			if last(d).Kind != Violated && d.Timeline()[len(d.Timeline())-1].Kind != Killed {
				t.Errorf("last event %+v", last(d))
			}
		}
		if n := len(apps()); n != 2 {
			t.Errorf("%d processes", n)
		}
	})
}

// Two pushes while the app is being launched: the first kills it, the second
// launches it anew.
func TestPushesDuringALaunch(t *testing.T) {
	withStub(t, Config{}, nil, func(t *testing.T, d *Device, apps func() []*stub) {
		push(t, d)
		push(t, d)
		time.Sleep(10 * time.Second)
		if got := apps(); len(got) != 2 || got[0].pushes != 1 || got[1].pushes != 1 {
			t.Errorf("%d processes", len(got))
		}
	})
}

// R4: a report that comes after the method returned is too late.
func TestReportBehindTheReturnIsTooLate(t *testing.T) {
	withStub(t, Config{}, func(s *stub, _ *pushMetadata) {
		s.process.post(func() {
			if err := s.report(uuid.New()); err != nil {
				panic(err)
			}
		})
	}, func(t *testing.T, d *Device, _ func() []*stub) {
		push(t, d)
		time.Sleep(time.Second)
		if got := rulesOf(d); len(got) != 1 || got[0] != RuleReport {
			t.Errorf("%v", got)
		}
	})
}

// R5: a phone that is too slow to start the app kills it all the same.
func TestReportAfterSevenSecondsKills(t *testing.T) {
	withStub(t, Config{Timing: Timing{Launch: 8 * time.Second}}, func(s *stub, _ *pushMetadata) {
		if err := s.report(uuid.New()); err != nil {
			panic(err)
		}
	}, func(t *testing.T, d *Device, _ func() []*stub) {
		push(t, d)
		time.Sleep(7*time.Second - time.Millisecond)
		if got := rulesOf(d); len(got) != 0 {
			t.Fatalf("too early: %v", got)
		}
		time.Sleep(2 * time.Millisecond)
		if got := rulesOf(d); len(got) != 1 || got[0] != RuleReportTime {
			t.Errorf("%v", got)
		}
	})
}

// R3: an app in front of the user or in a call need not report, and one that has
// only a ringing call must.
func TestWhoMustReport(t *testing.T) {
	reportFirst := func(s *stub, _ *pushMetadata) {
		if s.pushes == 1 {
			if err := s.report(uuid.New()); err != nil {
				panic(err)
			}
		}
	}
	withStub(t, Config{OS: 26, OSMinor: 4}, nil, func(t *testing.T, d *Device, apps func() []*stub) {
		if err := d.Open(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		push(t, d)
		time.Sleep(10 * time.Second)
		if got := apps(); len(got) != 1 || len(got[0].must) != 1 || got[0].must[0].mustReport {
			t.Errorf("foreground: %+v", got[0].must)
		}
		if got := rulesOf(d); len(got) != 0 {
			t.Errorf("foreground: %v", got)
		}
	})
	withStub(t, Config{OS: 27}, reportFirst, func(t *testing.T, d *Device, apps func() []*stub) {
		push(t, d)
		time.Sleep(time.Second)
		if err := d.Answer(uuid.Nil); err != nil {
			t.Fatal(err)
		}
		on(t, d, func() { apps0(d).answers[0].fulfil() })
		push(t, d)
		time.Sleep(10 * time.Second)
		if got := apps()[0].must; len(got) != 2 || !got[0].mustReport || got[1].mustReport {
			t.Errorf("in a call: %v", got)
		}
		if got := rulesOf(d); len(got) != 0 {
			t.Errorf("in a call: %v", got)
		}
	})
	withStub(t, Config{}, reportFirst, func(t *testing.T, d *Device, _ func() []*stub) {
		push(t, d)
		time.Sleep(time.Second)
		push(t, d)
		time.Sleep(time.Second)
		if got := rulesOf(d); len(got) != 1 || got[0] != RuleReport {
			t.Errorf("ringing: %v", got)
		}
		if e := d.Timeline()[len(d.Timeline())-1]; e.Kind != Ended || e.Reason != ByKill {
			t.Errorf("its call was not ended with it: %+v", e)
		}
	})
}

func apps0(d *Device) *stub {
	s, _ := d.ios.process.app.(*stub)
	return s
}

// ringingCall delivers a push that the stub reports.
func ringingCall(t *testing.T, d *Device) uuid.UUID {
	t.Helper()
	id := uuid.New()
	on(t, d, func() {
		d.wake(background, func() {
			if err := apps0(d).report(id); err != nil {
				panic(err)
			}
		})
	})
	time.Sleep(time.Second)
	return id
}

func TestActionsHaveTheirTime(t *testing.T) {
	withStub(t, Config{}, nil, func(t *testing.T, d *Device, _ func() []*stub) {
		id := ringingCall(t, d)
		if err := d.Answer(id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(61 * time.Second)
		on(t, d, func() {
			s := apps0(d)
			if len(s.late) != 1 || s.late[0] != s.answers[0] {
				t.Errorf("timedOutPerforming: %d", len(s.late))
			}
			s.answers[0].fulfil() // ignored, and noted
		})
		if got := rulesOf(d); len(got) != 2 || got[0] != RuleAction || got[1] != RuleAction {
			t.Errorf("%v", got)
		}
		for _, e := range d.Timeline() {
			if e.Kind == Fulfilled {
				t.Error("fulfilled after its end")
			}
		}
		if e := find(d, Ended); e.Reason != Failed {
			t.Errorf("%+v", e)
		}
	})
}

func TestActionsEndOnce(t *testing.T) {
	withStub(t, Config{}, nil, func(t *testing.T, d *Device, _ func() []*stub) {
		id := ringingCall(t, d)
		if err := d.Answer(id); err != nil {
			t.Fatal(err)
		}
		on(t, d, func() {
			a := apps0(d).answers[0]
			a.fulfil()
			a.fail()
		})
		if got := rulesOf(d); len(got) != 1 || got[0] != RuleAction {
			t.Errorf("%v", got)
		}
		if e := find(d, Ended); e.Kind != "" {
			t.Errorf("a second word ended the call: %+v", e)
		}
		if err := d.Answer(id); err == nil {
			t.Error("answered twice")
		}
	})
}

func TestAFailedAnswerEndsTheCall(t *testing.T) {
	withStub(t, Config{}, nil, func(t *testing.T, d *Device, _ func() []*stub) {
		id := ringingCall(t, d)
		if err := d.Answer(id); err != nil {
			t.Fatal(err)
		}
		on(t, d, func() { apps0(d).answers[0].fail() })
		if e := find(d, Ended); e.Reason != Failed {
			t.Errorf("%+v", e)
		}
	})
}

func TestTransactionsNeedACall(t *testing.T) {
	withStub(t, Config{}, nil, func(t *testing.T, d *Device, _ func() []*stub) {
		id := ringingCall(t, d)
		on(t, d, func() {
			if err := apps0(d).request(endCall, uuid.New()); err == nil {
				t.Error("a transaction for an unknown call")
			}
			if err := apps0(d).request(endCall, id); err != nil {
				t.Error(err)
			}
		})
		on(t, d, func() {
			s := apps0(d)
			if len(s.ends) != 1 || s.ends[0].uuid != id {
				t.Fatalf("%d CXEndCallActions", len(s.ends))
			}
			s.ends[0].fulfil()
		})
		if e := find(d, Ended); e.Reason != ByUser {
			t.Errorf("%+v", e)
		}
	})
}

func TestTheSameUUIDTwice(t *testing.T) {
	withStub(t, Config{}, nil, func(t *testing.T, d *Device, _ func() []*stub) {
		id := ringingCall(t, d)
		on(t, d, func() {
			if err := apps0(d).report(id); err == nil {
				t.Error("one call twice on the screen")
			}
		})
	})
}

func TestPushToAnotherToken(t *testing.T) {
	withStub(t, Config{}, nil, func(t *testing.T, d *Device, apps func() []*stub) {
		on(t, d, func() { d.received(Push{Token: "cc", Type: pushVoIP}) })
		on(t, d, func() { d.received(Push{Token: "aa", Type: pushAlert}) })
		time.Sleep(10 * time.Second)
		if got := rulesOf(d); len(got) != 2 || got[0] != RuleToken || got[1] != RuleToken || len(apps()) != 0 {
			t.Errorf("%v, %d processes", got, len(apps()))
		}
	})
}

func find(d *Device, k Kind) Event {
	for _, e := range d.Timeline() {
		if e.Kind == k {
			return e
		}
	}
	return Event{}
}

func FuzzReadPush(f *testing.F) {
	f.Add([]byte(`{"aps":{},"v":1,"type":"call","uuid":"0F8FAD5B-D9CB-469F-A165-70867728950E","call_id":"x@y","expires_at":1}`))
	f.Add([]byte(`{"type":"call","uuid":"{0f8fad5b-d9cb-469f-a165-70867728950e}"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := readPush(b)
		if err == nil && c.uuid == uuid.Nil {
			t.Error("a call without UUID")
		}
		readTitle(b)
	})
}
