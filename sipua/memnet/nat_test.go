package memnet_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"wakebridge/sipua/memnet"
)

const (
	phone  = "192.168.1.10"
	router = "203.0.113.7"
)

func natted(t testing.TB, opts memnet.NATOptions) (*memnet.Network, *memnet.NAT) {
	t.Helper()
	n := memnet.New(memnet.Options{})
	return n, must(n.NAT(ip(router), opts, ip(phone), ip("192.168.1.11")))(t)
}

func TestNATMapsPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := natted(t, memnet.NATOptions{})
		in, server := packetConn(t, n, phone+":5060"), packetConn(t, n, "10.0.0.1:5060")
		other := packetConn(t, n, "10.0.0.2:5060")

		send(t, in, "10.0.0.1:5060", "register")
		text, mapped := receive(t, server)
		if text != "register" || mapped.Addr() != ip(router) {
			t.Fatalf("got %q from %v", text, mapped)
		}
		send(t, server, mapped.String(), "ok")
		if text, from := receive(t, in); text != "ok" || from != ap("10.0.0.1:5060") {
			t.Errorf("answer: %q from %v", text, from)
		}
		send(t, other, mapped.String(), "stranger")
		send(t, server, phone+":5060", "private address")
		if text, _ := receive(t, in); text != "" {
			t.Errorf("let in: %q", text)
		}
		send(t, in, "10.0.0.2:5060", "same mapping")
		if _, from := receive(t, other); from != mapped {
			t.Errorf("mapped to %v and %v", mapped, from)
		}
		send(t, other, mapped.String(), "no stranger any more")
		if text, _ := receive(t, in); text == "" {
			t.Error("kept out after it was sent to")
		}
	})
}

func TestNATKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := natted(t, memnet.NATOptions{PerDestination: true, AcceptAll: true})
		in, one, two := packetConn(t, n, phone+":5060"), packetConn(t, n, "10.0.0.1:1"), packetConn(t, n, "10.0.0.2:1")
		send(t, in, "10.0.0.1:1", "x")
		send(t, in, "10.0.0.2:1", "x")
		_, first := receive(t, one)
		_, second := receive(t, two)
		if first == second {
			t.Errorf("one mapping %v for two destinations", first)
		}
		send(t, two, first.String(), "stranger")
		if text, _ := receive(t, in); text != "stranger" {
			t.Error("full cone kept a stranger out")
		}
	})
}

func TestNATBehindOneAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := natted(t, memnet.NATOptions{AcceptAll: true})
		must(n.NAT(ip("203.0.113.8"), memnet.NATOptions{}, ip("192.168.2.10")))(t)
		a, b := packetConn(t, n, phone+":1"), packetConn(t, n, "192.168.1.11:1")
		far, server := packetConn(t, n, "192.168.2.10:1"), packetConn(t, n, "10.0.0.1:1")
		send(t, a, "192.168.1.11:1", "neighbour")
		if text, from := receive(t, b); text != "neighbour" || from != ap(phone+":1") {
			t.Errorf("got %q from %v", text, from)
		}
		send(t, a, "10.0.0.1:1", "x")
		_, mapped := receive(t, server)
		send(t, b, mapped.String(), "hairpin")
		if text, from := receive(t, a); text != "hairpin" || from.Addr() != ip(router) {
			t.Errorf("got %q from %v", text, from)
		}
		send(t, far, mapped.String(), "other house")
		if text, from := receive(t, a); text != "other house" || from.Addr() != ip("203.0.113.8") {
			t.Errorf("got %q from %v", text, from)
		}
		if _, err := n.NAT(ip("203.0.113.9"), memnet.NATOptions{}, ip(phone)); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("a host behind two NATs: %v", err)
		}
		if _, err := n.ListenPacket(ap(router + ":1")); !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("bound to the router's address: %v", err)
		}
	})
}

func TestNATForgetsPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := natted(t, memnet.NATOptions{UDPTimeout: 30 * time.Second})
		in, server := packetConn(t, n, phone+":5060"), packetConn(t, n, "10.0.0.1:5060")
		send(t, in, "10.0.0.1:5060", "x")
		_, mapped := receive(t, server)
		for range 5 { // traffic from inside keeps the mapping
			time.Sleep(25 * time.Second)
			send(t, in, "10.0.0.1:5060", "keep-alive")
			if _, from := receive(t, server); from != mapped {
				t.Fatalf("mapping moved from %v to %v", mapped, from)
			}
		}
		time.Sleep(25 * time.Second)
		send(t, server, mapped.String(), "in time") // from outside does not
		if text, _ := receive(t, in); text != "in time" {
			t.Error("forgot too early")
		}
		time.Sleep(10 * time.Second)
		send(t, server, mapped.String(), "late")
		if text, _ := receive(t, in); text != "" {
			t.Errorf("got %q through a forgotten mapping", text)
		}
		send(t, in, "10.0.0.1:5060", "again")
		if _, from := receive(t, server); from == mapped || !from.IsValid() {
			t.Errorf("new mapping %v", from)
		}
	})
}

// Wi-Fi to LTE: the stream dies in silence on both ends, datagrams come from a new address.
func TestNATRebind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, nat := natted(t, memnet.NATOptions{})
		l := closing(t, must(n.Listen(ap("10.0.0.1:5060")))(t))
		server, in := packetConn(t, n, "10.0.0.1:5060"), packetConn(t, n, phone+":5060")
		d := closing(t, must(n.Dial(t.Context(), ap(phone+":0"), ap("10.0.0.1:5060")))(t))
		a := closing(t, must(l.Accept())(t))
		if a.RemoteAddr().(*net.TCPAddr).AddrPort().Addr() != ip(router) {
			t.Errorf("the server sees %v", a.RemoteAddr())
		}
		send(t, in, "10.0.0.1:5060", "x")
		_, before := receive(t, server)

		if err := nat.Rebind(ip("198.51.100.1")); err != nil {
			t.Fatal(err)
		}
		if nat.External() != ip("198.51.100.1") {
			t.Error(nat.External())
		}
		for _, c := range []net.Conn{d, a} {
			if _, err := c.Write([]byte("x")); err != nil {
				t.Errorf("write: %v", err)
			}
			if err := c.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []net.Conn{d, a} {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("read: %v", err)
			}
		}
		send(t, server, before.String(), "to the old address")
		if text, _ := receive(t, in); text != "" {
			t.Errorf("got %q", text)
		}
		send(t, in, "10.0.0.1:5060", "x")
		if _, after := receive(t, server); after.Addr() != ip("198.51.100.1") {
			t.Errorf("after Rebind from %v", after)
		}
		again := closing(t, must(n.Dial(t.Context(), ap(phone+":0"), ap("10.0.0.1:5060")))(t))
		if got := must(l.Accept())(t).RemoteAddr().String(); got[:13] != "198.51.100.1:" {
			t.Errorf("new stream %v from %s", again.LocalAddr(), got)
		}
	})
}

func TestNATForgetsIdleStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := natted(t, memnet.NATOptions{TCPTimeout: time.Minute})
		l := closing(t, must(n.Listen(ap("10.0.0.1:5060")))(t))
		d := closing(t, must(n.Dial(t.Context(), ap(phone+":0"), ap("10.0.0.1:5060")))(t))
		a := closing(t, must(l.Accept())(t))
		buf := make([]byte, 10)
		for range 3 {
			time.Sleep(50 * time.Second)
			if _, err := a.Write([]byte("ping")); err != nil {
				t.Fatal(err)
			}
			if k, err := d.Read(buf); err != nil || string(buf[:k]) != "ping" {
				t.Fatalf("got %q, %v", buf[:k], err)
			}
		}
		time.Sleep(61 * time.Second)
		if _, err := a.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		if err := d.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if k, err := d.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %q, %v", buf[:k], err)
		}
	})
}

func TestNATForwardsPorts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, nat := natted(t, memnet.NATOptions{})
		nat.Forward(5060, ap(phone+":5070"))
		in, outside := packetConn(t, n, phone+":5070"), packetConn(t, n, "10.0.0.1:1")
		send(t, outside, router+":5060", "in")
		if text, from := receive(t, in); text != "in" || from != ap("10.0.0.1:1") {
			t.Errorf("got %q from %v", text, from)
		}
		send(t, in, "10.0.0.1:1", "out")
		if _, from := receive(t, outside); from != ap(router+":5060") {
			t.Errorf("answers from %v", from)
		}
		l := closing(t, must(n.Listen(ap(phone+":5070")))(t))
		d := closing(t, must(n.Dial(t.Context(), ap("10.0.0.1:0"), ap(router+":5060")))(t))
		a := closing(t, must(l.Accept())(t))
		if _, err := d.Write([]byte("stream")); err != nil {
			t.Fatal(err)
		}
		if err := d.(*memnet.Conn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(a); err != nil || string(got) != "stream" {
			t.Errorf("got %q, %v", got, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := n.Dial(ctx, ap("10.0.0.1:0"), ap(router+":5061")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a port that is not forwarded: %v", err)
		}
		if _, err := n.Dial(ctx, ap("10.0.0.1:0"), ap(phone+":5070")); !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("a private address: %v", err)
		}
	})
}

func TestHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Options{})
		h := n.Host(ip("10.0.0.5"), ip("2001:db8::5"))
		for bind, want := range map[string]string{
			"0.0.0.0:5060": "10.0.0.5:5060", "[::]:5060": "[2001:db8::5]:5060", "10.0.0.5:5061": "10.0.0.5:5061",
		} {
			c := closing(t, must(h.ListenPacket(ap(bind)))(t))
			l := closing(t, must(h.Listen(ap(bind)))(t))
			if c.LocalAddr().String() != want || l.Addr().String() != want {
				t.Errorf("%s: bound %v and %v", bind, c.LocalAddr(), l.Addr())
			}
		}
		for _, bind := range []string{"10.0.0.6:0", "[2001:db8::6]:0"} {
			if _, err := h.ListenPacket(ap(bind)); !errors.Is(err, memnet.ErrNotLocal) {
				t.Errorf("%s: %v", bind, err)
			}
			if _, err := h.Listen(ap(bind)); !errors.Is(err, memnet.ErrNotLocal) {
				t.Errorf("%s: %v", bind, err)
			}
		}
		for server, client := range map[string]string{"10.0.0.9:443": "10.0.0.5", "[2001:db8::9]:443": "2001:db8::5"} {
			closing(t, must(n.Listen(ap(server)))(t))
			c := closing(t, must(h.DialContext(t.Context(), "tcp", server))(t))
			if got := c.LocalAddr().(*net.TCPAddr).AddrPort().Addr(); got != ip(client) {
				t.Errorf("dialled %s from %v", server, got)
			}
		}
		if _, err := h.Dial(t.Context(), netip.AddrPort{}, ap("10.0.0.9:444")); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Error(err)
		}
		if _, err := h.DialContext(t.Context(), "udp", "10.0.0.9:443"); err == nil {
			t.Error("dialled udp")
		}
	})
}
