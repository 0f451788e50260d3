package header

import (
	"fmt"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// ParamWakeFate is the Contact parameter by which an app says that it reads
// X-Call-Ended in the 200 to its REGISTER.
const ParamWakeFate = "+x-wake-fate"

// maxInstance bounds +sip.instance; a UUID URN has 45 characters.
const maxInstance = 256

// Instance is the instance id of a Contact (+sip.instance, RFC 5626 s4.1) without
// quotes and brackets, "" if there is none. It comes in one form per id, since
// clients change the case of a UUID: a urn:uuid is lower-cased whole, of other URNs
// "urn" and the namespace (RFC 8141 s3.1). Errors wrap ErrMalformed or ErrUnsafe.
func Instance(contact sip.ContactHeader) (string, error) {
	raw, ok := Param(contact.Params, "+sip.instance")
	if !ok {
		return "", nil
	}
	v, err := unquote(raw)
	if err != nil {
		return "", fmt.Errorf("+sip.instance: %w", err)
	}
	v = strings.TrimSpace(v)
	v = strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(v, "<"), ">"))
	if err := Safe(v); err != nil {
		return "", fmt.Errorf("+sip.instance: %w", err)
	}
	if v == "" || len(v) > maxInstance || strings.ContainsAny(v, "<>\" ") {
		return "", fmt.Errorf("+sip.instance: %w", ErrMalformed)
	}
	return normalURN(v), nil
}

func normalURN(v string) string {
	parts := strings.SplitN(v, ":", 3)
	if len(parts) < 3 || !strings.EqualFold(parts[0], "urn") {
		return v
	}
	if strings.EqualFold(parts[1], "uuid") {
		return strings.ToLower(v)
	}
	return strings.ToLower(parts[0]+":"+parts[1]) + ":" + parts[2]
}

// FormatInstance is the value of +sip.instance for an instance id:
// `"<urn:uuid:...>"`.
func FormatInstance(instance string) string { return Quote("<" + instance + ">") }

// RegID is the reg-id of a Contact (RFC 5626 s4.2), 1 to 2^31-1; 0 if there is
// none. Errors wrap ErrMalformed.
func RegID(contact sip.ContactHeader) (int, error) {
	raw, ok := Param(contact.Params, "reg-id")
	if !ok {
		return 0, nil
	}
	n, err := decimal(raw, 1<<31-1)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("reg-id: %w", ErrMalformed)
	}
	return int(n), nil
}

// ReadsFate says that the app understands X-Call-Ended in a 200 to REGISTER.
func ReadsFate(contact sip.ContactHeader) bool {
	_, ok := Param(contact.Params, ParamWakeFate)
	return ok
}

// malformedExpires is what RFC 3261 s20.10 and s20.19 make of a value that is not
// a number.
const malformedExpires = 3600 * time.Second

// Expires is how long a Contact of a REGISTER asks to be bound, by RFC 3261 s10.3
// step 6: its own expires parameter, else the Expires header field, else asked is
// false and the registrar chooses. expires holds the values of that header field;
// the first counts. A value that is no number counts as one hour (s20.10), one
// above 2^32-1 as 2^32-1. Zero asks to remove the binding.
func Expires(contact sip.ContactHeader, expires ...string) (d time.Duration, asked bool) {
	if raw, ok := Param(contact.Params, "expires"); ok {
		if v, err := unquote(raw); err == nil {
			return deltaSeconds(v), true
		}
		return malformedExpires, true
	}
	if len(expires) > 0 {
		return deltaSeconds(expires[0]), true
	}
	return 0, false
}

func deltaSeconds(s string) time.Duration {
	s = strings.TrimSpace(s)
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return malformedExpires
	}
	const most = 1<<32 - 1
	n, err := decimal(s, most)
	if err != nil {
		n = most
	}
	return time.Duration(n) * time.Second
}
