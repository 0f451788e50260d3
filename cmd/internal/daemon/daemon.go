package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/prometheus/client_golang/prometheus"

	"wakebridge/bridge"
	"wakebridge/bridge/media"
	"wakebridge/cmd/internal/api"
	"wakebridge/cmd/internal/metrics"
	"wakebridge/cmd/internal/store"
	"wakebridge/config"
	"wakebridge/sipua"
	"wakebridge/sipua/location"
	"wakebridge/sipua/registrar"
	"wakebridge/sipua/resolve"
	"wakebridge/sipua/trunk"
)

// Options are what does not come from the configuration.
type Options struct {
	Log     *slog.Logger
	Version string
	// Tap sees each SIP message; see sipua.Config.
	Tap func(sipua.Traffic)
	// Recorded is told of each finished call, after it was stored. nil: nobody.
	Recorded func(bridge.Record)
}

// Daemon is a running Wakebridge.
type Daemon struct {
	cfg       *config.Config
	opts      Options
	log       *slog.Logger
	registry  *prometheus.Registry
	store     *store.DB
	memory    *location.Memory
	waker     *waker
	endpoint  *sipua.Endpoint
	trunks    *trunk.Set
	media     *media.Relay
	registrar *registrar.Registrar
	bridge    *bridge.Bridge
	http      *http.Server
	httpAddr  netip.AddrPort
	undo      []func() // takes back what was opened, last first
	draining  atomic.Bool
	stop      sync.Once
}

// New opens everything that the configuration names, in order, and begins to
// serve. When something fails, what was opened is closed again and the error
// says which key is concerned.
func New(ctx context.Context, cfg *config.Config, opts Options) (*Daemon, error) {
	d := &Daemon{cfg: cfg, opts: opts, log: opts.Log, registry: metrics.New(opts.Version)}
	for _, open := range []func(context.Context) error{d.openStore, d.openPush, d.openSIP, d.openCalls, d.openHTTP, d.listen} {
		if err := open(ctx); err != nil {
			d.close()
			return nil, err
		}
	}
	return d, nil
}

func (d *Daemon) onClose(fn func()) { d.undo = append(d.undo, fn) }

func (d *Daemon) close() {
	for i := len(d.undo) - 1; i >= 0; i-- {
		d.undo[i]()
	}
	d.undo = nil
}

func (d *Daemon) logErr(what string, err error) {
	if err != nil {
		d.log.Error(what, "error", err)
	}
}

func (d *Daemon) openStore(ctx context.Context) error {
	s, err := store.Open(ctx, store.Options{Dir: d.cfg.Node.DataDir, Log: d.log})
	if err != nil {
		return fmt.Errorf("node.data_dir %s: %w", filepath.Clean(d.cfg.Node.DataDir), err)
	}
	d.store = s
	d.onClose(func() { d.logErr("close the store", s.Close()) })
	d.memory, err = location.NewMemory(ctx, s, location.Rules{DeviceTTL: d.cfg.Push.DeviceTTL, AfterExpiry: d.cfg.Push.AfterExpiry})
	return err
}

func (d *Daemon) openPush(context.Context) error {
	w, err := newWaker(d.cfg.Push, d.log, d.registry)
	if err != nil {
		return err
	}
	w.edit = func(e ...location.Edit) { d.registrar.Edit(e...) }
	d.waker = w
	return nil
}

// openSIP makes the endpoint and the trunks, still without listeners.
func (d *Daemon) openSIP(context.Context) error {
	peers := make([]trunk.Peer, 0, len(d.cfg.Trunks))
	for _, t := range d.cfg.Trunks {
		p := trunk.Peer{Name: t.Name, Match: t.Match, Qualify: t.Qualify, MaxCalls: t.MaxCalls, Progress: t.ProgressHeader, TrustIdentity: t.TrustIdentity}
		if err := sip.ParseUri(t.Contact, &p.Contact); err != nil {
			return fmt.Errorf("trunks[%s].contact: %w", t.Name, err)
		}
		peers = append(peers, p)
	}
	d.trunks = trunk.New(trunk.Config{Peers: peers, Log: d.log, Resolve: resolver(resolve.New(resolve.Options{}))})
	g, err := newGate(d.cfg.Limits)
	if err != nil {
		return err
	}
	addrs := d.addresses()
	conns := d.cfg.Limits.Connections
	d.endpoint = sipua.New(sipua.Config{
		Handler: &handler{d}, Log: d.log, Dial: dial, Advertise: addrs.advertise, Party: d.party, Admit: g.admit, Tap: d.opts.Tap,
		Supported: []string{"path", "outbound", "gruu"}, Agent: "Wakebridge/" + d.opts.Version, Registerer: d.registry,
		Limits: sipua.Limits{Connections: orNone(conns.Total), Unauthenticated: orNone(conns.UnauthenticatedPerSource)},
	})
	d.onClose(d.endpoint.Close)
	users := newUsers(d.cfg.Domains)
	auth, err := newAuth(d.cfg.Domains, users, d.log)
	if err != nil {
		return err
	}
	auth.Failed = g.failed
	domains := make([]registrar.Domain, 0, len(d.cfg.Domains))
	for _, c := range d.cfg.Domains {
		domains = append(domains, registrar.Domain{Name: c.Name, MaxContacts: c.MaxContacts,
			Expires: registrar.Lease{Min: c.Expires.Min, Default: c.Expires.Default, Max: c.Expires.Max}})
	}
	d.registrar = registrar.New(registrar.Config{
		Memory: d.memory, Auth: auth, Domains: domains, Push: d.waker.terms(d.cfg.Push.Expires), Node: d.node(), Log: d.log,
		InCall: func(r location.Ref) bool { return d.bridge.InCall(r.AOR, r.Key) },
		Late:   func(dev location.Device, f []location.Fate) { d.bridge.Late(dev, f) }, Registerer: d.registry,
	})
	d.onClose(d.registrar.Close)
	d.onClose(func() { d.logErr("close push", d.waker.close()) })
	return d.openBridge(users, auth, addrs)
}

func orNone(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

func (d *Daemon) addresses() addresses {
	return addresses{network: d.cfg.Network, media: d.cfg.Media.Bind}
}

func (d *Daemon) party(_ sipua.Transport, remote netip.AddrPort) string {
	if t := d.trunks.ByAddr(remote.Addr()); t != nil {
		return "trunk " + t.Name
	}
	return ""
}

// node is the name of this instance, in Call-IDs and bindings.
func (d *Daemon) node() string {
	if d.cfg.Node.ID != "" {
		return d.cfg.Node.ID
	}
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "wakebridge"
}

func (d *Daemon) openBridge(u *users, auth *registrar.Auth, addrs addresses) error {
	table, err := newRouter(d.cfg)
	if err != nil {
		return err
	}
	t := d.cfg.Media.Timeout
	d.media, err = media.New(media.Config{
		Bind: d.cfg.Media.Bind, PortStart: uint16(d.cfg.Media.RTPStart), PortEnd: uint16(d.cfg.Media.RTPEnd), //nolint:gosec // checked by config
		Timeouts: media.Timeouts{FirstPacket: t.FirstPacket, Silence: t.Silence, Hold: t.Hold}, Log: d.log, Registerer: d.registry,
	})
	if err != nil {
		return fmt.Errorf("media: %w", err)
	}
	d.onClose(d.media.Close)
	d.bridge = bridge.New(bridge.Config{
		Endpoint: func() *sipua.Endpoint { return d.endpoint }, Locator: d.memory, Waker: d.waker, Fates: fates{d.registrar},
		Records: records{d}, Directory: u, Router: table, Verifier: auth, Trunks: d.trunks, Media: d.media,
		MediaAddr: addrs.mediaAddr, Terms: d.terms(), Log: d.log, Registerer: d.registry,
	})
	return nil
}

func (d *Daemon) terms() bridge.Terms {
	c, p := d.cfg.Calls, d.cfg.Push
	ringing := map[string]bridge.RingPolicy{"trying": bridge.RingTrying, "on_push": bridge.RingOnPush, "at_once": bridge.RingAtOnce}
	return bridge.Terms{
		Node: d.node(), RingTimeout: c.RingTimeout, WakeTimeout: p.WakeTimeout, Ringing: ringing[p.Ringing], DeclineOne: c.Decline == "one",
		DeclineWindow: c.DeclineWindow, MaxDuration: c.MaxDuration, MergeWindow: c.MergeWindow, WaitingBusy: c.Waiting == "busy",
		Codecs: d.cfg.Media.Allow, WakesPerUser: perPeriod(d.cfg.Limits.WakesPerUser), WakesPerCaller: perPeriod(d.cfg.Limits.WakesPerCaller),
	}
}

func perPeriod(r config.Rate) bridge.Rate {
	if r.Off() {
		return bridge.Rate{}
	}
	return bridge.Rate{Count: r.Count, Per: r.Per}
}

// openCalls begins to qualify the trunks.
func (d *Daemon) openCalls(context.Context) error {
	d.trunks.Start(d.endpoint)
	d.onClose(d.trunks.Close)
	d.onClose(func() { // a failure to start: no call can be there for long
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		d.bridge.Close(ctx)
	})
	return nil
}

func (d *Daemon) openHTTP(ctx context.Context) error {
	if !d.cfg.HTTP.Bind.IsValid() {
		return nil
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", d.cfg.HTTP.Bind.String())
	if err != nil {
		return fmt.Errorf("http.bind %s: %w", d.cfg.HTTP.Bind, explain(err))
	}
	if a, ok := ln.Addr().(*net.TCPAddr); ok {
		d.httpAddr = a.AddrPort()
	}
	d.log.Info("listening", "transport", "http", "address", ln.Addr().String())
	d.http = &http.Server{ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		Handler: api.New(api.Config{Ready: d.Ready, Gatherer: d.registry, Token: d.cfg.HTTP.Token.Reveal(), Version: d.opts.Version, Log: d.log})}
	served := make(chan struct{})
	go func() { // awaited by the function below
		defer close(served)
		if err := d.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			d.log.Error("HTTP server ended", "error", err)
		}
	}()
	// HTTP ends last, so it stands first among what is taken back.
	d.undo = append([]func(){func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		d.logErr("stop HTTP", d.http.Shutdown(ctx))
		<-served
	}}, d.undo...)
	return nil
}

// Ready lists what must be true for new calls to be taken.
func (d *Daemon) Ready() []api.Check {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	checks := []api.Check{{Name: "draining", OK: !d.draining.Load(), Text: "the server takes no new calls"}}
	storeOK := api.Check{Name: "store", OK: true}
	if _, err := d.store.Records(ctx, 1, store.Position{}); err != nil {
		storeOK = api.Check{Name: "store", Text: err.Error()}
	}
	return append(checks, storeOK)
}

// Drain takes no new calls from now on and waits for those in progress, at most
// calls.drain_timeout or until ctx ends; then it hangs up.
func (d *Daemon) Drain(ctx context.Context) {
	d.draining.Store(true)
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Calls.DrainTimeout)
	defer cancel()
	d.bridge.Drain(ctx)
}

// Stop ends everything: calls with BYE, then push, registrar, flows, store, and
// HTTP last. ctx bounds the wait for the calls' peers. It may be called again.
func (d *Daemon) Stop(ctx context.Context) {
	d.stop.Do(func() {
		d.draining.Store(true)
		d.bridge.Close(ctx)
		d.close()
	})
}

// Addr is where a transport is listened on; the zero value if nowhere.
func (d *Daemon) Addr(t sipua.Transport) netip.AddrPort {
	if l := d.endpoint.Listening(t); len(l) > 0 {
		return l[0]
	}
	return netip.AddrPort{}
}

// HTTPAddr is where the HTTP port is.
func (d *Daemon) HTTPAddr() netip.AddrPort { return d.httpAddr }

// Memory knows the devices.
func (d *Daemon) Memory() *location.Memory { return d.memory }

// Bridge owns the calls.
func (d *Daemon) Bridge() *bridge.Bridge { return d.bridge }

// Endpoint carries the SIP messages.
func (d *Daemon) Endpoint() *sipua.Endpoint { return d.endpoint }

// Media is the relay.
func (d *Daemon) Media() *media.Relay { return d.media }

// Registry has the metrics.
func (d *Daemon) Registry() *prometheus.Registry { return d.registry }
