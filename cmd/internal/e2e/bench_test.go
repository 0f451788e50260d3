package e2e

import (
	"cmp"
	"math"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// How a woken call costs and how long it takes, at two rates. A server in a process
// of its own is configured by a file and keeps its log, its database and its push
// connections as in production; handsets, PBX and APNs are in this process. Reported
// are, by nearest rank over all calls:
//
//	push-p50-ms, push-p99-ms       caller's INVITE read to push request written
//	invite-p50-ms, invite-p99-ms   REGISTER with credentials read to INVITE written
//	cpu-ms/call                    user and system time of the server, per call
//	load-cpu-ms/call               the same of everything around it
//
// Both clocks stand in the server. The time to check the credentials and to store
// the registration is within the second. E2E_BENCH_SECONDS changes how long it runs.

func BenchmarkWake1PerSecond(b *testing.B) { benchmarkWake(b, 1, 100*time.Second) }

func BenchmarkWake50PerSecond(b *testing.B) { benchmarkWake(b, 50, 30*time.Second) }

func benchmarkWake(b *testing.B, rate float64, long time.Duration) {
	if s, err := strconv.Atoi(os.Getenv("E2E_BENCH_SECONDS")); err == nil {
		long = time.Duration(s) * time.Second
	}
	f := newFleet(b, fleetConfig{Singles: max(10, int(rate)*4), Metered: true})
	const warm = 20
	f.answered(b, warm, warm) // both sides are warm
	f.samples(b, warm)
	calls := 0
	before, load := f.server.ask(b, askCost).CPU, processCPU()
	for b.Loop() {
		n := int(math.Ceil(rate * long.Seconds()))
		f.answered(b, n, rate)
		calls += n
	}
	cpu := f.server.ask(b, askCost).CPU - before
	load = processCPU() - load
	r := f.samples(b, calls)
	if len(r.Written) != calls || len(r.Invited) != calls {
		b.Errorf("%d calls, but %d pushes and %d INVITEs were measured", calls, len(r.Written), len(r.Invited))
	}
	b.ReportMetric(0, "ns/op") // of no interest: how long it ran
	b.ReportMetric(float64(calls), "calls")
	b.ReportMetric(quantile(r.Written, 0.5), "push-p50-ms")
	b.ReportMetric(quantile(r.Written, 0.99), "push-p99-ms")
	b.ReportMetric(quantile(r.Invited, 0.5), "invite-p50-ms")
	b.ReportMetric(quantile(r.Invited, 0.99), "invite-p99-ms")
	b.ReportMetric(milliseconds(cpu)/float64(calls), "cpu-ms/call")
	b.ReportMetric(milliseconds(load)/float64(calls), "load-cpu-ms/call")
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// quantile is the smallest sample that at least the share q does not exceed, in ms.
func quantile(samples []time.Duration, q float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	sorted := slices.SortedFunc(slices.Values(samples), cmp.Compare[time.Duration])
	return milliseconds(sorted[int(math.Ceil(q*float64(len(sorted))))-1])
}
