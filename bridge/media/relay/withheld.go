package relay

// withheld counts the packets of a far end that we kept from its partner (Held,
// Converted) and that the partner misses by the sequence numbers (RFC 3550 appendix
// A.3): those between the first and the last of a sender that passed. Nobody misses
// what was kept before the first one, nor yet what was kept since the last. It belongs
// to the receiver.
type withheld struct {
	partner Stream
	total   uint64

	started bool
	ssrc    uint32 // as it came
	name    uint32 // as the newest one that passed went out
	newest  int64  // sequence number with wraps, of passed and kept ones
	passed  bool   // any
	first   int64  // of those that passed; only later ones are missed
	last    int64
	since   uint64 // kept, later than last
}

// take notes an RTP packet that passed to the partner, under the SSRC name, or was kept
// from it. A partner that is another one misses nothing yet, nor does one to whom the
// sender is another: it was named anew (srtp.Sender).
func (w *withheld) take(partner Stream, p packet, name uint32, kept bool) {
	if partner != w.partner {
		*w = withheld{partner: partner}
	} else if !kept && w.passed && name != w.name {
		*w = withheld{partner: partner, total: w.total}
	}
	before := w.newest
	seq := w.extended(p.ssrc, p.sequence)
	if !kept {
		w.name = name
	}
	switch {
	case kept && (!w.passed || seq == before): // the same one again
	case kept && seq > w.last:
		w.since++
	case kept && seq > w.first && seq < w.last:
		w.total++ // came late
	case kept:
	case !w.passed:
		w.passed, w.first, w.last = true, seq, seq
	case seq > w.last:
		w.last = seq
		if seq == w.newest { // else later ones are among since
			w.total += w.since
			w.since = 0
		}
	}
}

// extended is a sequence number with wraps. Another sender, and one that restarts,
// begins anew.
func (w *withheld) extended(ssrc uint32, seq uint16) int64 {
	ahead := int64(int16(seq - uint16(w.newest))) //nolint:gosec // serial number arithmetic, RFC 1982
	if !w.started || ssrc != w.ssrc || ahead > maxGap || ahead < -maxGap {
		*w = withheld{partner: w.partner, total: w.total, started: true, ssrc: ssrc, newest: int64(seq)}
		return w.newest
	}
	w.newest = max(w.newest, w.newest+ahead)
	return w.newest + min(ahead, 0)
}
