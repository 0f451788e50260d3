package push

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestDispatchDoesNotBlockAndReportsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		d := NewDispatcher(newDelivery(t, Config{InFlight: 1}, func(context.Context, Target, Notification) Result {
			<-release
			return Result{Outcome: Accepted}
		}))
		results := make(chan Result, 100)
		for range 50 {
			d.Dispatch(t.Context(), aRequest(), func(r Result) { results <- r })
		}
		synctest.Wait()
		if len(results) != 0 {
			t.Fatalf("%d reports before any answer", len(results))
		}
		close(release)
		for range 50 {
			if r := <-results; r.Outcome != Accepted {
				t.Errorf("%+v", r)
			}
		}
		if err := d.Close(); err != nil || len(results) != 0 {
			t.Errorf("after Close %d more reports, %v", len(results), err)
		}
	})
}

func TestDispatchIsStoppedByItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := NewDispatcher(newDelivery(t, Config{}, hang))
		defer d.Close()
		results := make(chan Result, 1)
		ctx, stop := context.WithCancel(t.Context())
		d.Dispatch(ctx, aRequest(), func(r Result) { results <- r })
		time.Sleep(3 * time.Second) // virtual
		stop()
		if r := <-results; r.Reason != Stopped || r.Latency != 3*time.Second {
			t.Errorf("%+v", r)
		}
	})
}

func TestCloseStopsWaitsAndRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := NewDispatcher(newDelivery(t, Config{InFlight: 2}, hang))
		results := make(chan Result, 10)
		report := func(r Result) { results <- r }
		for range 5 {
			d.Dispatch(t.Context(), aRequest(), report)
		}
		synctest.Wait()
		for range 2 {
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if len(results) != 5 {
			t.Fatalf("%d of 5 reported when Close returned", len(results))
		}
		for range 5 {
			if r := <-results; r.Outcome != NoAnswer || r.Reason != Stopped {
				t.Errorf("%+v", r)
			}
		}
		d.Dispatch(t.Context(), aRequest(), report)
		if r := <-results; r.Reason != Closed {
			t.Errorf("after Close: %+v", r)
		}
	})
}

func TestDispatchSurvivesAPanic(t *testing.T) {
	t.Parallel()
	d := NewDispatcher(newDelivery(t, Config{}, func(context.Context, Target, Notification) Result { panic("boom") }))
	defer d.Close()
	results := make(chan Result, 1)
	for range 2 {
		d.Dispatch(t.Context(), aRequest(), func(r Result) { results <- r })
		if r := <-results; r.Outcome != NoAnswer || r.Reason != Broken {
			t.Errorf("%+v", r)
		}
	}
}

func TestDispatchBoundsWhatWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := NewDispatcher(newDelivery(t, Config{}, hang))
		results := make(chan Result, maxWaiting+1)
		report := func(r Result) { results <- r }
		for range maxWaiting {
			d.Dispatch(t.Context(), aRequest(), report)
		}
		d.Dispatch(t.Context(), aRequest(), report)
		if r := <-results; r.Reason != Overloaded {
			t.Errorf("one too many: %+v", r)
		}
		if err := d.Close(); err != nil || len(results) != maxWaiting {
			t.Errorf("%d reports, %v", len(results), err)
		}
	})
}
