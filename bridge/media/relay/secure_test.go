package relay

import (
	"bytes"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"

	"wakebridge/bridge/media/srtp"
)

// party is a far end that speaks RTP or SRTP.
type party struct {
	*end
	keys     *Secure // as the relay sees them
	sender   *srtp.Sender
	receiver *srtp.Receiver
	count    uint16
}

func newParty(t *testing.T, e Engine, suite srtp.Suite) *party {
	t.Helper()
	p := &party{end: open(t, e, asUDP, Options{})}
	if suite != 0 {
		p.rekey(t, suite)
	}
	p.signal(t)
	return p
}

// rekey gives both directions new keys.
func (p *party) rekey(t *testing.T, suite srtp.Suite) {
	t.Helper()
	var k [2]srtp.Key
	for i := range k {
		var err error
		if k[i], err = srtp.NewKey(suite); err != nil {
			t.Fatal(err)
		}
	}
	p.keys = &Secure{Theirs: k[0], Ours: k[1]}
	var err error
	if p.sender, err = srtp.NewSender(k[0]); err != nil {
		t.Fatal(err)
	}
	if p.receiver, err = srtp.NewReceiver(k[1]); err != nil {
		t.Fatal(err)
	}
}

// signal tells the relay where the party is and its keys, as an SDP would.
func (p *party) signal(t *testing.T) {
	p.stream.SetRemote(Remote{RTP: addrOf(t, p.rtp), RTCP: addrOf(t, p.rtcp), Secure: p.keys})
}

func (p *party) seal(t *testing.T, rtcp bool, pkt []byte) []byte {
	t.Helper()
	if p.keys == nil {
		return pkt
	}
	protect := p.sender.RTP
	if rtcp {
		protect = p.sender.RTCP
	}
	out, err := protect(slices.Clone(pkt))
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(out)
}

// hears waits for a packet that holds want.
func (p *party) hears(t *testing.T, rtcp bool, want []byte) {
	t.Helper()
	conn := p.rtp
	if rtcp {
		conn = p.rtcp
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2000)
	n, _, err := conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	got := buf[:n]
	if p.keys != nil {
		if bytes.Equal(got, want) {
			t.Fatal("it was sent in the clear")
		}
		reveal := p.receiver.RTP
		if rtcp {
			reveal = p.receiver.RTCP
		}
		if got, err = reveal(got); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("heard %x, want %x", got, want)
	}
}

func join(a, b *party) {
	a.stream.Forward(b.stream)
	b.stream.Forward(a.stream)
}

// Every mix of RTP and SRTP, each leg with keys of its own.
func TestSecureMixes(t *testing.T) {
	engines(t, func(t *testing.T, e Engine) {
		for _, mix := range [][2]srtp.Suite{
			{0, srtp.AESCM128HMACSHA180}, {0, srtp.AEADAES256GCM}, {srtp.AESCM128HMACSHA132, srtp.AESCM128HMACSHA132},
			{srtp.AES256CMHMACSHA180, srtp.AEADAES128GCM}, {srtp.AES256CMHMACSHA132, srtp.AEADAES256GCM},
		} {
			a, b := newParty(t, e, mix[0]), newParty(t, e, mix[1])
			join(a, b)
			for seq := range uint16(5) {
				for _, way := range [][2]*party{{a, b}, {b, a}} {
					voice := packetOf(t, rtp.Header{SSRC: 5, SequenceNumber: seq}, 160)
					write(t, way[0].rtp, way[0].seal(t, false, voice), addrOf(t, way[0].pair.RTP))
					way[1].hears(t, false, voice)
					report := reportOf(t, 5)
					write(t, way[0].rtcp, way[0].seal(t, true, report), addrOf(t, way[0].pair.RTCP))
					way[1].hears(t, true, report)
				}
			}
			waitFor(t, a.end, func(s Stats) bool { return s.Sent.Packets == 5 }) // it is counted once it is out
			if s := a.stream.Stats(); s.Rejected.Total() != 0 {
				t.Errorf("%v: %+v", mix, s)
			}
		}
	})
}

// Forged, repeated and plain packets are counted and change nothing, whether they
// come from the far end's address or a stranger's.
func TestSecureRefuses(t *testing.T) {
	engines(t, func(t *testing.T, e Engine) {
		a, b := newParty(t, e, srtp.AESCM128HMACSHA180), newParty(t, e, 0)
		join(a, b)
		voice := packetOf(t, rtp.Header{SSRC: 5, SequenceNumber: 1}, 160)
		good := a.seal(t, false, voice)
		spoilt := slices.Clone(good)
		spoilt[20] ^= 1
		stranger := listenAt(t, "127.0.0.9")
		bad := func(c *net.UDPConn, pkt []byte, reason Reason) {
			before := a.stream.Stats().Rejected[reason]
			write(t, c, pkt, addrOf(t, a.pair.RTP))
			waitFor(t, a.end, func(s Stats) bool { return s.Rejected[reason] == before+1 })
		}
		bad(a.rtp, spoilt, BadAuth)
		bad(a.rtp, voice, BadAuth)
		bad(stranger, spoilt, WrongSource)
		write(t, a.rtp, good, addrOf(t, a.pair.RTP))
		b.hears(t, false, voice)
		bad(a.rtp, good, BadAuth)
		bad(stranger, good, WrongSource)
		if s := a.stream.Stats(); s.RTP.Packets != 1 || s.Source != addrOf(t, a.rtp) {
			t.Errorf("stats %+v", s)
		}
	})
}

// A report that comes again, from its author's address or a stranger's, is no report, nor
// is one that is older than the window.
func TestSecureRefusesOldReports(t *testing.T) {
	engines(t, func(t *testing.T, e Engine) {
		for _, suite := range []srtp.Suite{srtp.AESCM128HMACSHA180, srtp.AEADAES256GCM} {
			a, b := newParty(t, e, suite), newParty(t, e, 0)
			join(a, b)
			report := reportOf(t, 5)
			var sealed [130][]byte
			for i := range sealed {
				sealed[i] = a.seal(t, true, report)
			}
			stranger := listenAt(t, "127.0.0.9")
			bad := func(c *net.UDPConn, pkt []byte, reason Reason) {
				t.Helper()
				before := a.stream.Stats().Rejected[reason]
				write(t, c, pkt, addrOf(t, a.pair.RTCP))
				waitFor(t, a.end, func(s Stats) bool { return s.Rejected[reason] == before+1 })
			}
			for _, i := range []int{0, 129, 29} { // the last one is late
				write(t, a.rtcp, sealed[i], addrOf(t, a.pair.RTCP))
				b.hears(t, true, report)
				bad(a.rtcp, sealed[i], BadAuth)
				bad(stranger, sealed[i], WrongSource)
			}
			bad(a.rtcp, sealed[1], BadAuth)
			if s := a.stream.Stats(); s.RTCP.Packets != 3 || b.stream.Stats().SentRTCP.Packets != 3 {
				t.Errorf("%s: %+v", suite, s)
			}
		}
	})
}

// A phone that changes its network is followed as soon as an authentic packet comes
// from there, without a word of signalling; who only repeats its packets is not.
func TestSecureFollowsTheKey(t *testing.T) {
	engines(t, func(t *testing.T, e Engine) {
		a, b := newParty(t, e, srtp.AEADAES128GCM), newParty(t, e, 0)
		join(a, b)
		first := packetOf(t, rtp.Header{SSRC: 5, SequenceNumber: 1}, 160)
		write(t, a.rtp, a.seal(t, false, first), addrOf(t, a.pair.RTP))
		b.hears(t, false, first)
		a.rtp = listenAt(t, "127.0.0.9")
		second := packetOf(t, rtp.Header{SSRC: 5, SequenceNumber: 2}, 160)
		write(t, a.rtp, a.seal(t, false, second), addrOf(t, a.pair.RTP))
		b.hears(t, false, second)
		write(t, b.rtp, first, addrOf(t, b.pair.RTP))
		a.hears(t, false, first)
	})
}

// A packet that was held back, and comes by another way once newer ones came, is what
// its sender said; but it does not say where the sender is.
func TestSecureDoesNotFollowOldPackets(t *testing.T) {
	engines(t, func(t *testing.T, e Engine) {
		a, b := newParty(t, e, srtp.AESCM128HMACSHA180), newParty(t, e, 0)
		join(a, b)
		voice := func(seq uint16) []byte { return packetOf(t, rtp.Header{SSRC: 5, SequenceNumber: seq}, 160) }
		held := a.seal(t, false, voice(1))
		write(t, a.rtp, a.seal(t, false, voice(2)), addrOf(t, a.pair.RTP))
		b.hears(t, false, voice(2))
		stranger := listenAt(t, "127.0.0.9")
		write(t, stranger, held, addrOf(t, a.pair.RTP))
		b.hears(t, false, voice(1))
		write(t, b.rtp, voice(9), addrOf(t, b.pair.RTP))
		a.hears(t, false, voice(9))
		if s := a.stream.Stats(); s.Source != addrOf(t, a.rtp) {
			t.Errorf("followed to %v", s.Source)
		}
	})
}

// The same keys again (a re-INVITE for a hold) go on counting; new ones begin anew.
func TestSecureRekeyed(t *testing.T) {
	engines(t, func(t *testing.T, e Engine) {
		a, b := newParty(t, e, srtp.AESCM128HMACSHA180), newParty(t, e, srtp.AESCM128HMACSHA180)
		join(a, b)
		say := func(seq uint16) {
			t.Helper()
			voice := packetOf(t, rtp.Header{SSRC: 5, SequenceNumber: seq}, 160)
			write(t, a.rtp, a.seal(t, false, voice), addrOf(t, a.pair.RTP))
			b.hears(t, false, voice)
		}
		for _, seq := range []uint16{65000, 65535, 0, 1} { // the roll-over counter is 1 from here
			say(seq)
		}
		a.signal(t)
		b.signal(t)
		say(2) // with the counter of before, which nobody tells
		old := a.seal(t, false, packetOf(t, rtp.Header{SSRC: 5, SequenceNumber: 3}, 160))
		a.rekey(t, srtp.AEADAES256GCM)
		b.rekey(t, srtp.AES256CMHMACSHA180)
		a.signal(t)
		b.signal(t)
		write(t, a.rtp, old, addrOf(t, a.pair.RTP))
		waitFor(t, a.end, func(s Stats) bool { return s.Rejected[BadAuth] == 1 })
		say(3)
		say(4)
	})
}

// A key that was out of use, while the stream was ended or had another key, goes on
// where it was when it comes back: its roll-over counter, and what came already.
func TestSecureKeyComesBack(t *testing.T) {
	engines(t, func(t *testing.T, e Engine) {
		a, b := newParty(t, e, srtp.AESCM128HMACSHA180), newParty(t, e, 0)
		join(a, b)
		voice := func(seq uint16) []byte { return packetOf(t, rtp.Header{SSRC: 5, SequenceNumber: seq}, 160) }
		say := func(seq uint16) []byte {
			t.Helper()
			sealed := a.seal(t, false, voice(seq))
			write(t, a.rtp, sealed, addrOf(t, a.pair.RTP))
			b.hears(t, false, voice(seq))
			return sealed
		}
		say(65535)
		old := say(0)
		keys, sender := a.keys, a.sender
		for name, between := range map[string]func(){
			"ended":       func() { a.stream.SetRemote(Remote{}) },
			"another key": func() { a.rekey(t, srtp.AEADAES256GCM); a.signal(t); say(7) },
			"plain":       func() { a.keys = nil; a.signal(t); say(8) },
		} {
			between()
			a.keys, a.sender = keys, sender
			a.signal(t)
			before := a.stream.Stats().Rejected[BadAuth]
			write(t, a.rtp, old, addrOf(t, a.pair.RTP))
			waitFor(t, a.end, func(s Stats) bool { return s.Rejected[BadAuth] == before+1 })
			a.count++
			say(a.count)
			if t.Failed() {
				t.Fatal(name)
			}
		}
	})
}

// waitFor waits until a stream's counters are as wanted.
func waitFor(t *testing.T, x *end, ok func(Stats) bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(x.stream.Stats()); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("stats %+v", x.stream.Stats())
		}
	}
}
