package audio_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"wakebridge/bridge/media/audio"
	"wakebridge/sipua/memnet"
)

var (
	here  = netip.MustParseAddrPort("192.0.2.1:4000")
	there = netip.MustParseAddrPort("192.0.2.2:4000")
)

// line is two phones on one network.
type line struct {
	net  *memnet.Network
	conn [2]net.PacketConn
}

func newLine(t *testing.T, impaired memnet.Impairment) *line {
	t.Helper()
	l := &line{net: memnet.New(memnet.Options{Seed: 7})}
	l.net.ImpairBoth(here.Addr(), there.Addr(), impaired)
	for i, at := range []netip.AddrPort{here, there} {
		c, err := l.net.ListenPacket(at)
		if err != nil {
			t.Fatal(err)
		}
		l.conn[i] = c
	}
	t.Cleanup(func() {
		if err := l.net.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// play sends a source from here to there and returns both ends when it is over.
func play(t *testing.T, l *line, codec audio.Codec, s audio.Source) (*audio.Sender, *audio.Receiver) {
	t.Helper()
	sender := audio.NewSender(l.conn[0], codec, s)
	sender.SetRemote(there)
	receiver := audio.NewReceiver(l.conn[1], 0)
	ctx, cancel := context.WithCancel(t.Context())
	var end sync.WaitGroup
	end.Go(func() {
		if err := receiver.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	if err := sender.Run(ctx); err != nil {
		t.Error(err)
	}
	time.Sleep(time.Second)
	cancel()
	end.Wait()
	return sender, receiver
}

func TestSendAndReceive(t *testing.T) {
	for _, codec := range []audio.Codec{audio.PCMU, audio.PCMA} {
		t.Run(codec.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLine(t, memnet.Impairment{})
				voice := speech(3, 5)[:39900] // not a whole frame at the end
				start := time.Now()
				s, r := play(t, l, codec, audio.Clip(voice))
				sent, got := s.Sent(), r.Received()
				if sent.Packets != 250 || got.Packets != 250 || got.Octets != 40000 || got.Lost+got.Late+got.Duplicates+got.Other != 0 {
					t.Errorf("sent %+v, received %+v", sent, got)
				}
				if got.SSRC != sent.SSRC || got.PayloadType != uint8(codec) || got.Senders != 1 || !got.First.Equal(start) {
					t.Errorf("sent %+v, received %+v", sent, got)
				}
				if took := sent.Last.Sub(start); took != 249*audio.FrameTime {
					t.Errorf("250 frames took %s", took)
				}
				want := codec.Decode(nil, codec.Encode(nil, append(voice, make([]int16, 100)...)))
				if !slices.Equal(r.Samples(), want) {
					t.Error("other samples came than went")
				}
			})
		})
	}
}

// Lost packets are silence, late ones are put in place: the recording is as long
// as what was sent, and the counters are exact.
func TestReceiveOverABadLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, memnet.Impairment{Loss: 0.05, Duplicate: 0.05, Delay: 50 * time.Millisecond, Jitter: 5 * time.Millisecond, Reorder: 0.05})
		voice := speech(4, 10)
		s, r := play(t, l, audio.PCMU, audio.Clip(voice))
		sent, got, samples := s.Sent(), r.Received(), r.Samples()
		if got.Packets+got.Lost != sent.Packets || got.Lost == 0 || got.Late == 0 || got.Duplicates == 0 {
			t.Errorf("sent %+v, received %+v", sent, got)
		}
		peak, lag := audio.Correlate(voice, samples)
		if len(samples) != len(voice) || peak < 0.9 || lag != 0 {
			t.Errorf("%d samples of %d, correlation %.3f at %d", len(samples), len(voice), peak, lag)
		}
	})
}

// On hold the sender pauses: the source waits, time passes, and the next packet
// begins a talk spurt.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, memnet.Impairment{})
		s := audio.NewSender(l.conn[0], audio.PCMU, audio.Clip(make([]int16, 100*160)))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var end sync.WaitGroup
		end.Go(func() {
			if err := s.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(time.Second - audio.FrameTime/2)
		if n := s.Sent().Packets; n != 0 {
			t.Fatalf("%d packets without a remote", n)
		}
		s.SetRemote(there)
		time.Sleep(time.Second)
		s.SetRemote(netip.AddrPort{})
		time.Sleep(time.Second)
		s.SetCodec(audio.PCMA)
		s.SetRemote(there)
		end.Wait() // the clip's end
		var all []rtp.Packet
		for range 100 {
			buf := make([]byte, 500)
			n, _, err := l.conn[1].ReadFrom(buf)
			if err != nil {
				t.Fatal(err)
			}
			var p rtp.Packet
			if err := p.Unmarshal(buf[:n]); err != nil {
				t.Fatal(err)
			}
			all = append(all, p)
		}
		for i, p := range all[1:] {
			step, marker, codec := uint32(160), false, uint8(audio.PCMU)
			if i+1 >= 50 {
				codec = uint8(audio.PCMA)
			}
			if i+1 == 50 {
				step, marker = 51*160, true
			}
			if p.SequenceNumber != all[i].SequenceNumber+1 || p.Timestamp-all[i].Timestamp != step || p.Marker != marker || p.PayloadType != codec {
				t.Fatalf("packet %d: %+v after %+v", i+1, p.Header, all[i].Header)
			}
		}
		if !all[0].Marker || s.Sent().Packets != 100 {
			t.Errorf("%+v, %+v", all[0].Header, s.Sent())
		}
	})
}

// slow is a source that takes 35 ms for each frame's samples now and then.
type slow struct {
	audio.Source
	reads int
}

func (s *slow) Read(samples []int16) (int, error) {
	if s.reads++; s.reads == 50 {
		time.Sleep(65 * time.Millisecond)
	}
	if s.reads == 100 {
		time.Sleep(time.Second)
	}
	return s.Source.Read(samples)
}

// A stall of a few frames is made good at once, a long one is skipped: the
// timestamps go on by the clock in both cases.
func TestPaceAfterAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, memnet.Impairment{})
		s, r := play(t, l, audio.PCMU, &slow{Source: audio.Clip(make([]int16, 200*160))})
		sent, got := s.Sent(), r.Received()
		if sent.Packets != 200 || got.Lost != 0 {
			t.Errorf("%+v, %+v", sent, got)
		}
		frames := int(sent.Last.Sub(sent.First)/audio.FrameTime) + 1
		if n := len(r.Samples()) / 160; n != frames || frames < 240 || frames > 250 {
			t.Errorf("%d frames of sound in the time of %d", n, frames)
		}
	})
}

// feed sends packets as they are.
type feed struct {
	t    *testing.T
	line *line
}

func (f feed) packet(h rtp.Header, samples ...int16) {
	f.t.Helper()
	h.Version = 2
	b, err := (&rtp.Packet{Header: h, Payload: audio.PCMU.Encode(nil, samples)}).Marshal()
	if err != nil {
		f.t.Fatal(err)
	}
	f.raw(b)
}

func (f feed) raw(b []byte) {
	f.t.Helper()
	if _, err := f.line.conn[0].WriteTo(b, net.UDPAddrFromAddrPort(there)); err != nil {
		f.t.Fatal(err)
	}
	synctest.Wait()
}

func TestReceiverOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, memnet.Impairment{})
		r := audio.NewReceiver(l.conn[1], 20*time.Second)
		var end sync.WaitGroup
		end.Go(func() {
			if err := r.Run(t.Context()); err != nil {
				t.Error(err)
			}
		})
		f := feed{t, l}
		f.raw([]byte{0x80, 201, 0, 1, 0, 0, 0, 1})
		f.raw([]byte("rubbish"))
		f.packet(rtp.Header{PayloadType: 101, SequenceNumber: 1, SSRC: 1}, 0)
		select {
		case <-r.Heard():
			t.Fatal("heard before there was sound")
		default:
		}
		// 65535 is late, 0 is lost, 2 comes twice.
		f.packet(rtp.Header{SequenceNumber: 65534, Timestamp: 0xffffffff, SSRC: 1}, 8)
		<-r.Heard()
		f.packet(rtp.Header{SequenceNumber: 1, Timestamp: 2, SSRC: 1}, 40)
		f.packet(rtp.Header{SequenceNumber: 65535, Timestamp: 0, SSRC: 1}, 16)
		f.packet(rtp.Header{SequenceNumber: 2, Timestamp: 3, SSRC: 1}, 48)
		f.packet(rtp.Header{SequenceNumber: 2, Timestamp: 3, SSRC: 1}, 56)
		// Another sender, then one whose clock jumps by a minute: both follow on.
		f.packet(rtp.Header{SequenceNumber: 700, Timestamp: 12345, SSRC: 2}, 64)
		f.packet(rtp.Header{SequenceNumber: 701, Timestamp: 12345 + 60*8000, SSRC: 2}, 72)
		got := r.Received()
		if got.Packets != 6 || got.Lost != 1 || got.Late != 1 || got.Duplicates != 1 || got.Other != 3 || got.Senders != 2 || got.SSRC != 2 {
			t.Errorf("%+v", got)
		}
		if s := r.Samples(); !slices.Equal(s, []int16{8, 16, 0, 40, 48, 64, 72}) {
			t.Errorf("%v", s)
		}
		// The limit: 20 s, wherever the packet would lie.
		for i := range uint32(30) {
			f.packet(rtp.Header{SequenceNumber: uint16(702 + i), Timestamp: 12345 + (61+i)*8000, SSRC: 2}, make([]int16, 160)...)
		}
		if n := len(r.Samples()); n != 20*audio.SampleRate || r.Received().Packets != 36 {
			t.Errorf("%d samples, %+v", n, r.Received())
		}
		if err := l.conn[1].Close(); err != nil {
			t.Error(err)
		}
		end.Wait()
	})
}

func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, memnet.Impairment{})
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		r := audio.NewReceiver(l.conn[1], 0)
		if err := r.Run(cancelled); err != nil {
			t.Error(err)
		}
		// The connection works after it.
		feed{t, l}.raw([]byte("x"))
		if n, _, err := l.conn[1].ReadFrom(make([]byte, 10)); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		broken := audio.NewSender(l.conn[0], audio.PCMU, brokenSource{})
		broken.SetRemote(there)
		if err := broken.Run(t.Context()); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a broken source: %v", err)
		}
		endless := audio.NewSender(l.conn[0], audio.PCMU, audio.Silence())
		endless.SetRemote(there)
		if err := endless.Run(cancelled); err != nil {
			t.Error(err)
		}
		if err := errors.Join(l.conn[0].Close(), l.conn[1].Close()); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(endless.Run(t.Context()), r.Run(t.Context())); err != nil {
			t.Errorf("a closed connection: %v", err)
		}
	})
}

type brokenSource struct{}

func (brokenSource) Read([]int16) (int, error) { return 0, io.ErrUnexpectedEOF }
