package media

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"wakebridge/bridge/media/relay"
)

const (
	// defaultQuarantine is how long a port pair rests at least (DESIGN s7).
	defaultQuarantine = 2 * time.Second
	// plentyQuarantine is the rest while ports are plentiful. In a configured
	// range taking the least recently used pair gives it by itself; where the
	// system chooses, it is asked for.
	plentyQuarantine = 30 * time.Second
	// bindTries bounds how many pairs are tried that other programs hold.
	bindTries = 64
)

// lease is a port pair out of the pool: port and port+1.
type lease struct {
	port  uint16
	past  relay.Sender   // who sent to it last
	older []relay.Sender // and before, newest first
}

// sendersMemory is how long a port remembers who sent to it: a phone that keeps its port
// and SSRC from call to call must be heard when it meets the same port again.
const sendersMemory = 10 * time.Minute

// maxOlder bounds the memory of a port.
const maxOlder = 7

// sent notes who sent to a call that is over, newest first.
func (l *lease) sent(by ...relay.Sender) {
	var all []relay.Sender
	for _, s := range slices.Concat(by, []relay.Sender{l.past}, l.older) {
		if s.Source.IsValid() && !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	if len(all) > 0 {
		l.past, l.older = all[0], all[1:min(len(all), 1+maxOlder)]
	}
}

type resting struct {
	lease
	since time.Time // zero: never used
}

// ports hands out the port pairs of one bound address. A pair is either out,
// or resting in the queue, least recently used first.
type ports struct {
	network Network
	addr    netip.Addr
	chosen  bool // the system chooses: no queue
	rest    time.Duration

	mu     sync.Mutex
	queue  []resting            // configured range
	rested map[uint16]time.Time // chosen: resting even ports, since when
}

// newPorts makes the pool of start..end, or of the system's ports if both are
// 0. The order is random at first: who guesses ports gets no help.
func newPorts(network Network, addr netip.Addr, start, end uint16, rest time.Duration) *ports {
	p := &ports{network: network, addr: addr, rest: rest}
	if start == 0 && end == 0 {
		p.chosen, p.rest, p.rested = true, max(rest, plentyQuarantine), make(map[uint16]time.Time)
		return p
	}
	for port := uint32(start) + uint32(start)%2; port+1 <= uint32(end); port += 2 {
		p.queue = append(p.queue, resting{lease: lease{port: uint16(port)}})
	}
	rand.Shuffle(len(p.queue), func(i, j int) { p.queue[i], p.queue[j] = p.queue[j], p.queue[i] })
	return p
}

// take is the pair that rests longest, if it rested enough.
func (p *ports) take(now time.Time) (lease, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return lease{}, false
	}
	head := p.queue[0]
	if !head.since.IsZero() && now.Sub(head.since) < p.rest {
		return lease{}, false
	}
	p.queue = p.queue[1:]
	if now.Sub(head.since) > sendersMemory {
		head.past, head.older = relay.Sender{}, nil
	}
	return head.lease, true
}

// give returns a pair to rest from now on.
func (p *ports) give(l lease, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.chosen {
		p.queue = append(p.queue, resting{l, now})
		return
	}
	for port, since := range p.rested {
		if now.Sub(since) >= p.rest {
			delete(p.rested, port)
		}
	}
	p.rested[l.port] = now
}

// fresh says that a pair the system chose is not resting.
func (p *ports) fresh(port uint16, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	since, used := p.rested[port]
	return !used || now.Sub(since) >= p.rest
}

// open binds a pair. Errors wrap ErrNoPorts and the last reason.
func (p *ports) open() (relay.Pair, lease, error) {
	if p.chosen {
		return p.openChosen()
	}
	var last error
	for range bindTries {
		l, ok := p.take(time.Now())
		if !ok {
			return relay.Pair{}, lease{}, noPorts(last)
		}
		pair, err := p.bind(l.port)
		if err == nil {
			return pair, l, nil
		}
		p.give(l, time.Now()) // another program's, for now
		last = err
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			break
		}
	}
	return relay.Pair{}, lease{}, noPorts(last)
}

func noPorts(cause error) error {
	if cause == nil {
		return ErrNoPorts
	}
	return fmt.Errorf("%w: %w", ErrNoPorts, cause)
}

func (p *ports) bind(port uint16) (relay.Pair, error) {
	rtp, err := p.network.ListenPacket(netip.AddrPortFrom(p.addr, port))
	if err != nil {
		return relay.Pair{}, err
	}
	rtcp, err := p.network.ListenPacket(netip.AddrPortFrom(p.addr, port+1))
	if err != nil {
		return relay.Pair{}, errors.Join(err, rtp.Close())
	}
	return relay.Pair{RTP: rtp, RTCP: rtcp}, nil
}

// openChosen asks the system for ports until one has its neighbour free.
func (p *ports) openChosen() (_ relay.Pair, _ lease, err error) {
	var spare []net.PacketConn // kept until the end, so that each try gets another port
	defer func() {
		for _, c := range spare {
			err = errors.Join(err, c.Close())
		}
	}()
	var last error
	for range bindTries {
		one, err := p.network.ListenPacket(netip.AddrPortFrom(p.addr, 0))
		if err != nil {
			return relay.Pair{}, lease{}, noPorts(err)
		}
		at, err := netip.ParseAddrPort(one.LocalAddr().String())
		if err != nil {
			return relay.Pair{}, lease{}, errors.Join(noPorts(err), one.Close())
		}
		port := at.Port()
		even := port &^ 1
		if !p.fresh(even, time.Now()) {
			spare = append(spare, one)
			continue
		}
		other, err := p.network.ListenPacket(netip.AddrPortFrom(p.addr, port^1))
		if err != nil {
			spare, last = append(spare, one), err
			continue
		}
		if port != even {
			one, other = other, one
		}
		return relay.Pair{RTP: one, RTCP: other}, lease{port: even}, nil
	}
	return relay.Pair{}, lease{}, noPorts(last)
}
