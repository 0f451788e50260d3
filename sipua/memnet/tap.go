package memnet

import (
	"net/netip"
	"slices"
	"time"
)

// Packet is what a [Network.Tap] sees: a datagram or a piece of a stream, when its outcome is known.
type Packet struct {
	// Sent and At are when it left and when it arrived or was lost.
	Sent, At time.Time
	// Protocol is "udp" or "tcp".
	Protocol string
	// Src and Dst are what the receiver sees: behind a NAT that is the mapped source and the inside destination.
	// Of packets that do not arrive, Dst is what the sender wrote.
	Src, Dst netip.AddrPort
	// Flag says what a piece of a stream is. Datagrams are FlagData.
	Flag Flag
	// Data is the payload. It must not be changed.
	Data []byte
	// Outcome says what became of it.
	Outcome Outcome
}

// Flag is the kind of a stream's segment, after TCP's flags.
type Flag uint8

// Kinds of segments.
const (
	FlagData Flag = iota
	FlagSYN
	FlagSYNACK
	FlagFIN
	FlagRST
)

// Outcome is what became of a packet.
type Outcome string

// Outcomes.
const (
	Delivered   Outcome = "delivered"
	Lost        Outcome = "lost"        // by impairment, partition or [Conn.Blackhole]
	Unreachable Outcome = "unreachable" // nobody is bound there, or a private address behind another NAT
	Filtered    Outcome = "filtered"    // a NAT has no mapping for it, or not for this source
	Overflow    Outcome = "overflow"    // the receiver's queue was full
)

type tap struct{ see func(Packet) }

// Tap calls see with each packet whose outcome becomes known, in order, until remove is called. The network is
// locked meanwhile: see must not block and must not call the network or its connections.
func (n *Network) Tap(see func(Packet)) (remove func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := &tap{see}
	n.taps = append(n.taps, t)
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.taps = slices.DeleteFunc(n.taps, func(o *tap) bool { return o == t })
	}
}

func (n *Network) tell(p Packet) {
	if len(n.taps) == 0 {
		return
	}
	p.At = time.Now()
	for _, t := range n.taps {
		t.see(p)
	}
}
