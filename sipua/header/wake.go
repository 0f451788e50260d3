package header

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// The project's own header fields.
const (
	// NameCallUUID on an INVITE to a device is the CallKit UUID that the push
	// carried.
	NameCallUUID = "X-Call-UUID"
	// NameCallEnded in a 200 to REGISTER tells a woken app that its call is over.
	NameCallEnded = "X-Call-Ended"
	// NameWakeStatus in a 180 to a trunk says how far waking came.
	NameWakeStatus = "X-Wake-Status"
)

// WakeStatus is a value of X-Wake-Status.
type WakeStatus string

// The stages a caller can see, in order.
const (
	WakePushed     WakeStatus = "pushed"
	WakeRegistered WakeStatus = "registered"
	WakeRinging    WakeStatus = "ringing"
)

// ParseWakeStatus reads a value of X-Wake-Status. Errors wrap ErrMalformed.
func ParseWakeStatus(value string) (WakeStatus, error) {
	switch s := WakeStatus(strings.ToLower(strings.TrimSpace(value))); s {
	case WakePushed, WakeRegistered, WakeRinging:
		return s, nil
	}
	return "", fmt.Errorf("%s: %w", NameWakeStatus, ErrMalformed)
}

// FormatCallUUID is the value of X-Call-UUID: lower case, with hyphens.
func FormatCallUUID(id uuid.UUID) string { return id.String() }

// ParseCallUUID reads a value of X-Call-UUID, in either case, since Swift prints
// capitals. Compare the result with ==. Errors wrap ErrMalformed.
func ParseCallUUID(value string) (uuid.UUID, error) {
	value = strings.TrimSpace(value)
	// uuid.Parse takes other notations too (urn:uuid:, braces, no hyphens).
	if len(value) != 36 {
		return uuid.Nil, fmt.Errorf("UUID of %d characters: %w", len(value), ErrMalformed)
	}
	id, err := uuid.Parse(value)
	if err != nil || id == uuid.Nil {
		return uuid.Nil, fmt.Errorf("UUID: %w", ErrMalformed)
	}
	return id, nil
}

// CallEnded is a value of X-Call-Ended: the fate of a call that a device was woken
// for and never got the INVITE of.
type CallEnded struct {
	UUID uuid.UUID
	// Cause is 487 (the caller gave up), 200 (answered elsewhere), 603 (declined
	// elsewhere) or 480 (no answer in time).
	Cause int
	// Text is for people.
	Text string
}

// String is the header value: `<uuid>;cause=487;text="..."`, the UUID without
// brackets.
func (e CallEnded) String() string {
	v := e.UUID.String() + ";cause=" + strconv.Itoa(e.Cause)
	if text := Clean(e.Text); text != "" {
		v += ";text=" + Quote(text)
	}
	return v
}

// ParseCallEnded reads the values of all X-Call-Ended header fields of a response.
// Causes other than the four are let through (100 to 699) for later servers'
// sake. Errors wrap ErrMalformed.
func ParseCallEnded(values ...string) ([]CallEnded, error) {
	var all []CallEnded
	for _, v := range values {
		parts, err := split(v, ',')
		if err != nil {
			return nil, fmt.Errorf("%s: %w", NameCallEnded, err)
		}
		for _, part := range parts {
			e, err := parseCallEnded(part)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", NameCallEnded, err)
			}
			all = append(all, e)
		}
	}
	return all, nil
}

func parseCallEnded(s string) (CallEnded, error) {
	head, params, err := parseParams(s)
	if err != nil {
		return CallEnded{}, err
	}
	var e CallEnded
	if e.UUID, err = ParseCallUUID(head); err != nil {
		return CallEnded{}, err
	}
	for _, p := range params {
		switch p.name {
		case "cause":
			n, err := decimal(p.value, 699)
			if err != nil {
				return CallEnded{}, fmt.Errorf("cause: %w", err)
			}
			e.Cause = int(n)
		case "text":
			e.Text = strings.TrimSpace(p.value)
		}
	}
	if e.Cause < 100 {
		return CallEnded{}, fmt.Errorf("no cause: %w", ErrMalformed)
	}
	return e, nil
}
