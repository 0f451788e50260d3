package capture

import (
	"net/netip"
	"sync"
	"time"
)

// kind is what an item is.
type kind uint8

const (
	mediaPacket kind = iota
	signalling
	remark
	kinds
)

// String is the kind as metrics name it.
func (k kind) String() string {
	switch k {
	case mediaPacket:
		return "media"
	case signalling:
		return "signalling"
	case remark:
		return "comment"
	}
	return "unknown"
}

// item is one thing to be written.
type item struct {
	kind       kind
	at         time.Time
	from, to   netip.AddrPort
	text       string // a comment, the transport of signalling, why a packet was refused
	length     int    // of the whole, of which the queue may hold a beginning
	start, end int    // of its data, in that of its batch
}

// What may wait for the writer. Media leaves room for the rest.
const (
	mediaBytes = 256 << 10
	allBytes   = 1 << 20
	mediaItems = 4096
	allItems   = mediaItems + 512
)

// verdict is what becomes of a recording.
type verdict uint8

const (
	undecided verdict = iota
	keep
	discard
)

// batch is what gathered since the last one.
type batch struct {
	items   []item
	data    []byte
	lost    [kinds]uint64 // for want of room here
	verdict verdict
}

// queue is what waits for the writer. Putting something never waits for it.
type queue struct {
	more   chan struct{} // holds one element: there is something new
	urgent chan struct{} // the same: do not wait for more

	mu     sync.Mutex
	now    *batch
	spare  *batch // the writer has given it back
	closed bool
}

func newQueue() queue {
	return queue{more: make(chan struct{}, 1), urgent: make(chan struct{}, 1), now: &batch{}, spare: &batch{}}
}

func (q *queue) put(it item, data []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.now.verdict == discard {
		return
	}
	b, bytes, items := q.now, allBytes, allItems
	if it.kind == mediaPacket {
		bytes, items = mediaBytes, mediaItems
	}
	if len(b.data)+len(data) > bytes || len(b.items) >= items {
		b.lost[it.kind]++
		return
	}
	it.start = len(b.data)
	b.data = append(b.data, data...)
	it.end = len(b.data)
	b.items = append(b.items, it)
	if len(b.items) == 1 {
		ring(q.more)
	}
	if len(b.items) == mediaItems/2 || it.start < mediaBytes/2 && it.end >= mediaBytes/2 {
		ring(q.urgent)
	}
}

func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// end decides, once.
func (q *queue) end(v verdict) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.now.verdict == undecided {
		q.now.verdict = v
		ring(q.more)
		ring(q.urgent)
	}
}

// take gives the writer what gathered. It is the writer's until the next take.
func (q *queue) take() *batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.now
	q.now, q.spare = q.spare, b
	*q.now = batch{items: q.now.items[:0], data: q.now.data[:0], verdict: b.verdict}
	return b
}

// close lets everything that comes later fall.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.now, q.spare = &batch{}, nil
}
