package sipua

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// headersOf lists the headers of a message; sip.Message does not.
func headersOf(msg sip.Message) []sip.Header {
	switch m := msg.(type) {
	case *sip.Request:
		return m.Headers()
	case *sip.Response:
		return m.Headers()
	}
	return nil
}

// compactNames are the short forms of headers that sipgo keeps as they came
// (RFC 3261 s7.3.3 and later RFCs).
//
//nolint:gochecknoglobals // never written
var compactNames = map[string]string{
	"supported": "k", "subject": "s", "event": "o", "allow-events": "u", "content-encoding": "e",
	"session-expires": "x", "refer-to": "r", "referred-by": "b", "content-type": "c", "contact": "m",
	"accept-contact": "a", "reject-contact": "j", "request-disposition": "d",
}

// Values lists the values of all headers of that name, the compact form too, in
// order. A comma-separated list stays one value.
func Values(msg sip.Message, name string) []string {
	short := compactNames[strings.ToLower(name)]
	var out []string
	for _, h := range headersOf(msg) {
		if n := h.Name(); strings.EqualFold(n, name) || short != "" && strings.EqualFold(n, short) {
			out = append(out, h.Value())
		}
	}
	return out
}

// Value is the first value of the header of that name, "" if there is none.
func Value(msg sip.Message, name string) string {
	if v := Values(msg, name); len(v) > 0 {
		return v[0]
	}
	return ""
}

// Tokens splits comma-separated header values (of Supported, Require, Allow) into
// their tokens.
func Tokens(values []string) []string {
	var out []string
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			if t = strings.TrimSpace(t); t != "" {
				out = append(out, t)
			}
		}
	}
	return out
}

// Tag is the parameter tag of From or To; tags are compared byte for byte, but
// the parameter's name may be in any case, which sipgo does not know.
func Tag(params sip.HeaderParams) string {
	for _, kv := range params {
		if strings.EqualFold(kv.K, "tag") {
			return kv.V
		}
	}
	return ""
}

// FromTag is the tag of a message's From.
func FromTag(msg sip.Message) string { return Tag(msg.From().Params) }

// ToTag is the tag of a message's To.
func ToTag(msg sip.Message) string { return Tag(msg.To().Params) }

// NewResponse makes the response to a validated request, with To tag tag unless
// the request has one or status is 100 (RFC 3261 s8.2.6). Each call with the same
// tag belongs to the same dialog; sipgo's own function makes a new tag each time.
func NewResponse(req *sip.Request, status int, phrase, tag string) *sip.Response {
	if phrase == "" {
		phrase = Phrase(status)
	}
	res := sip.NewResponse(status, phrase)
	if req.IsInvite() && status > 100 && status < 300 {
		for _, h := range req.GetHeaders("Record-Route") {
			res.AppendHeader(sip.HeaderClone(h))
		}
	}
	for _, h := range req.GetHeaders("Via") {
		res.AppendHeader(sip.HeaderClone(h))
	}
	res.AppendHeader(sip.HeaderClone(req.From()))
	to, ok := sip.HeaderClone(req.To()).(*sip.ToHeader)
	if ok {
		if status > 100 && Tag(to.Params) == "" && tag != "" {
			to.Params.Add("tag", tag)
		}
		res.AppendHeader(to)
	}
	res.AppendHeader(sip.HeaderClone(req.CallID()))
	res.AppendHeader(sip.HeaderClone(req.CSeq()))
	if status == 100 {
		for _, h := range req.GetHeaders("Timestamp") {
			res.AppendHeader(sip.HeaderClone(h))
		}
	}
	res.SetBody(nil)
	res.SetTransport(req.Transport())
	return res
}

// safeWire refuses a message in which a header smuggles another one: each header
// must be one line, and no control character may stand in any.
func safeWire(msg sip.Message, text string) error {
	head := text[:len(text)-len(msg.Body())]
	want := len(headersOf(msg)) + 2 // the start line and the empty one
	if n := strings.Count(head, "\r\n"); n != want {
		return fmt.Errorf("%d lines where %d headers should be: %w", n, want-2, ErrUnsafeHeader)
	}
	for line := range bytes.SplitSeq([]byte(head), []byte("\r\n")) {
		if hasControl(line) {
			return ErrUnsafeHeader
		}
	}
	return nil
}

// rawRefusal makes a response to a request that did not parse, from the lines
// that a response must repeat (RFC 3261 s8.2.6.2). nil when it is no request, or
// an ACK, or lacks what a response needs.
func rawRefusal(data []byte, rej *Rejection, agent string) []byte {
	head, _, _ := bytes.Cut(data, []byte("\r\n\r\n"))
	lines := strings.Split(strings.ReplaceAll(string(head), "\r\n", "\n"), "\n")
	start := strings.ToUpper(lines[0])
	if strings.HasPrefix(start, "SIP/") || strings.HasPrefix(start, "ACK ") {
		return nil
	}
	var kept []string
	at := make(map[string]int) // where in kept a header stands
	var open bool              // the line before was kept, so its folded rest belongs to it
	for _, line := range lines[1:] {
		switch {
		case hasControl([]byte(line)):
			open = false
			continue
		case isFolded([]byte(line)):
			if open {
				kept[len(kept)-1] += " " + strings.TrimLeft(line, " \t")
			}
			continue
		}
		name, _, _ := strings.Cut(line, ":")
		full := repeated[strings.ToLower(strings.TrimSpace(name))]
		_, twice := at[full]
		if open = full == "Via" || full != "" && !twice; open {
			at[full] = len(kept)
			kept = append(kept, line)
		}
	}
	if len(at) < len(once)+1 { // once and Via
		return nil
	}
	if to := &kept[at["To"]]; !strings.Contains(strings.ToLower(squeeze(*to)), ";tag=") {
		*to += ";tag=" + NewTag()
	}
	return fmt.Appendf(nil, "SIP/2.0 %d %s\r\n%s\r\nServer: %s\r\nContent-Length: 0\r\n\r\n",
		rej.Status, rej.Phrase, strings.Join(kept, "\r\n"), agent)
}

//nolint:gochecknoglobals // never written
var repeated = map[string]string{
	"via": "Via", "v": "Via", "from": "From", "f": "From", "to": "To", "t": "To",
	"call-id": "Call-ID", "i": "Call-ID", "cseq": "CSeq",
}
