package memnet

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"time"
)

// Impairment is what one direction between two hosts does to traffic. The zero value does nothing. Streams feel
// loss as retransmission (200 ms, doubling each time); reordering and duplication are for datagrams only.
type Impairment struct {
	// Loss is the probability, 0 to 1, that a datagram or a stream's segment is lost. At 1 streams stand still
	// until it is lowered.
	Loss float64
	// Delay is the time under way.
	Delay time.Duration
	// Jitter adds an evenly distributed time of 0 to Jitter. It keeps the order: that is Reorder's business.
	Jitter time.Duration
	// Reorder is the probability, 0 to 1, that a datagram is held back by ReorderBy, so that later ones overtake it.
	Reorder float64
	// ReorderBy is how long. Default: 25ms, one RTP packet and a bit.
	ReorderBy time.Duration
	// Duplicate is the probability, 0 to 1, that a datagram arrives twice.
	Duplicate float64
}

const (
	defaultReorderBy = 25 * time.Millisecond
	firstRetransmit  = 200 * time.Millisecond // Linux's least retransmission time-out
	maxRetransmits   = 6                      // a segment arrives at last after that many
)

// pair is a direction; an invalid address stands for every host.
type pair struct{ from, to netip.Addr }

type pathKey struct {
	protocol string
	pair
}

// links are the properties of the paths between hosts.
type links struct {
	paths       map[pathKey]*path
	impairments map[pair]Impairment
	cuts        map[pair]bool
	held        []*segment // of streams, waiting for their path to come back
}

// path remembers what order and luck need.
type path struct {
	rng     *rand.Rand
	lastDue time.Time
}

// Impair sets what happens to traffic from one host to another, for what is sent from now on. An invalid (zero)
// address means every host; the most exact rule counts: both named, sender named, receiver named, neither. Hosts
// behind a NAT are named by their inside address. The zero Impairment removes the rule.
func (n *Network) Impair(from, to netip.Addr, i Impairment) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := pair{from.Unmap(), to.Unmap()}
	if i == (Impairment{}) {
		delete(n.links.impairments, key)
	} else {
		n.links.impairments[key] = i
	}
	n.release()
}

// ImpairBoth is Impair in both directions.
func (n *Network) ImpairBoth(a, b netip.Addr, i Impairment) {
	n.Impair(a, b, i)
	n.Impair(b, a, i)
}

// Partition cuts two hosts off from each other, both directions: datagrams are lost, streams stand still without
// an error and go on after [Network.Heal]. An invalid (zero) address means every host. What is already under way
// arrives.
func (n *Network) Partition(a, b netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links.cuts[pair{a.Unmap(), b.Unmap()}] = true
	n.links.cuts[pair{b.Unmap(), a.Unmap()}] = true
}

// Heal takes back the Partition of the same two addresses. What streams held back is sent now.
func (n *Network) Heal(a, b netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.links.cuts, pair{a.Unmap(), b.Unmap()})
	delete(n.links.cuts, pair{b.Unmap(), a.Unmap()})
	n.release()
}

// cut says whether nothing passes from one host to the other.
func (l *links) cut(p pair) bool {
	if len(l.cuts) == 0 {
		return false
	}
	none := netip.Addr{}
	return l.cuts[p] || l.cuts[pair{p.from, none}] || l.cuts[pair{none, p.to}] || l.cuts[pair{}]
}

func (l *links) impairment(p pair) Impairment {
	if len(l.impairments) == 0 {
		return Impairment{}
	}
	none := netip.Addr{}
	for _, key := range [...]pair{p, {p.from, none}, {none, p.to}, {}} {
		if i, ok := l.impairments[key]; ok {
			return i
		}
	}
	return Impairment{}
}

func (n *Network) path(protocol string, p pair) *path {
	key := pathKey{protocol, p}
	if known := n.links.paths[key]; known != nil {
		return known
	}
	h := fnv.New64a()
	from, to := p.from.As16(), p.to.As16()
	for _, part := range [][]byte{[]byte(protocol), from[:], to[:]} {
		h.Write(binary.BigEndian.AppendUint16(nil, uint16(len(part))))
		h.Write(part)
	}
	made := &path{rng: newRand(n.opts.Seed, h.Sum64())}
	n.links.paths[key] = made
	return made
}

// happens draws from the path's luck, but only if there is something to draw for.
func (p *path) happens(probability float64) bool {
	return probability > 0 && p.rng.Float64() < probability
}

// delay draws a time under way.
func (p *path) delay(i Impairment) time.Duration {
	if i.Jitter <= 0 {
		return i.Delay
	}
	return i.Delay + time.Duration(p.rng.Int64N(int64(i.Jitter)+1))
}

// packetDue draws when a datagram that leaves now arrives.
func (p *path) packetDue(i Impairment, now time.Time) time.Time {
	due := now.Add(p.delay(i))
	if p.happens(i.Reorder) {
		by := i.ReorderBy
		if by <= 0 {
			by = defaultReorderBy
		}
		return due.Add(by)
	}
	if due.Before(p.lastDue) {
		due = p.lastDue
	}
	p.lastDue = due
	return due
}

// segmentDelay draws a time under way for a part of a stream, retransmissions included.
func (p *path) segmentDelay(i Impairment) time.Duration {
	d, again := p.delay(i), firstRetransmit
	for range maxRetransmits {
		if !p.happens(i.Loss) {
			break
		}
		d, again = d+again, 2*again
	}
	return d
}
