package relay

import (
	"bytes"
	"encoding/json"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"pgregory.net/rapid"

	"wakebridge/bridge/media/srtp"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// feed gives a receiver 20 ms PCMU packets of one SSRC.
type feed struct {
	*receiver
	t    testing.TB
	now  time.Time
	from netip.AddrPort
	ssrc uint32
}

func (f *feed) rtp(seq uint16, stamp uint32) verdict {
	pkt := packetOf(f.t, rtp.Header{SSRC: f.ssrc, SequenceNumber: seq, Timestamp: stamp}, 160)
	return f.receive(rtpChannel, inbound{pkt, f.from, f.now})
}

func newFeed(t testing.TB, remote Remote) *feed {
	r := newReceiver(Sender{}, noon)
	r.setRemote(remote)
	return &feed{receiver: r, t: t, now: noon, from: remote.RTP, ssrc: 1}
}

func TestReceiverReasons(t *testing.T) {
	good := packetOf(t, rtp.Header{SSRC: 9, PayloadType: 8}, 160)
	event := packetOf(t, rtp.Header{SSRC: 9, PayloadType: 101}, 4)
	report := reportOf(t, 9)
	plain := Remote{RTP: trunk, PayloadTypes: []uint8{8}}
	mux := Remote{RTP: trunk, RTCP: trunk, PayloadTypes: []uint8{8}}
	fax := Remote{RTP: trunk, Datagram: true}
	above := netip.AddrPortFrom(trunk.Addr(), trunk.Port()+1)
	tests := []struct {
		name   string
		remote Remote
		ch     channel
		pkt    []byte
		from   netip.AddrPort
		ok     bool
		rtcp   bool
		reason Reason
	}{
		{"RTP", plain, rtpChannel, good, trunk, true, false, 0},
		{"4-in-6 source", plain, rtpChannel, good, netip.MustParseAddrPort("[::ffff:192.0.2.10]:12000"), true, false, 0},
		{"RTCP, default port", plain, rtcpChannel, report, above, true, true, 0},
		{"RTCP muxed", mux, rtpChannel, report, trunk, true, true, 0},
		{"RTP beside muxed RTCP", mux, rtpChannel, good, trunk, true, false, 0},
		{"datagram", fax, rtpChannel, []byte{1}, trunk, true, false, 0},
		{"too long", plain, rtpChannel, make([]byte, 1501), trunk, false, false, TooLong},
		{"before signalling", Remote{}, rtpChannel, good, trunk, false, false, NoRemote},
		{"refused m= line", Remote{RTP: netip.AddrPortFrom(trunk.Addr(), 0)}, rtpChannel, good, trunk, false, false, NoRemote},
		{"stranger", plain, rtpChannel, good, attacker, false, false, WrongSource},
		{"stranger's datagram", fax, rtpChannel, []byte{1}, attacker, false, false, WrongSource},
		{"RTCP beside the mux", mux, rtcpChannel, report, trunk, false, false, WrongSource},
		{"stranger's rubbish", plain, rtpChannel, []byte("x"), attacker, false, false, WrongSource},
		{"rubbish", plain, rtpChannel, []byte("x"), trunk, false, false, BadHeader},
		{"RTCP on the RTP port without mux", plain, rtpChannel, report, trunk, false, false, PayloadType},
		{"RTP on the RTCP port", plain, rtcpChannel, good, above, false, false, BadHeader},
		{"empty datagram", fax, rtpChannel, nil, trunk, false, false, BadHeader},
		{"payload type not agreed", plain, rtpChannel, event, trunk, false, false, PayloadType},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newReceiver(Sender{}, noon)
			r.setRemote(tt.remote)
			v := r.receive(tt.ch, inbound{tt.pkt, tt.from, noon})
			if v.ok != tt.ok || v.rtcp != tt.rtcp || !tt.ok && v.reason != tt.reason {
				t.Fatalf("got %+v (%s)", v, v.reason)
			}
			s := r.snapshot()
			if tt.ok {
				if s.Rejected.Total() != 0 || s.RTP.Packets+s.RTCP.Packets != 1 || s.RTP.Octets+s.RTCP.Octets != uint64(len(tt.pkt)) {
					t.Errorf("stats %+v", s)
				}
				return
			}
			if s.Rejected[tt.reason] != 1 || s.Rejected.Total() != 1 || s.RTP.Packets+s.RTCP.Packets != 0 || !s.Alive.IsZero() {
				t.Errorf("stats %+v", s)
			}
			if r.rtp.source.IsValid() || r.rtcp.source.IsValid() {
				t.Error("a refused packet latched")
			}
		})
	}
}

func TestTargets(t *testing.T) {
	hold := Remote{RTP: netip.MustParseAddrPort("0.0.0.0:12000"), Hold: true}
	f := newFeed(t, Remote{RTP: lan, Signalling: wan.Addr()})
	rtp, rtcp := f.targets()
	if rtp.IsValid() || rtcp.IsValid() {
		t.Fatalf("a private address behind a public one is sent to: %s, %s", rtp, rtcp)
	}
	f.from = wan
	if v := f.rtp(1, 160); !v.ok || !v.moved {
		t.Fatalf("%+v", v)
	}
	if rtp, rtcp = f.targets(); rtp != wan || rtcp.IsValid() {
		t.Fatalf("RTP to %s, RTCP to %s", rtp, rtcp)
	}
	f.setRemote(hold)
	if rtp, rtcp = f.targets(); rtp.IsValid() || rtcp.IsValid() {
		t.Fatalf("c=0.0.0.0 is sent to: %s, %s", rtp, rtcp)
	}
	f.setRemote(Remote{RTP: lan, Signalling: wan.Addr()})
	if rtp, _ = f.targets(); rtp != wan {
		t.Fatalf("after the hold RTP goes to %s", rtp)
	}
	f.setRemote(Remote{RTP: trunk, RTCP: trunk})
	if rtp, rtcp = f.targets(); rtp != trunk || rtcp != trunk {
		t.Fatalf("muxed: RTP to %s, RTCP to %s", rtp, rtcp)
	}
}

// The caller of the port's last call goes on sending from a host that this
// call's SDP names too (a PBX): nothing of it passes (M9).
func TestPastSender(t *testing.T) {
	old := Sender{Source: trunkOther, SSRC: 77}
	next := Remote{RTP: trunk}
	start := func() *feed {
		r := newReceiver(old, noon)
		r.setRemote(next)
		r.answer()
		return &feed{receiver: r, t: t, now: noon, from: trunkOther, ssrc: 77}
	}
	t.Run("never believed while it goes on", func(t *testing.T) {
		f := start()
		for i := range uint32(500) {
			if v := f.rtp(uint16(i), 160*i); v.ok || v.reason != PastSender {
				t.Fatalf("packet %d: %+v", i, v)
			}
			f.now = f.now.Add(20 * time.Millisecond)
		}
		f.from, f.ssrc = trunk, 78
		if v := f.rtp(1, 160); !v.ok {
			t.Fatalf("the new call's sender: %+v", v)
		}
	})
	t.Run("its reports neither", func(t *testing.T) {
		f := start()
		f.setRemote(Remote{RTP: trunk, RTCP: trunk})
		if v := f.receive(rtpChannel, inbound{reportOf(t, 77), trunkOther, noon}); v.ok || v.reason != PastSender {
			t.Fatalf("%+v", v)
		}
	})
	t.Run("its reports on a port of their own neither", func(t *testing.T) {
		f := start()
		above := netip.AddrPortFrom(trunkOther.Addr(), trunkOther.Port()+1)
		if v := f.receive(rtcpChannel, inbound{reportOf(t, 77), above, noon}); v.ok || v.reason != PastSender {
			t.Fatalf("%+v", v)
		}
		if v := f.receive(rtcpChannel, inbound{reportOf(t, 78), above, noon}); !v.ok {
			t.Fatalf("another author: %+v", v)
		}
		f = start()
		f.setRemote(Remote{RTP: trunk, RTCP: above})
		if v := f.receive(rtcpChannel, inbound{reportOf(t, 77), above, noon}); !v.ok {
			t.Fatalf("same address by SDP: %+v", v)
		}
	})
	t.Run("not forgotten for a pause of speech", func(t *testing.T) {
		f := start()
		for i := range uint32(5) {
			f.now = f.now.Add(4 * time.Second)
			if v := f.rtp(uint16(i), 160*i); v.ok || v.reason != PastSender {
				t.Fatalf("after %d pauses: %+v", i+1, v)
			}
		}
	})
	t.Run("forgotten once silent", func(t *testing.T) {
		f := start()
		f.now = noon.Add(pastSilence + 1)
		if v := f.rtp(1, 160); !v.ok {
			t.Fatalf("%+v", v)
		}
	})
	t.Run("the same device in a new call is not the past one", func(t *testing.T) {
		f := start()
		f.setRemote(Remote{RTP: trunkOther})
		if v := f.rtp(1, 160); !v.ok {
			t.Fatalf("same address by SDP: %+v", v)
		}
		f = start()
		f.ssrc = 79
		if v := f.rtp(1, 160); !v.ok {
			t.Fatalf("another SSRC: %+v", v)
		}
	})
}

// Who sent to a stream: the last two that were believed, and the last that was not.
func TestSenders(t *testing.T) {
	f := newFeed(t, Remote{RTP: trunk, PayloadTypes: []uint8{0}})
	if all := f.senders.list(); len(all) != 0 {
		t.Fatalf("nobody sent, but %v", all)
	}
	for i, ssrc := range []uint32{1, 2, 2, 3, 3} {
		f.ssrc = ssrc
		f.rtp(uint16(i), 160)
	}
	if all := f.senders.list(); !slices.Equal(all, []Sender{{trunk, 3}, {trunk, 2}}) {
		t.Errorf("two SSRCs: %v", all)
	}
	f.setRemote(Remote{RTP: wan, PayloadTypes: []uint8{0}})
	f.from = wan
	f.rtp(9, 160)
	f.from, f.ssrc = attacker, 66
	f.rtp(10, 160)
	f.receive(rtpChannel, inbound{[]byte("short"), wanOther, noon})
	f.receive(rtcpChannel, inbound{reportOf(t, 67), wanOther, noon})
	if all := f.senders.list(); !slices.Equal(all, []Sender{{wan, 3}, {trunk, 3}, {attacker, 66}}) {
		t.Errorf("moved, and a stranger: %v", all)
	}
}

// Early media is one thing, what comes after the answer another.
func TestFirstAnswered(t *testing.T) {
	f := newFeed(t, Remote{RTP: trunk})
	for i := range uint32(50) {
		f.rtp(uint16(i), 160*i)
		f.now = f.now.Add(20 * time.Millisecond)
	}
	if s := f.snapshot(); !s.First.Equal(noon) || !s.FirstAnswered.IsZero() {
		t.Errorf("before the answer: %+v", s)
	}
	f.answer()
	f.now = f.now.Add(20 * time.Second)
	want := f.now
	for i := range uint32(50) {
		f.rtp(uint16(50+i), 160*(50+i))
		f.now = f.now.Add(20 * time.Millisecond)
	}
	if s := f.snapshot(); !s.First.Equal(noon) || !s.FirstAnswered.Equal(want) || s.Gap != 20*time.Millisecond {
		t.Errorf("first %s, after the answer %s, gap %s", s.First, s.FirstAnswered, s.Gap)
	}
}

func TestLossAndSenders(t *testing.T) {
	tests := []struct {
		name string
		seqs []int // negative: change the SSRC
		lost uint64
	}{
		{"all there", []int{1, 2, 3, 4}, 0},
		{"two missing", []int{1, 2, 5, 6}, 2},
		{"late packet is no loss", []int{1, 3, 2, 4}, 0},
		{"before the first", []int{5, 4, 3, 6}, 0},
		{"duplicate hides no loss of others much", []int{1, 2, 2, 5}, 1},
		{"wrap", []int{65534, 65535, 0, 1}, 0},
		{"loss over the wrap", []int{65534, 1}, 2},
		{"restart is no loss", []int{10, 11, 30000, 30001}, 0},
		{"loss before and after another SSRC", []int{1, 3, -1, 100, 102}, 2},
		{"first is 0, an earlier one follows", []int{0, 65535, 1}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFeed(t, Remote{RTP: trunk})
			for _, seq := range tt.seqs {
				if seq < 0 {
					f.ssrc++
					continue
				}
				f.now = f.now.Add(20 * time.Millisecond)
				f.rtp(uint16(seq), uint32(seq)*160)
			}
			if s := f.snapshot(); s.Lost != tt.lost || s.SSRC != f.ssrc {
				t.Errorf("lost %d, SSRC %d; want %d, %d", s.Lost, s.SSRC, tt.lost, f.ssrc)
			}
		})
	}
}

// Packets of one sender, some dropped, the rest reordered by a little: lost is
// exactly what was dropped between the first and the last that came.
func TestLossIsExact(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		first := rapid.Uint16().Draw(rt, "first")
		n := rapid.IntRange(2, 300).Draw(rt, "n")
		var order []int
		for i := range n {
			if rapid.IntRange(0, 9).Draw(rt, "drop") > 0 {
				order = append(order, i)
			}
		}
		if len(order) == 0 {
			return
		}
		low, high := order[0], order[len(order)-1]
		for i := 0; i+1 < len(order); i += 2 {
			if rapid.Bool().Draw(rt, "swap") {
				order[i], order[i+1] = order[i+1], order[i]
			}
		}
		f := newFeed(t, Remote{RTP: trunk})
		for _, i := range order {
			f.rtp(first+uint16(i), uint32(i)*160)
		}
		if got, want := f.snapshot().Lost, uint64(high-low+1-len(order)); got != want {
			rt.Fatalf("lost %d, want %d", got, want)
		}
	})
}

func TestJitter(t *testing.T) {
	run := func(step func(i int) (arrived time.Duration, stamp uint32)) time.Duration {
		f := newFeed(t, Remote{RTP: trunk})
		for i := range 2000 {
			at, stamp := step(i)
			f.now = noon.Add(at)
			f.rtp(uint16(i), stamp)
		}
		return f.snapshot().Jitter
	}
	frame := 20 * time.Millisecond
	if j := run(func(i int) (time.Duration, uint32) { return time.Duration(i) * frame, uint32(i) * 160 }); j != 0 {
		t.Errorf("steady stream: %s", j)
	}
	// Each second packet 4 ms late: |D| is 4 ms each time, so J tends to 4 ms.
	j := run(func(i int) (time.Duration, uint32) {
		return time.Duration(i)*frame + time.Duration(i%2)*4*time.Millisecond, uint32(i) * 160
	})
	if math.Abs(j.Seconds()-0.004) > 0.0001 {
		t.Errorf("4 ms either way: %s", j)
	}
	// One event of 200 ms repeats its timestamp: no jitter comes from that.
	j = run(func(i int) (time.Duration, uint32) { return time.Duration(i) * frame, uint32(i/10) * 1600 })
	if j != 0 {
		t.Errorf("repeated timestamps: %s", j)
	}
}

func TestJitterNeedsAClock(t *testing.T) {
	for _, rates := range []map[uint8]uint32{nil, {111: 48000}} {
		f := newFeed(t, Remote{RTP: trunk, ClockRates: rates})
		for i := range uint32(500) {
			f.now = noon.Add(time.Duration(i)*20*time.Millisecond + time.Duration(i%2)*time.Millisecond)
			pkt := packetOf(t, rtp.Header{PayloadType: 111, SSRC: 1, SequenceNumber: uint16(i), Timestamp: i * 960}, 80)
			f.receive(rtpChannel, inbound{pkt, trunk, f.now})
		}
		got := f.snapshot().Jitter
		if rates == nil && got != 0 || rates != nil && math.Abs(got.Seconds()-0.001) > 0.0001 {
			t.Errorf("rates %v: %s", rates, got)
		}
	}
}

func TestPayloadTypeOfMostPackets(t *testing.T) {
	f := newFeed(t, Remote{RTP: trunk})
	for i := range uint32(100) {
		pt := uint8(8)
		if i%10 > 6 { // an event now and then, and at the end
			pt = 101
		}
		pkt := packetOf(t, rtp.Header{PayloadType: pt, SSRC: 1, SequenceNumber: uint16(i), Timestamp: i * 160}, 80)
		f.receive(rtpChannel, inbound{pkt, trunk, f.now})
	}
	if s := f.snapshot(); s.PayloadType != 8 {
		t.Errorf("payload type %d", s.PayloadType)
	}
}

func TestStatsJSON(t *testing.T) {
	f := newFeed(t, Remote{RTP: trunk})
	f.rtp(1, 160)
	f.from = attacker
	f.rtp(2, 320)
	want := f.snapshot()
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte(`"rejected":{"wrong_source":1}`)) || !bytes.Contains(b, []byte(`"source":"192.0.2.10:12000"`)) {
		t.Errorf("%s", b)
	}
	var got Stats
	if err := json.Unmarshal(b, &got); err != nil || got != want {
		t.Errorf("%v: %+v, want %+v", err, got, want)
	}
}

// FuzzReceive: whatever comes from wherever, nothing panics, each packet is
// counted once, and a stranger never changes where packets go.
func FuzzReceive(f *testing.F) {
	f.Add(packetOf(f, rtp.Header{SSRC: 9}, 160), true, false, uint8(0))
	f.Add(reportOf(f, 7), false, true, uint8(1))
	f.Fuzz(func(t *testing.T, pkt []byte, friend, mux bool, ch uint8) {
		r := newReceiver(Sender{Source: trunkOther, SSRC: 77}, noon)
		remote := Remote{RTP: trunk, Datagram: ch&2 != 0}
		if mux {
			remote.RTCP = trunk
		}
		r.setRemote(remote)
		from := attacker
		if friend {
			from = trunkOther
		}
		before, beforeRTCP := r.targets()
		v := r.receive(channel(ch&1), inbound{pkt, from, noon})
		s := r.snapshot()
		if n := s.RTP.Packets + s.RTCP.Packets + s.Rejected.Total(); n != 1 {
			t.Fatalf("counted %d times", n)
		}
		after, afterRTCP := r.targets()
		if !friend && (v.ok || before != after || beforeRTCP != afterRTCP) {
			t.Fatal("a stranger was believed")
		}
	})
}

// FuzzConversation: packet after packet, from the far end and from strangers, over
// RTP and SRTP, with holds and the answer between them: nothing panics, each packet
// is counted once, the far end's addresses stay its own, and the counters make sense.
// The first octet chooses the stream; then each packet has one that says who sends it
// where and when, and one for its length.
func FuzzConversation(f *testing.F) {
	key, err := srtp.NewKey(srtp.AEADAES128GCM)
	if err != nil {
		f.Fatal(err)
	}
	add := func(head byte, pkts ...[]byte) {
		in := []byte{head}
		for i, p := range pkts {
			in = append(append(in, byte(i)|0x80, byte(len(p))), p...)
		}
		f.Add(in)
	}
	voice := packetOf(f, rtp.Header{SSRC: 9}, 160)
	report := compound(f, &rtcp.SenderReport{SSRC: 9, NTPTime: stamp, Reports: []rtcp.ReceptionReport{{LastSenderReport: stampMiddle}}})
	for head := range byte(8) {
		add(head, voice, report, voice, packetOf(f, rtp.Header{SSRC: 9, SequenceNumber: 3000, PayloadType: 8}, 20), report)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 {
			return
		}
		r := newReceiver(Sender{Source: trunkOther, SSRC: 77}, noon)
		remote := Remote{RTP: trunk, Datagram: in[0]&4 != 0}
		if in[0]&1 != 0 {
			remote.RTCP = trunk
		}
		var sender *srtp.Sender // of a far end that knows its key, and sends what it likes
		if in[0]&2 != 0 {
			remote.Secure = &Secure{Theirs: key, Ours: key}
			if sender, err = srtp.NewSender(key); err != nil {
				t.Fatal(err)
			}
		}
		r.setRemote(remote)
		now, packets := noon, uint64(0)
		for in = in[1:]; len(in) >= 2; packets++ {
			how, n := in[0], min(int(in[1]), len(in)-2)
			pkt := slices.Clone(in[2 : 2+n])
			in = in[2+n:]
			if sender != nil && how&2 == 0 {
				pkt = sealed(sender, looksRTCP(pkt), pkt)
			}
			from, ch := trunk, channel(how&1)
			switch {
			case how&2 != 0:
				from = attacker
			case ch == rtcpChannel:
				from = netip.AddrPortFrom(trunk.Addr(), trunk.Port()+1)
			}
			now = now.Add(time.Duration(how>>4) * 500 * time.Millisecond)
			remote.Hold = how&4 != 0
			r.setRemote(remote)
			if how&8 != 0 {
				r.answer()
			}
			v := r.receive(ch, inbound{pkt, from, now})
			r.reports.told.add(v.report, now)
			if from == attacker && v.ok {
				t.Fatal("a stranger was believed")
			}
		}
		s := r.snapshot()
		if n := s.RTP.Packets + s.RTCP.Packets + s.Rejected.Total(); n != packets {
			t.Fatalf("%d packets counted as %d", packets, n)
		}
		if s.Source == attacker || s.Jitter < 0 || s.JitterMean < 0 || s.Sound.Silent > s.Sound.Looked || s.Sound.Looked > s.RTP.Packets ||
			s.RoundTrip.Max > maxTrip || s.Gap < 0 {
			t.Fatalf("%+v", s)
		}
	})
}

// sealed is pkt as SRTP, or as it is if it cannot be that.
func sealed(s *srtp.Sender, rtcp bool, pkt []byte) []byte {
	protect := s.RTP
	if rtcp {
		protect = s.RTCP
	}
	if out, err := protect(slices.Clone(pkt)); err == nil {
		return slices.Clone(out)
	}
	return pkt
}
