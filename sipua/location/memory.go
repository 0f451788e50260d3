package location

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"wakebridge/sipua"
)

// Memory holds the devices of all AORs and the fates of their calls. All its
// methods may be called from any goroutine and none but Flush waits for
// anything; what they return are copies. Make it with NewMemory.
type Memory struct {
	store Store
	rules Rules

	mu      sync.RWMutex
	entries map[sipua.AOR]*entry
	byFlow  index[FlowID]
	byToken index[string]
	fates   map[Ref]map[string]*Fate // by uuid
	toldOn  map[FateRef]FlowID       // see TakeFates
	seq     uint64
	due     agenda
	refresh agenda // when devices are to be asked to register again
	dirty   dirty
	dead    deadTokens

	flushing chan struct{} // holds one element: the right to write to store
}

type entry struct {
	devices  map[string]*Device
	watchers []*watcher
	pending  []Change // applied, not yet released
}

// index finds devices by something they have.
type index[K comparable] map[K]map[Ref]struct{}

func (x index[K]) add(k K, r Ref) {
	if x[k] == nil {
		x[k] = map[Ref]struct{}{}
	}
	x[k][r] = struct{}{}
}

func (x index[K]) remove(k K, r Ref) {
	delete(x[k], r)
	if len(x[k]) == 0 {
		delete(x, k)
	}
}

// refs lists the devices under k in a fixed order.
func (x index[K]) refs(k K) []Ref {
	return slices.SortedFunc(maps.Keys(x[k]), compareRefs)
}

func compareRefs(a, b Ref) int {
	return cmp.Or(cmp.Compare(a.AOR.Domain, b.AOR.Domain), cmp.Compare(a.AOR.User, b.AOR.User), cmp.Compare(a.Key, b.Key))
}

// NewMemory loads what store holds. The error wraps the store's.
func NewMemory(ctx context.Context, store Store, rules Rules) (*Memory, error) {
	state, err := store.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading the devices: %w", err)
	}
	m := &Memory{
		store:    store,
		rules:    rules.withDefaults(),
		entries:  map[sipua.AOR]*entry{},
		byFlow:   index[FlowID]{},
		byToken:  index[string]{},
		fates:    map[Ref]map[string]*Fate{},
		toldOn:   map[FateRef]FlowID{},
		due:      agenda{at: map[any]*item{}},
		refresh:  agenda{at: map[any]*item{}},
		dirty:    dirty{devices: map[Ref]struct{}{}, fates: map[FateRef]struct{}{}},
		flushing: make(chan struct{}, 1),
	}
	if m.dead, err = newDeadTokens(); err != nil {
		return nil, err
	}
	now := time.Now()
	for _, d := range state.Devices {
		d = revive(d, m.rules.Grace, now)
		if spelled := d.Push.canonical(); spelled != d.Push { // of a version that kept tokens as they were sent
			d.Push = spelled
			m.dirty.devices[d.Ref()] = struct{}{}
		}
		m.entry(d.AOR).devices[d.Key] = &d
		m.reindex(&d)
	}
	for _, f := range state.Fates {
		// The call died with the process that recorded the fate.
		if f.KeepUntil.IsZero() {
			f.KeepUntil = now.Add(m.rules.FateTTL)
		}
		f.KeepUntil = onClock(f.KeepUntil, now)
		if f.Told {
			m.toldOn[f.Ref()] = flowBefore
		}
		m.putFate(f)
	}
	return m, nil
}

// onClock gives a stored time a monotonic reading, so that a jump of the wall
// clock moves no deadline.
func onClock(t, now time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return now.Add(t.Sub(now))
}

// revive makes a stored device fit for this process: no flow survived, and
// nothing was seen in the future, whatever the clock said then.
func revive(d Device, grace time.Duration, now time.Time) Device {
	d = d.clone()
	past := func(t time.Time) time.Time {
		if t.After(now) {
			return now
		}
		return onClock(t, now)
	}
	for i := range d.Bindings {
		b := &d.Bindings[i]
		b.Flow = 0
		lease := b.Expires.Sub(b.Registered)
		if b.Registered.After(now) {
			b.Expires = now.Add(lease)
		}
		b.Registered, b.Expires = past(b.Registered), onClock(b.Expires, now)
	}
	d.LastSeen = past(d.LastSeen)
	for _, t := range []*Token{&d.Push.VoIP, &d.Push.Alert} {
		held := t.NotBefore.Sub(t.Throttled)
		if t.Throttled = past(t.Throttled); !t.NotBefore.IsZero() {
			t.NotBefore = t.Throttled.Add(min(held, lastBackOff))
		}
	}
	for _, t := range []*time.Time{&d.Push.VoIP.Updated, &d.Push.Alert.Updated, &d.Health.LastAccepted, &d.Health.LastRefused,
		&d.Health.LastVoIP, &d.Health.LastRefresh, &d.Health.Reached, &d.LoggedOut} {
		*t = past(*t)
	}
	for _, t := range []*time.Time{&d.LogoutDue, &d.TokensDue} {
		if !t.IsZero() && t.Sub(now) > grace {
			*t = now.Add(grace)
		}
		*t = onClock(*t, now)
	}
	return d
}

// Devices returns the devices of aor, the one last seen first.
func (m *Memory) Devices(aor sipua.AOR) []Device {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.devices(aor)
}

// Device returns one device; false if it is not known.
func (m *Memory) Device(ref Ref) (Device, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	d := m.device(ref)
	if d == nil {
		return Device{}, false
	}
	return m.snapshot(d), true
}

// OnFlow returns the devices, of one AOR or several, that have a binding over flow.
func (m *Memory) OnFlow(flow FlowID) []Device {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var out []Device
	for _, ref := range m.byFlow.refs(flow) {
		out = append(out, m.snapshot(m.device(ref)))
	}
	return out
}

// AORs returns the AORs that have a device, sorted.
func (m *Memory) AORs() []sipua.AOR {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := make([]sipua.AOR, 0, len(m.entries))
	for aor, e := range m.entries {
		if len(e.devices) > 0 {
			out = append(out, aor)
		}
	}
	slices.SortFunc(out, func(a, b sipua.AOR) int { return compareRefs(Ref{AOR: a}, Ref{AOR: b}) })
	return out
}

// Stats counts what Memory holds.
type Stats struct {
	AORs, Devices, Wakeable, Bindings, Awake, Fates int // Awake: devices with a flow
	Suspected                                       int // see Device.Suspected
	Uncommitted                                     int // devices and fates the journal does not have yet
}

// Stats counts; it looks at every device.
func (m *Memory) Stats() Stats {
	m.mu.RLock()
	defer m.mu.RUnlock()
	now := time.Now()
	s := Stats{Uncommitted: len(m.dirty.devices) + len(m.dirty.fates)}
	for _, e := range m.entries {
		if len(e.devices) > 0 {
			s.AORs++
		}
		for _, d := range e.devices {
			s.Devices++
			s.Bindings += len(d.Bindings)
			if m.rules.Wakeable(*d, now) {
				s.Wakeable++
			}
			if d.Suspected() {
				s.Suspected++
			}
			if _, awake := d.Flow(); awake {
				s.Awake++
			}
		}
	}
	for _, byUUID := range m.fates {
		s.Fates += len(byUUID)
	}
	return s
}

// NextDue is when the next Expire has something to do; false if nothing waits.
func (m *Memory) NextDue() (time.Time, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.due.next()
}

// Fates returns what is known of calls that the device missed, the oldest
// first, told or not.
func (m *Memory) Fates(device Ref) []Fate {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.fatesOf(device, time.Now())
}

// flowBefore stands for the flow over which the process before told a fate, if it did:
// no flow of ours has this number.
const flowBefore FlowID = math.MaxUint64

// TakeFates returns the fates that the device has not been told yet, the oldest
// first, and notes that it is told them over flow. One that it was told over another
// flow, or by the process before, is returned again: that answer may have gone down
// with its connection, and an app that hears of an end twice ignores the second. With
// flow 0 each fate is returned once.
func (m *Memory) TakeFates(device Ref, flow FlowID) []Fate {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := slices.DeleteFunc(m.fatesOf(device, time.Now()), func(f Fate) bool {
		on := m.toldOn[f.Ref()]
		return f.Told && (on == 0 || flow == 0 || on == flow)
	})
	for i := range out {
		ref := out[i].Ref()
		if flow != 0 {
			m.toldOn[ref] = flow
		}
		if !out[i].Told {
			out[i].Told = true
			m.putFate(out[i])
			m.dirty.fates[ref] = struct{}{}
		}
	}
	return out
}

func (m *Memory) fatesOf(device Ref, now time.Time) []Fate {
	var out []Fate
	for _, f := range m.fates[device] {
		if f.KeepUntil.IsZero() || f.KeepUntil.After(now) {
			out = append(out, *f)
		}
	}
	slices.SortFunc(out, func(a, b Fate) int {
		return cmp.Or(a.Recorded.Compare(b.Recorded), cmp.Compare(a.UUID, b.UUID))
	})
	return out
}

func (m *Memory) putFate(f Fate) {
	ref := f.Ref()
	if m.fates[ref.Device] == nil {
		m.fates[ref.Device] = map[string]*Fate{}
	}
	m.fates[ref.Device][ref.UUID] = &f
	m.due.set(ref, f.KeepUntil)
}

// entry is the entry of aor, made if it is not there.
func (m *Memory) entry(aor sipua.AOR) *entry {
	e := m.entries[aor]
	if e == nil {
		e = &entry{devices: map[string]*Device{}}
		m.entries[aor] = e
	}
	return e
}

// dropIfEmpty forgets an entry that holds nothing.
func (m *Memory) dropIfEmpty(aor sipua.AOR) {
	if e := m.entries[aor]; e != nil && len(e.devices) == 0 && len(e.watchers) == 0 {
		delete(m.entries, aor)
	}
}

func (m *Memory) device(ref Ref) *Device {
	if e := m.entries[ref.AOR]; e != nil {
		return e.devices[ref.Key]
	}
	return nil
}

func (m *Memory) devices(aor sipua.AOR) []Device {
	e := m.entries[aor]
	if e == nil {
		return nil
	}
	out := make([]Device, 0, len(e.devices))
	for _, d := range e.devices {
		out = append(out, m.snapshot(d))
	}
	slices.SortFunc(out, func(a, b Device) int {
		return cmp.Or(b.LastSeen.Compare(a.LastSeen), cmp.Compare(a.Key, b.Key))
	})
	return out
}

// snapshot is a copy of d as it is now: without bindings that ran out but were
// not cleared away yet.
func (m *Memory) snapshot(d *Device) Device {
	now := time.Now()
	out := d.clone()
	out.Bindings = slices.DeleteFunc(out.Bindings, func(b Binding) bool { return !b.Expires.After(now) })
	out.Wakeable = m.rules.Wakeable(out, now)
	return out
}

// reindex enters d in the indices and the agenda.
func (m *Memory) reindex(d *Device) {
	ref := d.Ref()
	for _, b := range d.Bindings {
		if b.Flow != 0 {
			m.byFlow.add(b.Flow, ref)
		}
	}
	for _, t := range []Token{d.Push.VoIP, d.Push.Alert} {
		if !t.IsZero() {
			m.byToken.add(t.Value, ref)
		}
	}
	m.due.set(ref, m.rules.due(*d))
	m.refresh.set(ref, m.rules.RefreshAt(*d))
}

// unindex takes d out of the indices; the agenda is set by the reindex that
// follows, or by forgetting the device.
func (m *Memory) unindex(d *Device) {
	ref := d.Ref()
	for _, b := range d.Bindings {
		m.byFlow.remove(b.Flow, ref)
	}
	for _, t := range []Token{d.Push.VoIP, d.Push.Alert} {
		m.byToken.remove(t.Value, ref)
	}
}
