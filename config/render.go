package config

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
)

// Render writes a configuration as YAML that Load reads, every key with its
// value; secrets are masked, and a masked secret is refused by Load.
func Render(cfg *Config) ([]byte, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(nodeOf(reflect.ValueOf(cfg).Elem(), schema{})); err != nil {
		return nil, fmt.Errorf("render configuration: %w", err)
	}
	if err := encoder.Close(); err != nil {
		return nil, fmt.Errorf("render configuration: %w", err)
	}
	return out.Bytes(), nil
}

// nodeOf is the YAML of a section, list or value.
func nodeOf(v reflect.Value, s schema) *yaml.Node {
	switch shapeOf(v.Type()) {
	case section:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, f := range s.fields(v.Type()) {
			value := v.Field(f.index)
			if value.Type() == reflect.TypeFor[Secret]() && value.IsZero() {
				continue
			}
			n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: f.key}, nodeOf(value, s))
		}
		return n
	case list, entries:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		if shapeOf(v.Type()) == list || v.Len() == 0 {
			n.Style = yaml.FlowStyle
		}
		for i := range v.Len() {
			n.Content = append(n.Content, nodeOf(v.Index(i), s))
		}
		return n
	default:
		n := &yaml.Node{Kind: yaml.ScalarNode, Value: textOf(v)}
		if v.Kind() == reflect.String || n.Value == "" || v.Type() == reflect.TypeFor[Secret]() {
			n.Tag, n.Style = "!!str", yaml.DoubleQuotedStyle
		}
		return n
	}
}

// textOf is a value as the file writes it.
func textOf(v reflect.Value) string {
	switch value := v.Interface().(type) {
	case time.Duration:
		return FormatDuration(value)
	case netip.Addr:
		if !value.IsValid() {
			return ""
		}
		return value.String()
	case bool:
		return strconv.FormatBool(value)
	case int:
		return strconv.Itoa(value)
	case string:
		return value
	default:
		return fmt.Sprint(value)
	}
}
