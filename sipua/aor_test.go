package sipua_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/emiago/sipgo/sip"
	"pgregory.net/rapid"

	"wakebridge/sipua"
)

func TestAOR(t *testing.T) {
	alice := sipua.NewAOR("alice", "example.com")
	for text, want := range map[string]sipua.AOR{
		"sip:alice@example.com":                     alice,
		"sips:alice@EXAMPLE.com:5061;transport=tcp": alice,
		"SIP:alice@example.com?Subject=x":           alice,
		"sip:%61lice@example.com":                   alice,
		"sip:alice:secret@example.com":              alice,
		"sip:Alice@example.com":                     {User: "Alice", Domain: "example.com"}, // users are case-sensitive
		"sip:a%40b@example.com":                     {User: "a%40b", Domain: "example.com"},
		"sip:a%c3%a9@example.com":                   {User: "a%C3%A9", Domain: "example.com"},
		"sip:%00@example.com":                       {User: "%00", Domain: "example.com"},
		"sip:%2B4930123@example.com":                {User: "+4930123", Domain: "example.com"},
		"sip:*23%23@example.com":                    {User: "*23%23", Domain: "example.com"},
		"sip:50%@example.com":                       {User: "50%25", Domain: "example.com"},
	} {
		got, err := sipua.ParseAOR(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "alice@example.com", "tel:+4930123", "sip:example.com", "mailto:alice@example.com", "*"} {
		if got, err := sipua.ParseAOR(text); !errors.Is(err, sipua.ErrBadAOR) || sipua.Status(err) != 400 {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	if (sipua.AOR{}).String() != "" || !(sipua.AOR{}).IsZero() || alice.IsZero() {
		t.Error("the zero AOR")
	}
	if a := sipua.NewAOR("*23#", "Example.COM"); a.String() != "sip:*23%23@example.com" {
		t.Error(a)
	}
}

func TestAORThroughItsString(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := sipua.NewAOR(rapid.StringN(1, 20, 60).Draw(t, "user"), "example.com")
		back, err := sipua.ParseAOR(a.String())
		if err != nil || back != a {
			t.Fatalf("%q: %+v, %v", a.String(), back, err)
		}
		if again := sipua.NewAOR(a.User, a.Domain); again != a {
			t.Fatalf("%+v is not canonical: %+v", a, again)
		}
	})
}

type own struct{}

func (own) Error() string  { return "own" }
func (own) SIPStatus() int { return 488 }

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 200}, {errors.New("x"), 500}, {sipua.ErrTimeout, 408}, {sipua.ErrFlowGone, 480}, {sipua.ErrNoListener, 480}, {sipua.ErrBadAOR, 400},
		{sipua.ErrUnsafeHeader, 400}, {sipua.ErrFraming, 400}, {sipua.ErrBusy, 503}, {sipua.ErrClosed, 503}, {sipua.ErrFinalSent, 500},
		{own{}, 488}, {fmt.Errorf("a: %w", sipua.Reject(603, "")), 603}, {fmt.Errorf("%w: %w", sipua.ErrFlowGone, own{}), 488},
	} {
		if got := sipua.Status(tt.err); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.err, got, tt.want)
		}
	}
	if r := sipua.Reject(486, ""); r.Phrase != "Busy Here" || r.Error() != "486 Busy Here" {
		t.Error(r)
	}
	if sipua.Phrase(299) != "" {
		t.Error("a phrase of our own invention")
	}
}

func TestHeadersInTheirShortForms(t *testing.T) {
	msg, err := sip.ParseMessage([]byte(draft{method: "OPTIONS", callID: "c", extra: []string{
		"k: timer, 100rel", "Supported: , path ,", "x: 1800", "r: <sip:a@b>", "o: presence"}}.String()))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(sipua.Tokens(sipua.Values(msg, "supported"))); got != "[timer 100rel path]" {
		t.Error(got)
	}
	for name, want := range map[string]string{"Session-Expires": "1800", "Event": "presence", "Nothing": "", "SUPPORTED": "timer, 100rel"} {
		if got := sipua.Value(msg, name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
