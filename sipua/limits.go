package sipua

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// Limits bound what strangers may hold. A zero field takes its default; a
// negative count means no limit.
type Limits struct {
	Connections     int           // streams in all. Default: 20000.
	Unauthenticated int           // streams per source address that proved nothing. Default: 64.
	Handshake       time.Duration // for TLS. Default: 5s.
	FirstMessage    time.Duration // for the first whole message on a stream. Default: 10s.
	Message         time.Duration // for each later message on a stream, from its first byte. Default: 10s.
	IdleStranger    time.Duration // without a message, before an unauthenticated stream is closed. Default: 30s.
	Idle            time.Duration // before an authenticated stream is closed. Default: 1h.
	IdleUDP         time.Duration // before a UDP peer that no binding needs is forgotten. Default: 3m.
	UDPPeers        int           // remembered UDP peers. Default: 50000.
	Transactions    int           // server transactions, before strangers get no more. Default: 32768.
}

func (l Limits) withDefaults() Limits {
	count := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	span := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	count(&l.Connections, 20000)
	count(&l.Unauthenticated, 64)
	count(&l.UDPPeers, 50000)
	count(&l.Transactions, 32768)
	span(&l.Handshake, 5*time.Second)
	span(&l.FirstMessage, 10*time.Second)
	span(&l.Message, 10*time.Second)
	span(&l.IdleStranger, 30*time.Second)
	span(&l.Idle, time.Hour)
	span(&l.IdleUDP, 3*time.Minute)
	return l
}

var (
	errTooManyConns  = errors.New("too many connections")
	errTooManySource = errors.New("too many unauthenticated connections from this address")
	errIdle          = errors.New("idle too long")
)

// guard counts connections.
type guard struct {
	Limits
	mu      sync.Mutex
	total   int
	perAddr map[netip.Addr]int // unauthenticated only, by source
	counted map[*Flow]bool
}

func newGuard(l Limits) *guard {
	return &guard{Limits: l.withDefaults(), perAddr: make(map[netip.Addr]int), counted: make(map[*Flow]bool)}
}

// source is what counts as one source: an IPv4 address, or an IPv6 network, of
// which whoever has one address has all.
func source(addr netip.Addr) netip.Addr {
	if addr.Is4() {
		return addr
	}
	p, err := addr.WithZone("").Prefix(64)
	if err != nil {
		return addr
	}
	return p.Addr()
}

// accept counts a connection from addr that has no flow yet, or says why not.
func (g *guard) accept(addr netip.Addr) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.Connections > 0 && g.total >= g.Connections {
		return fmt.Errorf("%w: %d", errTooManyConns, g.total)
	}
	src := source(addr)
	if g.Unauthenticated > 0 && g.perAddr[src] >= g.Unauthenticated {
		return fmt.Errorf("%w: %s", errTooManySource, addr)
	}
	g.total++
	g.perAddr[src]++
	return nil
}

// release gives back what accept counted for a connection that became no flow.
func (g *guard) release(addr netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	g.lower(addr)
}

func (g *guard) lower(addr netip.Addr) {
	src := source(addr)
	if g.perAddr[src]--; g.perAddr[src] <= 0 {
		delete(g.perAddr, src)
	}
}

// opened ties what accept counted to the flow that it became.
func (g *guard) opened(f *Flow) {
	g.mu.Lock()
	g.counted[f] = true
	g.mu.Unlock()
	if f.Authenticated() {
		g.authenticated(f)
	}
}

// authenticated takes a flow out of the strangers' count.
func (g *guard) authenticated(f *Flow) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.counted[f] {
		g.counted[f] = false
		g.lower(f.remote.Addr())
	}
}

// closed gives back what a flow holds.
func (g *guard) closed(f *Flow) {
	g.mu.Lock()
	defer g.mu.Unlock()
	stranger, ok := g.counted[f]
	if !ok {
		return
	}
	delete(g.counted, f)
	g.total--
	if stranger {
		g.lower(f.remote.Addr())
	}
}

// idle says why a flow should be closed now, nil if it may stay. A flow on which
// a dialog or an unfinished transaction lives always stays.
func (g *guard) idle(f *Flow, now time.Time) error {
	if f.held.Load() > 0 {
		return nil
	}
	since, limit := f.LastSeen(), g.Idle
	switch {
	case f.transport == UDP:
		if now.Before(f.ep.at(f.pinned.Load())) {
			return nil
		}
		limit = g.IdleUDP
	case f.Dialled():
		return nil
	case !f.Authenticated():
		// Keep-alives are free, so they do not count for a stranger.
		since, limit = f.ep.at(f.lastMessage.Load()), g.IdleStranger
	}
	quiet := now.Sub(since)
	if quiet < limit {
		return nil
	}
	return fmt.Errorf("%w: %s", errIdle, quiet.Round(time.Second))
}
