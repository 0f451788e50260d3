package daemon

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"wakebridge/config"
	"wakebridge/sipua"
)

// gateConfig is what a gate needs, all of it.
type gateConfig struct {
	Limits config.Limits
	// IsUser says that an AOR is one of ours. Only these have a bucket of their
	// own: whoever makes up names gets no more by it.
	IsUser func(sipua.AOR) bool
	// IsTrunk says that an address is a trunk's. Trunks are no sources.
	IsTrunk func(netip.Addr) bool
	Log     *slog.Logger
}

// gate refuses sources that send too much or guess passwords.
type gate struct {
	cfg gateConfig

	mu      sync.Mutex
	buckets *lru.Cache[bucket, *rate.Limiter]
	fails   *lru.Cache[suspect, *failures]
	proven  map[netip.Addr]map[sipua.FlowID]struct{} // flows on which a user is, by source
}

// bucket is what a rate is counted over.
type bucket struct {
	method sip.RequestMethod // REGISTER, INVITE or OPTIONS, which stands for the rest
	source netip.Addr
	user   sipua.AOR // of a REGISTER, if it is a user of ours
}

// suspect is who failed to authenticate. Sources of packets are easily forged, so
// they never ban anybody's streams.
type suspect struct {
	source  netip.Addr
	packets bool
}

type failures struct {
	count  int
	since  time.Time
	banned time.Time // until
}

// watched is how many sources are remembered at a time.
const watched = 65536

func newGate(cfg gateConfig) (*gate, error) {
	buckets, err := lru.New[bucket, *rate.Limiter](watched)
	if err != nil {
		return nil, err
	}
	fails, err := lru.New[suspect, *failures](watched)
	if err != nil {
		return nil, err
	}
	return &gate{cfg: cfg, buckets: buckets, fails: fails, proven: make(map[netip.Addr]map[sipua.FlowID]struct{})}, nil
}

// sourceOf is what counts as one source: an IPv4 address, or an IPv6 network of 64
// bits, of which whoever has one address has all.
func sourceOf(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr
	}
	p, err := addr.Prefix(64)
	if err != nil {
		return addr
	}
	return p.Addr()
}

// admit is sipua.Config.Admit: it sees each request outside a dialog.
func (g *gate) admit(f *sipua.Flow, req *sip.Request) error {
	if g.cfg.IsTrunk(f.Remote().Addr()) {
		return nil
	}
	who := suspect{sourceOf(f.Remote().Addr()), f.Transport() == sipua.UDP}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if g.isBanned(who, now) {
		return sipua.Reject(403, "Banned")
	}
	b, limit := g.bucketOf(who.source, req)
	if limit.Off() || g.take(b, limit, now) {
		return nil
	}
	return sipua.Reject(503, "Too Many Requests", sipua.HeaderLine{Name: "Retry-After", Value: "5"})
}

// bucketOf says over what a request is counted, and its limit.
func (g *gate) bucketOf(source netip.Addr, req *sip.Request) (bucket, config.Rate) {
	b := bucket{method: sip.OPTIONS, source: source}
	switch {
	case req.IsInvite():
		b.method = sip.INVITE
		return b, g.cfg.Limits.InvitePerSource
	case req.Method == sip.REGISTER:
		b.method = sip.REGISTER
		if aor, err := sipua.AOROf(req.To().Address); err == nil && g.cfg.IsUser(aor) {
			b.user = aor
		}
	}
	return b, g.cfg.Limits.RegisterPerSource
}

func (g *gate) take(b bucket, limit config.Rate, now time.Time) bool {
	l, ok := g.buckets.Get(b)
	if !ok {
		l = rate.NewLimiter(rate.Limit(limit.PerSecond()), limit.Count)
		g.buckets.Add(b, l)
	}
	return l.AllowN(now, 1)
}

// isBanned says that a source is banned now. One from which a user is connected
// never is: behind a NAT it is many phones, of which one has a wrong password.
func (g *gate) isBanned(who suspect, now time.Time) bool {
	b, ok := g.fails.Get(who)
	return ok && now.Before(b.banned) && len(g.proven[who.source]) == 0
}

// failed is registrar.Auth.Failed: it counts a wrong password towards a ban of its
// source.
func (g *gate) failed(req *sip.Request) {
	limit := g.cfg.Limits.AuthFailures
	at, err := netip.ParseAddrPort(req.Source())
	if limit.Off() || err != nil || g.cfg.IsTrunk(at.Addr()) {
		return
	}
	who := suspect{sourceOf(at.Addr()), req.Transport() == sipua.UDP.String()}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	b, ok := g.fails.Get(who)
	if !ok {
		b = &failures{}
		g.fails.Add(who, b)
	}
	if now.Before(b.banned) {
		return // of a source that is never banned, as long as it is one
	}
	if now.Sub(b.since) > limit.Per {
		b.count, b.since = 0, now
	}
	if b.count++; b.count < limit.Max {
		return
	}
	b.count, b.banned = 0, now.Add(limit.Ban)
	g.cfg.Log.Warn("source banned: too many wrong passwords (limits.auth_failures)", "source", who.source.String(),
		"packets", who.packets, "until", b.banned.UTC(), "spared", len(g.proven[who.source]) > 0)
}

// proved is registrar.Config.Proved: a user is on the flow.
func (g *gate) proved(f *sipua.Flow) {
	source := sourceOf(f.Remote().Addr())
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-f.Done(): // it may be gone already
		return
	default:
	}
	flows := g.proven[source]
	if flows == nil {
		flows = make(map[sipua.FlowID]struct{})
		g.proven[source] = flows
	}
	flows[f.ID()] = struct{}{}
}

// gone forgets a flow.
func (g *gate) gone(f *sipua.Flow) {
	source := sourceOf(f.Remote().Addr())
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.proven[source], f.ID())
	if len(g.proven[source]) == 0 {
		delete(g.proven, source)
	}
}
