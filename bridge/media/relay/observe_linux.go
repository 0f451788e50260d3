package relay

// Observe implements Stream.
func (s *wired) Observe(o Observation) { s.observed.Store(newObservation(o)) }
