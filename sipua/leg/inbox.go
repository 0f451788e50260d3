package leg

import (
	"math/rand/v2"
	"strconv"
	"sync/atomic"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
)

// inbox is the leg as the read loops see it (sipua.Dialog): it posts.
type inbox struct {
	leg     *Leg
	flow    atomic.Pointer[sipua.Flow]
	left    atomic.Pointer[sipua.Flow] // the one before
	waiting atomic.Int32
	byes    atomic.Bool // a BYE was let in over the limit
}

// Knows implements sipua.Dialog: only the leg's own peer gets through.
func (in *inbox) Knows(f *sipua.Flow) bool { return in.flow.Load().SameParty(f) }

// Request implements sipua.Dialog.
func (in *inbox) Request(tx *sipua.ServerTx) {
	counted := in.enter()
	// One BYE always fits: nobody keeps a call up by sending much.
	if !counted && (tx.Request.Method != sip.BYE || in.byes.Swap(true)) {
		tx.Reject(sipua.Reject(503, "", sipua.HeaderLine{Name: "Retry-After", Value: "1"}))
		return
	}
	in.leg.box.put(func() {
		if counted {
			in.waiting.Add(-1)
		}
		in.leg.request(tx)
	})
}

// Ack implements sipua.Dialog.
func (in *inbox) Ack(req *sip.Request, _ *sipua.Flow) {
	if !in.enter() {
		return // the 2xx is repeated, and its ACK comes again
	}
	in.leg.box.put(func() {
		in.waiting.Add(-1)
		in.leg.ack(req)
	})
}

// enter counts a message in, to be counted out by its closure; false when too many
// wait.
func (in *inbox) enter() bool {
	if in.waiting.Add(1) <= int32(in.leg.cfg.MaxPending) { //nolint:gosec // a small number from configuration
		return true
	}
	in.waiting.Add(-1)
	return false
}

// request handles a request inside the dialog (RFC 3261 s12.2.2).
func (l *Leg) request(tx *sipua.ServerTx) {
	req := tx.Request
	if l.phase == calling { // a dialog that we know nothing of yet
		if req.IsInvite() {
			tx.Reject(sipua.Reject(491, ""))
			return
		}
		tx.Reject(sipua.Reject(481, ""))
		return
	}
	if sipua.FromTag(req) != l.d.remoteTag() {
		tx.Reject(sipua.Reject(481, ""))
		return
	}
	if !l.d.inOrder(req.CSeq().SeqNo) {
		tx.Reject(sipua.Reject(500, "CSeq out of order"))
		return
	}
	if l.phase == ended {
		l.afterEnd(tx)
		return
	}
	l.follow(tx)
	switch req.Method {
	case sip.BYE:
		l.gotBye(tx)
	case sip.INVITE:
		l.gotReinvite(tx)
	case sip.INFO:
		l.gotInfo(tx)
	case sip.OPTIONS:
		l.answerOptions(tx)
	default:
		tx.Reject(sipua.Reject(405, "", sipua.HeaderLine{Name: "Allow", Value: l.cfg.Endpoint.Allow()}))
	}
}

// follow moves the leg to the flow of a request when its own is gone, or when the
// request refreshes the target: the phone has a new address.
func (l *Leg) follow(tx *sipua.ServerTx) {
	f := tx.Flow()
	if f == l.d.flow || l.phase == ended {
		return
	}
	select {
	case <-l.d.flow.Done():
	default:
		if !tx.Request.IsInvite() {
			return
		}
	}
	l.moveTo(f)
}

// afterEnd answers what crossed our BYE (faults N6: both hang up at once).
func (l *Leg) afterEnd(tx *sipua.ServerTx) {
	if tx.Request.Method == sip.BYE {
		l.send(tx, tx.NewResponse(200, ""))
		return
	}
	tx.Reject(sipua.Reject(481, ""))
}

func (l *Leg) answerOptions(tx *sipua.ServerTx) {
	res := l.response(tx, 200, "", nil, []sip.Header{sip.NewHeader("Accept", sipua.Accepted)})
	l.send(tx, res)
}

// send sends a response whose failure changes nothing.
func (l *Leg) send(tx *sipua.ServerTx, res *sip.Response) {
	if err := tx.Respond(res); err != nil {
		l.cfg.Log.Debug("respond", "status", res.StatusCode, "method", tx.Request.Method, "error", err)
	}
}

// retryAfter is the header of a 500 to a re-INVITE that came too early: a random
// time of up to 10 s (RFC 3261 s14.2).
func retryAfter() sipua.HeaderLine {
	return sipua.HeaderLine{Name: "Retry-After", Value: strconv.Itoa(rand.IntN(11))}
}
