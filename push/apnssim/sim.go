package apnssim

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Environment is one of Apple's two worlds. Device tokens of one mean nothing
// in the other.
type Environment string

const (
	// Sandbox serves apps signed for development.
	Sandbox Environment = "sandbox"
	// Production serves apps from the App Store and TestFlight.
	Production Environment = "production"
)

func (e Environment) valid() bool { return e == Sandbox || e == Production }

// Config is what a Sim is made from. Only a listener is required.
type Config struct {
	// Sandbox and Production carry plain stream connections; the simulator adds
	// TLS. One of them may be nil. The Sim owns and closes them.
	Sandbox, Production net.Listener
	// Names go into the server certificate, host names or IP addresses. Empty:
	// localhost, 127.0.0.1, ::1 and Apple's host names, also the older one of the sandbox,
	// which Flexisip asks.
	Names []string
	// NetDelay is how long a push takes from its 200 to the device. 0: it is
	// delivered, stored or dropped before the 200 is written.
	NetDelay time.Duration
	// Network is what becomes of accepted pushes besides; it can be changed.
	Network Network
	// Limits are Apple's unpublished numbers. Zero fields get defaults.
	Limits Limits
	// StrictThrottle lowers the stream limit to one after every refused push,
	// until the next accepted one (seen until about 2020).
	StrictThrottle bool
	// JournalSize is how many requests are remembered. 0: 4096.
	JournalSize int
	// Seed starts the dice of fault rules with a probability, and of Network.
	Seed uint64
	// Now is the clock that provider tokens, expirations and time stamps are
	// judged by. nil: time.Now. Delays always use the time package.
	Now func() time.Time
	// Log may be nil. Device tokens are masked in it, provider tokens and
	// payloads never appear.
	Log *slog.Logger
}

// Limits are numbers Apple does not publish. The defaults are choices.
type Limits struct {
	// StreamsBefore and StreamsAfter are MAX_CONCURRENT_STREAMS until and after
	// the first accepted push of a connection. Default 1 and 1000. Connections
	// with a certificate have StreamsAfter from the start.
	StreamsBefore, StreamsAfter uint32
	// NewProviderTokens is how many provider tokens with a different iat one key
	// may show within 20 minutes before 429 TooManyProviderTokenUpdates.
	// Default 2.
	NewProviderTokens int
	// PushBurst and PushRate (per second) bound pushes to one device token
	// before 429 TooManyRequests. Default 100 and 10.
	PushBurst int
	PushRate  float64
	// BackgroundPerHour bounds the background pushes that reach one app on one
	// device; more are answered 200 and dropped. Default 3.
	BackgroundPerHour int
	// PingBurst is how many PING frames one connection may send at once; one per
	// second are then good, more end it with GOAWAY ENHANCE_YOUR_CALM.
	// Default 10.
	PingBurst int
}

func (l Limits) withDefaults() Limits {
	if l.StreamsBefore == 0 {
		l.StreamsBefore = 1
	}
	if l.StreamsAfter == 0 {
		l.StreamsAfter = 1000
	}
	if l.NewProviderTokens == 0 {
		l.NewProviderTokens = 2
	}
	if l.PushBurst == 0 {
		l.PushBurst = 100
	}
	if l.PushRate == 0 {
		l.PushRate = 10
	}
	if l.BackgroundPerHour == 0 {
		l.BackgroundPerHour = 3
	}
	if l.PingBurst == 0 {
		l.PingBurst = 10
	}
	return l
}

// Sim is a running simulator. All methods may be called from any goroutine.
type Sim struct {
	cfg       Config
	authority *authority
	registry  *registry
	faults    *faults
	journal   *journal
	courier   *courier
	network   *network
	stats     stats
	skew      atomic.Int64 // nanoseconds that AdvanceClock added
	listeners map[Environment]net.Listener

	mu     sync.Mutex
	conns  map[*conn]struct{}
	closed bool
	done   chan struct{}  // closed by Close
	wg     sync.WaitGroup // accept loops, connections, delayed answers, courier
}

// New starts a simulator on cfg's listeners. Errors: ErrNoListener,
// ErrBadNetwork.
func New(cfg Config) (*Sim, error) {
	if cfg.Sandbox == nil && cfg.Production == nil {
		return nil, ErrNoListener
	}
	if err := cfg.Network.valid(); err != nil {
		return nil, err
	}
	if len(cfg.Names) == 0 {
		cfg.Names = []string{"localhost", "127.0.0.1", "::1", "api.push.apple.com", "api.sandbox.push.apple.com", "api.development.push.apple.com"}
	}
	if cfg.JournalSize <= 0 {
		cfg.JournalSize = 4096
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Limits = cfg.Limits.withDefaults()
	authority, err := newAuthority(cfg.Names)
	if err != nil {
		return nil, err
	}
	s := &Sim{
		cfg:       cfg,
		authority: authority,
		registry:  newRegistry(cfg.Limits),
		faults:    newFaults(cfg.Seed),
		journal:   newJournal(cfg.JournalSize),
		courier:   newCourier(),
		network:   newNetwork(cfg.Network, cfg.Seed),
		listeners: make(map[Environment]net.Listener),
		conns:     make(map[*conn]struct{}),
		done:      make(chan struct{}),
	}
	s.cfg.Now = func() time.Time { return cfg.Now().Add(time.Duration(s.skew.Load())) }
	s.wg.Go(func() { s.courier.run(s.done) })
	for env, ln := range map[Environment]net.Listener{Sandbox: cfg.Sandbox, Production: cfg.Production} {
		if ln != nil {
			s.listeners[env] = ln
			s.wg.Go(func() { s.accept(env, ln) })
		}
	}
	return s, nil
}

// AdvanceClock sets the clock that Config.Now describes forward by d (back, if d
// is negative), so that a provider token or a stored push is old at once. Delays
// are not touched.
func (s *Sim) AdvanceClock(d time.Duration) { s.skew.Add(int64(d)) }

// CAPEM returns the certificate that clients must trust, PEM encoded.
func (s *Sim) CAPEM() []byte { return append([]byte(nil), s.authority.caPEM...) }

// Addr returns where env listens, nil if it does not.
func (s *Sim) Addr(env Environment) net.Addr {
	if ln := s.listeners[env]; ln != nil {
		return ln.Addr()
	}
	return nil
}

// URL returns the base URL of env for a provider's configuration, empty if it
// does not listen.
func (s *Sim) URL(env Environment) string {
	if addr := s.Addr(env); addr != nil {
		return "https://" + addr.String()
	}
	return ""
}

// Close closes the listeners and every connection, drops what is not delivered
// and waits until nothing of the simulator runs. Later calls wait and return
// nil.
func (s *Sim) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	open := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		open = append(open, c)
	}
	s.mu.Unlock()
	var err error
	if first {
		close(s.done)
		for env, ln := range s.listeners {
			if e := ln.Close(); e != nil && !errors.Is(e, net.ErrClosed) {
				err = errors.Join(err, fmt.Errorf("close %s listener: %w", env, e))
			}
		}
		for _, c := range open {
			c.abort()
		}
	}
	s.wg.Wait()
	return err
}

// acceptPause is the wait after a failed Accept, so that a lack of file
// descriptors does not spin.
const acceptPause = 50 * time.Millisecond

func (s *Sim) accept(env Environment, ln net.Listener) {
	for {
		raw, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			s.cfg.Log.Warn("accept failed", "environment", env, "err", err)
			select {
			case <-s.done:
				return
			case <-time.After(acceptPause):
			}
			continue
		}
		s.admit(env, raw)
	}
}

// admit starts the goroutine of a new connection, which Close waits for.
func (s *Sim) admit(env Environment, raw net.Conn) {
	c := newConn(s, env, raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.abort()
		s.stats.disconnected()
		return
	}
	s.conns[c] = struct{}{}
	s.wg.Go(func() {
		c.run()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	})
}

// later runs f after d, in a goroutine that Close ends and waits for; after
// Close began it does nothing.
func (s *Sim) later(d time.Duration, f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.wg.Go(func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			f()
		case <-s.done:
		}
	})
}

// pause waits for d; false when Close began.
func (s *Sim) pause(d time.Duration) bool {
	if d == 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.done:
		return false
	}
}
