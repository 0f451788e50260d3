package capture

import (
	"testing"
	"time"
)

func put(q *queue, k kind, octets int) { q.put(item{kind: k, at: time.Now()}, make([]byte, octets)) }

// A full queue says what it lost; media leaves room for the rest.
func TestQueue(t *testing.T) {
	q := newQueue()
	for range 300 {
		put(&q, mediaPacket, 1024)
	}
	for range 10 {
		put(&q, signalling, 60000)
		put(&q, signalling, 20000)
		put(&q, remark, 0)
	}
	b := q.take()
	if len(b.data) > allBytes || b.lost[mediaPacket] != 300-mediaBytes/1024 || b.lost[signalling] != 1 || b.lost[remark] != 0 {
		t.Errorf("%d octets, %v lost", len(b.data), b.lost)
	}
	if b = q.take(); len(b.items) != 0 || b.lost != [kinds]uint64{} {
		t.Errorf("%+v", b)
	}
	for range 10000 {
		put(&q, mediaPacket, 1)
		put(&q, remark, 0)
	}
	if b = q.take(); len(b.items) != allItems || b.lost[mediaPacket] == 0 {
		t.Errorf("%d items, %v lost", len(b.items), b.lost)
	}
}

// Whoever watches for the bell hears it for the first item, and the urgent one when
// half is used.
func TestQueueRings(t *testing.T) {
	q := newQueue()
	rang := func(bell chan struct{}) bool {
		select {
		case <-bell:
			return true
		default:
			return false
		}
	}
	put(&q, mediaPacket, 1)
	if !rang(q.more) || rang(q.urgent) {
		t.Error("first")
	}
	put(&q, mediaPacket, 1)
	if rang(q.more) || rang(q.urgent) {
		t.Error("second")
	}
	for range 130 {
		put(&q, mediaPacket, 1024)
	}
	if rang(q.more) || !rang(q.urgent) {
		t.Error("half")
	}
	q.take()
	put(&q, signalling, 1)
	if !rang(q.more) {
		t.Error("first of the next batch")
	}
	q.end(discard)
	if !rang(q.more) || !rang(q.urgent) {
		t.Error("verdict")
	}
	q.end(keep)
	put(&q, signalling, 1)
	if b := q.take(); b.verdict != discard || len(b.items) != 1 {
		t.Errorf("%+v", b)
	}
	q.close()
	put(&q, signalling, 1)
	if b := q.now; len(b.items) != 0 {
		t.Errorf("%+v", b)
	}
}

func TestNoAllocationPerItem(t *testing.T) {
	q := newQueue()
	data := make([]byte, 172)
	for range 2 {
		for range 1200 {
			q.put(item{kind: mediaPacket}, data)
		}
		q.take()
	}
	if n := testing.AllocsPerRun(500, func() { q.put(item{kind: mediaPacket}, data) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
