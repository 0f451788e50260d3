package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/daemon"
	"wakebridge/cmd/internal/e2e/invariants"
	"wakebridge/config"
	"wakebridge/push/apnssim"
	"wakebridge/push/fcm/fcmsim"
	"wakebridge/sipua"
)

// server is a whole Wakebridge on loopback: real sockets, SQLite in a temporary
// folder, the simulated APNs behind it.
type server struct {
	*daemon.Daemon
	cfg     *config.Config
	apns    *apnssim.Sim
	promise *invariants.Observer // what every run has to keep

	mu      sync.Mutex
	records []bridge.Record
	ended   chan struct{} // one element per change of records
	sims    []*simRun     // the simulated iPhones that it serves
	google  *fcmsim.Sim   // nil: it sends to no Android app
}

// Where the peers of a server are. Each may use any port of its address.
const (
	serverHost = "127.0.0.1"
	trunkHost  = "127.0.0.2"
	phoneHost  = "127.0.0.3"
)

// start runs a server of the development set-up on free ports; adjust may change
// its configuration. When the test ends the server is stopped, and nothing of its
// calls may be left.
func start(t *testing.T, adjust func(*config.Config)) *server {
	t.Helper()
	dev, err := daemon.NewDevelopment()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	cfg := dev.Config
	free := netip.MustParseAddrPort(serverHost + ":0")
	for i := range cfg.Listen {
		cfg.Listen[i].Bind = free
	}
	cfg.HTTP.Bind = free
	cfg.Media.RTPStart, cfg.Media.RTPEnd = 0, 0 // the system chooses
	for i := range cfg.Domains[0].Users {
		cfg.Domains[0].Users[i].Password = config.NewSecret("secret")
	}
	if adjust != nil {
		adjust(cfg)
	}
	s := &server{cfg: cfg, apns: dev.APNs, promise: observe(cfg), ended: make(chan struct{}, 1)}
	log := withUnits(slog.DiscardHandler)
	if os.Getenv("E2E_LOG") != "" {
		log = withUnits(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	s.Daemon, err = daemon.New(t.Context(), cfg, daemon.Options{Log: slog.New(log), Version: "test", Tap: s.promise.Saw, Recorded: s.recorded})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.end(t); log.check(t) })
	return s
}

// observe watches over a run in real time, on a machine that other tests keep busy.
func observe(cfg *config.Config) *invariants.Observer {
	return invariants.New(invariants.Limits{Ring: cfg.Calls.RingTimeout, Final: 5 * time.Second, Invite: 2 * time.Second, Wire: 2 * time.Second,
		Hedge: 4 * time.Second, Screen: 5 * time.Second, Audio: 2 * time.Second})
}

// end stops the server and checks that its calls left nothing behind and kept what
// is promised.
func (s *server) end(t *testing.T) {
	t.Helper()
	wait(t, 15*time.Second, "calls to end", func() (bool, string) {
		n := s.Bridge().Active()
		return n == 0, fmt.Sprint(n, " calls are left")
	})
	wait(t, 5*time.Second, "media ports to be given back", func() (bool, string) {
		n := s.Media().PortsInUse()
		return n == 0, fmt.Sprint(n, " ports are in use")
	})
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s.Stop(ctx)
	switch {
	case s.google != nil:
		s.promise.Google(s.google.Requests())
	case s.cfg.Push.FCM.URL != config.Default().Push.FCM.URL:
		t.Error("nobody asks the simulated FCM what it got")
	}
	for _, broken := range s.promise.Check(s.apns.Requests(apnssim.Filter{}), s.iphones()...) {
		t.Error(broken)
	}
}

// iphones are the simulated iPhones, which are switched off by now.
func (s *server) iphones() []invariants.Phone {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []invariants.Phone
	for _, r := range s.sims {
		all = append(all, r.phones()...)
	}
	return all
}

func (s *server) recorded(r bridge.Record) {
	s.promise.Recorded(r)
	s.mu.Lock()
	s.records = append(s.records, r)
	s.mu.Unlock()
	select {
	case s.ended <- struct{}{}:
	default:
	}
}

// record waits for the record of the nth call that ended, counted from 0.
func (s *server) record(t *testing.T, n int) bridge.Record {
	t.Helper()
	deadline := time.After(90 * time.Second)
	for {
		s.mu.Lock()
		if len(s.records) > n {
			defer s.mu.Unlock()
			return s.records[n]
		}
		s.mu.Unlock()
		select {
		case <-s.ended:
		case <-deadline:
			t.Fatalf("call %d did not end", n)
		}
	}
}

// port is where the server listens for a transport.
func (s *server) port(transport sipua.Transport) int { return int(s.Addr(transport).Port()) }

// wait polls until cond is true; on time-out the test fails with what cond said
// last. For things that happen behind real sockets, where nothing can tell.
func wait(t *testing.T, limit time.Duration, what string, cond func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		ok, last := cond()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s: %s", limit, what, last)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func TestServerStartsAndStops(t *testing.T) {
	s := start(t, nil)
	if !s.Addr(sipua.UDP).IsValid() {
		t.Error("no UDP listener")
	}
}
