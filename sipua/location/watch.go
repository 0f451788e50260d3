package location

import (
	"slices"

	"wakebridge/sipua"
)

type watcher struct {
	since uint64 // changes up to this one are in the snapshot it got
	post  func(Change)
}

// Watch returns the devices of aor and calls post for each later change of
// them, in order, from the goroutine that releases it, until stop is called.
// Nothing falls between the two, and nothing comes twice. post must not block
// and must not call Memory (it holds Memory's lock): it puts the change into a
// mailbox. After stop has returned post is not called any more; stop may be
// called again.
func (m *Memory) Watch(aor sipua.AOR, post func(Change)) (now []Device, stop func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entry(aor)
	w := &watcher{since: m.seq, post: post}
	e.watchers = append(e.watchers, w)
	return m.devices(aor), func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		e.watchers = slices.DeleteFunc(e.watchers, func(other *watcher) bool { return other == w })
		if len(e.watchers) == 0 {
			e.pending = nil
		}
		if m.entries[aor] == e {
			m.dropIfEmpty(aor)
		}
	}
}

// deliver posts e's pending changes up to seq.
func (e *entry) deliver(upTo uint64) {
	for len(e.pending) > 0 && e.pending[0].Seq <= upTo {
		c := e.pending[0]
		e.pending = e.pending[1:]
		for _, w := range e.watchers {
			if c.Seq > w.since {
				own := c // each watcher owns what it gets
				own.Device = c.Device.clone()
				w.post(own)
			}
		}
	}
	if len(e.pending) == 0 {
		e.pending = nil
	}
}
