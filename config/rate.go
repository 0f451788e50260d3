package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

var errRate = errors.New("not a rate")

// maxRate keeps a rate's count within what a limiter's arithmetic bears.
const maxRate = 1_000_000

// Rate is so many events per span of time. The zero Rate is off: no limit.
type Rate struct {
	// Count is the number of events, 1 to 1,000,000; 0 is off.
	Count int
	// Per is a second, a minute or an hour.
	Per time.Duration
}

// ParseRate reads 20/s, 6/m, 100/h or off.
func ParseRate(s string) (Rate, error) {
	if s == "off" {
		return Rate{}, nil
	}
	count, unit, _ := strings.Cut(s, "/")
	n, err := strconv.ParseUint(count, 10, 32)
	if err != nil || n < 1 || n > maxRate {
		return Rate{}, fmt.Errorf("%q: %w", s, errRate)
	}
	per := time.Duration(0)
	switch unit {
	case "s":
		per = time.Second
	case "m":
		per = time.Minute
	case "h":
		per = time.Hour
	default:
		return Rate{}, fmt.Errorf("%q: %w", s, errRate)
	}
	return Rate{Count: int(n), Per: per}, nil
}

// Off says that there is no limit.
func (r Rate) Off() bool { return r.Count == 0 }

// PerSecond is the rate in events per second, 0 if it is off.
func (r Rate) PerSecond() float64 {
	if r.Off() {
		return 0
	}
	return float64(r.Count) / r.Per.Seconds()
}

// String writes the rate as ParseRate reads it.
func (r Rate) String() string {
	if r.Off() {
		return "off"
	}
	switch r.Per {
	case time.Second:
		return fmt.Sprintf("%d/s", r.Count)
	case time.Minute:
		return fmt.Sprintf("%d/m", r.Count)
	default:
		return fmt.Sprintf("%d/h", r.Count)
	}
}
