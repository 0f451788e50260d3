package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/daemon"
	"wakebridge/push/apnssim"
	"wakebridge/sipua"
	"wakebridge/sipua/leg"
)

// fleetConfig says how much load there is to be.
type fleetConfig struct {
	Singles, Pairs int           // users with one handset, and with two
	Ring, Wake     time.Duration // deadlines of the server; 0: its defaults
	Metered        bool          // the server measures each call
}

// fleet is a server process with everything around it in this one: the simulated
// APNs, sleeping handsets, and a PBX that calls them.
type fleet struct {
	server  *process
	apns    *apnssim.Sim
	pbx     *switchboard
	ctx     context.Context
	singles chan []*handset // users that nobody calls, each a slice of handsets
	pairs   chan []*handset
}

// newFleet starts everything; all handsets have registered and sleep.
func newFleet(tb testing.TB, cfg fleetConfig) *fleet {
	tb.Helper()
	dev, err := daemon.NewDevelopment()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(dev.Close)
	f := &fleet{apns: dev.APNs, pbx: newSwitchboard(tb), singles: make(chan []*handset, cfg.Singles), pairs: make(chan []*handset, cfg.Pairs)}
	f.server = startProcess(tb, f.writeConfig(tb, dev, cfg), cfg.Metered)
	f.pbx.server = f.server.udp
	ctx, cancel := context.WithCancel(context.Background())
	f.ctx = ctx
	var running sync.WaitGroup
	tb.Cleanup(func() {
		cancel()
		running.Wait()
	})
	failed := func(err error) {
		if ctx.Err() == nil {
			tb.Errorf("handset: %v", err)
		}
	}
	var all []*handset
	for i := range cfg.Singles + cfg.Pairs {
		user := make([]*handset, 1, 2)
		if i >= cfg.Singles {
			user = user[:2]
		}
		for j := range user {
			device := f.apns.NewDevice(fmt.Sprintf("device-%d-%d", i, j))
			h := newHandset(userName(i), userNumber(i), device, f.server.tcp, failed)
			h.contact = fmt.Sprintf(`;+sip.instance="<urn:uuid:%s>"`, uuid.New())
			if i%2 == 0 {
				h.contact += ";+x-wake-fate"
			}
			running.Go(func() { h.run(ctx) })
			user[j] = h
			all = append(all, h)
		}
		if len(user) == 1 {
			f.singles <- user
		} else {
			f.pairs <- user
		}
	}
	f.register(tb, all)
	return f
}

func userName(i int) string   { return fmt.Sprintf("user%d", i) }
func userNumber(i int) string { return fmt.Sprint(20000 + i) }

// register lets handsets register for the first time, not all at once.
func (f *fleet) register(tb testing.TB, all []*handset) {
	tb.Helper()
	places := make(chan struct{}, 8)
	var wg sync.WaitGroup
	for _, h := range all {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			h.refresh(f.ctx)
		})
	}
	wg.Wait()
	if tb.Failed() {
		tb.FailNow()
	}
}

// writeConfig writes the server's configuration; JSON is YAML.
func (f *fleet) writeConfig(tb testing.TB, dev *daemon.Development, cfg fleetConfig) string {
	tb.Helper()
	type object = map[string]any
	var users []object
	for i := range cfg.Singles + cfg.Pairs {
		users = append(users, object{"name": userName(i), "password": handsetPassword, "numbers": []string{userNumber(i)}})
	}
	loopback := serverHost + ":0"
	doc := object{
		"node":    object{"id": "bench", "data_dir": dev.Config.Node.DataDir},
		"log":     object{"level": cmp.Or(os.Getenv("E2E_LOG"), "info"), "format": "json"},
		"listen":  []object{{"transport": "udp", "bind": loopback}, {"transport": "tcp", "bind": loopback}},
		"media":   object{"bind": []string{serverHost}},
		"domains": []object{{"name": daemon.DevDomain, "users": users}},
		"trunks": []object{{"name": "pbx", "kind": "peer", "match": []string{trunkHost}, "qualify": "0s", "max_calls": 0,
			"contact": fmt.Sprintf("sip:%s", f.pbx.addr)}},
		"calls": object{"ring_timeout": cmp.Or(cfg.Ring, 50*time.Second).String()},
		"push": object{
			"wake_timeout": cmp.Or(cfg.Wake, 30*time.Second).String(),
			"apps": []object{{"bundle_id": daemon.DevBundle, "team_id": daemon.DevTeam,
				"keys": []object{{"file": dev.Config.Push.Apps[0].Keys[0].File, "id": daemon.DevKey}}}},
			"apns": object{"production": dev.Config.Push.APNs.Production, "sandbox": dev.Config.Push.APNs.Sandbox,
				"ca_file": dev.Config.Push.APNs.CAFile},
		},
		// All handsets have one address, which is no fault of theirs.
		"limits": object{"wakes_per_user": "off", "wakes_per_caller": "off", "connections": "off"},
		"http":   object{"bind": loopback},
	}
	text, err := json.MarshalIndent(doc, "", " ")
	if err != nil {
		tb.Fatal(err)
	}
	file := filepath.Join(tb.TempDir(), "wakebridge.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		tb.Fatal(err)
	}
	return file
}

// atRate runs n jobs that begin at random moments, rate per second in the mean, as
// calls do, and waits for their ends.
func atRate(n int, rate float64, job func(i int)) {
	dice := rand.New(rand.NewPCG(1, 2))
	var wg sync.WaitGroup
	next := time.Now()
	for i := range n {
		<-time.After(time.Until(next))
		wg.Go(func() { job(i) })
		next = next.Add(time.Duration(dice.ExpFloat64() / rate * float64(time.Second)))
	}
	wg.Wait()
}

// answered lets n calls wake a handset each, which answers; then the caller hangs
// up. Anything else is an error.
func (f *fleet) answered(tb testing.TB, n int, rate float64) {
	tb.Helper()
	atRate(n, rate, func(int) {
		user := <-f.singles
		user[0].be(answers)
		if got := f.pbx.call(f.ctx, user[0].number, callPlan{}); got != 200 {
			tb.Errorf("a call ended with %d", got)
		}
		<-user[0].asleep()
		f.singles <- user
	})
}

// samples takes what the server measured of the last n calls, once it has recorded
// all of them: a caller's call is over a little sooner than the server's.
func (f *fleet) samples(tb testing.TB, n int) report {
	tb.Helper()
	all := report{Results: make(map[bridge.Result]int)}
	deadline := time.Now().Add(10 * time.Second)
	for {
		r := f.server.ask(tb, askSamples)
		all.Written, all.Invited = append(all.Written, r.Written...), append(all.Invited, r.Invited...)
		for result, count := range r.Results {
			all.Results[result] += count
			n -= count
		}
		if n <= 0 {
			return all
		}
		if time.Now().After(deadline) {
			tb.Fatalf("%d calls were not recorded", n)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// switchboard is a PBX that only calls. It sends no audio.
type switchboard struct {
	ep     *sipua.Endpoint
	addr   netip.AddrPort
	server netip.AddrPort
	calls  atomic.Int64
}

func newSwitchboard(tb testing.TB) *switchboard {
	tb.Helper()
	conn, err := net.ListenPacket("udp4", trunkHost+":0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &switchboard{addr: conn.LocalAddr().(*net.UDPAddr).AddrPort()}
	s.ep = sipua.New(sipua.Config{Handler: s, Log: quiet(), Agent: "switchboard"})
	tb.Cleanup(s.ep.Close)
	if err := s.ep.ServeUDP(conn); err != nil {
		tb.Fatal(err)
	}
	return s
}

// Invite implements sipua.Handler: nobody calls it.
func (*switchboard) Invite(tx *sipua.ServerTx) { tx.Reject(sipua.Reject(480, "")) }

// Request implements sipua.Handler.
func (*switchboard) Request(tx *sipua.ServerTx) { tx.Reject(sipua.Reject(481, "")) }

// FlowGone implements sipua.Handler.
func (*switchboard) FlowGone(*sipua.Flow, error) {}

// callPlan says what the caller does.
type callPlan struct {
	CancelOnRing bool            // CANCEL with the first 180
	CancelWhen   <-chan struct{} // CANCEL then
	Listens      bool            // leaves it to the callee to hang up
}

// call places a call and returns its final status when it is over: that of the
// response to the INVITE, 0 if none came.
func (s *switchboard) call(ctx context.Context, number string, plan callPlan) (status int) {
	flow, err := s.ep.Connect(ctx, sipua.UDP, sipua.Destination{Addr: s.server})
	if err != nil {
		return 0
	}
	caller := fmt.Sprintf("+49%09d", s.calls.Add(1)) // nobody calls twice: calls are never merged
	box, over := newInbox(), false
	var l *leg.Leg
	end := func(verb func(...string) error) {
		if err := verb(); err != nil && !over {
			l.Drop()
		}
	}
	l = leg.NewUAC(leg.Config{Endpoint: s.ep, Post: box.post, Log: quiet(), ContactUser: caller, Emit: func(_ *leg.Leg, ev leg.Event) {
		switch ev := ev.(type) {
		case leg.Provisional:
			if ev.Status == 180 && plan.CancelOnRing {
				plan.CancelOnRing = false
				end(l.Cancel)
			}
		case leg.Answered:
			status = 200
			if !ev.AfterCancel && !plan.Listens {
				time.AfterFunc(talks, func() { box.post(func() { end(l.Bye) }) })
			}
		case leg.Failed:
			status = ev.Status
		case leg.Ended:
			over = true
		}
	}}, leg.Invite{
		Flow: flow, Body: sessionAt(trunkHost),
		RequestURI: sip.Uri{Scheme: "sip", User: number, Host: s.server.Addr().String(), Port: int(s.server.Port())},
		From:       leg.Address{URI: sip.Uri{Scheme: "sip", User: caller, Host: trunkHost}},
		To:         leg.Address{URI: sip.Uri{Scheme: "sip", User: number, Host: s.server.Addr().String()}},
	})
	for !over {
		select {
		case <-box.signal:
			box.run()
		case <-plan.CancelWhen:
			plan.CancelWhen = nil
			end(l.Cancel)
		case <-ctx.Done():
			l.Drop()
			return status
		}
	}
	return status
}
