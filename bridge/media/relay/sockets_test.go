package relay

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtp"
)

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
