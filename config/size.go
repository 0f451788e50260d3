package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

var (
	errSize       = errors.New("not a size")
	errSizeNoUnit = errors.New("size without a unit")
)

// Size is a number of bytes.
type Size int64

// sizeUnits are the units, the largest first.
func sizeUnits() []struct {
	name  string
	bytes Size
} {
	return []struct {
		name  string
		bytes Size
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}
}

// ParseSize reads 64KiB, 512MiB, 1GiB or 2TiB: a whole number and a unit.
func ParseSize(s string) (Size, error) {
	for _, u := range sizeUnits() {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 63)
		if err != nil || !isDecimal(digits) || Size(n) > math.MaxInt64/u.bytes {
			return 0, fmt.Errorf("%q: %w", s, errSize)
		}
		return Size(n) * u.bytes, nil
	}
	if isDecimal(s) {
		return 0, fmt.Errorf("%q: %w", s, errSizeNoUnit)
	}
	return 0, fmt.Errorf("%q: %w", s, errSize)
}

// String writes the size as ParseSize reads it; what is no multiple of a KiB loses its
// rest.
func (s Size) String() string {
	for _, u := range sizeUnits() {
		if s != 0 && s%u.bytes == 0 {
			return fmt.Sprintf("%d%s", s/u.bytes, u.name)
		}
	}
	return fmt.Sprintf("%dKiB", s>>10)
}
