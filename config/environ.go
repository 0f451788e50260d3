package config

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// variablePrefix begins the name of every variable that is ours.
const variablePrefix = "WAKEBRIDGE_"

// overlay lays variables over the nodes of a file. A variable's name is the
// path of its key: WAKEBRIDGE_PUSH_WAKE_TIMEOUT, and for an entry of a list its
// index or its name: WAKEBRIDGE_TRUNKS_0_CONTACT, WAKEBRIDGE_TRUNKS_PBX_CONTACT.
type overlay struct {
	root   *yaml.Node
	schema schema
	found  *findings
	origin map[*yaml.Node]string
}

func newOverlay(root *yaml.Node, found *findings) *overlay {
	return &overlay{root: root, schema: schema{}, found: found, origin: map[*yaml.Node]string{}}
}

// step is one key or, if index is not negative, one index on the way to a value.
type step struct {
	field    field
	index    int
	defaults reflect.Value
}

// target is a value that a variable may name.
type target struct {
	path  string
	steps []step
}

func (t target) last() step { return t.steps[len(t.steps)-1] }

func (t target) with(name string, s step) target {
	return target{path: t.path + name, steps: append(slices.Clip(t.steps), s)}
}

func (o *overlay) apply(environ []string) {
	values := map[string]string{}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, variablePrefix) {
			values[name] = value
		}
	}
	// In natural order, so that entry 10 is added after entry 9; those that no
	// key fits wait until others have added and named entries.
	var waiting []string
	for _, name := range slices.SortedFunc(maps.Keys(values), naturally) {
		if !o.set(name, values[name]) {
			waiting = append(waiting, name)
		}
	}
	for _, name := range waiting {
		if !o.set(name, values[name]) {
			o.unknown(name)
		}
	}
}

// set applies a variable; false if its name fits no key. A fault is reported.
func (o *overlay) set(name, value string) bool {
	rest := strings.TrimPrefix(name, variablePrefix)
	targets := o.resolve(rest, o.root, target{
		steps: []step{{field: field{typ: reflect.TypeFor[Config](), shape: section}, index: -1, defaults: reflect.ValueOf(*Default())}},
	})
	where := place{variable: name}
	switch {
	case len(targets) == 0:
		return false
	case len(targets) > 1:
		o.found.add("", where, "could mean "+targets[0].path+" or "+targets[1].path, "name the entry by its index")
		return true
	}
	t := targets[0]
	f := t.last().field
	single := f.shape == scalar || f.shape == list || f.off && value == "off"
	if !single {
		o.found.add("", where, "names the section "+t.path+", which is not a single value",
			"name a key beneath it, or unset the variable")
		return true
	}
	o.write(t, value, name)
	return true
}

// resolve finds the values that rest may name beneath n, the node at t; n is
// nil where the file says nothing.
func (o *overlay) resolve(rest string, n *yaml.Node, t target) []target {
	if rest == "" {
		return []target{t}
	}
	at := t.last()
	switch at.field.shape {
	case section:
		var all []target
		for _, f := range o.schema.fields(at.field.typ) {
			after, fits := cutName(rest, f.key)
			if !fits {
				continue
			}
			name := f.key
			if t.path != "" {
				name = "." + name
			}
			next := t.with(name, step{field: f, index: -1, defaults: at.defaults.Field(f.index)})
			all = append(all, o.resolve(after, child(n, f.key), next)...)
		}
		return all
	case list, entries:
		return o.resolveEntry(rest, n, t)
	default:
		return nil
	}
}

// resolveEntry is resolve beneath a list.
func (o *overlay) resolveEntry(rest string, n *yaml.Node, t target) []target {
	at := t.last()
	element := field{typ: at.field.typ.Elem(), shape: scalar}
	if at.field.shape == entries {
		element.shape = section
	}
	enter := func(index int, after string) []target {
		var item *yaml.Node
		if n != nil && n.Kind == yaml.SequenceNode && index < len(n.Content) {
			item = n.Content[index]
		}
		next := t.with(fmt.Sprintf("[%d]", index), step{field: element, index: index, defaults: entryDefault(element.typ)})
		return o.resolve(after, item, next)
	}
	digits, after, _ := strings.Cut(rest, "_")
	if index, err := strconv.ParseUint(digits, 10, 16); err == nil {
		return enter(int(index), after)
	}
	nameKey := ""
	if at.field.shape == entries {
		nameKey = o.schema.nameKey(element.typ)
	}
	if nameKey == "" || n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	var all []target
	for i, item := range n.Content {
		name := child(item, nameKey)
		if name == nil || name.Value == "" {
			continue
		}
		if after, fits := cutName(rest, name.Value); fits {
			all = append(all, enter(i, after)...)
		}
	}
	return all
}

// write puts value at t, making what is missing on the way.
func (o *overlay) write(t target, value, name string) {
	n := o.root
	for i, s := range t.steps[1:] {
		var slot **yaml.Node
		if s.index < 0 {
			slot = o.keySlot(n, s)
		} else if slot = o.itemSlot(n, s, t, name); slot == nil {
			return
		}
		if slot == nil {
			return // the file has something else there, which the checker reports
		}
		if i == len(t.steps)-2 {
			*slot = o.valueNode(s.field, value, name)
			return
		}
		n = *slot
	}
}

// keySlot is where the value of a key stands, made if the file has none; nil if
// n has no keys.
func (o *overlay) keySlot(n *yaml.Node, s step) **yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == s.field.key {
			if value := n.Content[i+1]; isNull(value) || s.field.off && value.Value == "off" {
				n.Content[i+1] = o.missing(s)
			}
			return &n.Content[i+1]
		}
	}
	n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: s.field.key}, o.missing(s))
	return &n.Content[len(n.Content)-1]
}

// missing is the node of a key that the file does not have: an empty section,
// or the default list, which an index then points into.
func (o *overlay) missing(s step) *yaml.Node {
	if s.field.shape == section {
		return &yaml.Node{Kind: yaml.MappingNode}
	}
	return nodeOf(s.defaults, o.schema)
}

// itemSlot is where an element of a list stands; one index beyond the last adds
// one. Nil if there is no such element.
func (o *overlay) itemSlot(n *yaml.Node, s step, t target, name string) **yaml.Node {
	if n.Kind != yaml.SequenceNode {
		return nil
	}
	switch {
	case s.index < len(n.Content):
		return &n.Content[s.index]
	case s.index > len(n.Content):
		o.found.add("", place{variable: name},
			fmt.Sprintf("%s: the list has %d so far, so that the next index is %d", t.path, len(n.Content), len(n.Content)),
			"number the entries without a gap")
		return nil
	}
	item := &yaml.Node{Kind: yaml.MappingNode}
	o.origin[item] = name
	n.Content = append(n.Content, item)
	return &n.Content[s.index]
}

// valueNode is the node of a variable's value; a list is separated by commas.
func (o *overlay) valueNode(f field, value, name string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: value}
	if f.shape == list {
		n = &yaml.Node{Kind: yaml.SequenceNode}
		for _, part := range strings.Split(value, ",") {
			if part = strings.TrimSpace(part); part != "" {
				n.Content = append(n.Content, o.valueNode(f.element(), part, name))
			}
		}
	}
	o.origin[n] = name
	return n
}

// unknown reports a variable that names no key.
func (o *overlay) unknown(name string) {
	cure := "unset it; names are the keys' paths, for example WAKEBRIDGE_PUSH_WAKE_TIMEOUT"
	for _, pending := range pendingKeys() {
		if pendingVariable(pending).MatchString(name) {
			o.found.add("", place{variable: name}, pending+" is not built yet in this version", "unset the variable")
			return
		}
	}
	if guess := nearest(name, o.names()); guess != "" {
		cure = "did you mean " + guess + "?"
	}
	for _, suffix := range []string{"_SERVICE_HOST", "_SERVICE_PORT", "_PORT", "_TCP", "_UDP", "_PROTO", "_ADDR"} {
		if strings.HasSuffix(name, suffix) {
			cure = "unset it; if Kubernetes made it, set enableServiceLinks: false for the pod"
		}
	}
	o.found.add("", place{variable: name}, "names no key", cure)
}

// names are the variables that exist without an entry's index or name.
func (o *overlay) names() []string {
	var names []string
	o.schema.walk(reflect.TypeFor[Config](), "", func(pattern string, f field) {
		if (f.shape == scalar || f.shape == list) && !strings.Contains(pattern, "[]") {
			names = append(names, variablePrefix+variableName(pattern))
		}
	})
	return names
}

// child is the value of a key in a mapping, nil if there is none.
func child(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// cutName cuts a key or an entry's name off the front of a variable's name.
func cutName(rest, name string) (after string, fits bool) {
	after, fits = strings.CutPrefix(rest, variableName(name))
	if !fits || after == "" {
		return "", fits
	}
	return strings.CutPrefix(after, "_")
}

// variableName is a name as it stands in a variable: upper case, and an
// underscore for every character that is neither letter nor digit.
func variableName(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		default:
			return '_'
		}
	}, name)
}

// naturally orders names by their parts, numbers by value.
func naturally(a, b string) int {
	as, bs := strings.Split(a, "_"), strings.Split(b, "_")
	for i := range min(len(as), len(bs)) {
		m, errA := strconv.Atoi(as[i])
		n, errB := strconv.Atoi(bs[i])
		if errA == nil && errB == nil && m != n {
			return cmp.Compare(m, n)
		}
		if order := strings.Compare(as[i], bs[i]); order != 0 {
			return order
		}
	}
	return cmp.Compare(len(as), len(bs))
}
