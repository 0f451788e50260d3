package location

import (
	"container/heap"
	"time"
)

// agenda knows what is due when. Keys are Ref and FateRef. A key is moved to a
// later time lazily, when its old time comes, so that a refresh every minute of
// a binding of a week costs one map write.
type agenda struct {
	at    map[any]time.Time // what holds
	queue items             // at least one item not later than at[key] for each key
}

type item struct {
	when time.Time
	key  any
}

// set makes key due at when; the zero time takes it off.
func (a *agenda) set(key any, when time.Time) {
	old, known := a.at[key]
	if when.IsZero() {
		delete(a.at, key)
		return
	}
	a.at[key] = when
	if !known || when.Before(old) {
		heap.Push(&a.queue, item{when, key})
	}
}

// take removes and returns a key that is due at now.
func (a *agenda) take(now time.Time) (any, bool) {
	for len(a.queue) > 0 && !a.queue[0].when.After(now) {
		it := heap.Pop(&a.queue).(item)
		when, ok := a.at[it.key]
		switch {
		case !ok:
		case when.After(now):
			if when.After(it.when) {
				heap.Push(&a.queue, item{when, it.key})
			}
		default:
			delete(a.at, it.key)
			return it.key, true
		}
	}
	return nil, false
}

// next is the time of the earliest item, which may turn out to be moved.
func (a *agenda) next() (time.Time, bool) {
	if len(a.queue) == 0 {
		return time.Time{}, false
	}
	return a.queue[0].when, true
}

type items []item

func (q items) Len() int           { return len(q) }
func (q items) Less(i, j int) bool { return q[i].when.Before(q[j].when) }
func (q items) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *items) Push(x any)        { *q = append(*q, x.(item)) }
func (q *items) Pop() any {
	last := len(*q) - 1
	it := (*q)[last]
	(*q)[last] = item{}
	*q = (*q)[:last]
	return it
}
