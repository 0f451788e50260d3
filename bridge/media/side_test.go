package media_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtcp"
	"github.com/prometheus/client_golang/prometheus"

	"wakebridge/bridge/media"
)

// call is a trunk and a phone with public addresses, joined.
type call struct {
	trunk, app   *end
	a, b         *media.Side
	aPort, bPort uint16
}

func (w *world) call() *call {
	w.Helper()
	c := &call{trunk: w.far(pbx, 12000), app: w.far(router, 4000), a: w.side(1), b: w.side(1)}
	c.aPort, c.bPort = c.a.Ports()[0], c.b.Ports()[0]
	c.a.SetRemote(0, media.Remote{RTP: c.trunk.addr(), PayloadTypes: []uint8{0, 8, 101}})
	c.b.SetRemote(0, media.Remote{RTP: c.app.addr(), Signalling: router, PayloadTypes: []uint8{0, 8, 101}})
	media.Join(c.a, c.b)
	return c
}

func TestForwardAndStats(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c := w.call()
		start := time.Now()
		for i := range 100 {
			if i == 50 {
				c.trunk.seq += 3 // three are lost on the way to us
			}
			c.trunk.say(c.aPort, "trunk")
			c.app.say(c.bPort, "phone")
			time.Sleep(frame)
		}
		c.trunk.report(c.aPort)
		if n := c.app.hears("trunk"); n != 101 { // and the report
			w.Errorf("the phone heard %d", n)
		}
		all := c.trunk.heard()
		if len(all) != 100 {
			w.Errorf("the trunk heard %d", len(all))
		}
		for _, g := range all {
			if g.from != netip.AddrPortFrom(server, c.aPort) {
				w.Fatalf("heard from %s, want the port that the trunk was told", g.from)
			}
		}
		s := c.a.Stats()[0]
		if s.RTP.Packets != 100 || s.RTP.Octets != 100*17 || s.RTCP.Packets != 1 || s.Lost != 3 || s.SSRC != c.trunk.ssrc ||
			s.Sent.Packets != 100 || s.PayloadType != 0 || s.Source != c.trunk.addr() {
			w.Errorf("stats %+v", s)
		}
		if !s.First.Equal(start) || !s.Last.Equal(start.Add(99*frame)) || !s.Alive.Equal(start.Add(100*frame)) {
			w.Errorf("first %s, last %s, alive %s", s.First.Sub(start), s.Last.Sub(start), s.Alive.Sub(start))
		}
		before := c.a.Stats()
		c.a.Close()
		if after := c.a.Stats(); !slices.Equal(before, after) {
			w.Errorf("closing changed %+v to %+v", before, after)
		}
	})
}

func TestJoinAndPart(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c := w.call()
		other := w.far(pbx, 14000)
		d := w.side(1)
		d.SetRemote(0, media.Remote{RTP: other.addr()})
		check := func(what string, first, second int) {
			w.Helper()
			c.app.talk(c.bPort, "phone", 10)
			if n, m := c.trunk.hears("phone"), other.hears("phone"); n != first || m != second {
				w.Fatalf("%s: the first heard %d, the second %d", what, n, m)
			}
		}
		check("joined", 10, 0)
		c.b.Part()
		check("parted", 0, 0)
		c.b.Part()
		media.Join(d, c.b)
		check("joined to another", 0, 10)
		media.Join(c.a, c.b)
		check("joined to the first again without parting", 10, 0)
		c.trunk.say(c.aPort, "trunk")
		other.say(d.Ports()[0], "other")
		if n := c.app.hears("trunk"); n != 1 {
			w.Fatalf("the phone heard %d", n)
		}
		c.a.Close()
		check("the partner is closed", 0, 0)
		media.Join(c.a, c.b)
		media.Join(c.b, c.b)
		check("a closed side carries nothing", 0, 0)
		if n := c.b.Stats()[0].Rejected[media.NoDestination]; n != 30 {
			w.Errorf("%d packets without destination", n)
		}
	})
}

// A re-INVITE adds an m= line, first on one side, then on the other.
func TestGrowWhileJoined(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c := w.call()
		c.a.Answered()
		c.b.Answered()
		trunk, app := w.far(pbx, 12100), w.far(router, 4100)
		for _, s := range []*media.Side{c.a, c.b} {
			if err := s.Grow(2); err != nil {
				w.Fatal(err)
			}
		}
		c.a.SetRemote(1, media.Remote{RTP: trunk.addr()})
		c.b.SetRemote(1, media.Remote{RTP: netip.AddrPortFrom(router, 4300)}) // it sends from another port
		if a := c.a.Ports(); len(a) != 2 || a[0] != c.aPort || a[1] == a[0] {
			w.Fatalf("ports %v", a)
		}
		app.talk(c.b.Ports()[1], "video", 10)
		c.app.talk(c.bPort, "audio", 10)
		if n, m := trunk.hears("video"), c.trunk.hears("audio"); n != 10 || m != 10 {
			w.Fatalf("heard %d, %d", n, m)
		}
		time.Sleep(2 * time.Second) // the new line is answered as well: strict by now
		moved := w.far(router, 4200)
		moved.talk(c.b.Ports()[1], "moved", 10)
		if n := len(trunk.heard()); n != 0 {
			w.Fatalf("the latch of an added line stayed open: %d", n)
		}
		c.a.SetRemote(7, media.Remote{}) // logged, no more
		c.a.SetRemote(-1, media.Remote{})
	})
}

func TestFamilies(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		six, err := w.relay.NewSide(media.IPv6, 1)
		if err != nil {
			w.Fatal(err)
		}
		four := w.side(1)
		trunk := w.far(pbx, 12000)
		app := w.far(netip.MustParseAddr("2001:db8::7"), 4000)
		four.SetRemote(0, media.Remote{RTP: trunk.addr()})
		six.SetRemote(0, media.Remote{RTP: app.addr()})
		media.Join(four, six)
		trunk.talk(four.Ports()[0], "four", 10)
		if n := app.hears("four"); n != 10 {
			w.Fatalf("heard %d over IPv6", n)
		}
	})
	inWorld(t, func(c *media.Config) { c.Bind = []netip.Addr{server} }, func(w *world) {
		if _, err := w.relay.NewSide(media.IPv6, 1); !errors.Is(err, media.ErrNoFamily) {
			w.Errorf("%v", err)
		}
		if _, err := w.relay.NewSide(media.Family(0), 1); !errors.Is(err, media.ErrNoFamily) {
			w.Errorf("%v", err)
		}
	})
}

func TestDatagramsPassUnchecked(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c := w.call()
		x := w.far(stranger, 4000)
		c.a.SetRemote(0, media.Remote{RTP: c.trunk.addr(), Datagram: true})
		c.b.SetRemote(0, media.Remote{RTP: c.app.addr(), Datagram: true})
		c.a.Answered()
		for range 10 {
			c.trunk.send(c.trunk.rtp, []byte("fax"), c.aPort)
			x.send(x.rtp, []byte("evil"), c.aPort)
			time.Sleep(time.Second)
		}
		if n := c.app.hears("fax"); n != 10 {
			w.Fatalf("heard %d", n)
		}
	})
}

func TestFirstPacketEvent(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c := w.call()
		if err := c.a.Grow(2); err != nil {
			w.Fatal(err)
		}
		events := make(chan media.Event, 10)
		c.trunk.say(c.aPort, "early")
		at := time.Now()
		time.Sleep(time.Second)
		c.a.Watch(func(e media.Event) { events <- e }) // later than the packet
		if e := <-events; e.Kind != media.FirstPacket || e.Stream != 0 || !e.At.Equal(at) {
			w.Fatalf("%+v", e)
		}
		video := w.far(pbx, 12100)
		c.a.SetRemote(1, media.Remote{RTP: video.addr()})
		c.trunk.say(c.aPort, "more")
		video.report(c.a.Ports()[1])
		synctest.Wait()
		if len(events) != 0 {
			w.Fatalf("%+v", <-events)
		}
		video.say(c.a.Ports()[1], "video")
		if e := <-events; e.Kind != media.FirstPacket || e.Stream != 1 {
			w.Fatalf("%+v", e)
		}
	})
}

func TestSilence(t *testing.T) {
	type waits struct {
		name string
		// run plays until the time from which want counts.
		run  func(w *world, c *call)
		want time.Duration // 0: nothing within two hours
	}
	hold := func(c *call, on bool) {
		c.b.SetRemote(0, media.Remote{RTP: c.app.addr(), Signalling: router, Hold: on})
	}
	fax := func(c *call, on bool) {
		c.a.SetRemote(0, media.Remote{RTP: c.trunk.addr(), Datagram: on})
		c.b.SetRemote(0, media.Remote{RTP: c.app.addr(), Signalling: router, Datagram: on})
	}
	page := func(w *world, c *call) { // of five minutes, in which the other end sends nothing
		for range 100 {
			time.Sleep(3 * time.Second)
			c.trunk.send(c.trunk.rtp, []byte("page"), c.aPort)
		}
	}
	tests := []waits{
		{"who receives a fax page is not silent", func(w *world, c *call) {
			c.b.Answered()
			c.app.talk(c.bPort, "tone", 100)
			fax(c, true)
			page(w, c)
		}, time.Minute},
		{"after a fax page silence counts anew", func(w *world, c *call) {
			c.b.Answered()
			c.app.talk(c.bPort, "tone", 100)
			fax(c, true)
			page(w, c)
			fax(c, false)
		}, time.Minute},
		{"a fax beside audio excuses nobody", func(w *world, c *call) {
			if err := errors.Join(c.a.Grow(2), c.b.Grow(2)); err != nil {
				w.Fatal(err)
			}
			c.b.Answered()
			c.app.talk(c.bPort, "phone", 100)
			c.b.SetRemote(1, media.Remote{RTP: netip.AddrPortFrom(router, 4100), Datagram: true})
			for range 10 {
				time.Sleep(3 * time.Second)
				c.trunk.say(c.aPort, "pbx")
			}
		}, 30*time.Second - frame},
		{"not before the answer", func(w *world, c *call) { c.app.talk(c.bPort, "early", 10) }, 0},
		{"nothing ever came: allowance and silence", func(w *world, c *call) { c.b.Answered() }, 90 * time.Second},
		{"early media only: the same", func(w *world, c *call) {
			c.app.talk(c.bPort, "early", 10)
			c.b.Answered()
		}, 90 * time.Second},
		{"it stopped", func(w *world, c *call) {
			c.b.Answered()
			c.app.talk(c.bPort, "phone", 500)
			time.Sleep(-frame + time.Minute/2)
		}, time.Minute / 2},
		{"the other side talks on", func(w *world, c *call) {
			c.b.Answered()
			c.app.say(c.bPort, "phone")
			c.trunk.talk(c.aPort, "trunk", 1500)
		}, time.Minute / 2},
		{"a stranger's packets are no life", func(w *world, c *call) {
			c.b.Answered()
			c.app.say(c.bPort, "phone")
			w.far(stranger, 4000).talk(c.bPort, "evil", 1500)
		}, time.Minute / 2},
		{"reports are life", func(w *world, c *call) {
			c.b.Answered()
			c.app.say(c.bPort, "phone")
			for range 100 {
				time.Sleep(5 * time.Second)
				c.app.report(c.bPort)
			}
		}, time.Minute},
		{"not during hold", func(w *world, c *call) {
			c.b.Answered()
			c.app.talk(c.bPort, "phone", 100)
			hold(c, true)
		}, 30 * time.Minute},
		{"anew after hold", func(w *world, c *call) {
			c.b.Answered()
			c.app.talk(c.bPort, "phone", 100)
			hold(c, true)
			time.Sleep(20 * time.Minute)
			hold(c, false)
		}, time.Minute},
		{"hold by c=0.0.0.0", func(w *world, c *call) {
			c.b.Answered()
			c.app.talk(c.bPort, "phone", 100)
			c.b.SetRemote(0, media.Remote{RTP: netip.MustParseAddrPort("0.0.0.0:4000"), Hold: true})
		}, 30 * time.Minute},
		{"a refused line cannot be silent", func(w *world, c *call) {
			c.b.SetRemote(0, media.Remote{RTP: netip.AddrPortFrom(router, 0)})
			c.b.Answered()
		}, 0},
		{"one line of two is enough", func(w *world, c *call) {
			if err := c.b.Grow(2); err != nil {
				w.Fatal(err)
			}
			c.b.SetRemote(1, media.Remote{RTP: netip.AddrPortFrom(router, 4100)})
			c.b.Answered()
			c.app.talk(c.bPort, "phone", 10000)
			time.Sleep(-frame + 10*time.Second)
		}, 50 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				c := w.call()
				silent := make(chan media.Event, 10)
				c.b.Watch(func(e media.Event) {
					if e.Kind == media.Silent {
						silent <- e
					}
				})
				tt.run(w, c)
				from := time.Now()
				synctest.Wait()
				if len(silent) > 0 {
					w.Fatal("silent too early")
				}
				select {
				case e := <-silent:
					if time.Since(from) != tt.want || tt.want == 0 || !e.At.Equal(time.Now()) || e.Stream != -1 {
						w.Errorf("silent after %s: %+v", time.Since(from), e)
					}
				case <-time.After(2 * time.Hour):
					if tt.want != 0 {
						w.Error("never silent")
					}
				}
				time.Sleep(2 * time.Hour)
				if len(silent) != 0 {
					w.Errorf("reported again: %+v", <-silent)
				}
			})
		})
	}
}

func TestSilenceAgain(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c := w.call()
		var at []time.Time
		c.b.Watch(func(e media.Event) {
			if e.Kind == media.Silent {
				at = append(at, e.At)
			}
		})
		c.b.Answered()
		c.app.say(c.bPort, "phone")
		time.Sleep(10 * time.Minute)
		again := time.Now()
		c.app.say(c.bPort, "phone")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if len(at) != 2 || !at[1].Equal(again.Add(time.Minute)) {
			w.Errorf("%v", at)
		}
	})
}

func TestTimeoutsOff(t *testing.T) {
	inWorld(t, func(c *media.Config) { c.Timeouts = media.Timeouts{} }, func(w *world) {
		c := w.call()
		c.b.Watch(func(e media.Event) {
			if e.Kind == media.Silent {
				w.Errorf("%+v", e)
			}
		})
		c.b.Answered()
		c.app.say(c.bPort, "phone")
		time.Sleep(24 * time.Hour)
	})
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	read := func(t *testing.T) map[string]float64 {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				name := f.GetName()
				for _, l := range m.GetLabel() {
					name += " " + l.GetValue()
				}
				values[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
		return values
	}
	inWorld(t, func(c *media.Config) { c.Registerer = registry }, func(w *world) {
		if _, err := media.New(media.Config{Network: w.net, Bind: []netip.Addr{server}, Registerer: registry}); err == nil {
			w.Error("two relays share a registry")
		}
		c := w.call()
		c.trunk.talk(c.aPort, "trunk", 10)
		w.far(stranger, 4000).talk(c.aPort, "evil", 5)
		want := map[string]float64{
			"wakebridge_media_packets_total in rtp": 10, "wakebridge_media_packets_total out rtp": 10,
			"wakebridge_media_rejected_total wrong_source": 5, "wakebridge_media_octets_total in rtp": 170,
			"wakebridge_media_ports_in_use": 4, "wakebridge_media_sides": 2, "wakebridge_media_ports_exhausted_total": 0,
		}
		check := func() {
			w.Helper()
			have := read(w.T)
			for name, v := range want {
				if got, ok := have[name]; !ok || got != v {
					w.Errorf("%s = %v, want %v", name, got, v)
				}
			}
		}
		check()
		c.a.Close()
		c.b.Close()
		want["wakebridge_media_ports_in_use"], want["wakebridge_media_sides"] = 0, 0
		check()
	})
	if left := read(t); len(left) != 0 {
		t.Errorf("metrics stay after Close: %v", left)
	}
}

func TestDue(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c := w.call()
		check := func(what string, going bool, total time.Duration) {
			w.Helper()
			if d := c.b.Due(time.Now())[0]; !d.Since.IsZero() != going || d.Total != total {
				w.Errorf("%s: %+v, want %v, %s", what, d, going, total)
			}
		}
		remote := media.Remote{RTP: c.app.addr(), Signalling: router}
		held := remote
		held.Hold = true
		time.Sleep(time.Minute)
		check("before the answer", false, 0)
		c.b.Answered()
		time.Sleep(10 * time.Second)
		check("answered", true, 10*time.Second)
		c.b.SetRemote(0, held)
		time.Sleep(time.Minute)
		check("on hold", false, 10*time.Second)
		c.b.SetRemote(0, held)
		c.b.SetRemote(0, remote)
		c.b.SetRemote(0, remote)
		time.Sleep(5 * time.Second)
		check("resumed", true, 15*time.Second)
		c.b.SetRemote(0, media.Remote{})
		time.Sleep(time.Minute)
		check("the line was given up", false, 15*time.Second)
		c.b.Close()
		check("closed", false, 15*time.Second)
	})
}

// The way to each end and back, and what each end heard, from reports that pass
// between them; the trunk has RTCP on its RTP port, the phone on the one above.
func TestRoundTripOfBothEnds(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c := w.call()
		c.a.SetRemote(0, media.Remote{RTP: c.trunk.addr(), RTCP: c.trunk.addr(), PayloadTypes: []uint8{0}})
		c.trunk.say(c.aPort, "trunk")
		c.app.say(c.bPort, "phone")
		send := func(from *end, p rtcp.Packet) {
			w.Helper()
			b, err := rtcp.Marshal([]rtcp.Packet{p})
			if err != nil {
				w.Fatal(err)
			}
			if from == c.trunk {
				from.send(from.rtp, b, c.aPort)
				return
			}
			from.send(from.rtcp, b, c.bPort+1)
		}
		const stamp, middle = 0x1234_5678_9abc_def0, 0x5678_9abc
		for _, x := range []struct {
			from, to *end
			side     *media.Side
			trip     time.Duration
		}{{c.trunk, c.app, c.b, 70 * time.Millisecond}, {c.app, c.trunk, c.a, 30 * time.Millisecond}} {
			send(x.from, &rtcp.SenderReport{SSRC: 1, NTPTime: stamp})
			time.Sleep(2*time.Second + x.trip)
			send(x.to, &rtcp.ReceiverReport{SSRC: 2, Reports: []rtcp.ReceptionReport{{SSRC: 1, TotalLost: 3, Jitter: 40, LastSenderReport: middle, Delay: 2 << 16}}})
			s := x.side.Stats()[0]
			if s.RoundTrip.Samples != 1 || s.RoundTrip.Newest != x.trip {
				w.Errorf("%+v, want %s", s.RoundTrip, x.trip)
			}
			if s.Heard.Reports != 1 || s.Heard.Lost != 3 || s.Heard.Jitter != 5*time.Millisecond {
				w.Errorf("%+v", s.Heard)
			}
		}
	})
}
