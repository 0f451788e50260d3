package apns_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"wakebridge/push"
	"wakebridge/push/apns"
	"wakebridge/push/apnssim"
)

// TestPushesMeetAnIdleClose: Apple closes what was idle just as pushes are on their way.
// The times run from a push that arrives before the close over those that cross the
// GOAWAY to one that finds a new connection.
func TestPushesMeetAnIdleClose(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		const idle = 10 * time.Second
		w.fault(apnssim.Match{}, apnssim.Action{Fault: apnssim.IdleClose, Latency: idle})
		w.restart()
		crossed := 0
		for early := 70 * time.Millisecond; early >= -30*time.Millisecond; early -= time.Millisecond {
			accepted(t, w.push())
			time.Sleep(idle - early)
			for _, r := range w.several(3, 1600*time.Millisecond) {
				if r.Tries > 1 {
					crossed++
				}
			}
		}
		if crossed == 0 {
			t.Error("no push crossed a GOAWAY")
		}
		if s := w.Stats(); s.Connections < 2+50 {
			t.Errorf("few connections were closed: %+v", s)
		}
	})
}

// TestPushesMeetASlowHandshake: a connection that is long in coming costs a push no
// more than its hedge; where both are, the push waits for them.
func TestPushesMeetASlowHandshake(t *testing.T) {
	const slow = 4 * time.Second
	meet := func(w *world, m apnssim.Match, most time.Duration) push.Result {
		w.ClearFaults()
		w.fault(m, apnssim.Action{Fault: apnssim.SlowHandshake, Latency: slow})
		w.restartNow()
		r := w.several(3, most)
		if f := w.Faults(); f[0].Hits != m.Times {
			t.Errorf("%d slow handshakes", f[0].Hits)
		}
		return r[0]
	}
	inWorld(t, nil, func(t *testing.T, w *world) {
		hedged := false
		for i := range 20 { // which line comes first is a matter of chance
			hedged = meet(w, apnssim.Match{Nth: 1 + i%2, Times: 1}, 1600*time.Millisecond).Hedged || hedged
		}
		if !hedged {
			t.Error("no push met the slow connection")
		}
		meet(w, apnssim.Match{Times: 2}, slow+200*time.Millisecond)
	})
}

// TestPushesDuringASlowReconnection: one line was closed and is long in coming back; the
// other serves meanwhile, and nobody waits.
func TestPushesDuringASlowReconnection(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.fault(apnssim.Match{Times: 2}, apnssim.Action{Fault: apnssim.IdleClose, Latency: 10 * time.Second})
		w.restart()
		w.fault(apnssim.Match{}, apnssim.Action{Fault: apnssim.SlowHandshake, Latency: 4 * time.Second})
		before := w.Stats().Connections
		for start := time.Now(); time.Since(start) < 20*time.Second; time.Sleep(100 * time.Millisecond) {
			w.several(1, 200*time.Millisecond)
		}
		if s := w.Stats(); s.Connections == before {
			t.Errorf("no connection was closed: %+v", s)
		}
	})
}

// restart starts the service anew, for faults that meet new connections, and lets both
// lines connect.
func (w *world) restart() {
	w.t.Helper()
	w.restartNow()
	time.Sleep(time.Second) // virtual
	synctest.Wait()
}

// restartNow is restart with both lines cold.
func (w *world) restartNow() {
	w.t.Helper()
	must(w.t, w.service.Close())
	w.config.Metrics = nil
	service, err := apns.New(w.config)
	must(w.t, err)
	w.service, w.sender = service, service.Routes()[0].Sender
	w.t.Cleanup(func() { must(w.t, service.Close()) })
}

// several sends so many pushes at once, each of its own call. Each must be accepted within
// most and reach the device once.
func (w *world) several(n int, most time.Duration) []push.Result {
	w.t.Helper()
	var all sync.WaitGroup
	results, ids := make([]push.Result, n), make([]string, n)
	for i := range n {
		ids[i] = uuid.NewString()
		all.Go(func() {
			start := time.Now()
			results[i] = w.sender.Send(w.t.Context(), push.Target{Token: w.voip, Environment: push.Production}, call(ids[i]))
			if took := time.Since(start); took > most {
				w.t.Errorf("took %v: %+v", took, results[i])
			}
		})
	}
	all.Wait()
	for i, r := range results {
		accepted(w.t, r)
		reached := 0
		for _, e := range w.Requests(apnssim.Filter{APNsID: ids[i]}) {
			if e.Verdict.Status == 200 || e.Delivery != apnssim.Undecided {
				reached++
			}
		}
		if reached < 1 || reached > 1 && !r.Hedged || reached > 2 {
			w.t.Errorf("a push went to the device %d times: %+v", reached, r)
		}
	}
	return results
}
