package sipua

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/emiago/sipgo/sip"
)

// ClientTx is a request of ours that waits for its response (RFC 3261 s17.1).
type ClientTx struct {
	ep      *Endpoint
	flow    *Flow
	key     string
	req     *sip.Request
	inner   *sip.ClientTx
	deliver func(*sip.Response, error)
	forget  func()
	began   int64      // by Endpoint.since
	release func()     // lets the flow go idle
	telling sync.Mutex // held from the choice of what to deliver until it is delivered: that keeps the order

	mu sync.Mutex
	progress
}

// progress is how far a request of ours has come.
type progress struct {
	sent    bool  // Request has come to its end
	gone    error // why the flow went before
	queue   []*sip.Response
	feeding bool
	// answeredOn is the flow on which the newest final response came.
	answeredOn *Flow
	final      bool // a final response or an error was delivered
	// provisional: something came, a 1xx at least.
	provisional bool
	finalRes    *sip.Response
}

// Request sends a request on f and delivers what comes back: any number of
// provisional responses, then one final response or one error (ErrTimeout,
// ErrFlowGone, ErrClosed). After the 2xx of an INVITE each later 2xx, a
// retransmission or that of another fork, is delivered too; every one wants an
// ACK. deliver is called in order and must only post.
//
// Via, Max-Forwards, User-Agent and Content-Length are added where they are
// missing. An error of Request itself means that nothing was sent and nothing
// will be delivered.
func (ep *Endpoint) Request(f *Flow, req *sip.Request, deliver func(*sip.Response, error)) (*ClientTx, error) {
	ep.complete(f, req)
	tx := &ClientTx{ep: ep, flow: f, req: req, deliver: deliver,
		key: clientKey(viaBranch(req.Via()), req.Method), began: int64(ep.since())}
	tx.inner = sip.NewClientTx(tx.key, req, f, slog.New(slog.DiscardHandler))
	tx.inner.OnRetransmission(func(res *sip.Response) { tx.pass(res) })
	if !ep.txs.addClient(tx) {
		return nil, ErrClosed
	}
	tx.release = f.Hold()
	// Before anything is sent: the answer and the end of the connection may both be
	// here before Init returns.
	tx.forget = f.onGone(tx.flowGone, true)
	if err := tx.inner.Init(); err != nil {
		tx.abandon()
		if !errors.Is(err, ErrFlowGone) && !errors.Is(err, ErrUnsafeHeader) {
			err = fmt.Errorf("%w: %w", ErrFlowGone, err)
		}
		return nil, err
	}
	if !ep.launch(tx.read) {
		tx.abandon()
		return nil, ErrClosed
	}
	tx.mu.Lock()
	tx.sent = true
	gone := tx.gone
	tx.mu.Unlock()
	if gone != nil {
		tx.flowGone(gone)
	}
	return tx, nil
}

// abandon takes back a request that was not sent: nothing will be delivered.
func (tx *ClientTx) abandon() {
	tx.ep.txs.removeClient(tx)
	tx.forget()
	tx.release()
	tx.Terminate()
}

// Send sends a request that has no transaction: the ACK of a 2xx. The same
// headers are added as by Request.
func (ep *Endpoint) Send(f *Flow, req *sip.Request) error {
	ep.complete(f, req)
	return f.WriteMsg(req)
}

// complete adds the headers that each request has.
func (ep *Endpoint) complete(f *Flow, req *sip.Request) {
	if req.Via() == nil {
		req.PrependHeader(ep.via(f))
	}
	if req.MaxForwards() == nil {
		mf := sip.MaxForwardsHeader(70)
		req.AppendHeader(&mf)
	}
	if Value(req, "User-Agent") == "" {
		req.AppendHeader(sip.NewHeader("User-Agent", ep.cfg.Agent))
	}
	if req.ContentLength() == nil {
		req.SetBody(req.Body())
	}
	req.SetTransport(f.transport.String())
	req.SetDestination(f.remote.String())
}

func (ep *Endpoint) via(f *Flow) *sip.ViaHeader {
	host, port := f.Advertised()
	return &sip.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: f.transport.String(), Host: host, Port: port,
		Params: sip.HeaderParams{{K: "branch", V: NewBranch()}, {K: "rport", V: ""}}}
}

// Sent is the request as it was sent.
func (tx *ClientTx) Sent() *sip.Request { return tx.req }

// Flow is the flow that it was sent on.
func (tx *ClientTx) Flow() *Flow { return tx.flow }

// AnsweredOn is the flow on which the newest final response came: another one than Flow if
// the party answered over another connection. nil: there was none.
func (tx *ClientTx) AnsweredOn() *Flow {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	return tx.answeredOn
}

// Terminate forgets the transaction: nothing more is sent or delivered.
func (tx *ClientTx) Terminate() {
	tx.mu.Lock()
	tx.final = true
	tx.mu.Unlock()
	tx.inner.Terminate()
}

// NewCancel makes the CANCEL of an INVITE that was sent: same Request-URI,
// branch, From, To, Call-ID, CSeq number and Route (RFC 3261 s9.1). It may only
// be sent after a provisional response; the INVITE's transaction still brings
// the final one. reasons become Reason headers (RFC 3326).
func (tx *ClientTx) NewCancel(reasons ...string) *sip.Request {
	req := sip.NewRequest(sip.CANCEL, *tx.req.Recipient.Clone())
	req.AppendHeader(sip.HeaderClone(tx.req.Via()))
	for _, h := range tx.req.GetHeaders("Route") {
		req.AppendHeader(sip.HeaderClone(h))
	}
	for _, h := range []sip.Header{tx.req.From(), tx.req.To(), tx.req.CallID()} {
		req.AppendHeader(sip.HeaderClone(h))
	}
	req.AppendHeader(&sip.CSeqHeader{SeqNo: tx.req.CSeq().SeqNo, MethodName: sip.CANCEL})
	for _, r := range reasons {
		req.AppendHeader(sip.NewHeader("Reason", r))
	}
	return req
}

// read is the goroutine that drains the transaction; sipgo writes to an
// unbuffered channel under its lock, so somebody always has to read.
func (tx *ClientTx) read() {
	for {
		select {
		case res := <-tx.inner.Responses():
			tx.pass(res)
		case <-tx.inner.Done():
			tx.ep.txs.removeClient(tx)
			tx.release()
			tx.forget()
			err := tx.reason()
			tx.giveUp(err)
			if errors.Is(err, ErrTimeout) && tx.req.Method != sip.OPTIONS { // there are peers that ignore it: see sipua/trunk
				tx.doubt(err)
			}
			return
		}
	}
}

// doubt closes a stream of ours on which nothing came while a request waited in vain:
// a firewall may have forgotten it, and the system notices no sooner than after
// minutes. Over the next one requests may arrive.
func (tx *ClientTx) doubt(err error) {
	if f := tx.flow; f.Dialled() && f.lastSeen.Load() <= tx.began && !tx.ep.Rings(f) {
		f.Shut(err)
	}
}

// Rings says that an INVITE of ours waits on a flow whose callee has answered it by a 1xx:
// nothing need come for as long as a phone rings.
func (ep *Endpoint) Rings(f *Flow) bool {
	ep.txs.mu.Lock()
	defer ep.txs.mu.Unlock()
	for _, tx := range ep.txs.clients {
		if tx.flow == f && tx.waits() {
			return true
		}
	}
	return false
}

// waits says that the transaction is an INVITE's, with a 1xx and nothing final.
func (tx *ClientTx) waits() bool {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	return tx.req.IsInvite() && tx.provisional && !tx.final
}

func (tx *ClientTx) reason() error {
	err := tx.inner.Err()
	switch {
	case errors.Is(err, sip.ErrTransactionTimeout):
		return ErrTimeout
	case errors.Is(err, sip.ErrTransactionTransport):
		return fmt.Errorf("%w: %w", ErrFlowGone, err)
	case tx.ep.isClosed():
		return ErrClosed
	}
	return fmt.Errorf("transaction ended: %w", ErrFlowGone)
}

// receive gets a response from the read loop. sipgo's Receive waits for the
// reader, so it runs in a goroutine that lives as long as responses are queued.
func (tx *ClientTx) receive(f *Flow, res *sip.Response) {
	if !tx.flow.SameParty(f) {
		tx.ep.log.Debug("response from a stranger", "flow", f, "status", res.StatusCode)
		return
	}
	tx.mu.Lock()
	if tx.finalRes != nil && !tx.finalRes.IsSuccess() {
		tx.mu.Unlock()
		tx.confirmAgain(f, res)
		return
	}
	// More than these wait only for a broken peer; a final response has room of
	// its own.
	limit := 64
	if res.StatusCode >= 200 {
		limit = 128
	}
	if len(tx.queue) >= limit {
		tx.mu.Unlock()
		return
	}
	tx.queue = append(tx.queue, res)
	if res.StatusCode >= 200 {
		tx.answeredOn = f
	}
	start := !tx.feeding
	tx.feeding = true
	tx.mu.Unlock()
	if start && !tx.ep.launch(tx.feed) {
		tx.mu.Lock()
		tx.feeding = false
		tx.mu.Unlock()
	}
}

func (tx *ClientTx) feed() {
	for {
		tx.mu.Lock()
		if len(tx.queue) == 0 {
			tx.feeding = false
			tx.mu.Unlock()
			return
		}
		res := tx.queue[0]
		tx.queue = tx.queue[1:]
		refused := tx.finalRes != nil && !tx.finalRes.IsSuccess() // and here again, right behind it
		if res.StatusCode >= 200 && tx.finalRes == nil {
			tx.finalRes = res
		}
		tx.mu.Unlock()
		if refused {
			tx.confirmAgain(tx.flow, res)
			continue
		}
		tx.inner.Receive(res)
	}
}

// confirmAgain sends the ACK of a final response >= 300 once more, because the
// response came again. sipgo would wait 4 s first, holding its lock.
func (tx *ClientTx) confirmAgain(f *Flow, res *sip.Response) {
	if !tx.req.IsInvite() || res.StatusCode < 300 {
		return
	}
	ack := sip.NewRequest(sip.ACK, *tx.req.Recipient.Clone())
	ack.AppendHeader(sip.HeaderClone(tx.req.Via()))
	for _, h := range tx.req.GetHeaders("Route") {
		ack.AppendHeader(sip.HeaderClone(h))
	}
	for _, h := range []sip.Header{tx.req.From(), res.To(), tx.req.CallID()} {
		ack.AppendHeader(sip.HeaderClone(h))
	}
	ack.AppendHeader(&sip.CSeqHeader{SeqNo: tx.req.CSeq().SeqNo, MethodName: sip.ACK})
	if err := tx.ep.Send(tx.flow, ack); err != nil {
		tx.ep.log.Debug("ACK again", "flow", f, "error", err)
	}
}

// pass delivers a response. A non-INVITE transaction ends with its final
// response: a retransmission of it finds nobody and is dropped, which is what
// Timer K is for.
func (tx *ClientTx) pass(res *sip.Response) {
	tx.telling.Lock()
	tx.mu.Lock()
	done := tx.final && !(tx.req.IsInvite() && res.IsSuccess())
	if res.StatusCode >= 200 {
		tx.final = true
	}
	tx.provisional = true
	tx.mu.Unlock()
	if !done {
		tx.ep.contain("response", func() { tx.deliver(res, nil) })
	}
	tx.telling.Unlock()
	if done {
		return
	}
	if res.StatusCode >= 200 && !tx.req.IsInvite() {
		// The state machine holds its lock while it passes a response up.
		tx.ep.launch(tx.inner.Terminate)
	}
}

// giveUp delivers err, unless something final was delivered.
func (tx *ClientTx) giveUp(err error) {
	tx.lastWords()
	tx.telling.Lock()
	defer tx.telling.Unlock()
	tx.mu.Lock()
	done := tx.final
	tx.final = true
	tx.mu.Unlock()
	if !done {
		tx.ep.contain("end of a request", func() { tx.deliver(nil, err) })
	}
}

// lastWords delivers a final response that is still on its way through the state
// machine, because the end of the flow must not overtake it: a phone may decline
// and close its connection at once.
func (tx *ClientTx) lastWords() {
	tx.telling.Lock()
	defer tx.telling.Unlock()
	tx.mu.Lock()
	res := tx.finalRes
	for _, queued := range tx.queue {
		if res == nil && queued.StatusCode >= 200 {
			res = queued
		}
	}
	if tx.final || res == nil {
		tx.mu.Unlock()
		return
	}
	tx.final = true
	tx.mu.Unlock()
	tx.ep.contain("response", func() { tx.deliver(res, nil) })
}

// flowGone hears of the flow's end before everybody who is no transaction.
func (tx *ClientTx) flowGone(err error) {
	tx.lastWords()
	tx.mu.Lock()
	sent := tx.sent
	if !sent {
		tx.gone = err
	}
	tx.mu.Unlock()
	if sent {
		tx.ep.launch(func() { tx.fail(err) })
	}
}

// fail ends the transaction because its flow or the endpoint is gone.
func (tx *ClientTx) fail(err error) {
	tx.giveUp(err)
	tx.inner.Terminate()
}

func (t *txTable) client(key string) *ClientTx {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.clients[key]
}

func (t *txTable) addClient(tx *ClientTx) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.clients[tx.key] = tx
	return true
}

func (t *txTable) removeClient(tx *ClientTx) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.clients[tx.key] == tx {
		delete(t.clients, tx.key)
	}
}

// Resend sends the request once more at once, when its addressee has just shown
// life (RFC 3261's timer A may be seconds away). Only on UDP: a stream loses
// nothing.
func (tx *ClientTx) Resend() error {
	tx.mu.Lock()
	done := tx.final || tx.finalRes != nil
	tx.mu.Unlock()
	if done || tx.flow.transport.Reliable() {
		return nil
	}
	return tx.flow.WriteMsg(tx.req)
}
