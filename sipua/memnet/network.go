// Package memnet is a network in memory for tests: datagrams and byte streams between addresses that exist
// only inside a [Network], with loss, delay, reordering, duplication, partitions and NAT that change while it runs.
//
// It is made for testing/synctest: whoever waits here waits in a channel, so virtual time moves on, and all
// delays are timers of package time. Make the Network inside the bubble that uses it, and give Dial contexts
// made there. Outside a bubble it works in real time.
//
//	synctest.Test(t, func(t *testing.T) {
//		network := memnet.New(memnet.Options{Seed: 1})
//		phone, pbx := netip.MustParseAddr("192.168.1.10"), netip.MustParseAddr("10.0.0.5")
//		nat, err := network.NAT(netip.MustParseAddr("203.0.113.7"), memnet.NATOptions{}, phone)
//		...
//		network.ImpairBoth(phone, pbx, memnet.Impairment{Delay: 40 * time.Millisecond, Loss: 0.05})
//		server, err := network.Host(pbx).ListenPacket(netip.MustParseAddrPort("0.0.0.0:5060"))
//		...
//		err = nat.Rebind(netip.MustParseAddr("198.51.100.1")) // the phone leaves its Wi-Fi
//	})
//
// Two properties hold without impairments: a stream delivers exactly the bytes written, in order, and a datagram
// is delivered at most once (it is lost only if nobody is bound to its destination or the receiver's queue is
// full). With zero delay, delivery happens inside the sender's call.
//
// Randomness is drawn per path (protocol, sending host, receiving host) from [Options.Seed]: the n-th packet of a
// path has the same luck in each run, whatever other paths do.
package memnet

import (
	"math/rand/v2"
	"net/netip"
	"sync"
)

// Options shape a [Network]. The zero value is usable.
type Options struct {
	// Seed starts the randomness of every path.
	Seed uint64
	// StreamBuffer is how many bytes one direction of a stream holds, in flight and unread together, before its
	// writer blocks. Default: 65536.
	StreamBuffer int
	// PacketQueue is how many datagrams wait unread in one packet connection before more are dropped. Default: 1024.
	PacketQueue int
	// Backlog is how many established streams wait for Accept before the network ignores a SYN, which the dialler
	// repeats each second. Default: 128.
	Backlog int
}

// Network is a set of addresses that reach each other. All methods may be called at any time from any goroutine.
type Network struct {
	opts Options

	mu        sync.Mutex // guards everything below and all that hangs on it; never held while waiting
	closed    bool
	packets   map[netip.AddrPort]*PacketConn
	listeners map[netip.AddrPort]*Listener
	streams   map[tuple]*Conn
	nextPort  map[netip.Addr]uint16
	links     links
	nats      nats
	wire      wire
	taps      []*tap
}

// tuple names one end of a stream: its own address first.
type tuple struct{ local, remote netip.AddrPort }

// New makes an empty network.
func New(opts Options) *Network {
	if opts.StreamBuffer <= 0 {
		opts.StreamBuffer = 64 << 10
	}
	if opts.PacketQueue <= 0 {
		opts.PacketQueue = 1024
	}
	if opts.Backlog <= 0 {
		opts.Backlog = 128
	}
	return &Network{
		opts:      opts,
		packets:   map[netip.AddrPort]*PacketConn{},
		listeners: map[netip.AddrPort]*Listener{},
		streams:   map[tuple]*Conn{},
		nextPort:  map[netip.Addr]uint16{},
		links: links{
			paths:       map[pathKey]*path{},
			impairments: map[pair]Impairment{},
			cuts:        map[pair]bool{},
		},
		nats: nats{outside: map[netip.Addr]*NAT{}, behind: map[netip.Addr]*NAT{}},
	}
}

// Close closes every listener, stream and packet connection and forgets what is under way. It returns nil.
func (n *Network) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for _, c := range n.packets {
		c.close()
	}
	for _, l := range n.listeners {
		l.close()
	}
	for _, c := range n.streams {
		c.shut()
	}
	n.links.held = nil
	n.wire.clear()
	return nil
}

// Ephemeral ports, RFC 6335 s6.
const (
	firstEphemeral = 49152
	lastEphemeral  = 65535
)

// port returns a port of addr that free accepts; false when there is none. Ports are handed out in turn, so that
// one that was just closed is not reused at once.
func (n *Network) port(addr netip.Addr, free func(netip.AddrPort) bool) (netip.AddrPort, bool) {
	for range lastEphemeral - firstEphemeral + 1 {
		p := n.nextPort[addr]
		if p < firstEphemeral {
			p = firstEphemeral
		}
		n.nextPort[addr] = p + 1 // wraps to 0 after the last
		if ap := netip.AddrPortFrom(addr, p); free(ap) {
			return ap, true
		}
	}
	return netip.AddrPort{}, false
}

// newRand makes the generator of one path.
func newRand(seed, path uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, path)) }
