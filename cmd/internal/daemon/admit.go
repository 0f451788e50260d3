package daemon

import (
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"wakebridge/config"
	"wakebridge/sipua"
)

// gate refuses strangers that send too much or guess passwords. Trunks are no
// strangers, and a flow on which a user authenticated is never banned.
type gate struct {
	cfg config.Limits

	mu      sync.Mutex
	buckets *lru.Cache[string, *rate.Limiter]
	fails   *lru.Cache[netip.Addr, *failures]
}

type failures struct {
	count  int
	since  time.Time
	banned time.Time // until
}

// watched is how many sources are remembered at a time.
const watched = 65536

func newGate(cfg config.Limits) (*gate, error) {
	buckets, err := lru.New[string, *rate.Limiter](watched)
	if err != nil {
		return nil, err
	}
	fails, err := lru.New[netip.Addr, *failures](watched)
	if err != nil {
		return nil, err
	}
	return &gate{cfg: cfg, buckets: buckets, fails: fails}, nil
}

// admit is sipua.Config.Admit.
func (g *gate) admit(f *sipua.Flow, req *sip.Request) error {
	if f.Authenticated() {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	source := f.Remote().Addr()
	if b, ok := g.fails.Get(source); ok && now.Before(b.banned) {
		return sipua.Reject(403, "Banned")
	}
	limit, key := g.cfg.RegisterPerSource, "register "+source.String()+" "+req.To().Address.User
	if req.IsInvite() {
		limit, key = g.cfg.InvitePerSource, "invite "+source.String()
	}
	if limit.Off() || g.take(key, limit, now) {
		return nil
	}
	return sipua.Reject(503, "Too Many Requests", sipua.HeaderLine{Name: "Retry-After", Value: "5"})
}

func (g *gate) take(key string, limit config.Rate, now time.Time) bool {
	l, ok := g.buckets.Get(key)
	if !ok {
		l = rate.NewLimiter(rate.Limit(limit.PerSecond()), limit.Count)
		g.buckets.Add(key, l)
	}
	return l.AllowN(now, 1)
}

// failed counts a wrong password towards a ban of its source.
func (g *gate) failed(req *sip.Request) {
	if g.cfg.AuthFailures.Off() {
		return
	}
	source, err := netip.ParseAddrPort(req.Source())
	if err != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	b, ok := g.fails.Get(source.Addr())
	if !ok || now.Sub(b.since) > g.cfg.AuthFailures.Per {
		b = &failures{since: now}
		g.fails.Add(source.Addr(), b)
	}
	if b.count++; b.count >= g.cfg.AuthFailures.Max {
		b.banned = now.Add(g.cfg.AuthFailures.Ban)
	}
}
