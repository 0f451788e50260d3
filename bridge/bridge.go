package bridge

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"wakebridge/bridge/rules"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"wakebridge/bridge/media"
	"wakebridge/bridge/media/capture"
	"wakebridge/bridge/sdes"
	"wakebridge/sipua"
	"wakebridge/sipua/trunk"
)

// Config is what a Bridge needs. All fields but Alerts, Captures and
// Registerer are required.
type Config struct {
	Endpoint  func() *sipua.Endpoint // the endpoint whose Handler passes INVITEs here
	Locator   Locator
	Waker     Waker
	Alerts    Alerts // nil: none is repeated, and nobody is told of missed calls
	Fates     Fates
	Records   Records
	Directory Directory
	Router    Router
	Verifier  Verifier
	Trunks    *trunk.Set
	Media     *media.Relay
	// MediaAddr is the address that SDP shows on a flow.
	MediaAddr func(f *sipua.Flow) netip.Addr
	Captures  *capture.Store // nil: no call is captured. The endpoint's Tap is Capture
	Terms     Terms
	Log       *slog.Logger
	// Registerer gets the metrics; nil: none.
	Registerer prometheus.Registerer
}

// Terms are the settings of calls (sections calls and push of the
// configuration).
type Terms struct {
	Node          string // host part of the Call-ID that devices see
	RingTimeout   time.Duration
	WakeTimeout   time.Duration
	Ringing       rules.RingPolicy
	DeclineOne    bool // a decline ends only the device that declined
	DeclineWindow time.Duration
	MaxDuration   time.Duration
	MergeWindow   time.Duration
	WaitingBusy   bool // a device in a call gets no second one
	Codecs        []string
	SRTP          sdes.Terms
	DTMF          DTMF
	// Ringback is played to callers again and again while a phone is woken, at
	// audio.SampleRate; empty: they get a 180.
	Ringback       []int16
	WakesPerUser   Rate
	WakesPerCaller Rate
}

// Rate is a number of events per period; the zero Rate is no limit.
type Rate struct {
	Count int
	Per   time.Duration
}

// Bridge owns all calls.
type Bridge struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	rules   *rules.Rules
	wakes   *wakeLimits

	wg        sync.WaitGroup // calls, and what tells late devices
	farewells sync.WaitGroup
	mu        sync.Mutex
	calls     map[string]*Call
	inCall    map[deviceRef]int // devices with an answered or ringing INVITE
	recent    map[double]noted
	draining  bool
	closed    bool
	quit      chan struct{} // closed when nobody waits for peers any more
}

type deviceRef struct {
	aor sipua.AOR
	key string
}

// double is what makes two INVITEs the same call arriving twice.
type double struct {
	caller string
	called sipua.AOR
	trunk  string
}

// noted is the call that came first, and when.
type noted struct {
	call string
	at   time.Time
}

// New makes a bridge without calls.
func New(cfg Config) *Bridge {
	return &Bridge{
		cfg: cfg, log: cfg.Log, metrics: newMetrics(cfg.Registerer), rules: rules.New(),
		wakes: newWakeLimits(cfg.Terms.WakesPerUser, cfg.Terms.WakesPerCaller),
		calls: make(map[string]*Call), inCall: make(map[deviceRef]int), recent: make(map[double]noted),
		quit: make(chan struct{}),
	}
}

// Invite takes an INVITE outside any dialog (sipua.Handler.Invite). It runs in a
// read loop: who sent it is found out here, everything else in the call's own
// goroutine.
func (b *Bridge) Invite(tx *sipua.ServerTx) {
	origin, err := b.origin(tx)
	if err != nil {
		level := slog.LevelInfo
		if status := sipua.Status(err); status == 401 || status == 407 {
			level = slog.LevelDebug // how each call of a user begins
		}
		b.log.Log(context.Background(), level, "INVITE refused", "flow", tx.Flow(), "call_id", tx.Request.CallID().Value(), "reason", err)
		tx.Refuse(err) // no state for strangers: a forged source must not get it eleven times
		return
	}
	if b.isDraining() {
		b.turnAway(tx, origin, "the server takes no new calls: it drains", sipua.Reject(503, "Draining", sipua.HeaderLine{Name: "Retry-After", Value: strconv.Itoa(1 + rand.IntN(5))}))
		return
	}
	if _, err := sipua.SessionBody(tx.Request); err != nil {
		b.turnAway(tx, origin, "the INVITE's body is no SDP: "+err.Error(), err)
		return
	}
	c := newCall(b, tx, origin)
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		c.own.cancel()
		c.own.capture.End(true)
		c.a.Drop()
		return
	}
	b.calls[c.id] = c
	b.wg.Add(1)
	b.mu.Unlock()
	b.metrics.active.Inc()
	go func() { // awaited by Close
		defer b.wg.Done()
		c.run()
	}()
}

// turnAway refuses a call of somebody known before it becomes one; the record says
// why.
func (b *Bridge) turnAway(tx *sipua.ServerTx, origin Origin, reason string, rej error) {
	who := b.identify(tx.Request, origin)
	now := time.Now()
	rec := Record{ID: newUUID(), CallID: tx.Request.CallID().Value(), Started: now, Ended: now, From: who.uri.String(), To: tx.Request.Recipient.String(),
		Trunk: origin.Trunk, Result: rules.Rejected, Status: sipua.Status(rej), Reason: reason, HangupBy: string(rules.ByServer)}
	b.log.Info("call refused", "call", rec.ID, "flow", tx.Flow(), "from", who.handle, "to", rec.To, "status", rec.Status, "reason", reason)
	tx.Reject(rej)
	b.metrics.calls.WithLabelValues(string(rec.Result)).Inc()
	if err := b.cfg.Records.Append(rec); err != nil {
		b.log.Error("record of the call is lost", "call", rec.ID, "error", err)
	}
}

// origin proves who sent an INVITE: a trunk by its source address, a user by
// digest (RFC 3261 s22).
func (b *Bridge) origin(tx *sipua.ServerTx) (Origin, error) {
	if t := b.cfg.Trunks.ByAddr(tx.Flow().Remote().Addr()); t != nil {
		return Origin{Trunk: t.Name}, nil
	}
	if !b.cfg.Directory.IsLocal(tx.Request.From().Address.Host) {
		return Origin{}, sipua.Reject(403, "No trunk matches "+tx.Flow().Remote().Addr().String())
	}
	user, err := b.cfg.Verifier.Verify(tx.Request)
	if err != nil {
		return Origin{}, err
	}
	return Origin{User: user}, nil
}

func (b *Bridge) isDraining() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.draining || b.closed
}

// Drain refuses new calls from now on (503), waits until the calls in progress
// are over or ctx ends, and then hangs up the rest.
func (b *Bridge) Drain(ctx context.Context) {
	b.mu.Lock()
	b.draining = true
	b.mu.Unlock()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for b.Active() > 0 {
		select {
		case <-ctx.Done():
			b.hangupAll("the server is shutting down")
			return
		case <-tick.C:
		}
	}
}

// Close hangs up all calls and waits for their ends, at most until ctx ends;
// what is left then is dropped without waiting for the peers. It may be called
// again.
func (b *Bridge) Close(ctx context.Context) {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.hangupAll("the server is shutting down")
	done := make(chan struct{})
	go func() { // ends with the calls, which are forced below
		b.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		b.stopWaiting()
		for _, c := range b.all() {
			c.abandon()
		}
		<-done
	}
	b.stopWaiting() // who is away now finds nobody when it comes back
	b.farewells.Wait()
}

// stopWaiting ends what tells late devices, and what sees devices off.
func (b *Bridge) stopWaiting() {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.quit:
	default:
		close(b.quit)
	}
}

func (b *Bridge) hangupAll(reason string) {
	for _, c := range b.all() {
		c.Hangup(reason)
	}
}

func (b *Bridge) all() []*Call {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]*Call, 0, len(b.calls))
	for _, c := range b.calls {
		out = append(out, c)
	}
	return out
}

// Active is the number of calls that are not over.
func (b *Bridge) Active() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.calls)
}

// Find finds a call by its id, nil if it is over.
func (b *Bridge) Find(id string) *Call {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls[id]
}

func (b *Bridge) forget(c *Call) {
	b.mu.Lock()
	delete(b.calls, c.id)
	b.mu.Unlock()
	b.metrics.active.Dec()
}

// InCall says that a device has an INVITE of ours that rings or was answered.
func (b *Bridge) InCall(aor sipua.AOR, device string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.inCall[deviceRef{aor, device}] > 0
}

// occupy counts a device as being in a call until the result is called.
func (b *Bridge) occupy(ref deviceRef) (leave func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inCall[ref]++
	return sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.inCall[ref]--; b.inCall[ref] <= 0 {
			delete(b.inCall, ref)
		}
	})
}

// isDouble says that the same caller reached the same user over the same trunk a
// moment ago, and that this call still waits; else it notes this one: a PBX may
// ring two registrations of one phone (calls.merge_window).
func (b *Bridge) isDouble(k double, call string, now time.Time) bool {
	window := b.cfg.Terms.MergeWindow
	if window <= 0 || k.caller == "" {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, first := range b.recent {
		if now.Sub(first.at) > window {
			delete(b.recent, k)
		}
	}
	if _, ok := b.recent[k]; ok {
		return true
	}
	b.recent[k] = noted{call, now}
	return false
}

// settled takes back what isDouble noted once that call waits no more.
func (b *Bridge) settled(k double, call string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.recent[k].call == call {
		delete(b.recent, k)
	}
}

func newUUID() string { return uuid.NewString() }
