package bridge

import (
	"net/url"
	"testing"

	"github.com/emiago/sipgo/sip"
	"pgregory.net/rapid"
)

func TestEscapeUser(t *testing.T) {
	for number, want := range map[string]string{
		"+4930123401": "+4930123401",
		"*99#201":     "*99%23201",
		"#31#":        "%2331%23",
		"a b@c":       "a%20b%40c",
		"50%":         "50%25",
		"ü":           "%C3%BC",
		"":            "",
	} {
		if got := escapeUser(number); got != want {
			t.Errorf("%q became %q, want %q", number, got, want)
		}
	}
}

// Whatever a number is, it arrives as it was and changes nothing else of the URI.
func TestEscapedUserSurvivesTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.StringN(1, 20, -1).Draw(t, "number")
		uri := sip.Uri{Scheme: "sip", User: escapeUser(number), Host: "pbx.example.com", Port: 5062}
		var parsed sip.Uri
		if err := sip.ParseUri(uri.String(), &parsed); err != nil {
			t.Fatalf("%s: %v", &uri, err)
		}
		plain, err := url.PathUnescape(parsed.User)
		if err != nil || plain != number || parsed.Host != uri.Host || parsed.Port != uri.Port || len(parsed.UriParams) > 0 || len(parsed.Headers) > 0 {
			t.Fatalf("%q became %s: user %q (%v)", number, &uri, plain, err)
		}
	})
}
