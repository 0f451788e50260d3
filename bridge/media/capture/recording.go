package capture

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"wakebridge/bridge/media/relay"
)

// Message is one message of signalling.
type Message struct {
	At        time.Time
	From, To  netip.AddrPort
	Transport string // "UDP", "TCP", "TLS"
	Data      []byte // as on the wire; a copy is kept
	// Begins says that it may belong to a call that nobody knows yet.
	Begins bool
}

// Recording is the capture of one call while that goes on. All methods may be called
// from any goroutine and only queue; those of a nil Recording do nothing.
type Recording struct {
	store *Store
	id    string
	keys  []string // by store.mu

	queue   queue
	refused atomic.Int64 // packets that were not believed
	visible atomic.Int64 // bytes of the file that can be read
	pages   pages        // the writer's
}

func newRecording(s *Store, id string) *Recording {
	r := &Recording{store: s, id: id, queue: newQueue()}
	r.pages.limit = s.cfg.MaxBytes / share
	return r
}

// Claim makes messages with this key the recording's; see Store.Message.
func (r *Recording) Claim(key string) {
	if r != nil {
		r.store.claim(key, r)
	}
}

// Message adds a message.
func (r *Recording) Message(m Message) {
	if r != nil {
		r.queue.put(item{kind: signalling, at: m.At, from: m.From, to: m.To, text: m.Transport, length: len(m.Data)}, m.Data)
	}
}

// longestComment bounds a comment, in octets.
const longestComment = 1000

// Comment adds what happened besides the packets.
func (r *Recording) Comment(at time.Time, text string) {
	if r != nil {
		r.queue.put(item{kind: remark, at: at, text: strings.ToValidUTF8(text[:min(len(text), longestComment)], "")}, nil)
	}
}

// Plain says that media is captured as SRTP holds it: relay.Observation.
func (r *Recording) Plain() bool { return r.store.cfg.Decrypt }

// mostRefused is how many packets that were not believed a call's capture has: enough
// to see who sends them, too few to drown it.
const mostRefused = 200

// See implements relay.Observer. Of what was refused, headers are enough.
func (r *Recording) See(p relay.Seen) {
	data := p.Data
	if p.Refused || !r.store.cfg.Whole && !p.RTCP {
		data = data[:headerLen(data)]
	}
	it := item{kind: mediaPacket, at: p.At, from: p.From, to: p.To, length: len(p.Data)}
	if p.Refused {
		if r.refused.Add(1) > mostRefused {
			return
		}
		it.text = "refused: " + p.Reason.String()
	}
	r.queue.put(it, data)
}

// End says that the call is over, and whether it failed. What is said of it within
// the next two seconds still counts. Only the first call has an effect.
func (r *Recording) End(hasFailed bool) {
	if r == nil {
		return
	}
	v := discard
	if hasFailed || r.store.cfg.Calls == All {
		v = keep
	}
	r.queue.end(v)
}

// lastWords is how long after its end a call is still recorded: the answer to the last
// BYE comes after it.
const lastWords = 2 * time.Second

// gathering is how long a writer lets things gather before it writes them.
const gathering = 50 * time.Millisecond

// run is the writer's goroutine.
func (r *Recording) run() {
	defer r.store.forget(r)
	defer r.queue.close()
	defer func() { // a fault of ours costs this capture only
		if fault := recover(); fault != nil {
			r.abandon(fmt.Errorf("fault: %v", fault))
			r.store.metrics.calls.WithLabelValues(failed).Inc()
		}
	}()
	var over <-chan time.Time
	for last := false; !last; {
		select {
		case <-r.queue.more:
			pause := time.NewTimer(gathering)
			select {
			case <-pause.C:
			case <-r.queue.urgent:
			case <-r.store.quit:
			}
			pause.Stop()
		case <-over:
			last = true
		case <-r.store.quit:
			last = true
		}
		b := r.queue.take()
		if b.verdict == discard {
			r.discard()
			return
		}
		r.write(b)
		if b.verdict == keep && over == nil {
			over = time.After(lastWords)
		}
	}
	r.finish()
}

// write adds a batch to the file.
func (r *Recording) write(b *batch) {
	for i := range b.lost {
		r.lose(kind(i), b.lost[i]) //nolint:gosec // three kinds
	}
	// Several goroutines put things in, each with a time from before it waited.
	slices.SortStableFunc(b.items, func(x, y item) int { return x.at.Compare(y.at) })
	p := &r.pages
	for i := range b.items {
		it := &b.items[i]
		data := b.data[it.start:it.end]
		if it.kind == signalling && r.store.cfg.Redact != nil {
			r.store.cfg.Redact(data)
		}
		if !r.add(it, data) {
			r.lose(it.kind, 1)
		}
	}
	if p.broken || p.file == nil {
		return
	}
	if err := p.flush(); err != nil {
		r.abandon(err)
		return
	}
	r.visible.Store(p.written)
}

func (r *Recording) lose(k kind, n uint64) {
	if n > 0 {
		r.pages.lost[k] += n
		r.store.metrics.lost.WithLabelValues(k.String()).Add(float64(n))
	}
}

// add writes one item; false if that is lost.
func (r *Recording) add(it *item, data []byte) bool {
	p := &r.pages
	if p.broken {
		return false
	}
	if !r.fits(it, len(data)) {
		if it.kind == mediaPacket && !p.full {
			p.full = true
			r.add(&item{kind: remark, at: it.at, text: "no media from here on: the capture is full (capture.max_bytes)"}, nil)
		}
		return false
	}
	var err error
	if p.file == nil {
		err = p.open(r.store.disk.part(r.id), r.title())
	}
	if err == nil {
		err = p.add(it, data)
	}
	if err != nil {
		r.abandon(err)
	}
	return err == nil
}

// fits says whether an item still has room, in the call's share, of which the last
// eighth is for what is no media, and in the store; and takes that room.
func (r *Recording) fits(it *item, size int) bool {
	p := &r.pages
	need := int64(size + 2*len(it.text) + blockOverhead) // a comment stands there twice
	if p.file == nil {
		need += fileOverhead
	}
	limit := p.limit
	if it.kind == mediaPacket {
		limit -= limit / 8
	}
	if p.promised+need > limit {
		return false
	}
	ok, err := r.store.disk.room(need)
	r.store.trouble("make room", err)
	if ok {
		p.promised += need
	}
	return ok
}

// title is the file's comment.
func (r *Recording) title() header {
	c := r.store.cfg
	text := "Call " + r.id + ". Secrets in SIP and SDP are blanked. SIP over TCP and TLS is shown as UDP. "
	if c.Whole {
		text += "RTP is whole"
	} else {
		text += "Of RTP there are the headers"
	}
	if c.Decrypt {
		return header{c.Version, text + "; what came as SRTP is decrypted."}
	}
	return header{c.Version, text + "; SRTP is as on the wire."}
}

// abandon gives the file up because of an error.
func (r *Recording) abandon(err error) {
	p := &r.pages
	p.broken = true
	r.visible.Store(0)
	r.store.trouble("write", errors.Join(err, p.close(), r.store.disk.drop(r.id, p.promised)))
	p.promised = 0
}

// discard ends a recording that nobody wants.
func (r *Recording) discard() {
	p := &r.pages
	r.visible.Store(0)
	r.store.trouble("remove", errors.Join(p.close(), r.store.disk.drop(r.id, p.promised)))
	r.store.metrics.calls.WithLabelValues(discarded).Inc()
}

// finish makes a capture of what was written.
func (r *Recording) finish() {
	p := &r.pages
	if p.file != nil {
		err := p.finish(time.Now())
		if err == nil {
			err = r.store.disk.keep(stored{r.id, p.written, time.Now()}, p.promised)
		}
		if err != nil {
			r.abandon(err)
		}
	}
	if p.broken || p.file == nil {
		r.store.metrics.calls.WithLabelValues(failed).Inc()
		return
	}
	r.store.recovered()
	r.store.metrics.calls.WithLabelValues(kept).Inc()
}

// open opens what can be read by now.
func (r *Recording) open() (*File, error) {
	size := r.visible.Load()
	if size == 0 {
		return nil, ErrNone
	}
	f, err := os.Open(r.store.disk.part(r.id))
	if err != nil {
		return nil, err // it was finished, or given up, in this moment
	}
	return &File{Reader: io.LimitReader(f, size), Size: size, file: f}, nil
}
