package apnssim

import (
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
)

// Stats are counters since start.
type Stats struct {
	// Connections ever accepted, and those open now.
	Connections uint64 `json:"connections"`
	Open        uint64 `json:"open"`
	// Refused counts streams over the limit, Pings the PING frames.
	Refused uint64 `json:"refused"`
	Pings   uint64 `json:"pings"`
	// Streams is the highest number of streams at once on one connection.
	Streams uint64 `json:"streams"`
	// ProviderTokens counts the distinct provider tokens that were accepted.
	ProviderTokens uint64 `json:"provider_tokens"`
	// Answers counts the answers by reason, those without one by status.
	Answers map[string]uint64 `json:"answers"`
}

type stats struct {
	connections, open, refusals, pings, peak atomic.Uint64

	mu      sync.Mutex
	answers map[string]uint64
}

// connected returns the number of the new connection, from 1.
func (s *stats) connected() uint64 {
	s.open.Add(1)
	return s.connections.Add(1)
}

func (s *stats) disconnected() { s.open.Add(^uint64(0)) }
func (s *stats) refused()      { s.refusals.Add(1) }
func (s *stats) pinged()       { s.pings.Add(1) }

func (s *stats) streams(n int) {
	for {
		old := s.peak.Load()
		if uint64(n) <= old || s.peak.CompareAndSwap(old, uint64(n)) {
			return
		}
	}
}

// ruled counts an answer. A fault rule's reason may be any, so that the number
// of keys is bounded by the operator of the simulator only.
func (s *stats) ruled(v Verdict) {
	key := v.Reason
	if key == "" {
		key = strconv.Itoa(v.Status)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answers == nil {
		s.answers = make(map[string]uint64)
	}
	s.answers[key]++
}

// Stats returns the counters.
func (s *Sim) Stats() Stats {
	s.stats.mu.Lock()
	answers := maps.Clone(s.stats.answers)
	s.stats.mu.Unlock()
	return Stats{
		Connections:    s.stats.connections.Load(),
		Open:           s.stats.open.Load(),
		Refused:        s.stats.refusals.Load(),
		Pings:          s.stats.pings.Load(),
		Streams:        s.stats.peak.Load(),
		ProviderTokens: s.registry.providerTokens(),
		Answers:        answers,
	}
}
