package sipua

import (
	"net/netip"
	"strings"
	"sync"

	"github.com/emiago/sipgo/sip"
)

// flowTable finds flows by id and by address.
type flowTable struct {
	mu   sync.RWMutex
	byID map[FlowID]*Flow
	dial map[dialKey]*Flow
}

// dialKey is what a stream that we opened may be used for: with TLS it leads to the
// one whose name its certificate has, and to nobody else at that address (RFC 5922 s7.3).
type dialKey struct {
	t    Transport
	addr netip.AddrPort
	host string // in lower case; "" without TLS
}

func dialKeyOf(t Transport, to Destination) dialKey {
	k := dialKey{t: t, addr: to.Addr}
	if t == TLS {
		k.host = strings.ToLower(to.Host)
	}
	return k
}

func newFlowTable() *flowTable {
	return &flowTable{byID: make(map[FlowID]*Flow), dial: make(map[dialKey]*Flow)}
}

func (t *flowTable) add(f *Flow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byID[f.id] = f
	if f.dial != nil {
		t.dial[*f.dial] = f
	}
}

func (t *flowTable) remove(f *Flow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, f.id)
	if f.dial != nil && t.dial[*f.dial] == f {
		delete(t.dial, *f.dial)
	}
}

func (t *flowTable) get(id FlowID) *Flow {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byID[id]
}

func (t *flowTable) dialledTo(k dialKey) *Flow {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.dial[k]
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

// txTable finds transactions.
type txTable struct {
	mu      sync.Mutex
	closed  bool
	servers map[string]*ServerTx
	merged  map[mergeKey]string // of requests outside a dialog: their transaction
	clients map[string]*ClientTx
}

type mergeKey struct {
	callID, fromTag string
	cseq            uint32
	method          sip.RequestMethod
}

func (t *txTable) init() {
	t.servers = make(map[string]*ServerTx)
	t.merged = make(map[mergeKey]string)
	t.clients = make(map[string]*ClientTx)
}

func mergeKeyOf(req *sip.Request) mergeKey {
	return mergeKey{req.CallID().Value(), FromTag(req), req.CSeq().SeqNo, req.Method}
}

func (t *txTable) server(key string) *ServerTx {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.servers[key]
}

// isMerged says that the same request is here already under another branch: it
// came twice, over two paths (RFC 3261 s8.2.2.2).
func (t *txTable) isMerged(req *sip.Request) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.merged[mergeKeyOf(req)]
	return ok
}

// isCrowded says that there are so many server transactions that those of strangers
// are not kept once they are answered (RFC 3261 s8.2.7): a flood from forged sources
// must not eat the memory. limit is Limits.Transactions.
func (t *txTable) isCrowded(limit int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return limit >= 0 && len(t.servers) > limit/8
}

// addServer fails with ErrClosed, with ErrBusy for a stranger, or with a Rejection
// when the same request came on two flows at the same moment.
func (t *txTable) addServer(tx *ServerTx, limit int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return ErrClosed
	case limit >= 0 && len(t.servers) >= limit && !tx.flow.Authenticated():
		return ErrBusy
	case t.servers[tx.key] != nil:
		return Reject(482, "Merged request")
	}
	t.servers[tx.key] = tx
	if ToTag(tx.Request) == "" {
		t.merged[mergeKeyOf(tx.Request)] = tx.key
	}
	return nil
}

func (t *txTable) removeServer(tx *ServerTx) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.servers[tx.key] == tx {
		delete(t.servers, tx.key)
	}
	if k := mergeKeyOf(tx.Request); t.servers[tx.key] == nil && t.merged[k] == tx.key {
		delete(t.merged, k)
	}
}

func (t *txTable) sizes() (servers, clients int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.servers), len(t.clients)
}

// terminateAll ends everything without a word to the peers.
func (t *txTable) terminateAll() {
	t.mu.Lock()
	t.closed = true
	servers := make([]*ServerTx, 0, len(t.servers))
	for _, tx := range t.servers {
		servers = append(servers, tx)
	}
	clients := make([]*ClientTx, 0, len(t.clients))
	for _, tx := range t.clients {
		clients = append(clients, tx)
	}
	t.mu.Unlock()
	for _, tx := range servers {
		tx.inner.Terminate()
	}
	for _, tx := range clients {
		tx.fail(ErrClosed)
	}
}
