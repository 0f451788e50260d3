package relay

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"
)

// kinds are the engines of this system.
func kinds() map[string]func(*slog.Logger) (Engine, error) {
	workers := func(n int) func(*slog.Logger) (Engine, error) {
		return func(log *slog.Logger) (Engine, error) { return NewWorkers(n, log) }
	}
	return map[string]func(*slog.Logger) (Engine, error){
		"sockets":     func(log *slog.Logger) (Engine, error) { return NewSockets(log), nil },
		"one worker":  workers(1),
		"two workers": workers(2),
	}
}

// Streams fill one worker before the next one has any.
func TestWorkersFillUp(t *testing.T) {
	e, err := NewWorkers(2, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, c := range []struct {
		load []int
		want int
	}{{[]int{0, 0}, 0}, {[]int{fill - 1, 0}, 0}, {[]int{fill, 0}, 1}, {[]int{fill, fill}, 0}, {[]int{fill + 1, fill}, 1}} {
		e.mu.Lock()
		old := e.load
		e.load = c.load
		if got := e.place(); got != c.want {
			t.Errorf("%v: worker %d", c.load, got)
		}
		e.load = old
		e.mu.Unlock()
	}
	a := open(t, e, asUDP, Options{})
	a.stream.Close()
	if !slices.Equal(e.load, []int{0, 0}) {
		t.Errorf("load %v after the end", e.load)
	}
}

func TestWorkersTakeSocketsOnly(t *testing.T) {
	e, err := NewWorkers(1, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	p := Pair{RTP: asBare(listen(t)), RTCP: asBare(listen(t))}
	if _, err := e.Open(p, Options{}); !errors.Is(err, errNoSocket) {
		t.Errorf("error %v", err)
	}
	for _, c := range []net.PacketConn{p.RTP, p.RTCP} {
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("left open: %v", err)
		}
	}
}

// Addresses survive the way to the kernel and back.
func TestRawAddr(t *testing.T) {
	for _, c := range []struct {
		at     string
		family uint16
		ok     bool
	}{
		{"192.0.2.7:40002", 2, true}, {"[2001:db8::7]:1", 10, true}, {"[fe80::1%lo]:65535", 10, true}, {"[::ffff:192.0.2.7]:9", 2, true},
		{"[2001:db8::7]:1", 2, false}, {"[fe80::1%no-such-interface]:65535", 10, false},
	} {
		at := netip.MustParseAddrPort(c.at)
		raw, ok := newRawAddr(at, c.family)
		if ok != c.ok {
			t.Errorf("%s in family %d: %v", c.at, c.family, ok)
		}
		if got := raw.netip(); ok && got != plain(at) {
			t.Errorf("%s came back as %s", c.at, got)
		}
	}
}

func TestNoAllocationPerPacketInWorkers(t *testing.T) {
	e, err := NewWorkers(1, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	a, b := open(t, e, asUDP, Options{}), open(t, e, asUDP, Options{})
	for _, x := range []*end{a, b} {
		x.stream.SetRemote(Remote{RTP: addrOf(t, x.rtp), RTCP: addrOf(t, x.rtcp)})
	}
	a.stream.Forward(b.stream)
	s := a.stream.(*wired)
	pkt := packetOf(t, rtp.Header{SSRC: 1}, 160)
	good := inbound{pkt, addrOf(t, a.rtp), time.Now()}
	bad := inbound{pkt, attacker, time.Now()}
	for round := range 2 {
		s.worker.mu.Lock()
		for what, in := range map[string]inbound{"good": good, "stranger": bad} {
			if n := testing.AllocsPerRun(500, func() { s.handle(rtpChannel, in) }); n != 0 {
				t.Errorf("round %d, %s: %v allocations per packet", round, what, n)
			}
		}
		s.worker.mu.Unlock()
		b.stream.Insert(Insert{}).End() // what comes after an insertion costs no more
	}
}
