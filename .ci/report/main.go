// Command report reads what `go test -json` printed: which packages and which tests took long, slowest first, and
// which were skipped. With -no-skips a skipped test is a failure: on CI nothing may be missing.
//
// Usage: report [-no-skips] [-tests 15] FILE
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// errSkipped ends the program with status 1 after the report was printed.
var errSkipped = errors.New("tests were skipped")

// event is a line of `go test -json`; see `go doc test2json`.
type event struct {
	Action  string
	Package string
	Test    string
	Elapsed float64 // seconds
	Output  string
}

// result is how long a package or a test took.
type result struct {
	name    string
	seconds float64
	note    string
}

// report is what one run of the tests amounts to.
type report struct {
	packages, tests []result // tests: top level only
	skips           []result // with the reason as note
}

func main() {
	noSkips := flag.Bool("no-skips", false, "fail if a test was skipped")
	tests := flag.Int("tests", 15, "how many of the slowest tests to name")
	flag.Parse()
	if err := run(flag.Args(), *tests, *noSkips, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run(args []string, tests int, noSkips bool, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("needs one file")
	}
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := read(f)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	r.print(out, tests)
	if noSkips && len(r.skips) > 0 {
		return fmt.Errorf("%d %w, and here each must run", len(r.skips), errSkipped)
	}
	return nil
}

// read collects the results of a run. A package without tests is a skip without a test, and no skip to us.
func read(in io.Reader) (report, error) {
	var r report
	said := map[[2]string]string{} // the last line each test printed: a skip's reason stands before its verdict
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			r.sort()
			return r, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return r, err
		}
		var e event
		if json.Unmarshal(line, &e) != nil {
			continue // go build's own words
		}
		r.add(e, said)
	}
}

func (r *report) add(e event, said map[[2]string]string) {
	key := [2]string{e.Package, e.Test}
	switch e.Action {
	case "output":
		text := strings.TrimSpace(e.Output)
		if text != "" && !strings.HasPrefix(text, "---") && !strings.HasPrefix(text, "===") {
			said[key] = text
		}
		if e.Test == "" && strings.Contains(text, "(cached)") {
			said[key] = "cached"
		}
		return
	case "pass", "fail", "skip":
	default:
		return
	}
	note := ""
	if e.Action == "fail" {
		note = "FAILED"
	}
	switch {
	case e.Test == "" && e.Action != "skip":
		if said[key] == "cached" {
			note = "cached"
		}
		r.packages = append(r.packages, result{e.Package, e.Elapsed, note})
	case e.Test != "" && e.Action == "skip":
		r.skips = append(r.skips, result{e.Package + " " + e.Test, e.Elapsed, said[key]})
	case e.Test != "" && !strings.Contains(e.Test, "/"):
		r.tests = append(r.tests, result{e.Package + " " + e.Test, e.Elapsed, note})
	}
}

func (r *report) sort() {
	for _, rs := range [][]result{r.packages, r.tests} {
		slices.SortStableFunc(rs, func(a, b result) int {
			switch {
			case a.seconds > b.seconds:
				return -1
			case a.seconds < b.seconds:
				return 1
			}
			return strings.Compare(a.name, b.name)
		})
	}
}

func (r *report) print(out io.Writer, tests int) {
	section(out, "Packages, slowest first", r.packages)
	var slow []result
	for _, t := range r.tests {
		if t.seconds >= 0.1 && len(slow) < tests {
			slow = append(slow, t)
		}
	}
	section(out, "Tests of 0.1 s and more, slowest first", slow)
	section(out, "Skipped", r.skips)
}

func section(out io.Writer, title string, rs []result) {
	if len(rs) == 0 {
		return
	}
	fmt.Fprintf(out, "\n%s\n", title)
	for _, x := range rs {
		fmt.Fprintf(out, "%8.2fs  %s", x.seconds, x.name)
		if x.note != "" {
			fmt.Fprintf(out, "  (%s)", x.note)
		}
		fmt.Fprintln(out)
	}
}
