package location

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

const uuidURN = "urn:uuid:"

// InstanceID is the canonical form of a +sip.instance value (RFC 5626 s4.1):
// without quotes and angle brackets, a UUID in lower case and always as a URN,
// so that values compare with ==. "" stays "".
func InstanceID(value string) string {
	s := strings.TrimSpace(value)
	s = strings.TrimSuffix(strings.TrimPrefix(s, `"`), `"`)
	s = strings.TrimSpace(s)
	s = strings.TrimSuffix(strings.TrimPrefix(s, "<"), ">")
	switch {
	case len(s) > len(uuidURN) && strings.EqualFold(s[:len(uuidURN)], uuidURN):
		return strings.ToLower(s)
	case isUUID(s):
		return uuidURN + strings.ToLower(s)
	}
	return s
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (s[i] == '-') || !dash && !isHex(s[i]) {
			return false
		}
	}
	return true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// NewKey is the key of a device that is not known yet: its instance, else a
// digest of its push token, else its contact URI. It never holds a token.
func NewKey(instance, token, contact string) string {
	switch {
	case instance != "":
		return instance
	case token != "":
		sum := sha256.Sum256([]byte(token))
		return "token:" + hex.EncodeToString(sum[:8])
	}
	return NormalContact(contact)
}

// NormalContact is the URI of a Contact in a form in which equal URIs are equal
// strings (RFC 3261 s19.1.4): scheme, host and parameters in lower case,
// parameters sorted, needless escapes undone. Display name and header
// parameters do not count, nor do the push parameters: a phone whose token
// changed is still the same contact. Unlike the RFC, a parameter that only one
// of two URIs has makes them different.
func NormalContact(contact string) string {
	uri := contactURI(contact)
	uri, headers, hasHeaders := strings.Cut(uri, "?")
	scheme, rest, ok := strings.Cut(uri, ":")
	if !ok { // no URI, but it may name a device all the same
		scheme, rest = "", uri
	}
	user := ""
	// A user part may hold ';' (RFC 3261 s25.1), so '@' is looked for first.
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		user, rest = unescape(rest[:at])+"@", rest[at+1:]
	}
	parts := strings.Split(strings.ToLower(rest), ";")
	params := slices.DeleteFunc(parts[1:], func(p string) bool { return p == "" || pushParam(p) })
	slices.Sort(params)
	out := strings.ToLower(scheme) + ":" + user + strings.TrimSpace(parts[0])
	for _, p := range params {
		out += ";" + p
	}
	if hasHeaders {
		out += "?" + headers
	}
	return out
}

// pushParam says that a URI parameter, in lower case, is about push: RFC 8599's
// pn-* and what softphones used before it.
func pushParam(param string) bool {
	name, _, _ := strings.Cut(param, "=")
	name = strings.TrimSpace(name)
	return strings.HasPrefix(name, "pn-") || name == "app-id"
}

// contactURI is the URI of a Contact element: inside the angle brackets, or all
// up to the first ';' where there are none (RFC 3261 s20.10).
func contactURI(contact string) string {
	quoted := false
	for i := 0; i < len(contact); i++ {
		switch c := contact[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == '<' && !quoted:
			uri, _, _ := strings.Cut(contact[i+1:], ">")
			return strings.TrimSpace(uri)
		}
	}
	uri, _, _ := strings.Cut(contact, ";")
	return strings.TrimSpace(uri)
}

// unescape undoes the escapes that mean nothing: those of unreserved characters.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' || i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
			out.WriteByte(s[i])
			continue
		}
		c, err := hex.DecodeString(s[i+1 : i+3])
		if err == nil && isUnreserved(c[0]) {
			out.WriteByte(c[0])
		} else {
			out.WriteString(strings.ToUpper(s[i : i+3]))
		}
		i += 2
	}
	return out.String()
}

func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("-_.!~*'()", c) >= 0
}
