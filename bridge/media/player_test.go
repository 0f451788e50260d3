package media_test

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"wakebridge/bridge/media"
	"wakebridge/bridge/media/audio"
)

// listener hears RTP and when it came.
type listener struct {
	*end
	mu   sync.Mutex
	all  []rtp.Packet
	came []time.Time
}

func (w *world) listener(port uint16) *listener {
	conn, err := w.net.ListenPacket(netip.AddrPortFrom(pbx, port))
	if err != nil {
		w.Fatal(err)
	}
	l := &listener{end: &end{w: w, rtp: conn, rtcp: conn, ssrc: uint32(port)}}
	l.readers.Go(func() {
		buf := make([]byte, 2000)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var p rtp.Packet
			if err := p.Unmarshal(append([]byte(nil), buf[:n]...)); err != nil {
				w.Error(err)
				return
			}
			l.mu.Lock()
			l.all, l.came = append(l.all, p), append(l.came, time.Now())
			l.mu.Unlock()
		}
	})
	w.ends = append(w.ends, l.end)
	return l
}

func (l *listener) packets() ([]rtp.Packet, []time.Time) {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all, l.came
}

// A minute of tone: a packet each 20 ms to the microsecond, nothing drifts, and the
// headers count as RFC 3550 wants it.
func TestPlayKeepsTime(t *testing.T) {
	for _, codec := range []audio.Codec{audio.PCMU, audio.PCMA} {
		inWorld(t, nil, func(w *world) {
			l, a := w.listener(12000), w.side(1)
			a.SetRemote(0, media.Remote{RTP: l.addr()})
			start := time.Now()
			if err := a.Play(media.Playing{Codec: codec, Source: audio.Loop(audio.Ringback("uk"))}); err != nil {
				w.Fatal(err)
			}
			time.Sleep(time.Minute - frame/2)
			a.Hush()
			time.Sleep(time.Second)
			all, came := l.packets()
			if len(all) != 60*50 {
				w.Fatalf("%d packets in a minute, want 3000", len(all))
			}
			var sound []int16
			for i, p := range all {
				if late := came[i].Sub(start) - time.Duration(i)*frame; late < 0 || late > time.Millisecond {
					w.Fatalf("packet %d came %s late", i, late)
				}
				if p.SequenceNumber != all[0].SequenceNumber+uint16(i) || p.Timestamp != all[0].Timestamp+160*uint32(i) || //nolint:gosec // RFC 3550 arithmetic
					p.SSRC != all[0].SSRC || p.Marker != (i == 0) || p.PayloadType != uint8(codec) || len(p.Payload) != 160 {
					w.Fatalf("packet %d: %+v", i, p.Header)
				}
				sound = codec.Decode(sound, p.Payload)
			}
			sent, err := audio.Take(audio.Loop(audio.Ringback("uk")), len(sound))
			if err != nil {
				w.Fatal(err)
			}
			if !slices.Equal(sound, codec.Decode(nil, codec.Encode(nil, sent))) {
				w.Error("another sound")
			}
			if s := a.Stats()[0]; s.Inserted != 3000 || s.Sent.Packets != 3000 {
				w.Errorf("stats %+v", s)
			}
		})
	}
}

// stalling is a source that once takes its time, as a machine may.
type stalling struct {
	reads int
	at    int
	pause time.Duration
}

func (s *stalling) Read(samples []int16) (int, error) {
	if s.reads++; s.reads == s.at {
		time.Sleep(s.pause)
	}
	return len(samples), nil
}

// After a stall a few packets are made good at once; what is older is left out, and
// the timestamps say so.
func TestPlayAfterStall(t *testing.T) {
	for _, c := range []struct {
		pause   time.Duration
		missing int
	}{{70 * time.Millisecond, 0}, {400 * time.Millisecond, 15}} {
		inWorld(t, nil, func(w *world) {
			l, a := w.listener(12000), w.side(1)
			a.SetRemote(0, media.Remote{RTP: l.addr()})
			if err := a.Play(media.Playing{Source: &stalling{at: 10, pause: c.pause}}); err != nil {
				w.Fatal(err)
			}
			time.Sleep(time.Second - frame/2)
			a.Hush()
			all, _ := l.packets()
			if len(all) != 50-c.missing {
				w.Fatalf("%s: %d packets, want %d", c.pause, len(all), 50-c.missing)
			}
			last := all[len(all)-1]
			if last.Timestamp-all[0].Timestamp != 49*160 || int(last.SequenceNumber-all[0].SequenceNumber) != len(all)-1 {
				w.Errorf("%s: last packet %+v, first %+v", c.pause, last.Header, all[0].Header)
			}
			markers := 0
			for i, p := range all {
				if p.Marker {
					markers++
				}
				if i > 0 && p.Timestamp-all[i-1].Timestamp != 160 && !p.Marker {
					w.Errorf("%s: a gap without marker before packet %d", c.pause, i)
				}
			}
			if want := 1 + min(c.missing, 1); markers != want {
				w.Errorf("%s: %d markers, want %d", c.pause, markers, want)
			}
		})
	}
}

// The partner is heard from the moment of Hush on, under its own SSRC, the first
// packet marked; not before.
func TestHandOver(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		l, y := w.listener(12000), w.far(router, 4000)
		a, b := w.side(1), w.side(1)
		a.SetRemote(0, media.Remote{RTP: l.addr()})
		b.SetRemote(0, media.Remote{RTP: y.addr()})
		media.Join(a, b)
		if err := a.Play(media.Playing{Source: audio.Silence()}); err != nil {
			w.Fatal(err)
		}
		time.Sleep(frame / 2) // between two frames of the sound
		y.talk(b.Ports()[0], "hello", 50)
		a.Hush()
		before, _ := l.packets()
		y.talk(b.Ports()[0], "hello", 50)
		all, _ := l.packets()
		if len(before) != 51 || len(all) != 101 {
			w.Fatalf("%d packets of silence, %d in all", len(before), len(all))
		}
		for i, p := range all {
			theirs := i >= len(before)
			if (p.SSRC == y.ssrc) != theirs || p.Marker != (i == 0 || i == len(before)) || (string(p.Payload) == "hello") != theirs {
				w.Fatalf("packet %d: %+v", i, p)
			}
		}
	})
}

// A sound ends with its source, with another one, and with the side.
func TestPlayEnds(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		l, a := w.listener(12000), w.side(1)
		a.SetRemote(0, media.Remote{RTP: l.addr()})
		count := func() int {
			all, _ := l.packets()
			return len(all)
		}
		if err := a.Play(media.Playing{Stream: 1}); !errors.Is(err, media.ErrNoStream) {
			w.Errorf("stream 1 of 1: %v", err)
		}
		if err := a.Play(media.Playing{Source: audio.Clip(make([]int16, 1000))}); err != nil {
			w.Fatal(err)
		}
		time.Sleep(time.Second)
		if n := count(); n != 7 {
			w.Errorf("%d packets of 1000 samples", n)
		}
		for range 2 {
			if err := a.Play(media.Playing{Source: audio.Silence()}); err != nil {
				w.Fatal(err)
			}
		}
		time.Sleep(time.Second - frame/2)
		if n := count(); n < 57 || n > 58 { // the first of the two may have sent its first packet
			w.Errorf("%d packets, want 57 or 58", n)
		}
		if err := a.Play(media.Playing{Source: broken{}}); err != nil {
			w.Fatal(err)
		}
		synctest.Wait()
		n := count()
		if err := a.Play(media.Playing{Source: audio.Silence()}); err != nil {
			w.Fatal(err)
		}
		a.Close()
		time.Sleep(time.Second)
		if more := count() - n; more > 1 {
			w.Errorf("%d packets after Close", more)
		}
		if err := a.Play(media.Playing{Source: audio.Silence()}); !errors.Is(err, media.ErrClosed) {
			w.Errorf("after Close: %v", err)
		}
	})
}

// broken is a source with a fault of ours.
type broken struct{}

func (broken) Read([]int16) (int, error) { panic("on purpose") }
