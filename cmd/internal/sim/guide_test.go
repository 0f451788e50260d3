package sim_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"wakebridge/cmd/internal/sim"
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

// between is what stands in a text behind a beginning, up to an end.
func between(t *testing.T, text, begin, end string) string {
	t.Helper()
	_, text, found := strings.Cut(text, begin)
	text, _, ended := strings.Cut(text, end)
	if !found || !ended {
		t.Fatalf("nothing between %q and %q", begin, end)
	}
	return text
}

// names are what stands in backticks.
func names(text string) (all []string) {
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

// guideKind is a row of the guide's table of kinds.
type guideKind struct {
	kind, short string
	text        bool
}

func guideKinds(t *testing.T) (all []guideKind) {
	t.Helper()
	for line := range strings.Lines(between(t, guide(t), "| kind | short | `text` |\n|---|---|---|\n", "\n\n") + "\n") {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		k := guideKind{kind: names(cells[0])[0], text: strings.TrimSpace(cells[2]) != "" && !strings.Contains(cells[2], "only a")}
		if short := names(cells[1]); len(short) > 0 {
			k.short = short[0]
		}
		all = append(all, k)
	}
	return all
}

// The guide lists the kinds, short names, reasons and rules that there are.
func TestGuideListsWhatPhonesTell(t *testing.T) {
	var kinds, events []string
	for _, k := range guideKinds(t) {
		kinds = append(kinds, k.kind)
		events = append(events, strings.ToLower(strings.ReplaceAll(k.kind, " ", "-")))
		if k.short != "" {
			events = append(events, k.short)
		}
	}
	if want := texts(iphone.Kinds()); !slices.Equal(kinds, want) {
		t.Errorf("kinds\n%q, the iPhone has\n%q", kinds, want)
	}
	w := newWorld(t)
	out, err := w.run(w.options(), "events\n")
	w.must(err)
	var printed struct{ Events []string }
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, `{"events"`) {
			w.must(json.Unmarshal([]byte(line), &printed))
		}
	}
	if slices.Sort(events); !slices.Equal(events, printed.Events) {
		t.Errorf("names\n%q, wait takes\n%q", events, printed.Events)
	}
	if got, want := names(between(t, guide(t), "\nReasons: ", ".\n")), texts(iphone.Reasons()); !slices.Equal(got, want) {
		t.Errorf("reasons %q, the iPhone has %q", got, want)
	}
	if got, want := names(between(t, guide(t), "\nRules: ", ".\n")), texts(iphone.Rules()); !slices.Equal(got, want) {
		t.Errorf("rules %q, the iPhone has %q", got, want)
	}
}

func texts[T ~string](all []T) (out []string) {
	for _, v := range all {
		out = append(out, string(v))
	}
	return out
}

// shape are the fields of a document: which there are, and whether they may be
// missing.
type shape struct {
	name   string
	fields map[string]bool
	met    bool
}

// shapes are the rows of one of the guide's tables of documents.
func shapes(t *testing.T, table string) (all []*shape) {
	t.Helper()
	for line := range strings.Lines(between(t, guide(t), "| `"+table+"` | fields |\n|---|---|\n", "\n\n") + "\n") {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		s := &shape{name: strings.ReplaceAll(strings.TrimSpace(cells[0]), "`", ""), fields: make(map[string]bool)}
		for _, m := range regexp.MustCompile("(\\[?)`([a-z0-9_]+)`").FindAllStringSubmatch(cells[1], -1) {
			s.fields[m[2]] = m[1] != ""
		}
		all = append(all, s)
	}
	return all
}

// fits says that a document has the fields of the row.
func (s *shape) fits(doc map[string]any) bool {
	for name, optional := range s.fields {
		if _, has := doc[name]; !has && !optional {
			return false
		}
	}
	for name := range doc {
		if _, has := s.fields[name]; !has {
			return false
		}
	}
	return true
}

// check finds the row of a document, and those of what is in it.
func check(t *testing.T, all []*shape, doc map[string]any, in string) {
	t.Helper()
	i := slices.IndexFunc(all, func(s *shape) bool {
		inner, isInner := strings.CutPrefix(s.name, "in ")
		return (isInner && inner == in || !isInner && in == "") && s.fits(doc)
	})
	if i < 0 {
		t.Errorf("the guide has no document with %q in %q", slices.Sorted(maps.Keys(doc)), in)
		return
	}
	all[i].met = true
	for name, v := range doc {
		list, isList := v.([]any)
		if !isList {
			list = []any{v}
		}
		for _, v := range list {
			if inner, ok := v.(map[string]any); ok {
				check(t, all, inner, name)
			}
		}
	}
}

// met checks that each row was printed, but for those that are named.
func met(t *testing.T, all []*shape, but ...string) {
	t.Helper()
	for _, s := range all {
		if s.met == slices.Contains(but, s.name) {
			t.Errorf("%q: %t", s.name, s.met)
		}
	}
}

// What `sim phone --json` prints has the fields that the guide says.
func TestGuideDocumentsOfPhones(t *testing.T) {
	all := shapes(t, "sim phone --json")
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/devices", func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, `{"received":7,"online":true}`) })
	mux.HandleFunc("POST /v1/devices/iphone/tokens", func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, `{"token":"aabb"}`) })
	mux.HandleFunc("GET /v1/devices/iphone/stream", func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("after") == "7" {
			io.WriteString(rw, `{"seq":8,"token":"aabb","push_type":"voip","payload":{"what":"is this?"}}`)
			return
		}
		rw.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	service := httptest.NewServer(mux)
	t.Cleanup(service.Close)
	kinds := make(map[string]bool) // which have a text
	for _, k := range guideKinds(t) {
		kinds[k.kind] = k.text
	}
	w := newWorld(t)
	for _, c := range []struct {
		change func(*sim.PhoneOptions)
		script string
	}{
		{func(o *sim.PhoneOptions) { o.Pushes.URL = service.URL }, "wait rule-violated\ncall 100\nwait calling\nstatus\nhelp\nevents\ndance\n"},
		{func(o *sim.PhoneOptions) { o.Account.User = "" }, ""}, // does not start
		{func(o *sim.PhoneOptions) {}, "wait registered\nquit\n"},
	} {
		out, err := w.run(w.options(c.change), c.script)
		var last struct{ Result, Error string }
		for line := range strings.Lines(out) {
			var doc map[string]any
			if err := json.Unmarshal([]byte(line), &doc); err != nil {
				t.Fatal(err)
			}
			check(t, all, doc, "")
			if kind, is := doc["kind"]; is {
				if text, listed := kinds[fmt.Sprint(kind)]; !listed || doc["text"] != nil && !text {
					t.Errorf("the guide does not say what text is: %s", line)
				}
			}
			last.Result, last.Error = "", ""
			if err := json.Unmarshal([]byte(line), &last); err != nil {
				t.Fatal(err)
			}
		}
		if (err == nil) != (last.Result == "passed") || (err != nil) != (last.Result == "failed") || err != nil && last.Error != err.Error() {
			t.Errorf("%v, and the result is %+v\n%s", err, last, out)
		}
	}
	met(t, all)
}

// So do those of `sim apns --json`.
func TestGuideDocumentsOfAPNs(t *testing.T) {
	all := shapes(t, "sim apns --json")
	opts := options()
	opts.JSON, opts.Apps.Certificates = true, true
	r := start(t, opts)
	var ready map[string]any
	if err := json.Unmarshal(r.lines.Bytes(), &ready); err != nil {
		t.Fatal(err)
	}
	check(t, all, ready, "")
	client := r.sender(r.ready.Production)
	for _, token := range []string{r.ready.Devices[0].VoIP, strings.Repeat("ab", 32)} {
		r.send(client, token)
		var doc map[string]any
		r.document(&doc)
		check(t, all, doc, "")
	}
	r.stop()
	for r.lines.Scan() {
		var doc map[string]any
		if err := json.Unmarshal(r.lines.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		check(t, all, doc, "")
	}
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
	for _, change := range []func(*sim.APNsOptions){
		func(o *sim.APNsOptions) { o.Apps.TeamID = "short" },
		func(o *sim.APNsOptions) { o.Listen.Admin = "192.0.2.1:0" },
	} {
		opts := options()
		opts.JSON = true
		change(&opts)
		var out strings.Builder
		var doc map[string]any
		if err := sim.RunAPNs(t.Context(), opts, &out); !errors.Is(err, sim.ErrAPNsOption) || json.Unmarshal([]byte(out.String()), &doc) != nil {
			t.Errorf("%v: %s", err, &out)
		}
		check(t, all, doc, "")
	}
	met(t, all)
}
