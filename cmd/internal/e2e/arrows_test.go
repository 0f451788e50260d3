package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module = "wakebridge"
	root   = "../../.."
)

// rooms is the table of DESIGN.md s2: what lives in the module, by path below it, and which of our packages each may
// import. "x/*" stands for x and everything below.
func rooms() map[string][]string {
	inMedia := []string{"bridge/media/*"}
	all := []string{"*"}
	return map[string][]string{
		"sipua":                       {"sipua/header"},
		"sipua/header":                nil,
		"sipua/digest":                nil,
		"sipua/resolve":               nil,
		"sipua/leg":                   {"sipua", "sipua/header", "sipua/digest"},
		"sipua/registration":          {"sipua", "sipua/header", "sipua/digest"},
		"sipua/location":              {"sipua", "sipua/header"},
		"sipua/location/locationtest": {"sipua", "sipua/header", "sipua/location"},
		"sipua/registrar":             {"sipua", "sipua/header", "sipua/digest", "sipua/location"},
		"sipua/trunk":                 {"sipua", "sipua/header", "sipua/digest", "sipua/registration", "sipua/resolve"},
		"sipua/softphone":             {"sipua", "sipua/leg", "sipua/registration", "sipua/header", "sipua/digest", "bridge/media/*"},
		"sipua/iphone":                {"sipua", "sipua/softphone", "sipua/header"},
		"sipua/memnet":                nil,

		"bridge": {
			"sipua", "sipua/leg", "sipua/header", "sipua/digest", "sipua/location", "sipua/trunk", "bridge/*",
		},
		"bridge/route":         nil,
		"bridge/rules":         {"sipua", "sipua/header"}, // pure: flows are numbers, Reason headers are text
		"bridge/sdp":           nil,
		"bridge/quality":       {"bridge/sdp", "bridge/media", "bridge/media/relay"}, // the E-model: numbers in, numbers and words out
		"bridge/sdes":          {"bridge/sdp", "bridge/media", "bridge/media/srtp"},  // keys, as SDP tells them and streams use them
		"bridge/info":          {"bridge/media/dtmf"},                                // bodies of INFO: media knows no SIP, sdp is another language
		"bridge/media":         inMedia,
		"bridge/media/relay":   inMedia,
		"bridge/media/srtp":    inMedia,
		"bridge/media/dtmf":    inMedia,
		"bridge/media/audio":   inMedia,
		"bridge/media/capture": inMedia,

		"push":         nil,
		"push/apns":    {"push"},
		"push/fcm":     {"push"},
		"push/apnssim": {"push"},

		"push/fcm/fcmsim": nil, // for tests

		// What may be played to a caller is for the one who reads WAV files to say.
		"config": {"bridge/media/audio"},

		"cmd/internal/store":          {"sipua", "sipua/header", "sipua/location", "sipua/location/locationtest", "bridge"},
		"cmd/internal/daemon":         all,
		"cmd/internal/api":            all,
		"cmd/internal/metrics":        all,
		"cmd/internal/page":           all,
		"cmd/internal/pushtest":       all,
		"cmd/internal/demo":           all,
		"cmd/internal/sim":            all,
		"cmd/internal/e2e":            all,
		"cmd/internal/e2e/invariants": all,
		"cmd/internal/e2e/model":      all,
		"cmd/wakebridge":              {"cmd/internal/*"},
	}
}

// allows says whether one of the patterns of rooms covers a package.
func allows(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		prefix, wild := strings.CutSuffix(p, "*")
		return p == pkg || wild && strings.HasPrefix(pkg+"/", prefix)
	})
}

// listed is what the test reads of a package from `go list -json`.
type listed struct {
	ImportPath   string
	Imports      []string
	TestImports  []string // of tests inside the package: they obey the table as well
	XTestImports []string // of external tests
}

// faults names everything about a package that the table does not have.
func (p listed) faults() []string {
	pkg, ours := below(p.ImportPath)
	patterns, known := rooms()[pkg]
	if !ours || !known {
		return []string{fmt.Sprintf("package %s: no such room", p.ImportPath)}
	}
	var out []string
	for _, imported := range slices.Concat(p.Imports, p.TestImports) {
		if to, ours := below(imported); ours && !allows(patterns, to) {
			out = append(out, fmt.Sprintf("%s imports %s", pkg, to))
		}
	}
	for _, imported := range p.XTestImports {
		to, ours := below(imported)
		if ours && to != pkg && strings.HasPrefix(to, "cmd/") && !allows(patterns, to) {
			out = append(out, fmt.Sprintf("%s: its tests import %s", pkg, to))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// below cuts the module's name off an import path.
func below(importPath string) (string, bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// Build tags hide imports, so the tree is read as each of these sees it.
func TestArrows(t *testing.T) {
	dependOnTree(t)
	for _, system := range []string{"linux", "darwin"} {
		for _, p := range packages(t, system) {
			for _, fault := range p.faults() {
				t.Errorf("%s: %s: not in DESIGN.md s2", system, fault)
			}
		}
	}
}

// dependOnTree looks into each folder, for `go test` caches by what a test itself looks at: what its `go list` reads
// would not count, and an arrow added later would not be seen.
func dependOnTree(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && name != root && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func packages(t *testing.T, system string) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-tags", "soak", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list for %s: %v\n%s", system, err, &problems)
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if !slices.ContainsFunc(all, func(p listed) bool { return p.ImportPath == module+"/sipua" }) {
		t.Fatalf("go list for %s shows %d packages, and sipua is not one of them", system, len(all))
	}
	return all
}

func TestFaultsAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		p    listed
		want string
	}{
		"an arrow backwards":      {listed{ImportPath: "wakebridge/push", Imports: []string{"wakebridge/bridge"}}, "push imports bridge"},
		"bridge knows no push":    {listed{ImportPath: "wakebridge/bridge", Imports: []string{"wakebridge/push"}}, "bridge imports push"},
		"only cmd imports config": {listed{ImportPath: "wakebridge/bridge", Imports: []string{"wakebridge/config"}}, "bridge imports config"},
		"media knows no SIP":      {listed{ImportPath: "wakebridge/bridge/media/relay", Imports: []string{"wakebridge/sipua"}}, "bridge/media/relay imports sipua"},
		"media below bridge":      {listed{ImportPath: "wakebridge/bridge/media/relay", Imports: []string{"wakebridge/bridge/media", "net"}}, ""},
		"bridge's own rooms":      {listed{ImportPath: "wakebridge/bridge", Imports: []string{"wakebridge/bridge/sdp"}}, ""},
		"a test inside":           {listed{ImportPath: "wakebridge/push", TestImports: []string{"wakebridge/sipua"}}, "push imports sipua"},
		"an external test":        {listed{ImportPath: "wakebridge/push", XTestImports: []string{"wakebridge/sipua/memnet"}}, ""},
		"an external test of cmd": {listed{ImportPath: "wakebridge/push", XTestImports: []string{"wakebridge/cmd/internal/store"}}, "push: its tests import cmd/internal/store"},
		"the store's own test":    {listed{ImportPath: "wakebridge/cmd/internal/store", XTestImports: []string{"wakebridge/cmd/internal/store"}}, ""},
		"verbs are flags only":    {listed{ImportPath: "wakebridge/cmd/wakebridge", Imports: []string{"wakebridge/sipua"}}, "cmd/wakebridge imports sipua"},
		"daemon wires all":        {listed{ImportPath: "wakebridge/cmd/internal/daemon", Imports: []string{"wakebridge/push/apns", "wakebridge/config"}}, ""},
		"a name like a room's":    {listed{ImportPath: "wakebridge/bridge/media/dtmf", Imports: []string{"wakebridge/bridge/mediator"}}, "bridge/media/dtmf imports bridge/mediator"},
		"an unknown room":         {listed{ImportPath: "wakebridge/util"}, "package wakebridge/util: no such room"},
		"Go at the top":           {listed{ImportPath: "wakebridge"}, "package wakebridge: no such room"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(c.p.faults(), "; "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// The top level holds what DESIGN.md s2 names, dot files, and what .gitignore keeps out.
func TestTopLevel(t *testing.T) {
	allowed := []string{
		"cmd", "sipua", "bridge", "push", "config", "go.mod", "go.sum", "README.md", "docs", "deploy", "LICENSE", "Makefile",
		".*",
		"bin", "data", "*.test", "*.prof",
	}
	entries, err := os.ReadDir(filepath.FromSlash(root))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.ContainsFunc(allowed, func(pattern string) bool {
			ok, err := path.Match(pattern, e.Name())
			return err == nil && ok
		}) {
			t.Errorf("%s: not in DESIGN.md s2", e.Name())
		}
	}
}
