package config

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

func mappingNode() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode} }

// What the struct tags promise holds: viper needs lower case, ranges parse, and
// every default is a value that its own key accepts.
func TestSchemaIsSound(t *testing.T) {
	s := schema{}
	s.walk(reflect.TypeFor[Config](), "", func(pattern string, f field) {
		if f.key != strings.ToLower(f.key) || strings.Contains(f.key, ".") {
			t.Errorf("%s: viper folds case and splits at dots", pattern)
		}
		if f.low != "" && outside("", probe(t, f.typ, f.low), f) != nil {
			t.Errorf("%s: the range %s..%s does not hold its own end", pattern, f.low, f.high)
		}
		if f.high != "" && outside("", probe(t, f.typ, f.high), f) != nil {
			t.Errorf("%s: the range %s..%s does not hold its own end", pattern, f.low, f.high)
		}
	})
	for _, entry := range []reflect.Type{
		reflect.TypeFor[Domain](), reflect.TypeFor[User](), reflect.TypeFor[Trunk](), reflect.TypeFor[Route](), reflect.TypeFor[App](), reflect.TypeFor[Key](),
	} {
		checkDefaults(t, s, entryDefault(entry), entry.Name())
	}
	checkDefaults(t, s, reflect.ValueOf(*Default()), "")
}

func probe(t *testing.T, typ reflect.Type, text string) any {
	t.Helper()
	v, wrong := parseScalar(text, field{typ: typ})
	if wrong != nil {
		t.Fatalf("%s: %s", text, wrong.problem)
	}
	return v
}

func checkDefaults(t *testing.T, s schema, v reflect.Value, path string) {
	t.Helper()
	for _, f := range s.fields(v.Type()) {
		at := v.Field(f.index)
		switch {
		case f.shape == section:
			checkDefaults(t, s, at, join(path, f.key))
		case f.shape == scalar && !at.IsZero():
			if _, wrong := readScalar(nodeOf(at, s), f, true); wrong != nil {
				t.Errorf("%s: the default is refused: %s", join(path, f.key), wrong.problem)
			}
		}
	}
}

func TestStructsAreSmall(t *testing.T) {
	const most = 15
	seen := map[reflect.Type]bool{}
	check := func(typ reflect.Type) {
		if typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() == reflect.Struct && !seen[typ] && typ.NumField() > most {
			t.Errorf("%s has %d fields", typ, typ.NumField())
		}
		seen[typ] = true
	}
	check(reflect.TypeFor[Config]())
	schema{}.walk(reflect.TypeFor[Config](), "", func(_ string, f field) { check(f.typ) })
}

// The comment of each key ends with its default, and that is the default.
func TestCommentsTellTheDefault(t *testing.T) {
	ends := regexp.MustCompile(`(?s)Default:\s(.*)\.$`)
	comments := fieldComments(t)
	s := schema{}
	compare := func(pattern string, owner reflect.Type, value reflect.Value, f field) {
		text := comments[owner.Name()+"."+owner.Field(f.index).Name]
		parts := ends.FindStringSubmatch(text)
		if parts == nil {
			t.Errorf("%s: the comment does not end with the default: %q", pattern, text)
			return
		}
		if f.shape != scalar {
			return
		}
		said, want := strings.Join(strings.Fields(parts[1]), " "), textOf(value)
		if value.Type() == reflect.TypeFor[Secret]() {
			want = ""
		}
		switch {
		case strings.HasPrefix(said, "none,"):
			said = ""
		case said == `""`:
			said = ""
		case f.typ == reflect.TypeFor[time.Duration]():
			said = FormatDuration(probe(t, f.typ, said).(time.Duration))
		}
		if f.typ.Kind() == reflect.Struct && value.IsZero() {
			want = ""
		}
		if said != want {
			t.Errorf("%s: the comment says %q, the default is %q", pattern, said, want)
		}
	}
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		for _, f := range s.fields(v.Type()) {
			pattern := join(path, f.key)
			switch f.shape {
			case section:
				walk(v.Field(f.index), pattern)
			case entries:
				compare(pattern, v.Type(), v.Field(f.index), f)
				walk(entryDefault(f.typ.Elem()), pattern+"[]")
			default:
				compare(pattern, v.Type(), v.Field(f.index), f)
			}
		}
	}
	walk(reflect.ValueOf(*Default()), "")
}

// fieldComments are the doc comments of all struct fields of this package.
func fieldComments(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	comments := map[string]string{}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, isType := n.(*ast.TypeSpec)
			if !isType {
				return true
			}
			if typ, isStruct := spec.Type.(*ast.StructType); isStruct {
				for _, f := range typ.Fields.List {
					for _, name := range f.Names {
						comments[spec.Name.Name+"."+name.Name] = strings.TrimSpace(f.Doc.Text())
					}
				}
			}
			return false
		})
	}
	return comments
}

// The keys of DESIGN s8 are a contract: what is not built is refused as that,
// never as unknown.
func TestEveryKeyOfTheContractIsKnown(t *testing.T) {
	_, err := Load("testdata/contract.yaml", nil)
	var report *Report
	if !errors.As(err, &report) {
		t.Fatalf("the contract loaded whole, without %v", pendingKeys())
	}
	pending := map[string]bool{}
	for _, f := range report.Faults {
		if strings.Contains(f.Problem, "unknown key") {
			t.Errorf("%s", f)
		}
		if strings.Contains(f.Problem, "is not built yet") {
			pending[patternOf(f.Key)] = true
		}
	}
	for _, key := range pendingKeys() {
		inProse := key == "trunks[].password" || key == "storage.url" || strings.HasPrefix(key, "calls.fallback_")
		if !pending[key] && !inProse {
			t.Errorf("%s is pending, but not in the contract", key)
		}
	}
	written := writtenKeys(t, readText(t, "testdata/contract.yaml"))
	schema{}.walk(reflect.TypeFor[Config](), "", func(pattern string, _ field) {
		extra := map[string]bool{ // ours: what the contract implies
			"domains[].users[].password_file": true, "domains[].users[].ha1_md5_file": true,
			"domains[].users[].ha1_sha256_file": true, "routes[].user": true, "routes[].number": true, "routes[].status": true,
			"push.fcm": true, "push.fcm.url": true, "push.fcm.ca_file": true, // as push.apns
		}
		if !written[pattern] && !extra[pattern] {
			t.Errorf("%s is no key of the contract", pattern)
		}
	})
}

func TestReadBoundedRefusesLargeFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wakebridge.yaml")
	writeFile(t, path, strings.Repeat("# filling\n", maxFile/10+1), 0o600)
	_, err := Load(path, nil)
	var report *Report
	if !errors.As(err, &report) || report.Faults[0].Problem != "is larger than 2 MiB" {
		t.Fatalf("got %v", err)
	}
}
