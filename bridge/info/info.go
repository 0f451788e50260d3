// Package info reads and writes the bodies of SIP INFO requests that tell a key:
//
//	application/dtmf-relay   Signal=5
//	                         Duration=160
//	application/dtmf         5
//
// No RFC has them. They are what Cisco's gateways began and every PBX reads; the
// bounds of durations are theirs, but for the shortest one.
package info

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"wakebridge/bridge/media/dtmf"
)

// The media types.
const (
	TypeRelay = "application/dtmf-relay"
	TypeDigit = "application/dtmf"
)

// How long a key is down. A tone below Shortest need not be recognised (ITU-T Q.24:
// 40 ms); Longest and the duration of a key without one are those of Cisco's "SIP
// INFO Method for DTMF Tone Generation".
const (
	Shortest = 40 * time.Millisecond
	Longest  = 5 * time.Second
	Usual    = 250 * time.Millisecond
)

// maxBody is the longest body that is read, in octets.
const maxBody = 256

var (
	// ErrType says that a media type is none of keys: 415.
	ErrType = errors.New("not a media type of DTMF")
	// ErrBody says that a body is of such a type but tells no key: 400. It does not
	// repeat the body.
	ErrBody = errors.New("the DTMF body cannot be read")
)

// Is says that a Content-Type is one of keys.
func Is(contentType string) bool {
	t := mediaType(contentType)
	return t == TypeRelay || t == TypeDigit
}

// mediaType is a Content-Type without parameters, in lower case.
func mediaType(contentType string) string {
	t, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(t))
}

// Parse reads the key of a body; its duration is between Shortest and Longest.
// Errors: ErrType, ErrBody.
func Parse(contentType string, body []byte) (dtmf.Press, error) {
	if len(body) > maxBody {
		return dtmf.Press{}, fmt.Errorf("%d octets: %w", len(body), ErrBody)
	}
	text := string(body)
	switch mediaType(contentType) {
	case TypeRelay:
		return parseRelay(text)
	case TypeDigit:
		e, err := parseKey(strings.TrimSpace(text))
		return dtmf.Press{Event: e, Duration: Usual}, err
	}
	return dtmf.Press{}, ErrType
}

// parseRelay reads lines of name=value; names that nobody knows are left out.
func parseRelay(text string) (dtmf.Press, error) {
	p := dtmf.Press{Duration: Usual}
	signals := 0
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, "=")
		value = strings.TrimSpace(value)
		var err error
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "signal":
			signals++
			p.Event, err = parseKey(value)
		case "duration":
			p.Duration, err = parseDuration(value)
		}
		if err != nil {
			return dtmf.Press{}, err
		}
	}
	if signals != 1 {
		return dtmf.Press{}, fmt.Errorf("%d signals: %w", signals, ErrBody)
	}
	return p, nil
}

// parseKey reads a key by its name, or 10 to 16 for those that are no digits, as the
// events are numbered (RFC 4733 s3.2); "hf" and "flash" are the hook flash.
func parseKey(s string) (dtmf.Event, error) {
	if e, err := dtmf.ParseEvent(s); err == nil {
		return e, nil
	}
	switch strings.ToLower(s) {
	case "10", "11", "12", "13", "14", "15", "16":
		return dtmf.Event(10 + s[1] - '0'), nil
	case "hf", "flash":
		return dtmf.Flash, nil
	}
	return 0, fmt.Errorf("no key: %w", ErrBody)
}

// parseDuration reads milliseconds and brings them into the bounds.
func parseDuration(s string) (time.Duration, error) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, fmt.Errorf("duration is no number: %w", ErrBody)
	}
	if s = strings.TrimLeft(s, "0"); len(s) > 6 { // more digits than any duration has
		return Longest, nil
	}
	n, err := strconv.Atoi("0" + s)
	if err != nil {
		return 0, fmt.Errorf("duration: %w", ErrBody)
	}
	return Bounded(time.Duration(n) * time.Millisecond), nil
}

// Bounded is a duration as one that peers take.
func Bounded(d time.Duration) time.Duration { return min(max(d, Shortest), Longest) }

// Body is the body of a type that tells a key, TypeRelay if it is none; its duration
// is bounded, and not told by TypeDigit.
func Body(contentType string, p dtmf.Press) []byte {
	name := p.Event.Name()
	if p.Event == dtmf.Flash {
		name = "16" // what Asterisk and FreeSWITCH read
	}
	if mediaType(contentType) == TypeDigit {
		return []byte(name)
	}
	return fmt.Appendf(nil, "Signal=%s\r\nDuration=%d\r\n", name, Bounded(p.Duration).Milliseconds())
}
