package media_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"wakebridge/bridge/media"
	"wakebridge/bridge/media/dtmf"
)

func pressed(name string, d time.Duration) dtmf.Press {
	e, err := dtmf.ParseEvent(name)
	if err != nil {
		panic(err)
	}
	return dtmf.Press{Event: e, Duration: d}
}

// told collects keys, shown as "5/160ms".
type told struct {
	mu  sync.Mutex
	all []string
}

func (k *told) report(p dtmf.Press) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all = append(k.all, fmt.Sprintf("%s/%v", p.Event.Name(), p.Duration))
}

func (k *told) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return strings.Join(k.all, " ")
}

// Keys go out one after the other, each with its length and in place of the voice;
// the far end's detector understands them.
func TestPressKeys(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		l, y := w.listener(12000), w.far(router, 4000)
		a, b := w.side(1), w.side(1)
		a.SetRemote(0, media.Remote{RTP: l.addr()})
		b.SetRemote(0, media.Remote{RTP: y.addr()})
		media.Join(a, b)
		y.talk(b.Ports()[0], "voice", 2)
		start := time.Now()
		for _, p := range []dtmf.Press{pressed("1", 100*time.Millisecond), pressed("1", 100*time.Millisecond), pressed("#", 250*time.Millisecond)} {
			if err := a.Press(media.Key{PayloadType: 101, Clock: 8000, Press: p}); err != nil {
				t.Fatal(err)
			}
		}
		y.talk(b.Ports()[0], "voice", 50)
		all, came := l.packets()
		var heard told
		d := dtmf.NewDetector(map[uint8]uint32{101: 8000}, heard.report)
		var keys, voice []rtp.Packet
		var begins []time.Duration
		for i, p := range all {
			if p.PayloadType != 101 {
				if len(keys) > 0 && len(voice) == 2 && !p.Marker {
					t.Error("the voice came back without a marker")
				}
				voice = append(voice, p)
				continue
			}
			if p.Marker {
				begins = append(begins, came[i].Sub(start)-20*time.Millisecond)
			}
			keys = append(keys, p)
			d.Packet(&p.Header, p.Payload, came[i])
		}
		if got, want := heard.String(), "1/100ms 1/100ms #/250ms"; got != want {
			t.Errorf("heard %s, want %s", got, want)
		}
		if got, want := fmt.Sprint(begins), "[0s 160ms 320ms]"; got != want {
			t.Errorf("keys begin at %s, want %s", got, want)
		}
		for i, p := range keys {
			if p.SSRC != keys[0].SSRC || p.SSRC == voice[0].SSRC || p.SequenceNumber != keys[0].SequenceNumber+uint16(i) { //nolint:gosec // small
				t.Errorf("packet %d: %+v", i, p.Header)
			}
		}
		if n := len(keys); n != 7+7+15+5 {
			t.Errorf("%d packets of keys", n)
		}
		if gap := keys[len(keys)-1].Timestamp - keys[0].Timestamp; gap != 320*8 {
			t.Errorf("the last key begins %d units after the first", gap)
		}
		// 730 ms of 1 s belong to the keys, their gaps and the last one's repeated end.
		if n := len(voice); n < 14 || n > 16 {
			t.Errorf("%d packets of voice", n)
		}
	})
}

func TestPressErrors(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, l := w.side(1), w.listener(12000)
		a.SetRemote(0, media.Remote{RTP: l.addr()})
		k := media.Key{PayloadType: 101, Clock: 8000, Press: pressed("1", time.Second)}
		for i, stream := range []int{-1, 1} {
			k.Stream = stream
			if err := a.Press(k); !errors.Is(err, media.ErrNoStream) {
				t.Errorf("%d: %v", i, err)
			}
		}
		k.Stream = 0
		for _, at := range []netip.AddrPort{{}, netip.AddrPortFrom(l.addr().Addr(), 0), netip.AddrPortFrom(netip.IPv4Unspecified(), 12000)} {
			a.SetRemote(0, media.Remote{RTP: at})
			if err := a.Press(k); !errors.Is(err, media.ErrNowhere) {
				t.Errorf("%s: %v", at, err)
			}
		}
		a.SetRemote(0, media.Remote{RTP: l.addr()})
		sent := 0
		for ; sent < 100; sent++ {
			if err := a.Press(k); err != nil {
				if !errors.Is(err, media.ErrKeys) {
					t.Error(err)
				}
				break
			}
		}
		if sent != 32 && sent != 33 { // one may be down already
			t.Errorf("%d keys wait", sent)
		}
		time.Sleep(1500 * time.Millisecond)
		a.Close() // with a key down
		if err := a.Press(k); !errors.Is(err, media.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		before, _ := l.packets()
		time.Sleep(time.Minute)
		if after, _ := l.packets(); len(after) != len(before) || len(before) == 0 {
			t.Errorf("%d packets, after Close %d", len(before), len(after))
		}
	})
}

// sendKey sends a key to a side as a phone does, but for the last skip packets.
func (e *end) sendKey(port uint16, p dtmf.Press, skip int) {
	e.w.Helper()
	encoder := dtmf.NewEncoder(p, 8000, uint32(time.Now().UnixMilli()*8)) //nolint:gosec // wraps
	var all []dtmf.Packet
	for next, more := encoder.Next(); more; next, more = encoder.Next() {
		all = append(all, next)
	}
	start := time.Now()
	for _, next := range all[:len(all)-skip] {
		time.Sleep(time.Until(start.Add(next.Due)))
		e.seq++
		pkt := rtp.Packet{Header: rtp.Header{Version: 2, Marker: next.Marker, PayloadType: 101, SSRC: e.ssrc, SequenceNumber: e.seq, Timestamp: next.Timestamp},
			Payload: next.Payload[:]}
		b, err := pkt.Marshal()
		if err != nil {
			e.w.Fatal(err)
		}
		if _, err := e.rtp.WriteTo(b, net.UDPAddrFromAddrPort(netip.AddrPortFrom(server, port))); err != nil {
			e.w.Fatal(err)
		}
	}
	synctest.Wait()
}

func TestDetect(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, b := w.side(1), w.side(1)
		x, y := w.far(pbx, 12000), w.far(router, 4000)
		a.SetRemote(0, media.Remote{RTP: x.addr()})
		b.SetRemote(0, media.Remote{RTP: y.addr()})
		media.Join(a, b)
		var heard told
		var downs atomic.Int32
		k := media.Keys{Clocks: map[uint8]uint32{101: 8000}, Take: true, Began: func() { downs.Add(1) }, Report: heard.report}
		for i := range 3 { // the second and third change nothing, even with a key down
			if err := a.Detect(0, &k); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				x.sendKey(a.Ports()[0], pressed("7", 100*time.Millisecond), 3) // its ends are lost
			}
		}
		if got := heard.String(); got != "" {
			t.Errorf("told %s while the key may be down", got)
		}
		time.Sleep(dtmf.Quiet + time.Millisecond)
		if got := heard.String(); got != "7/80ms" {
			t.Errorf("heard %s", got)
		}
		x.sendKey(a.Ports()[0], pressed("*", 160*time.Millisecond), 0)
		if got := heard.String(); got != "7/80ms */160ms" {
			t.Errorf("heard %s", got)
		}
		if n := len(y.heard()); n != 0 || downs.Load() != 2 {
			t.Errorf("%d packets went on, %d keys went down", n, downs.Load())
		}
		if n := a.Stats()[0].Rejected[media.Converted]; n != 4+10 {
			t.Errorf("%d packets converted", n)
		}

		k.Take = false
		if err := a.Detect(0, &k); err != nil {
			t.Fatal(err)
		}
		x.sendKey(a.Ports()[0], pressed("1", 60*time.Millisecond), 0)
		if n := len(y.heard()); n != 5 || heard.String() != "7/80ms */160ms 1/60ms" {
			t.Errorf("%d packets went on, heard %s", n, heard.String())
		}
		if err := a.Detect(0, nil); err != nil {
			t.Fatal(err)
		}
		x.sendKey(a.Ports()[0], pressed("2", 60*time.Millisecond), 0)
		if n := len(y.heard()); n != 5 || heard.String() != "7/80ms */160ms 1/60ms" {
			t.Errorf("without detection %d packets went on, heard %s", n, heard.String())
		}
		for i, stream := range []int{-1, 1} {
			if err := a.Detect(stream, &k); !errors.Is(err, media.ErrNoStream) {
				t.Errorf("%d: %v", i, err)
			}
		}
	})
}

// A key that begins before the end of the last one came is told to have begun as well.
func TestDetectKeyAfterKey(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, x := w.side(1), w.far(pbx, 12000)
		a.SetRemote(0, media.Remote{RTP: x.addr()})
		var heard told
		var downs atomic.Int32
		k := media.Keys{Clocks: map[uint8]uint32{101: 8000}, Began: func() { downs.Add(1) }, Report: heard.report}
		if err := a.Detect(0, &k); err != nil {
			t.Fatal(err)
		}
		for i, name := range []string{"7", "8", "8"} {
			x.sendKey(a.Ports()[0], pressed(name, 100*time.Millisecond), 3) // its ends are lost
			time.Sleep(60 * time.Millisecond)
			if n := downs.Load(); n != int32(i)+1 { //nolint:gosec // small
				t.Errorf("after key %d: %d keys went down", i, n)
			}
		}
		time.Sleep(dtmf.Quiet)
		if got := heard.String(); got != "7/80ms 8/80ms 8/80ms" {
			t.Errorf("heard %s", got)
		}
	})
}

// No key is told after Close, not even one that was down.
func TestDetectEndsWithClose(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, x := w.side(1), w.far(pbx, 12000)
		a.SetRemote(0, media.Remote{RTP: x.addr()})
		var heard told
		k := media.Keys{Clocks: map[uint8]uint32{101: 8000}, Report: heard.report}
		if err := a.Detect(0, &k); err != nil {
			t.Fatal(err)
		}
		x.sendKey(a.Ports()[0], pressed("7", 100*time.Millisecond), 3)
		a.Close()
		time.Sleep(time.Second)
		if got := heard.String(); got != "" {
			t.Errorf("told %s", got)
		}
		if err := a.Detect(0, &k); !errors.Is(err, media.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// At the clock of Opus a long key is two segments: the insertion counts by that clock.
func TestPressAtAnotherClock(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, l := w.side(1), w.listener(12000)
		a.SetRemote(0, media.Remote{RTP: l.addr()})
		for _, d := range []time.Duration{2 * time.Second, 100 * time.Millisecond} {
			if err := a.Press(media.Key{PayloadType: 97, Clock: 48000, Press: pressed("1", d)}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * time.Second)
		all, came := l.packets()
		var heard told
		d := dtmf.NewDetector(map[uint8]uint32{97: 48000}, heard.report)
		for i, p := range all {
			d.Packet(&p.Header, p.Payload, came[i])
		}
		if got := heard.String(); got != "1/2s 1/100ms" {
			t.Errorf("heard %s", got)
		}
		if gap := all[len(all)-1].Timestamp - all[0].Timestamp; gap != 2060*48 {
			t.Errorf("the second key begins %d units after the first", gap)
		}
	})
}
