// Package media relays RTP and RTCP between the two legs of a call: it hands
// out port pairs, learns where packets really come from, refuses all others,
// counts, and reports silence. It knows no SIP and no SDP: the bridge says what
// they said.
//
// A Side is one leg's sockets, one port pair per m= line. Join lets two sides
// forward to each other, line by line:
//
//	a, err := r.NewSide(media.IPv4, 1)
//	...
//	a.SetRemote(0, media.Remote{RTP: addr, PayloadTypes: []uint8{0, 8}})
//	media.Join(a, b)
//	a.Answered()
//	...
//	a.Close()
//	record(a.Stats())
package media

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wakebridge/bridge/media/relay"
)

// Remote is what signalling knows of one stream's far end.
type Remote = relay.Remote

// Secure are the keys of one stream in both directions.
type Secure = relay.Secure

// Observation says who sees a side's packets.
type Observation = relay.Observation

// StreamStats is what one stream received and sent.
type StreamStats = relay.Stats

// Reason says why a packet was not relayed.
type Reason = relay.Reason

// The reasons; relay documents each.
const (
	TooLong       = relay.TooLong
	PastSender    = relay.PastSender
	NoRemote      = relay.NoRemote
	WrongSource   = relay.WrongSource
	BadHeader     = relay.BadHeader
	PayloadType   = relay.PayloadType
	BadAuth       = relay.BadAuth
	NoDestination = relay.NoDestination
	SendFailed    = relay.SendFailed
	Held          = relay.Held
	Converted     = relay.Converted
	Fault         = relay.Fault
)

// Timeouts say when a side counts as silent. 0 switches one off.
type Timeouts struct {
	// FirstPacket is the allowance after Answered before Silence begins to
	// count for a side that sent nothing since: CallKit starts audio late.
	FirstPacket time.Duration
	// Silence is how long nothing acceptable may come, RTP or RTCP, from any
	// stream of a side that is not on hold. 0: neither it nor FirstPacket counts.
	Silence time.Duration
	// Hold replaces Silence while all of a side's streams are on hold. 0: a hold may last.
	Hold time.Duration
}

// Config is what a Relay needs.
type Config struct {
	// Network opens the sockets. Default: OS.
	Network Network
	// Workers is how many goroutines relay the packets of OS sockets on Linux.
	// Default: one per core.
	Workers int
	// Bind has one address per family, which may be unspecified.
	Bind []netip.Addr
	// PortStart and PortEnd are the first and last UDP port; RTP is on even
	// ports, RTCP on the odd ones above. Both 0: the system chooses the pairs.
	PortStart, PortEnd uint16
	// Timeouts as configured, not defaulted here.
	Timeouts Timeouts
	// Quarantine is how long a port pair rests at least between two calls.
	// Default: 2 s.
	Quarantine time.Duration
	// Log gets faults only; nothing per packet. Default: discarded.
	Log *slog.Logger
	// Registerer gets the metrics wakebridge_media_*; nil: none.
	Registerer prometheus.Registerer
}

// validate names all faults; errors wrap ErrConfig.
func (c *Config) validate() error {
	var faults []error
	if len(c.Bind) == 0 {
		faults = append(faults, fmt.Errorf("%w: no address to bind", ErrConfig))
	}
	seen := make(map[Family]bool)
	for _, a := range c.Bind {
		if !a.IsValid() {
			faults = append(faults, fmt.Errorf("%w: an address to bind is empty", ErrConfig))
			continue
		}
		if seen[FamilyOf(a)] {
			faults = append(faults, fmt.Errorf("%w: more than one %s address to bind", ErrConfig, FamilyOf(a)))
		}
		seen[FamilyOf(a)] = true
	}
	chosen := c.PortStart == 0 && c.PortEnd == 0
	first := uint32(c.PortStart) + uint32(c.PortStart)%2
	if !chosen && (c.PortStart == 0 || first+1 > uint32(c.PortEnd)) {
		faults = append(faults, fmt.Errorf("%w: ports %d to %d hold no pair of an even port and the next one", ErrConfig, c.PortStart, c.PortEnd))
	}
	if c.Workers < 0 {
		faults = append(faults, fmt.Errorf("%w: the number of workers is negative", ErrConfig))
	}
	if c.Timeouts.FirstPacket < 0 || c.Timeouts.Silence < 0 || c.Timeouts.Hold < 0 || c.Quarantine < 0 {
		faults = append(faults, fmt.Errorf("%w: a duration is negative", ErrConfig))
	}
	return errors.Join(faults...)
}

// Relay owns the ports and the engine. All methods may be called from any
// goroutine.
type Relay struct {
	timeouts Timeouts
	log      *slog.Logger
	engine   relay.Engine
	pools    map[Family]*ports
	metrics  *metrics

	mu     sync.Mutex
	sides  map[*Side]struct{}
	inUse  int // port pairs
	closed bool
}

// New makes a relay; it binds nothing yet. Errors wrap ErrConfig, or come from
// the Registerer or from a system without descriptors.
func New(c Config) (*Relay, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	if c.Network == nil {
		c.Network = OS{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Quarantine == 0 {
		c.Quarantine = defaultQuarantine
	}
	engine, err := newEngine(c)
	if err != nil {
		return nil, err
	}
	r := &Relay{
		timeouts: c.Timeouts,
		log:      c.Log,
		engine:   engine,
		pools:    make(map[Family]*ports, len(c.Bind)),
		sides:    make(map[*Side]struct{}),
	}
	for _, a := range c.Bind {
		a = a.Unmap()
		r.pools[FamilyOf(a)] = newPorts(c.Network, a, c.PortStart, c.PortEnd, c.Quarantine)
	}
	if r.metrics, err = newMetrics(c.Registerer, r); err != nil {
		engine.Close()
		return nil, err
	}
	return r, nil
}

// newEngine is the fast engine for the system's sockets, the plain one for others.
func newEngine(c Config) (relay.Engine, error) {
	if _, system := c.Network.(OS); !system {
		return relay.NewSockets(c.Log), nil
	}
	return relay.NewEngine(cmp.Or(c.Workers, runtime.GOMAXPROCS(0)), c.Log)
}

// PortsInUse is the number of UDP ports that open sides hold, two per stream.
func (r *Relay) PortsInUse() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return 2 * r.inUse
}

// Close closes all sides, waits for their goroutines and takes the metrics
// away. Idempotent.
func (r *Relay) Close() {
	r.mu.Lock()
	r.closed = true
	all := make([]*Side, 0, len(r.sides))
	for s := range r.sides {
		all = append(all, s)
	}
	r.mu.Unlock()
	for _, s := range all {
		s.Close()
	}
	r.engine.Close()
	r.metrics.unregister()
}

// NewSide opens one leg's sockets: a port pair for each of streams m= lines.
// Errors: ErrNoPorts, ErrNoFamily, ErrClosed; after an error nothing is held.
func (r *Relay) NewSide(family Family, streams int) (*Side, error) {
	pool := r.pools[family]
	if pool == nil {
		return nil, fmt.Errorf("%s: %w", family, ErrNoFamily)
	}
	s := newSide(r, pool)
	if err := s.Grow(streams); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// enter makes a new side known.
func (r *Relay) enter(s *Side) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.sides[s] = struct{}{}
	return true
}

// leave forgets a closed side; its last counters go to the totals in the same
// step, so that no scrape misses them or sees them twice.
func (r *Relay) leave(s *Side, final []StreamStats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.sides[s]; !known {
		return
	}
	delete(r.sides, s)
	r.metrics.past.addAll(final)
}

// hold counts port pairs taken (or, negative, given back).
func (r *Relay) hold(pairs int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inUse += pairs
}
