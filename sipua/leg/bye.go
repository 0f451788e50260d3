package leg

import (
	"errors"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/digest"
)

// goodbye is a BYE that must wait: the callee may not send one before the ACK of
// its 2xx or the end of its waiting for it (RFC 3261 s15).
type goodbye struct {
	reasons []string
	paid    func() // of Endpoint.Owe
}

// Bye ends the established dialog; reasons become Reason headers. Ended follows at
// once: the BYE's transaction, or the wait for the ACK before it, goes on alone.
// Errors: ErrState, ErrEnded.
func (l *Leg) Bye(reasons ...string) error {
	switch {
	case l.parted:
		return ErrEnded
	case l.phase != established:
		return ErrState
	}
	l.hangUp(reasons, CauseBye)
	return nil
}

// hangUp is Bye for verbs.
func (l *Leg) hangUp(reasons []string, cause Cause) {
	l.said = newFarewell(reasons)
	if l.awaitsFirstAck() {
		l.bye = &goodbye{reasons, l.cfg.Endpoint.Owe()}
	} else {
		l.sendBye(reasons)
		l.leave(true)
	}
	l.part()
	l.later(Ended{Cause: cause})
}

func (l *Leg) awaitsFirstAck() bool {
	for _, c := range l.unacked {
		if c.initial {
			return true
		}
	}
	return false
}

func (l *Leg) sendHeldBye() {
	l.sendBye(l.bye.reasons)
	l.leave(true)
}

// sendBye sends the BYE. Whatever comes back ends it (a challenge may be answered
// first); what cannot be sent cannot be helped.
func (l *Leg) sendBye(reasons []string) {
	if l.said == nil {
		l.said = newFarewell(reasons)
	}
	l.confirmLate(l.calls)
	l.confirmLate(l.offers.ours)
	req := l.d.request(sip.BYE)
	for _, r := range reasons {
		req.AppendHeader(sip.NewHeader("Reason", r))
	}
	l.authorize(req)
	l.ask(&question{req: req})
}

// gotBye ends the leg because the peer says so (s15.1.2).
func (l *Leg) gotBye(tx *sipua.ServerTx) {
	l.send(tx, tx.NewResponse(200, ""))
	reasons := sipua.Values(tx.Request, "Reason")
	if l.phase == offered {
		l.takenBack(reasons)
		return
	}
	l.leave(false)
	l.conclude(Ended{Cause: CauseBye, ByRemote: true, Reasons: reasons})
}

// question is a request of ours in a dialog that is no INVITE.
type question struct {
	req     *sip.Request
	attempt *digest.Attempt
	again   bool                               // its flow went, and it was sent once more
	done    func(res *sip.Response, err error) // gets the final response, or why there is none; nil: nobody asks
}

// ask sends a question, first or again.
func (l *Leg) ask(q *question) { l.depart(func() { l.put(q) }) }

func (l *Leg) put(q *question) {
	f, _ := l.way()
	if _, err := l.cfg.Endpoint.Request(f, q.req, func(res *sip.Response, err error) {
		if err != nil || !res.IsProvisional() {
			l.box.put(func() { l.asked(q, res, err) })
		}
	}); err != nil && !l.onceMore(q, err) {
		l.cfg.Log.Info("request was not sent", "method", q.req.Method, "error", err)
		if q.done != nil {
			l.box.put(func() { q.done(nil, err) })
		}
	}
}

func (l *Leg) asked(q *question, res *sip.Response, err error) {
	if err != nil && l.onceMore(q, err) {
		return
	}
	if err != nil {
		l.cfg.Log.Info("request without response", "method", q.req.Method, "error", err)
		if q.done != nil {
			q.done(nil, err)
		}
		return
	}
	if again := l.authorized(q.req, res, &q.attempt); again != nil {
		q.req = again
		l.ask(q)
		return
	}
	if q.req.Method == sip.BYE {
		l.said.heard(res.StatusCode)
	}
	if !res.IsSuccess() {
		l.cfg.Log.Debug("request refused", "method", q.req.Method, "status", res.StatusCode)
	}
	if q.done != nil {
		q.done(res, nil)
	}
}

// authorize adds what a peer that challenged before wants to see.
func (l *Leg) authorize(req *sip.Request) {
	if l.cfg.Credentials != nil && l.calls != nil {
		digest.Apply(req, l.cfg.Credentials.Authorize(string(req.Method), req.Recipient.String()))
	}
}

// authorized makes the request that answers a challenge, nil if res is none or it
// must not or cannot be answered (at most two tries, or as often as the nonce is
// stale). It has a new CSeq and a new branch (RFC 3261 s22.2).
func (l *Leg) authorized(req *sip.Request, res *sip.Response, attempt **digest.Attempt) *sip.Request {
	challenges, ok := digest.ChallengesOf(res)
	if !ok || l.cfg.Credentials == nil || l.calls == nil {
		return nil
	}
	if *attempt == nil {
		*attempt = l.cfg.Credentials.Attempt()
	}
	headers, err := (*attempt).Answer(challenges, string(req.Method), req.Recipient.String())
	if err != nil {
		l.cfg.Log.Info("challenge not answered", "method", req.Method, "reason", err)
		return nil
	}
	next := l.renewed(req)
	digest.Apply(next, headers)
	return next
}

// renewed is req as a request of its own: with the next CSeq and a new branch.
func (l *Leg) renewed(req *sip.Request) *sip.Request {
	next := req.Clone()
	next.RemoveHeader("Via")
	l.d.localSeq++
	next.ReplaceHeader(&sip.CSeqHeader{SeqNo: l.d.localSeq, MethodName: req.Method})
	return next
}

// onceMore sends a BYE once more, over another flow, when its own went before the answer. The
// peer that had it says 481; other requests might do their work twice.
func (l *Leg) onceMore(q *question, err error) bool {
	if q.again || l.cfg.Reach == nil || q.req.Method != sip.BYE || !errors.Is(err, sipua.ErrFlowGone) {
		return false
	}
	q.again, q.req = true, l.renewed(q.req)
	l.ask(q)
	return true
}
