package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/push/apnssim"
)

// ending is one way that a call ends.
type ending struct {
	name   string
	habits []habit // of the called user's handsets
	plan   callPlan
	// cancelWhenRung: the caller gives up when the handset rings.
	cancelWhenRung bool
	// before and after happen to a handset around the call.
	before, after func(f *fleet, h *handset) error
	status        int // that the caller gets
	result        bridge.Result
}

// endings are all ways that calls end here.
func endings() []ending {
	one := func(h habit) []habit { return []habit{h} }
	return []ending{
		{name: "the caller hangs up", habits: one(answers), status: 200, result: bridge.Answered},
		{name: "the callee hangs up", habits: one(hangsUp), plan: callPlan{Listens: true}, status: 200, result: bridge.Answered},
		{name: "cancelled while waking", habits: one(ignores), plan: callPlan{CancelOnRing: true}, status: 487, result: bridge.Cancelled},
		{name: "cancelled while waking, and the device comes late", habits: one(ignores), plan: callPlan{CancelOnRing: true},
			after: comeLate, status: 487, result: bridge.Cancelled},
		{name: "cancelled while ringing", habits: one(rings), cancelWhenRung: true, status: 487, result: bridge.Cancelled},
		{name: "declined", habits: one(declines), status: 603, result: bridge.Declined},
		{name: "busy", habits: one(busy), status: 486, result: bridge.Busy},
		{name: "push refused", habits: one(answers), before: disown, after: reinstall, status: 480, result: bridge.Unreachable},
		{name: "nobody answers", habits: one(rings), status: 480, result: bridge.NoAnswer},
		{name: "does not wake", habits: one(ignores), status: 480, result: bridge.Unreachable},
		{name: "vanishes while ringing", habits: one(vanishes), status: 480, result: bridge.NoAnswer},
		{name: "answered elsewhere", habits: []habit{answers, rings}, status: 200, result: bridge.Answered},
		{name: "declined elsewhere", habits: []habit{rings, declines}, status: 603, result: bridge.Declined},
		{name: "one of two wakes", habits: []habit{ignores, hangsUp}, plan: callPlan{Listens: true}, status: 200, result: bridge.Answered},
	}
}

// comeLate lets a handset register although its call is over: it is told the fate.
func comeLate(f *fleet, h *handset) error {
	h.be(answers)
	h.box.post(func() { h.wake(f.ctx) })
	return nil
}

// disown makes APNs refuse the handset's token from now on.
func disown(f *fleet, h *handset) error {
	return f.apns.SetTokenState(h.token, apnssim.Unregistered, time.Now())
}

// reinstall gives the app a new token, which it registers.
func reinstall(f *fleet, h *handset) error {
	h.device.Reinstall(bundle)
	h.box.post(func() { h.token = h.device.RegisterVoIP(bundle) })
	h.refresh(f.ctx)
	return nil
}

// mixed places n calls, the endings in turn, and returns which results the server
// must have recorded.
func (f *fleet) mixed(tb testing.TB, n int, rate float64) map[bridge.Result]int {
	tb.Helper()
	all := endings()
	want := make(map[bridge.Result]int)
	for i := range n {
		want[all[i%len(all)].result]++
	}
	var mu sync.Mutex
	wrong := make(map[string]int)
	atRate(n, rate, func(i int) {
		e := all[i%len(all)]
		status, err := f.end(e)
		if err != nil {
			tb.Errorf("%s: %v", e.name, err)
		}
		if status != e.status {
			mu.Lock()
			defer mu.Unlock()
			wrong[fmt.Sprintf("%s: %d, not %d", e.name, status, e.status)]++
		}
	})
	for what, count := range wrong {
		tb.Errorf("%s (%d calls)", what, count)
	}
	return want
}

// end places one call that ends like e.
func (f *fleet) end(e ending) (status int, err error) {
	pool := f.singles
	if len(e.habits) > 1 {
		pool = f.pairs
	}
	user := <-pool
	defer func() { pool <- user }()
	for i, h := range user {
		h.be(e.habits[i])
	}
	if e.before != nil {
		if err := e.before(f, user[0]); err != nil {
			return 0, err
		}
	}
	if e.cancelWhenRung {
		e.plan.CancelWhen = user[0].rang
	}
	status = f.pbx.call(f.ctx, user[0].number, e.plan)
	if e.after != nil {
		if err := e.after(f, user[0]); err != nil {
			return status, err
		}
	}
	for _, h := range user {
		<-h.asleep()
	}
	return status, nil
}

// leaks compares what the server holds with what it held before, a name for each
// difference beyond what is allowed.
func leaks(before, after state, allowed state) []string {
	var out []string
	check := func(what string, was, is, more int) {
		if is > was+more {
			out = append(out, fmt.Sprintf("%d %s, %d before", is, what, was))
		}
	}
	check("calls", before.Calls, after.Calls, 0)
	check("goroutines", before.Goroutines, after.Goroutines, allowed.Goroutines)
	check("file descriptors", before.Descriptors, after.Descriptors, allowed.Descriptors)
	check("media ports", before.Ports, after.Ports, 0)
	check("flows", before.Flows, after.Flows, allowed.Flows)
	check("dialogs", before.Dialogs, after.Dialogs, 0)
	check("server transactions", before.ServerTxs, after.ServerTxs, 0)
	check("client transactions", before.ClientTxs, after.ClientTxs, 0)
	if allowed.Heap > 0 && after.Heap > before.Heap+allowed.Heap {
		out = append(out, fmt.Sprintf("%d KiB of heap, %d before", after.Heap>>10, before.Heap>>10))
	}
	return out
}

// holds is what the server holds now, but for the files of its database: that keeps up
// to two idle connections for readers (database/sql's default), with two descriptors
// each, and how many there are depends on what was read at the same time, not on how
// much. Where /proc does not tell which files a process has, they count.
func (f *fleet) holds(t *testing.T) state {
	t.Helper()
	now := f.server.ask(t, askState).State
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", f.server.cmd.Process.Pid))
	must(t, err)
	for _, link := range links {
		if file, err := os.Readlink(link); err == nil && strings.HasPrefix(filepath.Base(file), "wakebridge.db") {
			now.Descriptors--
		}
	}
	return now
}

// asleep waits until the server has noticed that all handsets sleep, and says what
// it holds then.
func (f *fleet) asleep(t *testing.T) state {
	t.Helper()
	var now state
	wait(t, 10*time.Second, "the handsets' connections to be gone", func() (bool, string) {
		now = f.holds(t)
		return now.Flows <= 1, fmt.Sprintf("%+v", now) // the PBX's stays a while
	})
	return now
}

// calm waits until the server holds no more than before, and says what it holds. A
// transaction over UDP lives 32 s longer than its call (RFC 3261 timers H, J, K).
func (f *fleet) calm(t *testing.T, before, allowed state, limit time.Duration) state {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		now := f.holds(t)
		found := leaks(before, now, allowed)
		if len(found) == 0 {
			return now
		}
		if time.Now().After(deadline) {
			for _, leak := range found {
				t.Error("left after the calls: " + leak)
			}
			if now.Goroutines > before.Goroutines+allowed.Goroutines {
				t.Log(f.server.ask(t, askStacks).Stacks)
			}
			return now
		}
		<-time.After(time.Second)
	}
}

// recorded checks what became of the calls, by the server's own word.
func (f *fleet) recorded(t *testing.T, want map[bridge.Result]int) {
	t.Helper()
	total := 0
	for _, n := range want {
		total += n
	}
	if got := f.samples(t, total).Results; !maps.Equal(got, want) {
		t.Errorf("the server recorded %v, not %v", got, want)
	}
}

// Deadlines of the server, shortened. wake must be 5 s more than a push needs.
const (
	shortWake = 8 * time.Second
	shortRing = 9 * time.Second
)

// M7: after calls of all endings nothing is left. The long test is TestSoakLeaks.
func TestNothingIsLeftAfterCalls(t *testing.T) {
	t.Parallel()
	const calls = 300
	f := newFleet(t, fleetConfig{Singles: 150, Pairs: 40, Ring: shortRing, Wake: shortWake})
	// The caller's UDP peer is a flow that stays 3 min; a handful of goroutines may be
	// at work in the background: a leak of one per call would be hundreds.
	allowed := state{Goroutines: 10, Flows: 1}
	if runtime.GOOS != "linux" {
		allowed.Descriptors = 4 // see holds
	}
	before := f.asleep(t)
	f.recorded(t, f.mixed(t, calls, 60))
	after := f.calm(t, before, allowed, 45*time.Second)
	t.Logf("before %+v, after %+v", before, after)
}

// profile writes the server's heap profile where -artifacts keeps it.
func (f *fleet) profile(t *testing.T, name string) string {
	t.Helper()
	file := filepath.Join(t.ArtifactDir(), name)
	f.server.ask(t, askProfile+" "+file)
	return file
}
