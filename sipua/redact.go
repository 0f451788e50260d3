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
// passwords in URIs, keys in SDP (RFC 4568, 4567, 8866 s5.12, 8839), and DTMF keys: the
// bodies that are made for them, and all of INFO but those that cannot have any. It does
// not need a message that parses.
func Redact(message []byte) {
	var r redaction
	for rest := message; len(rest) > 0; {
		if r.secret() && (rest[0] == '\n' || bytes.HasPrefix(rest, []byte("\r\n"))) {
			rest, r.kind = rest[r.body(rest):], ""
			continue
		}
		n := fieldEnd(rest)
		r.line(rest[:n])
		redactField(rest[:n])
		rest = rest[n:]
	}
}

// redaction is what is known of a message as far as it was read.
type redaction struct {
	started   bool   // its first line was there
	info      bool   // it is an INFO, or answers one
	kind      string // the media type of the body, or the part of one, that follows; "": not said
	delimiter []byte // of the parts of a body (RFC 2046 s5.1.1)
}

// line takes a header field, of the message or of a part of its body, or another line.
// Space may be around the slash of a type (RFC 3261 s25.1).
func (r *redaction) line(f []byte) {
	if line := bytes.TrimSpace(f); !r.started && len(line) > 0 {
		r.started = true
		method, _, _ := bytes.Cut(line, []byte(" "))
		r.info = bytes.EqualFold(method, []byte("INFO"))
	}
	if line := bytes.TrimSpace(f[:indexOr(f, "\r\n")]); len(line) > len("--") && bytes.HasPrefix(line, []byte("--")) {
		r.delimiter, r.kind = line, ""
	}
	name, value, _ := bytes.Cut(f, []byte(":"))
	words := strings.Fields(strings.ToLower(string(value)))
	switch strings.ToLower(string(bytes.TrimSpace(name))) {
	case "cseq":
		r.info = r.info || len(words) > 0 && words[len(words)-1] == "info"
	case "content-type", "c":
		if kind := strings.Join(words, ""); !isKeys(r.kind) { // else it was said already
			r.kind = kind
		}
	}
}

// events is the type of a body that is what RTP would carry (RFC 4733 s7.1.1).
const events = "audio/telephone-event"

// isKeys says that a body of a type, in lower case, is of DTMF keys: a PIN is typed so.
func isKeys(kind string) bool {
	return strings.HasPrefix(kind, "application/dtmf") || strings.HasPrefix(kind, events) || strings.HasPrefix(kind, "application/kpml")
}

// secret says that the body or the part that follows must be blanked. There are more
// types for keys in INFO than anybody counted, so all but those that have none.
func (r *redaction) secret() bool {
	spared := strings.HasPrefix(r.kind, "multipart/") || strings.HasPrefix(r.kind, "application/media_control+xml")
	return isKeys(r.kind) || r.info && !spared
}

// body blanks a body, or a part of one, b being what follows its header fields. It ends
// with the message or before the next delimiter of parts; the result is where.
func (r *redaction) body(b []byte) int {
	end := 0
	for line := range bytes.Lines(b) {
		if next := bytes.TrimSuffix(bytes.TrimSpace(line), []byte("--")); len(r.delimiter) > 0 && bytes.Equal(next, r.delimiter) {
			break
		}
		end += len(line)
	}
	if !strings.HasPrefix(r.kind, events) {
		for line := range bytes.Lines(b[:end]) {
			redactKey(line)
		}
		return end
	}
	// Each octet may be a key, those of white space too; the ends of lines around it are
	// not its own.
	octets := b[bytes.IndexByte(b, '\n')+1 : end]
	if end < len(b) {
		octets = bytes.TrimSuffix(bytes.TrimSuffix(octets, []byte("\n")), []byte("\r"))
	}
	for i := range octets {
		octets[i] = blank
	}
	return end
}

// redactKey blanks a line of a body of keys, but for the names in "Signal=5" and
// "Duration=160": any other text before a "=" may be a key itself, base64 for instance.
func redactKey(line []byte) {
	name, value, _ := bytes.Cut(line, []byte("="))
	switch strings.ToLower(string(bytes.TrimSpace(name))) {
	case "signal", "duration":
		hide(value)
	default:
		hide(line)
	}
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
