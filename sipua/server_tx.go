package sipua

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// ServerTx is a request that waits for its response, or has it. It wraps sipgo's
// state machine (RFC 3261 s17.2, RFC 6026) and holds what sipgo gets wrong: one
// To tag for all responses, nothing after a final one, and CANCEL.
type ServerTx struct {
	// Request is the request, validated. Nobody changes it.
	Request *sip.Request

	ep    *Endpoint
	flow  *Flow
	tag   string
	key   string
	inner *sip.ServerTx
	reply *replyTo
	free  func() // lets the flow go idle, once

	mu      sync.Mutex
	begun   bool // something was sent
	final   *sip.Response
	overdue *time.Timer // not for INVITE
	expired bool
	cancel  cancellation
}

// cancellation is the CANCEL of an INVITE and who wants to hear of it.
type cancellation struct {
	tell    func(reasons []string)
	came    bool
	reasons []string
}

// answerWithin is how long a sender waits for the final response to anything but
// an INVITE: 64*T1 (RFC 3261 s17.1.2.2).
const answerWithin = 32 * time.Second

// Flow is the flow on which the request came.
func (tx *ServerTx) Flow() *Flow { return tx.flow }

// MoveTo sends the responses over f from now on: the flow of a dialog that went there
// with its peer. Over UDP the port is that of the Via all the same where it counts
// (Config.ForceRPort).
func (tx *ServerTx) MoveTo(f *Flow) {
	back := tx.ep.wayBack(f, tx.Request)
	tx.reply.mu.Lock()
	defer tx.reply.mu.Unlock()
	tx.reply.flow = back
}

// Tag is our tag: that of the request's To, or the one that all responses get.
func (tx *ServerTx) Tag() string { return tx.tag }

// newServerTx makes the transaction of a new request.
func (ep *Endpoint) newServerTx(f *Flow, req *sip.Request, key string) (*ServerTx, error) {
	tag := ToTag(req)
	if tag == "" {
		tag = NewTag()
	}
	tx := &ServerTx{Request: req, ep: ep, flow: f, tag: tag, key: key}
	tx.reply = &replyTo{tx: tx, flow: ep.wayBack(f, req)}
	tx.inner = sip.NewServerTx(key, req, tx.reply, slog.New(slog.DiscardHandler))
	if err := tx.inner.Init(); err != nil {
		return nil, fmt.Errorf("begin transaction: %w", err)
	}
	release, releaseBack := f.Hold(), tx.reply.current().Hold()
	forget := func() {}
	if !req.IsInvite() {
		// Nobody waits any more for an answer that is so late, or that has no way
		// back; the owner of an INVITE hears of both by itself.
		tx.overdue = time.AfterFunc(answerWithin, tx.expire)
		forget = f.OnClose(func(error) {
			if tx.Final() == 0 && !tx.reply.mayReopen(f) {
				tx.inner.Terminate()
			}
		})
	}
	tx.free = sync.OnceFunc(func() {
		release()
		releaseBack()
		forget()
		if tx.overdue != nil {
			tx.overdue.Stop()
		}
	})
	tx.inner.OnTerminate(func(string, error) {
		ep.txs.removeServer(tx)
		tx.free()
	})
	if err := ep.txs.addServer(tx, ep.limits.Transactions); err != nil {
		tx.inner.Terminate()
		tx.free()
		return nil, err
	}
	select {
	case <-tx.inner.Done(): // the flow went while this was built
		ep.txs.removeServer(tx)
		tx.free()
		return nil, f.goneErr()
	default:
		return tx, nil
	}
}

// trying sends 100 to an INVITE that its owner has and did not answer yet, because
// a held call answers late. The owner exists before the caller hears anything.
func (tx *ServerTx) trying() {
	if !tx.Request.IsInvite() {
		return
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.begun {
		return
	}
	tx.begun = true
	if err := tx.inner.Respond(tx.NewResponse(100, "")); err != nil {
		tx.ep.log.Debug("send 100", "flow", tx.flow, "error", err)
	}
}

// expire gives up a request that its owner did not answer in time.
func (tx *ServerTx) expire() {
	tx.mu.Lock()
	late := tx.final == nil
	tx.expired = tx.expired || late
	tx.mu.Unlock()
	if late {
		tx.ep.log.Warn("request was not answered", "flow", tx.flow, "method", tx.Request.Method)
		tx.inner.Terminate()
	}
}

// from says that what came on f may concern this transaction: its branch alone
// proves nothing (RFC 3261 s17.2.3 compares no source).
func (tx *ServerTx) from(f *Flow) bool { return tx.flow.SameParty(f) || tx.reply.current() == f }

// NewResponse makes a response with this transaction's To tag; phrase "" is the
// standard one.
func (tx *ServerTx) NewResponse(status int, phrase string) *sip.Response {
	tag := tx.tag
	if status == 100 {
		tag = ""
	}
	res := NewResponse(tx.Request, status, phrase, tag)
	res.AppendHeader(sip.NewHeader("Server", tx.ep.cfg.Agent))
	return res
}

// Respond sends a response. After a final one it sends nothing more and returns
// ErrFinalSent; ErrTimeout means that anything but an INVITE was not answered
// within 64*T1 and is forgotten. Other errors wrap ErrFlowGone or ErrUnsafeHeader;
// after the latter nothing counts as sent, so that another response can follow.
func (tx *ServerTx) Respond(res *sip.Response) error {
	if err := safeWire(res, res.String()); err != nil {
		return fmt.Errorf("respond %d to %s: %w", res.StatusCode, tx.Request.Method, err)
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	switch {
	case tx.final != nil:
		return ErrFinalSent
	case tx.expired:
		return ErrTimeout
	}
	tx.begun = true
	isFinal := res.StatusCode >= 200
	if isFinal {
		tx.final = res
		defer tx.free()
	}
	if err := tx.inner.Respond(res); err != nil {
		if isFinal {
			// sipgo would keep an INVITE whose 2xx could not be written for ever.
			tx.inner.Terminate()
		}
		return fmt.Errorf("send %d to %s: %w", res.StatusCode, tx.Request.Method, err)
	}
	if isFinal && !tx.Request.IsInvite() && !tx.flow.Authenticated() && tx.ep.txs.isCrowded(tx.ep.limits.Transactions) {
		tx.inner.Terminate()
	}
	return nil
}

// Reject sends the final response that fits err (see Status); an error of sending
// it is logged, because nothing else can be done about it.
func (tx *ServerTx) Reject(err error) {
	rej := asRejection(err)
	e := tx.Respond(tx.ep.rejection(tx.Request, rej, tx.tag))
	if errors.Is(e, ErrUnsafeHeader) {
		e = errors.Join(e, tx.Respond(tx.ep.rejection(tx.Request, Reject(500, ""), tx.tag)))
	}
	if e != nil {
		tx.ep.log.Debug("reject", "flow", tx.flow, "status", rej.Status, "error", e)
	}
}

// Refuse is Reject without keeping anything (RFC 3261 s8.2.7): the response is
// sent once, is not repeated, and the request is new when it comes again. It is for
// strangers, challenges first of all: who forges a source must get one answer and
// cost no memory. For an INVITE it works while Handler.Invite runs; once 100 is
// sent it is Reject.
func (tx *ServerTx) Refuse(err error) {
	if tx.refuse(err) {
		tx.inner.Terminate()
		return
	}
	tx.Reject(err)
}

func (tx *ServerTx) refuse(err error) bool {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.begun || tx.final != nil || tx.expired {
		return false
	}
	rej := asRejection(err)
	res := tx.ep.rejection(tx.Request, rej, tx.tag)
	if safeWire(res, res.String()) != nil {
		return false
	}
	tx.begun, tx.final = true, res
	if err := tx.reply.WriteMsg(res); err != nil {
		tx.ep.log.Debug("refuse", "flow", tx.flow, "status", rej.Status, "error", err)
	}
	return true
}

// Resend sends the 2xx of an INVITE again (RFC 3261 s13.3.1.4: that is the
// owner's task, not the transaction's). Without a 2xx it does nothing.
func (tx *ServerTx) Resend() error {
	tx.mu.Lock()
	res := tx.final
	tx.mu.Unlock()
	if res == nil || !res.IsSuccess() {
		return nil
	}
	return tx.reply.WriteMsg(res)
}

// Final is the status of the final response, 0 while there is none.
func (tx *ServerTx) Final() int {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.final == nil {
		return 0
	}
	return tx.final.StatusCode
}

// OnCancel says what to call, once, when a CANCEL for this INVITE comes (it got
// its 200 by then); at once if it is here already. fn must only post. The owner
// answers the INVITE, with 487 or with what it already has.
func (tx *ServerTx) OnCancel(fn func(reasons []string)) {
	tx.mu.Lock()
	tx.cancel.tell = fn
	c := tx.cancel
	tx.mu.Unlock()
	if c.came {
		fn(c.reasons)
	}
}

func (tx *ServerTx) cancelled(reasons []string) {
	tx.mu.Lock()
	if tx.cancel.came || tx.final != nil { // RFC 3261 s9.2: after a final response it has no effect
		tx.mu.Unlock()
		return
	}
	tx.cancel.came, tx.cancel.reasons = true, reasons
	fn := tx.cancel.tell
	tx.mu.Unlock()
	if fn != nil {
		fn(reasons)
	}
}

// repeated is the same request again: sipgo resends the last response. From a
// stranger it is nothing.
func (tx *ServerTx) repeated(f *Flow, req *sip.Request) {
	if !tx.from(f) {
		tx.ep.log.Debug("branch of somebody else", "flow", f, "method", req.Method)
		return
	}
	tx.reply.moved(f, tx.ep.wayBack(f, req))
	if err := tx.inner.Receive(req); err != nil {
		tx.ep.log.Debug("repeated request", "flow", f, "error", err)
	}
}

// acked takes the ACK of a final response >= 300; false if it is not for that.
func (tx *ServerTx) acked(req *sip.Request) bool {
	if tx.Final() < 300 {
		return false
	}
	if err := tx.inner.Receive(req); err != nil {
		tx.ep.log.Debug("ACK", "flow", tx.flow, "error", err)
	}
	return true
}
