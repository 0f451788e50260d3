package sipua

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
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
	fault     error
}

// readHead checks the bytes of a message up to and including its empty line. A
// fault that leaves the end of the message known is in head.fault, so that the
// message can be answered and the connection kept; the error says that framing
// is lost (RFC 3261 s18.3).
func readHead(data []byte) (head, error) {
	var h head
	lines := 0
	for rest := data; len(rest) > 0; {
		line, after, ok := bytes.Cut(rest, []byte("\r\n"))
		if !ok {
			return h, fmt.Errorf("line without CRLF: %w", ErrFraming)
		}
		rest = after
		if len(line) == 0 {
			break
		}
		lines++
		if len(line) > maxLine {
			h.fault = firstErr(h.fault, Reject(400, "Header line too long"))
		}
		if lines > maxHeaders+1 {
			h.fault = firstErr(h.fault, Reject(400, "Too many headers"))
		}
		if hasControl(line) {
			h.fault = firstErr(h.fault, Reject(400, "Control character in a header"))
		}
		if lines == 1 {
			continue
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || !isContentLength(string(bytes.TrimRight(name, " \t"))) {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(string(value)), 10, 31)
		if err != nil {
			return h, fmt.Errorf("Content-Length %.20q: %w", value, ErrFraming)
		}
		if h.hasLength && h.length != int(n) {
			return h, fmt.Errorf("two different Content-Length: %w", ErrFraming)
		}
		if h.hasLength {
			h.fault = firstErr(h.fault, Reject(400, "Content-Length twice"))
		}
		h.length, h.hasLength = int(n), true
	}
	return h, nil
}

func firstErr(have, next error) error {
	if have != nil {
		return have
	}
	return next
}

func isContentLength(name string) bool {
	return strings.EqualFold(name, "Content-Length") || strings.EqualFold(name, "l")
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
func cutDatagram(data []byte) (frame, error) {
	// RFC 3261 s7.5: empty lines in front are ignored.
	data = bytes.TrimLeft(data, "\r\n")
	end := bytes.Index(data, []byte("\r\n\r\n"))
	if end < 0 || end > maxHead {
		return frame{data: data, fault: Reject(400, "No end of headers")}, nil
	}
	end += 4
	h, err := readHead(data[:end])
	if err != nil {
		return frame{data: data[:end], fault: Reject(400, "Bad Content-Length")}, nil
	}
	if !h.hasLength {
		return frame{data: data, fault: h.fault}, nil
	}
	if h.length > len(data)-end {
		return frame{data: data[:end], fault: Reject(400, "Body shorter than Content-Length")}, nil
	}
	return frame{data: data[:end+h.length], fault: h.fault}, nil
}

// cutter cuts the messages out of a stream.
type cutter struct {
	r    *bufio.Reader
	ping func() // the peer sent the double CRLF of RFC 5626 s3.5.1
}

func newCutter(r io.Reader, ping func()) *cutter {
	return &cutter{r: bufio.NewReaderSize(r, 4<<10), ping: ping}
}

var errHeadTooLarge = errors.New("headers over 32 KiB")

// next waits for a whole message. Its error ends the connection: io.EOF, a read
// error, or one that wraps ErrFraming.
func (c *cutter) next() (frame, error) {
	if err := c.skipEmptyLines(); err != nil {
		return frame{}, err
	}
	var buf []byte
	for {
		line, err := c.r.ReadSlice('\n')
		if len(buf)+len(line) > maxHead {
			return frame{}, fmt.Errorf("%w: %w", errHeadTooLarge, ErrFraming)
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
