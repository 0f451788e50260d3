package locationtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"wakebridge/sipua/location"
)

// Store is a location.Store in memory for tests, whose disk can fail and hang.
// The zero Store is ready.
type Store struct {
	mu      sync.Mutex
	state   location.State
	commits int
	err     error
	hang    chan struct{}
}

// Fail lets every following Commit and Load fail with err, or work again with nil.
func (s *Store) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// Hang lets every following Commit wait until release is called (or its context
// ends): a slow disk.
func (s *Store) Hang() (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hang := make(chan struct{})
	s.hang = hang
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.hang == hang {
			s.hang = nil
		}
		close(hang)
	})
}

// Commits is how many batches were committed.
func (s *Store) Commits() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commits
}

// Load implements location.Store.
func (s *Store) Load(context.Context) (location.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return location.State{}, s.err
	}
	out := location.State{Fates: slices.Clone(s.state.Fates)}
	for _, d := range s.state.Devices {
		out.Devices = append(out.Devices, stored(d))
	}
	return out, nil
}

// Commit implements location.Store.
func (s *Store) Commit(ctx context.Context, b location.Batch) error {
	s.mu.Lock()
	hang := s.hang
	s.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return fmt.Errorf("commit: %w", context.Cause(ctx))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.commits++
	gone := func(ref location.Ref) {
		s.state.Devices = slices.DeleteFunc(s.state.Devices, func(d location.Device) bool { return d.Ref() == ref })
	}
	forgotten := func(ref location.FateRef) {
		s.state.Fates = slices.DeleteFunc(s.state.Fates, func(f location.Fate) bool { return f.Ref() == ref })
	}
	for _, d := range b.Put {
		gone(d.Ref())
		s.state.Devices = append(s.state.Devices, stored(d))
	}
	for _, ref := range b.Delete {
		gone(ref)
	}
	for _, f := range b.PutFates {
		forgotten(f.Ref())
		s.state.Fates = append(s.state.Fates, storedFate(f))
	}
	for _, ref := range b.DeleteFates {
		forgotten(ref)
	}
	return nil
}

// stored is what a store gives back for d: no flows, times in UTC milliseconds,
// no memory shared with d.
func stored(d location.Device) location.Device {
	d.Wakeable = false
	d.Bindings = slices.Clone(d.Bindings)
	for i := range d.Bindings {
		b := &d.Bindings[i]
		b.Flow = 0
		b.Path = slices.Clone(b.Path)
		millis(&b.Expires, &b.Registered)
	}
	millis(&d.LastSeen, &d.LoggedOut, &d.LogoutDue, &d.TokensDue, &d.Health.LastAccepted, &d.Health.LastRefused,
		&d.Push.VoIP.Updated, &d.Push.Alert.Updated)
	return d
}

func storedFate(f location.Fate) location.Fate {
	millis(&f.ExpiresAt, &f.Recorded, &f.KeepUntil)
	return f
}

func millis(times ...*time.Time) {
	for _, t := range times {
		if !t.IsZero() {
			*t = time.UnixMilli(t.UnixMilli()).UTC()
		}
	}
}
