package push

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func aCall(k Kind) Notification {
	return Notification{
		Kind: k, UUID: "6f1c2a7e-98f5-4c32-9b1c-0d4f3a2b1c0d", CallID: "6f1c2a7e-98f5-4c32-9b1c-0d4f3a2b1c0d@node1",
		Handle: "+4930123", HandleType: "phone", Name: "Zoë \"Z\" <b>", Video: true,
		To: "sip:alice@example.com", From: "sip:+4930123@pbx.example.com",
		SentAt: time.UnixMilli(1_700_000_000_123), ExpiresAt: time.UnixMilli(1_700_000_025_123),
	}
}

// TestPayloadOfACall pins the keys that apps read: they are a contract.
func TestPayloadOfACall(t *testing.T) {
	t.Parallel()
	common := `"v":1,"type":"call","uuid":"6f1c2a7e-98f5-4c32-9b1c-0d4f3a2b1c0d","call_id":"6f1c2a7e-98f5-4c32-9b1c-0d4f3a2b1c0d@node1",` +
		`"handle":"+4930123","handle_type":"phone","name":"Zoë \"Z\" \u003cb\u003e","video":true,` +
		`"to":"sip:alice@example.com","from":"sip:+4930123@pbx.example.com","sent_at":1700000000123,"expires_at":1700000025123}`
	tests := map[Kind]string{
		VoIP: `{"aps":{},` + common,
		Alert: `{"aps":{"alert":{"title":"Zoë \"Z\" \u003cb\u003e","body":"Incoming video call"},"sound":"default","interruption-level":"time-sensitive"},` +
			common,
	}
	for kind, want := range tests {
		got, err := Payload(aCall(kind), nil)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s:\n got %s\nwant %s", kind, got, want)
		}
	}
	silent, err := Payload(Notification{Kind: Background}, nil)
	if err != nil || !strings.Contains(string(silent), `"content-available":1`) || strings.Contains(string(silent), `"alert"`) {
		t.Errorf("background: %s, %v", silent, err)
	}
	if _, err := Payload(Notification{Kind: "poke"}, nil); !errors.Is(err, ErrUnknownKind) {
		t.Errorf("unknown kind: %v", err)
	}
}

func TestPayloadOfAnAnonymousCall(t *testing.T) {
	t.Parallel()
	n := aCall(Alert)
	n.Name, n.Handle, n.From = "", "", ""
	b, err := Payload(n, nil)
	if err != nil || !strings.Contains(string(b), `"title":"Unknown caller"`) {
		t.Errorf("%s, %v", b, err)
	}
	n.Handle = "201"
	if b, err = Payload(n, nil); err != nil || !strings.Contains(string(b), `"title":"201"`) {
		t.Errorf("%s, %v", b, err)
	}
}

func TestPayloadUsesTheTemplate(t *testing.T) {
	t.Parallel()
	b, err := Payload(aCall(VoIP), func(n Notification) any { return map[string]string{"nameCaller": n.Name} })
	if err != nil || string(b) != `{"nameCaller":"Zoë \"Z\" \u003cb\u003e"}` {
		t.Errorf("%s, %v", b, err)
	}
}

func TestPayloadCleansHostileNames(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want string }{
		{"quotes and braces", `","aps":{"alert":"x"}}`, `","aps":{"alert":"x"}}`},
		{"control characters", "a\x00b\x1b[31mc\x7f\u0085d", "ab[31mcd"},
		{"line breaks", "a\r\nb\u2028c\td", "a  b c d"},
		{"invalid UTF-8", "a\xff\xfeb", "a\uFFFDb"},
		{"right-to-left override", "gpj.\u202etxt\u202c \u2066x\u2069", "gpj.txt x"},
		{"byte order mark", "\ufeffAnna", "Anna"},
		{"family emoji stays one", "👨‍👩‍👧", "👨‍👩‍👧"},
		{"white space around", "  Anna  ", "Anna"},
		{"only junk", "\x01\u202e\x02", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := aCall(VoIP)
			n.Name = tt.in
			if got := decode(t, n).Name; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestPayloadCutsALongName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{strings.Repeat("x", 10<<10), strings.Repeat("ä", 10<<10), strings.Repeat("👨‍👩‍👧", 2<<10), strings.Repeat("<", 10<<10)} {
		n := aCall(Alert)
		n.Name = name
		got := decode(t, n)
		if len(got.Name) == 0 || len(got.Name) > maxName || !strings.HasPrefix(name, got.Name) {
			t.Errorf("name of %d bytes became %q", len(name), got.Name)
		}
		if strings.HasSuffix(got.Name, "\u200d") {
			t.Errorf("a joiner is left at the end of %q", got.Name)
		}
		if got.From != n.From || got.To != n.To || got.Handle != n.Handle {
			t.Errorf("a long name cost other fields: %+v", got)
		}
	}
}

func TestPayloadKeepsAsMuchOfANameAsAScreenCanUse(t *testing.T) {
	t.Parallel()
	n := aCall(Alert)
	n.Name = strings.Repeat("x", maxName) + "yz"
	if got := decode(t, n).Name; got != n.Name[:maxName] {
		t.Errorf("%d bytes became %q", len(n.Name), got)
	}
}

func TestPayloadDropsWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	n := aCall(VoIP)
	n.From = "sip:" + strings.Repeat("<", 3000) + "@x"
	got := decode(t, n)
	if got.From != "" || got.To != n.To || got.Handle != n.Handle || got.UUID != n.UUID {
		t.Errorf("long From: %+v", got)
	}
	n.CallID = strings.Repeat("c", maxVoIPPayload)
	if _, err := Payload(n, nil); !errors.Is(err, ErrPayloadTooLarge) {
		t.Errorf("long Call-ID: %v", err)
	}
}

// TestPayloadProperties: whatever the network sends, the result is valid JSON
// in valid UTF-8 within the limit, even after another marshalling, and what
// identifies the call is unharmed.
func TestPayloadProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		hostile := rapid.OneOf(
			rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 400), func(b []byte) string { return string(b) }),
			rapid.StringN(0, 3000, -1),
			rapid.Map(rapid.IntRange(0, 12000), func(n int) string { return strings.Repeat("\"<", n) }),
		)
		n := aCall(rapid.SampledFrom([]Kind{VoIP, Alert, Background}).Draw(r, "kind"))
		n.Name, n.Handle = hostile.Draw(r, "name"), hostile.Draw(r, "handle")
		n.From, n.To = hostile.Draw(r, "from"), hostile.Draw(r, "to")
		n.HandleType = hostile.Draw(r, "handle type")
		b, err := Payload(n, nil)
		if err != nil {
			r.Fatal(err)
		}
		limit := maxPayload
		if n.Kind == VoIP {
			limit = maxVoIPPayload
		}
		again, err := json.Marshal(json.RawMessage(b))
		if err != nil || len(again) > limit || !utf8.Valid(b) {
			r.Fatalf("%d bytes of %d: %v", len(again), limit, err)
		}
		var m message
		if err := json.Unmarshal(b, &m); err != nil || m.UUID != n.UUID || m.CallID != n.CallID || m.ExpiresAt != n.ExpiresAt.UnixMilli() {
			r.Fatalf("%+v, %v", m, err)
		}
		for _, s := range []string{m.Name, m.Handle, m.From, m.To} {
			if strings.ContainsFunc(s, unicode.IsControl) {
				r.Fatalf("control character in %q", s)
			}
		}
	})
}

func decode(t *testing.T, n Notification) message {
	t.Helper()
	b, err := Payload(n, nil)
	if err != nil {
		t.Fatal(err)
	}
	var m message
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}
