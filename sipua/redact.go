package sipua

import (
	"bytes"
	"net/url"
	"strings"
)

// blank stands for each octet of a secret.
const blank = 'x'

// Redact blanks what is secret in a message, as it is on the wire, in place and octet
// for octet, so that syntax and lengths stay: credentials (RFC 3261 s22.4) but for
// the parameters that name them, push tokens (RFC 8599 and what came before it),
// passwords in URIs, and keys in SDP (RFC 4568, 4567, 8866 s5.12, 8839), and DTMF keys in INFO. It does
// not need a message that parses.
func Redact(message []byte) {
	keys := false
	var delimiter []byte // of the parts of a body (RFC 2046 s5.1.1), as far as seen
	for rest := message; len(rest) > 0; {
		if keys && (rest[0] == '\n' || bytes.HasPrefix(rest, []byte("\r\n"))) {
			rest, keys = rest[redactKeys(rest, delimiter):], false
			continue
		}
		n := fieldEnd(rest)
		keys = keys || saysKeys(rest[:n])
		redactField(rest[:n])
		if line := bytes.TrimSpace(rest[:indexOr(rest, "\r\n")]); len(line) > len("--") && bytes.HasPrefix(line, []byte("--")) {
			delimiter = line
		}
		rest = rest[n:]
	}
}

// saysKeys says that a header field, of the message or of a part of its body, names a
// body of DTMF keys: a PIN is typed so. Space may be around the slash (RFC 3261 s25.1).
func saysKeys(f []byte) bool {
	name, value, _ := bytes.Cut(f, []byte(":"))
	switch strings.ToLower(string(bytes.TrimSpace(name))) {
	case "content-type", "c":
		return strings.HasPrefix(strings.ToLower(strings.Join(strings.Fields(string(value)), "")), "application/dtmf")
	}
	return false
}

// redactKeys blanks a body of keys, but for the names in "Signal=5" and "Duration=160":
// any other text before a "=" may be a key itself, base64 for instance. It ends with
// the message or before the next delimiter of parts; the result is where.
func redactKeys(body, delimiter []byte) int {
	at := 0
	for line := range bytes.Lines(body) {
		if next := bytes.TrimSuffix(bytes.TrimSpace(line), []byte("--")); len(delimiter) > 0 && bytes.Equal(next, delimiter) {
			return at
		}
		at += len(line)
		name, value, _ := bytes.Cut(line, []byte("="))
		switch strings.ToLower(string(bytes.TrimSpace(name))) {
		case "signal", "duration":
			hide(value)
		default:
			hide(line)
		}
	}
	return at
}

// fieldEnd is where a line and those that are folded into it end.
func fieldEnd(b []byte) int {
	for i, c := range b {
		if c == '\n' && (i+1 == len(b) || b[i+1] != ' ' && b[i+1] != '\t') {
			return i + 1
		}
	}
	return len(b)
}

func redactField(f []byte) {
	name, value, _ := bytes.Cut(f, []byte(":"))
	switch strings.ToLower(string(bytes.TrimSpace(name))) {
	case "authorization", "proxy-authorization", "authentication-info", "proxy-authentication-info":
		redactCredentials(value)
		return
	}
	redactLine(f)
	redactInline(f)
	redactPasswords(f)
	redactTokens(f)
}

// redactLine blanks the keys of a line of SDP, and of those that a space at their
// beginning has folded into it: in SDP it means nothing, but some read such lines.
func redactLine(f []byte) {
	for line := range bytes.Lines(f) {
		kind, rest, found := bytes.Cut(line, []byte("="))
		switch kind = bytes.TrimSpace(kind); {
		case !found:
		case bytes.EqualFold(kind, []byte("k")):
			hide(rest)
		case bytes.EqualFold(kind, []byte("a")):
			redactAttribute(rest)
		}
	}
}

// redactAttribute blanks the key in "NAME:VALUE", also where it is a capability:
// "acap:1 NAME:VALUE" (RFC 5939 s3.4.2).
func redactAttribute(a []byte) {
	for {
		name, value, _ := bytes.Cut(a, []byte(":"))
		switch strings.ToLower(string(bytes.TrimSpace(name))) {
		case "crypto":
			redactCrypto(value)
		case "ice-pwd", "key-mgmt":
			hide(value)
		case "acap":
			value = bytes.TrimLeft(value, " \t")
			a = value[indexOr(value, " \t"):]
			continue
		}
		return
	}
}

// redactInline blanks what follows any "inline:", whatever the line calls itself: it is
// how keys are written in SDP, and peers read more spellings than RFC 4568 has.
func redactInline(f []byte) {
	const word = "inline:"
	for i := indexFold(f, word); i >= 0; i = indexFold(f, word) {
		f = bytes.TrimLeft(f[i+len(word):], " \t\r\n")
		hide(f[:indexOr(f, "|; \t\r\n")])
	}
}

// indexFold is where a word of ASCII begins, in any case; -1 if it is not there. The
// text may be anything, so that bytes.ToLower could change its length.
func indexFold(b []byte, word string) int {
	for i := 0; i+len(word) <= len(b); i++ {
		if bytes.EqualFold(b[i:i+len(word)], []byte(word)) {
			return i
		}
	}
	return -1
}

// hide blanks all but white space.
func hide(b []byte) {
	for i, c := range b {
		if !isWhite(c) {
			b[i] = blank
		}
	}
}

func isWhite(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// named are the parameters of Digest credentials that tell nothing of a password.
func named(param string) bool {
	switch strings.ToLower(param) {
	case "username", "realm", "uri", "algorithm", "qop", "nc":
		return true
	}
	return false
}

// redactCredentials blanks the value of a header with credentials, but for its scheme
// and what names them.
func redactCredentials(v []byte) {
	rest := bytes.TrimLeft(v, " \t\r\n")
	scheme := rest[:indexOr(rest, " \t\r\n")]
	switch {
	case bytes.EqualFold(scheme, []byte("Digest")):
		rest = rest[len(scheme):]
	case !bytes.ContainsRune(scheme, '='): // another scheme
		hide(rest[len(scheme):])
		return
	}
	for len(rest) > 0 {
		n := paramEnd(rest)
		name, value, found := bytes.Cut(rest[:n], []byte("="))
		switch {
		case !found:
			hide(name)
		case !named(string(bytes.TrimSpace(name))):
			hideQuoted(value)
		}
		if rest = rest[n:]; len(rest) > 0 {
			rest = rest[1:] // the comma
		}
	}
}

// paramEnd is where the next comma outside quotes is.
func paramEnd(b []byte) int {
	quoted := false
	for i := 0; i < len(b); i++ {
		switch {
		case quoted && b[i] == '\\':
			i++
		case b[i] == '"':
			quoted = !quoted
		case b[i] == ',' && !quoted:
			return i
		}
	}
	return len(b)
}

// hideQuoted is hide, but the quotes around a value stay.
func hideQuoted(b []byte) {
	b = bytes.Trim(b, " \t\r\n")
	if len(b) >= 2 && b[0] == '"' && b[len(b)-1] == '"' {
		b = b[1 : len(b)-1]
	}
	hide(b)
}

// indexOr is where the first of the characters is, else the length.
func indexOr(b []byte, chars string) int {
	if i := bytes.IndexAny(b, chars); i >= 0 {
		return i
	}
	return len(b)
}

// redactCrypto blanks the keys of "a=crypto:TAG SUITE METHOD:KEY|LIFETIME|MKI ...".
func redactCrypto(v []byte) {
	for range 2 {
		v = bytes.TrimLeft(v, " \t")
		v = v[indexOr(v, " \t\r\n"):]
	}
	v = bytes.TrimLeft(v, " \t")
	for params := v[:indexOr(v, " \t\r\n")]; len(params) > 0; {
		n := indexOr(params, ";")
		_, key, found := bytes.Cut(params[:n], []byte(":"))
		if !found {
			key = params[:n]
		}
		hide(key[:indexOr(key, "|")])
		params = params[min(n+1, len(params)):]
	}
}

// redactPasswords blanks them in SIP URIs: sip:user:password@host.
func redactPasswords(f []byte) {
	for {
		i := indexFold(f, "sip")
		if i < 0 {
			return
		}
		f = f[i+len("sip"):]
		uri := bytes.TrimPrefix(bytes.TrimPrefix(f, []byte("s")), []byte("S"))
		if len(uri) == 0 || uri[0] != ':' {
			continue
		}
		user, _, found := bytes.Cut(uri[1:1+indexOr(uri[1:], "<>\" \t\r\n")], []byte("@"))
		if !found {
			continue
		}
		if _, password, found := bytes.Cut(user, []byte(":")); found {
			hide(password)
		}
	}
}

// secretParams are the parameters that carry push tokens.
func secretParam(name string) bool {
	switch strings.ToLower(name) {
	case "pn-prid", "pn-tok", "pn-voip-tok", "pn-im-tok":
		return true
	}
	return false
}

// redactTokens blanks push tokens in parameters, of a URI or of a header.
func redactTokens(f []byte) {
	for {
		i := bytes.IndexAny(f, ";?&")
		if i < 0 {
			return
		}
		f = f[i+1:]
		eq := bytes.IndexByte(f, '=')
		if eq < 0 {
			return
		}
		name, err := url.PathUnescape(string(bytes.TrimSpace(f[:eq])))
		if err != nil || !secretParam(name) {
			continue
		}
		value := bytes.TrimLeft(f[eq+1:], " \t\r\n")
		if len(value) > 0 && value[0] == '"' {
			value = value[1:]
			hide(value[:indexOr(value, "\"")])
			continue
		}
		hide(value[:indexOr(value, ";>?, \t\r\n")])
	}
}
