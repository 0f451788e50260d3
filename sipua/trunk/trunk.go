// Package trunk is the link to a PBX or carrier: who a source address belongs
// to, how many calls a trunk takes, where to send one, and whether the other side
// answers OPTIONS.
package trunk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
)

// Errors of a trunk. Both mean 503 to a caller.
var (
	ErrFull    error = &statusError{"trunk has no call left", 503}
	ErrNoRoute error = &statusError{"trunk cannot be reached", 503}
)

type statusError struct {
	text   string
	status int
}

func (e *statusError) Error() string  { return e.text }
func (e *statusError) SIPStatus() int { return e.status }

// Peer is a trunk that is known by its source addresses and needs no
// registration (Asterisk: identify, endpoint and aor in one).
type Peer struct {
	Name     string
	Match    []netip.Prefix // whose requests are the trunk's
	Contact  sip.Uri        // where calls to the trunk go
	Qualify  time.Duration  // between two OPTIONS, 0: never
	MaxCalls int            // at a time, 0: no limit
	// Progress: each 180 to the trunk carries X-Wake-Status.
	Progress bool
	// TrustIdentity: P-Asserted-Identity of the trunk names the caller.
	TrustIdentity bool
	// ForceRPort: it may be behind a NAT. Its media may come from where its
	// signalling does, and its own port may be closed (see Reach).
	ForceRPort bool
}

// Target is one place where a trunk may be reached.
type Target struct {
	Transport sipua.Transport
	Addr      netip.AddrPort
	Host      string // for TLS
}

// Config is what a Set needs.
type Config struct {
	Peers []Peer
	// Resolve finds where a trunk's URI leads, best first (RFC 3263).
	Resolve func(ctx context.Context, uri sip.Uri) ([]Target, error)
	Log     *slog.Logger
}

// Set is all trunks.
type Set struct {
	trunks  []*Trunk
	resolve func(ctx context.Context, uri sip.Uri) ([]Target, error)
	log     *slog.Logger
	ep      *sipua.Endpoint

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Trunk is one trunk at run time.
type Trunk struct {
	Peer
	set *Set

	mu      sync.Mutex
	calls   int
	state   State
	fails   int
	answers bool // to OPTIONS, once at least
	rtt     time.Duration
	cause   string
	since   time.Time
}

// State is what OPTIONS told of a trunk.
type State uint8

// The states. Unknown is that of a trunk that is not qualified yet, or never is;
// calls go to it.
const (
	Unknown State = iota
	Up
	Suspect // one or two OPTIONS were not answered
	Down    // three were not
)

// String is the state in lower case.
func (s State) String() string { return [...]string{"unknown", "up", "suspect", "down"}[s] }

// probesUntilDown is how many OPTIONS in a row may stay unanswered.
const probesUntilDown = 3

// New makes the set. Names are unique by configuration.
func New(cfg Config) *Set {
	s := &Set{resolve: cfg.Resolve, log: cfg.Log}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for _, p := range cfg.Peers {
		s.trunks = append(s.trunks, &Trunk{Peer: p, set: s, since: time.Now()})
	}
	return s
}

// Start begins to qualify the trunks over ep.
func (s *Set) Start(ep *sipua.Endpoint) {
	s.ep = ep
	for _, t := range s.trunks {
		if t.Qualify <= 0 {
			continue
		}
		s.wg.Add(1)
		go func() { // awaited by Close
			defer s.wg.Done()
			t.qualify()
		}()
	}
}

// Close stops qualifying and waits.
func (s *Set) Close() {
	s.cancel()
	s.wg.Wait()
}

// ByName finds a trunk, nil if there is none of that name.
func (s *Set) ByName(name string) *Trunk {
	for _, t := range s.trunks {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// ByAddr finds the trunk that a source address belongs to, nil if none: the one
// with the longest matching prefix.
func (s *Set) ByAddr(addr netip.Addr) *Trunk {
	addr = addr.Unmap().WithZone("") // a prefix has no zone
	var found *Trunk
	bits := -1
	for _, t := range s.trunks {
		for _, p := range t.Match {
			if p.Contains(addr) && p.Bits() > bits {
				found, bits = t, p.Bits()
			}
		}
	}
	return found
}

// All lists the trunks in the order of the configuration.
func (s *Set) All() []*Trunk { return s.trunks }

// Acquire takes one of the trunk's calls; release gives it back, once. The error
// is ErrFull.
func (t *Trunk) Acquire() (release func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.MaxCalls > 0 && t.calls >= t.MaxCalls {
		return nil, fmt.Errorf("%s has %d: %w", t.Name, t.calls, ErrFull)
	}
	t.calls++
	return sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.calls--
	}), nil
}

// Connect finds a flow to the trunk; it may resolve names and dial, so it is
// never called by a call's owner. The error wraps ErrNoRoute.
func (t *Trunk) Connect(ctx context.Context) (*sipua.Flow, error) {
	targets, err := t.set.resolve(ctx, t.Contact)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w: %w", t.Contact.Host, ErrNoRoute, err)
	}
	return t.connect(ctx, targets)
}

// connect takes the first target that a flow can be had to.
func (t *Trunk) connect(ctx context.Context, targets []Target) (*sipua.Flow, error) {
	var errs []error
	for _, target := range targets {
		f, err := t.set.ep.Connect(ctx, target.Transport, sipua.Destination{Addr: target.Addr, Host: target.Host})
		if err == nil {
			return f, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("trunk %s: %w: %w", t.Name, ErrNoRoute, errors.Join(errs...))
}

// Status is what an operator sees of a trunk.
type Status struct {
	Name  string
	State State
	Since time.Time
	RTT   time.Duration // of the last answered OPTIONS
	Calls int
	Cause string // of the last failure, "" after a success
}

// Status reads the trunk's state.
func (t *Trunk) Status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Status{Name: t.Name, State: t.state, Since: t.since, RTT: t.rtt, Calls: t.calls, Cause: t.cause}
}

// qualify sends OPTIONS until the set closes.
func (t *Trunk) qualify() {
	tick := time.NewTicker(t.Qualify)
	defer tick.Stop()
	for {
		rtt, err := t.probe()
		if t.set.ctx.Err() != nil {
			return
		}
		t.judge(rtt, err)
		select {
		case <-t.set.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

var errProbe = errors.New("no answer to OPTIONS")

// probe sends one OPTIONS. Any response shows that the trunk lives, as Asterisk
// sees it: a PBX that refuses OPTIONS is there.
func (t *Trunk) probe() (time.Duration, error) {
	ctx, cancel := context.WithTimeout(t.set.ctx, t.Qualify)
	defer cancel()
	f, err := t.Connect(ctx)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	got := make(chan error, 1)
	tx, err := t.set.ep.Request(f, t.options(f), func(res *sip.Response, err error) {
		if res == nil || res.StatusCode >= 200 {
			select {
			case got <- err:
			default:
			}
		}
	})
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errProbe, err)
	}
	select {
	case err := <-got:
		if err != nil {
			t.doubt(f, start)
			return 0, fmt.Errorf("%w: %w", errProbe, err)
		}
		return time.Since(start), nil
	case <-ctx.Done():
		tx.Terminate()
		t.doubt(f, start)
		return 0, errProbe
	}
}

// doubt closes a stream of ours whose silence makes the trunk count as down: a firewall
// may have forgotten it, and a new one gets through. A peer that never answered OPTIONS
// says nothing by its silence, nor does one whose phone rings over the stream.
func (t *Trunk) doubt(f *sipua.Flow, probed time.Time) {
	t.mu.Lock()
	down := t.fails+1 == probesUntilDown && t.answers
	t.mu.Unlock()
	if down && t.set.ctx.Err() == nil && f.Dialled() && !f.LastSeen().After(probed) && !t.set.ep.Rings(f) {
		f.Shut(errProbe)
	}
}

func (t *Trunk) options(f *sipua.Flow) *sip.Request {
	req := sip.NewRequest(sip.OPTIONS, *t.Contact.Clone())
	req.AppendHeader(&sip.FromHeader{Address: f.Contact("wakebridge"), Params: sip.HeaderParams{{K: "tag", V: sipua.NewTag()}}})
	req.AppendHeader(&sip.ToHeader{Address: *t.Contact.Clone()})
	id := sip.CallIDHeader(sipua.NewTag())
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: sip.OPTIONS})
	return req
}

// judge moves the trunk's state by one probe: down only after three failures in
// a row, so that a lost packet costs no call.
func (t *Trunk) judge(rtt time.Duration, err error) {
	t.mu.Lock()
	before := t.state
	if err == nil {
		t.state, t.fails, t.rtt, t.cause, t.answers = Up, 0, rtt, "", true
	} else {
		t.fails++
		t.cause = err.Error()
		t.state = Suspect
		if t.fails >= probesUntilDown {
			t.state = Down
		}
	}
	after := t.state
	if after != before {
		t.since = time.Now()
	}
	t.mu.Unlock()
	switch {
	case after == before:
	case after == Up:
		t.set.log.Info("trunk is up", "trunk", t.Name, "rtt_ms", float64(rtt.Microseconds())/1000)
	default:
		t.set.log.Warn("trunk does not answer", "trunk", t.Name, "state", after.String(), "error", err)
	}
}
