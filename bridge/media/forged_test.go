package media_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"wakebridge/bridge/media"
	"wakebridge/bridge/media/srtp"
)

// sealed makes SRTP of the packets of an end.
type sealed struct {
	*end
	out *srtp.Sender
	in  *srtp.Receiver
}

// secured is a call whose phone speaks SRTP and is behind a NAT.
func (w *world) secured(suite srtp.Suite) (c *call, phone *sealed) {
	w.Helper()
	c = w.call()
	var keys [2]srtp.Key
	for i := range keys {
		var err error
		if keys[i], err = srtp.NewKey(suite); err != nil {
			w.Fatal(err)
		}
	}
	c.b.SetRemote(0, media.Remote{RTP: c.app.addr(), Signalling: router, PayloadTypes: []uint8{0}, Secure: &media.Secure{Theirs: keys[0], Ours: keys[1]}})
	phone = &sealed{end: c.app}
	var err error
	if phone.out, err = srtp.NewSender(keys[0]); err != nil {
		w.Fatal(err)
	}
	if phone.in, err = srtp.NewReceiver(keys[1]); err != nil {
		w.Fatal(err)
	}
	return c, phone
}

// packet is the next one, protected.
func (s *sealed) packet(text string) []byte {
	s.w.Helper()
	s.seq++
	p := rtp.Packet{Header: rtp.Header{Version: 2, SSRC: s.ssrc, SequenceNumber: s.seq, Timestamp: uint32(s.seq) * 160}, Payload: []byte(text)}
	b, err := p.Marshal()
	if err != nil {
		s.w.Fatal(err)
	}
	if b, err = s.out.RTP(b); err != nil {
		s.w.Fatal(err)
	}
	return slices.Clone(b)
}

// M3: fifty thousand forged packets and five thousand repeated ones, from the phone's
// address and from a stranger's, before the first good packet as well: none is
// forwarded, none is latched to, and the side goes on.
func TestM3ForgedAndRepeatedSRTP(t *testing.T) {
	for _, suite := range []srtp.Suite{srtp.AESCM128HMACSHA132, srtp.AEADAES256GCM} {
		inWorld(t, nil, func(w *world) {
			c, phone := w.secured(suite)
			x := w.far(stranger, 4000)
			silent := 0
			c.b.Watch(func(e media.Event) {
				if e.Kind == media.Silent {
					silent++
				}
			})
			c.a.Answered()
			c.b.Answered()
			dice := rand.New(rand.NewPCG(1, 2))
			forge := func(n int) {
				good := phone.packet("forged")
				for i := range n {
					bad := slices.Clone(good)
					bad[dice.IntN(len(bad))] ^= byte(1 + dice.IntN(255))
					if i%2 == 0 { // another number each, as a guesser would
						binary.BigEndian.PutUint16(bad[2:], uint16(dice.Uint32()))
						bad[len(bad)-1]++
					}
					w.shoot([]*end{x, phone.end}[i/2%2], bad, c.bPort, i)
				}
				synctest.Wait()
			}
			forge(2000)
			if s := c.b.Stats()[0]; s.RTP.Packets != 0 || s.Source.IsValid() {
				w.Fatalf("%s: latched by forged packets: %+v", suite, s)
			}
			var said [][]byte
			for range 100 {
				p := phone.packet("phone")
				said = append(said, p)
				phone.send(phone.rtp, p, c.bPort)
				c.trunk.say(c.aPort, "trunk")
				time.Sleep(frame)
			}
			if n := c.trunk.hears("phone"); n != 100 {
				w.Fatalf("the trunk heard %d", n)
			}
			for i := range 5000 {
				w.shoot([]*end{x, phone.end}[i%2], said[i%len(said)], c.bPort, i)
			}
			forge(48000)
			last := phone.packet("phone")
			phone.send(phone.rtp, last, c.bPort)
			if n := c.trunk.hears("phone"); n != 1 {
				w.Fatalf("%s: after all that the trunk heard %d", suite, n)
			}
			if s := c.b.Stats()[0]; s.RTP.Packets != 101 || s.Source != phone.addr() || s.Rejected.Total() != 55000 {
				w.Errorf("%s: %+v", suite, s)
			}
			if n := len(x.heard()); n != 0 || silent != 0 {
				w.Errorf("%s: the stranger received %d; silence was reported %d times", suite, n, silent)
			}
		})
	}
}

// shoot sends without waiting for each packet to be taken.
func (w *world) shoot(e *end, pkt []byte, port uint16, i int) {
	w.Helper()
	if _, err := e.rtp.WriteTo(pkt, net.UDPAddrFromAddrPort(netip.AddrPortFrom(server, port))); err != nil {
		w.Fatal(err)
	}
	if i%50 == 49 {
		synctest.Wait()
	}
}

// edges are packets that are nearly RTP or RTCP.
func edges() map[string][]byte {
	voice := append([]byte{0x80, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7}, make([]byte, 20)...)
	with := func(b []byte, at int, to ...byte) []byte {
		c := slices.Clone(b)
		copy(c[at:], to)
		return c
	}
	return map[string][]byte{
		"one octet": {0x80}, "two octets": {0x80, 200}, "RTCP of four": {0x80, 200, 0, 0}, "RTCP of seven": {0x80, 201, 0, 1, 0, 0, 0},
		"RTCP longer than it is": {0x80, 201, 0xff, 0xff, 0, 0, 0, 7}, "RTCP with a tail": {0x80, 201, 0, 1, 0, 0, 0, 7, 0x80},
		"RTCP count of 31, no blocks": {0x9f, 201, 0, 0, 0, 0, 0, 7}, "version 0": with(voice, 0, 0), "version 1": with(voice, 0, 0x40), "version 3": with(voice, 0, 0xc0),
		"15 CSRC and nothing": with(voice, 0, 0x8f)[:12], "extension of nothing": with(voice, 0, 0x90)[:12], "extension cut": with(voice, 0, 0x90)[:14],
		"extension of 65535 words": with(with(voice, 0, 0x90), 12, 0xbe, 0xde, 0xff, 0xff), "padding of 0": with(with(voice, 0, 0xa0), 31, 0),
		"padding of all and more": with(with(voice, 0, 0xa0), 31, 255), "padding without payload": with(voice, 0, 0xa0)[:12],
		"RED whose blocks do not end": with(voice, 1, 0x7f), "too long": append(slices.Clone(voice), make([]byte, 1600)...),
		"STUN": {0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, "ZRTP": append([]byte{0x10, 0, 0, 1, 'Z', 'R', 'T', 'P'}, make([]byte, 20)...),
	}
}

// M4: what is nearly RTP or RTCP is counted and harms nobody, though it comes from
// the right address, to plain and to secure streams.
func TestM4NearlyRTP(t *testing.T) {
	for _, secure := range []bool{false, true} {
		inWorld(t, nil, func(w *world) {
			var c *call
			var speak func()
			if secure {
				var phone *sealed
				c, phone = w.secured(srtp.AESCM128HMACSHA180)
				speak = func() { phone.send(phone.rtp, phone.packet("phone"), c.bPort) }
			} else {
				c = w.call()
				speak = func() { c.app.say(c.bPort, "phone") }
			}
			c.a.Answered()
			c.b.Answered()
			speak()
			for name, pkt := range edges() {
				before := c.b.Stats()[0].Rejected.Total()
				c.app.send(c.app.rtp, pkt, c.bPort)
				c.app.send(c.app.rtcp, pkt, c.bPort+1)
				if n := c.b.Stats()[0].Rejected.Total() - before; n != 2 {
					w.Errorf("secure %v, %s: %d of 2 were refused", secure, name, n)
				}
				speak()
			}
			if got := c.trunk.heard(); len(got) != len(edges())+1 {
				w.Errorf("secure %v: the trunk received %d packets", secure, len(got))
			}
		})
	}
}

// M5: a stranger shoots 1,000 DTLS handshakes per second at all ports while 200 calls
// are set up, and the far ends shoot some themselves: all connect, nobody is answered
// and nothing changes. Keys come by signalling alone.
func TestM5Handshakes(t *testing.T) {
	const setUps, spoken = 200, 10
	ports := func(c *media.Config) { c.PortEnd = c.PortStart + 39 }
	inWorld(t, ports, func(w *world) {
		x := w.far(stranger, 4000)
		shots, stop := x.shootOn(hello, 10000, 10039)
		defer stop()
		for n := range setUps {
			began, suite := shots.Load(), srtp.Suites()[n%len(srtp.Suites())]
			c, phone := w.secured(suite)
			time.Sleep(300 * time.Millisecond) // it rings
			c.a.Answered()
			c.b.Answered()
			for range spoken {
				c.app.send(c.app.rtp, hello, c.bPort)
				c.trunk.send(c.trunk.rtp, hello, c.aPort)
				phone.send(phone.rtp, phone.packet("phone"), c.bPort)
				c.trunk.say(c.aPort, "trunk")
				time.Sleep(frame)
			}
			if heard, got := c.trunk.hears("phone"), len(c.app.heard()); heard != spoken || got != spoken {
				w.Fatalf("set-up %d, %s: the trunk heard %d, the phone received %d of %d", n, suite, heard, got, spoken)
			}
			c.a.Close()
			c.b.Close()
			for _, s := range []media.StreamStats{c.a.Stats()[0], c.b.Stats()[0]} {
				if s.RTP.Packets != spoken || s.Rejected.Total() < 2*spoken { // the stranger's, to RTP and RTCP, are as many
					w.Fatalf("set-up %d: %+v", n, s)
				}
			}
			if got := shots.Load() - began; got < 490 { // in 500 ms
				w.Fatalf("set-up %d: %d handshakes of the stranger", n, got)
			}
			c.app.close()
			c.trunk.close()
		}
		stop()
		if got := len(x.heard()); got != 0 {
			w.Errorf("the stranger received %d packets", got)
		}
	})
}

// hello is the beginning of a DTLS handshake.
var hello = []byte{0x16, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 1, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 8, 0xfe, 0xfd, 1, 2, 3, 4, 5, 6}

// shootOn sends 1,000 packets per second, to each port from first to last in turn, until
// stop is called; shots is how many there were.
func (e *end) shootOn(pkt []byte, first, last uint16) (shots *atomic.Int64, stop func()) {
	ctx, cancel := context.WithCancel(e.w.Context())
	shots = new(atomic.Int64)
	var shooting sync.WaitGroup
	shooting.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for port := first; ; port++ {
			if port > last {
				port = first
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if _, err := e.rtp.WriteTo(pkt, net.UDPAddrFromAddrPort(netip.AddrPortFrom(server, port))); err != nil {
				e.w.Error(err)
				return
			}
			shots.Add(1)
		}
	})
	return shots, func() {
		cancel()
		shooting.Wait()
	}
}

// M8: what one port is bombed with costs the calls at others nothing. The bombs come
// from strangers and, worse, from a far end of its own, as fast as this machine sends
// them: how fast that is nobody can promise, so the calls last until there were as many
// as 2 s at 100,000 packets per second have, and 2 s at least. A slow machine proves less
// of the rate, but never fails for it; of the calls it proves the same.
func TestM8Bombing(t *testing.T) {
	const bombing, least = 200_000, 100 // packets; the second of each call, 2 s
	r, err := media.New(media.Config{Bind: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	bombed := newStream(t, r)
	var calls [4]*stream
	for i := range calls {
		calls[i] = newStream(t, r)
		calls[i].listen(t)
	}
	var bombs atomic.Int64
	var bombers sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer bombers.Wait()
	defer stop()
	for _, from := range []*net.UDPConn{bombed.from, open(t)} {
		bombers.Go(func() {
			for n := uint16(0); ctx.Err() == nil; n++ { // wraps
				if _, err := from.WriteToUDPAddrPort(voicePacket(n), bombed.at); err != nil {
					t.Error(err)
					return
				}
				bombs.Add(1)
			}
		})
	}
	began, sent := time.Now(), int64(0)
	tick := time.NewTicker(frame)
	defer tick.Stop()
	for ; sent < least || bombs.Load() < bombing; sent++ {
		for _, c := range calls {
			if _, err := c.from.WriteToUDPAddrPort(voicePacket(uint16(sent)), c.at); err != nil { //nolint:gosec // numbers wrap
				t.Fatal(err)
			}
		}
		<-tick.C
	}
	stop()
	bombers.Wait()
	t.Logf("%d bombs, %.0f per second", bombs.Load(), float64(bombs.Load())/time.Since(began).Seconds())
	for i, c := range calls {
		for deadline := time.Now().Add(3 * time.Second); c.heard.Load() < sent && time.Now().Before(deadline); <-tick.C {
		}
		if n := c.heard.Load(); n != sent {
			t.Errorf("call %d: %d of %d packets arrived beside %d bombs", i, n, sent, bombs.Load())
		}
	}
}

// stream is one direction of a call over the system's sockets.
type stream struct {
	from, to *net.UDPConn
	at       netip.AddrPort // of the relay
	heard    atomic.Int64   // packets, once somebody listens
}

func open(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func newStream(t *testing.T, r *media.Relay) *stream {
	t.Helper()
	s := &stream{from: open(t), to: open(t)}
	var sides [2]*media.Side
	for i, conn := range []*net.UDPConn{s.from, s.to} {
		side, err := r.NewSide(media.IPv4, 1)
		if err != nil {
			t.Fatal(err)
		}
		side.SetRemote(0, media.Remote{RTP: netip.MustParseAddrPort(conn.LocalAddr().String())})
		side.Answered()
		sides[i] = side
	}
	media.Join(sides[0], sides[1])
	s.at = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), sides[0].Ports()[0])
	return s
}

// listen counts what comes, until the test ends.
func (s *stream) listen(t *testing.T) {
	t.Helper()
	var listening sync.WaitGroup
	listening.Go(func() {
		for buf := make([]byte, 2000); ; s.heard.Add(1) {
			if _, err := s.to.Read(buf); err != nil {
				return
			}
		}
	})
	t.Cleanup(func() { // before the socket is closed
		if err := s.to.SetReadDeadline(time.Now()); err != nil {
			t.Error(err)
		}
		listening.Wait()
	})
}

// voicePacket is 20 ms of PCMU.
func voicePacket(seq uint16) []byte {
	b := append([]byte{0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7}, make([]byte, 160)...)
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[4:], uint32(seq)*160)
	return b
}
