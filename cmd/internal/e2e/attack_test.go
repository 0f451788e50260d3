package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtp"

	"wakebridge/bridge/media"
	"wakebridge/bridge/media/audio"
	"wakebridge/config"
	"wakebridge/sipua"
	"wakebridge/sipua/softphone"
)

// strangerHost is where attackers are.
const strangerHost = "127.0.0.66"

// stranger is somebody who shoots at ports and listens to what comes of it.
type stranger struct {
	t    *testing.T
	conn *net.UDPConn
	done sync.WaitGroup // awaited at the test's end

	ssrc     uint32
	sent     int
	mu       sync.Mutex
	received int
}

func newStranger(t *testing.T, host string, port int) *stranger {
	t.Helper()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), uint16(port)))) //nolint:gosec // a port
	must(t, err)
	x := &stranger{t: t, conn: conn, ssrc: 0xbad}
	x.done.Go(func() {
		for buf := make([]byte, 2000); ; {
			if _, _, err := conn.ReadFromUDPAddrPort(buf); err != nil {
				return
			}
			x.mu.Lock()
			x.received++
			x.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		conn.Close()
		x.done.Wait()
	})
	return x
}

// got is how many packets came.
func (x *stranger) got() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.received
}

// evilTone is what attackers would have others hear, in Hz.
const evilTone = 1500

// spray shoots at each port from first to last: RTP that is a tone, RTCP, and the
// beginning of a DTLS handshake.
func (x *stranger) spray(first, last int, each int) {
	evil, err := audio.Take(audio.Sine(evilTone, -3), audio.FrameSamples)
	if err != nil {
		x.t.Error(err)
		return
	}
	clientHello := []byte{0x16, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 1, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 8, 0xfe, 0xfd, 1, 2, 3, 4, 5, 6}
	for port := first; port <= last; port++ {
		for range each {
			x.sent++
			p := rtp.Packet{Header: rtp.Header{Version: 2, SSRC: x.ssrc, SequenceNumber: uint16(x.sent), Timestamp: uint32(x.sent) * 160}, //nolint:gosec // numbers wrap
				Payload: audio.PCMU.Encode(nil, evil)}
			b, err := p.Marshal()
			if err != nil {
				x.t.Error(err)
				return
			}
			x.shoot(b, port)
			x.shoot([]byte{0x80, 201, 0, 1, 0, 0, 0x0b, 0xad}, port)
			x.shoot(clientHello, port)
		}
	}
}

func (x *stranger) shoot(b []byte, port int) {
	if _, err := x.conn.WriteToUDPAddrPort(b, netip.AddrPortFrom(netip.MustParseAddr(serverHost), uint16(port))); err != nil { //nolint:gosec // a port
		x.t.Error(err)
	}
}

// sprayOn sprays until the result is called.
func (x *stranger) sprayOn(first, last int) (stop func()) {
	ctx, cancel := context.WithCancel(x.t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			x.spray(first, last, 1)
			<-tick.C
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// mediaPorts makes the server's media ports those from first to last.
func mediaPorts(first, last int) func(*config.Config) {
	return func(c *config.Config) { c.Media.RTPStart, c.Media.RTPEnd = first, last }
}

// toneCall is a call from the PBX (440 Hz) to alice's phone (620 Hz) that was answered.
type toneCall struct {
	out, in *softphone.Call
}

// callPhone calls a phone that registers now.
func callPhone(ctx context.Context, t *testing.T, s *server, p *softphone.Phone, m *mobile, acc softphone.Account) toneCall {
	t.Helper()
	_, _, err := m.RegisterAndWait(ctx, acc)
	must(t, err)
	return answeredCall(ctx, t, s, p, m)
}

func answeredCall(ctx context.Context, t *testing.T, s *server, p *softphone.Phone, m *mobile) toneCall {
	t.Helper()
	c := toneCall{out: dial(t, s, p, "201")}
	var err error
	c.in, err = m.Accept(ctx)
	must(t, err)
	must(t, c.in.Answer())
	_, err = c.out.Wait(ctx, softphone.Answered)
	must(t, err)
	return c
}

// clean checks that each side hears the other one and nothing besides.
func (c toneCall) clean(t *testing.T, when string) {
	t.Helper()
	hears(t, when+": the PBX", c.out, 620)
	hears(t, when+": the phone", c.in, 440)
	for who, a := range map[string]softphone.Audio{"PBX": c.out.Audio(), "phone": c.in.Audio()} {
		if share := a.Tone(evilTone); share > 0.01 || a.Level > -11 {
			t.Errorf("%s: the %s hears the attacker: %.3f, level %.1f", when, who, share, a.Level)
		}
	}
}

// heard is clean for where packets may be lost: by a full socket buffer or a socket
// that was left.
func (c toneCall) heard(t *testing.T, when string) {
	t.Helper()
	for who, a := range map[string]softphone.Audio{"PBX": c.out.Audio(), "phone": c.in.Audio()} {
		if hz := map[string]float64{"PBX": 620, "phone": 440}[who]; a.Tone(hz) < 0.9 {
			t.Errorf("%s: the %s hears a tone of %.2f", when, who, a.Tone(hz))
		}
	}
}

func (c toneCall) end(ctx context.Context, t *testing.T) {
	t.Helper()
	if _, over := lastEvent(c.out); over {
		t.Errorf("the call ended by itself: %+v", c.out.Events())
		return
	}
	must(t, c.out.Hangup())
	_, err := c.in.Ended(ctx)
	must(t, err)
}

// lastEvent is a call's newest event, and whether the call is over.
func lastEvent(c *softphone.Call) (softphone.Event, bool) {
	all := c.Events()
	e := all[len(all)-1]
	return e, e.Kind == softphone.Ended
}

// M1, M2, M5: a stranger shoots at all media ports before, during and after the
// set-up of calls: nobody hears it, and it hears nobody.
func TestM1M2M5SprayedPorts(t *testing.T) {
	t.Parallel()
	const ports = 20
	first := freePorts(t, ports)
	last := first + ports - 1
	p, port := pbx(t, 440)
	s := start(t, func(c *config.Config) {
		trunkAt(port)(c)
		mediaPorts(first, last)(c)
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	x := newStranger(t, strangerHost, 0)
	stop := x.sprayOn(first, last)
	defer stop()
	m := toneMobile(t, phoneHost, "alice", 620)
	for n := range 3 {
		var c toneCall
		if n == 0 {
			c = callPhone(ctx, t, s, p, m, account(s, "", ""))
		} else {
			c = answeredCall(ctx, t, s, p, m)
		}
		pause(ctx, 2500*time.Millisecond) // past the latch's window
		c.clean(t, fmt.Sprint("call ", n))
		c.end(ctx, t)
		r := s.record(t, n)
		for _, leg := range r.Media {
			if got := leg.Streams[0]; got.Rejected[media.WrongSource] == 0 || got.Lost > 0 {
				t.Errorf("call %d, leg %s: %+v", n, leg.Leg, got)
			}
		}
	}
	stop()
	if n := x.got(); n != 0 {
		t.Errorf("the stranger received %d packets", n)
	}
}

// pause lets real time pass: what is checked is that something does not happen in it.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// tapped is a socket that remembers what it sent.
type tapped struct {
	net.PacketConn
	mu   sync.Mutex
	sent [][]byte
}

// WriteTo implements net.PacketConn.
func (c *tapped) WriteTo(b []byte, to net.Addr) (int, error) {
	c.mu.Lock()
	c.sent = append(c.sent, append([]byte(nil), b...))
	c.mu.Unlock()
	return c.PacketConn.WriteTo(b, to)
}

func (c *tapped) packets() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([][]byte(nil), c.sent...)
}

// M3: forged and repeated SRTP, from the phone's own socket and from a stranger's,
// ends no call, is heard by nobody and moves nothing.
func TestM3ForgedSRTPInACall(t *testing.T) {
	t.Parallel()
	p, port := pbx(t, 440)
	s := start(t, func(c *config.Config) {
		trunkAt(port)(c)
		c.Media.SRTP = config.SRTP{Apps: "required", Trunks: "off", KeysOver: "any"}
	})
	var socket *tapped
	k := mobileKind{host: phoneHost, media: func(conn net.PacketConn) net.PacketConn {
		socket = &tapped{PacketConn: conn}
		return socket
	}}
	k.audio.Source, k.audio.Security = softphone.Tone(620), softphone.SRTPOnly
	m := newMobile(t, k)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := callPhone(ctx, t, s, p, m, account(s, "", ""))
	c.clean(t, "before")
	x := newStranger(t, strangerHost, 0)
	to := audioOf(t, c.in.Invite().Body()).Target()
	const each = 1500
	for i := range each {
		old := socket.packets()[5+i%20] // the first ones came before the keys
		bad := append([]byte(nil), old...)
		bad[2], bad[3], bad[len(bad)-1] = byte(i>>8), byte(i), bad[len(bad)-1]^1
		for _, b := range [][]byte{old, bad} {
			x.shoot(b, int(to.Port()))
			_, err := socket.PacketConn.WriteTo(b, net.UDPAddrFromAddrPort(to))
			must(t, err)
		}
		if i%2 == 1 {
			pause(ctx, 2*time.Millisecond) // a full socket buffer would lose good packets
		}
	}
	from := c.out.Audio().Received
	wait(t, 10*time.Second, "audio to go on", func() (bool, string) { return c.out.Audio().Received > from+50, "it does not" })
	c.heard(t, "after")
	if c.out.Audio().Received > c.in.Audio().Sent {
		t.Errorf("the PBX received %d packets of %d", c.out.Audio().Received, c.in.Audio().Sent)
	}
	c.end(ctx, t)
	got := s.record(t, 0).Media[1].Streams[0]
	if bad := got.Rejected[media.BadAuth] + got.Rejected[media.WrongSource]; bad < 2*each || got.Source.Addr().String() != phoneHost || x.got() != 0 {
		t.Errorf("%+v; the stranger received %d", got, x.got())
	}
}

// M9: the PBX of an old call goes on sending while a new call takes the same ports,
// and speaks before the new call's own media do: nobody hears it.
func TestM9OldCallOnReusedPorts(t *testing.T) {
	t.Parallel()
	const ports = 4
	first := freePorts(t, ports)
	conn, err := net.ListenPacket("udp4", trunkHost+":0")
	must(t, err)
	cfg := softphone.Config{AOR: sipua.NewAOR("100", trunkHost), Packets: []net.PacketConn{conn}}
	cfg.Audio.Manual = true
	p := phone(t, cfg, trunkHost, softphone.Tone(440))
	s := start(t, func(c *config.Config) {
		trunkAt(conn.LocalAddr().(*net.UDPAddr).Port)(c) //nolint:forcetypeassert // UDP
		mediaPorts(first, first+ports-1)(c)
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m := toneMobile(t, phoneHost, "alice", 620)
	c := callPhone(ctx, t, s, p, m, account(s, "", ""))
	must(t, c.out.StartAudio())
	c.clean(t, "the first call")
	c.end(ctx, t)
	old := s.record(t, 0).Media[0].Streams[0]
	x := newStranger(t, trunkHost, int(old.Source.Port()))
	x.ssrc = old.SSRC
	told := int(audioOf(t, answerOf(t, c.out)).Port) // where the old PBX was told to send
	stop := x.sprayOn(told, told)
	defer stop()
	pause(ctx, 2200*time.Millisecond) // the ports rest
	c = answeredCall(ctx, t, s, p, m)
	pause(ctx, time.Second)
	if a := c.in.Audio(); a.Received != 0 {
		t.Errorf("the phone heard %d packets of the old call", a.Received)
	}
	must(t, c.out.StartAudio())
	c.clean(t, "the second call")
	c.end(ctx, t)
	stop()
	refused := uint64(0)
	for _, leg := range s.record(t, 1).Media {
		refused += leg.Streams[0].Rejected[media.PastSender] + leg.Streams[0].Rejected[media.WrongSource]
	}
	if refused < 50 || x.got() != 0 {
		t.Errorf("%d packets of the old PBX were refused; it received %d", refused, x.got())
	}
}

// answerOf is the SDP of the 2xx to a call.
func answerOf(t *testing.T, c *softphone.Call) []byte {
	t.Helper()
	all := kindsOf(c, softphone.Answered)
	if len(all) != 1 || all[0].Response == nil {
		t.Fatalf("%+v", c.Events())
	}
	return all[0].Response.Body()
}

// M8: one call's port is bombed with up to 100,000 packets per second; the call beside it
// loses nothing. It lasts until there were as many bombs as 1 s of that rate has, and 2 s
// at least: a machine that is slower at them takes longer and proves less of the rate, but
// does not fail for it.
func TestM8BombedCall(t *testing.T) {
	t.Parallel()
	const bombing = 100_000
	p, port := pbx(t, 440)
	s := start(t, trunkAt(port))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	bombed := callPhone(ctx, t, s, p, toneMobile(t, phoneHost, "alice", 620), account(s, "", ""))
	x := newStranger(t, strangerHost, 0)
	to := int(audioOf(t, answerOf(t, bombed.out)).Port)
	ctxBombs, stop := context.WithCancel(ctx)
	defer stop()
	var bombs atomic.Int64
	var bombers sync.WaitGroup
	bombers.Go(func() {
		for ctxBombs.Err() == nil {
			x.shoot(make([]byte, 172), to)
			if bombs.Add(1)%100 == 0 { // more would fill the kernel's queue, which all share
				pause(ctxBombs, time.Millisecond)
			}
		}
	})
	began := time.Now()
	m := toneMobile(t, otherHost, "bob", 620)
	acc := account(s, "", "")
	acc.Contact = nil
	_, _, err := m.RegisterAndWait(ctx, acc)
	must(t, err)
	beside := toneCall{out: dial(t, s, p, "202")}
	beside.in, err = m.Accept(ctx)
	must(t, err)
	must(t, beside.in.Answer())
	_, err = beside.out.Wait(ctx, softphone.Answered)
	must(t, err)
	speaks(t, "beside the bombs: the PBX", beside.out)
	during := bombs.Load() + bombing
	pause(ctx, 2*time.Second)
	wait(t, 2*time.Minute, "the bombing", func() (bool, string) { return bombs.Load() >= during, fmt.Sprint(bombs.Load(), " bombs") })
	t.Logf("%d bombs, %.0f per second", bombs.Load(), float64(bombs.Load())/time.Since(began).Seconds())
	beside.clean(t, "beside the bombs")
	beside.end(ctx, t)
	stop()
	bombers.Wait()
	bombed.end(ctx, t)
}

// A phone whose audio starts 8 s after the answer, as CallKit may have it, is heard,
// and hears from then on.
func TestAudioThatStartsLate(t *testing.T) {
	t.Parallel()
	p, port := pbx(t, 440)
	s := start(t, trunkAt(port))
	k := mobileKind{host: phoneHost}
	k.audio.Source, k.audio.Manual = softphone.Tone(620), true
	m := newMobile(t, k)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := callPhone(ctx, t, s, p, m, account(s, "", ""))
	pause(ctx, 8*time.Second)
	if n := c.out.Audio().Received; n != 0 {
		t.Errorf("the PBX received %d packets", n)
	}
	must(t, c.in.StartAudio())
	c.clean(t, "after 8 s")
	c.end(ctx, t)
	if r := s.record(t, 0); r.HangupBy != "caller" {
		t.Errorf("record: %+v", r)
	}
}
