package leg

import (
	"math/rand/v2"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
)

// offers are the re-INVITEs of a dialog: at most one in either direction at a time
// (RFC 3261 s14).
type offers struct {
	theirs *sipua.ServerTx // without its final response
	ours   *invitation     // without its final response, or its ACK
	next   *proposal       // waits for its turn
}

// proposal is a Reinvite that waits, for an ACK or after 491.
type proposal struct {
	body    []byte
	headers []sip.Header
	refused int         // how often by 491
	pause   *time.Timer // runs while a 491 must be waited out
}

// maxGlare is how many 491 in a row a Reinvite survives. Through a B2BUA both ends may
// offer at once, and the callee's pauses are short (0 to 2 s) while the other leg's are
// 2.1 to 4 s: with five tries one call in twelve gave up before the other had its turn.
const maxGlare = 12

// Reinvite offers a change of the session; an empty body asks the peer for an
// offer, which Ack then answers. It waits by itself for the ACK of a 2xx of ours,
// and after a 491 for the time of RFC 3261 s14.1. The outcome is told as
// OfferAnswered, or not at all when the leg ends before. Errors: ErrPending while
// another Reinvite is on its way or the peer's Offer has no answer, ErrState,
// ErrEnded.
func (l *Leg) Reinvite(body []byte, headers ...sip.Header) error {
	switch {
	case l.parted:
		return ErrEnded
	case l.phase != established || l.calls != nil && l.calls.unacked:
		return ErrState
	case l.offers.ours != nil || l.offers.next != nil || l.offers.theirs != nil:
		return ErrPending
	}
	l.offers.next = &proposal{body: body, headers: headers}
	l.tryReinvite()
	return nil
}

// tryReinvite sends the waiting Reinvite if nothing is in its way.
func (l *Leg) tryReinvite() {
	p := l.offers.next
	if p == nil || p.pause != nil || l.phase != established || l.bye != nil ||
		l.offers.ours != nil || l.offers.theirs != nil || len(l.unacked) > 0 {
		return
	}
	v := &invitation{req: l.d.request(sip.INVITE)}
	l.introduce(v.req, true)
	for _, h := range p.headers {
		v.req.AppendHeader(h)
	}
	l.authorize(v.req)
	if len(p.body) > 0 {
		setBody(v.req, p.body, "")
	}
	l.offers.ours = v
	l.depart(func() { l.startReinvite(v) })
}

func (l *Leg) startReinvite(v *invitation) {
	if l.offers.ours != v { // the dialog ended while a flow was looked for
		return
	}
	if err := l.start(v); err != nil {
		l.offers.ours, l.offers.next = nil, nil
		l.soon(offerFailed(err))
		return
	}
	// The peer may ask its user, but not for ever.
	v.timeout = l.after(giveUp, func() { l.reinviteTimedOut(v) })
}

func offerFailed(err error) OfferAnswered {
	status := sipua.Status(err)
	return OfferAnswered{Status: status, Phrase: sipua.Phrase(status), Err: err}
}

func (l *Leg) reinviteTimedOut(v *invitation) {
	if l.offers.ours != v || v.unacked || l.phase != established {
		return
	}
	v.cancel = &cancellation{}
	if v.heard {
		l.sendCancel(v)
	}
}

// reinviteResponded handles what comes back to a re-INVITE.
func (l *Leg) reinviteResponded(v *invitation, res *sip.Response, err error) {
	if l.offers.ours != v || l.phase == ended {
		if err == nil && res.IsSuccess() { // it crossed our BYE, and wants its ACK
			v.unacked = true
			l.confirmLate(v)
		}
		return
	}
	switch {
	case err != nil:
		l.reinviteFailed(v, err)
	case res.IsProvisional():
		v.heard = true
		if v.cancel != nil {
			l.sendCancel(v)
		}
	case res.IsSuccess():
		l.reinviteAccepted(v, res)
	default:
		l.reinviteRefused(v, res)
	}
}

func (l *Leg) reinviteAccepted(v *invitation, res *sip.Response) {
	if v.unacked { // again, while Ack is awaited
		return
	}
	v.stop()
	l.d.refresh(res)
	v.unacked = true
	l.offers.next = nil
	if len(v.req.Body()) > 0 {
		l.confirm(v, nil)
		l.offers.ours = nil
	}
	l.tell(OfferAnswered{Status: res.StatusCode, Phrase: res.Reason, Body: session(res)})
}

// reinviteFailed: no response within 64*T1 means that the dialog is gone (RFC 3261
// s12.2.1.2), a lost flow only that this offer is.
func (l *Leg) reinviteFailed(v *invitation, err error) {
	v.stop()
	l.offers.ours, l.offers.next = nil, nil
	event := offerFailed(err)
	if event.Status == 408 {
		l.peerGone(event)
		return
	}
	l.tell(event)
}

func (l *Leg) peerGone(event OfferAnswered) {
	l.sendBye(nil)
	l.leave(true)
	l.conclude(event, Ended{Cause: CausePeerGone})
}

func (l *Leg) reinviteRefused(v *invitation, res *sip.Response) {
	v.stop()
	p := l.offers.next
	event := OfferAnswered{Status: res.StatusCode, Phrase: res.Reason}
	switch {
	case res.StatusCode == 481 || res.StatusCode == 408:
		l.offers.ours, l.offers.next = nil, nil
		l.peerGone(event)
		return
	case res.StatusCode == 491 && p.refused < maxGlare:
		l.offers.ours = nil
		p.refused++
		p.pause = l.after(glarePause(l.calls != nil), func() {
			if l.offers.next == p {
				p.pause = nil
				l.tryReinvite()
			}
		})
		return
	}
	if again := l.authorized(v.req, res, &v.attempt); again != nil {
		v.req = again
		err := l.start(v)
		if err == nil {
			v.timeout = l.after(giveUp, func() { l.reinviteTimedOut(v) })
			return
		}
		event = offerFailed(err)
	}
	l.offers.ours, l.offers.next = nil, nil
	l.tell(event)
}

// glarePause is how long to wait after 491 (RFC 3261 s14.1): 2.1 to 4 s for the
// owner of the Call-ID, up to 2 s for the other, in steps of 10 ms.
func glarePause(ownsCallID bool) time.Duration {
	if ownsCallID {
		return time.Duration(210+rand.IntN(191)) * 10 * time.Millisecond
	}
	return time.Duration(rand.IntN(201)) * 10 * time.Millisecond
}

// gotReinvite handles a re-INVITE of the peer (RFC 3261 s14.2).
func (l *Leg) gotReinvite(tx *sipua.ServerTx) {
	switch {
	case l.phase == offered, l.offers.theirs != nil:
		tx.Reject(sipua.Reject(500, "", retryAfter()))
		return
	case l.offers.ours != nil, l.calls != nil && l.calls.unacked, l.offerInAck():
		tx.Reject(sipua.Reject(491, ""))
		return
	case l.bye != nil || l.parted:
		tx.Reject(sipua.Reject(487, ""))
		return
	}
	body, err := sipua.SessionBody(tx.Request)
	if err != nil {
		l.cfg.Log.Info("re-INVITE refused", "reason", err)
		tx.Reject(err)
		return
	}
	l.offers.theirs = tx
	tx.OnCancel(func([]string) { l.box.put(func() { l.offerTakenBack(tx) }) })
	l.tell(Offer{Body: body, Request: tx.Request})
}

// session is the SDP of a message that cannot be refused for what else it has.
func session(msg sip.Message) []byte {
	body, _ := sipua.SessionBody(msg) //nolint:errcheck // see above
	return body
}

// offerInAck says that an ACK with the answer to an offer of ours is still to come
// (RFC 5407 s3.1.5).
func (l *Leg) offerInAck() bool {
	for _, c := range l.unacked {
		if c.offering {
			return true
		}
	}
	return false
}

func (l *Leg) offerTakenBack(tx *sipua.ServerTx) {
	if l.offers.theirs != tx {
		return
	}
	l.offers.theirs = nil
	l.send(tx, tx.NewResponse(487, ""))
	l.tryReinvite()
	l.tell(OfferWithdrawn{})
}

// AnswerOffer accepts the peer's Offer with 200, which is repeated until its ACK.
// Errors: ErrState without an Offer, ErrEnded, sipua.ErrUnsafeHeader.
func (l *Leg) AnswerOffer(body []byte, headers ...sip.Header) error {
	if err := l.hasOffer(); err != nil {
		return err
	}
	tx := l.offers.theirs
	res := l.response(tx, 200, "", body, headers)
	if err := ignoreLostFlow(tx.Respond(res)); err != nil {
		return err
	}
	l.offers.theirs = nil
	l.d.refresh(tx.Request)
	l.await(&confirmation{tx: tx, res: res, seq: tx.Request.CSeq().SeqNo, offering: len(session(tx.Request)) == 0})
	return nil
}

// RejectOffer refuses the peer's Offer, with 300 to 699; the session stays as it
// was (RFC 3261 s14.2). Errors: ErrStatus, ErrState without an Offer, ErrEnded,
// sipua.ErrUnsafeHeader.
func (l *Leg) RejectOffer(status int, phrase string, headers ...sip.Header) error {
	if status < 300 || status > 699 {
		return ErrStatus
	}
	if err := l.hasOffer(); err != nil {
		return err
	}
	tx := l.offers.theirs
	if err := ignoreLostFlow(tx.Respond(l.response(tx, status, phrase, nil, headers))); err != nil {
		return err
	}
	l.offers.theirs = nil
	l.tryReinvite()
	return nil
}

func (l *Leg) hasOffer() error {
	switch {
	case l.parted:
		return ErrEnded
	case l.offers.theirs == nil:
		return ErrState
	}
	return nil
}

// leaveOffers ends what re-INVITEs are under way when the dialog ends (s15.1.2).
func (l *Leg) leaveOffers() {
	if tx := l.offers.theirs; tx != nil {
		l.send(tx, tx.NewResponse(487, ""))
	}
	if v := l.offers.ours; v != nil {
		v.stop()
		if v.tx != nil {
			time.AfterFunc(giveUp, v.tx.Terminate)
		}
	}
	if p := l.offers.next; p != nil && p.pause != nil {
		p.pause.Stop()
	}
	l.offers = offers{}
}
