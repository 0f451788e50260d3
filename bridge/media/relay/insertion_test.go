package relay

import (
	"encoding/binary"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"

	"wakebridge/bridge/media/srtp"
)

// next is the next RTP packet that the party hears, opened.
func (p *party) next(t *testing.T) rtp.Packet {
	t.Helper()
	if err := p.rtp.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2000)
	n, from, err := p.rtp.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	if from != addrOf(t, p.pair.RTP) {
		t.Fatalf("packet from %s, want %s", from, addrOf(t, p.pair.RTP))
	}
	b := buf[:n]
	if p.keys != nil {
		if b, err = p.receiver.RTP(b); err != nil {
			t.Fatal(err)
		}
	}
	var got rtp.Packet
	if err := got.Unmarshal(b); err != nil {
		t.Fatal(err)
	}
	return got
}

// says sends one packet of voice to the relay.
func (p *party) says(t *testing.T, ssrc uint32, sequence uint16) {
	t.Helper()
	write(t, p.rtp, p.seal(t, false, packetOf(t, rtp.Header{SSRC: ssrc, SequenceNumber: sequence}, 160)), addrOf(t, p.pair.RTP))
}

// heldOff waits until n of the party's packets were held off.
func (p *party) heldOff(t *testing.T, n uint64) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); p.stream.Stats().Rejected[Held] < n; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("stats %+v", p.stream.Stats())
		}
	}
}

// What is inserted goes out of the stream's own socket under its keys, with an SSRC
// of its own; the partner's packets wait for its end and then begin with a marker.
func TestInsertion(t *testing.T) {
	for _, suite := range []srtp.Suite{0, srtp.AESCM128HMACSHA180, srtp.AEADAES128GCM} {
		engines(t, func(t *testing.T, e Engine) {
			a, b := newParty(t, e, suite), newParty(t, e, 0)
			a.stream.Forward(b.stream)
			b.stream.Forward(a.stream)

			in := a.stream.Insert(Insert{Hold: true})
			for i := range uint32(3) {
				if !in.Send(Frame{PayloadType: 8, Marker: i == 0, Timestamp: 160 * i, Payload: []byte("tone")}) {
					t.Fatal("not sent")
				}
			}
			b.says(t, 7, 100) // is held off
			b.heldOff(t, 1)
			first := a.next(t)
			for i := range uint32(3) {
				got := first
				if i > 0 {
					got = a.next(t)
				}
				if got.SSRC != first.SSRC || got.SSRC == 7 || got.SequenceNumber != first.SequenceNumber+uint16(i) || //nolint:gosec // small
					got.Timestamp != first.Timestamp+160*i || got.Marker != (i == 0) || got.PayloadType != 8 || string(got.Payload) != "tone" {
					t.Errorf("packet %d: %+v", i, got)
				}
			}
			in.End()
			in.End()
			if in.Send(Frame{Payload: []byte("late")}) {
				t.Error("sent after its end")
			}
			for i := range uint16(3) {
				b.says(t, 7, 101+i)
				if got := a.next(t); got.SSRC != 7 || got.SequenceNumber != 101+i || got.Marker != (i == 0) {
					t.Errorf("relayed packet %d: %+v", i, got)
				}
			}
			s := a.stream.Stats()
			if s.Inserted != 3 || s.Sent.Packets != 6 || b.stream.Stats().Rejected[Held] != 1 {
				t.Errorf("stats %+v, of the partner %+v", s, b.stream.Stats())
			}

			again := a.stream.Insert(Insert{})
			again.Send(Frame{PayloadType: 101, Payload: []byte("four")})
			if got := a.next(t); got.SSRC != first.SSRC || got.SequenceNumber != first.SequenceNumber+3 || int32(got.Timestamp-first.Timestamp) < 0 { //nolint:gosec // RFC 3550 arithmetic
				t.Errorf("second insertion: %+v after %+v", got, first)
			}
			faster := a.stream.Insert(Insert{Clock: 48000})
			faster.Send(Frame{PayloadType: 101, Payload: []byte("four")})
			if got := a.next(t); got.SSRC == first.SSRC || got.SSRC == 7 || !got.Marker {
				t.Errorf("insertion of another clock: %+v after %+v", got, first)
			}
			b.says(t, 7, 104) // nothing is held off
			if got := a.next(t); got.SSRC != 7 || got.Marker {
				t.Errorf("beside the second insertion: %+v", got)
			}
		})
	}
}

// The marker of a telephone event is its sender's: the hand-over waits for sound (RFC
// 4733 s2.2.2). Which types are events is the far end's word, also the newest one.
func TestHandOverPassesEventsBy(t *testing.T) {
	engines(t, func(t *testing.T, e Engine) {
		a, b := newParty(t, e, 0), newParty(t, e, 0)
		b.stream.Forward(a.stream)
		remote := Remote{RTP: addrOf(t, a.rtp), EventTypes: []uint8{101}}
		sequence := uint16(0)
		hears := func(marker bool, payloadType uint8, want bool) {
			t.Helper()
			sequence++
			b.sends(t, rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: payloadType, SSRC: 7, SequenceNumber: sequence, Marker: marker}, Payload: []byte{5, 10, 0, 160}})
			if got := a.next(t); got.SequenceNumber != sequence || got.Marker != want {
				t.Errorf("packet %d of type %d: marker %t, want %t", sequence, payloadType, got.Marker, want)
			}
		}
		a.stream.SetRemote(remote)
		a.stream.Insert(Insert{Hold: true}).End()
		hears(false, 101, false)
		hears(true, 101, true)
		hears(false, 101, false)
		hears(false, 0, true)
		hears(false, 0, false)
		remote.EventTypes = []uint8{96}
		a.stream.SetRemote(remote)
		a.stream.Insert(Insert{Hold: true}).End()
		hears(false, 96, false)
		hears(false, 101, true)

		// Of ours as well: an event whose first packet nobody got does not begin later.
		in := a.stream.Insert(Insert{})
		in.Send(Frame{PayloadType: 96})
		in.Send(Frame{PayloadType: 96, Marker: true})
		in.Send(Frame{PayloadType: 8})
		for i, want := range []bool{false, true, false} {
			if got := a.next(t); got.Marker != want {
				t.Errorf("inserted packet %d: marker %t", i, got.Marker)
			}
		}
	})
}

// Insertions of several clocks that are open at once are several senders, each with
// sequence numbers of its own; one that ended is the same sender when it comes back,
// as long as no other clock began meanwhile.
func TestInsertionsOfTwoClocks(t *testing.T) {
	for _, suite := range []srtp.Suite{0, srtp.AESCM128HMACSHA180} {
		engines(t, func(t *testing.T, e Engine) {
			a := newParty(t, e, suite)
			send := func(in *Insertion, stamp uint32) rtp.Packet {
				t.Helper()
				if !in.Send(Frame{PayloadType: 8, Timestamp: stamp}) {
					t.Fatal("not sent")
				}
				return a.next(t)
			}
			tone := a.stream.Insert(Insert{Hold: true})
			first := send(tone, 0)
			key := a.stream.Insert(Insert{Clock: 48000})
			fast := send(key, 0)
			if fast.SSRC == first.SSRC {
				t.Error("two clocks under one SSRC")
			}
			for i := uint16(1); i < 4; i++ {
				if got := send(tone, 160*uint32(i)); got.SSRC != first.SSRC || got.SequenceNumber != first.SequenceNumber+i || got.Timestamp != first.Timestamp+160*uint32(i) || got.Marker {
					t.Errorf("of the first: %+v after %+v", got, first)
				}
				if got := send(key, 960*uint32(i)); got.SSRC != fast.SSRC || got.SequenceNumber != fast.SequenceNumber+i || got.Timestamp != fast.Timestamp+960*uint32(i) || got.Marker {
					t.Errorf("of the second: %+v after %+v", got, fast)
				}
			}
			key.End()
			key = a.stream.Insert(Insert{Clock: 48000})
			if got := send(key, 0); got.SSRC != fast.SSRC || got.SequenceNumber != fast.SequenceNumber+4 {
				t.Errorf("the second again: %+v after %+v", got, fast)
			}
			key.End()
			for clock := range uint32(100) { // none of those that ended is kept
				a.stream.Insert(Insert{Clock: 1000 + clock}).End()
			}
			if got := send(tone, 640); got.SSRC != first.SSRC || got.SequenceNumber != first.SequenceNumber+4 {
				t.Errorf("the first in the end: %+v after %+v", got, first)
			}
		})
	}
	v, at := newVoice(time.Now()), time.Now()
	for clock := range uint32(100) {
		v.begin(Insert{Clock: 1000 + clock}, at, 0, nil).End()
	}
	if n := len(*v.sources.Load()); n != 1 {
		t.Errorf("%d sources are kept", n)
	}
}

// Each sender of ours begins in the lower half of the numbers (RFC 3711 s3.3.1): a far
// end that misses its first packets must not miss a roll-over with them.
func TestInsertionBeginsLow(t *testing.T) {
	engines(t, func(t *testing.T, e Engine) {
		a := newParty(t, e, srtp.AESCM128HMACSHA180)
		for clock := range uint32(64) { // a sender each
			in := a.stream.Insert(Insert{Clock: 1000 + clock})
			in.Send(Frame{PayloadType: 8})
			in.End()
			if got := a.next(t); got.SequenceNumber >= 1<<15 {
				t.Fatalf("sender %d begins with number %d", clock, got.SequenceNumber)
			}
		}
	})
}

// Two senders may not share an SSRC: the relayed one has it, ours takes another.
func TestInsertionCollides(t *testing.T) {
	engines(t, func(t *testing.T, e Engine) {
		a, b := newParty(t, e, 0), newParty(t, e, 0)
		b.stream.Forward(a.stream)
		in := a.stream.Insert(Insert{Hold: true})
		in.Send(Frame{Marker: true})
		before := a.next(t)
		in.Send(Frame{Timestamp: 160})
		if got := a.next(t); got.Marker {
			t.Error("marker on the second packet")
		}
		b.says(t, before.SSRC, 1)
		b.heldOff(t, 1)
		in.Send(Frame{Timestamp: 320})
		if got := a.next(t); got.SSRC == before.SSRC || !got.Marker || got.SequenceNumber != before.SequenceNumber+2 {
			t.Errorf("after the collision %+v, before it %+v", got, before)
		}
	})
	for range 1000 {
		if s := newVoice(time.Now()).source(8000, 1); s.ssrc.Load() == 1 || s.ssrc.Load() == 0 {
			t.Fatal("the far end's SSRC")
		}
	}
}

func TestInsertionNowhere(t *testing.T) {
	engines(t, func(t *testing.T, e Engine) {
		a := open(t, e, asUDP, Options{})
		in := a.stream.Insert(Insert{})
		if in.Send(Frame{}) {
			t.Error("sent to nobody")
		}
		a.stream.SetRemote(Remote{RTP: addrOf(t, a.rtp), Datagram: true})
		if in.Send(Frame{}) {
			t.Error("sent RTP to what is no RTP")
		}
		a.stream.SetRemote(Remote{RTP: addrOf(t, a.rtp)})
		if in.Send(Frame{Payload: make([]byte, maxFrame+1)}) {
			t.Error("sent too much")
		}
		if !in.Send(Frame{Payload: make([]byte, maxFrame)}) {
			t.Error("not sent")
		}
		a.stream.Close()
		if in.Send(Frame{}) {
			t.Error("sent after the stream's end")
		}
		if a.stream.Insert(Insert{}).Send(Frame{}) {
			t.Error("inserted after the stream's end")
		}
	})
}

// Timestamps of one insertion after another follow the clock, and wrap.
func TestInsertionTime(t *testing.T) {
	at := time.Now()
	v := newVoice(at)
	v.offset = 0xffffff00
	for _, c := range []struct {
		after time.Duration
		clock uint32
		want  uint32
	}{
		{0, 0, 0xffffff00}, {20 * time.Millisecond, 8000, 0xffffffa0}, {time.Second, 8000, 7744},
		{100 * time.Hour, 90000, func() uint32 { n := uint64(100*3600)*90000 - 256; return uint32(n) }()}, //nolint:gosec // wraps
	} {
		if got := v.begin(Insert{Clock: c.clock}, at.Add(c.after), 0, nil).base; got != c.want {
			t.Errorf("%s at %d Hz: %d, want %d", c.after, c.clock, got, c.want)
		}
	}
}

// Insertions, relayed packets, signalling and the end race; run with -race.
func TestInsertionRace(t *testing.T) {
	engines(t, func(t *testing.T, e Engine) {
		a, b := open(t, e, asUDP, Options{}), open(t, e, asUDP, Options{})
		b.stream.SetRemote(Remote{RTP: addrOf(t, b.rtp)})
		b.stream.Forward(a.stream)
		voice := packetOf(t, rtp.Header{SSRC: 5}, 160)
		stop := make(chan struct{})
		var senders sync.WaitGroup
		senders.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := b.rtp.WriteToUDPAddrPort(voice, addrOf(t, b.pair.RTP)); err != nil {
					t.Error(err)
					return
				}
			}
		})
		for range 3 {
			senders.Go(func() {
				for i := range uint32(200) {
					in := a.stream.Insert(Insert{Hold: i%2 == 0})
					in.Send(Frame{Timestamp: i})
					in.End()
				}
			})
		}
		for i := range 100 {
			a.stream.SetRemote(Remote{RTP: addrOf(t, a.rtp), Hold: i%2 == 0})
			a.stream.Stats()
		}
		a.stream.Close()
		close(stop)
		senders.Wait()
	})
}

// A stream that had an insertion relays as cheaply as others.
func TestNoAllocationAfterInsertion(t *testing.T) {
	e := NewSockets(slog.New(slog.DiscardHandler))
	defer e.Close()
	pair := [2]*stream{silentStream(t, e), silentStream(t, e)}
	pair[0].Forward(pair[1])
	in := pair[1].Insert(Insert{Hold: true})
	pkt := packetOf(t, rtp.Header{SSRC: 1}, 160)
	relayed := func() { pair[0].handle(rtpChannel, inbound{pkt, trunk, time.Now()}) }
	payload := make([]byte, 160)
	for what, f := range map[string]func(){
		"held":     relayed,
		"inserted": func() { in.Send(Frame{Payload: payload}) },
	} {
		if n := testing.AllocsPerRun(500, f); n != 0 {
			t.Errorf("%s: %v allocations per packet", what, n)
		}
	}
	in.End()
	if n := testing.AllocsPerRun(500, relayed); n != 0 {
		t.Errorf("after: %v allocations per packet", n)
	}
	if binary.BigEndian.Uint32(pkt[8:]) != 1 || pair[1].Stats().Sent.Packets < 1000 {
		t.Errorf("not relayed: %+v", pair[1].Stats())
	}
}
