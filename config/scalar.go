package config

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// quoted are the styles in which a scalar is text whatever it looks like.
const quoted = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle

// readScalar reads one value of f's type. A value of the environment is always
// text; one of the file must be written so that YAML itself does not change it.
func readScalar(n *yaml.Node, f field, fromEnvironment bool) (any, *finding) {
	if n.Kind != yaml.ScalarNode {
		return nil, &finding{"is a single value, not a " + kindName(n), "write one value"}
	}
	if !fromEnvironment {
		if wrong := misread(n, f); wrong != nil {
			return nil, wrong
		}
	}
	if strings.ContainsFunc(n.Value, unicode.IsControl) {
		return nil, &finding{"holds a control character", "remove tabs, line ends and the like"}
	}
	if f.required && n.Value == "" {
		return nil, &finding{"is empty", "give it a value"}
	}
	v, wrong := parseScalar(n.Value, f)
	if wrong == nil {
		wrong = outside(n.Value, v, f)
	}
	return v, wrong
}

// misread finds the values that YAML takes for another type than f's.
func misread(n *yaml.Node, f field) *finding {
	if n.Style&yaml.TaggedStyle != 0 {
		return &finding{"carries a tag; tags are not read", "remove the tag, or quote a text that begins with !"}
	}
	if n.Anchor != "" {
		return &finding{"carries an anchor; anchors are not read", "remove it, or quote a text that begins with &"}
	}
	if isNull(n) {
		return &finding{"has no value", `give it one, write "" for empty, or remove the key`}
	}
	tag, isQuoted := n.ShortTag(), n.Style&quoted != 0
	switch {
	case f.typ.Kind() == reflect.Bool:
		return misreadBool(n, tag, isQuoted)
	case f.typ.Kind() == reflect.Int:
		return misreadInt(n, tag, isQuoted)
	case tag == "!!str" || len(f.oneOf) > 0:
		return nil
	case f.typ == reflect.TypeFor[Secret]():
		return &finding{"is " + tagName(tag) + " to YAML, which would change it", "put it in quotes"}
	case f.typ.Kind() == reflect.String:
		return &finding{
			n.Value + " is " + tagName(tag) + " to YAML" + becomes(n), "quote it: " + strconv.Quote(n.Value),
		}
	default: // a duration, rate or address: its own parser says it better
		return nil
	}
}

func misreadBool(n *yaml.Node, tag string, isQuoted bool) *finding {
	switch {
	case tag == "!!bool":
		return nil
	case isQuoted && (n.Value == "true" || n.Value == "false"):
		return &finding{strconv.Quote(n.Value) + " is text", "write " + n.Value + " without quotes"}
	case slices.Contains([]string{"yes", "on", "y"}, strings.ToLower(n.Value)):
		return &finding{n.Value + " is text to YAML", "write true"}
	case slices.Contains([]string{"no", "off", "n"}, strings.ToLower(n.Value)):
		return &finding{n.Value + " is text to YAML", "write false"}
	default:
		return &finding{strconv.Quote(n.Value) + " is neither true nor false", "write true or false"}
	}
}

func misreadInt(n *yaml.Node, tag string, isQuoted bool) *finding {
	switch {
	case isQuoted && isDecimal(n.Value):
		return &finding{strconv.Quote(n.Value) + " is text", "write " + n.Value + " without quotes"}
	case tag == "!!int" && !isDecimal(n.Value):
		return &finding{
			n.Value + " is not a plain decimal number" + becomes(n), "write decimal digits only, no leading 0",
		}
	default: // the parser refuses the rest
		return nil
	}
}

// isDecimal says that s is a number as people write it: no sign but minus, no
// leading zero (octal), no underscore, no base.
func isDecimal(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && strconv.Itoa(n) == s
}

// becomes says what YAML makes of a number, where that is something else.
func becomes(n *yaml.Node) string {
	var v any
	if err := n.Decode(&v); err != nil {
		return ""
	}
	if text := fmt.Sprint(v); text != n.Value && len(text) <= 40 {
		return " and would become " + text
	}
	return ""
}

func tagName(tag string) string {
	switch tag {
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "a truth value"
	case "!!timestamp":
		return "a date"
	default:
		return "not text"
	}
}

// parseScalar makes a value of f's type out of a text.
func parseScalar(text string, f field) (any, *finding) {
	switch f.typ {
	case reflect.TypeFor[time.Duration]():
		return parseDuration(text)
	case reflect.TypeFor[Rate]():
		rate, err := ParseRate(text)
		if err != nil {
			return nil, &finding{strconv.Quote(text) + " is not a rate", "write for example 20/s, 6/m, 100/h or off"}
		}
		return rate, nil
	case reflect.TypeFor[Size]():
		return parseSize(text)
	case reflect.TypeFor[Secret]():
		if text == redacted {
			return nil, &finding{"is the mask that stands for a secret in printed configurations",
				"write the secret itself, or name its file"}
		}
		return NewSecret(text), nil
	case reflect.TypeFor[netip.Addr](), reflect.TypeFor[netip.AddrPort](), reflect.TypeFor[netip.Prefix]():
		return parseAddress(text, f)
	}
	switch f.typ.Kind() {
	case reflect.Bool:
		if lower := strings.ToLower(text); lower == "true" || lower == "false" {
			return lower == "true", nil
		}
		return nil, &finding{strconv.Quote(text) + " is neither true nor false", "write true or false"}
	case reflect.Int:
		if !isDecimal(text) {
			return nil, &finding{strconv.Quote(text) + " is not a whole number", "write decimal digits only"}
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, &finding{strconv.Quote(text) + " is not a whole number", "write decimal digits only"}
		}
		return n, nil
	default:
		return parseWord(text, f)
	}
}

func parseDuration(text string) (any, *finding) {
	d, err := ParseDuration(text)
	switch {
	case errors.Is(err, errNoUnit):
		return nil, &finding{text + " has no unit", "write " + text + "s if seconds are meant; units are ms, s, m, h and d"}
	case err != nil:
		return nil, &finding{strconv.Quote(text) + " is not a duration", "write for example 30s, 5m, 1h30m or 7d"}
	}
	return d, nil
}

func parseSize(text string) (any, *finding) {
	size, err := ParseSize(text)
	switch {
	case errors.Is(err, errSizeNoUnit):
		return nil, &finding{text + " has no unit", "write " + text + "MiB if mebibytes are meant; units are KiB, MiB, GiB and TiB"}
	case err != nil:
		return nil, &finding{strconv.Quote(text) + " is not a size", "write for example 512MiB, 1GiB or 2TiB"}
	}
	return size, nil
}

// parseWord reads a string and, where only some are allowed, which.
func parseWord(text string, f field) (any, *finding) {
	if len(f.oneOf) == 0 || f.path || slices.Contains(f.oneOf, text) {
		return text, nil
	}
	if slices.Contains(f.later, text) {
		return nil, &finding{
			strconv.Quote(text) + " is not built yet in this version", "use " + strings.Join(f.oneOf, " or "),
		}
	}
	cure := "use one of " + strings.Join(f.oneOf, ", ")
	if guess := nearest(text, f.oneOf); guess != "" {
		cure = "did you mean " + guess + "?"
	}
	return nil, &finding{strconv.Quote(text) + " is not a value of this key", cure}
}

// outside finds values beyond f's range.
func outside(text string, v any, f field) *finding {
	if f.low == "" {
		return nil
	}
	var value, low, high int64
	var errLow, errHigh error
	switch v := v.(type) {
	case time.Duration:
		var from, to time.Duration
		from, errLow = ParseDuration(f.low)
		to, errHigh = ParseDuration(f.high)
		value, low, high = int64(v), int64(from), int64(to)
	case Size:
		var from, to Size
		from, errLow = ParseSize(f.low)
		to, errHigh = ParseSize(f.high)
		value, low, high = int64(v), int64(from), int64(to)
	case int:
		value = int64(v)
		low, errLow = strconv.ParseInt(f.low, 10, 64)
		high, errHigh = strconv.ParseInt(f.high, 10, 64)
	}
	// A test proves every range of the schema, so that an error cannot hide here.
	if errLow == nil && errHigh == nil && low <= value && value <= high {
		return nil
	}
	return &finding{text + " is out of range", "choose between " + f.low + " and " + f.high}
}
