package push

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean makes text from the network fit for a phone's screen and for JSON: no
// control characters, no line or paragraph separators, nothing that changes
// the writing direction of what stands beside it, valid UTF-8, no white space
// around. A joiner stays: emoji are made with it.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n' || r == '\r' || r == '\u2028' || r == '\u2029':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == '\uFEFF':
			return -1
		case r >= 0xFFF9 && r <= 0xFFFB: // interlinear annotation
			return -1
		}
		return r
	}, s)
	return strings.TrimSpace(s)
}

// cut shortens s to at most limit bytes without splitting a character, and
// without leaving a joiner or a variation selector at the end that waits for
// a character that is gone.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return strings.TrimRight(s[:limit], " \u200d\ufe0e\ufe0f")
}
