package relay

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"

	"wakebridge/bridge/media/srtp"
)

// witness is an Observer that keeps all.
type witness struct {
	mu   sync.Mutex
	seen []Seen
}

func (w *witness) See(s Seen) {
	s.Data = slices.Clone(s.Data)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, s)
}

// take waits for n packets and forgets them.
func (w *witness) take(t *testing.T, n int) []Seen {
	t.Helper()
	for deadline := time.Now().Add(patience); ; <-time.After(time.Millisecond) {
		w.mu.Lock()
		if len(w.seen) >= n {
			defer w.mu.Unlock()
			all := w.seen
			w.seen = nil
			return all
		}
		w.mu.Unlock()
		if time.Now().After(deadline) {
			t.Fatalf("the observer did not see %d packets", n)
		}
	}
}

// Each packet is seen once where it comes in and once where it leaves, as it is on the
// wire or, if that is asked for, as SRTP holds it.
func TestObserve(t *testing.T) {
	for _, protected := range []bool{false, true} {
		for _, plain := range []bool{false, true} {
			t.Run(fmt.Sprintf("protected=%t,plain=%t", protected, plain), func(t *testing.T) {
				engines(t, func(t *testing.T, e Engine) { observe(t, e, protected, plain) })
			})
		}
	}
}

func observe(t *testing.T, e Engine, protected, plain bool) {
	suites := [2]srtp.Suite{}
	if protected {
		suites = [2]srtp.Suite{srtp.AESCM128HMACSHA180, srtp.AEADAES128GCM}
	}
	a, b := newParty(t, e, suites[0]), newParty(t, e, suites[1])
	join(a, b)
	var in, out witness
	a.stream.Observe(Observation{By: &in, Local: netip.MustParseAddrPort("203.0.113.1:40000"), Plain: plain})
	b.stream.Observe(Observation{By: &out, Local: netip.MustParseAddrPort("203.0.113.1:40002"), Plain: plain})

	for _, c := range []struct {
		rtcp     bool
		pkt      []byte
		from, to net.PacketConn
		port     net.PacketConn
		ours     [2]string
	}{
		{false, packetOf(t, rtp.Header{SSRC: 5, SequenceNumber: 1}, 160), a.rtp, b.rtp, a.pair.RTP, [2]string{"203.0.113.1:40000", "203.0.113.1:40002"}},
		{true, reportOf(t, 5), a.rtcp, b.rtcp, a.pair.RTCP, [2]string{"203.0.113.1:40001", "203.0.113.1:40003"}},
	} {
		wire := a.seal(t, c.rtcp, c.pkt)
		write(t, c.from.(*net.UDPConn), wire, addrOf(t, c.port))
		b.hears(t, c.rtcp, c.pkt)
		want := wire
		if plain {
			want = c.pkt
		}
		got := in.take(t, 1)
		if s := got[0]; len(got) != 1 || s.RTCP != c.rtcp || s.From != addrOf(t, c.from) || s.To.String() != c.ours[0] || !bytes.Equal(s.Data, want) {
			t.Errorf("in: %+v", got)
		}
		got = out.take(t, 1)
		s := got[0]
		if len(got) != 1 || s.RTCP != c.rtcp || s.From.String() != c.ours[1] || s.To != addrOf(t, c.to) {
			t.Errorf("out: %+v", got)
		}
		if readable := bytes.Equal(s.Data, c.pkt); readable != (plain || !protected) {
			t.Errorf("out: %x of %x", s.Data, c.pkt)
		}
	}
}

// What is refused is seen as such, and an observer that was taken away sees nothing
// more.
func TestObserverSeesWhatIsRefused(t *testing.T) {
	engines(t, func(t *testing.T, e Engine) {
		a, b := newParty(t, e, 0), newParty(t, e, 0)
		join(a, b)
		var w witness
		a.stream.Observe(Observation{By: &w})
		first := packetOf(t, rtp.Header{SSRC: 5, SequenceNumber: 1}, 160)
		stranger := listenAt(t, "127.0.0.9")
		write(t, stranger, first, addrOf(t, a.pair.RTP))
		got := w.take(t, 1)
		if s := got[0]; len(got) != 1 || !s.Refused || s.Reason != WrongSource || s.From != addrOf(t, stranger) || !bytes.Equal(s.Data, first) {
			t.Errorf("%+v", got)
		}
		write(t, a.rtp, first[:11], addrOf(t, a.pair.RTP))
		write(t, a.rtp, first, addrOf(t, a.pair.RTP))
		b.hears(t, false, first)
		if got := w.take(t, 2); len(got) != 2 || !got[0].Refused || got[0].Reason != BadHeader || got[1].Refused || !bytes.Equal(got[1].Data, first) {
			t.Errorf("%+v", got)
		}
		a.stream.Observe(Observation{})
		second := packetOf(t, rtp.Header{SSRC: 5, SequenceNumber: 2}, 160)
		write(t, a.rtp, second, addrOf(t, a.pair.RTP))
		b.hears(t, false, second)
		if got := w.take(t, 0); len(got) != 0 {
			t.Errorf("%+v", got)
		}
	})
}
