package header

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// NameFeatureCaps is the header field that tells a UA which push services it gets
// (RFC 6809, RFC 8599 s5.4).
const NameFeatureCaps = "Feature-Caps"

// FeatureCaps is one value of Feature-Caps, as far as push is concerned. A 200 to
// REGISTER carries one header field per service.
type FeatureCaps struct {
	// PNS is the service (sip.pns), for example "apns".
	PNS string
	// PNSReg is sip.pnsreg: so many seconds before expiry the UA refreshes
	// without being pushed. More than 120 by RFC 8599 s8.4; 0: not said.
	PNSReg int
	// VAPID is the server's key for webpush (sip.vapid).
	VAPID string
	// PURR is sip.pnspurr, the key for pushes inside a dialog.
	PURR string
}

// String is the header value, for example `*;+sip.pns="apns";+sip.pnsreg="130"`.
func (f FeatureCaps) String() string {
	var b strings.Builder
	b.WriteString("*")
	add := func(tag, value string) {
		if value != "" {
			b.WriteString(";+" + tag + "=" + Quote(value))
		}
	}
	add("sip.pns", f.PNS)
	if f.PNSReg > 0 {
		add("sip.pnsreg", strconv.Itoa(f.PNSReg))
	}
	add("sip.vapid", f.VAPID)
	add("sip.pnspurr", f.PURR)
	return b.String()
}

// ParseFeatureCaps reads the values of all Feature-Caps header fields of a message.
// Indicators that are not about push are passed over. Errors wrap ErrMalformed.
func ParseFeatureCaps(values ...string) ([]FeatureCaps, error) {
	var all []FeatureCaps
	for _, v := range values {
		parts, err := split(v, ',')
		if err != nil {
			return nil, fmt.Errorf("Feature-Caps: %w", err)
		}
		for _, part := range parts {
			f, err := parseFeatureCaps(part)
			if err != nil {
				return nil, fmt.Errorf("Feature-Caps: %w", err)
			}
			all = append(all, f)
		}
	}
	return all, nil
}

func parseFeatureCaps(s string) (FeatureCaps, error) {
	head, params, err := parseParams(s)
	if err != nil {
		return FeatureCaps{}, err
	}
	if head != "*" {
		return FeatureCaps{}, fmt.Errorf("does not begin with *: %w", ErrMalformed)
	}
	var f FeatureCaps
	for _, p := range params {
		// RFC 6809 allows a string in angle brackets as well.
		value := strings.TrimSuffix(strings.TrimPrefix(p.value, "<"), ">")
		switch p.name {
		case "+sip.pns":
			f.PNS = value
		case "+sip.pnsreg":
			n, err := decimal(value, 1<<31-1)
			if err != nil {
				return FeatureCaps{}, fmt.Errorf("sip.pnsreg: %w", err)
			}
			f.PNSReg = int(n)
		case "+sip.vapid":
			f.VAPID = value
		case "+sip.pnspurr":
			f.PURR = value
		}
	}
	return f, nil
}

// CarriesPNS says that a REGISTER already names a push service in Feature-Caps:
// somebody nearer to the UA sends its pushes, so we must not (RFC 8599 s5.6.1.1).
func CarriesPNS(caps []FeatureCaps) bool {
	for _, f := range caps {
		if f.PNS != "" {
			return true
		}
	}
	return false
}

// WantsPNSReg says that the Contact carries the tag sip.pnsreg: the UA can refresh
// its registration without a push and wants to know when to.
func WantsPNSReg(contact sip.ContactHeader) bool {
	_, ok := Param(contact.Params, "+sip.pnsreg")
	return ok
}
