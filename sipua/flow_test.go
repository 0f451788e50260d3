package sipua_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/memnet"
)

// flowOf is the flow on which a peer's OPTIONS came.
func (w *world) flowOf(p peer) *sipua.Flow {
	w.t.Helper()
	_, before := w.handled()
	p.send(draft{method: "OPTIONS", callID: fmt.Sprint("flow", before), branch: fmt.Sprint("z9hG4bKflow", before, p.addr())}.String())
	if _, after := w.handled(); after != before+1 {
		w.t.Fatal("the OPTIONS did not arrive")
	}
	tx := w.others[before]
	ok(tx)
	p.read()
	return tx.Flow()
}

func TestFlow(t *testing.T) {
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		p := dial(aliceHost)
		f := w.flowOf(p)
		if f.Remote() != p.addr() || f.Local() != netip.AddrPortFrom(serverHost, 5060) || w.ep.Flow(f.ID()) != f || f.Dialled() || f.Authenticated() || f.Party() != "" {
			t.Errorf("%v %v", f.Remote(), f.Local())
		}
		uri := f.Contact("bob")
		if s := uri.String(); !strings.HasPrefix(s, "sip:bob@10.0.0.1:5060") || strings.Contains(s, "transport=tcp") != f.Transport().Reliable() {
			t.Errorf("Contact %s", s)
		}
		if f2 := w.flowOf(p); f2 != f {
			t.Error("another flow for the same peer")
		}
		if other := w.flowOf(dial(aliceHost)); other == f || other.ID() == f.ID() {
			t.Error("two peers on one flow")
		}
	})
}

func TestAlive(t *testing.T) {
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		p := dial(aliceHost)
		f := w.flowOf(p)
		limit, keepAlive := 100*time.Second, "\r\n\r\n"
		if f.Transport() == sipua.UDP {
			limit, keepAlive = 35*time.Second, "\x00\x00"
		}
		release := f.Hold()
		defer release()
		time.Sleep(limit - time.Millisecond)
		if !f.Alive() {
			t.Error("not alive within the time")
		}
		time.Sleep(time.Second)
		if f.Alive() {
			t.Error("alive beyond the time")
		}
		var lives atomic.Int32
		f.OnLife(func() { lives.Add(1) })
		forget := f.OnLife(func() { t.Error("called though taken back") })
		forget()
		p.send(keepAlive) // whatever comes is a sign of life
		synctest.Wait()
		if !f.Alive() || time.Since(f.LastSeen()) > time.Second || lives.Load() != 1 {
			t.Errorf("alive %t, told %d times", f.Alive(), lives.Load())
		}
		p.send(keepAlive)
		synctest.Wait()
		if lives.Load() != 1 {
			t.Error("told twice")
		}
		f.Shut(sipua.ErrClosed)
		if f.Alive() {
			t.Error("alive after its end")
		}
	})
}

func TestOnClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.tcp(aliceHost)
		f := w.flowOf(p)
		var order []string
		f.OnClose(func(err error) { order = append(order, fmt.Sprint("one ", errors.Is(err, sipua.ErrFlowGone))) })
		forget := f.OnClose(func(error) { order = append(order, "taken back") })
		f.OnClose(func(error) { order = append(order, "two") })
		forget()
		forget()
		p.conn.Close()
		<-f.Done()
		synctest.Wait()
		f.Shut(io.ErrUnexpectedEOF) // the second reason counts for nothing
		f.OnClose(func(err error) { order = append(order, fmt.Sprint("late ", errors.Is(err, io.ErrUnexpectedEOF))) })()
		if s := fmt.Sprint(order); s != "[one true two late false]" {
			t.Error(s)
		}
		if w.ep.Flow(f.ID()) != nil {
			t.Error("still in the table")
		}
		if n := len(w.lost()); n != 1 {
			t.Errorf("FlowGone %d times", n)
		}
		if err := f.WriteMsg(request(sip.OPTIONS, "x")); !errors.Is(err, sipua.ErrFlowGone) {
			t.Errorf("write: %v", err)
		}
	})
}

func TestSameParty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, trunkParty)
		udp := func(host netip.Addr) *sipua.Flow { return w.flowOf(w.udp(host, 0)) }
		tcp := func(host netip.Addr) *sipua.Flow { return w.flowOf(w.tcp(host)) }
		party := func(f *sipua.Flow, names ...string) *sipua.Flow {
			for _, n := range names {
				f.SetParty(n)
			}
			return f
		}
		for _, tt := range []struct {
			name string
			a, b *sipua.Flow
			want bool
		}{
			{"strangers on UDP, one address: a NAT moves ports", udp(aliceHost), udp(aliceHost), true},
			{"strangers on UDP, two addresses", udp(aliceHost), udp(evilHost), false},
			{"strangers on TCP, one address", tcp(aliceHost), tcp(aliceHost), false},
			{"strangers on UDP and TCP, one address", udp(aliceHost), tcp(aliceHost), false},
			{"the same device on two connections", party(tcp(aliceHost), "a"), party(tcp(evilHost), "a"), true},
			{"two devices behind one NAT", party(udp(aliceHost), "a"), party(udp(aliceHost), "b"), false},
			{"two accounts of one phone share the flow", party(tcp(aliceHost), "a", "b"), party(tcp(aliceHost), "b"), true},
			{"a device whose NAT moved the port, not registered again yet", party(udp(aliceHost), "a"), udp(aliceHost), true},
			{"a stranger at another address", party(udp(aliceHost), "a"), udp(evilHost), false},
			{"a stranger's connection from the same address", party(tcp(aliceHost), "a"), tcp(aliceHost), false},
			{"a trunk's connections", tcp(trunkHost), tcp(trunkHost), true},
			{"a trunk over UDP and TCP", udp(trunkHost), tcp(trunkHost), true},
			{"nobody in particular", party(tcp(aliceHost), ""), party(tcp(aliceHost), ""), false},
		} {
			if got := tt.a.SameParty(tt.b); got != tt.want || tt.b.SameParty(tt.a) != tt.want || !tt.a.SameParty(tt.a) {
				t.Errorf("%s: %t", tt.name, got)
			}
		}
		f := tcp(trunkHost)
		if f.Party() != "trunk pbx" || !f.Authenticated() {
			t.Errorf("party of a trunk %q", f.Party())
		}
		for i := range 1000 {
			f.SetParty(fmt.Sprint("user ", i)) // bounded, and the first stays
		}
		if f.Party() != "trunk pbx" {
			t.Errorf("party %q", f.Party())
		}
	})
}

// Trap 2.1/22: a peer that does not read blocks nobody: neither the sender nor the
// read loop nor Close; its flow is closed.
func TestTrapPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.onRequest = ok
		p := w.tcp(aliceHost)
		f := w.flowOf(p)
		body := strings.Repeat("x", 60000)
		start := time.Now()
		var err error
		for range 100 {
			req := request(sip.OPTIONS, "big")
			req.SetBody([]byte(body))
			if err = w.ep.Send(f, req); err != nil {
				break
			}
		}
		if !errors.Is(err, sipua.ErrFlowGone) {
			t.Fatalf("the queue has no end: %v", err)
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("the sender waited %s", d)
		}
		<-f.Done()
		time.Sleep(time.Second)
		if n := len(w.lost()); n != 1 {
			t.Errorf("FlowGone %d times", n)
		}
		other := w.tcp(evilHost)
		other.send(draft{method: "OPTIONS", callID: "other"}.String())
		want(t, other, 200)
	})
}

// Nor does one that reads so slowly that a write takes too long.
func TestSlowWriteEndsTheFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.tcp(aliceHost)
		f := w.flowOf(p)
		release := f.Hold()
		defer release()
		for range 3 {
			req := request(sip.OPTIONS, "big")
			req.SetBody([]byte(strings.Repeat("x", 60000)))
			if err := w.ep.Send(f, req); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		<-f.Done()
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("after %s", d)
		}
	})
}

// What was queued before the end still leaves.
func TestLastWordsLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.onRequest = func(tx *sipua.ServerTx) {
			tx.Reject(sipua.Reject(403, ""))
			tx.Flow().Shut(sipua.ErrClosed)
		}
		p := w.tcp(aliceHost)
		p.send(draft{method: "REGISTER", callID: "c"}.String())
		want(t, p, 403)
		if !p.isClosed() {
			t.Error("not closed")
		}
	})
}

// RFC 5626 s3.5.1: a double CRLF gets one back; single ones are nothing.
func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.tcp(aliceHost)
		f := w.flowOf(p)
		f.SetParty("alice")
		raw := func() string {
			synctest.Wait()
			buf := make([]byte, 100)
			if err := p.conn.SetReadDeadline(time.Now().Add(1)); err != nil {
				t.Fatal(err)
			}
			n, err := p.conn.Read(buf)
			if err != nil {
				return ""
			}
			return string(buf[:n])
		}
		for range 3 {
			time.Sleep(90 * time.Second)
			p.send("\r\n\r\n")
			if s := raw(); s != "\r\n" {
				t.Errorf("pong %q", s)
			}
			if !f.Alive() {
				t.Error("not alive")
			}
		}
		p.send("\r\n")
		if s := raw(); s != "" {
			t.Errorf("answer to one CRLF %q", s)
		}
	})
}

// Trap 2.1/5, P9: what strangers may hold, and for how long.
func TestTrapSilentAndSlowStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.onRequest = ok
		const second = time.Second
		type life struct {
			name string
			act  func(s *bytestream, at time.Duration)
			ends time.Duration
		}
		good := draft{method: "OPTIONS", callID: "g"}.String()
		lives := []life{
			{"silent", func(*bytestream, time.Duration) {}, 10 * second},
			{"only keep-alives", func(s *bytestream, _ time.Duration) { s.send("\r\n\r\n") }, 10 * second},
			{"first message byte by byte", func(s *bytestream, at time.Duration) { s.send(good[at/second : at/second+1]) }, 10 * second},
			{"one message, then silence", func(s *bytestream, at time.Duration) {
				if at == 0 {
					s.send(good)
				}
			}, 60 * second}, // the reaper looks twice a minute
			{"one message, then keep-alives", func(s *bytestream, at time.Duration) {
				if at == 0 {
					s.send(good)
				}
				s.send("\r\n\r\n")
			}, 60 * second},
			{"second message byte by byte", func(s *bytestream, at time.Duration) {
				if at == 0 {
					s.send(good)
				}
				s.send(good[at/second : at/second+1])
			}, 10 * second},
			{"body that does not end", func(s *bytestream, at time.Duration) {
				if at == 0 {
					s.send(good + change(good, "Content-Length", "Content-Length: 60000"))
				}
				s.send("x")
			}, 10 * second},
			{"a message each 20 s", func(s *bytestream, at time.Duration) {
				if at%(20*second) == 0 {
					s.send(good)
				}
			}, 0},
		}
		peers := make([]*bytestream, len(lives))
		ended := make([]time.Duration, len(lives))
		start := time.Now()
		for i := range lives {
			peers[i] = w.tcp(aliceHost)
		}
		for at := time.Duration(0); at <= 90*second; at += second {
			time.Sleep(time.Until(start.Add(at)))
			for i, l := range lives {
				if ended[i] != 0 {
					continue
				}
				if peers[i].isClosed() {
					ended[i] = at
					continue
				}
				l.act(peers[i], at)
			}
		}
		for i, l := range lives {
			if d := ended[i]; l.ends == 0 && d != 0 || l.ends != 0 && (d == 0 || d > l.ends+2*second) {
				t.Errorf("%s: closed after %s, want about %s", l.name, d, l.ends)
			}
		}
	})
}

// An authenticated flow may be slow to speak, not slow within a message; idle it goes
// after an hour.
func TestIdleDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.tcp(aliceHost)
		f := w.flowOf(p)
		f.SetParty("alice")
		time.Sleep(59 * time.Minute)
		if p.isClosed() {
			t.Fatal("closed too early")
		}
		time.Sleep(2 * time.Minute)
		if !p.isClosed() {
			t.Error("not closed")
		}
		p = w.tcp(aliceHost)
		w.flowOf(p).SetParty("alice")
		p.send("OPTIONS sip:half a message")
		time.Sleep(11 * time.Second)
		if !p.isClosed() {
			t.Error("half a message keeps its connection")
		}
	})
}

// An idle flow stays while a dialog or an unfinished transaction is on it.
func TestIdleFlowInUse(t *testing.T) {
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		p := dial(aliceHost)
		p.send(draft{method: "INVITE", callID: "c"}.String())
		want(t, p, 100)
		time.Sleep(10 * time.Minute) // nobody speaks while it rings
		tx := w.invite(0)
		f := tx.Flow()
		release := f.Hold()
		ok(tx)
		want(t, p, 200)
		time.Sleep(time.Hour) // nor during the call
		if f.Alive() || w.ep.Flow(f.ID()) != f {
			t.Error("gone during the call")
		}
		release()
		release()
		time.Sleep(4 * time.Minute)
		if w.ep.Flow(f.ID()) != nil {
			t.Error("stayed after the call")
		}
		w.wantEmpty()
	})
}

// A UDP flow stays as long as its binding; a client transaction holds one too.
func TestIdleUDPFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := w.flowOf(w.udp(aliceHost, 5060))
		f.Pin(time.Now().Add(time.Hour))
		f.Pin(time.Now().Add(time.Minute)) // the longest counts
		loose := w.flowOf(w.udp(aliceHost, 5061))
		p := w.udp(trunkHost, 5060)
		busy := w.connect(sipua.UDP, p.addr())
		tx, r := w.sendTo(busy, sip.INVITE)
		p.send(answer(p.read()[0], 180, "bob"))
		r.want(t, "180")
		time.Sleep(4 * time.Minute)
		if w.ep.Flow(f.ID()) == nil || w.ep.Flow(busy.ID()) == nil || w.ep.Flow(loose.ID()) != nil {
			t.Error("after 4 min")
		}
		tx.Terminate()
		time.Sleep(time.Hour)
		if w.ep.Flow(f.ID()) != nil || w.ep.Flow(busy.ID()) != nil {
			t.Error("after an hour")
		}
	})
}

func TestConnectionLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, trunkParty, func(c *sipua.Config) { c.Limits = sipua.Limits{Connections: 12, Unauthenticated: 4} })
		open := func(host netip.Addr, n int) (peers []*bytestream, refused int) {
			for range n {
				p := w.tcp(host)
				if p.isClosed() {
					refused++
				} else {
					peers = append(peers, p)
				}
			}
			return peers, refused
		}
		alice, refused := open(aliceHost, 6)
		if refused != 2 {
			t.Errorf("a source has %d of 4", len(alice))
		}
		w.flowOf(alice[0]).SetParty("alice") // she is no stranger any more
		more, refused := open(aliceHost, 2)
		if refused != 1 {
			t.Errorf("%d more after one authenticated", len(more))
		}
		alice[1].conn.Close()
		synctest.Wait()
		if _, refused = open(aliceHost, 1); refused != 0 {
			t.Error("a closed connection still counts")
		}
		alice[0].conn.Close() // a stranger no more, so it gives no stranger's place back
		synctest.Wait()
		if _, refused = open(aliceHost, 1); refused != 1 {
			t.Error("the end of an authenticated connection made room for a stranger")
		}
		if _, refused = open(trunkHost, 7); refused != 0 {
			t.Errorf("%d of a trunk's were refused", refused)
		}
		if _, refused = open(evilHost, 5); refused != 4 { // 4 of alice, 7 of the trunk, 1 left
			t.Errorf("%d refused by the total", refused)
		}
	})
}

// One IPv6 source is a network: whoever has one address of it has all.
func TestConnectionLimitIPv6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *sipua.Config) { c.Limits = sipua.Limits{Unauthenticated: 2} })
		server := netip.MustParseAddrPort("[2001:db8::1]:5060")
		ln, err := w.net.Host(server.Addr()).Listen(server)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.ep.ServeStream(ln, sipua.TCP); err != nil {
			t.Fatal(err)
		}
		for i, tt := range []struct {
			host    string
			refused bool
		}{{"2001:db8:1::1", false}, {"2001:db8:1::2", false}, {"2001:db8:1::3", true}, {"2001:db8:1:1::1", false}} {
			conn, err := w.net.Host(netip.MustParseAddr(tt.host)).Dial(t.Context(), netip.AddrPort{}, server)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if p := (&bytestream{t: t, conn: conn}); p.isClosed() != tt.refused {
				t.Errorf("connection %d", i)
			}
		}
	})
}

// Trap 2.1/6: forged sources do not fill the memory, and cost no registered phone, no
// trunk and no call its flow.
func TestTrapUDPFlowTableIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, trunkParty, func(c *sipua.Config) { c.Limits = sipua.Limits{UDPPeers: 100} })
		w.onRequest = ok
		phone := w.flowOf(w.udp(aliceHost, 5060))
		phone.SetParty("alice")
		phone.Pin(time.Now().Add(time.Hour))
		caller := w.udp(aliceHost, 5070)
		caller.send(draft{method: "INVITE", callID: "c"}.String())
		call := w.invite(0).Flow()
		trunk := w.connect(sipua.UDP, netip.AddrPortFrom(trunkHost, 5060))
		tx, _ := w.sendTo(trunk, sip.OPTIONS)
		defer tx.Terminate()
		for i := range 2000 {
			evil := w.udp(netip.AddrFrom4([4]byte{10, 9, byte(i / 250), byte(i % 250)}), 5060)
			if i%2 == 0 {
				evil.send(draft{method: "OPTIONS", callID: "x"}.String())
			} else {
				evil.send("INVITE garbage without an end that is long enough")
			}
		}
		for i := range 500 { // and a trunk's address can be forged as well
			w.udp(trunkHost, uint16(20000+i)).send(draft{method: "OPTIONS", callID: fmt.Sprint("y", i)}.String()) //nolint:gosec // small
		}
		synctest.Wait()
		if flows, _, _, _ := w.ep.Sizes(); flows > 101 {
			t.Errorf("%d flows", flows)
		}
		for name, f := range map[string]*sipua.Flow{"phone": phone, "call": call, "trunk": trunk} {
			if w.ep.Flow(f.ID()) != f {
				t.Errorf("the %s lost its flow", name)
			}
		}
	})
}

// Noise makes no flow; from a known peer it is a sign of life.
func TestNoiseMakesNoFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.udp(evilHost, 5060)
		for _, noise := range []string{"", "\r\n", "\r\n\r\n", "\x00", "\x00\x01\x00\x08!\x12\xa4\x42 STUN 1234567890", "\x80\x00 RTP                           ", "hello", strings.Repeat("\x00", 1000), "(((((((((((((((((((((((((("} {
			p.send(noise)
		}
		synctest.Wait()
		if flows, _, _, _ := w.ep.Sizes(); flows != 0 {
			t.Errorf("%d flows", flows)
		}
		want(t, p)
	})
}

// Trap 2.1/3: sipgo gave a request for a trunk to the phone that connected last. A
// trunk is reached over a connection to it, never over one that somebody opened to us.
func TestTrapTrunkIsNeverReachedOverAPhonesConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		accept := w.listen(netip.AddrPortFrom(trunkHost, 5060))
		phone := w.tcp(aliceHost)
		w.flowOf(phone)
		f := w.connect(sipua.TCP, netip.AddrPortFrom(trunkHost, 5060))
		pbx := accept()
		if !f.Dialled() || w.connect(sipua.TCP, netip.AddrPortFrom(trunkHost, 5060)) != f {
			t.Error("the connection is not used again")
		}
		w.sendTo(f, sip.INVITE)
		if got := pbx.read(); len(got) != 1 {
			t.Errorf("the trunk got %q", got)
		}
		want(t, phone)
		// And none to the address of a phone is taken for a way to a trunk.
		if _, err := w.ep.Connect(t.Context(), sipua.TCP, sipua.Destination{Addr: phone.addr()}); err == nil {
			t.Error("a phone's connection was used")
		}
		uri := f.Contact("")
		if s := uri.String(); s != "sip:10.0.0.1:5060;transport=tcp" { // not the port that we dialled from
			t.Errorf("Contact %s", s)
		}
		pbx.conn.Close()
		synctest.Wait()
		accept2 := make(chan *bytestream, 1)
		go func() { accept2 <- accept() }()
		if w.connect(sipua.TCP, netip.AddrPortFrom(trunkHost, 5060)) == f {
			t.Error("a dead connection was used again")
		}
		<-accept2
	})
}

// Two that want the same connection at once get one.
func TestConnectOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		to := netip.AddrPortFrom(trunkHost, 5060)
		w.net.ImpairBoth(serverHost, trunkHost, memnet.Impairment{Delay: 50 * time.Millisecond})
		w.listen(to)
		flows := make(chan *sipua.Flow, 10)
		for range cap(flows) {
			go func() { flows <- w.connect(sipua.TCP, to) }()
		}
		first := <-flows
		for range cap(flows) - 1 {
			if f := <-flows; f != first {
				t.Error("two connections")
			}
		}
		if n, _, _, _ := w.ep.Sizes(); n != 1 {
			t.Errorf("%d flows", n)
		}
	})
}

// Behind one address may be several servers, told apart by the name that TLS asks for:
// what is meant for one never goes to another (RFC 5922 s7.3). Without TLS a name
// proves nothing.
func TestTLSConnectionIsForItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dialled []string
		w := newWorld(t, func(cfg *sipua.Config) {
			dial := cfg.Dial
			cfg.Dial = func(ctx context.Context, tr sipua.Transport, to sipua.Destination) (net.Conn, error) {
				dialled = append(dialled, to.Host)
				return dial(ctx, tr, to)
			}
		})
		at := netip.AddrPortFrom(trunkHost, 5061)
		accept := w.listen(at)
		to := func(tr sipua.Transport, host string) *sipua.Flow {
			f, err := w.ep.Connect(t.Context(), tr, sipua.Destination{Addr: at, Host: host})
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		a, b := to(sipua.TLS, "a.example"), to(sipua.TLS, "b.example")
		if a == b || to(sipua.TLS, "A.example") != a || to(sipua.TLS, "b.example") != b {
			t.Errorf("a and b share a connection, or have two: %q", dialled)
		}
		if c := to(sipua.TCP, "a.example"); c == a || to(sipua.TCP, "b.example") != c {
			t.Errorf("TCP: %q", dialled)
		}
		a.Shut(sipua.ErrClosed)
		if to(sipua.TLS, "b.example") != b || to(sipua.TLS, "a.example") == a || len(dialled) != 4 {
			t.Errorf("after the end of a's: %q", dialled)
		}
		for range dialled {
			accept()
		}
	})
}

func TestConnectErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *sipua.Config) { c.Dial = nil })
		for _, tt := range []struct {
			t  sipua.Transport
			to string
		}{{sipua.TCP, "10.0.0.5:5060"}, {sipua.UDP, "[2001:db8::5]:5060"}} {
			_, err := w.ep.Connect(t.Context(), tt.t, sipua.Destination{Addr: netip.MustParseAddrPort(tt.to)})
			if !errors.Is(err, sipua.ErrNoListener) || sipua.Status(err) != 480 {
				t.Errorf("%s %s: %v", tt.t, tt.to, err)
			}
		}
	})
}

// Trap 2.1/4, S4: an error of Accept or of the socket ends no listener.
func TestTrapPassingErrorsOfListeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.onRequest = ok
		host := w.net.Host(evilHost)
		ln, err := host.Listen(netip.AddrPortFrom(evilHost, 5060))
		if err != nil {
			t.Fatal(err)
		}
		pc, err := host.ListenPacket(netip.AddrPortFrom(evilHost, 5060))
		if err != nil {
			t.Fatal(err)
		}
		const failures = 12
		if err := errors.Join(w.ep.ServeStream(&failing{Listener: ln, left: failures}, sipua.TCP), w.ep.ServeUDP(&failingPackets{PacketConn: pc, left: failures})); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		conn, err := w.net.Host(aliceHost).Dial(t.Context(), netip.AddrPort{}, netip.AddrPortFrom(evilHost, 5060))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		p := &bytestream{t: t, conn: conn}
		p.send(draft{method: "OPTIONS", callID: "tcp"}.String())
		time.Sleep(10 * time.Second)
		want(t, p, 200)
		u := w.udp(aliceHost, 0)
		u.to = net.UDPAddrFromAddrPort(netip.AddrPortFrom(evilHost, 5060))
		u.send(draft{method: "OPTIONS", callID: "udp"}.String())
		want(t, u, 200)
		if d := time.Since(start); d > 15*time.Second {
			t.Errorf("after %s", d)
		}
	})
}

type failing struct {
	net.Listener
	left int
}

func (l *failing) Accept() (net.Conn, error) {
	if l.left > 0 {
		l.left--
		return nil, errors.New("too many open files")
	}
	return l.Listener.Accept()
}

type failingPackets struct {
	net.PacketConn
	left int
}

func (c *failingPackets) ReadFrom(p []byte) (int, net.Addr, error) {
	if c.left > 0 {
		c.left--
		return 0, nil, errors.New("connection refused")
	}
	return c.PacketConn.ReadFrom(p)
}

func TestAdvertise(t *testing.T) {
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		f, g := w.flowOf(dial(aliceHost)), w.flowOf(dial(trunkHost))
		a, b := f.Contact("u"), g.Contact("u")
		if !strings.HasPrefix(a.String(), "sip:u@203.0.113.1:15060") || !strings.HasPrefix(b.String(), "sip:u@10.0.0.1:5060") {
			t.Errorf("%s %s", a.String(), b.String())
		}
	}, func(c *sipua.Config) {
		c.Advertise = func(f *sipua.Flow) (string, int) {
			if f.Remote().Addr() == aliceHost {
				return "203.0.113.1", 15060
			}
			return "", 0
		}
	})
}

// The tap sees what was read and what was written, unchanged later.
func TestTap(t *testing.T) {
	var seen []string
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		seen = nil
		w.onRequest = ok
		p := dial(aliceHost)
		p.send(draft{method: "OPTIONS", callID: "c"}.String())
		want(t, p, 200)
		p.send(draft{method: "MESSAGE", callID: "d"}.String())
		want(t, p, 405)
		if s := fmt.Sprint(seen); s != "[in OPTIONS sip:bob@example.com SIP/2.0 out SIP/2.0 200 OK in MESSAGE sip:bob@example.com SIP/2.0 out SIP/2.0 405 Method Not Allowed]" {
			t.Error(s)
		}
	}, func(c *sipua.Config) {
		c.Tap = func(m sipua.Traffic) {
			dir := "in "
			if m.Sent {
				dir = "out "
			}
			l, _, _ := strings.Cut(m.Message.String(), "\r\n")
			if raw, _, _ := strings.Cut(string(m.Raw), "\r\n"); raw != l {
				l = "raw " + raw
			}
			seen = append(seen, dir+l)
		}
	})
}
