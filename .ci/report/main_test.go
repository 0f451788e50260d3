package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const events = `{"Action":"start","Package":"wakebridge/push"}
{"Action":"run","Package":"wakebridge/push","Test":"TestA"}
{"Action":"pass","Package":"wakebridge/push","Test":"TestA/sub","Elapsed":9}
{"Action":"pass","Package":"wakebridge/push","Test":"TestA","Elapsed":0.5}
{"Action":"pass","Package":"wakebridge/push","Test":"TestB","Elapsed":0.7}
{"Action":"pass","Package":"wakebridge/push","Elapsed":1.3}
go: a line that is no event
{"Action":"skip","Package":"wakebridge/notests","Elapsed":0}
{"Action":"output","Package":"wakebridge/e2e","Test":"TestSIPp","Output":"=== RUN   TestSIPp\n"}
{"Action":"output","Package":"wakebridge/e2e","Test":"TestSIPp","Output":"    sipp_test.go:9: sipp is missing\n"}
{"Action":"output","Package":"wakebridge/e2e","Test":"TestSIPp","Output":"--- SKIP: TestSIPp (0.00s)\n"}
{"Action":"skip","Package":"wakebridge/e2e","Test":"TestSIPp","Elapsed":0}
{"Action":"fail","Package":"wakebridge/e2e","Elapsed":2.5}
{"Action":"output","Package":"wakebridge/old","Output":"ok  \twakebridge/old\t(cached)\n"}
{"Action":"pass","Package":"wakebridge/old","Elapsed":0}
`

func TestRead(t *testing.T) {
	r, err := read(strings.NewReader(events))
	if err != nil {
		t.Fatal(err)
	}
	packages := []result{{"wakebridge/e2e", 2.5, "FAILED"}, {"wakebridge/push", 1.3, ""}, {"wakebridge/old", 0, "cached"}}
	tests := []result{{"wakebridge/push TestB", 0.7, ""}, {"wakebridge/push TestA", 0.5, ""}}
	skips := []result{{"wakebridge/e2e TestSIPp", 0, "sipp_test.go:9: sipp is missing"}}
	if !slices.Equal(r.packages, packages) || !slices.Equal(r.tests, tests) || !slices.Equal(r.skips, skips) {
		t.Errorf("got %+v", r)
	}
}

func TestSkipsFail(t *testing.T) {
	file := filepath.Join(t.TempDir(), "events")
	if err := os.WriteFile(file, []byte(events), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run([]string{file}, 1, false, &out); err != nil {
		t.Errorf("without -no-skips: %v", err)
	}
	if err := run([]string{file}, 1, true, &out); !errors.Is(err, errSkipped) {
		t.Errorf("with -no-skips: %v", err)
	}
	if !strings.Contains(out.String(), "TestSIPp") || strings.Contains(out.String(), "TestA") {
		t.Errorf("printed %s", &out)
	}
}
