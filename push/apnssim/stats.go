package apnssim

import "sync/atomic"

// Stats are counters since start.
type Stats struct {
	// Connections ever accepted, and those open now.
	Connections, Open uint64
	// Refused counts streams over the limit, Pings the PING frames answered.
	Refused, Pings uint64
	// Streams is the highest number of streams at once on one connection.
	Streams uint64
}

type stats struct{ connections, open, refusals, pings, peak atomic.Uint64 }

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

// Stats returns the counters.
func (s *Sim) Stats() Stats {
	return Stats{
		Connections: s.stats.connections.Load(),
		Open:        s.stats.open.Load(),
		Refused:     s.stats.refusals.Load(),
		Pings:       s.stats.pings.Load(),
		Streams:     s.stats.peak.Load(),
	}
}
