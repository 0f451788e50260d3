package header

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

func TestSafe(t *testing.T) {
	for _, ok := range []string{"", "Alice", "Zoë 東京", `say "hi"\`, "a;b,c"} {
		if err := Safe(ok); err != nil {
			t.Errorf("Safe(%q) = %v", ok, err)
		}
	}
	for _, bad := range []string{"a\r\nVia: x", "a\n", "\r", "a\x00", "a\tb", "\x1b[31m", "\x7f", "\u0085", "\u2028", "\xff\xfe", "caf\xe9"} {
		err := Safe(bad)
		if !errors.Is(err, ErrUnsafe) {
			t.Errorf("Safe(%q) = %v", bad, err)
		}
		if c := Clean("x" + bad + "y"); Safe(c) != nil || !strings.HasPrefix(c, "x") || !strings.HasSuffix(c, "y") {
			t.Errorf("Clean(%q) = %q", bad, c)
		}
	}
	if got := Clean(" a\r\n\r\nb\x00 "); got != "a b" {
		t.Errorf("Clean = %q", got)
	}
}

func TestCleanIsAlwaysSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := string(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "raw"))
		c := Clean(raw)
		if Safe(c) != nil || Clean(c) != c {
			t.Fatalf("Clean(%q) = %q", raw, c)
		}
		if Safe(raw) == nil && c != strings.TrimSpace(raw) {
			t.Fatalf("Clean changed the safe value %q to %q", raw, c)
		}
	})
}

// A display name survives sipgo's writer and parser, whatever is in it.
func TestDisplayNameThroughTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String().Draw(t, "name")
		from := &sip.FromHeader{DisplayName: EscapeDisplay(name), Address: sip.Uri{Scheme: "sip", User: "a", Host: "h"}}
		if Safe(from.String()) != nil {
			t.Fatalf("unsafe header %q", from.String())
		}
		hs, err := sip.HeadersParser(sip.DefaultHeadersParser()).ParseHeader(nil, []byte(from.String()))
		if err != nil {
			t.Fatalf("%s: %v", from.String(), err)
		}
		got := UnescapeDisplay(hs[0].(*sip.FromHeader).DisplayName)
		if want := CleanDisplay(name); got != want || hs[0].(*sip.FromHeader).Address.Host != "h" {
			t.Fatalf("%q came back as %q", want, got)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return unicode.Is(unicode.Bidi_Control, r) }) || len([]rune(got)) > MaxDisplayName {
			t.Fatalf("%q became %q", name, got)
		}
	})
}

// What a screen would show otherwise than it is goes, what a name needs stays, on the
// way in and on the way out.
func TestDisplayNamesOnAScreen(t *testing.T) {
	long := strings.Repeat("👨\u200d👩\u200d👧", 20)
	for name, want := range map[string]string{
		"gpj.\u202etxt\u202c":            "gpj.txt",
		"\u2066Anna\u2069 \u200fB\u061c": "Anna B",
		"\ufeffAnna":                     "Anna",
		"a\ufff9b\ufffac\ufffbd":         "abcd",
		"\u202e \u202d":                  "",
		"\u202e Anna \u202c":             "Anna",
		`Zoë "Z" \ O'Neil`:               `Zoë "Z" \ O'Neil`,
		"👨\u200d👩\u200d👧 home":           "👨\u200d👩\u200d👧 home",
		"❤\ufe0f":                        "❤\ufe0f",
		"می\u200cخواهم":                  "می\u200cخواهم", // Persian writes with U+200C
		"שלום":                           "שלום",
		long:                             strings.TrimRight(string([]rune(long)[:MaxDisplayName]), "\u200d"),
	} {
		if got := CleanDisplay(name); got != want {
			t.Errorf("%+q became %+q, want %+q", name, got, want)
		}
		if got := UnescapeDisplay(escape(name)); got != want {
			t.Errorf("read: %+q became %+q, want %+q", name, got, want)
		}
		if got := unescape(EscapeDisplay(name)); got != want {
			t.Errorf("written: %+q became %+q, want %+q", name, got, want)
		}
	}
}

func TestParamIgnoresCase(t *testing.T) {
	c := contactOf(t, `<sip:a@h;Transport=TLS;ob>;EXPIRES=60;+SIP.Instance="<urn:uuid:AB>";x=YQ==`)
	for _, tt := range []struct {
		params sip.HeaderParams
		name   string
		want   string
		ok     bool
	}{
		{c.Address.UriParams, "transport", "TLS", true},
		{c.Address.UriParams, "OB", "", true},
		{c.Address.UriParams, "lr", "", false},
		{c.Params, "expires", "60", true},
		{c.Params, "+sip.instance", `"<urn:uuid:AB>"`, true},
		{c.Params, "x", "YQ==", true},
		{nil, "x", "", false},
	} {
		if got, ok := Param(tt.params, tt.name); got != tt.want || ok != tt.ok {
			t.Errorf("Param(%s) = %q, %v", tt.name, got, ok)
		}
	}
}

func TestValues(t *testing.T) {
	req := sip.NewRequest(sip.INVITE, sip.Uri{Scheme: "sip", Host: "h"})
	req.AppendHeader(sip.NewHeader("reason", "SIP;cause=200"))
	req.AppendHeader(sip.NewHeader("Reason", "Q.850;cause=16"))
	req.AppendHeader(sip.NewHeader("x", "90"))
	if got := Values(req, NameReason); !reflect.DeepEqual(got, []string{"SIP;cause=200", "Q.850;cause=16"}) {
		t.Errorf("Reason: %q", got)
	}
	if got := Values(req, NameSessionExpires, NameSessionExpiresCompact); !reflect.DeepEqual(got, []string{"90"}) {
		t.Errorf("Session-Expires: %q", got)
	}
	if got := Values(req, "Path"); got != nil {
		t.Errorf("Path: %q", got)
	}
}

func TestFeatureCaps(t *testing.T) {
	for value, want := range map[string][]FeatureCaps{
		`*;+sip.pns="apns"`:                               {{PNS: "apns"}},
		`*;+sip.pns="apns";+sip.pnsreg="121"`:             {{PNS: "apns", PNSReg: 121}},
		`* ; +SIP.PNS = "webpush" ; +sip.vapid="B-_x"`:    {{PNS: "webpush", VAPID: "B-_x"}},
		`*;+sip.pns="<fcm>", *;+g.3gpp.srvcc;+sip.pns=wp`: {{PNS: "fcm"}, {PNS: "wp"}},
		`*;+sip.pnspurr="p;q,r"`:                          {{PURR: "p;q,r"}},
		`*`:                                               {{}},
	} {
		got, err := ParseFeatureCaps(value)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", value, got, err)
		}
	}
	for _, bad := range []string{"", "apns", `*;+sip.pns="apns`, `*;+sip.pnsreg="soon"`, `*;+sip.pnsreg="-1"`, `*;=x`, "*;a=\"x\ny\""} {
		if got, err := ParseFeatureCaps(bad); err == nil {
			t.Errorf("%q accepted: %+v", bad, got)
		}
	}
	if s := (FeatureCaps{PNS: "apns", PNSReg: 130}).String(); s != `*;+sip.pns="apns";+sip.pnsreg="130"` {
		t.Error(s)
	}
	caps, err := ParseFeatureCaps(`*;+g.3gpp.srvcc`, `*;+sip.pns="fcm"`)
	if err != nil || !CarriesPNS(caps) || CarriesPNS(caps[:1]) {
		t.Errorf("CarriesPNS of %+v, %v", caps, err)
	}
	if !WantsPNSReg(contactOf(t, "<sip:a@h>;+sip.PNSREG")) || WantsPNSReg(contactOf(t, "<sip:a@h;+sip.pnsreg>")) {
		t.Error("WantsPNSReg")
	}
}

func TestReason(t *testing.T) {
	for value, want := range map[string][]Reason{
		`SIP;cause=200;text="Call completed elsewhere"`:          {CompletedElsewhere()},
		`Q.850 ;cause=16 ;text="Terminated", SIP ; cause = 600 `: {{"Q.850", 16, "Terminated"}, {"SIP", 600, ""}},
		`SIP;text="a \"b\" \\, ; c";x-y`:                         {{"SIP", 0, `a "b" \, ; c`}},
		`X.int ;reasoncode=0x1`:                                  {{"X.int", 0, ""}},
	} {
		got, err := ParseReasons(value)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", value, got, err)
		}
	}
	for _, bad := range []string{"", "SIP,", "SIP;cause=abc", "SIP;cause=-1", "SIP;cause=1000", `SIP;text="x`, "S P;cause=1", `SIP;text="x"y`} {
		if got, err := ParseReasons(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %+v, %v", bad, got, err)
		}
	}
	if s := (Reason{Protocol: "SIP", Cause: 480, Text: "x\r\nVia: evil"}).String(); s != `SIP;cause=480;text="x Via: evil"` {
		t.Error(s)
	}
	if s := (Reason{Protocol: "SIP\r\nX: y", Cause: 1}).String(); s != "" {
		t.Error(s)
	}
	r := CompletedElsewhere()
	if !r.Is("sip") || r.Is("Q.850") {
		t.Error("Is")
	}
}

func TestPath(t *testing.T) {
	path, err := ParsePath("<sip:p1.example.com;lr>,<sips:tok@p2.example.com:5061;lr;ob>", `"P 3" <sip:[2001:db8::3];lr>`)
	if err != nil || len(path) != 3 {
		t.Fatalf("%q, %v", path, err)
	}
	if s := path.String(); s != `<sip:p1.example.com;lr>, <sips:tok@p2.example.com:5061;lr;ob>, "P 3" <sip:[2001:db8::3];lr>` {
		t.Error(s)
	}
	uris, err := path.URIs()
	if err != nil || len(uris) != 3 || uris[1].User != "tok" || uris[1].Port != 5061 || uris[2].Host != "[2001:db8::3]" {
		t.Errorf("%v, %v", uris, err)
	}
	if path, err := ParsePath(); err != nil || path != nil {
		t.Errorf("no Path: %q, %v", path, err)
	}
	for _, bad := range []string{"", "sip:p1;lr", "<sip:p1;lr>,", "<tel:+1>", "<sip:>", "<*>", "<sip:p1", "<sip:p\r\n1>", strings.Repeat("<sip:h;lr>,", 20) + "<sip:h>"} {
		if got, err := ParsePath(bad); err == nil {
			t.Errorf("%q accepted: %q", bad, got)
		}
	}
}

func TestSessionExpires(t *testing.T) {
	for value, want := range map[string]SessionExpires{
		"1800":                       {30 * time.Minute, RefresherUnset},
		"90;refresher=uac":           {90 * time.Second, RefresherUAC},
		" 90 ; Refresher = UAS ;x=y": {90 * time.Second, RefresherUAS},
		"4294967295":                 {4294967295 * time.Second, RefresherUnset},
	} {
		if got, err := ParseSessionExpires(value); err != nil || got != want {
			t.Errorf("%q: %+v, %v", value, got, err)
		}
	}
	for _, bad := range []string{"", "-1", "1.5", "4294967296", "90;refresher=me", "90;refresher", "99999999999999999999999"} {
		if got, err := ParseSessionExpires(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %+v, %v", bad, got, err)
		}
	}
	if d, err := ParseMinSE("90;x"); err != nil || d != 90*time.Second {
		t.Errorf("Min-SE: %v, %v", d, err)
	}
	for d, want := range map[time.Duration]string{-time.Second: "0", 0: "0", time.Millisecond: "1", 90 * time.Second: "90", 1<<63 - 1: "4294967295"} {
		if got := FormatSeconds(d); got != want {
			t.Errorf("FormatSeconds(%v) = %s", d, got)
		}
	}
}

func TestContactParams(t *testing.T) {
	for value, want := range map[string]string{
		`<sip:a@h>;+sip.instance="<urn:uuid:F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6>"`: "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
		`<sip:a@h>;+SIP.INSTANCE="<URN:UUID:f81d4fae>"`:                             "urn:uuid:f81d4fae",
		`<sip:a@h>;+sip.instance="urn:uuid:AA"`:                                     "urn:uuid:aa",
		`<sip:a@h>;+sip.instance=<urn:IMEI:9042-0AbC>`:                              "urn:imei:9042-0AbC",
		`<sip:a@h>`: "",
		`<sip:a@h>;+sip.instance="<something else:X>"`: "error",
		`<sip:a@h>;+sip.instance="<>"`:                 "error",
		`<sip:a@h>;+sip.instance="<x`:                  "error",
	} {
		got, err := Instance(contactOf(t, value))
		if want == "error" {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: %q, %v", value, got, err)
			}
		} else if err != nil || got != want {
			t.Errorf("%s: %q, %v", value, got, err)
		}
	}
	if s := FormatInstance("urn:uuid:aa"); s != `"<urn:uuid:aa>"` {
		t.Error(s)
	}
	for value, want := range map[string]int{"<sip:a@h>": 0, "<sip:a@h>;reg-id=1": 1, "<sip:a@h>;Reg-ID=2147483647": 2147483647,
		"<sip:a@h>;reg-id=0": -1, "<sip:a@h>;reg-id=-1": -1, "<sip:a@h>;reg-id": -1, "<sip:a@h>;reg-id=2147483648": -1} {
		got, err := RegID(contactOf(t, value))
		if want < 0 && !errors.Is(err, ErrMalformed) || want >= 0 && (err != nil || got != want) {
			t.Errorf("%s: %d, %v", value, got, err)
		}
	}
	if !ReadsFate(contactOf(t, "<sip:a@h>;+X-Wake-Fate")) || ReadsFate(contactOf(t, "<sip:a@h>")) {
		t.Error("ReadsFate")
	}
}

// RFC 3261 s10.3 step 6 with s20.10 and s20.19.
func TestExpires(t *testing.T) {
	tests := []struct {
		contact string
		header  []string
		want    time.Duration
		asked   bool
	}{
		{"<sip:a@h>;expires=60", []string{"3000"}, time.Minute, true},
		{"<sip:a@h>;Expires=0", []string{"3000"}, 0, true},
		{`<sip:a@h>;expires="60"`, nil, time.Minute, true},
		{"<sip:a@h>", []string{" 3000 "}, 3000 * time.Second, true},
		{"<sip:a@h>", []string{"0"}, 0, true},
		{"<sip:a@h>", nil, 0, false},
		{"<sip:a@h;expires=60>", nil, 0, false},
		{"<sip:a@h>;expires=soon", []string{"60"}, time.Hour, true},
		{"<sip:a@h>;expires=-1", nil, time.Hour, true},
		{"<sip:a@h>;expires", nil, time.Hour, true},
		{"<sip:a@h>", []string{""}, time.Hour, true},
		{"<sip:a@h>;expires=99999999999999999999999999", nil, 4294967295 * time.Second, true},
	}
	for _, tt := range tests {
		got, asked := Expires(contactOf(t, tt.contact), tt.header...)
		if got != tt.want || asked != tt.asked {
			t.Errorf("%s, %q: %v, %v; want %v, %v", tt.contact, tt.header, got, asked, tt.want, tt.asked)
		}
	}
}

func TestPrivacy(t *testing.T) {
	for value, hides := range map[string]bool{"id": true, "ID ; critical": true, "user;header": true, "none": false, "id;none": false, "": false, "session": false} {
		p, err := ParsePrivacy(value)
		if err != nil || p.HidesCaller() != hides {
			t.Errorf("%q: %q, %v", value, p, err)
		}
	}
	for _, bad := range []string{"i d", "id;\r\nx", strings.Repeat("id;", 17)} {
		if p, err := ParsePrivacy(bad); err == nil {
			t.Errorf("%q: %q, %v", bad, p, err)
		}
	}
	if !IsAnonymous(sip.Uri{User: "Anonymous", Host: "example.com"}) || !IsAnonymous(sip.Uri{Host: "anonymous.invalid"}) || IsAnonymous(sip.Uri{User: "alice", Host: "h"}) {
		t.Error("IsAnonymous")
	}
}

func TestIdentities(t *testing.T) {
	ids, err := ParseIdentities(`"Cullen \"J\" Jennings" <sip:fluffy@cisco.com;user=phone>, <tel:+1-408.526(4000);ext=5>`, `sip:alice@example.com`)
	if err != nil || len(ids) != 3 {
		t.Fatalf("%+v, %v", ids, err)
	}
	want := []struct{ display, number string }{{`Cullen "J" Jennings`, "fluffy"}, {"", "+14085264000"}, {"", "alice"}}
	for i, w := range want {
		if ids[i].Display != w.display || ids[i].Number() != w.number {
			t.Errorf("%d: %q, %q", i, ids[i].Display, ids[i].Number())
		}
	}
	for _, bad := range []string{"", "<http://x>", "<tel:>", "<sip:>", `"x`, "<sip:a@h>,", "<sip:a@h\r\n>", strings.Repeat("<sip:a@h>,", 8) + "<sip:a@h>"} {
		if got, err := ParseIdentities(bad); err == nil {
			t.Errorf("%q accepted: %+v", bad, got)
		}
	}
}

func TestCallEnded(t *testing.T) {
	id := uuid.MustParse("f81d4fae-7dec-41d0-a765-00a0c91e6bf6")
	e := CallEnded{UUID: id, Cause: 487, Text: "The caller hung up"}
	if s := e.String(); s != `f81d4fae-7dec-41d0-a765-00a0c91e6bf6;cause=487;text="The caller hung up"` {
		t.Error(s)
	}
	got, err := ParseCallEnded(strings.ToUpper(id.String())+";cause=487;text=\"The caller hung up\"", id.String()+" ; cause = 200")
	if err != nil || !reflect.DeepEqual(got, []CallEnded{e, {UUID: id, Cause: 200}}) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", id.String(), id.String() + ";cause=99", id.String() + ";cause=700", "{" + id.String() + "};cause=487",
		"urn:uuid:" + id.String() + ";cause=487", uuid.Nil.String() + ";cause=487", "f81d4fae;cause=487"} {
		if got, err := ParseCallEnded(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %+v, %v", bad, got, err)
		}
	}
	if u, err := ParseCallUUID(" F81D4FAE-7DEC-41D0-A765-00A0C91E6BF6 "); err != nil || u != id || FormatCallUUID(u) != id.String() {
		t.Errorf("%v, %v", u, err)
	}
	if s, err := ParseWakeStatus(" Pushed"); err != nil || s != WakePushed {
		t.Errorf("%v, %v", s, err)
	}
	if _, err := ParseWakeStatus("asleep"); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
}

// What is written is read back, whatever the free texts hold.
func TestRoundTrips(t *testing.T) {
	text := rapid.String()
	rapid.Check(t, func(t *rapid.T) {
		r := Reason{Protocol: rapid.SampledFrom([]string{"SIP", "Q.850"}).Draw(t, "protocol"), Cause: rapid.IntRange(0, 999).Draw(t, "cause"), Text: text.Draw(t, "text")}
		f := FeatureCaps{PNS: rapid.SampledFrom([]string{"apns", "fcm"}).Draw(t, "pns"), PNSReg: rapid.IntRange(0, 1<<31-1).Draw(t, "pnsreg"),
			VAPID: rapid.StringMatching(`[A-Za-z0-9_-]{0,20}`).Draw(t, "vapid")}
		s := SessionExpires{time.Duration(rapid.Uint32().Draw(t, "interval")) * time.Second, rapid.SampledFrom([]Refresher{"", "uac", "uas"}).Draw(t, "refresher")}
		e := CallEnded{UUID: uuid.New(), Cause: rapid.IntRange(100, 699).Draw(t, "ended"), Text: text.Draw(t, "ended text")}

		for _, v := range []string{r.String(), f.String(), s.String(), e.String()} {
			if Safe(v) != nil {
				t.Fatalf("unsafe %q", v)
			}
		}
		r.Text, e.Text = Clean(r.Text), Clean(e.Text)
		if got, err := ParseReasons(FormatReasons(r, r)); err != nil || !reflect.DeepEqual(got, []Reason{r, r}) {
			t.Fatalf("%q: %+v, %v", r, got, err)
		}
		if got, err := ParseFeatureCaps(f.String() + "," + f.String()); err != nil || !reflect.DeepEqual(got, []FeatureCaps{f, f}) {
			t.Fatalf("%s: %+v, %v", f, got, err)
		}
		if got, err := ParseSessionExpires(s.String()); err != nil || got != s {
			t.Fatalf("%s: %+v, %v", s, got, err)
		}
		if got, err := ParseCallEnded(e.String()); err != nil || !reflect.DeepEqual(got, []CallEnded{e}) {
			t.Fatalf("%s: %+v, %v", e, got, err)
		}
	})
}

// FuzzParsers feeds one value to every parser of this package: none panics, none
// returns text that may not be written again, and errors are typed.
func FuzzParsers(f *testing.F) {
	for _, seed := range []string{`*;+sip.pns="apns";+sip.pnsreg="121"`, `SIP;cause=200;text="Call \"x\" elsewhere", Q.850;cause=16`,
		"<sip:p1;lr>,<sip:p2;lr>", "1800;refresher=uac", "id;critical", `"A" <sip:a@h>, tel:+1-2`,
		"f81d4fae-7dec-41d0-a765-00a0c91e6bf6;cause=487", "pushed", "\"", "<", ";;;=", "\\", "é\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, v string) {
		var out []string
		var errs []error
		note := func(err error, texts ...string) {
			if err != nil {
				errs = append(errs, err)
				return
			}
			out = append(out, texts...)
		}
		caps, err := ParseFeatureCaps(v)
		for _, c := range caps {
			note(err, c.String())
		}
		reasons, err := ParseReasons(v)
		note(err, FormatReasons(reasons...))
		path, err := ParsePath(v)
		note(err, path.String())
		if _, err := path.URIs(); err != nil {
			t.Errorf("path %q: %v", path, err)
		}
		se, err := ParseSessionExpires(v)
		note(err, se.String())
		_, err = ParseMinSE(v)
		note(err)
		privacy, err := ParsePrivacy(v)
		note(err, privacy.String())
		ids, err := ParseIdentities(v)
		for _, id := range ids {
			note(err, id.Display, id.Number())
		}
		ended, err := ParseCallEnded(v)
		for _, e := range ended {
			note(err, e.String())
		}
		_, err = ParseWakeStatus(v)
		note(err)
		out = append(out, Quote(v), EscapeDisplay(v), UnescapeDisplay(v), Clean(v))
		for _, s := range out {
			if Safe(s) != nil || !utf8.ValidString(s) {
				t.Errorf("unsafe %q from %q", s, v)
			}
		}
		for _, err := range errs {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnsafe) {
				t.Errorf("untyped error %v", err)
			}
		}
		if c, err := parseContact(v); err == nil {
			if i, err := Instance(*c); err == nil && Safe(i) != nil {
				t.Errorf("unsafe instance %q", i)
			}
			if _, err := RegID(*c); err != nil && !errors.Is(err, ErrMalformed) {
				t.Error(err)
			}
			if d, _ := Expires(*c, v); d < 0 {
				t.Errorf("negative expiry %v", d)
			}
		}
	})
}
