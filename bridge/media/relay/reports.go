package relay

import (
	"encoding/binary"
	"sync"
	"time"
)

// RTCP passes from end to end, so that no report is about the relay. What passes
// tells the time to each end all the same: a receiver report names the sender report
// that its author got last, and how long ago; when that one passed here is known.

// Heard is what the far end reports of what was sent to it (RFC 3550 s6.4.1).
type Heard struct {
	// Reports counts the report blocks, Empty the sender and receiver reports that had
	// none: their author received nothing since its last one.
	Reports uint64 `json:"reports"`
	Empty   uint64 `json:"empty,omitempty"`
	// Lost is the number of packets that it misses, those included that were lost on
	// their way to us. It counts over at most 8 SSRCs.
	Lost uint64 `json:"lost"`
	// Jitter is the mean of what it reported; 0 where our clock for it is unknown.
	Jitter time.Duration `json:"jitter_ns"`
}

// RoundTrip is the time from us to the far end and back, without what the far end
// took to answer. Up to 2 ms of it may be ours (packets are gathered).
type RoundTrip struct {
	Samples uint64        `json:"samples"`
	Newest  time.Duration `json:"newest_ns"`
	Mean    time.Duration `json:"mean_ns"`
	Max     time.Duration `json:"max_ns"`
}

const (
	rtcpSR    = 200
	rtcpRR    = 201
	rtcpInfo  = 28 // what an SR has before its blocks
	rtcpBlock = 24

	// maxReported is how many SSRCs of one far end's reports are told apart; blocks
	// about others count for nothing but the round trip.
	maxReported = 8
	// maxTold is how many sender reports to one far end are remembered: the newest
	// 40 s of one sender, as often as RFC 3550 lets it report.
	maxTold = 8
	// maxTrip and maxReportedJitter bound what is believed.
	maxTrip           = 30 * time.Second
	maxReportedJitter = 10 * time.Second
	// tripSlack is how far below zero a round trip may come out: the far end's clock
	// for DLSR may be coarse.
	tripSlack = 50 * time.Millisecond
	// maxAveraged bounds how many values a mean is of, so that no sum overflows.
	maxAveraged = 1 << 20
)

// senderReport is what must be remembered of an SR that is passed on: the middle 32
// bits of its NTP time, which answers repeat as LSR, and the RTP clock of its author
// in Hz, 0 if unknown. The zero value is none.
type senderReport struct {
	middle uint32
	clock  uint32
}

// told remembers the sender reports that were passed on to one far end. The partner's
// goroutine writes, the stream's own reads; that is once in seconds.
type told struct {
	mu   sync.Mutex
	last [maxTold]struct {
		senderReport
		at time.Time
	}
	n uint
}

// add notes a report that goes out now.
func (t *told) add(r senderReport, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	entry := &t.last[t.n%maxTold]
	entry.senderReport, entry.at = r, at
	t.n++
}

// find is when the report that LSR names went out, zero if it is unknown, and the
// clock of the newest one.
func (t *told) find(lsr uint32) (at time.Time, clock uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == 0 {
		return time.Time{}, 0
	}
	clock = t.last[(t.n-1)%maxTold].clock
	for i := range t.last {
		if lsr != 0 && t.last[i].middle == lsr {
			return t.last[i].at, t.last[i].clock
		}
	}
	return time.Time{}, clock
}

// reports reads the RTCP of one far end. It belongs to the receiver.
type reports struct {
	told    *told
	sources [maxReported]struct{ ssrc, lost uint32 }
	known   int
	heard   Heard
	trip    RoundTrip

	jitterSum, tripSum time.Duration
	jitters            uint64
}

// take reads a compound packet that checkRTCP let pass, and returns the first sender
// report in it. Reports whose blocks do not fit into their length are left out.
func (r *reports) take(pkt []byte, at time.Time) (first senderReport) {
	for len(pkt) >= rtcpFixed {
		n := 4 * (int(binary.BigEndian.Uint16(pkt[2:])) + 1)
		if n < rtcpFixed || n > len(pkt) {
			return first
		}
		blocks, head := int(pkt[0]&0x1f), rtcpFixed
		kind := pkt[1]
		if kind == rtcpSR {
			head = rtcpInfo
		}
		if (kind == rtcpSR || kind == rtcpRR) && head+blocks*rtcpBlock <= n {
			if kind == rtcpSR && first.middle == 0 {
				first.middle = binary.BigEndian.Uint32(pkt[10:])
			}
			if blocks == 0 {
				r.heard.Empty++
			}
			for i := range blocks {
				r.block(pkt[head+i*rtcpBlock:], at)
			}
		}
		pkt = pkt[n:]
	}
	return first
}

// block reads one report block, b being at least as long.
func (r *reports) block(b []byte, at time.Time) {
	r.heard.Reports++
	r.loss(binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])&0xffffff)
	sent, clock := r.told.find(binary.BigEndian.Uint32(b[16:]))
	if clock > 0 {
		r.jitter(time.Duration(binary.BigEndian.Uint32(b[12:])) * time.Second / time.Duration(clock))
	}
	if !sent.IsZero() {
		held := time.Duration(binary.BigEndian.Uint32(b[20:])) * time.Second / 65536
		r.roundTrip(at.Sub(sent) - held)
	}
}

// loss notes the cumulative number of packets lost, 24 bits with a sign: duplicates
// make it negative.
func (r *reports) loss(ssrc, lost uint32) {
	if lost&0x800000 != 0 {
		lost = 0
	}
	for i := range r.sources[:r.known] {
		if r.sources[i].ssrc == ssrc {
			r.sources[i].lost = lost
			return
		}
	}
	if r.known < maxReported {
		r.sources[r.known].ssrc, r.sources[r.known].lost = ssrc, lost
		r.known++
	}
}

func (r *reports) jitter(j time.Duration) {
	if j > maxReportedJitter || r.jitters == maxAveraged {
		return
	}
	r.jitterSum += j
	r.jitters++
}

func (r *reports) roundTrip(d time.Duration) {
	if d < -tripSlack || d > maxTrip || r.trip.Samples == maxAveraged {
		return
	}
	d = max(d, 0)
	r.tripSum += d
	r.trip.Samples++
	r.trip.Newest, r.trip.Max = d, max(r.trip.Max, d)
}

// snapshot is what came of it.
func (r *reports) snapshot() (Heard, RoundTrip) {
	heard, trip := r.heard, r.trip
	for _, s := range r.sources[:r.known] {
		heard.Lost += uint64(s.lost)
	}
	if r.jitters > 0 {
		heard.Jitter = r.jitterSum / time.Duration(r.jitters) //nolint:gosec // at most maxAveraged
	}
	if trip.Samples > 0 {
		trip.Mean = r.tripSum / time.Duration(trip.Samples) //nolint:gosec // at most maxAveraged
	}
	return heard, trip
}
