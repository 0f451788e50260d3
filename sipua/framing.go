package sipua

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Sizes that are checked before anything is allocated or parsed. A phone's
// REGISTER with push parameters has about 1.5 KiB, a big PBX's INVITE about 4.
const (
	maxMessage = 65535
	maxHead    = 32 << 10
	maxLine    = 8 << 10
	maxHeaders = 256
)

// head is what framing must know of a message before it is parsed.
type head struct {
	length    int  // of the body, by Content-Length
	hasLength bool // Content-Length is there
	hasType   bool // Content-Type is there, and so, most likely, a body
	fault     error
}

// readHead checks the bytes of a message up to and including its empty line. A
// fault that leaves the end of the message known is in head.fault, so that the
// message can be answered and the connection kept; the error says that framing
// is lost (RFC 3261 s18.3).
func readHead(data []byte) (head, error) {
	var h head
	for lines, rest := 0, data; len(rest) > 0; {
		line, after, ok := bytes.Cut(rest, []byte("\r\n"))
		if !ok {
			return h, fmt.Errorf("line without CRLF: %w", ErrFraming)
		}
		if len(line) == 0 {
			break
		}
		if lines++; lines == 1 && isFolded(after) {
			h.fault = firstErr(h.fault, Reject(400, "Folded start line"))
		}
		line, rest = unfold(line, after)
		h.fault = firstErr(h.fault, checkLine(line, lines))
		if lines == 1 {
			continue
		}
		if err := h.takeLength(line); err != nil {
			return h, err
		}
		h.hasType = h.hasType || nameIs(line, "Content-Type", "c")
	}
	return h, nil
}

// unfold joins a header line with those that continue it (RFC 3261 s7.3.1).
func unfold(line, after []byte) (whole, rest []byte) {
	line = slices.Clip(line) // what follows it in memory is the peer's
	for isFolded(after) {
		more, next, ok := bytes.Cut(after, []byte("\r\n"))
		if !ok {
			break
		}
		line = append(append(line, ' '), bytes.TrimLeft(more, " \t")...)
		after = next
	}
	return line, after
}

func isFolded(rest []byte) bool { return len(rest) > 0 && isSpace(rest[0]) }

func checkLine(line []byte, number int) error {
	switch {
	case len(line) > maxLine:
		return Reject(400, "Header line too long")
	case number > maxHeaders+1:
		return Reject(400, "Too many headers")
	case hasControl(line):
		return Reject(400, "Control character in a header")
	}
	return nil
}

// takeLength reads a line that is a Content-Length. One that is no number, or two
// that differ, leave the end of the message unknown.
func (h *head) takeLength(line []byte) error {
	if !nameIs(line, "Content-Length", "l") {
		return nil
	}
	_, value, _ := bytes.Cut(line, []byte(":"))
	n, err := strconv.ParseUint(strings.Trim(string(value), " \t"), 10, 31)
	if err != nil {
		return fmt.Errorf("Content-Length %.20q: %w", value, ErrFraming)
	}
	if h.hasLength && h.length != int(n) {
		return fmt.Errorf("two different Content-Length: %w", ErrFraming)
	}
	if h.hasLength {
		h.fault = firstErr(h.fault, Reject(400, "Content-Length twice"))
	}
	h.length, h.hasLength = int(n), true
	return nil
}

// nameIs says that a header line has one of two names.
func nameIs(line []byte, long, short string) bool {
	name, _, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		return false
	}
	n := strings.TrimRight(string(name), " \t")
	return strings.EqualFold(n, long) || strings.EqualFold(n, short)
}

func firstErr(have, next error) error {
	if have != nil {
		return have
	}
	return next
}

// hasControl finds what may not stand in a header line: every control character
// but the tab, also a bare CR or LF.
func hasControl(line []byte) bool {
	for _, c := range line {
		if (c < 0x20 && c != '\t') || c == 0x7f {
			return true
		}
	}
	return false
}

// frame is one message as it was cut out of the bytes of a peer.
type frame struct {
	data  []byte // head and body
	fault error  // it can be answered, but not parsed
}

// cutDatagram makes a frame of a datagram. What follows the body is dropped, a
// body that is too short is a fault (RFC 3261 s18.3).
func cutDatagram(data []byte) frame {
	// RFC 3261 s7.5: empty lines in front are ignored.
	data = bytes.TrimLeft(data, "\r\n")
	end := bytes.Index(data, []byte("\r\n\r\n"))
	if end < 0 || end > maxHead {
		return frame{data: data, fault: Reject(400, "No end of headers")}
	}
	end += 4
	h, err := readHead(data[:end])
	if err != nil {
		return frame{data: data[:end], fault: Reject(400, "Bad Content-Length")}
	}
	if !h.hasLength {
		return frame{data: data, fault: h.fault}
	}
	if h.length > len(data)-end {
		return frame{data: data[:end], fault: Reject(400, "Body shorter than Content-Length")}
	}
	return frame{data: data[:end+h.length], fault: h.fault}
}

// cutter cuts the messages out of a stream.
type cutter struct {
	r     *bufio.Reader
	ping  func() // the peer sent the double CRLF of RFC 5626 s3.5.1
	begin func() // the first byte of a message is there
}

func newCutter(r io.Reader, ping, begin func()) *cutter {
	return &cutter{r: bufio.NewReaderSize(r, 4<<10), ping: ping, begin: begin}
}

var errHeadTooLarge = errors.New("headers over 32 KiB")

// next waits for a whole message. Its error ends the connection: io.EOF, a read
// error, or one that wraps ErrFraming.
func (c *cutter) next() (frame, error) {
	if err := c.skipEmptyLines(); err != nil {
		return frame{}, err
	}
	c.begin()
	var buf []byte
	for {
		line, err := c.r.ReadSlice('\n')
		if len(buf)+len(line) > maxHead {
			return frame{data: buf}, fmt.Errorf("%w: %w", errHeadTooLarge, ErrFraming)
		}
		buf = append(buf, line...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return frame{}, err
		}
		if bytes.HasSuffix(buf, []byte("\r\n\r\n")) {
			break
		}
	}
	h, err := readHead(buf)
	if err != nil {
		return frame{data: buf}, err
	}
	if !h.hasLength && h.hasType {
		// RFC 3261 s20.14 wants it on streams. Without a body its lack does no harm.
		return frame{data: buf}, fmt.Errorf("body without Content-Length: %w", ErrFraming)
	}
	if len(buf)+h.length > maxMessage {
		return frame{data: buf}, fmt.Errorf("message over %d bytes: %w", maxMessage, ErrFraming)
	}
	end := len(buf)
	buf = append(buf, make([]byte, h.length)...)
	if _, err := io.ReadFull(c.r, buf[end:]); err != nil {
		return frame{}, err
	}
	return frame{data: buf, fault: h.fault}, nil
}

// skipEmptyLines passes over the CRLFs between messages (RFC 3261 s7.5); two in
// a row are a keep-alive that wants one back (RFC 5626 s3.5.1).
func (c *cutter) skipEmptyLines() error {
	empty := 0
	for {
		b, err := c.r.Peek(1)
		if err != nil {
			return err
		}
		if b[0] != '\r' && b[0] != '\n' {
			return nil
		}
		if b[0] == '\n' {
			if empty++; empty%2 == 0 {
				c.ping()
			}
		}
		if _, err := c.r.Discard(1); err != nil {
			return err
		}
	}
}
