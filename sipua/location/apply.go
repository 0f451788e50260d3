package location

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"wakebridge/sipua"
)

// Applied is what an Apply did.
type Applied struct {
	Refs  []Ref // the device of each Upsert and Announce, in their order
	Notes []Note

	mem  *Memory
	upTo map[sipua.AOR]uint64 // the last change of each AOR with watchers
}

// Release tells the watchers what the Apply changed, once. Changes of one AOR
// are told in the order in which they were applied: a Release takes along what
// earlier Applies of the same AOR still hold back.
func (a *Applied) Release() {
	a.mem.mu.Lock()
	defer a.mem.mu.Unlock()
	for aor, seq := range a.upTo {
		if e := a.mem.entries[aor]; e != nil {
			e.deliver(seq)
		}
	}
	a.upTo = nil
}

// Apply changes memory by edits, all of them in one step that no reader sees
// half done. Watchers hear of it by Applied.Release, the journal by Flush.
// Edits that name what is not there do nothing.
func (m *Memory) Apply(edits ...Edit) *Applied {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := applying{Memory: m, now: time.Now(), out: &Applied{mem: m, upTo: map[sipua.AOR]uint64{}}, touched: map[Ref]struct{}{}}
	for i, edit := range edits {
		a.edit = i
		a.one(edit)
	}
	for _, ref := range slices.SortedFunc(maps.Keys(a.touched), compareRefs) {
		if d := m.device(ref); d != nil && !m.rules.keep(*d, a.now) {
			a.remove(d)
		}
	}
	return a.out
}

type applying struct {
	*Memory
	now     time.Time
	out     *Applied
	touched map[Ref]struct{}
	edit    int // the index of the one being applied
}

func (a *applying) one(edit Edit) {
	switch e := edit.(type) {
	case Upsert:
		a.upsert(e)
	case Announce:
		a.announce(e)
	case RemoveBinding:
		a.removeBinding(e)
	case RemoveToken:
		a.removeToken(e)
	case SetEnvironment:
		a.setEnvironment(e)
	case Throttle:
		a.throttle(e)
	case PushReport:
		a.pushReport(e)
	case Reached:
		a.reached(e)
	case Refreshed:
		a.refreshed(e)
	case MarkLoggedOut:
		if d := a.device(Ref{e.AOR, e.Key}); d != nil {
			a.logOut(d, a.orNow(e.At))
		}
	case FlowGone:
		a.flowGone(e.Flow)
	case Expire:
		a.expire(e)
	case PutFate:
		f := e.Fate
		if old := a.fates[f.Ref().Device][f.UUID]; old != nil {
			if old.Cause != f.Cause { // what was told is not true any more
				delete(a.toldOn, f.Ref())
			} else {
				f.Told = f.Told || old.Told
			}
		}
		a.putFate(f)
		a.dirty.fates[f.Ref()] = struct{}{}
	}
}

func (a *applying) orNow(t time.Time) time.Time {
	if t.IsZero() {
		return a.now
	}
	return t
}

// change lets by change d and keeps indices, agenda and journal in step.
func (a *applying) change(d *Device, by func(*Device)) {
	a.unindex(d)
	by(d)
	a.reindex(d)
	a.touched[d.Ref()] = struct{}{}
	a.dirty.devices[d.Ref()] = struct{}{}
}

func (a *applying) remove(d *Device) {
	a.unindex(d)
	a.due.set(d.Ref(), time.Time{})
	a.refresh.set(d.Ref(), time.Time{})
	e := a.entry(d.AOR)
	delete(e.devices, d.Key)
	a.dirty.devices[d.Ref()] = struct{}{}
	a.emit(Removed, d, 0)
	a.dropIfEmpty(d.AOR)
}

// emit holds a change for the watchers of d's AOR until it is released.
func (a *applying) emit(kind ChangeKind, d *Device, flow FlowID) {
	a.seq++
	e := a.entry(d.AOR)
	if len(e.watchers) == 0 {
		return
	}
	e.pending = append(e.pending, Change{Kind: kind, Device: a.snapshot(d), Flow: flow, Seq: a.seq})
	a.out.upTo[d.AOR] = a.seq
}

func (a *applying) note(kind NoteKind, device, by Ref, token string) {
	a.out.Notes = append(a.out.Notes, Note{Kind: kind, Device: device, By: by, Token: mask(token), Edit: a.edit})
}

func (a *applying) upsert(u Upsert) {
	b := u.Binding
	u.Push = u.Push.canonical()
	key, known := MatchDevice(a.devices(u.AOR), b, u.Push.VoIP.Value, u.Push.Alert.Value)
	if !known {
		key = NewKey(b.Instance, cmp.Or(u.Push.VoIP.Value, u.Push.Alert.Value), b.Contact)
	}
	d := a.deviceOrNew(Ref{u.AOR, key}, b.Instance)
	push := u.Push
	if u.Announced == Tokens {
		a.dead.announced(push)
		push = a.share(Holder{d.Ref(), cmp.Or(b.Instance, d.Instance)}, push)
	}
	suspected := d.Suspected()
	a.change(d, func(d *Device) {
		d.Instance = cmp.Or(b.Instance, d.Instance)
		b.Path = slices.Clone(b.Path)
		d.Bindings = place(d.Bindings, b)
		d.LastSeen = b.Registered
		d.LoggedOut, d.LogoutDue = time.Time{}, time.Time{}
		d.Health.Unanswered, d.Health.Refreshes = 0, 0
		switch {
		case u.Announced == Tokens:
			d.Push = d.Push.announce(push, FromSIP, b.Registered)
			d.TokensDue = time.Time{}
		case u.Announced == NoTokens && !u.InCall && d.TokensDue.IsZero() && d.Push.any(fromSIP):
			d.TokensDue = b.Registered.Add(a.rules.Grace)
		}
		d.Push.FateHeader = u.Push.FateHeader
	})
	if suspected {
		a.note(Recovered, d.Ref(), Ref{}, "")
	}
	a.out.Refs = append(a.out.Refs, d.Ref())
	a.emit(Registered, d, b.Flow)
	a.makeRoom(d, u.MaxContacts)
}

func (a *applying) announce(n Announce) {
	if n.Instance == "" {
		return
	}
	n.Push = n.Push.canonical()
	tokens := slices.DeleteFunc([]string{n.Push.VoIP.Value, n.Push.Alert.Value}, func(t string) bool { return t == "" })
	ref := Ref{n.AOR, announcedKey(a.devices(n.AOR), n.Instance, tokens)}
	known := a.device(ref) != nil
	d := a.deviceOrNew(ref, n.Instance)
	push := a.share(Holder{ref, n.Instance}, a.withoutDead(ref, n.Push))
	push.FateHeader = d.Push.FateHeader
	at := a.orNow(n.At)
	push = d.Push.announce(push, FromHTTP, at)
	a.out.Refs = append(a.out.Refs, ref)
	if known && push == d.Push && d.Instance != "" {
		return // a backend that repeats itself has not seen the phone
	}
	a.change(d, func(d *Device) {
		d.Instance = cmp.Or(n.Instance, d.Instance)
		if push.VoIP.Value != d.Push.VoIP.Value {
			d.Health.Unanswered = 0 // of a token that is no more
		}
		d.Push = push
		d.LastSeen = at
		if !d.Push.any(fromSIP) {
			d.TokensDue = time.Time{}
		}
	})
	a.emit(TokensChanged, d, 0)
	if a.rules.keep(*d, a.now) { // nobody makes room for one that got no token
		a.makeRoom(d, n.MaxContacts)
	}
}

func (a *applying) deviceOrNew(ref Ref, instance string) *Device {
	if d := a.device(ref); d != nil {
		return d
	}
	d := &Device{AOR: ref.AOR, Key: ref.Key, Instance: instance}
	a.entry(ref.AOR).devices[ref.Key] = d
	return d
}

// share applies the shared-token rule to the tokens that newcomer announces:
// it returns push without those that it is refused, and takes the others from
// whom the rule takes them.
func (a *applying) share(newcomer Holder, push PushInfo) PushInfo {
	for _, kind := range []TokenKind{VoIP, Alert} {
		value := push.Token(kind).Value
		if value == "" {
			continue
		}
		var holders []Holder
		for _, ref := range a.byToken.refs(value) {
			holders = append(holders, Holder{ref, a.device(ref).Instance})
		}
		losers, refusedFor := a.rules.SharedToken.Decide(newcomer, holders)
		if refusedFor != (Ref{}) {
			a.note(TokenRefused, newcomer.Device, refusedFor, value)
			*push.token(kind) = Token{}
			continue
		}
		for _, ref := range losers {
			loser := a.device(ref)
			a.change(loser, func(l *Device) {
				l.Push = l.Push.forget(func(t Token) bool { return t.Value == value })
			})
			a.note(TokenTaken, ref, newcomer.Device, value)
			a.emit(TokensChanged, loser, 0)
		}
	}
	return push
}

// makeRoom evicts contacts of d's AOR beyond limit.
func (a *applying) makeRoom(d *Device, limit int) {
	for _, v := range a.rules.evict(a.devices(d.AOR), d.Key, limit, a.now) {
		ref := Ref{d.AOR, v.key}
		old := a.device(ref)
		a.note(Evicted, ref, d.Ref(), "")
		if v.contact == "" {
			a.remove(old)
			continue
		}
		var flow FlowID
		a.change(old, func(old *Device) {
			old.Bindings = slices.DeleteFunc(old.Bindings, func(b Binding) bool {
				if v.is(b) {
					flow = b.Flow
				}
				return v.is(b)
			})
		})
		a.emit(Unregistered, old, flow)
	}
}

func (a *applying) flowGone(flow FlowID) {
	if flow == 0 {
		return
	}
	for _, ref := range a.byFlow.refs(flow) {
		d := a.device(ref)
		a.unindex(d)
		for i := range d.Bindings {
			if d.Bindings[i].Flow == flow {
				d.Bindings[i].Flow = 0
			}
		}
		a.reindex(d) // the journal keeps no flows
		a.emit(FlowLost, d, flow)
	}
}
