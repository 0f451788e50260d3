package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/daemon"
	"wakebridge/sipua"
)

// The server that is measured runs in a process of its own, so that nothing of the
// load counts as its own: the test binary starts itself again with these set.
const (
	envProcess = "E2E_SERVER_CONFIG" // configuration file; without it there is no server process
	envMeter   = "E2E_SERVER_METER"  // "1": measure each call
)

// What a server process can be asked, a line each.
const (
	askCost    = "cost"    // what it used so far
	askState   = "state"   // what it holds, after a garbage collection
	askSamples = "samples" // what it measured since it was last asked
	askStacks  = "stacks"  // its goroutines, counted by stack
	askProfile = "profile" // and a file name: its heap profile, written there
)

// report is a server process's answer; the question decides what it holds.
type report struct {
	UDP, TCP netip.AddrPort
	CPU      time.Duration // user and system
	State    state
	Results  map[bridge.Result]int // of the calls that ended
	Written  []time.Duration       // INVITE read to push request written
	Invited  []time.Duration       // REGISTER with credentials read to INVITE for the device written
	Stacks   string
	Err      string
}

// state is what a server holds at one moment.
type state struct {
	Goroutines  int
	Descriptors int
	Calls       int
	Ports       int // of the relay
	Flows       int
	Dialogs     int
	ServerTxs   int
	ClientTxs   int
	Heap        uint64 // live bytes
}

// TestServerProcess is the server of its own process where the environment says so.
// Otherwise it holds the tools of the benchmarks to a test.
func TestServerProcess(t *testing.T) {
	if file := os.Getenv(envProcess); file != "" {
		beServer(t, file)
		return
	}
	t.Parallel()
	const calls = 20
	f := newFleet(t, fleetConfig{Singles: 10, Metered: true})
	f.answered(t, calls, 20)
	r := f.samples(t, calls)
	if len(r.Written) != calls || len(r.Invited) != calls || r.Results[bridge.Answered] != calls {
		t.Errorf("%d pushes and %d INVITEs measured, results %v; want %d of each", len(r.Written), len(r.Invited), r.Results, calls)
	}
	for _, d := range append(r.Written, r.Invited...) {
		if d <= 0 || d > 5*time.Second {
			t.Errorf("measured %s", d)
		}
	}
	if r := f.server.ask(t, askSamples); len(r.Written) != 0 {
		t.Errorf("%d samples are told twice", len(r.Written))
	}
	if r := f.server.ask(t, askCost); r.CPU <= 0 {
		t.Error("the server used no CPU")
	}
}

// beServer is a server that answers questions on standard output until standard
// input ends.
func beServer(t *testing.T, file string) {
	cfg, err := daemon.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // it logs as in production: that costs, too
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if os.Getenv("E2E_LOG") != "" {
		log = os.Stderr
	}
	m := newMeter()
	opts := daemon.Options{Log: daemon.NewLogger(cfg, log), Version: "test", Recorded: m.recorded}
	if os.Getenv(envMeter) == "1" {
		opts.Tap = m.tap
	}
	d, err := daemon.New(t.Context(), cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		d.Stop(ctx)
	}()
	out := json.NewEncoder(os.Stdout)
	answer := report{UDP: d.Addr(sipua.UDP), TCP: d.Addr(sipua.TCP)}
	in := bufio.NewScanner(os.Stdin)
	for {
		if err := out.Encode(answer); err != nil {
			t.Fatal(err)
		}
		if !in.Scan() {
			return
		}
		answer = answerTo(in.Text(), d, m)
	}
}

func answerTo(question string, d *daemon.Daemon, m *meter) (r report) {
	what, file, _ := strings.Cut(question, " ")
	switch what {
	case askCost:
		r.CPU = processCPU()
	case askState:
		r.State, r.Results = stateOf(d), m.counted()
	case askSamples:
		r = m.take()
	case askStacks:
		var b strings.Builder
		if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
			r.Err = err.Error()
		}
		r.Stacks = b.String()
	case askProfile:
		if err := writeHeapProfile(file); err != nil {
			r.Err = err.Error()
		}
	default:
		r.Err = "unknown question " + question
	}
	return r
}

func writeHeapProfile(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	runtime.GC()
	err = pprof.WriteHeapProfile(f)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

func stateOf(d *daemon.Daemon) state {
	var s state
	s.Flows, s.Dialogs, s.ServerTxs, s.ClientTxs = d.Endpoint().Sizes()
	s.Calls, s.Ports = d.Bridge().Active(), d.Media().PortsInUse()
	s.Goroutines = runtime.NumGoroutine()
	if fds, err := os.ReadDir("/dev/fd"); err == nil {
		s.Descriptors = len(fds)
	}
	var mem runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers and sync.Pool let go
	runtime.ReadMemStats(&mem)
	s.Heap = mem.HeapAlloc
	return s
}

// processCPU is what this process used so far, user and system.
func processCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// meter measures calls from inside the server.
type meter struct {
	mu      sync.Mutex
	read    map[string]time.Time       // callers' INVITEs, by Call-ID
	proven  map[sipua.FlowID]time.Time // REGISTERs with credentials
	written []time.Duration
	invited []time.Duration
	results map[bridge.Result]int
}

func newMeter() *meter {
	return &meter{read: make(map[string]time.Time), proven: make(map[sipua.FlowID]time.Time), results: make(map[bridge.Result]int)}
}

// tap notes when messages were read and written.
func (m *meter) tap(tr sipua.Traffic) {
	req, ok := tr.Message.(*sip.Request)
	if !ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case tr.Sent && req.IsInvite():
		if at, ok := m.proven[tr.Flow.ID()]; ok {
			m.invited = append(m.invited, tr.At.Sub(at))
			delete(m.proven, tr.Flow.ID())
		}
	case tr.Sent:
	case req.IsInvite():
		m.read[req.CallID().Value()] = tr.At
	case req.Method == sip.REGISTER && req.GetHeader("Authorization") != nil:
		m.proven[tr.Flow.ID()] = tr.At
	}
}

func (m *meter) recorded(r bridge.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.results[r.Result]++
	at, ok := m.read[r.CallID]
	if !ok {
		return
	}
	delete(m.read, r.CallID)
	for _, a := range r.Attempts {
		for _, p := range a.Pushes {
			if !p.Written.IsZero() {
				m.written = append(m.written, p.Written.Sub(at))
			}
		}
	}
}

func (m *meter) counted() map[bridge.Result]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[bridge.Result]int)
	for k, v := range m.results {
		out[k] = v
	}
	return out
}

func (m *meter) take() report {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := report{Written: m.written, Invited: m.invited, Results: m.results}
	m.written, m.invited, m.results = nil, nil, make(map[bridge.Result]int)
	return r
}

// process is a server in a process of its own.
type process struct {
	udp, tcp netip.AddrPort
	cmd      *exec.Cmd
	in       io.WriteCloser
	out      *json.Decoder
}

// startProcess starts a server with a configuration file; it ends with the test.
func startProcess(tb testing.TB, file string, metered bool) *process {
	tb.Helper()
	exe, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	p := &process{cmd: exec.Command(exe, "-test.run=^TestServerProcess$", "-test.timeout=0")}
	p.cmd.Env = append(os.Environ(), envProcess+"="+file)
	if metered {
		p.cmd.Env = append(p.cmd.Env, envMeter+"=1")
	}
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	p.out = json.NewDecoder(out)
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { p.end(tb, out) })
	var ready report
	if err := p.out.Decode(&ready); err != nil {
		tb.Fatalf("the server process did not start: %v", err)
	}
	p.udp, p.tcp = ready.UDP, ready.TCP
	return p
}

// end stops the server by closing its standard input.
func (p *process) end(tb testing.TB, out io.Reader) {
	p.in.Close()
	late := time.AfterFunc(30*time.Second, func() {
		tb.Error("the server process did not end")
		p.cmd.Process.Kill()
	})
	defer late.Stop()
	rest, err := io.ReadAll(io.MultiReader(p.out.Buffered(), out))
	if err != nil {
		tb.Errorf("read from the server process: %v", err)
	}
	if err := p.cmd.Wait(); err != nil {
		tb.Errorf("the server process: %v\n%s", err, rest)
	}
}

func (p *process) ask(tb testing.TB, question string) report {
	tb.Helper()
	var r report
	if _, err := io.WriteString(p.in, question+"\n"); err != nil {
		tb.Fatal(err)
	}
	if err := p.out.Decode(&r); err != nil {
		tb.Fatalf("the server process does not answer %q: %v", question, err)
	}
	if r.Err != "" {
		tb.Fatalf("the server process cannot answer %q: %s", question, r.Err)
	}
	return r
}

// quiet is a log for the load.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
