package relay

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"wakebridge/bridge/media/srtp"
)

func compound(t testing.TB, packets ...rtcp.Packet) []byte {
	t.Helper()
	b, err := rtcp.Marshal(packets)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// stamp is an NTP time and what an answer calls it.
const (
	stamp       = 0xe0000000_80000000
	stampMiddle = 0x0000_8000
)

// dlsr is a duration in the units of a report block.
func dlsr(d time.Duration) uint32 { return uint32(d * 65536 / time.Second) }

func TestRoundTrip(t *testing.T) {
	ms := time.Millisecond
	tests := []struct {
		name  string
		after time.Duration // between the SR and its answer
		block rtcp.ReceptionReport
		want  RoundTrip
	}{
		{"answered at once", 42 * ms, rtcp.ReceptionReport{LastSenderReport: stampMiddle}, RoundTrip{1, 42 * ms, 42 * ms, 42 * ms}},
		{"answered later", 3042 * ms, rtcp.ReceptionReport{LastSenderReport: stampMiddle, Delay: 3 * 65536}, RoundTrip{1, 42 * ms, 42 * ms, 42 * ms}},
		{"a coarse clock makes it negative", 20 * ms, rtcp.ReceptionReport{LastSenderReport: stampMiddle, Delay: 65536 / 32}, RoundTrip{Samples: 1}},
		{"it claims to have waited longer than there was", 20 * ms, rtcp.ReceptionReport{LastSenderReport: stampMiddle, Delay: 65536}, RoundTrip{}},
		{"an answer of another day", time.Minute, rtcp.ReceptionReport{LastSenderReport: stampMiddle}, RoundTrip{}},
		{"it got no SR", 42 * ms, rtcp.ReceptionReport{}, RoundTrip{}},
		{"an SR that we never passed on", 42 * ms, rtcp.ReceptionReport{LastSenderReport: stampMiddle + 1}, RoundTrip{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := reports{told: new(told)}, reports{told: new(told)}
			sr := a.take(compound(t, &rtcp.SenderReport{SSRC: 1, NTPTime: stamp}), noon)
			if sr.middle != stampMiddle {
				t.Fatalf("read %#x", sr.middle)
			}
			b.told.add(sr, noon)
			b.take(compound(t, &rtcp.ReceiverReport{SSRC: 2, Reports: []rtcp.ReceptionReport{tt.block}}), noon.Add(tt.after))
			if _, got := b.snapshot(); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
	b := reports{told: new(told)}
	for i := range uint32(20) { // an answer to each, and one to a report that is forgotten
		b.told.add(senderReport{middle: 100 + i}, noon)
		trip := time.Duration(10+i) * ms
		for _, lsr := range []uint32{100 + i, 91 + i} {
			b.take(compound(t, &rtcp.ReceiverReport{Reports: []rtcp.ReceptionReport{{LastSenderReport: lsr}}}), noon.Add(trip))
		}
	}
	if _, got := b.snapshot(); got.Samples != 20 || got.Newest != 29*ms || got.Max != 29*ms || got.Mean != 19500*time.Microsecond {
		t.Errorf("%+v", got)
	}
}

func TestHeard(t *testing.T) {
	block := func(ssrc, lost, jitter uint32) rtcp.ReceptionReport {
		return rtcp.ReceptionReport{SSRC: ssrc, TotalLost: lost, Jitter: jitter}
	}
	rr := func(blocks ...rtcp.ReceptionReport) rtcp.Packet {
		return &rtcp.ReceiverReport{SSRC: 2, Reports: blocks}
	}
	tests := []struct {
		name    string
		packets []rtcp.Packet
		want    Heard
	}{
		{"the newest count is the count", []rtcp.Packet{rr(block(1, 3, 80)), rr(block(1, 7, 240))}, Heard{Reports: 2, Lost: 7, Jitter: 20 * time.Millisecond}},
		{"SSRCs add up", []rtcp.Packet{rr(block(1, 3, 0), block(5, 4, 0)), rr(block(5, 5, 0))}, Heard{Reports: 3, Lost: 8}},
		{"more was received than sent", []rtcp.Packet{rr(block(1, 0xffffff, 0))}, Heard{Reports: 1}},
		{"nothing was received", []rtcp.Packet{rr(), &rtcp.SenderReport{SSRC: 2}}, Heard{Empty: 2}},
		{"in a sender report", []rtcp.Packet{&rtcp.SenderReport{SSRC: 2, Reports: []rtcp.ReceptionReport{block(1, 9, 8)}}}, Heard{Reports: 1, Lost: 9, Jitter: time.Millisecond}},
		{"impossible jitter", []rtcp.Packet{rr(block(1, 0, 0xffffffff))}, Heard{Reports: 1}},
		{"others say nothing", []rtcp.Packet{rtcp.NewCNAMESourceDescription(2, "x"), &rtcp.Goodbye{Sources: []uint32{2}}}, Heard{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := reports{told: new(told)}
			r.told.add(senderReport{clock: 8000}, noon)
			r.take(compound(t, tt.packets...), noon)
			if got, _ := r.snapshot(); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
	r := reports{told: new(told)}
	for i := range uint32(1000) { // as many SSRCs as one likes: eight are counted
		r.take(compound(t, rr(block(i, 1, 80))), noon)
	}
	if got, _ := r.snapshot(); got.Lost != maxReported || got.Jitter != 0 {
		t.Errorf("%+v", got)
	}
}

// What passes between two legs measures the way to each of them, in either engine,
// with and without SRTP, with RTCP on its own port or not.
func TestReportsPass(t *testing.T) {
	engines(t, func(t *testing.T, e Engine) {
		for _, suites := range [][2]srtp.Suite{{}, {0, srtp.AEADAES128GCM}, {srtp.AESCM128HMACSHA180, srtp.AES256CMHMACSHA180}} {
			a, b := newParty(t, e, suites[0]), newParty(t, e, suites[1])
			join(a, b)
			for i, way := range [][2]*party{{a, b}, {b, a}} {
				from, to := way[0], way[1]
				ssrc := uint32(5 + i)
				voice := packetOf(t, rtp.Header{SSRC: ssrc, SequenceNumber: 1}, 160)
				write(t, from.rtp, from.seal(t, false, voice), addrOf(t, from.pair.RTP))
				to.hears(t, false, voice)
				sr := compound(t, &rtcp.SenderReport{SSRC: ssrc, NTPTime: stamp})
				write(t, from.rtcp, from.seal(t, true, sr), addrOf(t, from.pair.RTCP))
				to.hears(t, true, sr)
				rr := compound(t, &rtcp.ReceiverReport{SSRC: ssrc, Reports: []rtcp.ReceptionReport{{SSRC: ssrc, TotalLost: 4, Jitter: 160, LastSenderReport: stampMiddle}}})
				write(t, to.rtcp, to.seal(t, true, rr), addrOf(t, to.pair.RTCP))
				from.hears(t, true, rr)
				s := to.stream.Stats()
				if s.RoundTrip.Samples != 1 || s.RoundTrip.Newest <= 0 || s.RoundTrip.Newest > patience {
					t.Errorf("%v: %+v", suites, s.RoundTrip)
				}
				if s.Heard != (Heard{Reports: 1, Empty: uint64(i), Lost: 4, Jitter: 20 * time.Millisecond}) {
					t.Errorf("%v: %+v", suites, s.Heard)
				}
			}
		}
	})
}

// No allocation either: reports are read in place.
func TestNoAllocationPerReport(t *testing.T) {
	r := newReceiver(Sender{}, noon)
	r.setRemote(Remote{RTP: trunk, RTCP: trunk})
	var blocks []rtcp.ReceptionReport
	for i := range uint32(31) {
		blocks = append(blocks, rtcp.ReceptionReport{SSRC: i})
	}
	pkt := compound(t, &rtcp.SenderReport{SSRC: 1, NTPTime: stamp, Reports: blocks})
	if n := testing.AllocsPerRun(200, func() { r.receive(rtpChannel, inbound{pkt, trunk, noon}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if s := r.snapshot(); s.Heard.Reports != 31*201 {
		t.Errorf("%+v", s.Heard)
	}
}

// FuzzReports: no compound packet panics, and what is read is what pion's parser reads,
// which allocates and so is not used.
func FuzzReports(f *testing.F) {
	two := []rtcp.ReceptionReport{{SSRC: 1, TotalLost: 7, Jitter: 80, LastSenderReport: stampMiddle, Delay: dlsr(time.Second)}, {SSRC: 9}}
	f.Add(compound(f, &rtcp.SenderReport{SSRC: 1, NTPTime: stamp, Reports: two}, rtcp.NewCNAMESourceDescription(1, "phone")))
	f.Add(compound(f, &rtcp.ReceiverReport{SSRC: 1, Reports: two}, &rtcp.Goodbye{Sources: []uint32{1}}))
	f.Add([]byte{0x9f, 200, 0, 1, 0, 0, 0, 7})
	f.Fuzz(func(t *testing.T, pkt []byte) {
		if !checkRTCP(pkt) {
			return
		}
		before := slices.Clone(pkt)
		r := reports{told: new(told)}
		r.told.add(senderReport{middle: stampMiddle, clock: 8000}, noon)
		first := r.take(pkt, noon.Add(2*time.Second))
		if !slices.Equal(before, pkt) {
			t.Fatal("reading changed the packet")
		}
		heard, trip := r.snapshot()
		if trip.Samples > heard.Reports || trip.Mean < 0 || trip.Max > maxTrip || heard.Jitter < 0 || heard.Jitter > maxReportedJitter {
			t.Fatalf("%+v %+v", heard, trip)
		}
		blocks, empty, middle := pionReads(pkt)
		if heard.Reports != uint64(len(blocks)) || heard.Empty != empty || first.middle != middle {
			t.Fatalf("read %+v and %#x; pion %d blocks, %d empty, %#x", heard, first.middle, len(blocks), empty, middle)
		}
	})
}

// pionReads is what pion finds in a compound packet, one after the other.
func pionReads(pkt []byte) (blocks []rtcp.ReceptionReport, empty uint64, middle uint32) {
	for len(pkt) >= rtcpFixed {
		var h rtcp.Header
		if h.Unmarshal(pkt) != nil {
			return blocks, empty, middle
		}
		one := slices.Clone(pkt[:4*(int(h.Length)+1)])
		pkt = pkt[len(one):]
		one[0] &^= 0x20 // padding is for the last packet to have, and not the reports' matter
		var got []rtcp.ReceptionReport
		var sr rtcp.SenderReport
		var rr rtcp.ReceiverReport
		switch {
		case h.Type == rtcp.TypeSenderReport && sr.Unmarshal(one) == nil:
			got = sr.Reports
			if middle == 0 {
				middle = uint32(sr.NTPTime >> 16)
			}
		case h.Type == rtcp.TypeReceiverReport && rr.Unmarshal(one) == nil:
			got = rr.Reports
		default:
			continue
		}
		if len(got) == 0 {
			empty++
		}
		blocks = append(blocks, got...)
	}
	return blocks, empty, middle
}

func TestSound(t *testing.T) {
	fill := func(b byte) []byte { return slices.Repeat([]byte{b}, 160) }
	speech := make([]byte, 160)
	for i := range speech {
		speech[i] = byte(rand.Uint32())
	}
	dithered := fill(0xff)
	dithered[7], dithered[90] = 0x7e, 0x7f
	tests := []struct {
		name    string
		pt      uint8
		payload []byte
		want    Sound // of 100 packets in 2 s
	}{
		{"silent PCMU", 0, fill(0xff), Sound{2, 2}},
		{"silent PCMU, negative zero and dithering", 0, dithered, Sound{2, 2}},
		{"silent PCMA", 8, fill(0xd5), Sound{2, 2}},
		{"PCMA's zero is none in PCMU", 0, fill(0xd5), Sound{2, 0}},
		{"and the other way round", 8, fill(0xff), Sound{2, 0}},
		{"speech", 0, speech, Sound{2, 0}},
		{"another codec", 9, fill(0xff), Sound{}},
		{"nothing in it", 0, nil, Sound{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFeed(t, Remote{RTP: trunk})
			for i := range uint32(100) {
				pkt := packetOf(t, rtp.Header{PayloadType: tt.pt, SSRC: 1, SequenceNumber: uint16(i)}, len(tt.payload))
				copy(pkt[12:], tt.payload)
				f.receive(rtpChannel, inbound{pkt, trunk, f.now})
				f.now = f.now.Add(20 * time.Millisecond)
			}
			if got := f.snapshot().Sound; got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

// A pause of speech is no loss, and a gap only outside of holds and after the answer.
func TestGap(t *testing.T) {
	r := Remote{RTP: trunk}
	f := newFeed(t, r)
	seq := uint16(0)
	after := func(d time.Duration) {
		f.now = f.now.Add(d)
		seq++
		f.rtp(seq, uint32(f.now.Sub(noon)/time.Millisecond)*8)
	}
	after(0)
	after(time.Minute) // early media
	f.answer()
	after(time.Minute)
	after(20 * time.Millisecond)
	began := f.now
	after(12 * time.Second)
	after(3 * time.Second)
	held := r
	held.Hold = true
	f.setRemote(held)
	after(time.Minute)
	f.setRemote(held)
	after(time.Minute)
	f.setRemote(r)
	f.setRemote(r) // the session timer's refresh
	after(time.Minute)
	after(20 * time.Millisecond)
	s := f.snapshot()
	if s.Gap != 12*time.Second || !s.GapAt.Equal(began) || s.Lost != 0 || s.Jitter != 0 {
		t.Errorf("gap %s from %s on, lost %d, jitter %s", s.Gap, s.GapAt.Sub(noon), s.Lost, s.Jitter)
	}
}

func TestWhatWasRefused(t *testing.T) {
	f := newFeed(t, Remote{RTP: trunk, PayloadTypes: []uint8{8}})
	event := packetOf(t, rtp.Header{PayloadType: 101, SSRC: 1}, 4)
	f.receive(rtpChannel, inbound{event, trunk, noon})
	f.receive(rtpChannel, inbound{event, attacker, noon})
	f.receive(rtcpChannel, inbound{reportOf(t, 1), trunkOther, noon.Add(time.Second)})
	if s := f.snapshot(); s.RefusedType != 101 || s.Stranger != attacker || s.Named != trunk {
		t.Errorf("%+v", s)
	}
}
