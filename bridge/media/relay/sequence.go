package relay

import "time"

// maxGap is the largest jump of a sequence number that counts as loss; beyond
// it the sender has restarted (RFC 3550 appendix A.1, MAX_DROPOUT).
const maxGap = 3000

// sequence counts the packets of one RTP sender after another (RFC 3550
// appendix A.1, A.3, A.8).
type sequence struct {
	started  bool
	ssrc     uint32
	highest  uint32 // with wraps
	base     uint32
	received uint32
	past     uint64 // lost of senders before this one

	mainType, lastType uint8
	votes              uint32 // majority vote for mainType

	clock     uint32
	lastStamp uint32
	lastAt    time.Time
	jitter    float64 // in clock units
	jitterHz  uint32
	jitterSum float64 // in seconds, of all estimates
	jitters   uint64
}

// add takes one accepted packet; clock is its payload type's rate in Hz, 0 if
// unknown.
func (s *sequence) add(p packet, clock uint32, now time.Time) {
	s.vote(p.payloadType)
	if !s.started || p.ssrc != s.ssrc {
		s.restart(p, now, clock)
		return
	}
	delta := int16(p.sequence - uint16(s.highest))
	switch {
	case delta > maxGap || delta < -maxGap:
		s.restart(p, now, clock)
		return
	case delta > 0:
		s.highest += uint32(delta)
		s.time(p, clock, now)
	case s.highest-uint32(-int32(delta)) < s.base:
		s.base = s.highest - uint32(-int32(delta)) // reordered around the first packet
	}
	s.received++
}

func (s *sequence) restart(p packet, now time.Time, clock uint32) {
	s.past = s.lost()
	s.started, s.ssrc = true, p.ssrc
	s.base = 1<<16 | uint32(p.sequence) // room for packets from before the first
	s.highest = s.base
	s.received = 1
	s.lastType, s.lastStamp, s.lastAt, s.clock = p.payloadType, p.timestamp, now, clock
}

// isNews says that a packet is of a new sender or later than all of this one.
func (s *sequence) isNews(ssrc uint32, seq uint16) bool {
	return !s.started || ssrc != s.ssrc || int16(seq-uint16(s.highest)) > 0 //nolint:gosec // serial number arithmetic, RFC 1982
}

// lost is the packets missing so far.
func (s *sequence) lost() uint64 {
	if !s.started {
		return s.past
	}
	expected := s.highest - s.base + 1
	if s.received >= expected {
		return s.past
	}
	return s.past + uint64(expected-s.received)
}

// time updates the jitter with a packet that came in order. Packets that share
// a timestamp (video, RFC 4733 events) or change the payload type say nothing
// about the network's delay.
func (s *sequence) time(p packet, clock uint32, now time.Time) {
	same := p.payloadType == s.lastType && p.timestamp != s.lastStamp && clock == s.clock
	if same && clock > 0 {
		arrived := now.Sub(s.lastAt).Seconds() * float64(clock)
		sent := float64(int32(p.timestamp - s.lastStamp))
		d := arrived - sent
		if d < 0 {
			d = -d
		}
		s.jitter += (d - s.jitter) / 16
		s.jitterHz = clock
		s.jitterSum += s.jitter / float64(clock)
		s.jitters++
	}
	if same || p.payloadType != s.lastType {
		s.lastType, s.lastStamp, s.lastAt, s.clock = p.payloadType, p.timestamp, now, clock
	}
}

// jitterTime is the jitter as a duration.
func (s *sequence) jitterTime() time.Duration {
	if s.jitterHz == 0 {
		return 0
	}
	return time.Duration(s.jitter / float64(s.jitterHz) * float64(time.Second))
}

// jitterMean is the mean of all estimates.
func (s *sequence) jitterMean() time.Duration {
	if s.jitters == 0 {
		return 0
	}
	return time.Duration(s.jitterSum / float64(s.jitters) * float64(time.Second))
}

// vote keeps the payload type that most packets have (Boyer and Moore).
func (s *sequence) vote(t uint8) {
	switch {
	case s.votes == 0:
		s.mainType, s.votes = t, 1
	case s.mainType == t:
		s.votes++
	default:
		s.votes--
	}
}

// staticClock is the RTP clock of RFC 3551's static payload types (s6, tables
// 4 and 5), 0 for others.
func staticClock(t uint8) uint32 {
	switch t {
	case 0, 3, 4, 5, 7, 8, 9, 12, 13, 15, 18:
		return 8000
	case 6:
		return 16000
	case 16:
		return 11025
	case 17:
		return 22050
	case 10, 11:
		return 44100
	case 14, 25, 26, 28, 31, 32, 33, 34:
		return 90000
	}
	return 0
}
