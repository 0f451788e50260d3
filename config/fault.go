package config

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
)

// environmentFile stands in Fault.File for a value that came from a variable.
const environmentFile = "environment"

// maxFaults bounds a report: somebody who loads the wrong file needs the first
// of its ten thousand faults.
const maxFaults = 200

// Fault is one thing wrong with a configuration.
type Fault struct {
	// File is the configuration file as it was named to Load, or "environment".
	File string `json:"file"`
	// Line and Column are 1 and up; both are 0 if the fault has no place, for
	// example because a file is missing or a variable is wrong.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Key is the path of the key ("trunks[0].match"), the name of the variable
	// if File is "environment", or empty if the whole file is at fault.
	Key string `json:"key,omitempty"`
	// Problem says what is wrong, without the value if that is a secret.
	Problem string `json:"problem"`
	// Cure says what to write instead.
	Cure string `json:"cure,omitempty"`
}

// String is the fault without its cure, "file:line:column: key: problem".
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
	}
	b.WriteString(": ")
	if f.Key != "" {
		b.WriteString(f.Key + ": ")
	}
	b.WriteString(f.Problem)
	return b.String()
}

// explained is the fault with its cure, on lines of their own.
func (f Fault) explained() string {
	if f.Cure == "" {
		return f.String() + "\n"
	}
	return f.String() + "\n    cure: " + f.Cure + "\n"
}

// ExplainWarnings writes warnings for a terminal, as Report.Explain writes faults.
func ExplainWarnings(w io.Writer, warnings []Fault) error {
	var b strings.Builder
	for _, f := range warnings {
		b.WriteString("warning: " + f.explained())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Report is the error that Load returns: everything that is wrong, the file's
// faults first and in the order of its lines. It unwraps to ErrInvalid.
type Report struct {
	// Faults are never none.
	Faults []Fault `json:"faults"`
	// Omitted counts the faults beyond the first 200.
	Omitted int `json:"omitted,omitempty"`
}

// Error is the first fault and the number of the others, on one line.
func (r *Report) Error() string {
	if len(r.Faults) == 0 {
		return ErrInvalid.Error()
	}
	text := r.Faults[0].String()
	if others := len(r.Faults) - 1 + r.Omitted; others > 0 {
		text += fmt.Sprintf(" (and %d more)", others)
	}
	return text
}

// Unwrap is ErrInvalid.
func (r *Report) Unwrap() error { return ErrInvalid }

// Explain writes the report for a terminal: each fault on a line, its cure
// beneath it, and the number of faults at the end.
func (r *Report) Explain(w io.Writer) error {
	var b strings.Builder
	for _, f := range r.Faults {
		b.WriteString(f.explained())
	}
	switch total := len(r.Faults) + r.Omitted; {
	case r.Omitted > 0:
		fmt.Fprintf(&b, "%d faults, %d of them not shown\n", total, r.Omitted)
	case total == 1:
		b.WriteString("1 fault\n")
	default:
		fmt.Fprintf(&b, "%d faults\n", total)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// place is where a value came from: a position in the file or a variable.
type place struct {
	line, column int
	variable     string
}

// finding is what a check says about a value, before it has a place.
type finding struct{ problem, cure string }

// findings collects faults and knows where the values of the configuration
// came from.
type findings struct {
	file     string
	places   map[string]place
	bad      map[string]bool
	faults   []Fault
	omitted  int
	warnings []Fault
}

func newFindings(file string) *findings {
	return &findings{file: file, places: map[string]place{}, bad: map[string]bool{}}
}

// at reports a fault of the value at path, unless that value, or one that
// holds it, has been reported before: a consequence of a fault is no news.
func (f *findings) at(path, problem, cure string) {
	if f.blocked(path) {
		return
	}
	f.bad[path] = true
	f.add(path, f.placeOf(path), problem, cure)
}

// add reports a fault at a known place.
func (f *findings) add(path string, where place, problem, cure string) {
	if f.full() {
		f.omitted++
		return
	}
	f.faults = append(f.faults, f.faultAt(path, where, problem, cure))
}

// warn notes what is wrong with the value at path but no fault. The values of
// faulty entries are not worth it.
func (f *findings) warn(path, problem, cure string) {
	if !f.blocked(path) && len(f.warnings) < maxFaults {
		f.warnings = append(f.warnings, f.faultAt(path, f.placeOf(path), problem, cure))
	}
}

func (f *findings) faultAt(path string, where place, problem, cure string) Fault {
	fault := Fault{
		File: f.file, Line: where.line, Column: where.column,
		Key: printable(path), Problem: printable(problem), Cure: printable(cure),
	}
	if where.variable != "" {
		fault.File, fault.Line, fault.Column = environmentFile, 0, 0
		fault.Key = printable(where.variable)
		if path != "" {
			fault.Problem = printable(path + ": " + problem)
		}
	}
	return fault
}

// printable keeps what a file says from filling the terminal or steering it.
func printable(text string) string {
	const longest = 400
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "..."
}

// first is the first of paths that the file or the environment sets, else the
// first of all: where a fault is shown that has several keys.
func (f *findings) first(paths ...string) string {
	for _, path := range paths {
		if _, known := f.places[path]; known {
			return path
		}
	}
	return paths[0]
}

// placeOf is the place of path or of what holds it.
func (f *findings) placeOf(path string) place {
	for ; path != ""; path = parentOf(path) {
		if where, known := f.places[path]; known {
			return where
		}
	}
	return place{}
}

// full says that further faults are only counted.
func (f *findings) full() bool { return len(f.faults) >= maxFaults }

func (f *findings) blocked(path string) bool {
	for ; path != ""; path = parentOf(path) {
		if f.bad[path] {
			return true
		}
	}
	return false
}

// parentOf cuts the last key or index off a path.
func parentOf(path string) string {
	return path[:max(strings.LastIndexByte(path, '.'), strings.LastIndexByte(path, '['), 0)]
}

// report is the error for what was found, nil for nothing.
func (f *findings) report() error {
	if len(f.faults) == 0 {
		return nil
	}
	sortFaults(f.faults)
	return &Report{Faults: f.faults, Omitted: f.omitted}
}

// warned are the warnings, sorted as a report is.
func (f *findings) warned() []Fault {
	sortFaults(f.warnings)
	return f.warnings
}

func sortFaults(faults []Fault) {
	slices.SortStableFunc(faults, func(a, b Fault) int {
		switch fromEnv := a.File == environmentFile; {
		case fromEnv != (b.File == environmentFile):
			if fromEnv {
				return 1
			}
			return -1
		case a.Line != b.Line:
			return a.Line - b.Line
		case a.Column != b.Column:
			return a.Column - b.Column
		default: // so that a report does not depend on the order of a map
			return strings.Compare(a.Key, b.Key)
		}
	})
}
