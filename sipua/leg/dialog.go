package leg

import (
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/header"
)

// dialog is the state of RFC 3261 s12: what a request inside the dialog needs.
type dialog struct {
	flow      *sipua.Flow
	callID    string
	local     sip.FromHeader // as From of our requests, tag included
	remote    sip.ToHeader   // as To of our requests, tag included
	localSeq  uint32
	remoteSeq uint32 // of the peer's last request
	heard     bool   // remoteSeq is set; 0 is a number too
	target    sip.Uri
	routes    []sip.Uri
	hop       hop
}

func (d *dialog) localTag() string  { return sipua.Tag(d.local.Params) }
func (d *dialog) remoteTag() string { return sipua.Tag(d.remote.Params) }

// dialogOfRequest is the dialog that an INVITE makes for us as UAS (s12.1.1).
func dialogOfRequest(tx *sipua.ServerTx) dialog {
	req := tx.Request
	d := dialog{flow: tx.Flow(), callID: req.CallID().Value(), remoteSeq: req.CSeq().SeqNo,
		remote: sip.ToHeader{DisplayName: req.From().DisplayName, Address: *req.From().Address.Clone(), Params: req.From().Params.Clone()},
		local:  sip.FromHeader{DisplayName: req.To().DisplayName, Address: *req.To().Address.Clone(), Params: withTag(req.To().Params, tx.Tag())},
		target: *req.From().Address.Clone(), routes: recorded(req)}
	d.heard = true
	d.refresh(req)
	return d
}

// dialogOfResponse is the dialog that a 2xx to our INVITE makes for us as UAC
// (s12.1.2).
func dialogOfResponse(f *sipua.Flow, req *sip.Request, res *sip.Response) dialog {
	d := dialog{flow: f, callID: req.CallID().Value(), localSeq: req.CSeq().SeqNo, target: *req.Recipient.Clone(),
		local:  sip.FromHeader{DisplayName: req.From().DisplayName, Address: *req.From().Address.Clone(), Params: req.From().Params.Clone()},
		remote: sip.ToHeader{DisplayName: res.To().DisplayName, Address: *res.To().Address.Clone(), Params: res.To().Params.Clone()},
		routes: recorded(res)}
	slices.Reverse(d.routes)
	d.refresh(res)
	return d
}

// inOrder says that the peer's CSeq rises, and notes it (s12.2.2). A repetition never
// comes here, so an equal number is as wrong as a lower one.
func (d *dialog) inOrder(seq uint32) bool {
	if d.heard && seq <= d.remoteSeq {
		return false
	}
	d.remoteSeq, d.heard = seq, true
	return true
}

// withTag is params with the tag that the endpoint chose for our responses.
func withTag(params sip.HeaderParams, tag string) sip.HeaderParams {
	out := params.Clone()
	if sipua.Tag(out) == "" {
		out.Add("tag", tag)
	}
	return out
}

func recorded(msg interface{ GetHeaders(string) []sip.Header }) []sip.Uri {
	var out []sip.Uri
	for _, h := range msg.GetHeaders("Record-Route") {
		if rr, ok := h.(*sip.RecordRouteHeader); ok {
			out = append(out, *rr.Address.Clone())
		}
	}
	return out
}

// refresh takes the remote target from a message's Contact (s12.2). sipgo's
// Contact() is the last one; a message that makes a dialog has just one, and of
// several the first is the best guess.
func (d *dialog) refresh(msg interface{ GetHeaders(string) []sip.Header }) {
	for _, h := range msg.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok || c.Address.Wildcard || c.Address.Host == "" {
			continue
		}
		d.target = *c.Address.Clone()
		d.target.Headers = nil // s19.1.5: not part of a Request-URI
		return
	}
}

// request makes a request inside the dialog with the next CSeq.
func (d *dialog) request(method sip.RequestMethod) *sip.Request {
	d.localSeq++
	return d.numbered(method, d.localSeq)
}

// numbered makes a request inside the dialog (s12.2.1.1); ACK has the number of
// its INVITE.
func (d *dialog) numbered(method sip.RequestMethod, seq uint32) *sip.Request {
	uri, routes := *d.target.Clone(), d.routes
	if len(routes) > 0 && !loose(routes[0]) {
		// A strict router wants to be the Request-URI, and the target last.
		routes = append(slices.Clone(routes[1:]), uri)
		uri = *d.routes[0].Clone()
		uri.Headers = nil
	}
	req := sip.NewRequest(method, uri)
	for _, r := range routes {
		req.AppendHeader(&sip.RouteHeader{Address: *r.Clone()})
	}
	from, to, id := d.local, d.remote, sip.CallIDHeader(d.callID)
	from.Params, to.Params = d.local.Params.Clone(), d.remote.Params.Clone()
	req.AppendHeader(&from)
	req.AppendHeader(&to)
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: method})
	return req
}

func loose(uri sip.Uri) bool {
	return slices.ContainsFunc(uri.UriParams, func(kv sip.HeaderKV) bool { return strings.EqualFold(kv.K, "lr") })
}

// Address is a name and a URI, as From and To carry them.
type Address struct {
	Name string // as people read it; "" for none
	URI  sip.Uri
}

func (a Address) display() string { return header.EscapeDisplay(a.Name) }
