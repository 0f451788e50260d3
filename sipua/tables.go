package sipua

import (
	"net/netip"
	"sync"
)

// flowTable finds flows by id and by address.
type flowTable struct {
	mu   sync.RWMutex
	byID map[FlowID]*Flow
	dial map[dialKey]*Flow
}

type dialKey struct {
	t    Transport
	addr netip.AddrPort
}

func newFlowTable() *flowTable {
	return &flowTable{byID: make(map[FlowID]*Flow), dial: make(map[dialKey]*Flow)}
}

func (t *flowTable) add(f *Flow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byID[f.id] = f
	if f.dialled {
		t.dial[dialKey{f.transport, f.remote}] = f
	}
}

func (t *flowTable) remove(f *Flow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, f.id)
	if k := (dialKey{f.transport, f.remote}); t.dial[k] == f {
		delete(t.dial, k)
	}
}

func (t *flowTable) get(id FlowID) *Flow {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byID[id]
}

func (t *flowTable) dialledTo(tr Transport, addr netip.AddrPort) *Flow {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.dial[dialKey{tr, addr}]
}

func (t *flowTable) all() []*Flow {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]*Flow, 0, len(t.byID))
	for _, f := range t.byID {
		out = append(out, f)
	}
	return out
}

// dialogTable finds the owner of an in-dialog request.
type dialogTable struct {
	mu sync.RWMutex
	m  map[dialogKey]Dialog
}

type dialogKey struct{ callID, localTag string }

// AddDialog makes d the owner of requests with this Call-ID whose To tag (our
// local tag) is localTag.
func (ep *Endpoint) AddDialog(callID, localTag string, d Dialog) {
	ep.dialogs.mu.Lock()
	defer ep.dialogs.mu.Unlock()
	ep.dialogs.m[dialogKey{callID, localTag}] = d
}

// RemoveDialog undoes AddDialog. Later requests get 481.
func (ep *Endpoint) RemoveDialog(callID, localTag string) {
	ep.dialogs.mu.Lock()
	defer ep.dialogs.mu.Unlock()
	delete(ep.dialogs.m, dialogKey{callID, localTag})
}

func (ep *Endpoint) dialog(callID, localTag string) Dialog {
	ep.dialogs.mu.RLock()
	defer ep.dialogs.mu.RUnlock()
	return ep.dialogs.m[dialogKey{callID, localTag}]
}
