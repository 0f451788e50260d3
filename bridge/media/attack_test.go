package media_test

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"wakebridge/bridge/media"
	"wakebridge/sipua/memnet"
)

// natted puts the phone behind a NAT that keeps to RFC 4787.
func natted(w *world, o memnet.NATOptions) *memnet.NAT {
	w.Helper()
	nat, err := w.net.NAT(router, o, phone)
	if err != nil {
		w.Fatal(err)
	}
	return nat
}

// M1, M2: packets sprayed before, during and after set-up receive nothing and
// inject nothing; with a phone behind a NAT whose SDP shows a private address.
func TestSprayedPackets(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		natted(w, memnet.NATOptions{})
		x := w.far(stranger, 4000)
		trunk, app := w.far(pbx, 12000), w.far(phone, 4000)
		for call := range 100 {
			trunk.ssrc++ // a new one for each call (RFC 3550 s8)
			app.ssrc++
			x.spray(2)
			a, b := w.side(1), w.side(1)
			aPort, bPort := a.Ports()[0], b.Ports()[0]
			x.spray(2)
			a.SetRemote(0, media.Remote{RTP: trunk.addr(), PayloadTypes: []uint8{0}})
			media.Join(a, b)
			x.spray(2)
			b.SetRemote(0, media.Remote{RTP: app.addr(), Signalling: router, PayloadTypes: []uint8{0}})
			x.spray(2)
			a.Answered()
			b.Answered()
			x.spray(2)
			for range 150 { // 3 s, past the latch's window
				app.say(bPort, "phone")
				trunk.say(aPort, "trunk")
				x.say(aPort, "evil")
				x.say(bPort, "evil")
				time.Sleep(frame)
			}
			x.spray(2)
			a.Close()
			b.Close()
			x.spray(2)
			if n := app.hears("trunk"); n < 149 {
				w.Fatalf("call %d: the phone heard %d of 150", call, n)
			}
			if n := trunk.hears("phone"); n < 149 {
				w.Fatalf("call %d: the trunk heard %d of 150", call, n)
			}
			if n := len(x.heard()); n != 0 {
				w.Fatalf("call %d: the stranger received %d packets", call, n)
			}
			s := a.Stats()[0]
			past := s.Rejected[media.PastSender] // the port's last call refused it as well
			if s.Rejected[media.NoRemote]+past == 0 || s.Rejected[media.WrongSource]+past < 150 {
				w.Fatalf("call %d: the stranger was not even refused: %v", call, s.Rejected)
			}
		}
	})
}

// M1, M2: signalling opens the latch of a call again and again. Neither a stranger nor
// another host behind the phone's own NAT takes the place of a phone that talks, with
// pauses between its words.
func TestSprayedWhileSignallingReopens(t *testing.T) {
	neighbour := netip.MustParseAddr("192.168.1.8")
	inWorld(t, nil, func(w *world) {
		if _, err := w.net.NAT(router, memnet.NATOptions{}, phone, neighbour); err != nil {
			w.Fatal(err)
		}
		trunk, app := w.far(pbx, 12000), w.far(phone, 4000)
		x, near := w.far(stranger, 4000), w.far(neighbour, 4002)
		a, b := w.side(1), w.side(1)
		aPort, bPort := a.Ports()[0], b.Ports()[0]
		a.SetRemote(0, media.Remote{RTP: trunk.addr(), PayloadTypes: []uint8{0}})
		behind := media.Remote{RTP: app.addr(), Signalling: router, PayloadTypes: []uint8{0}}
		b.SetRemote(0, behind)
		media.Join(a, b)
		a.Answered()
		b.Answered()
		app.talk(bPort, "phone", 120) // past the window of the set-up
		said := 120
		for i := range 1000 { // 20 s, a re-INVITE each
			if i%50 == 0 {
				b.SetRemote(0, behind)
			}
			if i%50 < 20 || i%50 == 49 { // 400 ms of words, 580 ms of pause
				app.say(bPort, "phone")
				said++
			}
			trunk.say(aPort, "trunk")
			for _, evil := range []*end{x, near} {
				evil.say(aPort, "evil")
				evil.say(bPort, "evil")
			}
			time.Sleep(frame)
		}
		if n := app.hears("trunk"); n < 999 {
			w.Errorf("the phone heard %d of 1000", n)
		}
		if n := trunk.hears("phone"); n != said {
			w.Errorf("the trunk heard %d of %d", n, said)
		}
		for _, evil := range []*end{x, near} {
			if n := len(evil.heard()); n != 0 {
				w.Errorf("%s received %d packets", evil.addr(), n)
			}
		}
	})
}

// M1, M2: nor does it while the phone is on hold, sends nothing and its neighbour does, and
// after that.
func TestSprayedDuringHold(t *testing.T) {
	neighbour := netip.MustParseAddr("192.168.1.8")
	inWorld(t, nil, func(w *world) {
		if _, err := w.net.NAT(router, memnet.NATOptions{}, phone, neighbour); err != nil {
			w.Fatal(err)
		}
		trunk, app, near := w.far(pbx, 12000), w.far(phone, 4000), w.far(neighbour, 4002)
		a, b := w.side(1), w.side(1)
		aPort, bPort := a.Ports()[0], b.Ports()[0]
		atTrunk := media.Remote{RTP: trunk.addr(), PayloadTypes: []uint8{0}}
		behind := media.Remote{RTP: app.addr(), Signalling: router, PayloadTypes: []uint8{0}}
		signal := func(hold bool) {
			atTrunk.Hold, behind.Hold, behind.SendsNothing = hold, hold, hold
			a.SetRemote(0, atTrunk)
			b.SetRemote(0, behind)
		}
		signal(false)
		media.Join(a, b)
		a.Answered()
		b.Answered()
		app.talk(bPort, "phone", 200)
		signal(true)
		for range 250 {
			near.say(bPort, "evil")
			time.Sleep(frame)
		}
		signal(false)
		for range 200 {
			near.say(bPort, "evil")
			app.say(bPort, "phone")
			trunk.say(aPort, "trunk")
			time.Sleep(frame)
		}
		if n := app.hears("trunk"); n < 199 {
			w.Errorf("the phone heard %d of 200", n)
		}
		// The first shot after the hold may be the phone, begun anew: one packet.
		heard, evil := 0, 0
		for _, g := range trunk.heard() {
			switch g.payload {
			case "phone":
				heard++
			case "evil":
				evil++
			}
		}
		if heard != 400 || evil > 1 {
			w.Errorf("the trunk heard %d of 400, and %d of the neighbour", heard, evil)
		}
		if n := len(near.heard()); n > 1 {
			w.Errorf("the neighbour received %d packets", n)
		}
	})
}

// M9: the old call's peer goes on sending while a new call takes the same
// ports, from a host that the new call's SDP names as well.
func TestOldCallNeverReachesTheNext(t *testing.T) {
	inWorld(t, func(c *media.Config) { c.PortStart, c.PortEnd = 10000, 10003 }, func(w *world) {
		old, next, other := w.far(pbx, 12000), w.far(pbx, 12002), w.far(stranger, 6000)
		call := func(remote *end) (a, b *media.Side) {
			a, b = w.side(1), w.side(1)
			a.SetRemote(0, media.Remote{RTP: remote.addr()})
			b.SetRemote(0, media.Remote{RTP: other.addr()})
			media.Join(a, b)
			a.Answered()
			b.Answered()
			return a, b
		}
		a, b := call(old)
		port := a.Ports()[0]
		old.talk(port, "old", 100)
		if n := other.hears("old"); n != 100 {
			w.Fatalf("heard %d", n)
		}
		a.Close()
		b.Close()
		for since := time.Duration(0); since < 2*time.Second; since += frame {
			if _, err := w.relay.NewSide(media.IPv4, 1); !errors.Is(err, media.ErrNoPorts) {
				w.Fatalf("after %s: %v", since, err)
			}
			old.talk(port, "old", 1)
		}
		a, b = call(next)
		if a.Ports()[0] != port {
			w.Fatalf("the pair used first is taken first: %d, want %d", a.Ports()[0], port)
		}
		for range 100 {
			old.talk(port, "old", 1)
		}
		if n := len(other.heard()); n != 0 {
			w.Fatalf("%d packets of the old call reached the new one", n)
		}
		for range 100 {
			old.say(port, "old")
			next.talk(port, "next", 1)
		}
		if n := other.hears("next"); n != 100 {
			w.Fatalf("heard %d of the new call", n)
		}
		if s := a.Stats()[0]; s.Rejected[media.PastSender] < 100 {
			w.Errorf("%v", s.Rejected)
		}
		// And it does not stop: the call after the next is spared as well.
		a.Close()
		b.Close()
		old.talk(port, "old", 110)
		third := w.far(pbx, 12004)
		a, _ = call(third)
		old.talk(port, "old", 10)
		if n := len(other.heard()); n != 0 || a.Ports()[0] != port {
			w.Fatalf("%d packets of the first call reached the third, at port %d", n, a.Ports()[0])
		}
		third.talk(port, "third", 10)
		if n := other.hears("third"); n != 10 {
			w.Fatalf("heard %d of the third call", n)
		}
	})
}

// M9: nor do those that the old call knew by another name: its peer from before it
// moved, one that was refused all the while, and the reports of either.
func TestNobodyOfTheOldCallReachesTheNext(t *testing.T) {
	inWorld(t, func(c *media.Config) { c.PortStart, c.PortEnd = 10000, 10003 }, func(w *world) {
		first, moved, refused := w.far(pbx, 12000), w.far(pbx, 12010), w.far(pbx, 12020)
		next, other := w.far(pbx, 12002), w.far(stranger, 6000)
		open := func(remote *end) (a, b *media.Side) {
			a, b = w.side(1), w.side(1)
			a.SetRemote(0, media.Remote{RTP: remote.addr()})
			b.SetRemote(0, media.Remote{RTP: other.addr()})
			media.Join(a, b)
			a.Answered()
			b.Answered()
			return a, b
		}
		a, b := open(first)
		port := a.Ports()[0]
		first.talk(port, "old", 10)
		a.SetRemote(0, media.Remote{RTP: moved.addr()})
		moved.talk(port, "old", 10)
		refused.talk(port, "refused", 10)
		if n := other.hears("old"); n != 20 {
			w.Fatalf("heard %d", n)
		}
		a.Close()
		b.Close()
		time.Sleep(2 * time.Second)
		a, _ = open(next)
		if a.Ports()[0] != port {
			w.Fatalf("the pair used first is taken first: %d, want %d", a.Ports()[0], port)
		}
		for range 5 { // pauses of speech
			for _, old := range []*end{first, moved, refused} {
				old.say(port, "old")
				old.report(port)
			}
			time.Sleep(4 * time.Second)
		}
		if n := len(other.heard()); n != 0 {
			w.Fatalf("%d packets of the old call reached the new one", n)
		}
		next.talk(port, "next", 10)
		next.report(port)
		if n := other.hears("next"); n != 11 {
			w.Fatalf("heard %d of the new call", n)
		}
		if s := a.Stats()[0]; s.Rejected[media.PastSender] != 30 || s.RTCP.Packets != 1 {
			w.Errorf("%+v", s)
		}
	})
}

// A phone behind a NAT that keeps its port and its SSRC from call to call meets the same
// port of ours again: after a while it is itself, and not the call before.
func TestSameSenderLaterIsHeard(t *testing.T) {
	for rest, heard := range map[time.Duration]int{3 * time.Second: 0, 11 * time.Minute: 50} {
		t.Run(rest.String(), func(t *testing.T) {
			inWorld(t, func(c *media.Config) { c.PortStart, c.PortEnd = 10000, 10003 }, func(w *world) {
				natted(w, memnet.NATOptions{UDPTimeout: time.Hour})
				trunk, app := w.far(pbx, 12000), w.far(phone, 4000)
				for call := range 2 {
					a, b := w.side(1), w.side(1)
					a.SetRemote(0, media.Remote{RTP: trunk.addr()})
					b.SetRemote(0, media.Remote{RTP: app.addr(), Signalling: router})
					media.Join(a, b)
					a.Answered()
					b.Answered()
					app.talk(b.Ports()[0], "phone", 50)
					if n := trunk.hears("phone"); call == 0 && n != 50 || call == 1 && n != heard {
						t.Errorf("call %d: heard %d", call, n)
					}
					a.Close()
					b.Close()
					time.Sleep(rest)
				}
			})
		})
	}
}

// M7: ports come back on each path, also those of sides that failed to open.
func TestPortsRunOutAndComeBack(t *testing.T) {
	inWorld(t, func(c *media.Config) { c.PortStart, c.PortEnd = 10001, 10010 }, func(w *world) {
		var open []*media.Side
		for i := range 4 { // 10002 to 10009
			open = append(open, w.side(1))
			if n := w.relay.PortsInUse(); n != 2*(i+1) {
				w.Fatalf("%d ports in use", n)
			}
		}
		for range 100 {
			if _, err := w.relay.NewSide(media.IPv4, 1); !errors.Is(err, media.ErrNoPorts) {
				w.Fatal(err)
			}
		}
		open[0].Close()
		open[0].Close()
		open[1].Close()
		time.Sleep(2 * time.Second)
		if _, err := w.relay.NewSide(media.IPv4, 3); !errors.Is(err, media.ErrNoPorts) {
			w.Fatal(err)
		}
		if n := w.relay.PortsInUse(); n != 4 {
			w.Fatalf("a side that failed keeps %d ports", n-4)
		}
		time.Sleep(2 * time.Second)
		if err := open[2].Grow(4); !errors.Is(err, media.ErrNoPorts) {
			w.Fatal(err)
		}
		if n, ports := w.relay.PortsInUse(), open[2].Ports(); n != 4 || len(ports) != 1 {
			w.Fatalf("growing failed but %d ports are in use, the side has %v", n, ports)
		}
		time.Sleep(2 * time.Second)
		if err := open[2].Grow(3); err != nil {
			w.Fatal(err)
		}
		if n := w.relay.PortsInUse(); n != 8 {
			w.Fatalf("%d ports in use", n)
		}
		if err := open[2].Grow(2); err != nil || len(open[2].Ports()) != 3 {
			w.Fatalf("%v, %v", err, open[2].Ports())
		}
		seen := map[uint16]bool{}
		for _, p := range append(open[2].Ports(), open[3].Ports()...) {
			if p%2 != 0 || p < 10002 || p > 10008 || seen[p] {
				w.Errorf("port %d", p)
			}
			seen[p] = true
		}
	})
}

// A pair whose RTCP port is another program's is passed over, and nothing of it
// stays open.
func TestOccupiedPorts(t *testing.T) {
	inWorld(t, func(c *media.Config) { c.PortStart, c.PortEnd = 10000, 10005 }, func(w *world) {
		taken, err := w.net.ListenPacket(netip.AddrPortFrom(server, 10001))
		if err != nil {
			w.Fatal(err)
		}
		a, b := w.side(1), w.side(1)
		if a.Ports()[0] == 10000 || b.Ports()[0] == 10000 {
			w.Fatal("an occupied pair was given")
		}
		if _, err := w.relay.NewSide(media.IPv4, 1); !errors.Is(err, media.ErrNoPorts) {
			w.Fatal(err)
		}
		free, err := w.net.ListenPacket(netip.AddrPortFrom(server, 10000))
		if err != nil {
			w.Fatalf("the RTP half stayed open: %v", err)
		}
		if err := errors.Join(free.Close(), taken.Close()); err != nil {
			w.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if c := w.side(1); c.Ports()[0] != 10000 {
			w.Fatal("the pair did not come back")
		}
	})
}

// While ports are plentiful a pair rests far longer than it must: the least
// recently used comes first.
func TestLeastRecentlyUsedFirst(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		last := map[uint16]time.Time{}
		for range 500 {
			s := w.side(1)
			port := s.Ports()[0]
			if since, used := last[port]; used && time.Since(since) < 49*time.Second {
				w.Fatalf("port %d again after %s", port, time.Since(since))
			}
			s.Close()
			last[port] = time.Now()
			time.Sleep(time.Second)
		}
		if len(last) != 50 {
			w.Errorf("%d pairs were used, want all 50", len(last))
		}
	})
}

func TestSystemChosenPortsRest(t *testing.T) {
	inWorld(t, func(c *media.Config) { c.PortStart, c.PortEnd = 0, 0 }, func(w *world) {
		last := map[uint16]time.Time{}
		for range 200 {
			a, b := w.side(2), w.side(1)
			for _, p := range append(a.Ports(), b.Ports()...) {
				if since, used := last[p]; p%2 != 0 || used && time.Since(since) < 30*time.Second {
					w.Fatalf("port %d, used %s ago", p, time.Since(since))
				}
				last[p] = time.Now()
			}
			a.Close()
			b.Close()
			time.Sleep(100 * time.Millisecond)
		}
	})
}

// A phone whose audio starts 8 s after the answer is heard, and hears what was
// said to it meanwhile from then on (CallKit starts audio late).
func TestLatePhoneBehindNAT(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		natted(w, memnet.NATOptions{})
		trunk, app := w.far(pbx, 12000), w.far(phone, 4000)
		a, b := w.side(1), w.side(1)
		a.SetRemote(0, media.Remote{RTP: trunk.addr()})
		b.SetRemote(0, media.Remote{RTP: app.addr(), Signalling: router})
		media.Join(a, b)
		a.Answered()
		b.Answered()
		trunk.talk(a.Ports()[0], "early", 400)
		if n := len(app.heard()); n != 0 {
			w.Fatalf("%d packets went to a private address", n)
		}
		if s := a.Stats()[0]; s.Rejected[media.NoDestination] != 400 || s.RTP.Packets != 400 {
			w.Fatalf("%+v", s)
		}
		app.say(b.Ports()[0], "hello")
		trunk.talk(a.Ports()[0], "late", 100)
		if n := app.hears("late"); n != 100 {
			w.Fatalf("the phone heard %d", n)
		}
		if n := trunk.hears("hello"); n != 1 {
			w.Fatalf("the trunk heard %d", n)
		}
		if at := b.Stats()[0].Source.Addr(); at != router {
			w.Errorf("latched to %s", at)
		}
	})
}

// The NAT forgets the phone during a long hold: after it the phone comes from
// another port and is heard, a stranger is not.
func TestHoldOutlivesTheNATBinding(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		natted(w, memnet.NATOptions{UDPTimeout: time.Minute})
		trunk, app, x := w.far(pbx, 12000), w.far(phone, 4000), w.far(stranger, 4000)
		a, b := w.side(1), w.side(1)
		a.SetRemote(0, media.Remote{RTP: trunk.addr()})
		remote := media.Remote{RTP: app.addr(), Signalling: router}
		b.SetRemote(0, remote)
		media.Join(a, b)
		a.Answered()
		b.Answered()
		app.talk(b.Ports()[0], "before", 200)
		before := b.Stats()[0].Source
		remote.Hold = true
		b.SetRemote(0, remote)
		time.Sleep(5 * time.Minute)
		x.say(b.Ports()[0], "evil")
		remote.Hold = false
		b.SetRemote(0, remote)
		x.say(b.Ports()[0], "evil")
		trunk.heard()
		app.talk(b.Ports()[0], "after", 200)
		after := b.Stats()[0].Source
		if n := trunk.hears("after"); n != 200 || before == after {
			w.Fatalf("heard %d; latched to %s, then %s", n, before, after)
		}
	})
}

// The phone changes its network: the re-INVITE's new address opens the latch
// again, and the old one counts no more.
func TestPhoneMoves(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		trunk, here := w.far(pbx, 12000), w.far(router, 4000)
		there := w.far(netip.MustParseAddr("198.51.100.99"), 5000)
		a, b := w.side(1), w.side(1)
		a.SetRemote(0, media.Remote{RTP: trunk.addr()})
		b.SetRemote(0, media.Remote{RTP: here.addr(), Signalling: here.addr().Addr()})
		media.Join(a, b)
		a.Answered()
		b.Answered()
		here.talk(b.Ports()[0], "here", 200)
		there.talk(b.Ports()[0], "there", 10)
		if n := trunk.hears("here"); n != 200 {
			w.Fatalf("heard %d", n)
		}
		b.SetRemote(0, media.Remote{RTP: there.addr(), Signalling: there.addr().Addr()})
		trunk.say(a.Ports()[0], "moved")
		here.talk(b.Ports()[0], "here", 10)
		there.talk(b.Ports()[0], "there", 200)
		if n := trunk.hears("there"); n != 200 {
			w.Fatalf("heard %d", n)
		}
		if n, m := len(here.heard()), there.hears("moved"); n != 0 || m != 1 {
			w.Fatalf("old place heard %d, new place %d", n, m)
		}
	})
}

func TestRelayClose(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		s := w.side(2)
		s.Watch(func(media.Event) {})
		w.relay.Close()
		w.relay.Close()
		if _, err := w.relay.NewSide(media.IPv4, 1); !errors.Is(err, media.ErrClosed) {
			w.Errorf("new side: %v", err)
		}
		if err := s.Grow(3); !errors.Is(err, media.ErrClosed) {
			w.Errorf("grow: %v", err)
		}
		synctest.Wait()
	})
}
