package header

import (
	"fmt"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Getter is the part of a sipgo message that Values reads.
type Getter interface {
	GetHeaders(name string) []sip.Header
}

// Values are the values of all header fields of that name, in order; further
// names are other spellings of it, such as the compact form.
func Values(m Getter, names ...string) []string {
	var values []string
	for _, name := range names {
		for _, h := range m.GetHeaders(name) {
			values = append(values, h.Value())
		}
	}
	return values
}

// Param finds a parameter by name without regard to case (RFC 3261 s7.3.1;
// sipgo's own lookup is case-sensitive) and returns its value as it was sent. A
// parameter without a value has the value "".
func Param(params sip.HeaderParams, name string) (value string, ok bool) {
	for _, kv := range params {
		key, val := splitKV(kv)
		if strings.EqualFold(key, name) {
			return val, true
		}
	}
	return "", false
}

// splitKV repairs how sipgo cuts header parameters: at the last "=", so that
// "pn-prid=YWJj==" arrives as the key "pn-prid=YWJj=" (and with space kept).
func splitKV(kv sip.HeaderKV) (key, value string) {
	key, rest, cut := strings.Cut(kv.K, "=")
	key = strings.TrimSpace(key)
	switch {
	case cut:
		return key, strings.TrimSpace(rest + "=" + kv.V)
	default:
		return key, strings.TrimSpace(kv.V)
	}
}

// unquote takes a value out of its quotes, if it has any.
func unquote(v string) (string, error) {
	if !strings.HasPrefix(v, `"`) {
		return v, nil
	}
	if len(v) < 2 || v[len(v)-1] != '"' {
		return "", fmt.Errorf("quotes not closed: %w", ErrMalformed)
	}
	return unescape(v[1 : len(v)-1]), nil
}

// pair is a parameter of a header value; the value is out of its quotes.
type pair struct{ name, value string }

// parseParams reads "head;name;name=value;name="quoted"". Names are lower-cased.
func parseParams(s string) (head string, params []pair, err error) {
	parts, err := split(s, ';')
	if err != nil {
		return "", nil, err
	}
	for i, part := range parts {
		if i == 0 {
			head = part
			continue
		}
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if !isToken(name) {
			return "", nil, fmt.Errorf("parameter name: %w", ErrMalformed)
		}
		if value, err = unquote(strings.TrimSpace(value)); err != nil {
			return "", nil, err
		}
		if err := Safe(value); err != nil {
			return "", nil, fmt.Errorf("parameter %s: %w", name, err)
		}
		params = append(params, pair{name, value})
	}
	return head, params, nil
}

// split cuts at sep, but not inside quotes or angle brackets, and trims the parts.
func split(s string, sep byte) ([]string, error) {
	var parts []string
	start, quoted, bracket := 0, false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '<':
			bracket = true
		case c == '>':
			bracket = false
		case c == sep && !bracket:
			parts = append(parts, strings.TrimSpace(s[start:i]))
			start = i + 1
		}
	}
	if quoted || bracket {
		return nil, fmt.Errorf("quotes or brackets not closed: %w", ErrMalformed)
	}
	return append(parts, strings.TrimSpace(s[start:])), nil
}

// isToken says that s is a token of RFC 3261 s25.1.
func isToken(s string) bool {
	if s == "" {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !alnum && !strings.ContainsRune("-.!%*_+`'~", rune(c)) {
			return false
		}
	}
	return true
}

// decimal reads digits only, at most max. Signs, spaces and longer numbers are
// refused: strconv would let a sign through.
func decimal(s string, max uint64) (uint64, error) {
	if s == "" || len(s) > 20 {
		return 0, fmt.Errorf("number: %w", ErrMalformed)
	}
	var n uint64
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("number: %w", ErrMalformed)
		}
		if d := uint64(c - '0'); n > (max-d)/10 {
			return 0, fmt.Errorf("number too large: %w", ErrMalformed)
		} else {
			n = n*10 + d
		}
	}
	return n, nil
}
