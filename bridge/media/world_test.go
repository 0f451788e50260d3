package media_test

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"go.uber.org/goleak"

	"wakebridge/bridge/media"
	"wakebridge/sipua/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The cast of all tests.
var (
	server   = netip.MustParseAddr("192.0.2.1")
	server6  = netip.MustParseAddr("2001:db8::1")
	pbx      = netip.MustParseAddr("192.0.2.10")
	phone    = netip.MustParseAddr("192.168.1.7") // behind a NAT
	router   = netip.MustParseAddr("198.51.100.7")
	stranger = netip.MustParseAddr("203.0.113.66")
)

const frame = 20 * time.Millisecond

// world is a relay in a network in memory.
type world struct {
	*testing.T
	net   *memnet.Network
	relay *media.Relay
	ends  []*end
}

// inWorld runs a test in a bubble of virtual time; everything is closed after it.
func inWorld(t *testing.T, change func(*media.Config), test func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, net: memnet.New(memnet.Options{})}
		c := media.Config{
			Network: w.net, Bind: []netip.Addr{server, server6}, PortStart: 10000, PortEnd: 10099,
			Timeouts: media.Timeouts{FirstPacket: 30 * time.Second, Silence: time.Minute, Hold: 30 * time.Minute},
		}
		if change != nil {
			change(&c)
		}
		var err error
		if w.relay, err = media.New(c); err != nil {
			t.Fatal(err)
		}
		defer w.close() // also when the test fails
		test(w)
	})
}

func (w *world) close() {
	w.relay.Close()
	if n := w.relay.PortsInUse(); n != 0 {
		w.Errorf("%d ports in use after Close", n)
	}
	for _, e := range w.ends {
		e.close()
	}
	if err := w.net.Close(); err != nil {
		w.Error(err)
	}
}

func (w *world) side(streams int) *media.Side {
	w.Helper()
	s, err := w.relay.NewSide(media.IPv4, streams)
	if err != nil {
		w.Fatal(err)
	}
	return s
}

// got is a packet that a far end received.
type got struct {
	from    netip.AddrPort
	payload string
	rtcp    bool
}

// end is a far end's RTP and RTCP sockets.
type end struct {
	w         *world
	rtp, rtcp net.PacketConn
	seq       uint16
	ssrc      uint32
	readers   sync.WaitGroup

	mu       sync.Mutex
	received []got
}

// far opens a far end at host:port and port+1.
func (w *world) far(host netip.Addr, port uint16) *end {
	w.Helper()
	e := &end{w: w, ssrc: uint32(port) + 1000}
	var errs [2]error
	e.rtp, errs[0] = w.net.ListenPacket(netip.AddrPortFrom(host, port))
	e.rtcp, errs[1] = w.net.ListenPacket(netip.AddrPortFrom(host, port+1))
	if err := errors.Join(errs[:]...); err != nil {
		w.Fatal(err)
	}
	for _, c := range []net.PacketConn{e.rtp, e.rtcp} {
		e.readers.Go(func() { e.read(c) })
	}
	w.ends = append(w.ends, e)
	return e
}

func (e *end) read(c net.PacketConn) {
	buf := make([]byte, 2000)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		g := got{from: netip.MustParseAddrPort(from.String()), payload: string(buf[:n])}
		var p rtp.Packet
		if n > 1 && buf[1] >= 192 && buf[1] <= 223 {
			g.rtcp = true
		} else if err := p.Unmarshal(buf[:n]); err == nil {
			g.payload = string(p.Payload)
		}
		e.mu.Lock()
		e.received = append(e.received, g)
		e.mu.Unlock()
	}
}

func (e *end) close() {
	for _, c := range []net.PacketConn{e.rtp, e.rtcp} {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			e.w.Error(err)
		}
	}
	e.readers.Wait()
}

func (e *end) addr() netip.AddrPort { return netip.MustParseAddrPort(e.rtp.LocalAddr().String()) }

// say sends one RTP packet with the text to a port of the server.
func (e *end) say(port uint16, text string) {
	e.w.Helper()
	e.seq++
	p := rtp.Packet{Header: rtp.Header{Version: 2, SSRC: e.ssrc, SequenceNumber: e.seq, Timestamp: uint32(e.seq) * 160}, Payload: []byte(text)}
	b, err := p.Marshal()
	if err != nil {
		e.w.Fatal(err)
	}
	e.send(e.rtp, b, port)
}

func (e *end) report(port uint16) {
	e.w.Helper()
	b, err := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: e.ssrc}})
	if err != nil {
		e.w.Fatal(err)
	}
	e.send(e.rtcp, b, port+1)
}

func (e *end) send(c net.PacketConn, b []byte, port uint16) {
	e.w.Helper()
	if _, err := c.WriteTo(b, net.UDPAddrFromAddrPort(netip.AddrPortFrom(server, port))); err != nil {
		e.w.Fatal(err)
	}
	synctest.Wait() // one after the other, as tests are read
}

// talk sends n packets at a packet's pace.
func (e *end) talk(port uint16, text string, n int) {
	e.w.Helper()
	for range n {
		e.say(port, text)
		time.Sleep(frame)
	}
}

// heard is what came since the last call.
func (e *end) heard() []got {
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.received
	e.received = nil
	return all
}

// hears counts what came since the last call, and fails on anything but text.
func (e *end) hears(text string) int {
	e.w.Helper()
	all := e.heard()
	for _, g := range all {
		if g.payload != text && !g.rtcp {
			e.w.Fatalf("%s heard %q from %s, want only %q", e.addr(), g.payload, g.from, text)
		}
	}
	return len(all)
}

// spray shoots 200 packets of each sort at every port of the range.
func (e *end) spray(each int) {
	e.w.Helper()
	report := make([]byte, 8)
	report[0], report[1] = 0x80, 201
	binary.BigEndian.PutUint16(report[2:], 1)
	for port := uint16(10000); port < 10100; port += 2 {
		for range each {
			e.say(port, "evil")
			e.send(e.rtcp, report, port+1)
			e.send(e.rtcp, report, port)
		}
	}
}
