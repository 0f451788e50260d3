package apnssim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// Rule makes matching requests fail.
type Rule struct {
	Match  Match
	Action Action
}

// Match selects requests; zero fields match all.
type Match struct {
	// Token is a device token.
	Token string
	// Topic is an apns-topic, exactly.
	Topic string
	// Environment limits the rule to one listener.
	Environment Environment
	// Nth matches every Nth of the requests that the fields above fit: 1 or 0
	// all, 100 the 100th, 200th and so on.
	Nth int
	// Times ends the rule after so many hits. 0: never.
	Times int
	// Probability of a hit, above 0 to 1. 0: always.
	Probability float64
}

// Fault is what a rule does.
type Fault string

const (
	// Respond answers Status and Reason instead of 200. Requests that the checks
	// refuse keep their own answer and do not count as matching.
	Respond Fault = "respond"
	// Delay holds the request back for Latency, then goes on with the next rule
	// that matches, or with the ordinary answer.
	Delay Fault = "delay"
	// Hang never answers; the stream stays open until the client resets it.
	Hang Fault = "hang"
	// Reset answers RST_STREAM with Code.
	Reset Fault = "reset"
	// Cut closes the TCP connection in the middle of the response.
	Cut Fault = "cut"
	// Blackhole keeps the connection open, reads on and sends nothing any more,
	// not even PING answers: a dead path.
	Blackhole Fault = "blackhole"
	// GoAway sends GOAWAY NO_ERROR with {"reason": Reason} as debug data, lets
	// streams up to this request finish for Grace and closes. With Unprocessed or
	// LastStream the request itself is not among them. Another error code with
	// Code.
	GoAway Fault = "goaway"
	// RefuseTLS ends TLS handshakes with an alert. Only Environment, Nth, Times
	// and Probability match, counted in handshakes.
	RefuseTLS Fault = "refuse_tls"
	// SlowHandshake lets a new connection wait for Latency before its TLS
	// handshake. It matches like RefuseTLS; both may hit one connection.
	SlowHandshake Fault = "slow_handshake"
	// IdleClose says GOAWAY {"reason": "IdleTimeout"} once a connection had no
	// open stream for Latency, and closes it. It matches like RefuseTLS, and
	// connections made before the rule are not touched.
	IdleClose Fault = "idle_close"
)

// ofConnection says that a fault matches connections, not requests.
func (f Fault) ofConnection() bool {
	return f == RefuseTLS || f == SlowHandshake || f == IdleClose
}

// Action is what a Rule does, with the numbers that go with it.
type Action struct {
	Fault  Fault
	Status int    // Respond: 400 to 599
	Reason string // Respond, GoAway
	// Timestamp goes into a Respond with 410; zero: now.
	Timestamp time.Time
	// Latency of Delay, SlowHandshake and IdleClose, and Jitter: up to so much
	// more, evenly spread. Other distributions are made of several rules with
	// probabilities.
	Latency, Jitter time.Duration
	// Code of Reset, 0: INTERNAL_ERROR, and of GoAway, 0: NO_ERROR.
	Code http2.ErrCode
	// Deliver hands the push to the device although the sender is never told
	// (Hang, Reset, Cut, Blackhole), if the checks accept it.
	Deliver bool
	// Unprocessed: see GoAway.
	Unprocessed bool
	// LastStream is the highest stream that GoAway calls processed, if below this
	// request's. 0: see Unprocessed.
	LastStream uint32
	// Grace of GoAway for streams that still run. 0: 5 s.
	Grace time.Duration
}

// lastStream is what GOAWAY names when it meets the request on stream id.
func (a *Action) lastStream(id uint32) uint32 {
	switch {
	case a.LastStream > 0:
		return min(a.LastStream, id)
	case a.Unprocessed:
		return max(id, 2) - 2 // the client's stream before, or 0
	}
	return id
}

func (r Rule) valid() error {
	m, a := r.Match, r.Action
	switch {
	case m.Environment != "" && !m.Environment.valid():
		return fmt.Errorf("%w: environment %q", ErrBadRule, m.Environment)
	case m.Nth < 0, m.Times < 0, m.Probability < 0, m.Probability > 1:
		return fmt.Errorf("%w: nth, times or probability out of range", ErrBadRule)
	case a.Latency < 0, a.Jitter < 0, a.Grace < 0:
		return fmt.Errorf("%w: negative latency", ErrBadRule)
	}
	switch a.Fault {
	case Respond:
		if a.Status < 400 || a.Status > 599 || a.Reason == "" {
			return fmt.Errorf("%w: respond needs a status from 400 to 599 and a reason", ErrBadRule)
		}
	case Delay, SlowHandshake, IdleClose:
		if a.Latency+a.Jitter == 0 {
			return fmt.Errorf("%w: %s needs a latency", ErrBadRule, a.Fault)
		}
	case RefuseTLS:
	case Hang, Reset, Cut, Blackhole, GoAway:
	default:
		return fmt.Errorf("%w: unknown fault %q", ErrBadRule, a.Fault)
	}
	if a.Fault.ofConnection() && (m.Token != "" || m.Topic != "") {
		return fmt.Errorf("%w: a connection has no token or topic", ErrBadRule)
	}
	return nil
}

// rule is a Rule at work.
type rule struct {
	Rule
	id   int
	seen int // requests that fit
	hits int
}

// faults holds the rules in the order they were added.
type faults struct {
	mu    sync.Mutex
	rules []*rule
	last  int
	dice  *rand.Rand
}

func newFaults(seed uint64) *faults {
	return &faults{dice: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))}
}

// AddFault puts a rule behind those that exist and returns its number for
// RemoveFault. Delays of several matching rules add up; of the others the first
// one that matches is carried out. Errors: ErrBadRule.
func (s *Sim) AddFault(r Rule) (id int, err error) {
	if err := r.valid(); err != nil {
		return 0, err
	}
	f := s.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last++
	r.Match.Token = strings.ToLower(r.Match.Token)
	f.rules = append(f.rules, &rule{Rule: r, id: f.last})
	return f.last, nil
}

// RemoveFault takes a rule away. What it delays or leaves hanging stays so.
// Errors: ErrUnknownFault.
func (s *Sim) RemoveFault(id int) error {
	f := s.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.rules, func(r *rule) bool { return r.id == id })
	if i < 0 {
		return fmt.Errorf("%w: %d", ErrUnknownFault, id)
	}
	f.rules = slices.Delete(f.rules, i, i+1)
	return nil
}

// ClearFaults takes all rules away.
func (s *Sim) ClearFaults() {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.rules = nil
}

// FaultStatus is a rule and how often it hit.
type FaultStatus struct {
	ID   int
	Rule Rule
	Hits int
}

// Faults lists the rules.
func (s *Sim) Faults() []FaultStatus {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	list := make([]FaultStatus, 0, len(s.faults.rules))
	for _, r := range s.faults.rules {
		list = append(list, FaultStatus{ID: r.id, Rule: r.Rule, Hits: r.hits})
	}
	return list
}

// refuseTLS says whether a handshake is to fail.
func (f *faults) refuseTLS(env Environment) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rules {
		if r.Action.Fault == RefuseTLS && r.fits("", "", env) && f.hit(r) {
			return true
		}
	}
	return false
}

// connection returns what the rules of a kind want of a new connection: the sum
// of their latencies, 0 if none hits.
func (f *faults) connection(kind Fault, env Environment) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	total := time.Duration(0)
	for _, r := range f.rules {
		if r.Action.Fault == kind && r.fits("", "", env) && f.hit(r) {
			total += f.latency(r.Action)
		}
	}
	return total
}

// latency draws a latency. f.mu is held.
func (f *faults) latency(a Action) time.Duration {
	if a.Jitter == 0 {
		return a.Latency
	}
	return a.Latency + time.Duration(f.dice.Int64N(int64(a.Jitter)+1))
}

// pick returns what to do with a request: how long to wait first, and then
// which fault, if any. accepted says that the checks found nothing wrong.
func (f *faults) pick(p *push, accepted bool) (wait time.Duration, act *Action) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rules {
		kind := r.Action.Fault
		skip := kind.ofConnection() || kind == Respond && !accepted || kind != Delay && act != nil
		if skip || !r.fits(strings.ToLower(p.token.hex), cmp.Or(p.topic, p.req.get("apns-topic")), p.req.env) || !f.hit(r) {
			continue
		}
		if kind == Delay {
			wait += f.latency(r.Action)
			continue
		}
		a := r.Action
		act = &a
	}
	return wait, act
}

func (r *rule) fits(token, topic string, env Environment) bool {
	m := r.Match
	return (m.Token == "" || m.Token == token) &&
		(m.Topic == "" || m.Topic == topic) &&
		(m.Environment == "" || m.Environment == env)
}

// hit counts a request that fits and decides whether the rule applies to it.
// f.mu is held.
func (f *faults) hit(r *rule) bool {
	m := r.Match
	r.seen++
	switch {
	case m.Times > 0 && r.hits >= m.Times,
		m.Nth > 1 && r.seen%m.Nth != 0,
		m.Probability > 0 && f.dice.Float64() >= m.Probability:
		return false
	}
	r.hits++
	return true
}
