package softphone_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/memnet"
	"wakebridge/sipua/softphone"
)

// world is a network in memory with phones on it.
type world struct {
	t   *testing.T
	net *memnet.Network
}

// inWorld runs a test in virtual time.
func inWorld(t *testing.T, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, net: memnet.New(memnet.Options{Seed: 7})}
		t.Cleanup(func() { w.net.Close() })
		f(t, w)
	})
}

// phone makes a phone at an address, with UDP and TCP on port 5060.
func (w *world) phone(user, addr string, change ...func(*softphone.Config)) *softphone.Phone {
	w.t.Helper()
	ip := netip.MustParseAddr(addr)
	host := w.net.Host(ip)
	pc, err := host.ListenPacket(netip.AddrPortFrom(ip, 5060))
	if err != nil {
		w.t.Fatal(err)
	}
	ln, err := host.Listen(netip.AddrPortFrom(ip, 5060))
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := softphone.Config{
		AOR: sipua.NewAOR(user, "example.com"), Log: slog.New(slog.DiscardHandler),
		Packets: []net.PacketConn{pc}, Listeners: []softphone.Listener{{Net: ln, Transport: sipua.TCP}},
		Media: func() (net.PacketConn, error) { return host.ListenPacket(netip.AddrPortFrom(ip, 0)) },
		Dial: func(ctx context.Context, _ sipua.Transport, to sipua.Destination) (net.Conn, error) {
			return host.Dial(ctx, netip.AddrPort{}, to.Addr)
		},
	}
	for _, c := range change {
		c(&cfg)
	}
	p, err := softphone.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(p.Close)
	return p
}

// call calls from one phone to another.
func (w *world) call(from *softphone.Phone, t sipua.Transport, to string) *softphone.Call {
	w.t.Helper()
	c, err := from.Call(w.outgoing(from, t, to))
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) outgoing(from *softphone.Phone, t sipua.Transport, to string) softphone.Outgoing {
	w.t.Helper()
	at := netip.MustParseAddrPort(to + ":5060")
	f, err := from.Connect(w.ctx(), t, softphone.At(at))
	if err != nil {
		w.t.Fatal(err)
	}
	return softphone.Outgoing{Target: sip.Uri{Scheme: "sip", User: "bob", Host: to}, Flow: f}
}

func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Minute)
	w.t.Cleanup(cancel)
	return ctx
}

func (w *world) accept(p *softphone.Phone) *softphone.Call {
	w.t.Helper()
	c, err := p.Accept(w.ctx())
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) wait(c *softphone.Call, kind softphone.Kind) softphone.Event {
	w.t.Helper()
	e, err := c.Wait(w.ctx(), kind)
	if err != nil {
		w.t.Fatalf("%s: %v (had %v)", kind, err, kinds(c))
	}
	return e
}

func kinds(c *softphone.Call) []string {
	var out []string
	for _, e := range c.Events() {
		out = append(out, e.Kind.String())
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func tone(hz float64) func(*softphone.Config) {
	return func(c *softphone.Config) { c.Audio.Source = softphone.Tone(hz) }
}

// impair loses a share of all datagrams from now on.
func impair(w *world, loss float64) {
	w.net.Impair(netip.Addr{}, netip.Addr{}, memnet.Impairment{Loss: loss})
}

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
