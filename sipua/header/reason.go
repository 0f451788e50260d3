package header

import (
	"fmt"
	"strconv"
	"strings"
)

// NameReason is the header field of RFC 3326.
const NameReason = "Reason"

// The protocols of Reason that this server reads and writes.
const (
	ReasonSIP  = "SIP"
	ReasonQ850 = "Q.850"
)

// Reason says why a request or response was sent (RFC 3326).
type Reason struct {
	// Protocol is "SIP", "Q.850" or another token.
	Protocol string
	// Cause is a SIP status code or a Q.850 cause, 0 to 999; 0: not said.
	Cause int
	// Text is for people.
	Text string
}

// CompletedElsewhere is the Reason of a CANCEL to the devices that did not win
// (RFC 3326 s3.1): the phone then shows no missed call.
func CompletedElsewhere() Reason {
	return Reason{Protocol: ReasonSIP, Cause: 200, Text: "Call completed elsewhere"}
}

// Is compares the protocol without regard to case.
func (r Reason) Is(protocol string) bool { return strings.EqualFold(r.Protocol, protocol) }

// String is the header value, for example
// `SIP;cause=200;text="Call completed elsewhere"`; "" if Protocol is not a token.
func (r Reason) String() string {
	if !isToken(r.Protocol) {
		return ""
	}
	var b strings.Builder
	b.WriteString(r.Protocol)
	if r.Cause > 0 {
		b.WriteString(";cause=" + strconv.Itoa(r.Cause))
	}
	if text := Clean(r.Text); text != "" {
		b.WriteString(";text=" + Quote(text))
	}
	return b.String()
}

// FormatReasons is the value of one header field that carries all reasons.
func FormatReasons(reasons ...Reason) string {
	var parts []string
	for _, r := range reasons {
		if s := r.String(); s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ", ")
}

// ParseReasons reads the values of all Reason header fields of a message. Unknown
// parameters are passed over. Errors wrap ErrMalformed.
func ParseReasons(values ...string) ([]Reason, error) {
	var all []Reason
	for _, v := range values {
		parts, err := split(v, ',')
		if err != nil {
			return nil, fmt.Errorf("Reason: %w", err)
		}
		for _, part := range parts {
			r, err := parseReason(part)
			if err != nil {
				return nil, fmt.Errorf("Reason: %w", err)
			}
			all = append(all, r)
		}
	}
	return all, nil
}

func parseReason(s string) (Reason, error) {
	head, params, err := parseParams(s)
	if err != nil {
		return Reason{}, err
	}
	if !isToken(head) {
		return Reason{}, fmt.Errorf("protocol: %w", ErrMalformed)
	}
	r := Reason{Protocol: head}
	for _, p := range params {
		switch p.name {
		case "cause":
			n, err := decimal(p.value, 999)
			if err != nil {
				return Reason{}, fmt.Errorf("cause: %w", err)
			}
			r.Cause = int(n)
		case "text":
			r.Text = strings.TrimSpace(p.value)
		}
	}
	return r, nil
}
