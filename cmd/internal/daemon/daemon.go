package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wakebridge/bridge"
	"wakebridge/bridge/media"
	"wakebridge/bridge/media/capture"
	"wakebridge/cmd/internal/api"
	"wakebridge/cmd/internal/metrics"
	"wakebridge/cmd/internal/store"
	"wakebridge/config"
	"wakebridge/sipua"
	"wakebridge/sipua/location"
	"wakebridge/sipua/registrar"
	"wakebridge/sipua/trunk"
)

// Options are what does not come from the configuration.
type Options struct {
	Log     *slog.Logger
	Version string
	// Tap sees each SIP message; see sipua.Config.
	Tap func(sipua.Traffic)
	// Recorded is told of each finished call, after its record was handed to the
	// store. It must not wait. nil: nobody.
	Recorded func(bridge.Record)
	// Network opens every socket of the server. nil: the operating system.
	Network Network
}

// Daemon is a running Wakebridge.
type Daemon struct {
	cfg      *config.Config
	opts     Options
	log      *slog.Logger
	registry *prometheus.Registry
	parts
	httpAddr netip.AddrPort
	undo     []func(context.Context) // takes back what was opened, last first
	phase    atomic.Int32
	stop     sync.Once
}

// parts are the components, in the order in which New makes them. They do not
// change afterwards; where one needs a later one, it asks the Daemon at the time
// of use.
type parts struct {
	store     *store.DB
	captures  *capture.Store
	memory    *location.Memory
	trunks    *trunk.Set
	gate      *gate
	endpoint  *sipua.Endpoint
	media     *media.Relay
	waker     *waker
	alerts    *alerts
	refresher *refresher
	bridge    *bridge.Bridge
	registrar *registrar.Registrar
}

// The phases of a Daemon's life.
const (
	starting int32 = iota
	serving
	draining // and all that follows
)

// startFailed bounds how long New waits for what it takes back: no call can be
// there for long.
const startFailed = time.Second

// New opens everything that the configuration names, in order, and begins to
// serve. When something fails, what was opened is closed again and the error
// says which key is concerned.
func New(ctx context.Context, cfg *config.Config, opts Options) (*Daemon, error) {
	d := &Daemon{cfg: cfg, opts: opts, log: opts.Log, registry: metrics.New(opts.Version)}
	// HTTP stands first because it ends last: it tells how far the end is.
	for _, open := range []func(context.Context) error{d.openHTTP, d.openStore, d.openCapture, d.openSIP, d.openCalls, d.listen} {
		if err := open(ctx); err != nil {
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), startFailed)
			defer cancel()
			d.close(undo)
			return nil, err
		}
	}
	d.phase.CompareAndSwap(starting, serving)
	return d, nil
}

func (d *Daemon) onClose(fn func(context.Context)) { d.undo = append(d.undo, fn) }

func (d *Daemon) close(ctx context.Context) {
	for i := len(d.undo) - 1; i >= 0; i-- {
		d.undo[i](ctx)
	}
	d.undo = nil
}

func (d *Daemon) logErr(what string, err error) {
	if err != nil {
		d.log.Error("failed", "what", what, "error", err)
	}
}

func (d *Daemon) openStore(ctx context.Context) error {
	dir := filepath.Clean(d.cfg.Node.DataDir)
	s, err := store.Open(ctx, store.Options{Dir: dir, Log: d.log})
	if err != nil {
		return fmt.Errorf("node.data_dir %s: %w", dir, err)
	}
	d.store = s
	d.onClose(func(context.Context) { d.logErr("store", s.Close()) })
	d.memory, err = location.NewMemory(ctx, s, rules(d.cfg.Push))
	if err != nil {
		return fmt.Errorf("node.data_dir %s: read the devices: %w", dir, err)
	}
	if err := endCutOff(ctx, s, d.log); err != nil {
		return fmt.Errorf("node.data_dir %s: %w", dir, err)
	}
	return nil
}

// rules are those of the location.
func rules(p config.Push) location.Rules {
	shared := map[string]location.SharedToken{
		location.SameInstance.String(): location.SameInstance,
		location.Newest.String():       location.Newest,
		location.Refuse.String():       location.Refuse,
	}
	return location.Rules{DeviceTTL: p.DeviceTTL, AfterExpiry: p.AfterExpiry, SharedToken: shared[p.SharedToken]}
}

// node is the name of this instance, in Call-IDs and bindings.
func (d *Daemon) node() string {
	if d.cfg.Node.ID != "" {
		return d.cfg.Node.ID
	}
	if name, err := os.Hostname(); err == nil {
		return nodeOf(name)
	}
	return nodeOf("")
}

// nodeOf makes a host name fit for the end of a Call-ID, as config wants it of
// node.id.
func nodeOf(host string) string {
	name := regexp.MustCompile(`[^A-Za-z0-9._-]+`).ReplaceAllString(host, "-")
	const longest = 64
	if name = name[:min(len(name), longest)]; name == "" {
		return "wakebridge"
	}
	return name
}

// Ready lists what must be true for new calls to be taken.
func (d *Daemon) Ready() []api.Check {
	accepting := api.Check{Name: "accepting", OK: true}
	switch d.phase.Load() {
	case starting:
		return []api.Check{{Name: "accepting", Text: "the server is starting: try again in a moment"}}
	case draining:
		accepting = api.Check{Name: "accepting", Text: "the server is draining or stopping: send new calls elsewhere"}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	stored := api.Check{Name: "store", OK: true}
	if _, err := d.store.Records(ctx, 1, store.Position{}); err != nil {
		stored = api.Check{Name: "store", Text: err.Error() + ": look at the disk of node.data_dir"}
	}
	return []api.Check{accepting, stored}
}

func (d *Daemon) isDraining() bool { return d.phase.Load() == draining }

// Drain takes no new calls from now on and waits for those in progress, at most
// calls.drain_timeout or until ctx ends; then it hangs up.
func (d *Daemon) Drain(ctx context.Context) {
	d.phase.Store(draining)
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Calls.DrainTimeout)
	defer cancel()
	d.bridge.Drain(ctx)
}

// Stop ends everything: calls with BYE, then push, registrar, flows, store, and
// HTTP last. ctx bounds the wait for the calls' peers. It may be called again,
// and then waits for the first call of it.
func (d *Daemon) Stop(ctx context.Context) {
	d.stop.Do(func() {
		d.phase.Store(draining)
		d.close(ctx)
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
