package location

import (
	"context"
	"fmt"
	"maps"
)

// dirty is what memory has and the journal has not.
type dirty struct {
	devices map[Ref]struct{}
	fates   map[FateRef]struct{}
}

// Flush commits everything applied so far in one transaction: when it returns
// nil, all of it survives a crash. When it fails, memory goes on as it is and
// the next Flush tries again with what this one could not write. Calls wait
// for each other; ctx bounds the wait too. The error wraps the store's or
// ctx's.
func (m *Memory) Flush(ctx context.Context) error {
	select {
	case m.flushing <- struct{}{}:
		defer func() { <-m.flushing }()
	case <-ctx.Done():
		return fmt.Errorf("waiting for the journal: %w", context.Cause(ctx))
	}
	batch, taken := m.take()
	if batch.Len() == 0 {
		return nil
	}
	if err := m.store.Commit(ctx, batch); err != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		maps.Copy(m.dirty.devices, taken.devices)
		maps.Copy(m.dirty.fates, taken.fates)
		return fmt.Errorf("writing the journal: %w", err)
	}
	return nil
}

// take returns what is dirty, as it is now, and marks it clean.
func (m *Memory) take() (Batch, dirty) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b Batch
	for ref := range m.dirty.devices {
		if d := m.device(ref); d != nil {
			b.Put = append(b.Put, d.clone())
		} else {
			b.Delete = append(b.Delete, ref)
		}
	}
	for ref := range m.dirty.fates {
		if f := m.fates[ref.Device][ref.UUID]; f != nil {
			b.PutFates = append(b.PutFates, *f)
		} else {
			b.DeleteFates = append(b.DeleteFates, ref)
		}
	}
	taken := m.dirty
	m.dirty = dirty{devices: map[Ref]struct{}{}, fates: map[FateRef]struct{}{}}
	return b, taken
}
