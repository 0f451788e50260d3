// Package config is Wakebridge's configuration: the schema as typed structs,
// the defaults, and Load, which reads one YAML file and the WAKEBRIDGE_...
// variables, checks everything and reports all faults at once, each with its
// file, line, key and cure.
//
// A file goes through four steps. yaml.v3 parses it into nodes, which know
// their lines. The variables are laid over the nodes. A strict walk along the
// schema turns the nodes into values: it refuses unknown keys, keys that are
// not built yet, wrong types and YAML's silent conversions (0100 is 64, +49 is
// 49, a bare 30 would be 30 ns). viper then decodes these values over the
// defaults, and rules that span keys run on the typed result.
//
// The rest of the program never sees this package except daemon, which copies
// fields into the components.
package config
