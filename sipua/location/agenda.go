package location

import (
	"container/heap"
	"time"
)

// agenda knows what is due when. Keys are Ref (a device) and FateRef.
type agenda struct {
	at    map[any]*item
	queue items
}

type item struct {
	when time.Time
	key  any
	pos  int // in the queue
}

// set makes key due at when; the zero time takes it off.
func (a *agenda) set(key any, when time.Time) {
	it := a.at[key]
	switch {
	case when.IsZero() && it == nil:
	case when.IsZero():
		heap.Remove(&a.queue, it.pos)
		delete(a.at, key)
	case it == nil:
		it = &item{when: when, key: key}
		a.at[key] = it
		heap.Push(&a.queue, it)
	default:
		it.when = when
		heap.Fix(&a.queue, it.pos)
	}
}

// take removes and returns a key that is due at now.
func (a *agenda) take(now time.Time) (any, bool) {
	when, ok := a.next()
	if !ok || when.After(now) {
		return nil, false
	}
	key := a.queue[0].key
	a.set(key, time.Time{})
	return key, true
}

// next is when the first key is due; false if there is none.
func (a *agenda) next() (time.Time, bool) {
	if len(a.queue) == 0 {
		return time.Time{}, false
	}
	return a.queue[0].when, true
}

type items []*item

func (q items) Len() int           { return len(q) }
func (q items) Less(i, j int) bool { return q[i].when.Before(q[j].when) }
func (q items) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].pos, q[j].pos = i, j
}
func (q *items) Push(x any) {
	it := x.(*item)
	it.pos = len(*q)
	*q = append(*q, it)
}
func (q *items) Pop() any {
	last := len(*q) - 1
	it := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return it
}
