package resolve

import (
	"cmp"
	"math/rand/v2"
	"net"
	"slices"
)

// order sorts records by priority, and within one priority draws them at random
// with the odds of their weights (RFC 2782). The argument is not changed.
func order(records []*net.SRV) []*net.SRV {
	out := slices.Clone(records)
	// Weight 0 goes first, so that it is drawn with a small chance at all.
	slices.SortStableFunc(out, func(a, b *net.SRV) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(min(a.Weight, 1), min(b.Weight, 1)))
	})
	for start := 0; start < len(out); {
		end := start + 1
		for end < len(out) && out[end].Priority == out[start].Priority {
			end++
		}
		for ; start < end; start++ {
			chosen := start + draw(out[start:end])
			// Moved to the front, the others keep their order.
			rec := out[chosen]
			copy(out[start+1:chosen+1], out[start:chosen])
			out[start] = rec
		}
	}
	return out
}

// draw picks an index by weight.
func draw(records []*net.SRV) int {
	sum := 0
	for _, r := range records {
		sum += int(r.Weight)
	}
	if sum == 0 {
		return rand.IntN(len(records))
	}
	n := rand.IntN(sum + 1)
	for i, r := range records {
		if n -= int(r.Weight); n <= 0 {
			return i
		}
	}
	return len(records) - 1
}
