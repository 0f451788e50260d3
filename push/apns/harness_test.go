package apns_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"wakebridge/push"
	"wakebridge/push/apns"
	"wakebridge/push/apnssim"
	"wakebridge/sipua/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	team   = "ABCDE12345"
	keyID  = "KEY1234567"
	bundle = "com.example.phone"
	callID = "6f1c2a7e-98f5-4c32-9b1c-0d4f3a2b1c0d"
	pushID = "0f8fad5b-d9cb-469f-a165-70867728950e"
)

// world is a simulated Apple, a network in memory and our sender, all in
// virtual time.
type world struct {
	*apnssim.Sim
	t       *testing.T
	network *memnet.Network
	apple   netip.Addr
	log     *journal
	metrics *prometheus.Registry
	config  apns.Config
	service *apns.Service
	sender  push.Sender
	public  *ecdsa.PublicKey // of the first key
	phone   *apnssim.Device
	voip    push.DeviceToken
	alert   push.DeviceToken

	mu    sync.Mutex
	conns []*memnet.Conn
}

// journal is a log that is read while it is written.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

// inWorld runs test in a bubble with everything up and both lines warm.
func inWorld(t *testing.T, change func(*apnssim.Config, *apns.Config), test func(*testing.T, *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, change)
		test(t, w)
		w.checkSecrets()
	})
}

func newWorld(t *testing.T, change func(*apnssim.Config, *apns.Config)) *world {
	t.Helper()
	w := &world{t: t, network: memnet.New(memnet.Options{}), apple: netip.MustParseAddr("17.0.0.1"), log: &journal{}, metrics: prometheus.NewRegistry()}
	t.Cleanup(func() { must(t, w.network.Close()) })
	w.network.ImpairBoth(w.apple, netip.MustParseAddr("10.0.0.1"), memnet.Impairment{Delay: 20 * time.Millisecond})
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	simConfig := apnssim.Config{Production: w.listen(443), Sandbox: w.listen(2197), Names: []string{w.apple.String()}, Log: log}
	w.config = apns.Config{
		Dial: w.dial, Log: log, Metrics: w.metrics,
		Apps: []apns.App{{BundleID: bundle, TeamID: team, Environment: push.Auto}},
	}
	if change != nil {
		change(&simConfig, &w.config)
	}
	sim, err := apnssim.New(simConfig)
	must(t, err)
	w.Sim = sim
	t.Cleanup(func() { must(t, sim.Close()) })
	must(t, sim.AddTeam(team, bundle))
	key := w.newKey(team, keyID)
	for i := range w.config.Apps {
		if w.config.Apps[i].Keys == nil {
			w.config.Apps[i].Keys = []apns.Key{key}
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(sim.CAPEM())
	w.config.RootCAs = roots
	w.config.Production, w.config.Sandbox = sim.URL(apnssim.Production), sim.URL(apnssim.Sandbox)
	w.phone = sim.NewDevice("iphone")
	w.voip, w.alert = push.DeviceToken(w.phone.RegisterVoIP(bundle)), push.DeviceToken(w.phone.RegisterAlert(bundle))
	w.start()
	return w
}

// start makes the service and lets both lines connect.
func (w *world) start() {
	w.t.Helper()
	service, err := apns.New(w.config)
	must(w.t, err)
	w.service, w.sender = service, service.Routes()[0].Sender
	w.t.Cleanup(func() { must(w.t, service.Close()) })
	time.Sleep(time.Second) // virtual
	synctest.Wait()
}

func (w *world) listen(port uint16) net.Listener {
	w.t.Helper()
	l, err := w.network.Listen(netip.AddrPortFrom(w.apple, port))
	must(w.t, err)
	return l
}

func (w *world) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	conn, err := w.network.Dial(ctx, netip.MustParseAddrPort("10.0.0.1:0"), to)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, conn.(*memnet.Conn))
	return conn, nil
}

// blackholes turns all connections made so far into dead paths.
func (w *world) blackholes() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.Blackhole()
	}
}

func (w *world) newKey(team, id string) apns.Key {
	w.t.Helper()
	p8, err := w.GenerateKey(team, id)
	must(w.t, err)
	if w.public == nil {
		block, _ := pem.Decode(p8)
		private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		must(w.t, err)
		w.public = &private.(*ecdsa.PrivateKey).PublicKey
	}
	key, err := apns.ParseKey(p8, id)
	must(w.t, err)
	return key
}

func (w *world) fault(m apnssim.Match, a apnssim.Action) {
	w.t.Helper()
	_, err := w.AddFault(apnssim.Rule{Match: m, Action: a})
	must(w.t, err)
}

// call is a VoIP push for a call, with its own id.
func call(id string) push.Notification {
	return push.Notification{
		Kind: push.VoIP, ID: id, UUID: callID, CallID: callID + "@node", Handle: "201", HandleType: "phone", Name: "Anna",
		SentAt: time.Now(), ExpiresAt: time.Now().Add(25 * time.Second), Expiration: time.Now().Add(25 * time.Second),
	}
}

// push sends a VoIP push to the phone within 25 s.
func (w *world) push() push.Result {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 25*time.Second)
	defer cancel()
	return w.sender.Send(ctx, push.Target{Token: w.voip, Environment: push.Production}, call(pushID))
}

// bearers lists the different provider tokens that Apple saw, in order.
func (w *world) bearers() []string {
	var seen []string
	for _, e := range w.Requests(apnssim.Filter{}) {
		if b := e.Get("authorization"); len(seen) == 0 || seen[len(seen)-1] != b {
			seen = append(seen, b)
		}
	}
	return seen
}

// checkSecrets looks for what must never be in a log.
func (w *world) checkSecrets() {
	w.t.Helper()
	for _, secret := range append(w.bearers(), w.voip.Secret(), w.alert.Secret()) {
		if secret = strings.TrimPrefix(secret, "bearer "); strings.Contains(w.log.String(), secret) {
			w.t.Errorf("a secret is in the log: %s", w.log)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func accepted(t testing.TB, r push.Result) {
	t.Helper()
	if r.Outcome != push.Accepted || r.Reason != "" || r.Status != 200 || !r.Dead.IsZero() {
		t.Fatalf("not accepted: %+v", r)
	}
}
