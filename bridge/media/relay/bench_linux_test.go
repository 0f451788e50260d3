package relay

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wakebridge/bridge/media/srtp"
)

// relayEnv makes the test binary a relay: the name of its engine.
const relayEnv = "WAKEBRIDGE_BENCH_RELAY"

// benchRuns is how often each contestant runs; they take turns.
const benchRuns = 5

// benchTime is how long one run is measured.
const (
	benchTime = 4 * time.Second
	warmUp    = 500 * time.Millisecond
)

// pipe is one pair of legs: where the relay listens, where the load generator does,
// and its keys by leg, "" for RTP.
type pipe struct {
	Ports [2]uint16
	To    [2]uint16
	Keys  [2]benchKeys
}

type benchKeys struct{ Suite, Theirs, Ours string }

func (k benchKeys) secure() (*Secure, error) {
	if k.Suite == "" {
		return nil, nil //nolint:nilnil // plain RTP has none
	}
	suite, _ := srtp.ParseSuite(k.Suite)
	var s Secure
	for _, x := range []struct {
		to   *srtp.Key
		text string
	}{{&s.Theirs, k.Theirs}, {&s.Ours, k.Ours}} {
		secret, err := base64.StdEncoding.DecodeString(x.text)
		if err != nil {
			return nil, err
		}
		if *x.to, err = srtp.ParseKey(suite, secret, nil); err != nil {
			return nil, err
		}
	}
	return &s, nil
}

// runRelay is the relay's process: it opens the pipes that stdin lists and relays
// until it is killed.
func runRelay(kind string) error {
	var pipes []pipe
	if err := json.NewDecoder(os.Stdin).Decode(&pipes); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	var e Engine = NewSockets(log)
	if kind == "workers" {
		var err error
		if e, err = NewEngine(1, log); err != nil {
			return err
		}
	}
	listenOn := func(port uint16) (net.PacketConn, error) {
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, port)))
		if err != nil {
			return nil, err
		}
		return c, c.SetReadBuffer(256 << 10)
	}
	for _, p := range pipes {
		var legs [2]Stream
		for i, port := range p.Ports {
			one, err := listenOn(port)
			if err != nil {
				return err
			}
			two, err := listenOn(port + 1)
			if err != nil {
				return err
			}
			if legs[i], err = e.Open(Pair{RTP: one, RTCP: two}, Options{}); err != nil {
				return err
			}
			keys, err := p.Keys[i].secure()
			if err != nil {
				return err
			}
			legs[i].SetRemote(Remote{RTP: netip.AddrPortFrom(loopback, p.To[i]), PayloadTypes: []uint8{0}, Secure: keys})
			legs[i].Answered()
		}
		legs[0].Forward(legs[1])
		legs[1].Forward(legs[0])
	}
	fmt.Println("ready")
	select {}
}

// contestant is one of those compared.
type contestant struct {
	name   string
	cost   []float64 // µs of CPU per packet, by run
	p50    []float64 // ms
	p99    []float64
	loss   float64 // share, of the worst run
	binary []string
}

// prepare is the contestant's command, and what to do once it runs.
func (c *contestant) prepare(b *testing.B, l *load) (cmd *exec.Cmd, ready func()) {
	b.Helper()
	command, control := c.binary, ""
	if c.name == "rtpengine" {
		var err error
		if command, control, err = rtpengineCommand(c.binary[0]); err != nil {
			b.Fatal(err)
		}
	}
	cmd = exec.Command("taskset", append([]string{"-c", "0"}, command...)...)
	cmd.Env = append(os.Environ(), relayEnv+"="+c.name, "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	if c.name == "rtpengine" {
		return cmd, func() {
			e, err := dialRTPEngine(control)
			if err != nil {
				b.Fatal(err)
			}
			defer e.close(b)
			if err := e.direct(l); err != nil {
				b.Fatal(err)
			}
		}
	}
	cmd.Stdin = strings.NewReader(l.describe(c.name == "c"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	return cmd, func() {
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
			b.Fatalf("%s: %q, %v", c.name, line, err)
		}
	}
}

// BenchmarkRelay compares the engine with the plain C loop, with Sockets and, where
// it is installed, with rtpengine: CPU of the relay's process per packet, and the delay that it adds, at 50 packets per
// second and stream. `make bench WHAT=media` runs it.
func BenchmarkRelay(b *testing.B) {
	loop := buildLoop(b)
	plain := make(map[int]float64) // the engine's cost of RTP-RTP, by streams
	for _, mix := range []struct {
		name  string
		suite [2]srtp.Suite
	}{
		{"RTP-RTP", [2]srtp.Suite{}},
		{"RTP-SRTP_AES_CM", [2]srtp.Suite{0, srtp.AESCM128HMACSHA180}},
		{"RTP-SRTP_GCM", [2]srtp.Suite{0, srtp.AEADAES128GCM}},
		{"SRTP-SRTP_AES_CM", [2]srtp.Suite{srtp.AESCM128HMACSHA180, srtp.AESCM128HMACSHA180}},
		{"SRTP-SRTP_GCM", [2]srtp.Suite{srtp.AEADAES128GCM, srtp.AEADAES128GCM}},
	} {
		for _, streams := range []int{100, 400, 1200} {
			b.Run(fmt.Sprintf("%s/%d_streams", mix.name, streams), func(b *testing.B) {
				leaveFirstCore(b)
				all := []*contestant{
					{name: "c", binary: []string{loop, loopback.String(), strconv.Itoa(streams / 2)}},
					{name: "workers", binary: []string{os.Args[0]}}, {name: "sockets", binary: []string{os.Args[0]}},
				}
				if program := findRTPEngine(); program != "" {
					all = append(all, &contestant{name: "rtpengine", binary: []string{program}})
				}
				for range runs() {
					for _, c := range all {
						suite := mix.suite
						if c.name == "c" {
							suite = [2]srtp.Suite{} // it knows no SRTP
						}
						c.run(b, streams, suite)
					}
				}
				for range b.N {
				}
				report(b, all)
				cost := median(all[1].cost)
				if mix.suite == [2]srtp.Suite{} {
					plain[streams] = cost
				} else if base := plain[streams]; base > 0 {
					secure := 0.0 // how often a packet is opened or sealed
					for _, s := range mix.suite {
						if s != 0 {
							secure++
						}
					}
					b.ReportMetric((cost-base)/secure, "srtp-µs/direction")
					b.Logf("SRTP adds %.2f µs per packet and direction", (cost-base)/secure)
				}
			})
		}
	}
}

// leaveFirstCore keeps the load's thread off the core of the contestants: it would
// hand them their packets in heaps.
func leaveFirstCore(b *testing.B) {
	b.Helper()
	if runtime.NumCPU() < 2 {
		b.Skip("the load needs a core of its own")
	}
	runtime.LockOSThread()
	b.Cleanup(runtime.UnlockOSThread)
	var before, others unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		b.Fatal(err)
	}
	others = before
	others.Clear(0)
	if err := unix.SchedSetaffinity(0, &others); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := unix.SchedSetaffinity(0, &before); err != nil {
			b.Error(err)
		}
	})
}

func runs() int {
	if n, err := strconv.Atoi(os.Getenv("RELAY_RUNS")); err == nil && n > 0 {
		return n
	}
	return benchRuns
}

func report(b *testing.B, all []*contestant) {
	b.ReportMetric(0, "ns/op")
	base := median(all[0].cost)
	for _, c := range all {
		b.ReportMetric(median(c.cost), c.name+"-µs/pkt")
		b.ReportMetric(median(c.p99), c.name+"-p99-ms")
		b.Logf("%-9s %5.2f µs/packet [%.2f..%.2f], %.2f of the C loop, delay p50 %.2f p99 %.2f ms, worst loss %.4f %%",
			c.name, median(c.cost), slices.Min(c.cost), slices.Max(c.cost), median(c.cost)/base, median(c.p50), median(c.p99), 100*c.loss)
	}
	b.ReportMetric(median(all[1].cost)/base, "workers/c")
	b.ReportMetric(median(all[1].cost)/median(all[2].cost), "workers/sockets")
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// buildLoop compiles testdata/loop.c.
func buildLoop(b *testing.B) string {
	b.Helper()
	out := filepath.Join(b.TempDir(), "loop")
	if text, err := exec.Command("cc", "-O2", "-o", out, filepath.Join("testdata", "loop.c")).CombinedOutput(); err != nil {
		b.Fatalf("cc: %v\n%s", err, text)
	}
	return out
}

// run measures the contestant once, on the first core; the load is on the others.
func (c *contestant) run(b *testing.B, streams int, suites [2]srtp.Suite) {
	b.Helper()
	l, err := newLoad(streams, suites)
	if err != nil {
		b.Fatal(err)
	}
	defer l.close()
	if err := l.prepare(warmUp + benchTime); err != nil {
		b.Fatal(err)
	}
	cmd, ready := c.prepare(b, l)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill() // it may be dead already
		cmd.Wait()         // with its death as the error
	}()
	ready()
	l.run(warmUp)
	l.reset()
	before := cpuOf(b, cmd.Process.Pid)
	l.run(benchTime)
	used := cpuOf(b, cmd.Process.Pid) - before
	l.run(0)
	c.cost = append(c.cost, float64(used.Nanoseconds())/1000/float64(l.sent))
	c.p50, c.p99 = append(c.p50, l.delay(.5)), append(c.p99, l.delay(.99))
	c.loss = max(c.loss, 1-float64(l.received())/float64(l.sent))
}

// cpuOf is the CPU time of a process in all its threads, to the nanosecond.
func cpuOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		b.Fatalf("no threads: %v", err)
	}
	var sum time.Duration
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // a thread that ended
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(ns)
	}
	return sum
}

// describe lists the pipes for the relay's stdin.
func (l *load) describe(plain bool) string {
	var b strings.Builder
	if !plain {
		if err := json.NewEncoder(&b).Encode(l.pipes); err != nil {
			return err.Error()
		}
		return b.String()
	}
	for _, p := range l.pipes {
		fmt.Fprintln(&b, p.Ports[0], p.Ports[1], p.To[0], p.To[1])
	}
	return b.String()
}

// maybeRelay runs the relay if the process was started as one.
func maybeRelay() {
	kind := os.Getenv(relayEnv)
	if kind == "" {
		return
	}
	if err := runRelay(kind); err != nil {
		io.WriteString(os.Stderr, err.Error()+"\n")
		os.Exit(1)
	}
}
