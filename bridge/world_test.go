package bridge_test

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/prometheus/client_golang/prometheus"

	"wakebridge/bridge"
	"wakebridge/bridge/media"
	"wakebridge/bridge/media/capture"
	"wakebridge/sipua"
	"wakebridge/sipua/location"
	"wakebridge/sipua/memnet"
	"wakebridge/sipua/trunk"
)

const (
	domain = "example.com"
	node   = "n1"
)

var (
	serverHost = netip.MustParseAddr("10.0.0.1")
	pbxHost    = netip.MustParseAddr("10.0.0.2")
	phoneHost  = netip.MustParseAddr("10.0.0.3")
	phone2Host = netip.MustParseAddr("10.0.0.4")
	mobileHost = netip.MustParseAddr("10.0.0.6") // of a phone that leaves phoneHost
	bobHost    = netip.MustParseAddr("10.0.0.5")
	alice      = sipua.NewAOR("alice", domain)
	bob        = sipua.NewAOR("bob", domain)
)

// world is a bridge with a trunk, users and a push service, in virtual time.
type world struct {
	t      *testing.T
	net    *memnet.Network
	ep     *sipua.Endpoint
	memory *location.Memory
	bridge *bridge.Bridge
	relay  *media.Relay
	trunks *trunk.Set
	waker  *waker
	fates  *fates
	books  *books
	uas    []*ua
	infos  map[netip.Addr]bool           // user agents that take INFO
	shown  map[netip.Addr]netip.AddrPort // what user agents call themselves

	looking func() // runs while a call finds out who calls
	taken   func() // runs in a REGISTER, between the fates and the watchers
}

type options struct {
	terms bridge.Terms
	peer  trunk.Peer
	media media.Config
	route func(bridge.Query) bridge.Plan
	log   *slog.Logger
	infos map[netip.Addr]bool // as world.infos
	shown netip.Addr          // in SDP; zero: serverHost

	alerts   bridge.Alerts
	metrics  prometheus.Registerer
	captures *capture.Store
	tap      func(sipua.Traffic) // of the server; nil: that of captures
}

// inWorld runs a test in a world, and checks afterwards that nothing is left of its
// calls.
func inWorld(t *testing.T, change func(*options), test func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, change)
		defer w.shut()
		test(w)
		w.end()
	})
}

func defaults() options {
	o := options{
		terms: bridge.Terms{Node: node, RingTimeout: 50 * time.Second, WakeTimeout: 30 * time.Second, DeclineWindow: 28 * time.Second,
			MaxDuration: 4 * time.Hour, MergeWindow: 2 * time.Second},
		peer: trunk.Peer{Name: "pbx", Match: []netip.Prefix{netip.PrefixFrom(pbxHost, 32)}, Contact: sip.Uri{Scheme: "sip", Host: pbxHost.String(), Port: 5060}},
		media: media.Config{PortStart: 10000, PortEnd: 10199, Quarantine: time.Millisecond,
			Timeouts: media.Timeouts{FirstPacket: 30 * time.Second, Silence: time.Minute, Hold: 30 * time.Minute}},
		route: plan, log: slog.New(slog.DiscardHandler),
	}
	if os.Getenv("BRIDGE_LOG") != "" {
		o.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return o
}

// plan is the routing: users by name, numbers that begin with 9 to the trunk.
func plan(q bridge.Query) bridge.Plan {
	switch called := q.Called.User; {
	case called == alice.User || called == bob.User:
		return bridge.Plan{User: sipua.NewAOR(called, domain), Reason: "user " + called}
	case len(called) > 0 && called[0] == '9':
		return bridge.Plan{Trunk: "pbx", Number: called, Reason: "route out"}
	case called == "200":
		return bridge.Plan{Status: 200, Reason: "a route that nobody should configure"}
	}
	return bridge.Plan{Status: 404, Reason: "no route matches"}
}

func newWorld(t *testing.T, change func(*options)) *world {
	t.Helper()
	o := defaults()
	if change != nil {
		change(&o)
	}
	if !o.shown.IsValid() {
		o.shown = serverHost
	}
	w := &world{t: t, net: memnet.New(memnet.Options{Seed: 1}), waker: &waker{}, fates: &fates{}, books: &books{}, infos: o.infos}
	host := w.net.Host(serverHost)
	var err error
	if w.memory, err = location.NewMemory(t.Context(), noStore{}, location.Rules{AfterExpiry: true}); err != nil {
		t.Fatal(err)
	}
	w.fates.memory, w.waker.memory = w.memory, w.memory
	w.trunks = trunk.New(trunk.Config{Peers: []trunk.Peer{o.peer}, Log: o.log,
		Resolve: func(_ context.Context, uri sip.Uri) ([]trunk.Target, error) {
			addr, err := netip.ParseAddr(uri.Host)
			transport := sipua.UDP
			if v, ok := uri.UriParams.Get("transport"); ok && v == "tcp" {
				transport = sipua.TCP
			}
			return []trunk.Target{{Transport: transport, Addr: netip.AddrPortFrom(addr, uint16(cmp.Or(uri.Port, 5060)))}}, err
		}})
	w.ep = endpoint(t, w.net, serverHost, w, func(c *sipua.Config) {
		c.Log = o.log
		c.Allow = withInfo
		if o.captures != nil {
			c.Tap = bridge.Capture(o.captures)
		}
		if o.tap != nil {
			c.Tap = o.tap
		}
		c.Party = func(_ sipua.Transport, remote netip.AddrPort) string {
			if tr := w.trunks.ByAddr(remote.Addr()); tr != nil {
				return "trunk " + tr.Name
			}
			return ""
		}
	})
	w.trunks.Start(w.ep)
	o.media.Network, o.media.Bind = host, []netip.Addr{serverHost}
	if w.relay, err = media.New(o.media); err != nil {
		t.Fatal(err)
	}
	w.bridge = bridge.New(bridge.Config{
		Endpoint: func() *sipua.Endpoint { return w.ep }, Locator: w.memory, Waker: w.waker, Fates: w.fates, Records: w.books,
		Directory: directory{w}, Router: router(o.route), Verifier: verifier{}, Trunks: w.trunks, Media: w.relay,
		MediaAddr: func(*sipua.Flow) netip.Addr { return o.shown }, Terms: o.terms, Log: o.log,
		Alerts: o.alerts, Registerer: o.metrics, Captures: o.captures,
	})
	return w
}

// withInfo are the methods that work at the server, and at who takes INFO.
var withInfo = []string{"INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "REGISTER", "INFO"}

// Where everybody listens. An endpoint never dials twice where it has a stream, so
// a phone's second connection goes to the second port.
const (
	sipPort     = 5060
	streamPorts = 4
)

// endpoint listens at a host for UDP and TCP.
func endpoint(t *testing.T, n *memnet.Network, addr netip.Addr, h sipua.Handler, change func(*sipua.Config)) *sipua.Endpoint {
	t.Helper()
	host := n.Host(addr)
	cfg := sipua.Config{Handler: h, Log: slog.New(slog.DiscardHandler),
		Dial: func(ctx context.Context, _ sipua.Transport, to sipua.Destination) (net.Conn, error) {
			return host.Dial(ctx, netip.AddrPort{}, to.Addr)
		}}
	if change != nil {
		change(&cfg)
	}
	ep := sipua.New(cfg)
	pc, err := host.ListenPacket(netip.AddrPortFrom(addr, sipPort))
	if err != nil {
		t.Fatal(err)
	}
	if err := ep.ServeUDP(pc); err != nil {
		t.Fatal(err)
	}
	for i := range uint16(streamPorts) {
		ln, err := host.Listen(netip.AddrPortFrom(addr, sipPort+i))
		if err != nil {
			t.Fatal(err)
		}
		if err := ep.ServeStream(ln, sipua.TCP); err != nil {
			t.Fatal(err)
		}
	}
	return ep
}

// end lets everything that a call may leave behind run out, and checks that nothing
// is left.
func (w *world) end() {
	w.t.Helper()
	synctest.Wait()
	time.Sleep(2 * time.Minute)
	synctest.Wait()
	if n := w.bridge.Active(); n != 0 {
		w.t.Errorf("%d calls are left", n)
	}
	if n := w.relay.PortsInUse(); n != 0 {
		w.t.Errorf("%d media ports are left", n)
	}
	for _, tr := range w.trunks.All() {
		if n := tr.Status().Calls; n != 0 {
			w.t.Errorf("trunk %s has %d calls left", tr.Name, n)
		}
	}
	for _, d := range append(w.memory.Devices(alice), w.memory.Devices(bob)...) {
		if w.bridge.InCall(d.AOR, d.Key) {
			w.t.Errorf("%s is still in a call", d.Key)
		}
	}
	eps := map[string]*sipua.Endpoint{"server": w.ep}
	for _, u := range w.uas {
		eps[u.host.String()] = u.ep
	}
	for name, ep := range eps {
		if _, dialogs, servers, clients := ep.Sizes(); dialogs+servers+clients > 0 {
			w.t.Errorf("%s: %d dialogs, %d server and %d client transactions are left", name, dialogs, servers, clients)
		}
	}
}

// shut closes everything.
func (w *world) shut() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	w.bridge.Close(ctx)
	w.trunks.Close()
	for _, u := range w.uas {
		u.close()
	}
	w.ep.Close()
	w.relay.Close()
	w.net.Close()
}

// settle lets everything happen that takes no time.
func (w *world) settle() { synctest.Wait() }

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// Invite implements sipua.Handler.
func (w *world) Invite(tx *sipua.ServerTx) { w.bridge.Invite(tx) }

// Request implements sipua.Handler: a registrar that asks no questions. A phone
// names its instance; tokens are known to the world.
func (w *world) Request(tx *sipua.ServerTx) {
	if tx.Request.Method != sip.REGISTER {
		tx.Reject(sipua.Reject(481, ""))
		return
	}
	c := tx.Request.Contact()
	instance, _ := c.Params.Get("+sip.instance")
	regID := 0
	if flow, ok := c.Params.Get("reg-id"); ok {
		regID, _ = strconv.Atoi(flow)
	}
	aor, err := sipua.AOROf(tx.Request.To().Address)
	if err != nil {
		tx.Reject(err)
		return
	}
	now := time.Now()
	up := location.Upsert{AOR: aor, Announced: location.Tokens, Push: tokens(instance), Binding: location.Binding{
		Contact: c.Value(), Flow: location.FlowID(tx.Flow().ID()), Node: node, Instance: instance, RegID: regID, CallID: tx.Request.CallID().Value(),
		CSeq: tx.Request.CSeq().SeqNo, Expires: now.Add(24 * time.Hour), Registered: now, UserAgent: "phone", Received: tx.Flow().Remote(), Path: sipua.Values(tx.Request, "Path")}}
	tx.Flow().SetParty(fmt.Sprint("user ", aor, " ", instance)) // as the registrar
	tx.Flow().Pin(now.Add(24 * time.Hour))
	applied := w.memory.Apply(up)
	ref := applied.Refs[0]
	fates := w.memory.TakeFates(ref, 0)
	if w.taken != nil {
		w.taken()
	}
	applied.Release()
	if err := tx.Respond(tx.NewResponse(200, "")); err != nil {
		w.t.Errorf("answer REGISTER: %v", err)
	}
	if d, ok := w.memory.Device(ref); ok && len(fates) > 0 {
		w.bridge.Late(d, fates)
	}
}

// tokens are what a phone announces: by the letters of its instance v(oip) and
// a(lert); h: it reads the header of fates.
func tokens(instance string) location.PushInfo {
	info := location.PushInfo{Provider: "apns", BundleID: "com.example.phone"}
	for _, letter := range instance {
		switch letter {
		case 'v':
			info.VoIP = location.Token{Value: "aa" + fmt.Sprintf("%x", instance), Kind: location.VoIP}
		case 'a':
			info.Alert = location.Token{Value: "bb" + fmt.Sprintf("%x", instance), Kind: location.Alert}
		case 'h':
			info.FateHeader = true
		}
	}
	if !info.HasToken() {
		return location.PushInfo{FateHeader: info.FateHeader}
	}
	return info
}

// FlowGone implements sipua.Handler.
func (w *world) FlowGone(f *sipua.Flow, _ error) {
	w.memory.Apply(location.FlowGone{Flow: location.FlowID(f.ID())}).Release()
}

type noStore struct{}

func (noStore) Load(context.Context) (location.State, error) { return location.State{}, nil }
func (noStore) Commit(context.Context, location.Batch) error { return nil }

type router func(bridge.Query) bridge.Plan

func (r router) Route(q bridge.Query) bridge.Plan { return r(q) }

type directory struct{ w *world }

func (d directory) DisplayName(aor sipua.AOR) string {
	if d.w.looking != nil {
		d.w.looking()
	}
	return map[sipua.AOR]string{bob: "Bob B."}[aor]
}
func (directory) Number(aor sipua.AOR) string { return map[sipua.AOR]string{bob: "202"}[aor] }
func (directory) IsLocal(d string) bool       { return d == domain }

// verifier believes everybody but mallory.
type verifier struct{}

func (verifier) Verify(req *sip.Request) (sipua.AOR, error) {
	user := req.From().Address.User
	if user == "mallory" {
		return sipua.AOR{}, sipua.Reject(401, "", sipua.HeaderLine{Name: "WWW-Authenticate", Value: `Digest realm="x", nonce="y"`})
	}
	return sipua.NewAOR(user, domain), nil
}

// waker is the push service. What it answers is for answer to say; nil accepts
// everything at once.
type waker struct {
	answer func(bridge.Wake) *bridge.WakeResult // its result nil: no answer
	left   bool                                 // what has no answer was sent all the same
	lost   bool                                 // nor does it have an outcome

	memory *location.Memory // hears what the daemon would tell it

	mu   sync.Mutex
	sent []push
}

type push struct {
	bridge.Wake
	ctx    context.Context
	at     time.Time
	report func(bridge.WakeResult)
}

func (w *waker) Wake(ctx context.Context, wake bridge.Wake, tell func(bridge.WakeResult)) {
	var once sync.Once
	report := func(r bridge.WakeResult) { once.Do(func() { tell(r) }) }
	context.AfterFunc(ctx, func() {
		r := bridge.WakeResult{Alert: wake.AlertOnly, Stopped: true, At: time.Now()}
		if w.lost {
			return
		}
		if w.left {
			r.Written, r.Tries, r.Hedged = r.At, 2, true
		}
		report(r)
	})
	w.mu.Lock()
	w.sent = append(w.sent, push{wake, ctx, time.Now(), report})
	w.mu.Unlock()
	res := &bridge.WakeResult{Alert: wake.AlertOnly, Accepted: true, ID: "id"}
	if w.answer != nil {
		res = w.answer(wake)
	}
	if res != nil {
		res.At, res.Written = time.Now(), time.Now()
		report(*res)
	}
}

// Reached implements bridge.Waker as the daemon does.
func (w *waker) Reached(aor sipua.AOR, device string) {
	w.memory.Apply(location.Reached{AOR: aor, Key: device}).Release()
}

func (w *waker) pushes() []push {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]push(nil), w.sent...)
}

// fates keeps every word about a fate, and puts it into the location as the
// registrar would.
type fates struct {
	memory *location.Memory
	mu     sync.Mutex
	put    []location.Fate
}

func (f *fates) Put(fate location.Fate) {
	f.mu.Lock()
	f.put = append(f.put, fate)
	f.mu.Unlock()
	f.memory.Apply(location.PutFate{Fate: fate}).Release()
}

func (f *fates) Take(d location.Ref, flow location.FlowID) []location.Fate {
	return f.memory.TakeFates(d, flow)
}

func (f *fates) all() []location.Fate {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]location.Fate(nil), f.put...)
}

// books keeps the records.
type books struct {
	mu      sync.Mutex
	records []bridge.Record
	begun   []bridge.Record
	writing func() // runs before each
}

func (b *books) Begin(r bridge.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.begun = append(b.begun, r)
}

func (b *books) Append(r bridge.Record) error {
	if b.writing != nil {
		b.writing()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.records = append(b.records, r)
	return nil
}

// record is the only record; it fails if there is none or more.
func (w *world) record() bridge.Record {
	w.t.Helper()
	r := w.recorded()
	if len(r) != 1 {
		w.t.Fatalf("%d records", len(r))
	}
	return r[0]
}

func (w *world) recorded() []bridge.Record {
	synctest.Wait()
	w.books.mu.Lock()
	defer w.books.mu.Unlock()
	return append([]bridge.Record(nil), w.books.records...)
}
