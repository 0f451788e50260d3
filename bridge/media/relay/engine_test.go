package relay

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"
)

// engines runs a test with each engine of this system.
func engines(t *testing.T, test func(*testing.T, Engine)) {
	for name, make := range kinds() {
		t.Run(name, func(t *testing.T) {
			e, err := make(slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			test(t, e)
		})
	}
}

func listen(t testing.TB) *net.UDPConn {
	t.Helper()
	return listenAt(t, loopback.String())
}

func listenAt(t testing.TB, addr string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return c
}

func addrOf(t testing.TB, c net.PacketConn) netip.AddrPort {
	t.Helper()
	a, err := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func write(t testing.TB, c *net.UDPConn, pkt []byte, to netip.AddrPort) {
	t.Helper()
	if _, err := c.WriteToUDPAddrPort(pkt, to); err != nil {
		t.Fatal(err)
	}
}

// receives waits for exactly pkt from the address.
func receives(t testing.TB, c *net.UDPConn, pkt []byte, from netip.AddrPort) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2000)
	n, source, err := c.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(buf[:n], pkt) || source != from {
		t.Fatalf("got %d octets from %s, want %d from %s", n, source, len(pkt), from)
	}
}

// end is a far end and the stream that faces it.
type end struct {
	rtp, rtcp *net.UDPConn // the far end's
	pair      Pair
	stream    Stream
}

func open(t testing.TB, e Engine, wrap func(net.PacketConn) net.PacketConn, o Options) *end {
	t.Helper()
	x := &end{rtp: listen(t), rtcp: listen(t)}
	x.pair = Pair{RTP: wrap(listen(t)), RTCP: wrap(listen(t))}
	var err error
	if x.stream, err = e.Open(x.pair, o); err != nil {
		t.Fatal(err)
	}
	return x
}

func asUDP(c net.PacketConn) net.PacketConn  { return c }
func asBare(c net.PacketConn) net.PacketConn { return bare{c} }

// patience bounds waits on real sockets.
const patience = 5 * time.Second

var loopback = netip.MustParseAddr("127.0.0.1")

// bare hides all but net.PacketConn, as connections do that are not UDP's.
type bare struct{ net.PacketConn }

func TestSocketsForwardOverAnyPacketConn(t *testing.T) {
	e := NewSockets(slog.New(slog.DiscardHandler))
	defer e.Close()
	forward(t, e, asBare)
}

func TestForward(t *testing.T) {
	engines(t, func(t *testing.T, e Engine) { forward(t, e, asUDP) })
}

func forward(t *testing.T, e Engine, wrap func(net.PacketConn) net.PacketConn) {
	var once sync.WaitGroup
	once.Add(1)
	a := open(t, e, wrap, Options{First: once.Done})
	b := open(t, e, wrap, Options{})
	a.stream.SetRemote(Remote{RTP: addrOf(t, a.rtp), RTCP: addrOf(t, a.rtcp)})
	b.stream.SetRemote(Remote{RTP: addrOf(t, b.rtp), RTCP: addrOf(t, b.rtcp)})
	a.stream.Forward(b.stream)
	b.stream.Forward(a.stream)

	voice := packetOf(t, rtp.Header{SSRC: 5, SequenceNumber: 1}, 160)
	report := reportOf(t, 5)
	write(t, a.rtp, voice, addrOf(t, a.pair.RTP))
	receives(t, b.rtp, voice, addrOf(t, b.pair.RTP))
	write(t, b.rtp, voice, addrOf(t, b.pair.RTP))
	receives(t, a.rtp, voice, addrOf(t, a.pair.RTP))
	write(t, a.rtcp, report, addrOf(t, a.pair.RTCP))
	receives(t, b.rtcp, report, addrOf(t, b.pair.RTCP))
	once.Wait()
	waitFor(t, a, func(s Stats) bool { return s.Sent.Packets == 1 }) // it is counted once it is gone

	s := a.stream.Stats()
	if s.RTP != (Count{1, 172}) || s.RTCP != (Count{1, uint64(len(report))}) || s.Sent != (Count{1, 172}) || s.SSRC != 5 ||
		s.First.IsZero() || s.Source != addrOf(t, a.rtp) || s.Rejected.Total() != 0 {
		t.Errorf("stats %+v", s)
	}
}

// One leg muxes RTCP onto its RTP port, the other does not (RFC 5761).
func TestMuxedToPlain(t *testing.T) {
	engines(t, func(t *testing.T, e Engine) {
		a, b := open(t, e, asUDP, Options{}), open(t, e, asUDP, Options{})
		a.stream.SetRemote(Remote{RTP: addrOf(t, a.rtp), RTCP: addrOf(t, a.rtp)})
		b.stream.SetRemote(Remote{RTP: addrOf(t, b.rtp), RTCP: addrOf(t, b.rtcp)})
		a.stream.Forward(b.stream)
		b.stream.Forward(a.stream)
		report := reportOf(t, 5)
		write(t, a.rtp, report, addrOf(t, a.pair.RTP))
		receives(t, b.rtcp, report, addrOf(t, b.pair.RTCP))
		write(t, b.rtcp, report, addrOf(t, b.pair.RTCP))
		receives(t, a.rtp, report, addrOf(t, a.pair.RTP))
	})
}

func TestWithoutPartner(t *testing.T) {
	engines(t, func(t *testing.T, e Engine) {
		a, b := open(t, e, asUDP, Options{}), open(t, e, asUDP, Options{})
		a.stream.SetRemote(Remote{RTP: addrOf(t, a.rtp)})
		voice := packetOf(t, rtp.Header{SSRC: 5}, 160)
		until(t, a, func(s Stats) bool { return s.Rejected[NoDestination] >= 1 }, voice)
		a.stream.Forward(b.stream) // which has no remote
		until(t, a, func(s Stats) bool { return s.Rejected[NoDestination] >= 2 }, voice)
		b.stream.SetRemote(Remote{RTP: addrOf(t, b.rtp)})
		write(t, a.rtp, voice, addrOf(t, a.pair.RTP))
		receives(t, b.rtp, voice, addrOf(t, b.pair.RTP))
		before := a.stream.Stats().Rejected[NoDestination]
		b.stream.Close()
		until(t, a, func(s Stats) bool { return s.Rejected[SendFailed]+s.Rejected[NoDestination] > before }, voice)
		before = a.stream.Stats().Rejected[NoDestination]
		a.stream.Forward(nil)
		until(t, a, func(s Stats) bool { return s.Rejected[NoDestination] > before }, voice)
	})
}

// until sends pkt now and again until the stream's counters are as wanted.
func until(t *testing.T, x *end, ok func(Stats) bool, pkt []byte) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(x.stream.Stats()); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("stats %+v", x.stream.Stats())
		}
		write(t, x.rtp, pkt, addrOf(t, x.pair.RTP))
	}
}

func TestClose(t *testing.T) {
	engines(t, func(t *testing.T, e Engine) {
		a, b := open(t, e, asUDP, Options{}), open(t, e, asUDP, Options{})
		a.stream.Forward(b.stream)
		a.stream.Close()
		a.stream.Close()
		a.stream.SetRemote(Remote{RTP: addrOf(t, a.rtp)}) // harmless
		a.stream.Answered()
		if s := a.stream.Stats(); s.RTP.Packets != 0 {
			t.Errorf("stats %+v", s)
		}
		e.Close()
		e.Close()
		late := Pair{RTP: listen(t), RTCP: listen(t)}
		if _, err := e.Open(late, Options{}); !errors.Is(err, ErrClosed) {
			t.Fatalf("open after close: %v", err)
		}
		for _, c := range []net.PacketConn{b.pair.RTP, b.pair.RTCP, late.RTP, late.RTCP} {
			if err := c.Close(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("socket %s was left open: %v", c.LocalAddr(), err)
			}
		}
	})
}

// Control calls and packets race; run with -race.
func TestRace(t *testing.T) {
	engines(t, func(t *testing.T, e Engine) {
		a, b := open(t, e, asUDP, Options{}), open(t, e, asUDP, Options{})
		voice := packetOf(t, rtp.Header{SSRC: 5}, 160)
		stop := make(chan struct{})
		var senders sync.WaitGroup
		for _, x := range []*end{a, b} {
			to := addrOf(t, x.pair.RTP)
			senders.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if _, err := x.rtp.WriteToUDPAddrPort(voice, to); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for i := range 300 {
			a.stream.SetRemote(Remote{RTP: addrOf(t, a.rtp), Hold: i%2 == 0})
			b.stream.SetRemote(Remote{RTP: addrOf(t, b.rtp), RTCP: addrOf(t, b.rtp)})
			a.stream.Answered()
			a.stream.Forward(b.stream)
			b.stream.Forward(a.stream)
			a.stream.Stats()
			if i%10 == 0 {
				a.stream.Forward(nil)
			}
		}
		a.stream.Close()
		close(stop)
		senders.Wait()
		e.Close()
	})
}
