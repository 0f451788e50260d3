package registrar

import (
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"

	"wakebridge/sipua"
	"wakebridge/sipua/header"
	"wakebridge/sipua/location"
)

// headers are those of the 200: the requester's own Contacts exactly as it sent
// them, the others of the AOR without push parameters (RFC 8599 s4), the push
// services, and the fates of calls that the device was too late for.
func (r *Registrar) headers(a answer) []sip.Header {
	var out []sip.Header
	own := make(map[string]bool)
	for _, c := range a.reg.contacts {
		own[c.value] = true
		out = append(out, sip.NewHeader("Contact", withExpires(c.value, c.expires)))
	}
	now := time.Now()
	services := a.reg.services
	var fates []location.Fate
	for _, d := range r.cfg.Memory.Devices(a.reg.aor) {
		mine := false
		for _, b := range d.Bindings {
			if own[b.Contact] {
				mine = true
				continue
			}
			if other, left := shown(b.Contact), b.Expires.Sub(now); other != "" && left > 0 {
				out = append(out, sip.NewHeader("Contact", withExpires(other, left)))
			}
		}
		if mine && a.reg.announced && !d.Push.HasToken() {
			services = nil // another phone keeps the token (push.shared_token): this one must not rely on being woken
		}
		if mine {
			fates = append(fates, r.tell(d, a.tx.Flow())...)
		}
	}
	seen := make(map[string]bool)
	for _, fc := range services {
		if !seen[fc.PNS] {
			seen[fc.PNS] = true
			out = append(out, sip.NewHeader(header.NameFeatureCaps, fc.String()))
		}
	}
	for _, f := range fates {
		id, err := uuid.Parse(f.UUID)
		if err != nil {
			r.log.Error("fate without a UUID", "device", f.DeviceKey, "error", err)
			continue
		}
		out = append(out, sip.NewHeader(header.NameCallEnded, header.CallEnded{UUID: id, Cause: f.Cause, Text: f.Text}.String()))
	}
	if r.cfg.Supported != "" {
		out = append(out, sip.NewHeader("Supported", r.cfg.Supported))
	}
	if a.reg.outbound { // RFC 5626 s6
		out = append(out, sip.NewHeader("Require", "outbound"))
	}
	for _, hop := range a.reg.path { // RFC 3327 s5.3
		out = append(out, sip.NewHeader(header.NamePath, hop))
	}
	out = append(out, sip.NewHeader("Date", now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")))
	return out
}

// tell takes the fates of a device: those that the answer on f tells are returned,
// Late sees to the others. An answer that is lost with f is made good by the next one,
// over another flow; what Late tells would ring again, so it is told once.
func (r *Registrar) tell(d location.Device, f *sipua.Flow) []location.Fate {
	if d.Push.FateHeader || r.cfg.Late == nil {
		return r.cfg.Memory.TakeFates(d.Ref(), location.FlowID(f.ID()))
	}
	fates := r.cfg.Memory.TakeFates(d.Ref(), 0)
	if len(fates) == 0 {
		return nil
	}
	return r.cfg.Late(d, fates)
}

// withExpires is a Contact value with the expires parameter that we granted; all
// the rest stays as it is.
func withExpires(contact string, d time.Duration) string {
	params := splitParams(contact)
	out := params[:1]
	for _, p := range params[1:] {
		name, _, _ := strings.Cut(p, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "expires") {
			out = append(out, p)
		}
	}
	return strings.Join(append(out, "expires="+header.FormatSeconds(d)), ";")
}

// splitParams splits a Contact at the semicolons of its header parameters: those
// that stand neither in quotes nor in angle brackets. The first part is name and
// address.
func splitParams(s string) []string {
	var out []string
	quoted, escaped, bracket, start := false, false, false, 0
	for i := range len(s) {
		switch c := s[i]; {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"' && !bracket:
			quoted = !quoted
		case quoted:
		case c == '<':
			bracket = true
		case c == '>':
			bracket = false
		case c == ';' && !bracket:
			out = append(out, s[start:i])
			start = i + 1
		}
	}
	return append(out, s[start:])
}

// shown is a stored Contact without what only its own device may see.
func shown(contact string) string {
	var uri sip.Uri
	var params sip.HeaderParams
	if _, err := sip.ParseAddressValue(contact, &uri, &params); err != nil {
		return ""
	}
	c := sip.ContactHeader{Address: header.StripPush(uri), Params: header.StripPushParams(params)}
	return c.Value()
}
