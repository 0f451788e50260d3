package sipua

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
)

// FlowID names a flow for as long as the process lives; it is never used again.
type FlowID uint64

// How long a flow that was heard from counts as alive. UDP mappings in NATs are
// short (RFC 4787 REQ-5 allows 2 min, many home routers give 30 s).
const (
	aliveStream = 100 * time.Second
	aliveUDP    = 35 * time.Second
)

// Flow is one TCP or TLS connection, or one UDP peer as seen from one listener
// (RFC 5626 s3). It implements sip.Connection. All its methods may be called
// from any goroutine and none waits for the peer.
type Flow struct {
	id        FlowID
	transport Transport
	local     netip.AddrPort
	remote    netip.AddrPort
	dial      *dialKey // of a stream that we opened; nil: the peer did
	ep        *Endpoint
	wire      wire

	// Times are nanoseconds of Endpoint.since, which no change of the clock moves.
	lastSeen    atomic.Int64
	lastMessage atomic.Int64 // whole ones only
	pinned      atomic.Int64 // until which an idle UDP flow stays
	held        atomic.Int32 // by dialogs and transactions
	parties     atomic.Pointer[[]string]

	mu   sync.Mutex
	done chan struct{}
	hooks
}

// hooks is what happens when something happens to a flow.
type hooks struct {
	closed  bool
	err     error
	onClose map[int]func(error)
	onLife  map[int]func()
	nextKey int
	waiting atomic.Int32 // len(onLife), so that touch stays cheap
}

// wire is what writes a flow's bytes: a connection's writer or a UDP socket.
type wire interface {
	// send queues data, or fails at once: it never waits for the peer.
	send(data []byte) error
	// shut ends the wire; no send follows.
	shut()
}

func newFlow(ep *Endpoint, t Transport, local, remote netip.AddrPort) *Flow {
	f := &Flow{id: FlowID(ep.lastFlow.Add(1)), transport: t, local: local, remote: remote, ep: ep, done: make(chan struct{})}
	now := int64(ep.since())
	f.lastSeen.Store(now)
	f.lastMessage.Store(now)
	if ep.cfg.Party != nil {
		if p := ep.cfg.Party(t, remote); p != "" {
			f.parties.Store(&[]string{p})
		}
	}
	return f
}

// ID names the flow.
func (f *Flow) ID() FlowID { return f.id }

// Transport is the flow's transport.
func (f *Flow) Transport() Transport { return f.transport }

// Remote is the peer's address as we see it (behind a NAT, the NAT's).
func (f *Flow) Remote() netip.AddrPort { return f.remote }

// Local is our address on this flow.
func (f *Flow) Local() netip.AddrPort { return f.local }

// Dialled says that we opened the connection.
func (f *Flow) Dialled() bool { return f.dial != nil }

// LastSeen is when the peer was last heard from.
func (f *Flow) LastSeen() time.Time { return f.ep.at(f.lastSeen.Load()) }

func (f *Flow) touch() {
	f.lastSeen.Store(int64(f.ep.since()))
	if f.waiting.Load() == 0 {
		return
	}
	f.mu.Lock()
	fns := f.onLife
	f.onLife = nil
	f.waiting.Store(0)
	f.mu.Unlock()
	for _, fn := range fns {
		f.ep.contain("sign of life", fn)
	}
}

// OnLife calls fn once, when the peer is next heard from. fn must only post. The
// result takes fn back.
func (f *Flow) OnLife(fn func()) (forget func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.onLife == nil {
		f.onLife = make(map[int]func())
	}
	key := f.nextKey
	f.nextKey++
	f.onLife[key] = fn
	f.waiting.Store(int32(len(f.onLife))) //nolint:gosec // a handful of calls
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.onLife, key)
		f.waiting.Store(int32(len(f.onLife))) //nolint:gosec // a handful of calls
	}
}

// Alive says that the flow is open and was heard from so recently that a request
// on it will probably arrive: within 100 s on a stream, 35 s on UDP.
func (f *Flow) Alive() bool {
	select {
	case <-f.done:
		return false
	default:
	}
	limit := aliveStream
	if f.transport == UDP {
		limit = aliveUDP
	}
	return time.Since(f.LastSeen()) <= limit
}

// Party names who is at the other end as far as that is proven: a trunk, by its
// source address (Config.Party), or a device, after it authenticated (SetParty);
// "" when nobody knows. Several accounts of one phone may share a flow: then it is
// the first.
func (f *Flow) Party() string {
	if p := f.parties.Load(); p != nil {
		return (*p)[0]
	}
	return ""
}

// maxParties bounds who may share one flow: a gateway in front of many phones.
const maxParties = 256

// SetParty adds one who authenticated on this flow; it lifts the limits for
// strangers. "" is nobody.
func (f *Flow) SetParty(party string) {
	if party == "" {
		return
	}
	for {
		old := f.parties.Load()
		var list []string
		if old != nil {
			list = *old
		}
		if slices.Contains(list, party) || len(list) >= maxParties {
			return
		}
		list = append(slices.Clone(list), party)
		if !f.parties.CompareAndSwap(old, &list) {
			continue
		}
		if old == nil {
			f.ep.limits.authenticated(f)
		}
		return
	}
}

// Authenticated says that somebody proved who is at the other end.
func (f *Flow) Authenticated() bool { return f.parties.Load() != nil }

// Pin keeps an idle UDP flow until t, because a binding needs it. A later Pin
// never shortens an earlier one. Streams live as long as their connection.
func (f *Flow) Pin(t time.Time) {
	until := int64(t.Sub(f.ep.epoch))
	for {
		old := f.pinned.Load()
		if until <= old || f.pinned.CompareAndSwap(old, until) {
			return
		}
	}
}

// Unpin takes every Pin back: no binding needs the flow any more.
func (f *Flow) Unpin() { f.pinned.Store(0) }

// Hold keeps the flow, however idle, until release is called, because a dialog
// or an unfinished transaction lives on it: nobody need speak SIP during a call.
// release may be called twice.
func (f *Flow) Hold() (release func()) {
	f.held.Add(1)
	var once sync.Once
	return func() { once.Do(func() { f.held.Add(-1) }) }
}

// SameParty says that g may act for f: it is the same flow, or one proven party is
// on both. On UDP, where a NAT may move the port at any time, the same address
// is enough while one of the two has proven nothing; on streams a stranger is
// nobody but itself.
func (f *Flow) SameParty(g *Flow) bool {
	if f == g {
		return true
	}
	ours, theirs := f.parties.Load(), g.parties.Load()
	if ours != nil && theirs != nil {
		return slices.ContainsFunc(*ours, func(p string) bool { return slices.Contains(*theirs, p) })
	}
	return f.transport == UDP && g.transport == UDP && f.remote.Addr() == g.remote.Addr()
}

// Done is closed when the flow is gone.
func (f *Flow) Done() <-chan struct{} { return f.done }

// Gone says that Done is closed.
func (f *Flow) Gone() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// OnClose calls fn once when the flow goes, or at once if it is gone already. fn
// must only post. The result takes fn back.
func (f *Flow) OnClose(fn func(error)) (forget func()) { return f.onGone(fn, false) }

// onGone is OnClose; what is first comes before all that is not. A transaction
// tells what was said before anybody is told that the flow is gone.
func (f *Flow) onGone(fn func(error), first bool) (forget func()) {
	f.mu.Lock()
	if f.closed {
		err := f.err
		f.mu.Unlock()
		fn(err)
		return func() {}
	}
	if f.onClose == nil {
		f.onClose = make(map[int]func(error))
	}
	key := f.nextKey
	f.nextKey++
	if first {
		key = -1 - key
	}
	f.onClose[key] = fn
	f.mu.Unlock()
	return func() {
		f.mu.Lock()
		delete(f.onClose, key)
		f.mu.Unlock()
	}
}

// Shut closes the flow for a reason, which wraps into ErrFlowGone.
func (f *Flow) Shut(reason error) {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	f.closed = true
	f.err = fmt.Errorf("%w: %w", ErrFlowGone, reason)
	keys := make([]int, 0, len(f.onClose))
	for k := range f.onClose {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	fns := make([]func(error), 0, len(keys))
	for _, k := range keys {
		fns = append(fns, f.onClose[k])
	}
	f.onClose = nil
	close(f.done)
	f.mu.Unlock()
	f.wire.shut()
	f.ep.flows.remove(f)
	for _, fn := range fns {
		f.ep.contain("end of a flow", func() { fn(f.err) })
	}
	f.ep.contain("end of a flow", func() { f.ep.cfg.Handler.FlowGone(f, f.err) })
}

// LocalAddr implements sip.Connection.
func (f *Flow) LocalAddr() net.Addr {
	if f.transport == UDP {
		return net.UDPAddrFromAddrPort(f.local)
	}
	return net.TCPAddrFromAddrPort(f.local)
}

// WriteMsg implements sip.Connection: it queues msg and does not wait. The error
// wraps ErrFlowGone or ErrUnsafeHeader.
func (f *Flow) WriteMsg(msg sip.Message) error {
	text := msg.String()
	if err := safeWire(msg, text); err != nil {
		return err
	}
	select {
	case <-f.done:
		return f.goneErr()
	default:
	}
	f.ep.metrics.sent(f.transport, msg)
	raw := []byte(text)
	if tap := f.ep.cfg.Tap; tap != nil {
		tap(Traffic{Flow: f, Sent: true, At: time.Now(), Message: msg, Raw: raw})
	}
	if err := f.wire.send(raw); err != nil {
		// Not here: a transaction may hold its lock while it writes, and Shut
		// ends the flow's transactions.
		f.ep.launch(func() { f.Shut(err) })
		return fmt.Errorf("%w: %w", ErrFlowGone, err)
	}
	return nil
}

func (f *Flow) goneErr() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	return ErrFlowGone
}

// Ref implements sip.Connection. Flows are not counted: they live as long as
// their connection, not as long as a transaction.
func (f *Flow) Ref(int) int { return 1 }

// TryClose implements sip.Connection and closes nothing: a finished transaction
// must never end a phone's flow.
func (f *Flow) TryClose() (int, error) { return 1, nil }

// Close implements sip.Connection.
func (f *Flow) Close() error {
	f.Shut(ErrClosed)
	return nil
}

// LogValue shows the flow without anything secret.
func (f *Flow) LogValue() slog.Value {
	return slog.GroupValue(slog.Uint64("id", uint64(f.id)), slog.String("transport", f.transport.String()),
		slog.String("remote", f.remote.String()))
}

// Advertised is the host and port that our Via and Contact show on this flow.
func (f *Flow) Advertised() (host string, port int) {
	if f.ep.cfg.Advertise != nil {
		if h, p := f.ep.cfg.Advertise(f); h != "" {
			return h, p
		}
	}
	return f.local.Addr().Unmap().String(), f.ep.advertisedPort(f)
}

// Port is the port at which a peer can reach us with this flow's transport.
func (f *Flow) Port() int { return f.ep.advertisedPort(f) }

// Contact is our Contact URI on this flow, for user ("" for none).
func (f *Flow) Contact(user string) sip.Uri {
	host, port := f.Advertised()
	uri := sip.Uri{Scheme: "sip", User: user, Host: host, Port: port}
	if f.transport != UDP {
		uri.UriParams = sip.HeaderParams{{K: "transport", V: f.transport.Param()}}
	}
	return uri
}
