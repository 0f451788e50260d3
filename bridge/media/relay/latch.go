package relay

import (
	"net/netip"
	"time"
)

const (
	// latchWindow is how long after the first acceptable packet the source may
	// still change (DESIGN s7).
	latchWindow = 2 * time.Second
	// latchQuiet is how long the learned source must have been silent before an
	// equally good one may replace it: a phone that moves passes, one that
	// shoots between a talking phone's packets does not.
	latchQuiet = 200 * time.Millisecond
	// latchQuietAgain is the same in a call that goes on, for one that does not go on with
	// the SSRC of before: who shares a talking phone's public address must not take its
	// place in a pause between words, only because signalling opened the latch again. During
	// a hold no pause is long enough.
	latchQuietAgain = time.Second
)

// rank says how well a packet's source fits what signalling said.
type rank uint8

const (
	rankNone      rank = iota // a stranger
	rankSignalled             // the address that signalling comes from
	rankHost                  // the SDP address, another port
	rankExact                 // the SDP address and port
)

// latch learns where a stream's packets really come from (RFC 7362), and
// refuses all others. It is a value: take returns the next one and leaves the
// old one to him who finds the packet bad after all.
type latch struct {
	want     netip.AddrPort // by SDP
	signal   netip.Addr     // by signalling's source; zero: none
	source   netip.AddrPort // learned; zero: nothing came yet
	ssrc     uint32         // of the last packet taken
	rank     rank           // of source
	heard    time.Time      // last packet taken
	strictAt time.Time      // zero: no packet was taken since answer or reopening
	answered bool
	again    bool // reopened: source is from before
	held     bool // the far end sends nothing now, it says
	loose    bool // never strict
	// proven is who talked before one without its SSRC took its place, for want of anything
	// better; zero: nobody did. If it talks again, it was no move.
	proven Sender
}

// rankOf judges a source by what signalling said, whatever was learned.
func (l latch) rankOf(from netip.AddrPort) rank {
	host := from.Addr().WithZone("")
	switch {
	case host == l.want.Addr().WithZone("") && from.Port() == l.want.Port():
		return rankExact
	case host == l.want.Addr().WithZone(""):
		return rankHost
	case l.signal.IsValid() && host == l.signal:
		return rankSignalled
	}
	return rankNone
}

// strict says that only the learned source is believed.
func (l latch) strict(now time.Time) bool {
	return !l.loose && !l.strictAt.IsZero() && !now.Before(l.strictAt)
}

// take judges a packet by its source. If ok the caller stores next, once it knows that the
// packet is good otherwise.
func (l latch) take(from Sender, now time.Time) (next latch, ok bool) {
	r := l.rankOf(from.Source)
	if l.returns(from, r) {
		l.proven, l.source = Sender{}, from.Source
	}
	switch {
	case l.strict(now):
		if from.Source != l.source {
			return l, false
		}
		l.heard, l.ssrc = now, from.SSRC
		return l, true
	case r == rankNone || r < l.rank:
		return l, false
	case from.Source != l.source:
		if r <= max(l.rank, l.rankOf(l.source)) {
			if !l.mayFollow(from, now) {
				return l, false
			}
			if l.again && from.SSRC != l.ssrc && !l.proven.Source.IsValid() {
				l.proven = Sender{l.source, l.ssrc}
			}
		}
		l.source = from.Source
	}
	return l.heardFrom(from, r, now), true
}

// mayFollow says that a source which is no better may take the learned one's place,
// because that is silent.
func (l latch) mayFollow(from Sender, now time.Time) bool {
	quiet := now.Sub(l.heard)
	if l.again && from.SSRC != l.ssrc {
		return !l.held && quiet >= latchQuietAgain
	}
	return quiet >= latchQuiet
}

// returns says that a packet is of him whose place another took.
func (l latch) returns(from Sender, r rank) bool {
	known := l.proven.Source.IsValid() && (from.Source == l.proven.Source || from.SSRC == l.proven.SSRC)
	return known && r != rankNone && r >= l.rank
}

// heardFrom is the latch after a packet that it takes.
func (l latch) heardFrom(from Sender, r rank, now time.Time) latch {
	l.rank, l.heard, l.ssrc = r, now, from.SSRC
	if l.answered && l.strictAt.IsZero() {
		l.strictAt = now.Add(latchWindow)
	}
	return l
}

// moved is the latch after a packet that proved, by its key, who sent it: wherever
// it came from, that is where the far end is now (DESIGN s7).
func (l latch) moved(from Sender, now time.Time) latch {
	l.source, l.proven = from.Source, Sender{}
	return l.heardFrom(from, rankExact, now)
}

// signalled is the latch after signalling named an address: a new one forgets
// what was learned, the same one opens the latch again.
func (l latch) signalled(want netip.AddrPort, signal netip.Addr) latch {
	if l.want == want && l.signal == signal {
		return l.reopened()
	}
	return latch{want: want, signal: signal, answered: l.answered, held: l.held, loose: l.loose}
}

// reopened is the latch that may learn again but sends where it sent until it
// does: a NAT may show the same phone at the same address, but at other ports, after
// a hold or a lost connection. While the learned source talks, only a better one
// takes its place.
func (l latch) reopened() latch {
	l.rank, l.strictAt = rankNone, time.Time{}
	l.again = l.source.IsValid()
	return l
}

// target is where packets to the far end go, zero if nowhere yet: the learned
// source, before that the SDP address.
func (l latch) target() netip.AddrPort {
	if l.source.IsValid() {
		return l.source
	}
	if l.hidden() || l.want.Addr().IsUnspecified() || l.want.Port() == 0 {
		return netip.AddrPort{}
	}
	return l.want
}

// hidden says that the SDP address cannot be the one behind the signalling's
// source: a private address inside some other network, where a packet would
// reach nobody or the wrong one. A host name, which nobody resolves, is hidden too.
func (l latch) hidden() bool {
	if !l.want.Addr().IsValid() {
		return true
	}
	return l.signal.IsValid() && private(l.want.Addr()) && !private(l.signal)
}

// private says that an address means something only near its owner: RFC 1918,
// loopback, link-local, unique local, and the carriers' shared space (RFC 6598).
func private(a netip.Addr) bool {
	if a.Is4() {
		if b := a.As4(); b[0] == 100 && b[1]&0xc0 == 64 {
			return true
		}
	}
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast()
}
