package sipua

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// receive handles one framed message in the read loop of its flow. A panic ends
// this message only.
func (ep *Endpoint) receive(f *Flow, fr frame) {
	defer func() {
		if p := recover(); p != nil {
			ep.panicked("message from "+f.remote.String(), p)
			ep.refuseRaw(f, fr.data, Reject(500, ""))
		}
	}()
	f.lastMessage.Store(int64(ep.since()))
	if fr.fault != nil {
		ep.refuseRaw(f, fr.data, fr.fault)
		return
	}
	msg, err := ep.parser.parse(fr.data)
	if err != nil {
		ep.log.Debug("message does not parse", "flow", f, "error", err)
		ep.refuseRaw(f, fr.data, Reject(400, "Bad message"))
		return
	}
	ep.metrics.received(f.transport, msg)
	msg.SetTransport(f.transport.String())
	msg.SetSource(f.remote.String())
	if via := msg.Via(); via != nil {
		if _, ok := msg.(*sip.Request); ok {
			stampVia(via, f.remote)
		}
	}
	if tap := ep.cfg.Tap; tap != nil {
		tap(Traffic{Flow: f, At: time.Now(), Message: msg, Raw: fr.data})
	}
	switch msg := msg.(type) {
	case *sip.Request:
		ep.request(f, msg, fr.data)
	case *sip.Response:
		ep.response(f, msg)
	}
}

// refuseRaw answers a message that nobody can own.
func (ep *Endpoint) refuseRaw(f *Flow, data []byte, reason error) {
	rej := asRejection(reason)
	ep.metrics.rejected.WithLabelValues(strconv.Itoa(rej.Status)).Inc()
	res := rawRefusal(data, rej, ep.cfg.Agent)
	if res == nil {
		return
	}
	if err := f.wire.send(res); err != nil {
		ep.log.Debug("refuse", "flow", f, "error", err)
	}
}

func asRejection(err error) *Rejection {
	var rej *Rejection
	if errors.As(err, &rej) {
		return rej
	}
	return Reject(Status(err), "")
}

// request validates a request and posts it to its owner: the transaction that it
// repeats, the dialog that it belongs to, or the Handler.
func (ep *Endpoint) request(f *Flow, req *sip.Request, raw []byte) {
	if err := ep.validate(req); err != nil {
		if req.From() == nil || req.To() == nil || req.CallID() == nil || req.CSeq() == nil || req.Via() == nil {
			ep.refuseRaw(f, raw, err)
			return
		}
		ep.refuse(f, req, err)
		return
	}
	key := serverKey(req, req.Method)
	switch req.Method {
	case sip.ACK:
		ep.ack(f, req)
		return
	case sip.CANCEL:
		ep.cancelRequest(f, req)
		return
	}
	if tx := ep.txs.server(key); tx != nil {
		tx.repeated(f, req)
		return
	}
	ep.begin(f, req, key)
}

// begin makes the transaction of a new request and hands it to its owner.
func (ep *Endpoint) begin(f *Flow, req *sip.Request, key string) {
	tag := ToTag(req)
	var owner Dialog
	if tag != "" && req.Method != sip.REGISTER {
		if owner = ep.dialog(req.CallID().Value(), tag); owner == nil || !owner.Knows(f) {
			ep.refuse(f, req, Reject(481, ""))
			return
		}
	}
	if owner == nil {
		if ep.txs.isMerged(req) {
			ep.refuse(f, req, Reject(482, "Merged request"))
			return
		}
		if ep.cfg.Admit != nil {
			if err := ep.cfg.Admit(f, req); err != nil {
				ep.refuse(f, req, err)
				return
			}
		}
	}
	tx, err := ep.newServerTx(f, req, key)
	if err != nil {
		ep.refuse(f, req, err)
		return
	}
	defer func() {
		if p := recover(); p != nil {
			ep.panicked(string(req.Method)+" from "+f.remote.String(), p)
			tx.Reject(Reject(500, ""))
		}
	}()
	switch {
	case owner != nil:
		owner.Request(tx)
	case req.IsInvite():
		ep.cfg.Handler.Invite(tx)
	default:
		ep.cfg.Handler.Request(tx)
	}
	tx.trying()
}

// ack gives an ACK to the transaction whose final response it confirms
// (>= 300), else to the dialog (2xx). An ACK is never answered.
func (ep *Endpoint) ack(f *Flow, req *sip.Request) {
	if tx := ep.txs.server(serverKey(req, sip.INVITE)); tx != nil && tx.from(f) && tx.acked(req) {
		return
	}
	if d := ep.dialog(req.CallID().Value(), ToTag(req)); d != nil && d.Knows(f) {
		d.Ack(req, f)
	}
}

// cancelRequest answers a CANCEL and tells the INVITE's owner. It never reaches
// sipgo's state machine, which would send 487 by itself and, after a crossing
// 200, retransmit the 200.
func (ep *Endpoint) cancelRequest(f *Flow, req *sip.Request) {
	tx := ep.txs.server(serverKey(req, sip.INVITE))
	if tx == nil || !tx.from(f) {
		ep.refuse(f, req, Reject(481, ""))
		return
	}
	res := NewResponse(req, 200, "", tx.tag)
	res.AppendHeader(sip.NewHeader("Server", ep.cfg.Agent))
	if err := ep.wayBack(f, req).WriteMsg(res); err != nil {
		ep.log.Debug("answer CANCEL", "flow", f, "error", err)
	}
	tx.cancelled(Values(req, "Reason"))
}

// refuse answers without a transaction (RFC 3261 s8.2.7): a repeated request is
// refused again, so nothing needs to be remembered. An ACK gets no answer.
func (ep *Endpoint) refuse(f *Flow, req *sip.Request, reason error) {
	rej := asRejection(reason)
	ep.metrics.rejected.WithLabelValues(strconv.Itoa(rej.Status)).Inc()
	ep.log.Debug("request refused", "flow", f, "method", req.Method, "status", rej.Status, "reason", rej.Phrase)
	if req.IsAck() {
		return
	}
	if err := ep.wayBack(f, req).WriteMsg(ep.rejection(req, rej, NewTag())); err != nil {
		ep.log.Debug("refuse", "flow", f, "error", err)
	}
}

func (ep *Endpoint) rejection(req *sip.Request, rej *Rejection, tag string) *sip.Response {
	res := NewResponse(req, rej.Status, rej.Phrase, tag)
	res.AppendHeader(sip.NewHeader("Server", ep.cfg.Agent))
	for _, h := range rej.Headers {
		res.AppendHeader(sip.NewHeader(h.Name, h.Value))
	}
	return res
}

// response gives a response to the transaction that waits for it. One that
// nobody waits for is dropped (RFC 3261 s18.1.2), and so is one that was meant for
// somebody behind us (s8.1.3.3).
func (ep *Endpoint) response(f *Flow, res *sip.Response) {
	if res.StatusCode < 100 || res.StatusCode > 699 || len(Values(res, "Via")) != 1 ||
		slices.ContainsFunc(once, func(name string) bool { return len(Values(res, name)) != 1 }) {
		return
	}
	if tx := ep.txs.client(clientKey(viaBranch(res.Via()), res.CSeq().MethodName)); tx != nil {
		tx.receive(f, res)
	}
}

// serverKey is what makes two requests the same (RFC 3261 s17.2.3); method is
// INVITE for the ACK and the CANCEL of an INVITE.
func serverKey(req *sip.Request, method sip.RequestMethod) string {
	via := req.Via()
	branch := viaBranch(via)
	var b strings.Builder
	if strings.HasPrefix(branch, "z9hG4bK") && len(branch) > len("z9hG4bK") {
		b.WriteString(branch)
	} else { // RFC 2543: no cookie, so the whole identity counts
		b.WriteString(req.CallID().Value())
		b.WriteByte(' ')
		b.WriteString(FromTag(req))
		b.WriteByte(' ')
		b.WriteString(strconv.FormatUint(uint64(req.CSeq().SeqNo), 10))
		b.WriteByte(' ')
		b.WriteString(branch)
	}
	b.WriteByte(' ')
	b.WriteString(strings.ToLower(via.Host))
	b.WriteByte(':')
	b.WriteString(strconv.Itoa(via.Port))
	b.WriteByte(' ')
	b.WriteString(string(method))
	return b.String()
}

func clientKey(branch string, method sip.RequestMethod) string { return branch + " " + string(method) }
