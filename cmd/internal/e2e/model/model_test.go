package model

import (
	"flag"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

var (
	replay = flag.String("model.replay", "", "run this script instead of random sequences")
	total  = flag.Int("model.steps", 0, "how many steps TestModel makes; 0: 100000, or 10000 with the race detector")
	tell   = flag.Bool("model.story", false, "print all that happened in a failing sequence, also before it is shrunk")
	first  = flag.Uint64("model.seed", 1, "the seed of the first sequence")
)

func TestMain(m *testing.M) {
	// Restarts would wait for the disk, which takes no virtual time.
	const memory = "/dev/shm"
	if info, err := os.Stat(memory); err == nil && info.IsDir() && os.Getenv("TMPDIR") == "" {
		os.Setenv("TMPDIR", memory)
	}
	goleak.VerifyTestMain(m)
}

// perSequence is how many steps are made in one world.
const perSequence = 400

// TestModel drives random sequences, or the one of -model.replay.
func TestModel(t *testing.T) {
	if *replay != "" {
		s, err := parse(*replay)
		if err != nil {
			t.Fatal(err)
		}
		res := outcome(t, s, true)
		t.Log("what happened:\n" + res.story)
		t.Log("came to:", res.reached)
		for _, broken := range res.broken {
			t.Error(broken)
		}
		return
	}
	if *total == 0 {
		*total = steps
	}
	inShards(t, *first, func(n int) func(int) bool {
		return func(done int) bool { return done < *total/n }
	})
}

// inShards explores with every core. more makes the condition for one of n shards.
func inShards(t *testing.T, seed uint64, more func(n int) func(done int) bool) {
	t.Helper()
	n := runtime.GOMAXPROCS(0)
	all := &totals{got: make(reach)}
	t.Run("shards", func(t *testing.T) { // ends when all of them have
		for i := range n {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				explore(t, seed+uint64(i), uint64(n), more(n), all) //nolint:gosec // i and n are small
			})
		}
	})
	all.check(t)
}

// explore runs every stride-th sequence from seed on while more says so and none
// fails.
func explore(t *testing.T, seed, stride uint64, more func(done int) bool, all *totals) {
	t.Helper()
	began, done := time.Now(), 0
	for ; more(done); seed += stride {
		res := random(t, seed)
		done += len(res.steps)
		all.add(len(res.steps), res.reached)
		if len(res.broken) > 0 {
			if *tell {
				t.Log("what happened:\n" + res.story)
			}
			report(t, script{seed, res.steps}, res.broken)
			return
		}
	}
	t.Logf("%d steps in %s", done, time.Since(began).Round(time.Second))
}

// random runs the sequence of a seed.
func random(t *testing.T, seed uint64) (res result) {
	t.Helper()
	dice := newDice(seed)
	synctest.Test(t, func(*testing.T) {
		left := perSequence
		res = run(seed, func() (step, bool) {
			left--
			return dice.next(), left >= 0
		}, *tell)
	})
	return res
}

// outcome runs a script.
func outcome(t *testing.T, s script, telling bool) (res result) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		rest := s.steps
		res = run(s.seed, func() (step, bool) {
			if len(rest) == 0 {
				return step{}, false
			}
			st := rest[0]
			rest = rest[1:]
			return st, true
		}, telling)
	})
	return res
}

// report prints a failed sequence, shrunk.
func report(t *testing.T, s script, broken []string) {
	t.Helper()
	t.Errorf("seed %d is broken:\n  %s", s.seed, strings.Join(broken, "\n  "))
	t.Logf("in full: -model.replay '%s'", s)
	short, still := shrink(s, broken, time.Now().Add(shrinkFor), func(c script) []string { return outcome(t, c, false).broken })
	if len(still) > 0 {
		t.Logf("shrunk to %d steps: -model.replay '%s'\n  %s", len(short.steps), short, strings.Join(still, "\n  "))
	}
}

// shrinkFor is how long a failing sequence may be worked on.
const shrinkFor = 2 * time.Minute

// tries is how often a shorter sequence may hold before it counts as whole: who is
// first among goroutines is a matter of luck.
const tries = 2

// shrink leaves steps out while the sequence still breaks one of the same promises
// (delta debugging, in halves, quarters and so on). still is what the shortest one
// breaks.
func shrink(s script, broken []string, until time.Time, outcome func(script) []string) (short script, still []string) {
	want := kinds(broken)
	fails := func(c script) []string {
		for range tries {
			if got := outcome(c); slices.ContainsFunc(kinds(got), func(k string) bool { return slices.Contains(want, k) }) {
				return got
			}
		}
		return nil
	}
	short = s
	for size := max(len(s.steps)/2, 1); ; size /= 2 {
		for at := 0; at < len(short.steps); {
			if time.Now().After(until) {
				return short, still
			}
			c := script{short.seed, slices.Delete(slices.Clone(short.steps), at, min(at+size, len(short.steps)))}
			if got := fails(c); got != nil {
				short, still = c, got
				continue
			}
			at += size
		}
		if size <= 1 {
			return short, still
		}
	}
}

// kinds are broken promises without what differs between two runs: numbers,
// identifiers, times.
func kinds(broken []string) []string {
	varying := regexp.MustCompile(`[0-9a-fA-F]*[0-9][0-9a-zA-Z:.µ-]*`)
	out := make([]string, len(broken))
	for i, b := range broken {
		out[i] = varying.ReplaceAllString(b, "#")
	}
	return out
}

// dice draw steps.
type dice struct {
	*rand.Rand
	names []string // each as often as its weight
	verbs map[string]verb
}

func newDice(seed uint64) *dice {
	d := &dice{Rand: rand.New(rand.NewPCG(seed, seed)), verbs: verbs()}
	for name, v := range d.verbs {
		for range v.weight {
			d.names = append(d.names, name)
		}
	}
	slices.Sort(d.names)
	return d
}

func (d *dice) next() step {
	name := d.names[d.IntN(len(d.names))]
	return step{name, d.verbs[name].amount(d.Rand)}
}
