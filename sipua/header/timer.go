package header

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The header fields of the session timer (RFC 4028) and the compact form of the
// first.
const (
	NameSessionExpires        = "Session-Expires"
	NameSessionExpiresCompact = "x"
	NameMinSE                 = "Min-SE"
)

// Refresher says which side of a transaction refreshes the session (RFC 4028 s4).
type Refresher string

// RefresherUnset leaves the choice to the UAS.
const (
	RefresherUnset Refresher = ""
	RefresherUAC   Refresher = "uac"
	RefresherUAS   Refresher = "uas"
)

// SessionExpires is the value of Session-Expires.
type SessionExpires struct {
	// Interval is whole seconds, at most 2^32-1 of them.
	Interval  time.Duration
	Refresher Refresher
}

// String is the header value, for example "1800;refresher=uac".
func (s SessionExpires) String() string {
	v := seconds(s.Interval)
	if s.Refresher != RefresherUnset {
		v += ";refresher=" + string(s.Refresher)
	}
	return v
}

// ParseSessionExpires reads a value of Session-Expires. Unknown parameters are
// passed over. Errors wrap ErrMalformed.
func ParseSessionExpires(value string) (SessionExpires, error) {
	interval, params, err := parseInterval(value)
	if err != nil {
		return SessionExpires{}, fmt.Errorf("Session-Expires: %w", err)
	}
	s := SessionExpires{Interval: interval}
	for _, p := range params {
		if p.name != "refresher" {
			continue
		}
		s.Refresher = Refresher(strings.ToLower(p.value))
		if s.Refresher != RefresherUAC && s.Refresher != RefresherUAS {
			return SessionExpires{}, fmt.Errorf("Session-Expires: refresher: %w", ErrMalformed)
		}
	}
	return s, nil
}

// ParseMinSE reads a value of Min-SE. Errors wrap ErrMalformed.
func ParseMinSE(value string) (time.Duration, error) {
	interval, _, err := parseInterval(value)
	if err != nil {
		return 0, fmt.Errorf("Min-SE: %w", err)
	}
	return interval, nil
}

// FormatSeconds is a duration as delta-seconds (RFC 3261 s25.1), for Expires,
// Min-Expires, Min-SE and Retry-After: rounded up, never negative.
func FormatSeconds(d time.Duration) string { return seconds(d) }

func parseInterval(value string) (time.Duration, []pair, error) {
	head, params, err := parseParams(value)
	if err != nil {
		return 0, nil, err
	}
	n, err := decimal(head, 1<<32-1)
	if err != nil {
		return 0, nil, err
	}
	return time.Duration(n) * time.Second, params, nil
}

func seconds(d time.Duration) string {
	if d <= 0 {
		return "0"
	}
	n := int64(d / time.Second)
	if d%time.Second != 0 {
		n++
	}
	return strconv.FormatInt(min(n, 1<<32-1), 10)
}
