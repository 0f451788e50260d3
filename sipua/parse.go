package sipua

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// parser is sipgo's parser, with the headers that decide where a message belongs
// read by us: sipgo loses the branch of a Via list or behind white space, takes
// "CSeq: 1  INVITE" for another method, and looks for ";tag" but not for "; tag".
type parser struct{ inner *sip.Parser }

func newParser() parser {
	m := maps.Clone(sip.HeadersParser(sip.DefaultHeadersParser())) // it returns sipgo's own map
	delete(m, "via")
	delete(m, "v")
	for _, name := range []string{"from", "f", "to", "t"} {
		read := m[name]
		m[name] = func(name []byte, text string) (sip.Header, error) { return read(name, squeeze(text)) }
	}
	m["cseq"] = readCSeq
	return parser{sip.NewParser(sip.WithHeadersParsers(m))}
}

var (
	errBadVia  = errors.New("bad Via")
	errBadCSeq = errors.New("bad CSeq")
	errBadLine = errors.New("bad start line")
	errBadText = errors.New("bad start line or header field")
)

// parse reads one framed message. The error is for logs and repeats nothing of the
// message.
func (p parser) parse(data []byte) (sip.Message, error) {
	msg, err := p.inner.ParseSIP(data)
	if err != nil {
		return nil, unquoted(err)
	}
	if req, ok := msg.(*sip.Request); ok {
		// sipgo makes every method upper case; methods are case-sensitive (RFC 3261 s7.1).
		method, _, _ := strings.Cut(string(data[:min(len(data), maxLine)]), " ")
		if !isToken(method) {
			return nil, errBadLine
		}
		req.Method = sip.RequestMethod(method)
	}
	return msg, readVias(msg)
}

// unquoted is what may be logged of the inner parser's error: many quote the line
// that they complain of, with the credentials or the push token in it.
func unquoted(err error) error {
	for _, bare := range []error{errBadCSeq, sip.ErrParseLineNoCRLF, sip.ErrParseEOF, sip.ErrParseReadBodyIncomplete, sip.ErrMessageTooLarge} {
		if errors.Is(err, bare) {
			return bare
		}
	}
	return errBadText
}

// readVias replaces the Via headers, which the parser left as text, with what
// they say, one header for each element of a list.
func readVias(msg sip.Message) error {
	var vias []sip.Header
	var names []string
	for _, h := range headersOf(msg) {
		if n := h.Name(); strings.EqualFold(n, "Via") || strings.EqualFold(n, "v") {
			names = append(names, n)
			for _, text := range splitOutside(h.Value(), ',') {
				via, err := readVia(text)
				if err != nil {
					return err
				}
				vias = append(vias, via)
			}
		}
		if len(vias) > maxVias {
			return fmt.Errorf("more than %d: %w", maxVias, errBadVia)
		}
	}
	if len(vias) == 0 {
		return nil
	}
	m, ok := msg.(interface{ RemoveHeader(string) bool })
	if !ok {
		return errBadVia
	}
	for _, n := range names {
		m.RemoveHeader(n)
	}
	// sipgo takes the last of the headers that are prepended together for the topmost.
	msg.PrependHeader(vias[1:]...)
	msg.PrependHeader(vias[0])
	return nil
}

// readVia reads one element of a Via header, with white space wherever RFC 3261
// s25.1 allows it.
func readVia(text string) (*sip.ViaHeader, error) {
	parts := splitOutside(text, ';')
	protocol := strings.SplitN(parts[0], "/", 3)
	if len(protocol) != 3 {
		return nil, fmt.Errorf("sent-protocol: %w", errBadVia)
	}
	rest := strings.TrimSpace(protocol[2])
	end := strings.IndexAny(rest, " \t")
	if end < 0 {
		return nil, fmt.Errorf("no sent-by: %w", errBadVia)
	}
	via := &sip.ViaHeader{ProtocolName: strings.TrimSpace(protocol[0]), ProtocolVersion: strings.TrimSpace(protocol[1]), Transport: rest[:end]}
	var err error
	if via.Host, via.Port, err = readSentBy(strings.TrimSpace(rest[end:])); err != nil {
		return nil, err
	}
	for _, p := range parts[1:] {
		name, value, _ := strings.Cut(p, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if slices.ContainsFunc(viaParams, func(known string) bool { return strings.EqualFold(known, name) }) {
			name = strings.ToLower(name)
		}
		if name != "" {
			via.Params = append(via.Params, sip.HeaderKV{K: name, V: value})
		}
	}
	return via, nil
}

//nolint:gochecknoglobals // never written
var viaParams = []string{"branch", "rport", "received", "maddr", "ttl", "alias"}

func readSentBy(text string) (host string, port int, err error) {
	host, tail := text, ""
	if rest, ok := strings.CutPrefix(text, "["); ok {
		if host, tail, ok = strings.Cut(rest, "]"); !ok {
			return "", 0, fmt.Errorf("sent-by: %w", errBadVia)
		}
	} else if i := strings.IndexByte(text, ':'); i >= 0 {
		host, tail = text[:i], text[i:]
	}
	host, tail = strings.TrimSpace(host), strings.TrimSpace(tail)
	if digits, ok := strings.CutPrefix(tail, ":"); ok {
		n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 16)
		if err != nil {
			return "", 0, fmt.Errorf("port: %w", errBadVia)
		}
		port, tail = int(n), ""
	}
	if host == "" || tail != "" || strings.ContainsAny(host, " \t\"<>@/?") {
		return "", 0, fmt.Errorf("sent-by: %w", errBadVia)
	}
	return host, port, nil
}

func readCSeq(_ []byte, text string) (sip.Header, error) {
	fields := strings.Fields(text)
	if len(fields) != 2 {
		return nil, errBadCSeq
	}
	n, err := strconv.ParseUint(fields[0], 10, 31) // RFC 3261 s8.1.1.5: below 2^31
	if err != nil {
		return nil, errBadCSeq
	}
	return &sip.CSeqHeader{SeqNo: uint32(n), MethodName: sip.RequestMethod(fields[1])}, nil //nolint:gosec // 31 bits
}

// splitOutside splits text at sep where that stands outside quotes; its parts are
// trimmed, and there is at least one.
func splitOutside(text string, sep byte) []string {
	var out []string
	start := 0
	eachOutside(text, func(i int) {
		if text[i] == sep {
			out = append(out, strings.TrimSpace(text[start:i]))
			start = i + 1
		}
	})
	return append(out, strings.TrimSpace(text[start:]))
}

// squeeze takes the white space around the semicolons and equal signs of header
// parameters away; what stands in quotes or angle brackets stays.
func squeeze(text string) string {
	if !strings.ContainsAny(text, " \t") {
		return text
	}
	drop := make([]bool, len(text))
	any := false
	eachOutside(text, func(i int) {
		if text[i] != ';' && text[i] != '=' {
			return
		}
		for j := i - 1; j >= 0 && isSpace(text[j]); j-- {
			drop[j], any = true, true
		}
		for j := i + 1; j < len(text) && isSpace(text[j]); j++ {
			drop[j], any = true, true
		}
	})
	if !any {
		return text
	}
	var out strings.Builder
	for i := range len(text) {
		if !drop[i] {
			out.WriteByte(text[i])
		}
	}
	return out.String()
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// eachOutside calls fn for each byte of a header value that stands neither in a
// quoted string nor in angle brackets (RFC 3261 s25.1).
func eachOutside(text string, fn func(i int)) {
	quoted, escaped, bracket := false, false, false
	for i := range len(text) {
		switch c := text[i]; {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"' && !bracket:
			quoted = !quoted
		case quoted:
		case c == '<':
			bracket = true
		case c == '>':
			bracket = false
		case !bracket:
			fn(i)
		}
	}
}

// isToken says that s is a token of RFC 3261 s25.1.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && !strings.ContainsRune("-.!%*_+`'~", rune(c)) {
			return false
		}
	}
	return s != ""
}
