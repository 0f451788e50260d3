package sipua

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// How many of the headers that may repeat a request may have.
const (
	maxVias     = 70
	maxContacts = 16
	maxValue    = 4 << 10
)

// once are the headers that a request has exactly once; sipgo accepts any number
// of them (RFC 3261 s8.1.1).
var once = []string{"From", "To", "Call-ID", "CSeq"}

// validate checks what the parser lets pass: RFC 3261 s8.1.1, s8.2, s16.3. The
// error is a Rejection.
func (ep *Endpoint) validate(req *sip.Request) error {
	if req.SipVersion != "SIP/2.0" {
		return Reject(505, "")
	}
	for _, name := range once {
		switch n := len(Values(req, name)); {
		case n == 0:
			return Reject(400, "Missing "+name)
		case n > 1:
			return Reject(400, name+" more than once")
		}
	}
	for _, name := range []string{"Max-Forwards", "Content-Length", "Content-Type", "Expires"} {
		if len(Values(req, name)) > 1 {
			return Reject(400, name+" more than once")
		}
	}
	if err := validIdentity(req); err != nil {
		return err
	}
	if err := validVia(req); err != nil {
		return err
	}
	if n := len(Values(req, "Contact")); n > maxContacts {
		return Reject(400, "Too many Contacts")
	}
	if s := strings.ToLower(req.Recipient.Scheme); s != "sip" && s != "sips" {
		return Reject(416, "")
	}
	if req.Recipient.Host == "" {
		return Reject(400, "Request-URI without host")
	}
	if !slices.Contains(ep.cfg.Allow, string(req.Method)) {
		status := 501
		if knownMethod(string(req.Method)) {
			status = 405
		}
		return Reject(status, "", HeaderLine{"Allow", ep.Allow()})
	}
	if req.IsAck() || req.IsCancel() {
		return nil // RFC 3261 s8.2.2.3: Require is no reason to refuse these
	}
	if mf := req.MaxForwards(); mf != nil {
		if mf.Val() == 0 && req.Method != sip.OPTIONS && req.Method != sip.REGISTER {
			return Reject(483, "")
		}
		if mf.Val() > 255 {
			return Reject(400, "Max-Forwards out of range")
		}
	}
	if bad := ep.unsupported(req); len(bad) > 0 {
		return Reject(420, "", HeaderLine{"Unsupported", strings.Join(bad, ", ")})
	}
	return nil
}

// Allow is the value of the Allow header.
func (ep *Endpoint) Allow() string { return strings.Join(ep.cfg.Allow, ", ") }

// Supported is the value of the Supported header, "" when there is no extension.
func (ep *Endpoint) Supported() string { return strings.Join(ep.cfg.Supported, ", ") }

func (ep *Endpoint) unsupported(req *sip.Request) []string {
	var bad []string
	for _, tag := range Tokens(Values(req, "Require")) {
		if !slices.ContainsFunc(ep.cfg.Supported, func(s string) bool { return strings.EqualFold(s, tag) }) {
			bad = append(bad, tag)
		}
	}
	return bad
}

// validIdentity checks From, To, Call-ID and CSeq.
func validIdentity(req *sip.Request) error {
	switch {
	case FromTag(req) == "":
		return Reject(400, "From without tag")
	case len(FromTag(req)) > maxValue || len(ToTag(req)) > maxValue:
		return Reject(400, "Tag too long")
	case req.CallID().Value() == "" || len(req.CallID().Value()) > maxValue:
		return Reject(400, "Bad Call-ID")
	case req.CSeq().MethodName != req.Method:
		return Reject(400, "CSeq method is not the request's")
	case req.CSeq().SeqNo >= 1<<31:
		return Reject(400, "CSeq out of range")
	}
	// From and To may have any scheme (RFC 3261 s20.20); a SIP URI needs a host.
	for _, uri := range []sip.Uri{req.From().Address, req.To().Address} {
		if s := strings.ToLower(uri.Scheme); (s == "sip" || s == "sips") && uri.Host == "" {
			return Reject(400, "URI without host in From or To")
		}
	}
	return nil
}

// validVia checks the topmost Via, which sipgo reads wrongly when it has odd
// white space: its transport comes out empty, or its host has a space.
func validVia(req *sip.Request) error {
	vias := Values(req, "Via")
	if len(vias) == 0 {
		return Reject(400, "Missing Via")
	}
	if len(vias) > maxVias {
		return Reject(400, "Too many Via")
	}
	via := req.Via()
	switch {
	case !strings.EqualFold(via.ProtocolName, "SIP") || via.ProtocolVersion != "2.0" || via.Transport == "":
		return Reject(400, "Bad Via")
	case via.Host == "" || strings.ContainsAny(via.Host, " \t,;"):
		return Reject(400, "Bad Via host")
	case viaBranch(via) == "":
		return Reject(400, "Via without branch")
	}
	return nil
}

// viaBranch is the parameter branch; sipgo finds it only in lower case.
func viaBranch(via *sip.ViaHeader) string {
	for _, kv := range via.Params {
		if strings.EqualFold(kv.K, "branch") {
			return kv.V
		}
	}
	return ""
}

// stampVia notes in the topmost Via where the request came from (RFC 3261
// s18.2.1, RFC 3581 s4).
func stampVia(req *sip.Request, from netip.AddrPort) {
	via := req.Via()
	if host := from.Addr().Unmap().String(); via.Host != host || via.Params.Has("rport") {
		via.Params.Add("received", host)
	}
	if via.Params.Has("rport") {
		via.Params.Add("rport", strconv.Itoa(int(from.Port())))
	}
}
