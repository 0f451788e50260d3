package config

import (
	"net/netip"
	"reflect"
	"regexp"
	"strings"
	"time"
)

// shape is how a value is written in the file.
type shape int

const (
	scalar  shape = iota // one value
	list                 // values
	section              // keys
	entries              // sections
)

// field is a key of the schema, read from a struct field's tags:
//
//	mapstructure:"key"
//	config:"required,path,name,off"  must be given and not be empty; is a file;
//	                                 names its entry; may be the word off
//	oneof:"a|b" later:"c"            the values (of a file: beside its name);
//	                                 values that are not built yet
//	range:"1s..1h"                   bounds of an int, a duration or a size
type field struct {
	key       string
	index     int
	typ       reflect.Type
	shape     shape
	required  bool
	path      bool
	name      bool
	off       bool
	oneOf     []string
	later     []string
	low, high string
}

// schema reads structs' tags once per Load: a file with ten thousand users has
// ten thousand entries of one type.
type schema map[reflect.Type][]field

func (s schema) fields(t reflect.Type) []field {
	if known, ok := s[t]; ok {
		return known
	}
	var fields []field
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		key := tag.Get("mapstructure")
		if key == "" || key == "-" {
			continue
		}
		f := field{key: key, index: i, typ: t.Field(i).Type}
		f.shape = shapeOf(f.typ)
		for _, word := range strings.Split(tag.Get("config"), ",") {
			f.required = f.required || word == "required"
			f.path = f.path || word == "path"
			f.name = f.name || word == "name"
			f.off = f.off || word == "off"
		}
		f.oneOf, f.later = alternatives(tag.Get("oneof")), alternatives(tag.Get("later"))
		f.low, f.high, _ = strings.Cut(tag.Get("range"), "..")
		fields = append(fields, f)
	}
	s[t] = fields
	return fields
}

// field is the field of t with that key.
func (s schema) field(t reflect.Type, key string) (field, bool) {
	for _, f := range s.fields(t) {
		if f.key == key {
			return f, true
		}
	}
	return field{}, false
}

// keys are the keys of t in the order of the struct.
func (s schema) keys(t reflect.Type) []string {
	fields := s.fields(t)
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = f.key
	}
	return keys
}

// nameKey is the key that names an entry of type t, "" if none does.
func (s schema) nameKey(t reflect.Type) string {
	for _, f := range s.fields(t) {
		if f.name {
			return f.key
		}
	}
	return ""
}

// walk visits every key beneath t with its pattern ("trunks[].match").
func (s schema) walk(t reflect.Type, prefix string, visit func(pattern string, f field)) {
	for _, f := range s.fields(t) {
		pattern := join(prefix, f.key)
		visit(pattern, f)
		switch f.shape {
		case section:
			s.walk(f.typ, pattern, visit)
		case entries:
			s.walk(f.typ.Elem(), pattern+"[]", visit)
		}
	}
}

// element is the field that stands for one element of a list.
func (f field) element() field {
	e := f
	e.typ, e.shape, e.required = f.typ.Elem(), scalar, true
	return e
}

func alternatives(tag string) []string {
	if tag == "" {
		return nil
	}
	return strings.Split(tag, "|")
}

func shapeOf(t reflect.Type) shape {
	switch {
	case t.Kind() == reflect.Slice && shapeOf(t.Elem()) == section:
		return entries
	case t.Kind() == reflect.Slice:
		return list
	case t.Kind() == reflect.Struct && !isText(t):
		return section
	default:
		return scalar
	}
}

// isText says that a value of type t is written as one text.
func isText(t reflect.Type) bool {
	switch t {
	case reflect.TypeFor[time.Duration](), reflect.TypeFor[Rate](), reflect.TypeFor[Size](), reflect.TypeFor[Secret](),
		reflect.TypeFor[netip.Addr](), reflect.TypeFor[netip.AddrPort](), reflect.TypeFor[netip.Prefix]():
		return true
	}
	return t.Kind() == reflect.String
}

// join is the path of a key.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// patternOf is a path without its indices: trunks[3].match is trunks[].match.
func patternOf(path string) string {
	var b strings.Builder
	inside := false
	for _, r := range path {
		inside = r != ']' && (inside || r == '[')
		if !inside || r == '[' {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// pendingKeys are the keys of the design that this version does not have yet.
func pendingKeys() []string {
	return []string{
		"domains[].users[].extension",
		"trunks[].registrar", "trunks[].username", "trunks[].password", "trunks[].password_file",
		"trunks[].expires", "trunks[].outbound_proxy",
		"calls.session_timer", "calls.fallback",
		"calls.fallback_busy", "calls.fallback_declined", "calls.fallback_unreachable",
		"storage.url", "http.dashboard", "cdr",
	}
}

// pendingVariable matches the variables of a pending key and what is beneath it.
func pendingVariable(pattern string) *regexp.Regexp {
	expr := strings.ReplaceAll(regexp.QuoteMeta(strings.ToUpper(pattern)), `\[\]`, `_[A-Z0-9_]+`)
	expr = strings.ReplaceAll(expr, `\.`, "_")
	return regexp.MustCompile("^" + variablePrefix + expr + "(_.*)?$")
}
