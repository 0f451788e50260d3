package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// maxNames is how many questions are remembered.
const maxNames = 256

// cache remembers answers by question. One goroutine asks, others with the same
// question wait for it.
type cache struct {
	opts Options

	mu      sync.Mutex
	entries *simplelru.LRU[string, *entry]
}

// entry is the last good answer to one question. Under the cache's mu.
type entry struct {
	value   any   // []*net.SRV or []netip.Addr
	missing error // wraps ErrNoTarget: DNS says that there is nothing
	at      time.Time
	retry   time.Time     // after a failure: not asked again before
	asking  chan struct{} // closed when the one who asks is done; nil: nobody does
}

func (e *entry) answered() bool { return !e.at.IsZero() }

func newCache(opts Options) *cache {
	entries, _ := simplelru.NewLRU[string, *entry](maxNames, nil) //nolint:errcheck // only a size below 1 fails
	return &cache{opts: opts, entries: entries}
}

func (c *cache) srv(ctx context.Context, service, proto, name string) ([]*net.SRV, error) {
	v, err := c.get(ctx, "_"+service+"._"+proto+"."+name, func() (any, error) {
		_, records, err := c.opts.DNS.LookupSRV(ctx, service, proto, name)
		switch {
		case len(records) > 0:
			// With an error, some were malformed; these are good.
			err = nil
		case err == nil:
			err = ErrNoTarget
		}
		return records, err
	})
	records, _ := v.([]*net.SRV)
	return records, err
}

func (c *cache) ip(ctx context.Context, host string) ([]netip.Addr, error) {
	v, err := c.get(ctx, host, func() (any, error) {
		addrs, err := c.opts.DNS.LookupNetIP(ctx, "ip", host)
		if err == nil && len(addrs) == 0 {
			err = ErrNoTarget
		}
		return addrs, err
	})
	addrs, _ := v.([]netip.Addr)
	return addrs, err
}

// get gives the fresh answer, or asks. If asking fails, the last good answer counts
// for Keep more.
func (c *cache) get(ctx context.Context, key string, lookup func() (any, error)) (any, error) {
	for {
		c.mu.Lock()
		e, ok := c.entries.Get(key)
		if !ok {
			e = &entry{}
			c.entries.Add(key, e)
		}
		now := time.Now()
		if e.answered() && (now.Sub(e.at) < c.opts.Fresh || now.Before(e.retry) && now.Sub(e.at) < c.opts.Fresh+c.opts.Keep) {
			value, err := e.value, e.missing
			c.mu.Unlock()
			return value, err
		}
		if e.asking == nil {
			e.asking = make(chan struct{})
			c.mu.Unlock()
			return c.ask(e, lookup)
		}
		wait := e.asking
		c.mu.Unlock()
		select {
		case <-wait:
			// The other's context may have ended, so look again.
			if err := ctx.Err(); err != nil {
				return nil, fmt.Errorf("waiting for DNS: %w", err)
			}
		case <-ctx.Done():
			return c.kept(e, fmt.Errorf("waiting for DNS: %w", ctx.Err()))
		}
	}
}

// ask puts the question and notes the answer.
func (c *cache) ask(e *entry, lookup func() (any, error)) (any, error) {
	value, err := lookup()
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		err = fmt.Errorf("%w: %w", ErrNoTarget, err)
	}
	c.mu.Lock()
	close(e.asking)
	e.asking = nil
	now := time.Now()
	switch {
	case err == nil:
		e.value, e.missing, e.at, e.retry = value, nil, now, time.Time{}
	case errors.Is(err, ErrNoTarget):
		e.value, e.missing, e.at, e.retry = nil, err, now, time.Time{}
	default:
		e.retry = now.Add(c.opts.Retry)
		c.mu.Unlock()
		return c.kept(e, err)
	}
	c.mu.Unlock()
	return value, err
}

// kept is the last good answer if it may still be used, else the failure.
func (c *cache) kept(e *entry, failure error) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.answered() && time.Since(e.at) < c.opts.Fresh+c.opts.Keep {
		return e.value, e.missing
	}
	return nil, failure
}
