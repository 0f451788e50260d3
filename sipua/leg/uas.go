package leg

import (
	"errors"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
)

// NewUAS makes the leg of an INVITE that came without a To tag. It is called in
// Handler.Invite, that is in a read loop, so that what follows right behind the
// INVITE, a CANCEL first of all, finds it; everything else is for the owner. The
// caller's offer is sipua.SessionBody(tx.Request).
func NewUAS(cfg Config, tx *sipua.ServerTx) *Leg {
	l := newLeg(cfg)
	l.phase, l.invited = offered, tx
	l.d = dialogOfRequest(tx)
	l.moveTo(tx.Flow())
	cfg.Endpoint.AddDialog(l.d.callID, l.d.localTag(), l.inbox)
	tx.OnCancel(func(reasons []string) {
		l.box.put(func() { l.takenBack(reasons) })
	})
	return l
}

// Ring sends 180. It may be called again: RFC 3261 s13.3.1.1 wants a provisional
// response each minute.
func (l *Leg) Ring(headers ...sip.Header) error { return l.Progress(180, nil, headers...) }

// Progress sends a provisional response, 101 to 199, with or without SDP. Errors:
// ErrStatus, ErrState, ErrEnded, those of sipua.
func (l *Leg) Progress(status int, body []byte, headers ...sip.Header) error {
	switch {
	case status < 101 || status > 199:
		return ErrStatus
	case l.parted:
		return ErrEnded
	case l.phase != offered:
		return ErrState
	}
	return l.invited.Respond(l.response(l.invited, status, "", body, headers))
}

// Answer sends 200 with body, the answer to the INVITE's offer (or an offer, when
// it had none), and repeats it until the ACK comes, which is told as Confirmed.
// Without ACK in 64*T1 the leg sends BYE (RFC 3261 s13.3.1.4). A lost flow is no
// error: it was told as FlowLost, and SetFlow may still come. Errors: ErrState,
// ErrEnded, sipua.ErrUnsafeHeader.
func (l *Leg) Answer(body []byte, headers ...sip.Header) error {
	switch {
	case l.parted:
		return ErrEnded
	case l.phase != offered:
		return ErrState
	}
	res := l.response(l.invited, 200, "", body, headers)
	if err := ignoreLostFlow(l.invited.Respond(res)); err != nil {
		return err
	}
	l.phase = established
	l.await(&confirmation{tx: l.invited, res: res, seq: l.invited.Request.CSeq().SeqNo, initial: true,
		offering: len(session(l.invited.Request)) == 0})
	return nil
}

// ignoreLostFlow drops the error of a final response that found its flow gone: it
// counts as sent and lost.
func ignoreLostFlow(err error) error {
	if errors.Is(err, sipua.ErrFlowGone) {
		return nil
	}
	return err
}

// Reject refuses the INVITE with a final response, 300 to 699; phrase "" is the
// standard one. Ended follows. Errors: ErrStatus, ErrState, ErrEnded,
// sipua.ErrUnsafeHeader; after that one the INVITE still waits.
func (l *Leg) Reject(status int, phrase string, headers ...sip.Header) error {
	switch {
	case status < 300 || status > 699:
		return ErrStatus
	case l.parted:
		return ErrEnded
	case l.phase != offered:
		return ErrState
	}
	err := l.invited.Respond(l.response(l.invited, status, phrase, nil, headers))
	if errors.Is(err, sipua.ErrUnsafeHeader) {
		return err
	}
	if err != nil {
		l.cfg.Log.Info("refusal did not reach the caller", "status", status, "error", err)
	}
	l.leave(false)
	l.part()
	l.later(Ended{Cause: CauseRejected})
	return nil
}

func (l *Leg) dropInvite() {
	l.send(l.invited, l.invited.NewResponse(500, ""))
	l.leave(false)
	l.part()
	l.later(Ended{Cause: CauseRejected})
}

// takenBack handles the CANCEL of the INVITE (the endpoint answered it), or a BYE
// on the early dialog: 487, unless the INVITE has its final response.
func (l *Leg) takenBack(reasons []string) {
	if l.phase != offered {
		return
	}
	l.send(l.invited, l.invited.NewResponse(487, ""))
	l.leave(false)
	l.conclude(Cancelled{Reasons: reasons}, Ended{Cause: CauseCancelled, ByRemote: true, Reasons: reasons})
}

// confirmation is a 2xx of ours on its way to an ACK.
type confirmation struct {
	tx       *sipua.ServerTx
	res      *sip.Response
	seq      uint32 // CSeq of the INVITE; its ACK has the same
	initial  bool
	offering bool // our 2xx has the offer, the ACK its answer
	interval time.Duration
	again    *time.Timer
	deadline *time.Timer
}

func (c *confirmation) stop() {
	c.again.Stop()
	c.deadline.Stop()
}

// await repeats a 2xx at T1, doubling to T2, on every transport, until its ACK
// comes or 64*T1 have passed.
func (l *Leg) await(c *confirmation) {
	c.interval = t1
	c.again = l.after(c.interval, func() { l.again(c) })
	c.deadline = l.after(giveUp, func() { l.unconfirmed(c) })
	l.unacked = append(l.unacked, c)
}

func (l *Leg) waits(c *confirmation) bool {
	for _, u := range l.unacked {
		if u == c {
			return true
		}
	}
	return false
}

func (l *Leg) again(c *confirmation) {
	if !l.waits(c) {
		return
	}
	l.repeat(c)
	c.interval = min(2*c.interval, t2)
	c.again.Reset(c.interval)
}

// repeat sends a 2xx once more: where its INVITE came from, or where the leg went
// when that is gone.
func (l *Leg) repeat(c *confirmation) {
	err := c.tx.Resend()
	if errors.Is(err, sipua.ErrFlowGone) && l.d.flow != c.tx.Flow() {
		err = l.d.flow.WriteMsg(c.res)
	}
	if err != nil {
		l.cfg.Log.Debug("repeat 2xx", "error", err)
	}
}

// ack handles the ACK of a 2xx. It belongs to the INVITE with the same CSeq, not to
// the peer's last request: an INFO may have overtaken it.
func (l *Leg) ack(req *sip.Request) {
	if sipua.FromTag(req) != l.d.remoteTag() {
		return
	}
	for i, c := range l.unacked {
		if c.seq != req.CSeq().SeqNo {
			continue
		}
		c.stop()
		l.unacked = append(l.unacked[:i:i], l.unacked[i+1:]...)
		if l.bye != nil && c.initial {
			l.sendHeldBye()
			return
		}
		l.tryReinvite()
		l.tell(Confirmed{Body: session(req), Reinvite: !c.initial})
		return
	}
}

// unconfirmed ends a dialog whose 2xx got no ACK (s13.3.1.4, s14.2).
func (l *Leg) unconfirmed(c *confirmation) {
	if !l.waits(c) {
		return
	}
	if l.bye != nil {
		l.sendHeldBye()
		return
	}
	l.sendBye(nil)
	l.leave(true)
	l.conclude(Ended{Cause: CauseAckTimeout})
}
