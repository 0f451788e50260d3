package relay

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pion/rtp"

	"wakebridge/bridge/media/srtp"
)

// counting is an Observer that reads all it sees.
type counting struct{ seen, octets atomic.Uint64 }

func (c *counting) See(s Seen) {
	sum := 0
	for _, b := range s.Data {
		sum += int(b)
	}
	c.octets.Add(uint64(sum)) //nolint:gosec // a sum of octets
	c.seen.Add(1)
}

// Observers that come and go, insertions, signalling that holds, muxes and takes other
// keys, the packets of both ends and the end of one race; run with -race. No fault of
// ours may come of it.
func TestStreamRace(t *testing.T) {
	key, err := srtp.NewKey(srtp.AEADAES128GCM)
	if err != nil {
		t.Fatal(err)
	}
	engines(t, func(t *testing.T, e Engine) {
		a, b := newParty(t, e, 0), newParty(t, e, 0)
		join(a, b)
		stop := make(chan struct{})
		var others sync.WaitGroup
		until := func(f func(i int)) {
			others.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
						f(i)
					}
				}
			})
		}
		voice, report := packetOf(t, rtp.Header{SSRC: 5}, 160), reportOf(t, 5)
		for _, p := range []*party{a, b} {
			toRTP, toRTCP := addrOf(t, p.pair.RTP), addrOf(t, p.pair.RTCP)
			until(func(i int) {
				send := func(c *net.UDPConn, pkt []byte, to netip.AddrPort) {
					if _, err := c.WriteToUDPAddrPort(pkt, to); err != nil {
						t.Error(err)
					}
				}
				send(p.rtp, voice, toRTP)
				switch i % 8 {
				case 0:
					send(p.rtcp, report, toRTCP)
				case 4:
					send(p.rtp, report, toRTP) // muxed
				}
			})
		}
		var eyes counting
		until(func(i int) {
			o := Observation{Plain: i%4 == 0}
			if i%2 == 0 {
				o.By = &eyes
			}
			a.stream.Observe(o)
		})
		until(func(i int) {
			in := a.stream.Insert(Insert{Hold: i%2 == 0})
			in.Send(Frame{Timestamp: uint32(i), Payload: voice[:20]}) //nolint:gosec // timestamps wrap
			in.End()
		})
		until(func(int) {
			a.stream.Stats()
			a.stream.Senders()
		})
		for i := range 300 {
			r := Remote{RTP: addrOf(t, a.rtp), RTCP: addrOf(t, a.rtcp), Hold: i%2 == 0}
			if i%4 < 2 {
				r.RTCP = r.RTP
			}
			if i%8 == 0 {
				r.Secure = &Secure{Theirs: key, Ours: key}
			}
			a.stream.SetRemote(r)
		}
		waitFor(t, a.end, func(s Stats) bool {
			return s.RTP.Packets > 100 && s.Sent.Packets > 100 && s.Inserted > 0 && eyes.seen.Load() > 0
		})
		a.stream.Close()
		close(stop)
		others.Wait()
		for _, p := range []*party{a, b} {
			if s := p.stream.Stats(); s.Rejected[Fault] != 0 {
				t.Errorf("%d faults", s.Rejected[Fault])
			}
		}
	})
}
