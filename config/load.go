package config

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"
)

// Load reads the configuration file at path, lays the WAKEBRIDGE_... variables
// of environ ("NAME=value", as os.Environ gives them) over it, and checks the
// result, including the files that it names. An empty path is no file: the
// defaults and the variables alone.
//
// Paths in the file are relative to its folder; in the result they can be
// opened as they are. The error is a *Report with all faults and wraps
// ErrInvalid. What is no fault but should be known is in Config.Warnings.
func Load(path string, environ []string) (*Config, error) {
	found := newFindings(path)
	root := &yaml.Node{Kind: yaml.MappingNode}
	if path == "" {
		found.file = "defaults"
	} else if root = readDocument(path, found); root == nil {
		return nil, found.report()
	}
	cfg := compile(root, environ, found)
	if path != "" {
		resolvePaths(reflect.ValueOf(cfg).Elem(), schema{}, filepath.Dir(path))
	}
	inspect(cfg, found)
	if err := found.report(); err != nil {
		return nil, err
	}
	cfg.Warnings = found.warned()
	return cfg, nil
}

// compile turns nodes and variables into a Config. With faults in found it is
// what could be read.
func compile(root *yaml.Node, environ []string, found *findings) *Config {
	overlay := newOverlay(root, found)
	overlay.apply(environ)
	c := &checker{schema: overlay.schema, found: found, origin: overlay.origin}
	cfg := Default()
	if err := decode(c.mapping(root, reflect.TypeFor[Config](), ""), cfg); err != nil {
		// The checker lets nothing pass that does not decode; if it ever does,
		// the operator still learns what viper says.
		found.add("", place{}, err.Error(), "please report this as a bug of wakebridge")
	}
	return cfg
}

// decode lays values over cfg.
func decode(values map[string]any, cfg *Config) error {
	// The delimiter is one that no key holds: viper would split keys at dots.
	v := viper.NewWithOptions(viper.KeyDelimiter("::"))
	if err := v.MergeConfigMap(values); err != nil {
		return fmt.Errorf("merge configuration: %w", err)
	}
	if err := v.UnmarshalExact(cfg, strict); err != nil {
		return fmt.Errorf("decode configuration: %w", err)
	}
	return nil
}

// strict takes viper's conversions away and starts entries from their defaults.
func strict(d *mapstructure.DecoderConfig) {
	d.WeaklyTypedInput = false
	// A list in the file replaces the default list, also a shorter one.
	d.ZeroFields = true
	d.IgnoreUntaggedFields = true
	d.MatchName = func(key, field string) bool { return key == field }
	d.DecodeHook = func(from, to reflect.Value) (any, error) {
		if from.Kind() == reflect.Map && to.CanSet() {
			if entry := entryDefault(to.Type()); !entry.IsZero() {
				to.Set(entry)
			}
		}
		return from.Interface(), nil
	}
}

// resolvePaths makes the file names in v relative to folder.
func resolvePaths(v reflect.Value, s schema, folder string) {
	for _, f := range s.fields(v.Type()) {
		at := v.Field(f.index)
		switch {
		case f.shape == section:
			resolvePaths(at, s, folder)
		case f.shape == entries:
			for i := range at.Len() {
				resolvePaths(at.Index(i), s, folder)
			}
		case f.path && at.String() != "" && !slices.Contains(f.oneOf, at.String()) && !filepath.IsAbs(at.String()):
			at.SetString(filepath.Join(folder, at.String()))
		}
	}
}
