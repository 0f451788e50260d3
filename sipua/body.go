package sipua

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/textproto"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// The bounds of a body of several parts; its size is that of any message.
const (
	maxParts = 16 // of all levels together
	maxDepth = 2  // levels of parts
)

// Accepted are the types of body that SessionBody reads, for Accept (RFC 3261 s20.1).
const Accepted = typeSDP + ", multipart/mixed"

const typeSDP = "application/sdp"

// errParts are a body's parts that cannot be told apart, or too many.
var errParts error = Reject(400, "Bad Multipart Body")

// SessionBody is the session description that a message has, nil if it has none: its
// body, or that one part of it that is application/sdp (RFC 5621). Beside it, carriers
// send ISUP (RFC 3204), where an emergency caller is (RFC 6442), or lists: such parts go
// no further, and none is refused for being unknown, unless it says handling=required.
// By RFC 3261 s20.11 a part that says nothing is required too, but those who send a
// location or ISUP without a word want their call to get through above all.
//
// An error is a *Rejection, 415 or 400. The result may be a description in spite of it,
// for messages that cannot be refused.
func SessionBody(msg sip.Message) ([]byte, error) {
	body := msg.Body()
	if len(body) == 0 {
		return nil, nil
	}
	head := make(textproto.MIMEHeader)
	for _, name := range []string{"Content-Type", "Content-Disposition", "Content-Transfer-Encoding"} {
		if v := Value(msg, name); v != "" {
			head.Set(name, v)
		}
	}
	if head.Get("Content-Type") == "" { // whoever forgets it means SDP
		head.Set("Content-Type", typeSDP)
	}
	p := part{head, body}
	kind, _ := p.kind()
	known := kind == typeSDP || strings.HasPrefix(kind, "multipart/")
	if _, handling := p.disposition(); !known && handling != "optional" {
		return nil, unsupported(kind)
	}
	r := reader{left: maxParts}
	err := r.read(p, 0)
	return r.found, err
}

// unsupported refuses a body, or a part that must be understood (RFC 3261 s8.2.3).
func unsupported(kind string) error {
	return fmt.Errorf("body of type %.40q: %w", kind, Reject(415, "", HeaderLine{Name: "Accept", Value: Accepted}))
}

// part is a body, or a part of one.
type part struct {
	head textproto.MIMEHeader
	body []byte
}

// kind is the lower-cased type, and the delimiter of its parts. RFC 3261 s25.1 lets
// a boundary have characters that package mime wants in quotes.
func (p part) kind() (kind, boundary string) {
	v := p.head.Get("Content-Type")
	kind, params, err := mime.ParseMediaType(v)
	if err == nil {
		return kind, params["boundary"]
	}
	kind, rest, _ := strings.Cut(v, ";")
	for param := range strings.SplitSeq(rest, ";") {
		if name, value, _ := strings.Cut(param, "="); strings.EqualFold(strings.TrimSpace(name), "boundary") {
			boundary = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return strings.ToLower(strings.TrimSpace(kind)), boundary
}

// disposition is what the part is for, "" if it does not say, and whether it must be
// understood.
func (p part) disposition() (what, handling string) {
	what, rest, _ := strings.Cut(strings.ToLower(p.head.Get("Content-Disposition")), ";")
	for param := range strings.SplitSeq(rest, ";") {
		if name, value, _ := strings.Cut(param, "="); strings.TrimSpace(name) == "handling" {
			handling = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return strings.TrimSpace(what), handling
}

// asIs says that the body is not encoded: nobody has to in SIP.
func (p part) asIs() bool {
	switch strings.ToLower(strings.TrimSpace(p.head.Get("Content-Transfer-Encoding"))) {
	case "", "7bit", "8bit", "binary":
		return true
	}
	return false
}

// reader looks for the session description in a body.
type reader struct {
	left  int // parts that it may still have
	found []byte
}

// read takes a part at a depth, from 0. The first error is returned, once all was read.
func (r *reader) read(p part, depth int) error {
	kind, boundary := p.kind()
	what, handling := p.disposition()
	switch {
	case kind == typeSDP && what != "early-session": // that is another one, RFC 3959
		switch {
		case !p.asIs() && handling != "optional":
			return unsupported("encoded " + kind)
		case p.asIs():
			return r.take(p.body)
		}
		return nil
	case strings.HasPrefix(kind, "multipart/") && depth < maxDepth:
		err := r.readAll(p.body, boundary, kind == "multipart/alternative", depth+1)
		if handling == "optional" && !errors.Is(err, errParts) {
			return nil
		}
		return err
	case handling == "required":
		return unsupported(kind)
	}
	return nil
}

// take keeps the description; a second one is an error.
func (r *reader) take(found []byte) error {
	if found != nil && r.found != nil {
		return fmt.Errorf("two session descriptions: %w", errParts)
	}
	if found != nil {
		r.found = found
	}
	return nil
}

// readAll takes all parts of a body. Of alternatives, the last one that we know counts,
// and none must be known (RFC 2046 s5.1.4).
func (r *reader) readAll(body []byte, boundary string, alternative bool, depth int) error {
	if boundary == "" {
		return fmt.Errorf("parts without a boundary: %w", errParts)
	}
	var first error
	var best []byte
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for n := 0; ; n++ {
		p, err := nextPart(parts)
		switch {
		case errors.Is(err, io.EOF) && n == 0:
			return fmt.Errorf("no part: %w", errParts)
		case errors.Is(err, io.EOF):
			return errors.Join(first, r.take(best))
		case err != nil:
			return fmt.Errorf("%w: %w", errParts, err)
		case r.left == 0:
			return fmt.Errorf("more than %d parts: %w", maxParts, errParts)
		}
		r.left--
		into := r
		if alternative {
			into = &reader{left: r.left}
		}
		err = into.read(p, depth)
		r.left = into.left
		switch {
		case alternative && into.found != nil:
			best = into.found
		case !alternative && first == nil:
			first = err
		}
	}
}

// nextPart reads one part; io.EOF behind the last one.
func nextPart(parts *multipart.Reader) (part, error) {
	next, err := parts.NextRawPart()
	if err != nil {
		return part{}, err //nolint:wrapcheck // io.EOF as it is
	}
	text, err := io.ReadAll(next)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return part{next.Header, text}, err //nolint:wrapcheck // see above
}
