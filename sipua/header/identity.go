package header

import (
	"fmt"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// The header fields that say who calls, or that this must not be told (RFC 3323,
// RFC 3325).
const (
	NamePrivacy             = "Privacy"
	NameAssertedIdentity    = "P-Asserted-Identity"
	NamePreferredIdentity   = "P-Preferred-Identity"
	maxIdentities           = 8
	maxPrivacyValues        = 16
	anonymousHost           = "anonymous.invalid"
	anonymousUser           = "anonymous"
	privacyID, privacyUser  = "id", "user"
	privacyNone, privacyHdr = "none", "header"
)

// Privacy are the priv-values of a message, in lower case.
type Privacy []string

// ParsePrivacy reads the values of all Privacy header fields; values are separated
// by ";" (RFC 3323 s4.2), which some senders write as ",". Errors wrap ErrMalformed
// or ErrUnsafe.
func ParsePrivacy(values ...string) (Privacy, error) {
	var all Privacy
	for _, v := range values {
		if err := Safe(v); err != nil {
			return nil, fmt.Errorf("Privacy: %w", err)
		}
		for part := range strings.FieldsFuncSeq(v, func(r rune) bool { return r == ';' || r == ',' }) {
			part = strings.ToLower(strings.TrimSpace(part))
			if !isToken(part) || len(all) == maxPrivacyValues {
				return nil, fmt.Errorf("Privacy: %w", ErrMalformed)
			}
			all = append(all, part)
		}
	}
	return all, nil
}

// Has says that a priv-value is among them.
func (p Privacy) Has(value string) bool {
	for _, v := range p {
		if strings.EqualFold(v, value) {
			return true
		}
	}
	return false
}

// HidesCaller says that the caller's number and name must not be shown: "id" (RFC
// 3325 s9.3), "user" or "header", unless "none" takes it back.
func (p Privacy) HidesCaller() bool {
	return !p.Has(privacyNone) && (p.Has(privacyID) || p.Has(privacyUser) || p.Has(privacyHdr))
}

// String is the header value.
func (p Privacy) String() string { return strings.Join(p, ";") }

// IsAnonymous says that a From hides its caller without a Privacy header field, as
// RFC 3323 s4.1.1.3 writes it: sip:anonymous@anonymous.invalid, or that user or
// host alone.
func IsAnonymous(from sip.Uri) bool {
	return strings.EqualFold(from.User, anonymousUser) || strings.EqualFold(from.Host, anonymousHost)
}

// Identity is a value of P-Asserted-Identity.
type Identity struct {
	// Display is the name as a person reads it.
	Display string
	// URI has scheme sip, sips or tel. That of a tel URI is in URI.Raw.
	URI sip.Uri
}

// Number is the user part of a SIP URI or the number of a tel URI, without
// parameters and visual separators of the latter (RFC 3966 s5.1.1).
func (i Identity) Number() string {
	if !strings.EqualFold(i.URI.Scheme, "tel") {
		return i.URI.User
	}
	number, _, _ := strings.Cut(i.URI.Raw(), ";")
	return strings.NewReplacer("-", "", ".", "", "(", "", ")", "").Replace(number)
}

// ParseIdentities reads the values of all P-Asserted-Identity (or -Preferred-)
// header fields, with or without angle brackets, at most 8. Errors wrap
// ErrMalformed or ErrUnsafe.
func ParseIdentities(values ...string) ([]Identity, error) {
	var all []Identity
	for _, v := range values {
		if err := Safe(v); err != nil {
			return nil, fmt.Errorf("identity: %w", err)
		}
		parts, err := split(v, ',')
		if err != nil {
			return nil, fmt.Errorf("identity: %w", err)
		}
		for _, part := range parts {
			id, err := parseIdentity(part)
			if err != nil {
				return nil, err
			}
			all = append(all, id)
		}
	}
	if len(all) > maxIdentities {
		return nil, fmt.Errorf("%d identities: %w", len(all), ErrMalformed)
	}
	return all, nil
}

func parseIdentity(s string) (Identity, error) {
	var uri sip.Uri
	display, err := sip.ParseAddressValue(s, &uri, nil)
	if err != nil {
		return Identity{}, fmt.Errorf("identity: %w: %w", ErrMalformed, err)
	}
	switch uri.Scheme {
	case "sip", "sips":
		if uri.Host == "" || uri.Wildcard {
			return Identity{}, fmt.Errorf("identity without host: %w", ErrMalformed)
		}
	case "tel":
		if uri.Raw() == "" {
			return Identity{}, fmt.Errorf("tel URI without number: %w", ErrMalformed)
		}
	default:
		return Identity{}, fmt.Errorf("identity of scheme %q: %w", uri.Scheme, ErrMalformed)
	}
	return Identity{Display: UnescapeDisplay(display), URI: uri}, nil
}
