package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

var (
	errNoUnit   = errors.New("a duration needs a unit")
	errDuration = errors.New("not a duration")
)

// ParseDuration reads a duration such as 30s, 1h30m or 7d: what
// time.ParseDuration reads, and whole days in front (1d is 24h). It refuses
// negative durations and numbers without a unit, 0 included.
func ParseDuration(s string) (time.Duration, error) {
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return 0, fmt.Errorf("%q: %w", s, errNoUnit)
	}
	rest, total := s, time.Duration(0)
	if count, after, found := strings.Cut(s, "d"); found {
		days, err := strconv.ParseUint(count, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q: %w", s, errDuration)
		}
		rest, total = after, time.Duration(days)*day
		if rest == "" {
			return total, nil
		}
	}
	if strings.ContainsAny(rest, "+-") {
		return 0, fmt.Errorf("%q: %w", s, errDuration)
	}
	part, err := time.ParseDuration(rest)
	if err != nil {
		return 0, fmt.Errorf("%q: %w", s, errDuration)
	}
	if total+part < 0 {
		return 0, fmt.Errorf("%q: %w", s, errDuration)
	}
	return total + part, nil
}

// FormatDuration writes d, which is not negative, the way ParseDuration reads
// it and people write it: 90d, 1h, 1m30s, 0s.
func FormatDuration(d time.Duration) string {
	var b strings.Builder
	if days := d / day; days > 0 {
		fmt.Fprintf(&b, "%dd", days)
		if d %= day; d == 0 {
			return b.String()
		}
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	b.WriteString(text)
	return b.String()
}
