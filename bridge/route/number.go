package route

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Normalize is a called number or name as rules see it: escapes undone,
// parameters of the user part (";phone-context=...") dropped, and of what is made
// of digits only, the visual separators of RFC 3966 and spaces as well
// ("+49 (30) 1234-01" is "+4930123401"). Names keep their dots and hyphens.
func Normalize(called string) string {
	if plain, err := url.PathUnescape(called); err == nil {
		called = plain
	}
	called, _, _ = strings.Cut(called, ";")
	called = strings.TrimSpace(called)
	if called == "" || strings.Trim(called, "0123456789+*# -.()") != "" || !strings.ContainsAny(called, "0123456789") {
		return called
	}
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -.()", r) {
			return -1
		}
		return r
	}, called)
}

// isDialable says that a number can be the user part of a Request-URI, "#" and such
// escaped by whoever writes it.
func isDialable(number string) bool {
	if number == "" || len(number) > 128 {
		return false
	}
	for _, r := range number {
		alnum := r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !alnum && !strings.ContainsRune("+*#-_.!~'()&=$,/", r) {
			return false
		}
	}
	return true
}

// expand fills a template with the groups of a match; with groups nil it only
// checks that each is there. "$1" ends after its digits, so that "$1x" means what
// it looks like (regexp.Expand would look for a group named "1x"). problem is ""
// if all is well.
func expand(template string, match *regexp.Regexp, groups []string) (text, problem string) {
	var b strings.Builder
	for rest := template; rest != ""; {
		before, after, found := strings.Cut(rest, "$")
		b.WriteString(before)
		if !found {
			break
		}
		name, tail := groupName(after)
		switch {
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			rest = after[1:]
			continue
		case name == "":
			return "", fmt.Sprintf("%q has a $ without a group; write $$ for a dollar", template)
		}
		index, err := strconv.Atoi(name)
		if err != nil {
			index = match.SubexpIndex(name)
		}
		if index < 0 || index > match.NumSubexp() {
			return "", fmt.Sprintf("match has no group $%s", name)
		}
		if groups != nil {
			b.WriteString(groups[index])
		}
		rest = tail
	}
	return b.String(), ""
}

// groupName takes "1" off "1x", and "name" off "{name}x".
func groupName(s string) (name, rest string) {
	if strings.HasPrefix(s, "{") {
		name, rest, found := strings.Cut(s[1:], "}")
		if !found {
			return "", s
		}
		return name, rest
	}
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return s[:n], s[n:]
}
