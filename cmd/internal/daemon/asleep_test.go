package daemon

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wakebridge/push"
	"wakebridge/sipua/location"
	"wakebridge/sipua/location/locationtest"
)

// post is a push service in the memory of a test, in virtual time.
type post struct {
	answer func() push.Result        // nil: accepted
	silent map[push.DeviceToken]bool // no answer to what goes there

	mu   sync.Mutex
	sent []posted
}

type posted struct {
	push.Notification
	to push.DeviceToken
	at time.Time
}

func (p *post) Can() push.Capability { return push.Capability{VoIP: true, Alert: true} }

func (p *post) Send(ctx context.Context, t push.Target, n push.Notification) push.Result {
	if p.silent[t.Token] {
		<-ctx.Done()
		return push.Result{Outcome: push.NoAnswer, Reason: push.Deadline}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = append(p.sent, posted{n, t.Token, time.Now()})
	if p.answer != nil {
		return p.answer()
	}
	return push.Result{Outcome: push.Accepted, Status: 200, Environment: push.Production, Written: time.Now(), Tries: 1}
}

func (p *post) all() []posted {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]posted(nil), p.sent...)
}

// night is a location full of sleeping phones, and what is pushed to them.
type night struct {
	t      *testing.T
	post   *post
	waker  *waker
	memory *location.Memory
}

func newNight(t *testing.T, rules location.Rules) *night {
	t.Helper()
	n := &night{t: t, post: &post{}}
	var err error
	if n.memory, err = location.NewMemory(t.Context(), &locationtest.Store{}, rules); err != nil {
		t.Fatal(err)
	}
	mux, err := push.NewMux(push.Route{App: push.App{BundleID: DevBundle, TeamID: DevTeam}, Sender: n.post})
	if err != nil {
		t.Fatal(err)
	}
	delivery, err := push.NewDelivery(push.Config{Mux: mux})
	if err != nil {
		t.Fatal(err)
	}
	n.waker = &waker{dispatcher: push.NewDispatcher(delivery), mux: mux, names: map[push.App]bool{{BundleID: DevBundle}: true},
		alerts: map[string]alertTerms{DevBundle: {missed: true}}, log: slog.New(slog.DiscardHandler), panics: newPanics(nil),
		edit: func(e ...location.Edit) { n.memory.Apply(e...).Release() },
		settle: func(_ context.Context, e ...location.Edit) error {
			n.memory.Apply(e...).Release()
			return nil
		}}
	return n
}

// phone is a device of alice's whose binding lasts for lease.
func (n *night) phone(name string, lease time.Duration, flow location.FlowID, alert string) location.Device {
	n.t.Helper()
	now := time.Now()
	a := n.memory.Apply(location.Upsert{AOR: callee, Announced: location.Tokens,
		Binding: location.Binding{Contact: "<sip:" + name + "@10.0.0.3>", Instance: name, Flow: flow, Registered: now, Expires: now.Add(lease)},
		Push: location.PushInfo{Provider: "apns", BundleID: DevBundle, TeamID: DevTeam,
			VoIP: location.Token{Value: "aa" + strings.Repeat("0", 16) + name, Kind: location.VoIP}, Alert: location.Token{Value: alert, Kind: location.Alert}}})
	a.Release()
	d, _ := n.memory.Device(a.Refs[0])
	return d
}

// pass lets time pass, and devices expire.
func (n *night) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
	n.memory.Apply(location.Expire{Now: time.Now()}).Release()
}

func (n *night) shut() {
	if err := n.waker.close(); err != nil {
		n.t.Error(err)
	}
}

const (
	day        = 24 * time.Hour
	alertToken = "bbbb0000bbbb0000"
)
