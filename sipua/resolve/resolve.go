package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Transport is a transport as a Via header field spells it.
type Transport string

// The transports. TLS is SIP over TLS over TCP.
const (
	UDP Transport = "UDP"
	TCP Transport = "TCP"
	TLS Transport = "TLS"
)

// port is the default port (RFC 3261 s19.1.2).
func (t Transport) port() uint16 {
	if t == TLS {
		return 5061
	}
	return 5060
}

// service is the name of the transport's SRV records (RFC 3263 s4.1).
func (t Transport) service() (service, proto string) {
	switch t {
	case UDP:
		return "sip", "udp"
	case TLS:
		return "sips", "tcp"
	default:
		return "sip", "tcp"
	}
}

// Target is one place to try.
type Target struct {
	Transport Transport
	Addr      netip.AddrPort
	// Host is the URI's host, without brackets: what a TLS certificate must be for
	// (RFC 5922 s4), whichever names DNS led through.
	Host string
}

// DNS is what is asked; *net.Resolver is one.
type DNS interface {
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, records []*net.SRV, err error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// maxTargets bounds an answer; DNS may say anything.
const maxTargets = 16

// Options of a Resolver. The zero value is good.
type Options struct {
	// DNS is asked. Default: net.DefaultResolver.
	DNS DNS
	// Transports are tried in this order where the URI leaves the choice. Default:
	// UDP, TCP, TLS.
	Transports []Transport
	// Fresh is how long an answer is used without asking again. Default: 60 s.
	Fresh time.Duration
	// Keep is how long after that it is used while DNS fails. Default: 24 h.
	Keep time.Duration
	// Timeout bounds the questions for one URI, half of it those for SRV records.
	// Default: 4 s.
	Timeout time.Duration
	// Retry is how long, after a failure, the kept answer is used without asking.
	// Default: 10 s.
	Retry time.Duration
}

// Resolver resolves SIP URIs. It may be used from several goroutines and starts
// none that outlive a call.
type Resolver struct {
	opts  Options
	cache *cache
}

// New fills in the defaults.
func New(opts Options) *Resolver {
	if opts.DNS == nil {
		opts.DNS = net.DefaultResolver
	}
	if len(opts.Transports) == 0 {
		opts.Transports = []Transport{UDP, TCP, TLS}
	}
	defaults(&opts.Fresh, time.Minute)
	defaults(&opts.Keep, 24*time.Hour)
	defaults(&opts.Timeout, 4*time.Second)
	defaults(&opts.Retry, 10*time.Second)
	return &Resolver{opts: opts, cache: newCache(opts)}
}

func defaults(d *time.Duration, value time.Duration) {
	if *d <= 0 {
		*d = value
	}
}

// Resolve gives the places to try for a URI, best first, at least one and at most
// 16. Equal SRV records come in a new random order each time, by their weights. The
// error wraps ErrUnsupported, ErrNoTarget, the context's or DNS' error.
func (r *Resolver) Resolve(ctx context.Context, uri sip.Uri) ([]Target, error) {
	q, err := r.read(uri)
	if err != nil {
		return nil, err
	}
	if q.addr.IsValid() {
		return []Target{q.target(q.transports[0], q.addr, q.port)}, nil
	}
	asking, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	targets, err := r.ask(asking, q)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("resolve %s: %w", q.host, ctx.Err())
	}
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", q.host, err)
	}
	if len(targets) > maxTargets {
		targets = targets[:maxTargets]
	}
	return targets, nil
}

// question is a URI taken apart.
type question struct {
	host string     // to ask for
	name string     // Target.Host
	addr netip.Addr // instead of host, if that is an address
	port uint16     // 0: not given
	// transports to try; just one if the URI, its port or address decides.
	transports []Transport
	// fallback is the transport for A and AAAA if there is no SRV record.
	fallback Transport
}

func (q question) target(t Transport, addr netip.Addr, port uint16) Target {
	if port == 0 {
		port = t.port()
	}
	return Target{Transport: t, Addr: netip.AddrPortFrom(addr.Unmap(), port), Host: q.name}
}

// read applies RFC 3263 s4.1 as far as it needs no DNS.
func (r *Resolver) read(uri sip.Uri) (question, error) {
	var q question
	secure := strings.EqualFold(uri.Scheme, "sips")
	if !secure && uri.Scheme != "" && !strings.EqualFold(uri.Scheme, "sip") {
		return q, fmt.Errorf("scheme %q: %w", uri.Scheme, ErrUnsupported)
	}
	if uri.Port < 0 || uri.Port > 65535 {
		return q, fmt.Errorf("port %d: %w", uri.Port, ErrUnsupported)
	}
	q.name = bare(uri.Host)
	q.host, q.port = q.name, uint16(uri.Port)
	if maddr := param(uri, "maddr"); maddr != "" {
		q.host = bare(maddr)
	}
	if q.host == "" || uri.Wildcard {
		return q, fmt.Errorf("URI without host: %w", ErrNoTarget)
	}
	if addr, err := netip.ParseAddr(q.host); err == nil {
		q.addr = addr
	}
	// RFC 3263 s4.1: UDP where nothing says otherwise.
	q.fallback = UDP
	if !slices.Contains(r.opts.Transports, UDP) {
		q.fallback = r.opts.Transports[0]
	}
	if secure {
		q.fallback = TLS
	}
	return r.choose(q, uri, secure)
}

// choose finds the transports that the URI leaves.
func (r *Resolver) choose(q question, uri sip.Uri, secure bool) (question, error) {
	switch t := strings.ToUpper(param(uri, "transport")); {
	case t == "" && secure:
		q.transports = []Transport{TLS}
	case t == "" && (q.addr.IsValid() || q.port != 0):
		q.transports = []Transport{q.fallback}
	case t == "":
		q.transports = r.opts.Transports
	case t == "TLS", t == "TCP" && secure:
		q.transports, q.fallback = []Transport{TLS}, TLS
	case (t == "UDP" || t == "TCP") && !secure:
		q.transports, q.fallback = []Transport{Transport(t)}, Transport(t)
	default:
		return q, fmt.Errorf("%s over %q: %w", strings.ToLower(uri.Scheme), strings.ToLower(t), ErrUnsupported)
	}
	return q, nil
}

// bare is a host without brackets and trailing dot, in lower case.
func bare(host string) string {
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// param looks a URI parameter up without regard to case.
func param(uri sip.Uri, name string) string {
	for _, kv := range uri.UriParams {
		if strings.EqualFold(kv.K, name) {
			return kv.V
		}
	}
	return ""
}

// ask applies RFC 3263 s4.1 and s4.2: SRV records unless the URI has a port, else
// addresses.
func (r *Resolver) ask(ctx context.Context, q question) ([]Target, error) {
	if q.port != 0 {
		return r.addresses(ctx, q, q.transports[0], q.host, q.port)
	}
	answers := make([]services, len(q.transports))
	var wg sync.WaitGroup
	for i, t := range q.transports {
		wg.Go(func() { answers[i] = r.services(ctx, q, t) })
	}
	wg.Wait()
	var targets []Target
	var errs []error
	refused := false
	for _, a := range answers {
		targets = append(targets, a.targets...)
		refused = refused || a.refused
		if a.err != nil {
			errs = append(errs, a.err)
		}
	}
	if len(targets) > 0 {
		return targets, nil
	}
	if refused {
		return nil, ErrNoTarget
	}
	// Also if SRV only failed: name servers that drop what they do not know exist.
	targets, err := r.addresses(ctx, q, q.fallback, q.host, 0)
	if err != nil {
		return nil, errors.Join(append(errs, err)...)
	}
	return targets, nil
}

// services is what SRV records say of one transport.
type services struct {
	targets []Target
	refused bool // "." alone: not offered here
	err     error
}

func (r *Resolver) services(ctx context.Context, q question, t Transport) services {
	service, proto := t.service()
	name := q.host
	if strings.Contains(name, ".") {
		// Absolute, or the search list of resolv.conf would be tried.
		name += "."
	}
	// Half of the time: where SRV questions get no answer at all, the addresses must
	// still be found.
	asking, cancel := half(ctx)
	defer cancel()
	records, err := r.cache.srv(asking, service, proto, name)
	if errors.Is(err, ErrNoTarget) {
		return services{}
	}
	if err != nil {
		return services{err: err}
	}
	if len(records) == 1 && records[0].Target == "." {
		return services{refused: true}
	}
	records = order(records)
	if len(records) > maxTargets {
		records = records[:maxTargets]
	}
	found := make([][]Target, len(records))
	errs := make([]error, len(records))
	var wg sync.WaitGroup
	for i, rec := range records {
		wg.Go(func() { found[i], errs[i] = r.addresses(ctx, q, t, bare(rec.Target), rec.Port) })
	}
	wg.Wait()
	var out services
	for _, f := range found {
		out.targets = append(out.targets, f...)
	}
	if len(out.targets) == 0 {
		out.err = errors.Join(errs...)
	}
	return out
}

// half is ctx for half of the time that is left of it.
func half(ctx context.Context) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(end)/2)
}

// addresses are a host's A and AAAA records, in the order DNS gave (RFC 6724).
func (r *Resolver) addresses(ctx context.Context, q question, t Transport, host string, port uint16) ([]Target, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []Target{q.target(t, addr, port)}, nil
	}
	addrs, err := r.cache.ip(ctx, host)
	if err != nil {
		return nil, err
	}
	targets := make([]Target, 0, len(addrs))
	for _, a := range addrs {
		targets = append(targets, q.target(t, a, port))
	}
	return targets, nil
}
