package config

import (
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// checker turns nodes into values of the schema's types and reports everything
// that does not fit. What it returns decodes without an error.
type checker struct {
	schema schema
	found  *findings
	// origin names the variable that a node came from, for those that did.
	origin map[*yaml.Node]string
}

// mapping reads a mapping along the struct type t.
func (c *checker) mapping(n *yaml.Node, t reflect.Type, path string) map[string]any {
	values := map[string]any{}
	lines := map[string]int{}
	complete := true // no key was refused that might be a required one, misspelt
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" {
			c.found.add(path, c.placeOf(key), "has a key that is not a plain word",
				"write the keys out; merge keys (<<) and aliases are not read")
			complete = false
			continue
		}
		keyPath := join(path, key.Value)
		if first, twice := lines[key.Value]; twice {
			c.found.add(keyPath, c.placeOf(key), fmt.Sprintf("is given twice, first in line %d", first),
				"remove one of the two")
			continue
		}
		lines[key.Value] = key.Line
		f, known := c.schema.field(t, key.Value)
		if !known {
			c.unknown(key, t, path)
			complete = false
			continue
		}
		c.found.places[keyPath] = c.placeOf(value)
		if isNull(value) {
			c.found.places[keyPath] = c.placeOf(key)
		}
		if v, ok := c.value(value, f, keyPath); ok {
			values[f.key] = v
		}
	}
	for _, f := range c.schema.fields(t) {
		_, given := values[f.key]
		if f.required && !given && complete && c.wanted(t, f, path) {
			c.found.at(join(path, f.key), "is missing", "add "+f.key+" to this entry")
		}
	}
	return values
}

// wanted says that a required key has no default either: sections have one.
func (c *checker) wanted(t reflect.Type, f field, path string) bool {
	return strings.HasSuffix(path, "]") && entryDefault(t).Field(f.index).IsZero()
}

// unknown reports a key that the schema does not have.
func (c *checker) unknown(key *yaml.Node, t reflect.Type, path string) {
	keyPath, where := join(path, key.Value), c.placeOf(key)
	if c.found.full() {
		c.found.add(keyPath, where, "", "") // only counted: a cure takes time to find
		return
	}
	pattern := patternOf(keyPath)
	for _, pending := range pendingKeys() {
		if pending == pattern {
			c.found.add(keyPath, where, "is not built yet in this version", "remove the key")
			return
		}
	}
	var elsewhere []string
	c.schema.walk(reflect.TypeFor[Config](), "", func(known string, _ field) {
		if strings.HasSuffix("."+known, "."+key.Value) {
			elsewhere = append(elsewhere, known)
		}
	})
	keys := c.schema.keys(t)
	cure := "keys here: " + strings.Join(keys, ", ")
	if len(elsewhere) == 1 {
		cure = "that key is " + elsewhere[0]
	} else if guess := nearest(key.Value, keys); guess != "" {
		cure = "did you mean " + guess + "?"
	}
	c.found.add(keyPath, where, "unknown key", cure)
}

// value reads the value of a key; false if there is none or it is at fault.
func (c *checker) value(n *yaml.Node, f field, path string) (any, bool) {
	if c.alias(n, path) {
		return nil, false
	}
	switch f.shape {
	case section:
		return c.section(n, f, path)
	case list, entries:
		return c.sequence(n, f, path)
	default:
		v, wrong := readScalar(n, f, c.origin[n] != "")
		if wrong != nil {
			c.found.at(path, wrong.problem, wrong.cure)
			return nil, false
		}
		return v, true
	}
}

// alias reports an alias. Refusing them all keeps a small file small: aliases
// of aliases grow exponentially.
func (c *checker) alias(n *yaml.Node, path string) bool {
	if n.Kind != yaml.AliasNode {
		return false
	}
	c.found.at(path, "is an alias; aliases are not read", "write the value out, or quote a text that begins with *")
	return true
}

func (c *checker) section(n *yaml.Node, f field, path string) (any, bool) {
	switch {
	case isNull(n): // a section whose keys are all commented out
		return nil, false
	case n.Kind == yaml.MappingNode:
		return c.mapping(n, f.typ, path), true
	case f.off && n.Kind == yaml.ScalarNode && n.Value == "off":
		return c.switchedOff(f.typ), true
	}
	cure := "write its keys beneath it: " + strings.Join(c.schema.keys(f.typ), ", ")
	if f.off {
		cure += "; or off"
	}
	c.found.at(path, "is a section, not a "+kindName(n), cure)
	return nil, false
}

// switchedOff is a section of counts that are all 0.
func (c *checker) switchedOff(t reflect.Type) map[string]any {
	values := map[string]any{}
	for _, f := range c.schema.fields(t) {
		if f.typ.Kind() == reflect.Int {
			values[f.key] = 0
		}
	}
	return values
}

func (c *checker) sequence(n *yaml.Node, f field, path string) (any, bool) {
	if isNull(n) { // a list whose entries are all commented out
		return nil, false
	}
	if n.Kind != yaml.SequenceNode {
		cure := `write a list: ["..."]`
		if f.shape == entries {
			cure = "begin each entry with a dash: - " + c.schema.keys(f.typ.Elem())[0] + ": ..."
		}
		c.found.at(path, "is a list, not a "+kindName(n), cure)
		return nil, false
	}
	if f.required && len(n.Content) == 0 {
		c.found.at(path, "is empty", "add at least one")
		return nil, false
	}
	values := make([]any, len(n.Content))
	for i, item := range n.Content {
		// An element at fault leaves a zero one behind, so that the indices of
		// the others stay what the file says.
		itemPath := fmt.Sprintf("%s[%d]", path, i)
		c.found.places[itemPath] = c.placeOf(item)
		if f.shape == list {
			values[i] = reflect.Zero(f.typ.Elem()).Interface()
			if v, ok := c.value(item, f.element(), itemPath); ok {
				values[i] = v
			}
			continue
		}
		values[i] = map[string]any{}
		if c.alias(item, itemPath) {
			continue
		}
		if item.Kind != yaml.MappingNode {
			c.found.at(itemPath, "is an entry with keys, not a "+kindName(item),
				"write its keys: "+strings.Join(c.schema.keys(f.typ.Elem()), ", "))
			continue
		}
		values[i] = c.mapping(item, f.typ.Elem(), itemPath)
	}
	return values, true
}

func (c *checker) placeOf(n *yaml.Node) place {
	return place{line: n.Line, column: n.Column, variable: c.origin[n]}
}

// kindName is what a node is, in words.
func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "section"
	case yaml.SequenceNode:
		return "list"
	default:
		return "single value"
	}
}
