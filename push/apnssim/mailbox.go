package apnssim

import (
	"bytes"
	"container/heap"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// storageTime is how long a push without apns-expiration is kept.
const storageTime = 30 * 24 * time.Hour

// parcel is an accepted push on its way to a device.
type parcel struct {
	Delivery
	device *Device
	seq    uint64    // in the journal
	until  time.Time // when it stops being worth a try; zero: one try only
	// late is not 0 when the push is kept although its time is over, and says
	// how long after the device's return it comes.
	late time.Duration
}

// deliver sends an accepted push on its way, if background pushes are not too
// many and the network does not lose it.
func (s *Sim) deliver(p *push, seq uint64) {
	if p.pushType == "background" && !p.token.background.AllowN(p.now, 1) {
		s.journal.delivery(seq, Throttled)
		return
	}
	way := s.network.roll()
	if way.lost {
		s.journal.delivery(seq, Lost)
		return
	}
	v := newParcel(p, seq)
	v.late = way.late
	if way.twice {
		double := *v
		s.dispatch(&double, s.cfg.NetDelay)
	}
	s.dispatch(v, s.cfg.NetDelay+way.hold)
}

func (s *Sim) dispatch(v *parcel, delay time.Duration) {
	if delay == 0 {
		v.device.arrive(v)
		return
	}
	s.courier.send(delay, v)
}

func newParcel(p *push, seq uint64) *parcel {
	v := &parcel{
		device: p.token.device,
		seq:    seq,
		Delivery: Delivery{
			APNsID:     p.apnsID,
			Token:      p.token.hex,
			Bundle:     p.bundle,
			Topic:      p.topic,
			PushType:   p.pushType,
			Priority:   p.priority,
			Expiration: p.expiration,
			Payload:    bytes.Clone(p.req.body),
			ReceivedAt: p.req.received,
		},
	}
	switch {
	case p.expiration.IsZero():
		v.until = p.now.Add(storageTime)
	case p.expiration.After(p.now):
		v.until = p.expiration
	}
	return v
}

// arrive is a parcel at the device's door.
func (d *Device) arrive(v *parcel) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.sim.cfg.Now()
	if t, ok := d.sim.registry.token(v.Token); !ok || t.state != Active {
		d.sim.journal.delivery(v.seq, Dropped)
		return
	}
	switch {
	case d.online:
		d.hand(v, now)
	case v.late > 0:
		d.store(v)
	case v.until.IsZero():
		d.sim.journal.delivery(v.seq, Dropped)
	case !now.Before(v.until):
		d.sim.journal.delivery(v.seq, Lapsed)
	default:
		d.store(v)
	}
}

// store keeps one parcel per bundle, the latest sent. d.mu is held.
func (d *Device) store(v *parcel) {
	old := d.stored[v.Bundle]
	if old != nil && old.seq > v.seq { // v was on its way when the device left again
		d.sim.journal.delivery(v.seq, Replaced)
		return
	}
	if old != nil && old.seq != v.seq {
		d.sim.journal.delivery(old.seq, Replaced)
	}
	d.stored[v.Bundle] = v
	d.sim.journal.delivery(v.seq, Stored)
}

// collect sends on what was stored, but for what expired. d.mu is held.
func (d *Device) collect() {
	now := d.sim.cfg.Now()
	for bundle, v := range d.stored {
		delete(d.stored, bundle)
		delay := d.sim.cfg.NetDelay
		if !now.Before(v.until) {
			if v.late == 0 {
				d.sim.journal.delivery(v.seq, Lapsed)
				continue
			}
			delay += v.late
		}
		if delay == 0 {
			d.hand(v, now)
			continue
		}
		d.sim.courier.send(delay, v)
	}
}

// hand gives a parcel to the device's owner. d.mu is held.
func (d *Device) hand(v *parcel, now time.Time) {
	d.sim.journal.delivery(v.seq, Handed)
	d.last++
	v.Seq, v.DeliveredAt = d.last, now
	if len(d.history) == feedSize {
		d.history = append(d.history[:0], d.history[1:]...)
	}
	d.history = append(d.history, v.Delivery)
	for sent := false; !sent; {
		select {
		case d.feed <- v.Delivery:
			sent = true
		default:
			select { // full: make room, unless the reader just did
			case <-d.feed:
			default:
			}
		}
	}
	close(d.changed)
	d.changed = make(chan struct{})
}

// courier brings parcels to devices after a delay, those with the same due time
// in the order they were sent.
type courier struct {
	mu    sync.Mutex
	queue dueHeap
	sent  uint64
	wake  chan struct{} // holds one token when the queue got a new head
}

func newCourier() *courier { return &courier{wake: make(chan struct{}, 1)} }

func (c *courier) send(d time.Duration, v *parcel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent++
	heap.Push(&c.queue, due{at: time.Now().Add(d), order: c.sent, parcel: v})
	if c.queue[0].parcel == v {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// run delivers until done is closed.
func (c *courier) run(done <-chan struct{}) {
	for {
		v, due := c.next()
		if v != nil {
			v.device.arrive(v)
			continue
		}
		select {
		case <-due:
		case <-c.wake:
		case <-done:
			return
		}
	}
}

// next takes the parcel that is due, or returns a channel that fires when one
// is; with nothing queued it never does.
func (c *courier) next() (*parcel, <-chan time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return nil, nil
	}
	if wait := time.Until(c.queue[0].at); wait > 0 {
		return nil, time.After(wait)
	}
	return heap.Pop(&c.queue).(due).parcel, nil
}

// due is a parcel and its time.
type due struct {
	at     time.Time
	order  uint64
	parcel *parcel
}

// dueHeap implements heap.Interface, earliest first.
type dueHeap []due

func (h dueHeap) Len() int { return len(h) }
func (h dueHeap) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].order < h[j].order
}
func (h dueHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)   { *h = append(*h, x.(due)) }
func (h *dueHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// newUniqueID makes an apns-unique-id, which Apple's sandbox adds to responses.
func newUniqueID() string { return strings.ToUpper(uuid.NewString()) }
