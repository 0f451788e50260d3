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

// patience bounds waits on real sockets.
const patience = 5 * time.Second

var loopback = netip.MustParseAddr("127.0.0.1")

// bare hides all but net.PacketConn, as connections do that are not UDP's.
type bare struct{ net.PacketConn }

func listen(t testing.TB) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
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

func TestSocketsForward(t *testing.T) {
	for name, wrap := range map[string]func(net.PacketConn) net.PacketConn{"UDPConn": asUDP, "PacketConn": asBare} {
		t.Run(name, func(t *testing.T) {
			e := NewSockets(slog.New(slog.DiscardHandler))
			defer e.Close()
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

			s := a.stream.Stats()
			if s.RTP != (Count{1, 172}) || s.RTCP != (Count{1, uint64(len(report))}) || s.Sent != (Count{1, 172}) || s.SSRC != 5 ||
				s.First.IsZero() || s.Source != addrOf(t, a.rtp) || s.Rejected.Total() != 0 {
				t.Errorf("stats %+v", s)
			}
		})
	}
}

// One leg muxes RTCP onto its RTP port, the other does not (RFC 5761).
func TestSocketsMuxedToPlain(t *testing.T) {
	e := NewSockets(slog.New(slog.DiscardHandler))
	defer e.Close()
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
}

func TestSocketsWithoutPartner(t *testing.T) {
	e := NewSockets(slog.New(slog.DiscardHandler))
	defer e.Close()
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
	until(t, a, func(s Stats) bool { return s.Rejected[SendFailed] >= 1 }, voice)
	a.stream.Forward(nil)
	until(t, a, func(s Stats) bool { return s.Rejected[NoDestination] > before }, voice)
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

// faulty panics when it sends: a fault of ours, as it were.
type faulty struct{ net.PacketConn }

func (faulty) WriteTo([]byte, net.Addr) (int, error) { panic("on purpose") }

func TestSocketsFaultCostsOnePacket(t *testing.T) {
	var log bytes.Buffer
	e := NewSockets(slog.New(slog.NewTextHandler(&log, nil)))
	a := open(t, e, asUDP, Options{})
	b := open(t, e, func(c net.PacketConn) net.PacketConn { return faulty{c} }, Options{})
	a.stream.SetRemote(Remote{RTP: addrOf(t, a.rtp)})
	b.stream.SetRemote(Remote{RTP: addrOf(t, b.rtp)})
	a.stream.Forward(b.stream)
	voice := packetOf(t, rtp.Header{SSRC: 5}, 160)
	until(t, a, func(s Stats) bool { return s.Rejected[Fault] >= 3 }, voice)
	e.Close()
	if n := bytes.Count(log.Bytes(), []byte("on purpose")); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log.String())
	}
}

// failing fails some reads before it works.
type failing struct {
	net.PacketConn
	left int
}

func (f *failing) ReadFrom(b []byte) (int, net.Addr, error) {
	if f.left > 0 {
		f.left--
		return 0, nil, errors.New("on purpose")
	}
	return f.PacketConn.ReadFrom(b)
}

func TestSocketsReadErrorIsNotTheEnd(t *testing.T) {
	e := NewSockets(slog.New(slog.DiscardHandler))
	defer e.Close()
	a := open(t, e, func(c net.PacketConn) net.PacketConn { return &failing{c, 2} }, Options{})
	a.stream.SetRemote(Remote{RTP: addrOf(t, a.rtp)})
	until(t, a, func(s Stats) bool { return s.RTP.Packets > 0 }, packetOf(t, rtp.Header{SSRC: 5}, 160))
}

func TestSocketsClose(t *testing.T) {
	e := NewSockets(slog.New(slog.DiscardHandler))
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
}

// Control calls and packets race; run with -race.
func TestSocketsRace(t *testing.T) {
	e := NewSockets(slog.New(slog.DiscardHandler))
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
}

// silent is a connection that swallows what is sent, with UDP's fast calls.
type silent struct{ net.PacketConn }

func (silent) ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error) {
	return 0, netip.AddrPort{}, net.ErrClosed
}
func (silent) WriteToUDPAddrPort(b []byte, _ netip.AddrPort) (int, error) { return len(b), nil }
func (silent) Close() error                                               { return nil }

func TestNoAllocationPerPacket(t *testing.T) {
	e := NewSockets(slog.New(slog.DiscardHandler))
	defer e.Close()
	var pair [2]*stream
	for i := range pair {
		s, err := e.Open(Pair{RTP: silent{}, RTCP: silent{}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		s.SetRemote(Remote{RTP: trunk})
		pair[i] = s.(*stream)
	}
	pair[0].Forward(pair[1])
	withExt := rtp.Header{SSRC: 1, CSRC: []uint32{1, 2}}
	if err := withExt.SetExtension(1, []byte{9}); err != nil {
		t.Fatal(err)
	}
	pkts := map[channel][]byte{rtpChannel: packetOf(t, withExt, 160), rtcpChannel: reportOf(t, 1)}
	above := netip.AddrPortFrom(trunk.Addr(), trunk.Port()+1)
	from := map[channel]netip.AddrPort{rtpChannel: trunk, rtcpChannel: above}
	for ch, pkt := range pkts {
		in := inbound{pkt, from[ch], time.Now()}
		if n := testing.AllocsPerRun(500, func() { pair[0].handle(ch, in) }); n != 0 {
			t.Errorf("channel %d: %v allocations per packet", ch, n)
		}
		stranger := inbound{pkt, attacker, time.Now()}
		if n := testing.AllocsPerRun(500, func() { pair[0].handle(ch, stranger) }); n != 0 {
			t.Errorf("channel %d: %v allocations per stranger's packet", ch, n)
		}
	}
	if s := pair[1].Stats(); s.Sent.Packets < 500 || s.SentRTCP.Packets < 500 {
		t.Errorf("not forwarded: %+v", s)
	}
}
