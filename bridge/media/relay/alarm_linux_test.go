package relay

import (
	"sync"
	"testing"
	"time"
)

func newTestAlarm(t *testing.T) *alarm {
	t.Helper()
	a, err := newAlarm()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// It never rings early, also when it rang while nobody slept; and it makes no
// garbage.
func TestAlarmRingsInTime(t *testing.T) {
	a := newTestAlarm(t)
	for _, d := range []time.Duration{0, time.Nanosecond, 200 * time.Microsecond, gatherMax, 3 * time.Millisecond} {
		for range 20 {
			start := time.Now()
			a.sleep(d)
			if slept := time.Since(start); slept < d {
				t.Fatalf("slept %s of %s", slept, d)
			}
		}
	}
	if n := testing.AllocsPerRun(100, func() { a.sleep(10 * time.Microsecond) }); n > 0 {
		t.Errorf("%.1f allocations per sleep", n)
	}
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
}

// The end is for the sleeper of now and for all later ones.
func TestAlarmEnds(t *testing.T) {
	a := newTestAlarm(t)
	var sleeper sync.WaitGroup
	sleeper.Go(func() { a.sleep(time.Hour) })
	a.end()
	sleeper.Wait()
	a.sleep(time.Hour)
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
}
