package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"

	"wakebridge/config"
	"wakebridge/push"
	"wakebridge/sipua/header"
	"wakebridge/sipua/iphone"
)

// guide is the app developers' guide.
func guide(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../../docs/app-developers.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// found is the first group of a pattern's first match.
func found(t *testing.T, text, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("the guide has nothing like %s", pattern)
	}
	return m[1]
}

// The guide's payload has the keys that a push has, no more and no fewer.
func TestGuidePayload(t *testing.T) {
	var shown, sent map[string]any
	if err := json.Unmarshal([]byte(found(t, guide(t), "(?s)```json\n(.*?)```")), &shown); err != nil {
		t.Fatal(err)
	}
	b, err := push.Payload(push.Notification{Kind: push.VoIP, UUID: uuid.NewString(), SentAt: time.Now()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &sent); err != nil {
		t.Fatal(err)
	}
	if a, b := slices.Sorted(maps.Keys(shown)), slices.Sorted(maps.Keys(sent)); !slices.Equal(a, b) {
		t.Errorf("the guide shows %q, a push has %q", a, b)
	}
	if !strings.HasPrefix(shown["call_id"].(string), shown["uuid"].(string)+"@") {
		t.Errorf("%q does not begin with %q", shown["call_id"], shown["uuid"])
	}
}

// The guide's types are those of the stored payloads, in each layout.
func TestGuideTypes(t *testing.T) {
	var listed []string
	table := found(t, guide(t), "(?s)\n(\\| `type` \\| push \\|.*?)\n\n")
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z]+)` \\| [^p]").FindAllStringSubmatch(table, -1) {
		listed = append(listed, m[1])
	}
	slices.Sort(listed)
	for _, layout := range []string{"wakebridge", "linphone", "flutter_callkit", "callkeep"} {
		files, err := filepath.Glob("../../../push/testdata/payload/" + layout + "_*.json")
		if err != nil {
			t.Fatal(err)
		}
		var types []string
		for _, file := range files {
			var payload struct{ Type string }
			b, err := os.ReadFile(file)
			if err == nil {
				err = json.Unmarshal(b, &payload)
			}
			if err != nil {
				t.Fatal(err)
			}
			types = append(types, payload.Type)
		}
		slices.Sort(types)
		if types = slices.Compact(types); !slices.Equal(types, listed) {
			t.Errorf("%s: the files have %q, the guide %q", layout, types, listed)
		}
	}
}

// The guide's Contact and header fields are understood by the server's own parsers.
func TestGuideHeaders(t *testing.T) {
	text := guide(t)
	value := strings.NewReplacer("591d…fd00", strings.Repeat("ab", 32), "a0e2…d2e3", strings.Repeat("cd", 32)).
		Replace(found(t, text, `(?m)^Contact: (.*)$`))
	var c sip.ContactHeader
	if _, err := sip.ParseAddressValue(value, &c.Address, &c.Params); err != nil {
		t.Fatal(err)
	}
	p, err := header.ParsePush(c)
	if err != nil || p.VoIPToken == "" || p.AlertToken == "" || p.BundleID != "com.example.phone" || p.TeamID != "ABCDE12345" {
		t.Errorf("%v, %v", p, err)
	}
	if _, ok := header.Param(c.Params, header.ParamWakeFate); !ok {
		t.Errorf("no %s in %s", header.ParamWakeFate, value)
	}
	if ended, err := header.ParseCallEnded(found(t, text, `(?m)^`+header.NameCallEnded+`: (.*)$`)); err != nil || len(ended) != 1 {
		t.Errorf("%v, %v", ended, err)
	}
	if _, err := header.ParseCallUUID(found(t, text, `(?m)^`+header.NameCallUUID+`: (.*)$`)); err != nil {
		t.Error(err)
	}
	for _, name := range regexp.MustCompile(`\bX-[A-Z][A-Za-z-]+`).FindAllString(text, -1) {
		if name != header.NameCallUUID && name != header.NameCallEnded {
			t.Errorf("the guide speaks of %s", name)
		}
	}
}

// What the guide's table of fates says, its Swift code does, and so does the
// simulated iPhone (its own tests read the same table).
func TestGuideFates(t *testing.T) {
	text := guide(t)
	pairs := func(in, pattern string) map[string]string {
		all := make(map[string]string)
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(in, -1) {
			all[m[1]] = m[2]
		}
		return all
	}
	table := pairs(found(t, text, `(?s)\n\| cause \|(.*?)\n\n`), "(?m)^\\| ([0-9]{3})[^|]*\\|[^|]*\\| `\\.([A-Za-z]+)` \\|$")
	swift := found(t, text, `(?s)static func reason\(_ cause: Int\?\) -> CXCallEndedReason \{(.*?)\n    \}`)
	code := pairs(swift, `case ([0-9]+)\?: return \.([A-Za-z]+)`)
	code["487"] = found(t, swift, `default: return \.([A-Za-z]+)`)
	if !maps.Equal(table, code) || len(table) != 4 {
		t.Errorf("the table has %v, the code %v", table, code)
	}
}

// The guide's table has each policy of the simulated iPhone that is not a right app.
func TestGuidePolicies(t *testing.T) {
	_, table, _ := strings.Cut(guide(t), "## 9.")
	var listed, known []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(table, -1) {
		listed = append(listed, m[1])
	}
	for _, p := range iphone.Policies() {
		if p.Name != iphone.CorrectPolicy && p.Name != "article" {
			known = append(known, p.Name)
		}
	}
	if !slices.Equal(listed, known) {
		t.Errorf("the guide lists %q, the iPhone has %q", listed, known)
	}
}

// What the table says of a broken app is what TestBrokenApps asserts.
func TestGuideBrokenApps(t *testing.T) {
	_, table, _ := strings.Cut(guide(t), "## 9.")
	rows := make(map[string][]string)
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|(.*)\\|$").FindAllStringSubmatch(table, -1) {
		rows[m[1]] = strings.Split(m[2], "|")
	}
	for _, b := range brokenApps() {
		cells, listed := rows[b.policy]
		if !listed && (b.policy == iphone.CorrectPolicy || b.policy == "article") {
			continue
		}
		if len(cells) != 4 {
			t.Errorf("%s: %q", b.policy, cells)
			continue
		}
		caller, operator, audio := strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2]), strings.TrimSpace(cells[3])
		reads := cmp.Or(b.reason, "answered")
		if b.stays { // the note below the table
			reads = "answered (a)"
			if of := config.Default().Media.Timeout; !strings.Contains(table, "sent no media for "+(of.FirstPacket+of.Silence).String()) {
				t.Errorf("no word of the end after %s", of.FirstPacket+of.Silence)
			}
		}
		if wants := fmt.Sprint(b.status); operator == "" || !strings.HasPrefix(caller, wants) || strings.Contains(caller, "silence") != b.silent ||
			!strings.HasPrefix(reads, operator) && !strings.HasPrefix(operator, reads) || audio != b.audio {
			t.Errorf("%s: %q, and the test has %d, %q, %q", b.policy, cells, b.status, reads, b.audio)
		}
	}
}

// Links lead to files, and the flags of commands exist.
func TestGuideLinks(t *testing.T) {
	text := guide(t)
	for _, m := range regexp.MustCompile(`\]\(([^)#]+)\)`).FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join("../../../docs", m[1])); err != nil {
			t.Error(err)
		}
	}
	sources, err := filepath.Glob("../../wakebridge/*.go")
	if err != nil || len(sources) == 0 {
		t.Fatalf("%d sources, %v", len(sources), err)
	}
	var code strings.Builder
	for _, s := range sources {
		b, err := os.ReadFile(s)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(b)
	}
	for _, m := range regexp.MustCompile(`\B--([a-z][a-z-]+)`).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(code.String(), `"`+m[1]+`"`) {
			t.Errorf("no command has --%s", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`wakebridge (sim|push)? ?(serve|check|apns|phone|test)\b`).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(code.String(), `Use: "`+m[2]) || m[1] != "" && !strings.Contains(code.String(), `Use: "`+m[1]) {
			t.Errorf("no command %q", m[0])
		}
	}
}
