package leg

import (
	"errors"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/digest"
)

// Invite is the INVITE of a UAC leg.
type Invite struct {
	Flow       *sipua.Flow // the device's, or one to the trunk
	RequestURI sip.Uri
	From, To   Address
	CallID     string    // "": a new one
	FromTag    string    // "": a new one
	CSeq       uint32    // 0: 1
	Route      []sip.Uri // preloaded route set (RFC 3261 s8.1.1.1)
	Headers    []sip.Header
	Body       []byte // the offer; empty asks the callee for one
	// ContentType of Body. Default: application/sdp.
	ContentType string
	// Otherwise is asked, on the owner's goroutine, when the INVITE was refused with
	// a status from 300: what it returns is offered in a second INVITE, with the next
	// CSeq, and the refusal is not told. nil: it is final. It may be asked again.
	Otherwise func(status int) []byte
}

// NewUAC makes a leg and sends its INVITE. That it could not be sent is told as
// Failed, like any other outcome.
func NewUAC(cfg Config, inv Invite) *Leg {
	l := newLeg(cfg)
	l.phase = calling
	l.calls = &invitation{initial: true, otherwise: inv.Otherwise}
	if inv.CallID == "" {
		inv.CallID = sipua.NewTag()
	}
	if inv.FromTag == "" {
		inv.FromTag = sipua.NewTag()
	}
	l.d = dialog{flow: inv.Flow, callID: inv.CallID, localSeq: max(inv.CSeq, 1),
		local:  sip.FromHeader{DisplayName: inv.From.display(), Address: inv.From.URI, Params: sip.HeaderParams{{K: "tag", V: inv.FromTag}}},
		remote: sip.ToHeader{DisplayName: inv.To.display(), Address: inv.To.URI},
		target: inv.RequestURI, routes: inv.Route}
	if inv.Flow == nil {
		l.failed(nil, sipua.ErrFlowGone, l.later)
		return l
	}
	l.moveTo(inv.Flow)
	cfg.Endpoint.AddDialog(inv.CallID, inv.FromTag, l.inbox)
	l.calls.req = l.invite(inv)
	if err := l.start(l.calls); err != nil {
		l.failed(nil, err, l.later)
	}
	return l
}

func (l *Leg) invite(inv Invite) *sip.Request {
	req := l.d.numbered(sip.INVITE, l.d.localSeq)
	l.introduce(req, true)
	for _, h := range inv.Headers {
		req.AppendHeader(h)
	}
	l.authorize(req)
	if len(inv.Body) > 0 {
		setBody(req, inv.Body, inv.ContentType)
	}
	return req
}

// invitation is an INVITE of ours, the first or a re-INVITE.
type invitation struct {
	initial bool
	req     *sip.Request
	tx      *sipua.ClientTx
	attempt *digest.Attempt
	// heard: the transaction had a 1xx, so that it may be cancelled; everHeard: one
	// before a challenge counts too.
	heard, everHeard bool
	otherwise        func(status int) []byte
	cancel           *cancellation
	timeout          *time.Timer
	// acks are the ACKs by To tag: a 2xx that comes again gets the same one.
	acks map[string]*sip.Request
	// unacked: our ACK of the 2xx is still to be sent.
	unacked bool
}

// start sends the INVITE of v.
func (l *Leg) start(v *invitation) error {
	v.heard = false
	f, _ := l.way()
	tx, err := l.cfg.Endpoint.Request(f, v.req, func(res *sip.Response, err error) {
		if res == nil || !res.IsProvisional() {
			l.box.put(func() { l.responded(v, res, err) })
			return
		}
		if l.inbox.enter() { // a flood of 1xx is dropped
			l.box.put(func() {
				l.inbox.waiting.Add(-1)
				l.responded(v, res, nil)
			})
		}
	})
	v.tx = tx
	return err
}

// responded handles what comes back to an INVITE of ours.
func (l *Leg) responded(v *invitation, res *sip.Response, err error) {
	if err == nil && res.IsSuccess() && v.acks[sipua.ToTag(res)] != nil {
		l.sendAck(v.acks[sipua.ToTag(res)])
		return
	}
	if !v.initial {
		l.reinviteResponded(v, res, err)
		return
	}
	switch {
	case err != nil:
		l.failed(nil, err, l.tellLast)
	case res.IsProvisional():
		l.provisional(res)
	case res.IsSuccess() && l.phase == calling:
		l.answered(res)
	case res.IsSuccess():
		if sipua.ToTag(res) != l.d.remoteTag() || l.phase == ended {
			l.dismiss(res)
		}
	default:
		l.refused(res)
	}
}

func (l *Leg) provisional(res *sip.Response) {
	if l.phase != calling {
		return
	}
	v := l.calls
	v.heard, v.everHeard = true, true
	if v.cancel != nil {
		if !v.cancel.sent {
			l.sendCancel(v)
			l.tell(CancelWent{})
		}
		return
	}
	l.tell(Provisional{Status: res.StatusCode, Phrase: res.Reason, Body: session(res), Response: res})
}

// answered makes the dialog (RFC 3261 s13.2.2.4).
func (l *Leg) answered(res *sip.Response) {
	v := l.calls
	v.stop()
	seq := l.d.localSeq
	l.d = dialogOfResponse(l.d.flow, v.req, res)
	l.d.localSeq = seq
	l.phase = established
	v.unacked = true
	if f := v.tx.AnsweredOn(); f != nil && f != l.d.flow { // the dialog goes on there, beginning with the ACK
		l.moveTo(f)
	}
	event := Answered{Body: session(res), Response: res}
	if v.cancel == nil {
		if len(v.req.Body()) > 0 {
			l.confirm(v, nil)
		}
		l.tell(event)
		return
	}
	event.AfterCancel = true
	l.sendBye(v.cancel.reasons) // with the ACK in front
	l.wasTaken()
	l.leave(true)
	l.conclude(event, Ended{Cause: CauseCancelled})
}

// refused handles a final response >= 300, which the transaction acknowledges.
func (l *Leg) refused(res *sip.Response) {
	v := l.calls
	if l.phase != calling {
		return
	}
	if v.cancel == nil {
		again := l.authorized(v.req, res, &v.attempt)
		if again == nil {
			again = l.reoffered(v, res.StatusCode)
		}
		if again != nil {
			v.req = again
			if err := l.start(v); err != nil {
				l.failed(nil, err, l.tellLast)
			}
			return
		}
	}
	l.failed(res, nil, l.tellLast)
}

// reoffered makes the INVITE with what else its owner offers, nil if that is
// nothing.
func (l *Leg) reoffered(v *invitation, status int) *sip.Request {
	if v.otherwise == nil {
		return nil
	}
	body := v.otherwise(status)
	if len(body) == 0 {
		return nil
	}
	next := v.req.Clone()
	next.RemoveHeader("Via")
	l.d.localSeq++
	next.ReplaceHeader(&sip.CSeqHeader{SeqNo: l.d.localSeq, MethodName: sip.INVITE})
	next.RemoveHeader("Content-Length")
	next.SetBody(body)
	return next
}

// failed ends a leg that never was a dialog.
func (l *Leg) failed(res *sip.Response, err error, emit func(...Event)) {
	if l.phase != calling {
		return
	}
	v := l.calls
	v.stop()
	if res != nil {
		l.wasTaken()
	}
	event := Failed{Response: res, Err: err, BeforeProvisional: !v.everHeard, FlowLost: errors.Is(err, sipua.ErrFlowGone)}
	if res != nil {
		event.Status, event.Phrase = res.StatusCode, res.Reason
	} else {
		event.Status = sipua.Status(err)
		event.Phrase = sipua.Phrase(event.Status)
	}
	cause := CauseFailed
	if v.cancel != nil {
		cause = CauseCancelled
	}
	l.leave(false)
	if l.part() {
		emit(event, Ended{Cause: cause})
	}
}

// tellLast emits the events with which a leg ends.
func (l *Leg) tellLast(events ...Event) {
	for _, e := range events {
		l.cfg.Emit(l, e)
	}
}

func (v *invitation) stop() {
	if v.timeout != nil {
		v.timeout.Stop()
	}
}

// Ack answers the offer that came in the 2xx to our INVITE or re-INVITE without
// body. Errors: ErrState, ErrEnded.
func (l *Leg) Ack(body []byte) error {
	if l.parted {
		return ErrEnded
	}
	for _, v := range []*invitation{l.offers.ours, l.calls} {
		if v == nil || !v.unacked {
			continue
		}
		l.confirm(v, body)
		if v == l.offers.ours {
			l.offers.ours = nil
		}
		l.tryReinvite()
		return nil
	}
	return ErrState
}

// confirm sends the ACK of v's 2xx (RFC 3261 s13.2.2.4): the CSeq number and the
// credentials are the INVITE's.
func (l *Leg) confirm(v *invitation, body []byte) {
	v.unacked = false
	l.sendAck(v.keep(l.d.remoteTag(), ackOf(&l.d, v.req, body)))
}

// confirmLate is confirm for a 2xx that is still without ACK when the dialog ends.
func (l *Leg) confirmLate(v *invitation) {
	if v != nil && v.unacked {
		l.confirm(v, nil)
	}
}

func ackOf(d *dialog, invite *sip.Request, body []byte) *sip.Request {
	ack := d.numbered(sip.ACK, invite.CSeq().SeqNo)
	for _, name := range []string{"Authorization", "Proxy-Authorization"} {
		for _, h := range invite.GetHeaders(name) {
			ack.AppendHeader(sip.HeaderClone(h))
		}
	}
	if len(body) > 0 {
		setBody(ack, body, "")
	}
	return ack
}

func (v *invitation) keep(tag string, ack *sip.Request) *sip.Request {
	if v.acks == nil {
		v.acks = make(map[string]*sip.Request)
	}
	v.acks[tag] = ack
	return ack
}

func (l *Leg) sendAck(ack *sip.Request) {
	if sipua.ToTag(ack) != l.d.remoteTag() { // another dialog's, of a fork: see dismiss
		if err := l.cfg.Endpoint.Send(l.d.flow, ack); err != nil {
			l.cfg.Log.Info("ACK to a fork was not sent", "error", err)
		}
		return
	}
	if len(l.d.hop.waiting) >= maxWaiting {
		return
	}
	l.depart(func() {
		f, _ := l.way()
		if err := l.cfg.Endpoint.Send(f, ack); err != nil {
			l.cfg.Log.Info("ACK was not sent", "error", err)
		}
	})
}

// dismiss acknowledges and ends the dialog of a 2xx that is not the leg's: that of
// another fork downstream (RFC 3261 s13.2.2.4).
func (l *Leg) dismiss(res *sip.Response) {
	const manyForks = 16 // more are a broken peer's
	v := l.calls
	if len(v.acks) > manyForks {
		return
	}
	d := dialogOfResponse(l.d.flow, v.req, res)
	l.sendAck(v.keep(d.remoteTag(), ackOf(&d, v.req, nil)))
	bye := d.request(sip.BYE)
	if _, err := l.cfg.Endpoint.Request(d.flow, bye, func(*sip.Response, error) {}); err != nil {
		l.cfg.Log.Info("BYE to a fork was not sent", "error", err)
	}
}
