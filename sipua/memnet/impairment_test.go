package memnet_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"wakebridge/sipua/memnet"
)

// arrival is a datagram and when it came, counted from the first one sent.
type arrival struct {
	number int
	after  time.Duration
}

// run sends count datagrams, one each 20 ms as a phone does, and returns what arrives.
func run(t *testing.T, seed uint64, imp memnet.Impairment, count int) []arrival {
	t.Helper()
	var got []arrival
	n := memnet.New(memnet.Options{Seed: seed})
	n.Impair(ip("10.0.0.2"), ip("10.0.0.1"), imp)
	packetConn(t, n, "10.0.0.1:4000")
	b := packetConn(t, n, "10.0.0.2:4000")
	start := time.Now()
	remove := n.Tap(func(p memnet.Packet) {
		if p.Outcome != memnet.Delivered {
			return
		}
		var number int
		if _, err := fmt.Sscan(string(p.Data), &number); err != nil {
			t.Error(err)
		}
		got = append(got, arrival{number, p.At.Sub(start)})
	})
	for i := range count {
		send(t, b, "10.0.0.1:4000", fmt.Sprint(i))
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(time.Second)
	remove()
	return got
}

func numbers(as []arrival) []int {
	var out []int
	for _, a := range as {
		out = append(out, a.number)
	}
	return out
}

func TestLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := run(t, 1, memnet.Impairment{Loss: 0.2}, 1000)
		if len(got) < 750 || len(got) > 850 {
			t.Errorf("%d of 1000 arrived at 20 %% loss", len(got))
		}
		again := run(t, 1, memnet.Impairment{Loss: 0.2}, 1000)
		if !slices.Equal(got, again) {
			t.Error("the same seed loses other packets")
		}
		other := run(t, 2, memnet.Impairment{Loss: 0.2}, 1000)
		if slices.Equal(numbers(got), numbers(other)) {
			t.Error("another seed loses the same packets")
		}
		if all := run(t, 1, memnet.Impairment{Loss: 1}, 100); len(all) != 0 {
			t.Errorf("%d arrived at full loss", len(all))
		}
	})
}

func TestDelayAndJitterKeepOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := run(t, 1, memnet.Impairment{Delay: 30 * time.Millisecond, Jitter: 100 * time.Millisecond}, 200)
		if len(got) != 200 || !slices.IsSorted(numbers(got)) {
			t.Errorf("out of order or lost: %v", numbers(got))
		}
		spread := false
		for _, a := range got {
			way := a.after - time.Duration(a.number)*20*time.Millisecond
			if way < 30*time.Millisecond || way > 130*time.Millisecond {
				t.Errorf("packet %d took %v", a.number, way)
			}
			spread = spread || way > 80*time.Millisecond
		}
		if !spread {
			t.Error("no jitter")
		}
	})
}

func TestReorderAndDuplicate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := numbers(run(t, 1, memnet.Impairment{Reorder: 0.1, ReorderBy: 50 * time.Millisecond}, 200))
		if len(got) != 200 || slices.IsSorted(got) {
			t.Errorf("nothing reordered: %v", got)
		}
		got = numbers(run(t, 1, memnet.Impairment{Duplicate: 0.5}, 200))
		if len(got) < 270 || len(got) > 330 {
			t.Errorf("%d arrived of 200 at 50 %% duplication", len(got))
		}
		if got = slices.Compact(got); len(got) != 200 {
			t.Errorf("%d different ones", len(got))
		}
	})
}

// The most exact rule counts, and the other direction is not touched.
func TestImpairmentRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Options{})
		a, b, c := packetConn(t, n, "10.0.0.1:1"), packetConn(t, n, "10.0.0.2:1"), packetConn(t, n, "10.0.0.3:1")
		any := netip.Addr{}
		lost := memnet.Impairment{Loss: 1}
		clear := memnet.Impairment{Delay: time.Nanosecond}
		n.Impair(any, any, lost)
		n.Impair(ip("10.0.0.1"), any, clear)
		n.Impair(ip("10.0.0.1"), ip("10.0.0.2"), lost)
		n.Impair(any, ip("10.0.0.3"), clear)
		check := func(what string, got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("%s: got %q, want %q", what, got, want)
			}
		}
		send(t, a, "10.0.0.2:1", "exact")
		text, _ := receive(t, b)
		check("both named", text, "")
		send(t, a, "10.0.0.3:1", "sender")
		text, _ = receive(t, c)
		check("sender named", text, "sender")
		send(t, b, "10.0.0.3:1", "receiver")
		text, _ = receive(t, c)
		check("receiver named", text, "receiver")
		send(t, c, "10.0.0.1:1", "all")
		text, _ = receive(t, a)
		check("all", text, "")
		n.Impair(any, any, memnet.Impairment{})
		send(t, c, "10.0.0.1:1", "lifted")
		text, _ = receive(t, a)
		check("lifted", text, "lifted")
	})
}

// Without impairments each datagram arrives once, in order, with its sender's address; with them, never more often
// than duplication allows and never changed.
func TestPacketsArriveAtMostOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		count := rapid.IntRange(0, 60).Draw(rt, "count")
		seed := rapid.Uint64().Draw(rt, "seed")
		chance := rapid.Float64Range(0, 0.9)
		imp := memnet.Impairment{}
		if rapid.Bool().Draw(rt, "impaired") {
			imp = memnet.Impairment{
				Loss: chance.Draw(rt, "loss"), Reorder: chance.Draw(rt, "reorder"),
				Delay: time.Duration(rapid.IntRange(0, 90).Draw(rt, "ms")) * time.Millisecond,
			}
		}
		var got []int
		synctest.Test(t, func(t *testing.T) { got = numbers(run(t, seed, imp, count)) })
		if imp == (memnet.Impairment{}) && (len(got) != count || !slices.IsSorted(got)) {
			rt.Fatalf("sent %d, got %v", count, got)
		}
		slices.Sort(got)
		if whole := len(got); len(slices.Compact(got)) != whole {
			rt.Fatalf("doubled: %v", got)
		}
	})
}
