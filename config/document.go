package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds a configuration file; some twenty thousand users fit.
const maxFile = 2 << 20

// readDocument reads a YAML file into the node of its top-level mapping; nil
// and a fault in found if there is none.
func readDocument(path string, found *findings) *yaml.Node {
	data, err := readBounded(path, maxFile)
	switch {
	case errors.Is(err, errTooLong):
		found.add("", place{}, fmt.Sprintf("is larger than %d MiB", maxFile>>20),
			"check that this is the configuration file")
		return nil
	case err != nil:
		found.add("", place{}, unreadable(err), "name the configuration file, and let this user read it")
		return nil
	}
	return parseDocument(data, found)
}

// parseDocument is readDocument for bytes at hand.
func parseDocument(data []byte, found *findings) *yaml.Node {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF):
		found.add("", place{}, "holds no settings", "start from docs/wakebridge.yaml")
		return nil
	case err != nil:
		found.syntax(err)
		return nil
	}
	var more yaml.Node
	switch err := decoder.Decode(&more); {
	case err == nil:
		found.add("", place{line: more.Line, column: more.Column},
			"holds more than one document", "remove the line --- and what follows it")
		return nil
	case !errors.Is(err, io.EOF):
		found.syntax(err)
		return nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		if isNull(root) {
			found.add("", place{}, "holds no settings", "start from docs/wakebridge.yaml")
			return nil
		}
		found.add("", place{line: root.Line, column: root.Column},
			"does not begin with a key", "start from docs/wakebridge.yaml")
		return nil
	}
	return root
}

// syntax reports that a file is not YAML.
func (f *findings) syntax(err error) {
	where, problem := syntaxFault(err)
	f.add("", where, problem,
		"look at this line and its neighbours: indentation, a tab, a colon without a space, an unclosed quote or bracket")
}

// syntaxFault takes yaml.v3's syntax errors apart. They have no type: the line
// is in the text only, "yaml: line 3: ...".
func syntaxFault(err error) (place, string) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	// What it quotes may be a piece of a password that begins with * or &.
	text = regexp.MustCompile(`'[^']*[[:alnum:]][^']*'`).ReplaceAllString(text, "'...'")
	parts := regexp.MustCompile(`^line (\d+): (?s:(.*))$`).FindStringSubmatch(text)
	if parts == nil {
		return place{}, "is not YAML: " + text
	}
	line, err := strconv.Atoi(parts[1])
	if err != nil {
		return place{}, "is not YAML: " + text
	}
	return place{line: line, column: 1}, "is not YAML: " + parts[2]
}

// isNull says that nothing is written where n stands: "key:" or "key: ~".
func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" && n.Style&yaml.TaggedStyle == 0
}

var errTooLong = errors.New("file too long")

// readBounded reads at most limit bytes of a file, else errTooLong.
func readBounded(path string, limit int64) (data []byte, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	data, err = io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: %w", path, errTooLong)
	}
	return data, nil
}

// unreadable says in words why a file cannot be read.
func unreadable(err error) string {
	var pathErr *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read by this user"
	case errors.As(err, &pathErr):
		return "cannot be read: " + pathErr.Err.Error()
	default:
		return "cannot be read: " + err.Error()
	}
}
