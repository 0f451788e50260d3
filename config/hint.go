package config

import "strings"

// nearest is the candidate that word was probably meant to be, "" if none is
// near: the one fewest edits away, at most a third of the word, where a longer or
// shorter form of it (qualify_frequency for qualify, prod for production) counts
// as one edit.
func nearest(word string, candidates []string) string {
	const longest = 64 // beyond that a key is no slip of the finger
	if len(word) > longest || word == "" {
		return ""
	}
	lower := strings.ToLower(word)
	best, bestDistance := "", max(1, len(word)/3)+1
	for _, candidate := range candidates {
		known := strings.ToLower(candidate)
		d := editDistance(lower, known)
		if strings.HasPrefix(lower, known+"_") || len(word) >= 3 && strings.HasPrefix(known, lower) {
			d = min(d, 1)
		}
		if d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions, replacements and swaps of
// neighbours that turn a into b (optimal string alignment).
func editDistance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
