package daemon

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"wakebridge/config"
	"wakebridge/sipua"
	"wakebridge/sipua/digest"
	"wakebridge/sipua/location"
)

// gateConfig is what a gate needs, all of it.
type gateConfig struct {
	Limits config.Limits
	// IsUser says that an AOR is one of ours. Only these have a bucket of their
	// own: whoever makes up names gets no more by it.
	IsUser func(sipua.AOR) bool
	// IsTrunk says that an address is a trunk's. Trunks are no sources.
	IsTrunk func(netip.Addr) bool
	// Devices are those of a user. It must not call the gate.
	Devices func(sipua.AOR) []location.Device
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
	user    sipua.AOR // who is let through from a banned source, else the zero AOR
}

type failures struct {
	count  int
	since  time.Time
	banned time.Time // until
}

// watched is how many sources are remembered at a time.
const watched = 65536

const (
	// wokenFor is how long after a push its phone may come from a banned source.
	wokenFor = time.Minute
	// awaitedTimes is how many times as many wrong passwords as ban a source a user has in
	// a banned one, for each ban: beside the phone that sleeps there, the same user's
	// tablet may go on with an old password.
	awaitedTimes = 10
)

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
	who := suspect{source: sourceOf(f.Remote().Addr()), packets: f.Transport() == sipua.UDP}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if g.isBanned(who, now) && !g.isAwaited(who, req, now) {
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
		b.user, _ = g.userOf(req)
	}
	return b, g.cfg.Limits.RegisterPerSource
}

// userOf is whom a REGISTER is for, if it is a user of ours.
func (g *gate) userOf(req *sip.Request) (sipua.AOR, bool) {
	if req.Method != sip.REGISTER {
		return sipua.AOR{}, false
	}
	aor, err := sipua.AOROf(req.To().Address)
	if err != nil || !g.cfg.IsUser(aor) {
		return sipua.AOR{}, false
	}
	return aor, true
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

// isAwaited says that a request from a banned source may be from a phone that sleeps
// behind the same NAT: a REGISTER for a user who registered from there last, or whose
// phone was woken just now, wherever it is. Who sits there can guess, and anybody can
// wake a phone by a call, so wrong passwords end that.
func (g *gate) isAwaited(who suspect, req *sip.Request, now time.Time) bool {
	user, ok := g.userOf(req)
	if !ok || provesAnother(req, user) {
		return false
	}
	who.user = user
	if b, ok := g.fails.Get(who); ok && now.Before(b.banned) {
		return false
	}
	return slices.ContainsFunc(g.cfg.Devices(user), func(d location.Device) bool {
		here := func(b location.Binding) bool { return sourceOf(b.Received.Addr()) == who.source }
		return now.Sub(d.Health.LastAccepted) < wokenFor || slices.ContainsFunc(d.Bindings, here)
	})
}

// provesAnother says that a request has credentials of somebody else than user.
func provesAnother(req *sip.Request, user sipua.AOR) bool {
	return slices.ContainsFunc(req.GetHeaders("Authorization"), func(h sip.Header) bool {
		name := digest.Username(h.Value())
		return name != user.User && name != user.User+"@"+user.Domain
	})
}

// failed is registrar.Auth.Failed: it counts a wrong password towards a ban of its
// source, and in a banned one towards that of its user there.
func (g *gate) failed(req *sip.Request) {
	limit := g.cfg.Limits.AuthFailures
	at, err := netip.ParseAddrPort(req.Source())
	if limit.Off() || err != nil || g.cfg.IsTrunk(at.Addr()) {
		return
	}
	who := suspect{source: sourceOf(at.Addr()), packets: req.Transport() == sipua.UDP.String()}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if b, ok := g.fails.Get(who); ok && now.Before(b.banned) {
		if who.user, ok = g.userOf(req); ok {
			limit.Max, limit.Per = limit.Max*awaitedTimes, limit.Ban
			g.count(who, limit, now)
		}
		return
	}
	if until, banned := g.count(who, limit, now); banned {
		g.cfg.Log.Warn("source banned: too many wrong passwords (limits.auth_failures)", "source", who.source.String(),
			"packets", who.packets, "until", until.UTC(), "spared", len(g.proven[who.source]) > 0)
	}
}

// count adds a failure, and says whether this one is the last that was allowed, and
// how long the ban lasts.
func (g *gate) count(who suspect, limit config.AuthFailures, now time.Time) (until time.Time, banned bool) {
	b, ok := g.fails.Get(who)
	if !ok {
		b = &failures{}
		g.fails.Add(who, b)
	}
	if now.Sub(b.since) > limit.Per {
		b.count, b.since = 0, now
	}
	if b.count++; b.count < limit.Max {
		return time.Time{}, false
	}
	b.count, b.banned = 0, now.Add(limit.Ban)
	return b.banned, true
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
