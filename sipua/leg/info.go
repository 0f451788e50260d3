package leg

import (
	"slices"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
)

// maxInfos is how many INFO may wait for AnswerInfo, and as many of ours for their
// response.
const maxInfos = 16

// infos are the INFO of a dialog (RFC 6086) without final response.
type infos struct {
	theirs []*sipua.ServerTx
	ours   int
	last   int // number of the newest of ours
}

// gotInfo tells the owner of an INFO.
func (l *Leg) gotInfo(tx *sipua.ServerTx) {
	switch {
	case l.bye != nil || l.parted:
		tx.Reject(sipua.Reject(487, ""))
		return
	case len(l.infos.theirs) >= maxInfos:
		tx.Reject(sipua.Reject(503, "", sipua.HeaderLine{Name: "Retry-After", Value: "1"}))
		return
	}
	l.infos.theirs = append(l.infos.theirs, tx)
	l.tell(Info{ContentType: sipua.Value(tx.Request, "Content-Type"), Body: tx.Request.Body(), Request: tx.Request, tx: tx})
}

// AnswerInfo answers an INFO of the peer, with 200 to 699; phrase "" is the standard
// one. Errors: ErrStatus, ErrEnded (it was answered with 487 then), ErrState if it was
// answered, sipua.ErrUnsafeHeader, after which it still waits.
func (l *Leg) AnswerInfo(i Info, status int, phrase string, headers ...sip.Header) error {
	switch {
	case status < 200 || status > 699:
		return ErrStatus
	case l.parted:
		return ErrEnded
	}
	at := slices.Index(l.infos.theirs, i.tx)
	if at < 0 {
		return ErrState
	}
	if err := ignoreLostFlow(i.tx.Respond(l.response(i.tx, status, phrase, nil, headers))); err != nil {
		return err
	}
	l.infos.theirs = slices.Delete(l.infos.theirs, at, at+1)
	return nil
}

// Info sends an INFO within the established dialog. Its outcome is told as
// InfoAnswered with the number that is returned, or not at all when the leg ends
// before. Errors: ErrPending when too many wait, ErrState, ErrEnded.
func (l *Leg) Info(contentType string, body []byte, headers ...sip.Header) (number int, err error) {
	switch {
	case l.parted:
		return 0, ErrEnded
	case l.phase != established || l.calls != nil && l.calls.unacked:
		return 0, ErrState
	case l.infos.ours >= maxInfos:
		return 0, ErrPending
	}
	l.infos.ours++
	l.infos.last++
	number = l.infos.last
	req := l.d.request(sip.INFO)
	for _, h := range headers {
		req.AppendHeader(h)
	}
	l.authorize(req)
	if len(body) > 0 {
		setBody(req, body, contentType)
	}
	l.ask(&question{req: req, done: func(res *sip.Response, err error) { l.infoAnswered(number, res, err) }})
	return number, nil
}

// infoAnswered tells the outcome of an INFO. Whatever it is, the call goes on: 481 or
// silence would end the dialog by RFC 3261 s12.2.1.2, but some peers know INFO so badly
// that this is their answer to it, and a dialog that is gone shows elsewhere.
func (l *Leg) infoAnswered(number int, res *sip.Response, err error) {
	l.infos.ours--
	event := InfoAnswered{Number: number, Err: err}
	if err != nil {
		event.Status = sipua.Status(err)
	} else {
		event.Status = res.StatusCode
	}
	l.tell(event)
}

// leaveInfos answers what waits when the dialog ends (s15.1.2).
func (l *Leg) leaveInfos() {
	for _, tx := range l.infos.theirs {
		l.send(tx, tx.NewResponse(487, ""))
	}
	l.infos.theirs = nil
}
