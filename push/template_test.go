package push

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the payloads of testdata/payload anew")

// readers say what the app of each template takes out of a push, by the rules
// of its own code: what it cannot find as the type it wants is not there.
func readers() map[string]func(kind Kind, payload map[string]any) seen {
	return map[string]func(Kind, map[string]any) seen{
		"wakebridge": func(_ Kind, p map[string]any) seen {
			return seen{id: text(p, "uuid"), callID: text(p, "call_id"), name: text(p, "name"), handle: text(p, "handle"), video: truth(p, "video")}
		},
		// Flexisip's keys: inside aps for PushKit, beside it for an alert.
		"linphone": func(kind Kind, p map[string]any) seen {
			aps, _ := p["aps"].(map[string]any)
			where, key := aps, aps
			if kind == Alert {
				where = p
				key, _ = aps["alert"].(map[string]any)
			}
			s := seen{id: text(p, "uuid"), callID: text(where, "call-id"), name: text(p, "display-name"), handle: text(p, "handle"), video: truth(p, "video")}
			s.from = text(p, "from-uri")
			if text(where, "uuid") != s.id || text(key, "loc-key") != "IC_MSG" {
				return seen{}
			}
			if _, err := time.Parse("2006-01-02 15:04:05", text(where, "send-time")); err != nil {
				return seen{}
			}
			if ttl, ok := p["pn_ttl"].(float64); !ok || ttl != 25 {
				return seen{}
			}
			return s
		},
		"flutter_callkit": func(_ Kind, p map[string]any) seen {
			return seen{id: text(p, "id"), callID: text(p, "call_id"), name: text(p, "nameCaller"), handle: text(p, "handle"), video: truth(p, "isVideo")}
		},
		"callkeep": func(_ Kind, p map[string]any) seen {
			return seen{id: text(p, "uuid"), callID: text(p, "call_id"), name: text(p, "callerName"), handle: text(p, "handle"), video: truth(p, "hasVideo")}
		},
	}
}

// seen is a call as an app knows it from a push.
type seen struct {
	id, callID, name, handle, from string
	video                          bool
}

func text(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

func truth(m map[string]any, key string) bool {
	b, _ := m[key].(bool)
	return b
}

func templateNamed(t testing.TB, name string) Template {
	t.Helper()
	template, ok := TemplateNamed(name)
	if !ok {
		t.Fatalf("no template %s", name)
	}
	return template
}

// golden are the pushes that there are, by the end of their file's name: a call by
// both ways, and as the server fills them in, a missed call, the request to register
// again, and the alert of `push test`.
func golden() map[string]Notification {
	missed := aCall(Alert)
	missed.Missed, missed.ExpiresAt = true, time.Time{}
	call := aCall(Background)
	return map[string]Notification{
		"voip": aCall(VoIP), "alert": aCall(Alert), "missed": missed,
		"refresh": {Kind: Background, UUID: call.UUID, To: call.To, SentAt: call.SentAt},
		"test": {Kind: Alert, Test: true, UUID: call.UUID, CallID: call.CallID, Name: "Wakebridge test", HandleType: "generic",
			SentAt: call.SentAt, ExpiresAt: call.ExpiresAt},
	}
}

// TestGoldenPayloads: each layout is a contract with apps that are out there.
func TestGoldenPayloads(t *testing.T) {
	t.Parallel()
	files := make(map[string]bool)
	for name, read := range readers() {
		for what, n := range golden() {
			kind := n.Kind
			file := filepath.Join("testdata", "payload", name+"_"+what+".json")
			files[file] = true
			b, err := Payload(n, templateNamed(t, name))
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := json.Indent(&got, b, "", "  "); err != nil {
				t.Fatal(err)
			}
			got.WriteByte('\n')
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s:\n got %s\nwant %s", file, got.Bytes(), want)
			}
			var payload map[string]any
			if err := json.Unmarshal(want, &payload); err != nil {
				t.Fatal(err)
			}
			if kind := map[string]string{"voip": typeCall, "alert": typeCall}[what]; payload["type"] != cmp.Or(kind, what) {
				t.Errorf("%s: type %v", file, payload["type"])
			}
			if what != "voip" && what != "alert" {
				continue // no call in it that could be answered
			}
			call := seen{id: n.UUID, callID: n.CallID, name: n.Name, handle: n.Handle, video: true}
			if name == "linphone" {
				call.from = n.From
			}
			if saw := read(kind, payload); saw != call {
				t.Errorf("%s: the app sees %+v, want %+v", file, saw, call)
			}
		}
	}
	stored, err := filepath.Glob("testdata/payload/*.json")
	if err != nil || len(stored) != len(files) {
		t.Errorf("%d files of %d: %v", len(stored), len(files), err)
	}
}

// TestHostileNamesInEveryTemplate: what a caller writes into From reaches the
// screen clean and the service inside its limit.
func TestHostileNamesInEveryTemplate(t *testing.T) {
	t.Parallel()
	names := map[string]struct {
		in, want string // want "": a beginning of in
	}{
		"quotes":          {`","aps":{"alert":"x"},"a":"`, `","aps":{"alert":"x"},"a":"`},
		"control":         {"An\x00n\x1ba\r\nB\x7f", "Anna  B"},
		"10 KiB":          {strings.Repeat("x", 10<<10), ""},
		"10 KiB of HTML":  {strings.Repeat("<", 10<<10), ""},
		"10 KiB of emoji": {strings.Repeat("👨‍👩‍👧", 600), ""},
		"emoji":           {"👨‍👩‍👧 Zoë", "👨‍👩‍👧 Zoë"},
		"right to left":   {"\u202egpj.annA\u202c", "gpj.annA"},
		"Hebrew":          {"\u200fשלום\u200f", "שלום"},
		"invalid UTF-8":   {"A\xffB", "A\uFFFDB"},
	}
	for template, read := range readers() {
		for title, name := range names {
			for kind, limit := range map[Kind]int{VoIP: 5120, Alert: 4096} {
				n := aCall(kind)
				n.Name = name.in
				b, err := Payload(n, templateNamed(t, template))
				if err != nil || len(b) > limit || !utf8.Valid(b) {
					t.Fatalf("%s, %s, %s: %d bytes, %v", template, title, kind, len(b), err)
				}
				var payload map[string]any
				if err := json.Unmarshal(b, &payload); err != nil {
					t.Fatal(err)
				}
				saw := read(kind, payload)
				if saw.id != n.UUID || saw.callID != n.CallID || saw.handle != n.Handle {
					t.Errorf("%s, %s, %s: the call is not there: %+v", template, title, kind, saw)
				}
				if name.want != "" && saw.name != name.want || saw.name == "" || name.want == "" && !strings.HasPrefix(name.in, saw.name) {
					t.Errorf("%s, %s, %s: name %q", template, title, kind, saw.name)
				}
				aps, _ := payload["aps"].(map[string]any)
				title, shown := aps["alert"].(map[string]any)
				if shown != (kind == Alert) || shown && title["title"] != saw.name {
					t.Errorf("%s, %s: alert %v", template, kind, title)
				}
				if kind == Alert && (aps["interruption-level"] != "time-sensitive" || aps["sound"] != "default") {
					t.Errorf("%s: aps %v", template, aps)
				}
			}
		}
	}
}

func TestAnonymousCallsHaveATitle(t *testing.T) {
	t.Parallel()
	n := aCall(VoIP)
	n.Name, n.Handle, n.From = "", "", ""
	for name, want := range map[string]string{"flutter_callkit": "Unknown caller", "callkeep": "Unknown caller", "linphone": "", "wakebridge": ""} {
		b, err := Payload(n, templateNamed(t, name))
		var payload map[string]any
		if err != nil || json.Unmarshal(b, &payload) != nil {
			t.Fatalf("%s: %s, %v", name, b, err)
		}
		if got := readers()[name](VoIP, payload); got.name != want || got.id != n.UUID {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestTemplateProperties: no text of the network breaks a layout.
func TestTemplateProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		name := rapid.SampledFrom([]string{"wakebridge", "linphone", "flutter_callkit", "callkeep"}).Draw(r, "template")
		kind := rapid.SampledFrom([]Kind{VoIP, Alert, Background}).Draw(r, "kind")
		hostile := rapid.OneOf(
			rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 400), func(b []byte) string { return string(b) }),
			rapid.Map(rapid.IntRange(0, 12000), func(n int) string { return strings.Repeat("\"<\u202e", n) }),
		)
		n := aCall(kind)
		n.UUID = uuid.NewString()
		n.Name, n.Handle, n.From = hostile.Draw(r, "name"), hostile.Draw(r, "handle"), hostile.Draw(r, "from")
		template, _ := TemplateNamed(name)
		b, err := Payload(n, template)
		limit := maxPayload
		if kind == VoIP {
			limit = maxVoIPPayload
		}
		var payload map[string]any
		if err != nil || len(b) > limit || json.Unmarshal(b, &payload) != nil {
			r.Fatalf("%d bytes, %v", len(b), err)
		}
		if kind == Background {
			return
		}
		saw := readers()[name](kind, payload)
		if saw.id != n.UUID || saw.callID != n.CallID || strings.ContainsFunc(saw.name+saw.handle+saw.from, unicode.IsControl) {
			r.Fatalf("%+v", saw)
		}
	})
}

func TestMinimalPayload(t *testing.T) {
	t.Parallel()
	for name, read := range readers() {
		for _, kind := range []Kind{VoIP, Alert} {
			n := aCall(kind)
			b, err := MinimalPayload(n, templateNamed(t, name))
			var payload map[string]any
			if err != nil || json.Unmarshal(b, &payload) != nil {
				t.Fatalf("%s: %s, %v", name, b, err)
			}
			saw := read(kind, payload)
			if saw.id != n.UUID || saw.callID != n.CallID || saw.handle != "" || strings.Contains(string(b), "Zoë") || len(b) > 700 {
				t.Errorf("%s: %s", name, b)
			}
		}
	}
}

func TestUnknownTemplate(t *testing.T) {
	t.Parallel()
	if _, ok := TemplateNamed("acme"); ok {
		t.Error("a template of that name is there")
	}
	if template, ok := TemplateNamed(""); !ok || template == nil {
		t.Error("the default is missing")
	}
}
