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

// once are the headers that a message has exactly once; sipgo accepts any number
// of them (RFC 3261 s8.1.1). atMostOnce are those that it may lack.
//
//nolint:gochecknoglobals // never written
var (
	once       = []string{"From", "To", "Call-ID", "CSeq"}
	atMostOnce = []string{"Max-Forwards", "Content-Length", "Content-Type", "Expires"}
)

// validate checks what the parser lets pass: RFC 3261 s8.1.1, s8.2, s16.3. The
// error is a Rejection.
func (ep *Endpoint) validate(req *sip.Request) error {
	if !strings.EqualFold(req.SipVersion, "SIP/2.0") {
		return Reject(505, "")
	}
	for _, check := range []func(*sip.Request) error{validCounts, validIdentity, validVia, validTarget, ep.validMethod} {
		if err := check(req); err != nil {
			return err
		}
	}
	if req.IsAck() || req.IsCancel() {
		return nil // RFC 3261 s8.2.2.3: Require is no reason to refuse these
	}
	if err := validHops(req); err != nil {
		return err
	}
	if bad := ep.unsupported(req); len(bad) > 0 {
		return Reject(420, "", HeaderLine{"Unsupported", strings.Join(bad, ", ")})
	}
	return nil
}

func validCounts(req *sip.Request) error {
	for _, name := range once {
		switch n := len(Values(req, name)); {
		case n == 0:
			return Reject(400, "Missing "+name)
		case n > 1:
			return Reject(400, name+" more than once")
		}
	}
	for _, name := range atMostOnce {
		if len(Values(req, name)) > 1 {
			return Reject(400, name+" more than once")
		}
	}
	if len(Values(req, "Contact")) > maxContacts {
		return Reject(400, "Too many Contacts")
	}
	return nil
}

// validTarget checks the Request-URI.
func validTarget(req *sip.Request) error {
	uri := req.Recipient
	if s := strings.ToLower(uri.Scheme); s != "sip" && s != "sips" {
		return Reject(416, "")
	}
	if uri.Host == "" || strings.ContainsAny(uri.Host, " \t<>\"") {
		return Reject(400, "Bad Request-URI")
	}
	if len(uri.Headers) > 0 {
		return Reject(400, "Request-URI with headers") // RFC 3261 s19.1.5
	}
	return nil
}

func (ep *Endpoint) validMethod(req *sip.Request) error {
	if slices.Contains(ep.cfg.Allow, string(req.Method)) {
		return nil
	}
	status := 501
	if knownMethod(string(req.Method)) {
		status = 405
	}
	return Reject(status, "", HeaderLine{"Allow", ep.Allow()})
}

// validHops refuses what may go no further. Only a request that begins something
// would: what belongs to a dialog, or is for ourselves, has arrived.
func validHops(req *sip.Request) error {
	mf := req.MaxForwards()
	switch {
	case mf == nil:
		return nil
	case mf.Val() > 255:
		return Reject(400, "Max-Forwards out of range")
	case mf.Val() == 0 && ToTag(req) == "" && req.Method != sip.OPTIONS && req.Method != sip.REGISTER:
		return Reject(483, "")
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

// validVia checks the topmost Via.
func validVia(req *sip.Request) error {
	vias := Values(req, "Via")
	if len(vias) == 0 {
		return Reject(400, "Missing Via")
	}
	if len(vias) > maxVias {
		return Reject(400, "Too many Via")
	}
	via := req.Via()
	if !strings.EqualFold(via.ProtocolName, "SIP") || via.ProtocolVersion != "2.0" {
		return Reject(400, "Bad Via")
	}
	if len(viaBranch(via)) > maxValue {
		return Reject(400, "Branch too long")
	}
	return nil // without a branch the whole identity counts; see serverKey
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
// s18.2.1, RFC 3581 s4), whatever the sender wrote there.
func stampVia(via *sip.ViaHeader, from netip.AddrPort) {
	host := from.Addr().Unmap().String()
	if via.Host != host || via.Params.Has("rport") || via.Params.Has("received") {
		via.Params.Add("received", host)
	}
	if via.Params.Has("rport") {
		via.Params.Add("rport", strconv.Itoa(int(from.Port())))
	}
}
