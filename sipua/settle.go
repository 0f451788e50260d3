package sipua

import (
	"context"
	"sync"
	"time"
)

// settleEvery is how often Settle looks.
const settleEvery = 5 * time.Millisecond

// Settle waits until nothing of ours is left unsaid: every request has its final
// response, and nobody owes one (Owe). It is for the end, before Close, which says
// nothing to the peers. The result is false if ctx ended first.
func (ep *Endpoint) Settle(ctx context.Context) bool {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for ep.owed.Load() > 0 || ep.txs.unanswered() {
		select {
		case <-ctx.Done():
			return false
		case <-ep.closed:
			return false
		case <-tick.C:
		}
	}
	return true
}

// Owe notes that a request will be sent as soon as the protocol allows, such as a
// BYE that waits for an ACK. paid may be called twice.
func (ep *Endpoint) Owe() (paid func()) {
	ep.owed.Add(1)
	return sync.OnceFunc(func() { ep.owed.Add(-1) })
}

// unanswered says that a request of ours waits for its final response.
func (t *txTable) unanswered() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, tx := range t.clients {
		if !tx.isFinal() {
			return true
		}
	}
	return false
}

func (tx *ClientTx) isFinal() bool {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	return tx.final
}
