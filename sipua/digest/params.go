package digest

import (
	"fmt"
	"strings"
)

// maxHeader bounds a header field value before it is taken apart.
const maxHeader = 4096

// params are the parameters of a challenge or of credentials: names in lower case,
// values out of their quotes.
type params map[string]string

// parse reads `Digest name=value, name="value"`. digest is false for another
// scheme, which is not an error. Errors wrap ErrMalformed and repeat nothing.
func parse(value string) (p params, digest bool, err error) {
	value = strings.TrimSpace(value)
	scheme, rest, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "Digest") {
		return nil, false, nil
	}
	if len(value) > maxHeader {
		return nil, true, fmt.Errorf("longer than %d bytes: %w", maxHeader, ErrMalformed)
	}
	for i := 0; i < len(value); i++ {
		if c := value[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return nil, true, fmt.Errorf("control character: %w", ErrMalformed)
		}
	}
	p = make(params, 12)
	for rest = skip(rest); rest != ""; rest = skip(rest) {
		var name, val string
		if name, val, rest, err = next(rest); err != nil {
			return nil, true, err
		}
		if _, twice := p[name]; twice {
			return nil, true, fmt.Errorf("%s is given twice: %w", name, ErrMalformed)
		}
		p[name] = val
	}
	return p, true, nil
}

// skip drops white space and commas; empty list elements are allowed (RFC 7230 s7).
func skip(s string) string { return strings.TrimLeft(s, " \t,") }

// next takes one parameter off s.
func next(s string) (name, value, rest string, err error) {
	name, rest, found := strings.Cut(s, "=")
	name = strings.ToLower(strings.TrimSpace(name))
	if !found || name == "" || len(name) > 32 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_*") != "" {
		return "", "", "", fmt.Errorf("parameter without name or value: %w", ErrMalformed)
	}
	rest = strings.TrimLeft(rest, " \t")
	if !strings.HasPrefix(rest, `"`) {
		value, rest = cutAt(rest, ",")
		return name, strings.TrimSpace(value), rest, nil
	}
	var b strings.Builder
	for i := 1; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '"':
			after := strings.TrimLeft(rest[i+1:], " \t")
			if after != "" && after[0] != ',' {
				return "", "", "", fmt.Errorf("%s: text after the quotes: %w", name, ErrMalformed)
			}
			return name, b.String(), after, nil
		case c == '\\' && i+1 < len(rest):
			i++
			b.WriteByte(rest[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", "", fmt.Errorf("%s: quotes not closed: %w", name, ErrMalformed)
}

func cutAt(s, sep string) (before, after string) {
	before, after, _ = strings.Cut(s, sep)
	return before, after
}

// field is one parameter on its way out.
type field struct {
	name, value string
	quoted      bool
}

// format writes a header value; parameters without a value are left out, and so
// are control characters, which could end the header field.
func format(fields []field) string {
	var b strings.Builder
	b.WriteString("Digest ")
	first := true
	for _, f := range fields {
		f.value = strings.Map(func(r rune) rune {
			if r < 0x20 || r == 0x7f {
				return -1
			}
			return r
		}, f.value)
		if f.value == "" {
			continue
		}
		if !first {
			b.WriteString(", ")
		}
		first = false
		b.WriteString(f.name + "=")
		if f.quoted {
			b.WriteString(`"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(f.value) + `"`)
		} else {
			b.WriteString(f.value)
		}
	}
	return b.String()
}
