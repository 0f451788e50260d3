package media_test

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"wakebridge/bridge/media"
)

func TestConfig(t *testing.T) {
	v4, v6 := netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("::")
	tests := []struct {
		name string
		c    media.Config
		ok   bool
	}{
		{"system's ports", media.Config{Bind: []netip.Addr{v4}}, true},
		{"both families", media.Config{Bind: []netip.Addr{v4, v6}, PortStart: 10000, PortEnd: 20000}, true},
		{"one pair", media.Config{Bind: []netip.Addr{v4}, PortStart: 9999, PortEnd: 10001}, true},
		{"last pair", media.Config{Bind: []netip.Addr{v4}, PortStart: 65534, PortEnd: 65535}, true},
		{"no address", media.Config{}, false},
		{"zero address", media.Config{Bind: []netip.Addr{{}}}, false},
		{"two of a family", media.Config{Bind: []netip.Addr{v4, netip.MustParseAddr("::ffff:1.2.3.4")}}, false},
		{"no pair", media.Config{Bind: []netip.Addr{v4}, PortStart: 10001, PortEnd: 10002}, false},
		{"backwards", media.Config{Bind: []netip.Addr{v4}, PortStart: 20000, PortEnd: 10000}, false},
		{"65535 alone", media.Config{Bind: []netip.Addr{v4}, PortStart: 65535, PortEnd: 65535}, false},
		{"end only", media.Config{Bind: []netip.Addr{v4}, PortEnd: 10000}, false},
		{"negative time", media.Config{Bind: []netip.Addr{v4}, Timeouts: media.Timeouts{Hold: -1}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := media.New(tt.c)
			if (err == nil) != tt.ok || err != nil && !errors.Is(err, media.ErrConfig) {
				t.Fatalf("%v", err)
			}
			if r != nil {
				r.Close()
			}
		})
	}
}

// On real sockets: pairs of an even port and the next, forwarded, all given back.
func TestOSNetwork(t *testing.T) {
	for family, host := range map[media.Family]netip.Addr{
		media.IPv4: netip.MustParseAddr("127.0.0.1"), media.IPv6: netip.IPv6Loopback(),
	} {
		t.Run(family.String(), func(t *testing.T) {
			r, err := media.New(media.Config{Bind: []netip.Addr{host}})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			a, err := r.NewSide(family, 2)
			if err != nil {
				t.Fatal(err)
			}
			b, err := r.NewSide(family, 1)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range append(a.Ports(), b.Ports()...) {
				if p%2 != 0 {
					t.Errorf("RTP on %d", p)
				}
			}
			if n := r.PortsInUse(); n != 6 {
				t.Errorf("%d ports in use", n)
			}
			left, right := listen(t, host), listen(t, host)
			a.SetRemote(0, media.Remote{RTP: left.LocalAddr().(*net.UDPAddr).AddrPort()})
			b.SetRemote(0, media.Remote{RTP: right.LocalAddr().(*net.UDPAddr).AddrPort()})
			media.Join(a, b)
			first := make(chan media.Event, 1)
			a.Watch(func(e media.Event) { first <- e })
			pkt := []byte{0x80, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 'h', 'i'}
			if _, err := left.WriteToUDPAddrPort(pkt, netip.AddrPortFrom(host, a.Ports()[0])); err != nil {
				t.Fatal(err)
			}
			if err := right.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 100)
			n, from, err := right.ReadFromUDPAddrPort(buf)
			if err != nil || string(buf[:n]) != string(pkt) || from != netip.AddrPortFrom(host, b.Ports()[0]) {
				t.Fatalf("%q from %s, %v", buf[:n], from, err)
			}
			if e := <-first; e.Kind != media.FirstPacket {
				t.Errorf("%+v", e)
			}
		})
	}
}

func listen(t *testing.T, host netip.Addr) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(host, 0)))
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

// Calls come and go at once, the relay closes in the middle of it; run with -race.
func TestManyCallsAndClose(t *testing.T) {
	r, err := media.New(media.Config{Bind: []netip.Addr{netip.MustParseAddr("127.0.0.1")}})
	if err != nil {
		t.Fatal(err)
	}
	var calls sync.WaitGroup
	made := make(chan struct{}, 160)
	for range 8 {
		calls.Go(func() {
			for range 20 {
				a, err := r.NewSide(media.IPv4, 1)
				if err != nil {
					if !errors.Is(err, media.ErrClosed) {
						t.Error(err)
					}
					return
				}
				b, err := r.NewSide(media.IPv4, 2)
				if err != nil {
					a.Close()
					return
				}
				made <- struct{}{}
				media.Join(a, b)
				a.Watch(func(media.Event) {})
				a.Answered()
				r.PortsInUse()
				together(b.Close, a.Close)
				a.Stats()
			}
		})
	}
	calls.Go(func() {
		for range 40 {
			<-made
		}
		r.Close()
	})
	calls.Wait()
	if n := r.PortsInUse(); n != 0 {
		t.Errorf("%d ports in use", n)
	}
}

// together runs both at once and waits.
func together(f, g func()) {
	var both sync.WaitGroup
	both.Go(f)
	both.Go(g)
	both.Wait()
}
