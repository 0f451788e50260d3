package sipua

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/prometheus/client_golang/prometheus"
)

// Handler gets what begins outside any dialog. Its methods are called in read
// loops: they must only post.
type Handler interface {
	// Invite gets an INVITE without a To tag. 100 Trying is already sent; a
	// CANCEL right behind it finds tx, whatever the handler did with it.
	Invite(tx *ServerTx)
	// Request gets any other request that the endpoint's Allow names and that
	// belongs to no dialog: REGISTER, OPTIONS.
	Request(tx *ServerTx)
	// FlowGone tells that a flow ended; err wraps ErrFlowGone.
	FlowGone(f *Flow, err error)
}

// Dialog is the owner of the requests inside one dialog (RFC 3261 s12). Its
// methods are called in read loops, in the order of arrival, and must only post.
type Dialog interface {
	// Knows says that requests of the dialog may come on f. Others are refused with
	// 481 before anything is made for them: whoever learnt the tags is still a
	// stranger. It must not wait.
	Knows(f *Flow) bool
	// Request gets a request with the dialog's Call-ID and local tag, on a flow that
	// it knows. The dialog checks remote tag and CSeq.
	Request(tx *ServerTx)
	// Ack gets an ACK that belongs to a 2xx.
	Ack(req *sip.Request, f *Flow)
}

// Config is what an Endpoint needs. Handler and Log are required.
type Config struct {
	Handler Handler
	Log     *slog.Logger
	// Dial opens a stream to a trunk; for TLS it returns after the handshake.
	// nil: no stream can be dialled.
	Dial func(ctx context.Context, t Transport, to Destination) (net.Conn, error)
	// Advertise gives the host and port that Via and Contact show on a flow;
	// host "" means the flow's own. nil: always the flow's own.
	Advertise func(f *Flow) (host string, port int)
	// Party knows who an address belongs to without authentication: a peer
	// trunk. "" or nil: nobody.
	Party func(t Transport, remote netip.AddrPort) string
	// ForceRPort says whether responses over UDP go to the port that a request came
	// from though its Via has no rport (RFC 3581 s4); else they go to the port in
	// its Via (RFC 3261 s18.2.2). nil: always.
	ForceRPort func(f *Flow) bool
	// Admit may refuse a request outside any dialog before anything is made for
	// it; the error's Status is sent. nil admits all.
	Admit func(f *Flow, req *sip.Request) error
	// Tap sees each message that was read or written. It must only post and not
	// change the message. nil: nobody looks.
	Tap func(Traffic)
	// Allow lists the methods that work here. Default: INVITE, ACK, CANCEL, BYE,
	// OPTIONS, REGISTER.
	Allow []string
	// Supported lists the option tags that a Require header may name.
	Supported []string
	// Agent is the value of Server and User-Agent. Default: "Wakebridge".
	Agent      string
	Limits     Limits
	Registerer prometheus.Registerer // nil: no metrics are registered
}

// Traffic is one message on its way, for captures and ladders.
type Traffic struct {
	Flow    *Flow
	Sent    bool // by us
	At      time.Time
	Message sip.Message
	Raw     []byte // as on the wire, until Tap returns
}

// Destination is where a new flow should lead.
type Destination struct {
	Addr netip.AddrPort
	Host string // name for TLS, as the URI had it; "" for an address
}

// Endpoint owns listeners, flows, transactions and the table of dialogs.
type Endpoint struct {
	cfg      Config
	log      *slog.Logger
	epoch    time.Time
	parser   parser
	lastFlow atomic.Uint64
	metrics  *metrics
	limits   *guard
	flows    *flowTable
	dialogs  dialogTable
	txs      txTable

	adopting  sync.Mutex // between two that dialled the same
	packets   []*packetListener
	listeners []*streamListener
	lifecycle
}

// lifecycle is what Close ends and waits for.
type lifecycle struct {
	wg     sync.WaitGroup // read loops, writers, transactions
	mu     sync.Mutex     // guards the listeners too
	closed chan struct{}
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	owed   atomic.Int32 // see Owe
}

// New makes an endpoint without listeners.
func New(cfg Config) *Endpoint {
	if len(cfg.Allow) == 0 {
		cfg.Allow = []string{"INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "REGISTER"}
	}
	if cfg.Agent == "" {
		cfg.Agent = "Wakebridge"
	}
	ep := &Endpoint{cfg: cfg, log: cfg.Log, epoch: time.Now(), parser: newParser()}
	ep.closed = make(chan struct{})
	ep.ctx, ep.cancel = context.WithCancel(context.Background())
	ep.metrics = newMetrics(cfg.Registerer)
	ep.limits = newGuard(cfg.Limits)
	ep.flows = newFlowTable()
	ep.dialogs.m = make(map[dialogKey]Dialog)
	ep.txs.init()
	ep.wg.Add(1)
	go func() { // awaited by Close
		defer ep.wg.Done()
		ep.reap()
	}()
	return ep
}

// since is the time that the endpoint lives, by the clock that only goes forward.
func (ep *Endpoint) since() time.Duration { return time.Since(ep.epoch) }

// at is the time of a reading of since.
func (ep *Endpoint) at(since int64) time.Time { return ep.epoch.Add(time.Duration(since)) }

// contain keeps a panic in somebody else's callback from ending the process.
func (ep *Endpoint) contain(what string, fn func()) {
	defer func() {
		if p := recover(); p != nil {
			ep.panicked(what, p)
		}
	}()
	fn()
}

func (ep *Endpoint) panicked(what string, p any) {
	ep.metrics.panics.Inc()
	ep.log.Error("panic", "while", what, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
}

// Close ends listeners, flows and transactions, without a word to the peers, and
// waits for everything that the endpoint started.
func (ep *Endpoint) Close() {
	ep.mu.Lock()
	select {
	case <-ep.closed:
		ep.mu.Unlock()
		ep.wg.Wait()
		return
	default:
	}
	close(ep.closed)
	ep.cancel()
	packets, listeners := ep.packets, ep.listeners
	ep.mu.Unlock()
	for _, l := range listeners {
		l.close()
	}
	for _, f := range ep.flows.all() {
		f.Shut(ErrClosed)
	}
	ep.txs.terminateAll()
	for _, l := range packets {
		l.close()
	}
	ep.wg.Wait()
	for _, f := range ep.flows.all() { // one that a read loop made meanwhile
		f.Shut(ErrClosed)
	}
}

func (ep *Endpoint) isClosed() bool {
	select {
	case <-ep.closed:
		return true
	default:
		return false
	}
}

// launch runs fn in a goroutine that Close waits for; false once closed. What note
// notes before, Close sees.
func (ep *Endpoint) launch(fn func(), note ...func()) bool {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if ep.isClosed() {
		return false
	}
	for _, n := range note {
		n()
	}
	ep.wg.Add(1)
	go func() { // awaited by Close
		defer ep.wg.Done()
		fn()
	}()
	return true
}

// Go runs fn in a goroutine that Close waits for and ends by ctx; false once closed. It is
// for what waits on behalf of a dialog whose owner may be gone.
func (ep *Endpoint) Go(fn func(ctx context.Context)) bool {
	return ep.launch(func() { ep.contain("background work", func() { fn(ep.ctx) }) })
}

// reap closes idle flows, twice a minute.
func (ep *Endpoint) reap() {
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ep.closed:
			return
		case <-tick.C:
			now := time.Now()
			for _, f := range ep.flows.all() {
				if reason := ep.limits.idle(f, now); reason != nil {
					f.Shut(reason)
				}
			}
		}
	}
}

// Flow finds an open flow, nil if it is gone.
func (ep *Endpoint) Flow(id FlowID) *Flow { return ep.flows.get(id) }

// Connect gives a flow to a trunk's address: the UDP listener that fits, an open
// stream, or a newly dialled one (so it may wait as long as ctx allows; never
// call it from a read loop or a call's owner). Errors: ErrNoListener, ErrClosed,
// those of Config.Dial.
func (ep *Endpoint) Connect(ctx context.Context, t Transport, to Destination) (*Flow, error) {
	if ep.isClosed() {
		return nil, ErrClosed
	}
	to.Addr = netip.AddrPortFrom(to.Addr.Addr().Unmap(), to.Addr.Port())
	if t == UDP {
		l := ep.packetListenerFor(to.Addr)
		if l == nil {
			return nil, fmt.Errorf("udp to %s: %w", to.Addr, ErrNoListener)
		}
		return l.flow(to.Addr, netip.Addr{}), nil
	}
	key := dialKeyOf(t, to)
	if f := ep.flows.dialledTo(key); f != nil {
		return f, nil
	}
	if ep.cfg.Dial == nil {
		return nil, fmt.Errorf("%s to %s: %w", t, to.Addr, ErrNoListener)
	}
	conn, err := ep.cfg.Dial(ctx, t, to)
	if err != nil {
		return nil, fmt.Errorf("connect %s %s: %w", t, to.Addr, err)
	}
	ep.adopting.Lock()
	defer ep.adopting.Unlock()
	if f := ep.flows.dialledTo(key); f != nil { // somebody else was faster
		conn.Close() //nolint:errcheck // nothing was sent
		return f, nil
	}
	return ep.adopt(conn, key)
}

// advertisedPort is the port at which a peer can open a new flow to us: that of
// a listener with the flow's transport, else the flow's own.
func (ep *Endpoint) advertisedPort(f *Flow) int {
	if !f.Dialled() {
		return int(f.local.Port())
	}
	ep.mu.Lock()
	defer ep.mu.Unlock()
	for _, l := range ep.listeners {
		if l.transport == f.transport {
			return int(l.local.Port())
		}
	}
	return int(f.local.Port())
}

// Listening lists the addresses that the endpoint listens at.
func (ep *Endpoint) Listening(t Transport) []netip.AddrPort {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	var out []netip.AddrPort
	for _, l := range ep.packets {
		if t == UDP {
			out = append(out, l.local)
		}
	}
	for _, l := range ep.listeners {
		if l.transport == t {
			out = append(out, l.local)
		}
	}
	return out
}

// NewTag makes a tag of 128 random bits (RFC 3261 s19.3 wants 32 at least).
func NewTag() string { return rand.Text() }

// NewBranch makes a branch with the magic cookie (RFC 3261 s8.1.1.7).
func NewBranch() string { return "z9hG4bK" + rand.Text() }

// Sizes counts what lives in the endpoint, for metrics and leak tests.
func (ep *Endpoint) Sizes() (flows, dialogs, serverTxs, clientTxs int) {
	ep.flows.mu.RLock()
	flows = len(ep.flows.byID)
	ep.flows.mu.RUnlock()
	ep.dialogs.mu.RLock()
	dialogs = len(ep.dialogs.m)
	ep.dialogs.mu.RUnlock()
	serverTxs, clientTxs = ep.txs.sizes()
	return flows, dialogs, serverTxs, clientTxs
}
