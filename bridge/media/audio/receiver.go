package audio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/pion/rtp"
)

const (
	// maxPause is the longest gap in the timestamps that becomes silence in the
	// recording; a longer one is a sender that started anew.
	maxPause = 10 * SampleRate
	// defaultLimit bounds a recording whose owner names no limit.
	defaultLimit = 10 * time.Minute
	// recent is how many sequence numbers back a duplicate is known as one.
	recent = 64
)

// Received is what a Receiver received.
type Received struct {
	Packets, Octets uint64 // of known codecs, without duplicates; octets of payload
	Lost            uint64 // missing in the sequence numbers, over all senders
	Duplicates      uint64
	Late            uint64 // came after a later one, and were put in place
	Other           uint64 // RTCP, other payload types, no RTP
	Senders         int    // SSRCs, one after the other
	SSRC            uint32 // the newest
	PayloadType     uint8  // of the newest packet
	First, Last     time.Time
}

// Receiver records RTP with G.711 as samples: each packet is placed by its
// timestamp, so that late packets come into order and lost ones are silence.
// Its methods may be called from any goroutine, also while it runs.
type Receiver struct {
	conn  net.PacketConn
	limit int // samples
	heard chan struct{}

	mu      sync.Mutex
	samples []int16
	stats   Received
	order   order
	lost    uint64 // of senders before the newest
	base    int    // index in samples of baseStamp
	stamp   uint32 // baseStamp
	keyLog
}

// keyLog is what a Receiver noted of telephone events.
type keyLog struct {
	events   uint8 // their payload type; 0: none
	digits   []byte
	pressed  bool   // keyStamp is one
	keyStamp uint32 // of the newest key
}

// NewReceiver makes a receiver that records up to limit (0: 10 min) and then
// only counts. The connection stays the caller's.
func NewReceiver(conn net.PacketConn, limit time.Duration) *Receiver {
	if limit <= 0 {
		limit = defaultLimit
	}
	return &Receiver{conn: conn, limit: int(limit.Seconds() * SampleRate), heard: make(chan struct{})}
}

// Heard is closed when the first packet of sound came.
func (r *Receiver) Heard() <-chan struct{} { return r.heard }

// Samples is a copy of what was recorded so far.
func (r *Receiver) Samples() []int16 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]int16(nil), r.samples...)
}

// Received is what was counted so far.
func (r *Receiver) Received() Received {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Lost = r.lost + r.order.lost()
	return s
}

// Run receives until the connection is closed or ctx is done, which both give
// nil. It ends by the connection's read deadline, which it clears.
func (r *Receiver) Run(ctx context.Context) (err error) {
	ended := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { ended <- r.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer func() {
		if stop() {
			return
		}
		// The function above runs or ran: wait for it, then undo it.
		if e := errors.Join(<-ended, r.conn.SetReadDeadline(time.Time{})); e != nil && !errors.Is(e, net.ErrClosed) && err == nil {
			err = fmt.Errorf("reset read deadline: %w", e)
		}
	}()
	buf := make([]byte, 2048)
	for ctx.Err() == nil {
		n, _, err := r.conn.ReadFrom(buf)
		switch {
		case err == nil:
			r.take(buf[:n], time.Now())
		case errors.Is(err, net.ErrClosed):
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil:
			return nil
		default:
			return fmt.Errorf("receive RTP: %w", err)
		}
	}
	return nil
}

// take records one packet.
func (r *Receiver) take(b []byte, now time.Time) {
	var p rtp.Packet
	err := p.Unmarshal(b)
	r.mu.Lock()
	defer r.mu.Unlock()
	codec := Codec(p.PayloadType)
	known := codec.Known() || r.events != 0 && p.PayloadType == r.events
	if err != nil || p.Version != 2 || !known { // RTCP reads as payload type 64 to 95
		r.stats.Other++
		return
	}
	if r.stats.Senders == 0 || p.SSRC != r.stats.SSRC {
		r.lost += r.order.lost()
		r.order = order{}
		r.stats.Senders++
		r.stats.SSRC = p.SSRC
		r.base, r.stamp = len(r.samples), p.Timestamp
	}
	switch r.order.add(p.SequenceNumber) {
	case duplicate:
		r.stats.Duplicates++
		return
	case late:
		r.stats.Late++
	}
	if !codec.Known() {
		r.press(&p)
		return
	}
	if r.stats.Packets == 0 {
		r.stats.First = now
		close(r.heard)
	}
	r.stats.Last, r.stats.PayloadType = now, p.PayloadType
	r.stats.Packets++
	r.stats.Octets += uint64(len(p.Payload))
	r.place(p.Timestamp, codec.Decode(nil, p.Payload))
}

// place writes samples where their timestamp says.
func (r *Receiver) place(stamp uint32, samples []int16) {
	at := r.base + int(int32(stamp-r.stamp))
	if at > len(r.samples)+maxPause || at < len(r.samples)-maxPause {
		r.base, r.stamp = len(r.samples), stamp
		at = r.base
	}
	if at < 0 { // from before the recording's first packet
		samples = samples[min(-at, len(samples)):]
		at = 0
	}
	end := min(at+len(samples), r.limit)
	if grow := end - len(r.samples); grow > 0 {
		r.samples = append(r.samples, make([]int16, grow)...)
	}
	if at < end {
		copy(r.samples[at:end], samples)
	}
}

// arrival is how a packet stands to those before it.
type arrival uint8

const (
	inOrder arrival = iota
	late
	duplicate
)

// order follows one sender's sequence numbers.
type order struct {
	started       bool
	first, newest int64 // with wraps
	seen          uint64
	packets       int64
}

func (o *order) add(seq uint16) arrival {
	if !o.started {
		*o = order{started: true, first: int64(seq), newest: int64(seq), seen: 1, packets: 1}
		return inOrder
	}
	delta := int64(int16(seq - uint16(o.newest)))
	if delta > 0 {
		o.seen = o.seen<<min(delta, recent) | 1
		o.newest += delta
		o.packets++
		return inOrder
	}
	back := -delta
	if back < recent && o.seen>>back&1 == 1 {
		return duplicate
	}
	if back < recent {
		o.seen |= 1 << back
	}
	o.first = min(o.first, o.newest-back)
	o.packets++
	return late
}

func (o *order) lost() uint64 {
	if !o.started {
		return 0
	}
	return uint64(max(0, o.newest-o.first+1-o.packets))
}
