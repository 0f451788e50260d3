package header

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxDisplayName is the longest display name, in characters, that EscapeDisplay
// lets through.
const MaxDisplayName = 64

// Safe refuses a value that must not become part of a message or a log line: one
// with CR, LF, TAB or any other control character (C0, DEL, C1, the Unicode line
// and paragraph separators) or with bytes that are not UTF-8. Values that come
// from outside (API, configuration, the other leg) pass here before they are
// written into a header. The error wraps ErrUnsafe and does not repeat the value.
func Safe(value string) error {
	for i, r := range value {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(value[i:]); size == 1 {
				return fmt.Errorf("byte %d is not UTF-8: %w", i, ErrUnsafe)
			}
		}
		if isControl(r) {
			return fmt.Errorf("U+%04X at byte %d: %w", r, i, ErrUnsafe)
		}
	}
	return nil
}

// Clean is value with every run of characters that Safe refuses replaced by one
// space, and without space at either end. Safe(Clean(v)) is always nil.
func Clean(value string) string {
	if Safe(value) == nil {
		return strings.TrimSpace(value)
	}
	var b strings.Builder
	gap := false
	for i, r := range value {
		bad := isControl(r)
		if r == utf8.RuneError {
			_, size := utf8.DecodeRuneInString(value[i:])
			bad = bad || size == 1
		}
		if bad {
			gap = true
			continue
		}
		if gap {
			b.WriteByte(' ')
			gap = false
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}

// isControl covers what could end a line or steer a terminal.
func isControl(r rune) bool {
	return r < 0x20 || r >= 0x7f && r <= 0x9f || r == 0x2028 || r == 0x2029
}

// Quote is value as a quoted-string (RFC 3261 s25.1), cleaned.
func Quote(value string) string { return `"` + escape(Clean(value)) + `"` }

// CleanDisplay is a name as a screen may show it, at most MaxDisplayName characters:
// Clean's value without what reorders text (UAX #9: U+202E turns "gpj.txt" round) or
// annotates it, and without byte order marks. Joiners stay: emoji and some scripts
// need them. A push's payload is cleaned in the same way.
func CleanDisplay(name string) string {
	runes := []rune(strings.TrimSpace(strings.Map(visible, Clean(name))))
	if len(runes) <= MaxDisplayName {
		return string(runes)
	}
	return strings.TrimRight(string(runes[:MaxDisplayName]), " "+joining)
}

// joining are the zero-width joiner and the variation selectors of emoji: at the end
// of a name that was cut they wait for a character that is gone.
const joining = "\u200d\ufe0e\ufe0f"

// visible drops what has no place in a name: -1.
func visible(r rune) rune {
	if unicode.Is(unicode.Bidi_Control, r) || r == '\uFEFF' || r >= 0xFFF9 && r <= 0xFFFB {
		return -1
	}
	return r
}

// EscapeDisplay makes a display name fit for sipgo's DisplayName fields, which are
// written between quotes as they are: CleanDisplay's, quotes and backslashes escaped.
func EscapeDisplay(name string) string { return escape(CleanDisplay(name)) }

// UnescapeDisplay is the name a person reads of a DisplayName that sipgo parsed,
// which keeps the escapes of the quoted-string, by CleanDisplay.
func UnescapeDisplay(parsed string) string { return CleanDisplay(unescape(parsed)) }

func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s)
}

// unescape undoes quoted-pairs. A backslash at the very end stands for itself.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
