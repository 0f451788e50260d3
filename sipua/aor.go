package sipua

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// ErrBadAOR says that a URI cannot name a user: no user part, no host, or a
// scheme that is neither sip nor sips.
var ErrBadAOR = errors.New("not an address of record")

// AOR is an address of record (RFC 3261 s6): a user's public identity. Two
// AORs are the same user if and only if they are equal with ==: the domain is
// kept in lower case, parameters, port and scheme are dropped, escapes are undone
// where they are not needed (RFC 3261 s10.3 step 5, s19.1.4). The zero AOR names
// nobody.
type AOR struct {
	User   string // as in a URI: what may not stand there is escaped
	Domain string
}

// NewAOR makes an AOR of a user name and a domain, in the canonical form.
func NewAOR(user, domain string) AOR {
	return AOR{User: canonicalUser(user), Domain: strings.ToLower(domain)}
}

// canonicalUser escapes what the user part of a URI may not hold, and nothing else.
func canonicalUser(user string) string {
	const hex = "0123456789ABCDEF"
	var out strings.Builder
	for i := 0; i < len(user); i++ {
		c := user[i]
		if c == '%' && i+2 < len(user) {
			if n, err := strconv.ParseUint(user[i+1:i+3], 16, 8); err == nil {
				c = byte(n)
				i += 2
			}
		}
		if isUserChar(c) {
			out.WriteByte(c)
			continue
		}
		out.WriteByte('%')
		out.WriteByte(hex[c>>4])
		out.WriteByte(hex[c&15])
	}
	return out.String()
}

// isUserChar says that c stands for itself in the user part of a URI (RFC 3261
// s25.1: unreserved and user-unreserved).
func isUserChar(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || strings.IndexByte("-_.!~*'()&=+$,;?/", c) >= 0
}

// AOROf is the AOR that uri names. The error wraps ErrBadAOR.
func AOROf(uri sip.Uri) (AOR, error) {
	if s := strings.ToLower(uri.Scheme); s != "sip" && s != "sips" {
		return AOR{}, fmt.Errorf("scheme %q: %w", uri.Scheme, ErrBadAOR)
	}
	if uri.User == "" || uri.Host == "" {
		return AOR{}, fmt.Errorf("URI without user or host: %w", ErrBadAOR)
	}
	return NewAOR(uri.User, uri.Host), nil
}

// ParseAOR reads the form that String writes ("sip:alice@example.com"). The
// error wraps ErrBadAOR.
func ParseAOR(s string) (AOR, error) {
	var uri sip.Uri
	if err := sip.ParseUri(s, &uri); err != nil {
		return AOR{}, fmt.Errorf("%w: %w", ErrBadAOR, err)
	}
	return AOROf(uri)
}

// IsZero says that the AOR names nobody.
func (a AOR) IsZero() bool { return a == AOR{} }

// String is the AOR as a SIP URI, "sip:alice@example.com".
func (a AOR) String() string {
	if a.IsZero() {
		return ""
	}
	return a.URI().String()
}

// URI is the AOR as a SIP URI without parameters.
func (a AOR) URI() *sip.Uri {
	return &sip.Uri{Scheme: "sip", User: a.User, Host: a.Domain}
}
