package sdp

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// The limits beyond which a description is refused with ErrTooLarge.
const (
	MaxSize    = 16 << 10 // bytes
	MaxStreams = 8        // m-lines
	MaxLines   = 256      // lines of the session part or of one m-line
)

// Description is a session description as lines. The zero Description is empty.
type Description struct {
	session []string
	media   []media
}

// media is one m-line with the lines below it.
type media struct {
	kind    string // audio, video, image, ...
	port    uint16
	proto   string
	formats []string // none only with port 0, where many leave them out
	lines   []string // without the m-line
}

// Parse reads a description. Lines end in CRLF or LF; a missing o=, s=, t= or c=
// and lines out of order are tolerated, as are unknown lines, media types and
// profiles. Errors wrap ErrTooLarge or ErrMalformed.
func Parse(body []byte) (*Description, error) {
	if len(body) > MaxSize {
		return nil, fmt.Errorf("%d bytes: %w", len(body), ErrTooLarge)
	}
	d := &Description{}
	first := true
	for raw := range bytes.SplitSeq(body, []byte("\n")) {
		text := strings.TrimRight(string(bytes.TrimSuffix(raw, []byte("\r"))), " \t")
		if text == "" {
			continue
		}
		if err := checkLine(text); err != nil {
			return nil, err
		}
		if first && text[0] != 'v' {
			return nil, fmt.Errorf("does not begin with v=: %w", ErrMalformed)
		}
		first = false
		if err := d.add(text); err != nil {
			return nil, err
		}
	}
	if first {
		return nil, fmt.Errorf("empty: %w", ErrMalformed)
	}
	return d, nil
}

// checkLine refuses what is no "x=..." line, and control characters, which have no
// business in text that goes on to another peer and into logs.
func checkLine(text string) error {
	if len(text) < 2 || text[1] != '=' || text[0] < 'a' || text[0] > 'z' {
		return fmt.Errorf("line without a type: %w", ErrMalformed)
	}
	for i := 0; i < len(text); i++ {
		if c := text[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return fmt.Errorf("control character in a %c= line: %w", text[0], ErrMalformed)
		}
	}
	return nil
}

func (d *Description) add(text string) error {
	switch text[0] {
	case 'm':
		m, err := parseMedia(text[2:])
		if err != nil {
			return err
		}
		if d.media = append(d.media, m); len(d.media) > MaxStreams {
			return fmt.Errorf("more than %d m-lines: %w", MaxStreams, ErrTooLarge)
		}
		return nil
	case 'c':
		if _, _, err := parseConnection(text); err != nil {
			return err
		}
	}
	into := &d.session
	if n := len(d.media); n > 0 {
		into = &d.media[n-1].lines
	}
	if *into = append(*into, text); len(*into) > MaxLines {
		return fmt.Errorf("more than %d lines: %w", MaxLines, ErrTooLarge)
	}
	return nil
}

// parseMedia reads what follows "m=": kind, port with an optional count, profile,
// formats. A refused stream may have none.
func parseMedia(text string) (media, error) {
	f := strings.Fields(text)
	if len(f) < 3 {
		return media{}, fmt.Errorf("m= line with %d fields: %w", len(f), ErrMalformed)
	}
	// "49170/2" asks for two port pairs; one stream takes one.
	port, _, _ := strings.Cut(f[1], "/")
	n, err := parsePort(port)
	if err != nil {
		return media{}, fmt.Errorf("m= line: %w", err)
	}
	if n != 0 && len(f) == 3 {
		return media{}, fmt.Errorf("m= line without a format: %w", ErrMalformed)
	}
	return media{kind: f[0], port: n, proto: f[2], formats: f[3:]}, nil
}

func parsePort(s string) (uint16, error) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, fmt.Errorf("port is not a number: %w", ErrMalformed)
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("port above 65535: %w", ErrMalformed)
	}
	return uint16(n), nil
}

// parseConnection reads a whole c= line. addr is invalid for a host name, which
// nobody resolves here: such a stream waits for its first packet.
func parseConnection(line string) (addr netip.Addr, host string, err error) {
	f := strings.Fields(line[2:])
	if len(f) != 3 || !strings.EqualFold(f[0], "IN") {
		return netip.Addr{}, "", fmt.Errorf("c= line: %w", ErrMalformed)
	}
	// A multicast address has "/ttl" behind it.
	host, _, _ = strings.Cut(f[2], "/")
	return parseAddr(host), host, nil
}

func parseAddr(host string) netip.Addr {
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}
	}
	return addr.Unmap()
}

// Bytes is the description with lines that end in CRLF.
func (d *Description) Bytes() []byte {
	var b bytes.Buffer
	put := func(lines ...string) {
		for _, l := range lines {
			b.WriteString(l)
			b.WriteString("\r\n")
		}
	}
	put(d.session...)
	for _, m := range d.media {
		put(m.line())
		put(m.lines...)
	}
	return b.Bytes()
}

// String is the description as text, for tests and traces. Key lines are masked.
func (d *Description) String() string {
	var b strings.Builder
	for line := range strings.Lines(string(d.Bytes())) {
		if name := attribute(strings.TrimSpace(line)); name == "crypto" || name == "key-mgmt" || line[0] == 'k' {
			b.WriteString(line[:2] + name + ":…\r\n")
			continue
		}
		b.WriteString(line)
	}
	return b.String()
}

// line is the m-line. It must have a format (RFC 8866 s9), even if its author had none.
func (m media) line() string {
	if len(m.formats) == 0 {
		m.formats = []string{"0"}
	}
	return "m=" + m.kind + " " + strconv.Itoa(int(m.port)) + " " + m.proto + " " + strings.Join(m.formats, " ")
}

func (m media) clone() media {
	m.formats = slices.Clone(m.formats)
	m.lines = slices.Clone(m.lines)
	return m
}

func (d *Description) clone() *Description {
	c := &Description{session: slices.Clone(d.session), media: make([]media, len(d.media))}
	for i, m := range d.media {
		c.media[i] = m.clone()
	}
	return c
}

// attribute is the lower-cased name of an a= line, "" for any other.
func attribute(line string) string {
	if !strings.HasPrefix(line, "a=") {
		return ""
	}
	name, _, _ := strings.Cut(line[2:], ":")
	return strings.ToLower(strings.TrimSpace(name))
}

// value is what follows the colon of an a= line.
func value(line string) string {
	_, v, _ := strings.Cut(line, ":")
	return strings.TrimSpace(v)
}
