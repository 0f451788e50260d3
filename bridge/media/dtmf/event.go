package dtmf

import (
	"errors"
	"fmt"
	"time"
)

// Event is a telephone event: 0 to 9 are the digits, 10 is *, 11 is #, 12 to 15 are A
// to D, 16 is Flash (RFC 4733 s3.2, table 3).
type Event uint8

// Flash is the hook flash, the last event that is a key.
const Flash Event = 16

// ErrEvent says that something is no key. It does not say what it was.
var ErrEvent = errors.New("not a DTMF key")

// keys are the names of events 0 to 15.
const keys = "0123456789*#ABCD"

// ParseEvent reads the name of a key as it is printed on phones: 0 to 9, *, #, A to
// D in either case, and ! for Flash. Errors wrap ErrEvent.
func ParseEvent(name string) (Event, error) {
	if len(name) != 1 {
		return 0, fmt.Errorf("%d characters: %w", len(name), ErrEvent)
	}
	c := name[0]
	if c >= 'a' && c <= 'd' {
		c -= 'a' - 'A'
	}
	for i := range len(keys) {
		if keys[i] == c {
			return Event(i), nil //nolint:gosec // 0 to 15
		}
	}
	if c == '!' {
		return Flash, nil
	}
	return 0, ErrEvent
}

// Valid says that the event is a key: 0 to 16.
func (e Event) Valid() bool { return e <= Flash }

// Name is what ParseEvent reads; "" for what is no key. It is for peers only, never
// for logs.
func (e Event) Name() string {
	switch {
	case int(e) < len(keys):
		return keys[e : e+1]
	case e == Flash:
		return "!"
	}
	return ""
}

// String hides which key it is.
func (e Event) String() string { return "key" }

// Format implements fmt.Formatter: no verb tells which key it is.
func (e Event) Format(s fmt.State, _ rune) {
	_, _ = s.Write([]byte(e.String())) //nolint:errcheck // fmt keeps the error
}

// MarshalText implements encoding.TextMarshaler: neither does JSON, nor a log.
func (e Event) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// Press is one key and how long it was down.
type Press struct {
	Event    Event
	Duration time.Duration
}
