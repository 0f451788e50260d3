package bridge

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/header"
)

// caller is who calls, as a callee may see it.
type caller struct {
	name    string // for people, cleaned
	handle  string // number or user name; "" if private
	kind    string // "phone" or "generic"
	uri     sip.Uri
	private bool
}

// identify finds out who calls, from the proven origin first.
func (b *Bridge) identify(req *sip.Request, origin Origin) caller {
	from := req.From()
	who := caller{name: header.UnescapeDisplay(from.DisplayName), uri: dialable(from.Address, from.Address.Host)}
	if !origin.User.IsZero() {
		who.uri = *origin.User.URI()
		if name := b.cfg.Directory.DisplayName(origin.User); name != "" {
			who.name = name
		}
	} else if t := b.cfg.Trunks.ByName(origin.Trunk); t != nil && t.TrustIdentity {
		ids, err := header.ParseIdentities(sipua.Values(req, header.NameAssertedIdentity)...)
		if err == nil && len(ids) > 0 {
			who.uri = dialable(ids[0].URI, from.Address.Host)
			if ids[0].Display != "" {
				who.name = ids[0].Display
			}
		}
	}
	privacy, err := header.ParsePrivacy(sipua.Values(req, header.NamePrivacy)...)
	who.private = err != nil || privacy.HidesCaller() || header.IsAnonymous(from.Address)
	who.handle, who.kind = header.Clean(who.uri.User), "generic"
	if isPhoneNumber(who.handle) {
		who.kind = "phone"
	}
	if who.private {
		who.name, who.handle, who.kind = "", "", "generic"
		who.uri = sip.Uri{Scheme: "sip", User: "anonymous", Host: "anonymous.invalid"}
	}
	return who
}

// dialable is a caller's URI as a SIP URI: that of a tel URI has its number, and
// the host that the call came from.
func dialable(uri sip.Uri, host string) sip.Uri {
	if !strings.EqualFold(uri.Scheme, "tel") {
		return uri
	}
	return sip.Uri{Scheme: "sip", User: header.Identity{URI: uri}.Number(), Host: cmp.Or(host, "anonymous.invalid")}
}

func isPhoneNumber(s string) bool {
	if len(s) > 0 && s[0] == '+' {
		s = s[1:]
	}
	if s == "" {
		return false
	}
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && s[i] != '*' && s[i] != '#' {
			return false
		}
	}
	return true
}

// escapeUser makes a number fit for the user part of a URI: what RFC 3261 s25.1 does
// not allow there, "#" above all, becomes %23 and the like.
func escapeUser(number string) string {
	const unreserved = "-_.!~*'()&=+$,;?/"
	var b strings.Builder
	for i := range len(number) {
		c := number[i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte(unreserved, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}
