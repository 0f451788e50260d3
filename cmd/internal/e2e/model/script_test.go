package model

import (
	"slices"
	"testing"
	"time"
)

func TestScriptReplays(t *testing.T) {
	const text = "17: trunk 0; pass 1500; answer 0"
	s, err := parse(text)
	if err != nil || s.String() != text {
		t.Errorf("%q, %v", s, err)
	}
	for _, bad := range []string{"", "trunk 0", "x: trunk 0", "1: trunk", "1: nonsense 0"} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q is taken for a script", bad)
		}
	}
}

// A sequence that fails because of two of its steps is shrunk to these.
func TestShrink(t *testing.T) {
	s := script{seed: 1}
	for i := range 100 {
		s.steps = append(s.steps, step{"pass", i})
	}
	fails := func(c script) []string {
		if slices.Contains(c.steps, step{"pass", 13}) && slices.Contains(c.steps, step{"pass", 77}) {
			return []string{"call 3f94-1 has no final response"}
		}
		return []string{"something else"}
	}
	short, still := shrink(s, []string{"call 77aa-2 has no final response"}, time.Now().Add(time.Minute), fails)
	if want := "1: pass 13; pass 77"; short.String() != want || len(still) != 1 {
		t.Errorf("%s: %q", short, still)
	}
}

// Sequences that once broke a promise, in few steps.
func TestScriptsThatBroke(t *testing.T) {
	for name, text := range map[string]string{
		"the call ends while its phone has no connection":          "3016: trunk 1; wait 13; answer 1; pass 1024; away 1",
		"a 410 went down with its connection, and was never heard": "5086: desk 1; trunk 1; wait 33; desk 0; fault 3; open 0; fault 9; desk 0; fault 5; hangup 2; pass 512; pass 2048; pass 256; fault 8; desk 0; away 0; pass 64",
	} {
		t.Run(name, func(t *testing.T) {
			s, err := parse(text)
			if err != nil {
				t.Fatal(err)
			}
			for _, broken := range outcome(t, s, false).broken {
				t.Error(broken)
			}
		})
	}
}
