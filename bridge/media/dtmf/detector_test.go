package dtmf_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"

	"wakebridge/bridge/media/dtmf"
)

const payloadType = 101

// arriving is a packet as it comes in.
type arriving struct {
	header  rtp.Header
	payload []byte
	at      time.Time
}

// line is a sender and what is between it and the detector.
type line struct {
	ssrc     uint32
	sequence uint16
	stamp    uint32
	now      time.Time
	sent     []arriving
}

func newLine() *line {
	return &line{ssrc: 1, sequence: 65500, stamp: 0xfffffc00, now: time.Unix(1000, 0)}
}

// press sends a key, and sound for a while after it.
func (l *line) press(t testing.TB, p dtmf.Press, pause time.Duration) {
	t.Helper()
	for _, next := range packets(t, p, 8000, l.stamp) {
		l.send(next.Marker, next.Timestamp, next.Payload[:], next.Due)
	}
	l.rest(p.Duration + pause)
}

func (l *line) send(marker bool, stamp uint32, payload []byte, due time.Duration) {
	l.sequence++
	l.sent = append(l.sent, arriving{rtp.Header{Version: 2, Marker: marker, PayloadType: payloadType, SSRC: l.ssrc,
		SequenceNumber: l.sequence, Timestamp: stamp}, slices.Clone(payload), l.now.Add(due)})
}

// rest lets time pass, with a packet of sound each 20 ms.
func (l *line) rest(d time.Duration) {
	l.stamp += uint32(d * 8000 / time.Second) //nolint:gosec // wraps
	l.sequence += uint16(d / dtmf.Interval)   //nolint:gosec // wraps
	l.now = l.now.Add(d)
}

// hear is what a detector makes of packets, which come in that order at their times.
func hear(in []arriving) []dtmf.Press {
	var out []dtmf.Press
	d := dtmf.NewDetector(map[uint8]uint32{payloadType: 8000}, func(p dtmf.Press) { out = append(out, p) })
	for _, p := range in {
		if d.Open() {
			d.Expire(p.at)
		}
		d.Packet(&p.header, p.payload, p.at)
	}
	if d.Open() {
		d.Expire(in[len(in)-1].at.Add(dtmf.Quiet))
	}
	return out
}

// show prints what String hides.
func show(all []dtmf.Press) string {
	var s string
	for _, p := range all {
		s += fmt.Sprintf("%s/%v ", p.Event.Name(), p.Duration)
	}
	return s
}

func key(name string, d time.Duration) dtmf.Press {
	e, err := dtmf.ParseEvent(name)
	if err != nil {
		panic(err)
	}
	return dtmf.Press{Event: e, Duration: d}
}

const ms = time.Millisecond

func TestDetector(t *testing.T) {
	two := func(t *testing.T) []arriving { // "1" for 100 ms is packets 0 to 6, "1" again for 60 ms 7 to 11
		l := newLine()
		l.press(t, key("1", 100*ms), 200*ms)
		l.press(t, key("1", 60*ms), 200*ms)
		return l.sent
	}
	without := func(gone ...int) func([]arriving) []arriving {
		return func(in []arriving) (out []arriving) {
			for i, p := range in {
				if !slices.Contains(gone, i) {
					out = append(out, p)
				}
			}
			return out
		}
	}
	cases := map[string]struct {
		change func([]arriving) []arriving
		want   string
	}{
		"as sent":                         {without(), "1/100ms 1/60ms "},
		"no start":                        {without(0, 1, 2, 3), "1/100ms 1/60ms "},
		"two ends lost":                   {without(4, 5, 7, 9, 11), "1/100ms 1/60ms "},
		"all ends lost":                   {without(4, 5, 6), "1/80ms 1/60ms "},
		"all ends of the last lost":       {without(9, 10, 11), "1/100ms 1/40ms "},
		"only an end":                     {without(0, 1, 2, 3, 4, 5, 7, 8, 9, 11), "1/100ms 1/60ms "},
		"only a beginning":                {without(1, 2, 3, 4, 5, 6), "1/20ms 1/60ms "},
		"each twice":                      {func(in []arriving) []arriving { return twice(in) }, "1/100ms 1/60ms "},
		"the end first":                   {swapped(0, 4), "1/100ms 1/60ms "},
		"updates out of order":            {swapped(1, 3), "1/100ms 1/60ms "},
		"an end behind the next key":      {moved(6, 8), "1/100ms 1/60ms "},
		"an update behind the next key":   {moved(2, 8), "1/100ms 1/60ms "},
		"all ends behind the next key":    {func(in []arriving) []arriving { return moved(4, 8)(moved(4, 8)(moved(4, 8)(in))) }, "1/80ms 1/60ms "},
		"another sender":                  {anotherSender(7), "1/100ms 1/60ms "},
		"another sender while it is down": {func(in []arriving) []arriving { return anotherSender(4)(without(4, 5, 6)(in)) }, "1/80ms 1/60ms "},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := show(hear(c.change(two(t)))); got != c.want {
				t.Errorf("heard %s, want %s", got, c.want)
			}
		})
	}
}

func twice(in []arriving) (out []arriving) {
	for _, p := range in {
		out = append(out, p, p)
	}
	return out
}

func swapped(i, j int) func([]arriving) []arriving {
	return func(in []arriving) []arriving {
		in[i], in[j] = in[j], in[i]
		in[i].at, in[j].at = in[j].at, in[i].at
		return in
	}
}

// moved brings packet i behind packet j.
func moved(i, j int) func([]arriving) []arriving {
	return func(in []arriving) []arriving {
		p := in[i]
		p.at = in[j].at
		return slices.Insert(slices.Delete(in, i, i+1), j, p)
	}
}

func anotherSender(from int) func([]arriving) []arriving {
	return func(in []arriving) []arriving {
		for i := range in[from:] {
			in[from+i].header.SSRC, in[from+i].header.SequenceNumber = 9, uint16(i) //nolint:gosec // a small number
		}
		return in
	}
}

// A pause in which the sequence numbers come round hides no key, and the repeated
// end of an old one is still none.
func TestDetectorAfterAPause(t *testing.T) {
	for _, pause := range []time.Duration{time.Second, 10 * time.Minute, 11 * time.Minute, 12 * time.Minute, 21 * time.Minute, time.Hour} {
		l := newLine()
		l.press(t, key("3", 100*ms), pause)
		l.press(t, key("3", 120*ms), ms)
		if got := show(hear(l.sent)); got != "3/100ms 3/120ms " {
			t.Errorf("after %v: %s", pause, got)
		}
		old := l.sent[6]
		old.at = l.now.Add(pause)
		if got := show(hear(append(l.sent[:7:7], old))); got != "3/100ms " {
			t.Errorf("end repeated after %v: %s", pause, got)
		}
	}
}

// A key of 20 s is three segments at 8 kHz.
func TestDetectorLong(t *testing.T) {
	l := newLine()
	l.press(t, key("9", 20*time.Second), 100*ms)
	l.press(t, key("9", 100*ms), 100*ms)
	want := "9/20s 9/100ms "
	if got := show(hear(l.sent)); got != want {
		t.Errorf("heard %s", got)
	}
	second := l.sent[0].header.Timestamp
	second += 0xffff
	var some, interleaved []arriving // the second segment is lost; ends of segments come later
	for i, p := range l.sent {
		if p.header.Timestamp != second {
			some = append(some, p)
		}
		interleaved = append(interleaved, p)
		if i >= 3 && l.sent[i-1].header.Timestamp != p.header.Timestamp {
			old := l.sent[i-1]
			old.header.SequenceNumber, old.at = p.header.SequenceNumber, p.at
			interleaved = append(interleaved, old)
		}
	}
	if len(some) == len(l.sent) || len(interleaved) == len(l.sent) {
		t.Fatal("nothing was changed")
	}
	for name, in := range map[string][]arriving{"a segment lost": some, "ends interleaved": interleaved} {
		// The lost segment takes 8 s: nobody waits for that, so let no time pass.
		for i := range in {
			in[i].at = time.Unix(1000, 0)
		}
		if got := show(hear(in)); got != want {
			t.Errorf("%s: heard %s", name, got)
		}
	}
}

// Two events in one packet are two keys (RFC 4733 s2.5.1.5).
func TestDetectorPacked(t *testing.T) {
	l := newLine()
	l.send(true, l.stamp, []byte{1, 0x8a, 0x03, 0x20, 2, 0x8a, 0x06, 0x40}, 0)
	if got := show(hear(l.sent)); got != "1/100ms 2/200ms " {
		t.Errorf("heard %s", got)
	}
}

// A key of which nothing comes for a while was told, with what was heard: what comes of
// it after that is no other key, neither in the same segment nor in the next ones.
func TestDetectorAfterAnOutage(t *testing.T) {
	for name, c := range map[string]struct {
		from, to time.Duration // of the outage
		want     string
	}{
		"in a segment":         {2 * time.Second, 3 * time.Second, "9/2s 9/100ms "},
		"at the end of one":    {8 * time.Second, 9 * time.Second, "9/8s 9/100ms "},
		"in the second":        {9 * time.Second, 10 * time.Second, "9/9s 9/100ms "},
		"twice as long as one": {time.Second, 18 * time.Second, "9/1s 9/100ms "},
		"until it was over":    {10 * time.Second, 21 * time.Second, "9/10s 9/100ms "},
	} {
		l := newLine()
		began := l.now
		l.press(t, key("9", 20*time.Second), 2*time.Second)
		l.press(t, key("9", 100*ms), 100*ms)
		var in []arriving
		for _, p := range l.sent {
			if at := p.at.Sub(began); at <= c.from || at >= c.to {
				in = append(in, p)
			}
		}
		if got := show(hear(in)); got != c.want {
			t.Errorf("%s: heard %s, want %s", name, got, c.want)
		}
	}
}

// Segments may be shorter than 0xffff, where ends are repeated in RFC 2198 (RFC 4733
// s2.5.1.3.1, s2.5.2.3.1), and their ends come beside the next one's updates.
func TestDetectorShortSegments(t *testing.T) {
	l := newLine()
	segment := func(stamp uint32, marker bool, lengths ...uint16) {
		for i, length := range lengths {
			l.send(marker && i == 0, stamp, binary.BigEndian.AppendUint16([]byte{5, 10}, length), 0)
		}
	}
	at := l.stamp
	segment(at, true, 8000, 16000, 16160)
	segment(at+16160, false, 160)
	segment(at, false, 16160)
	segment(at+16160, false, 16000)
	segment(at, false, 16160)
	segment(at+16160, false, 16100)
	segment(at+32260, false, 1740)
	segment(at+16160, false, 16100)
	l.send(false, at+32260, []byte{5, 0x8a, 0x06, 0xcc}, 0)
	segment(at+16160, false, 16100)
	l.send(false, at+32260, []byte{5, 0x8a, 0x06, 0xcc}, 0)
	l.send(false, at+34000, []byte{5, 0x8a, 0x03, 0x20}, 0) // its start was lost, that of another key
	if got := show(hear(l.sent)); got != "5/4.25s 5/100ms " {
		t.Errorf("heard %s", got)
	}
}

// The end may be told when the last packet is repeated only (RFC 4733 s2.5.1.4), and a
// key begin before that of the last one came.
func TestDetectorLateEnds(t *testing.T) {
	l := newLine()
	at := l.stamp
	l.send(true, at, []byte{1, 0x0a, 0x03, 0x20}, 0)
	l.send(false, at, []byte{1, 0x0a, 0x06, 0x40}, 0)
	l.send(false, at, []byte{1, 0x8a, 0x06, 0x40}, 0)
	l.send(true, at+2000, []byte{2, 0x0a, 0x03, 0x20}, 0)
	l.send(true, at+2400, []byte{3, 0x0a, 0x03, 0x20}, 0) // while 2 is down
	l.send(false, at+2000, []byte{2, 0x0a, 0x06, 0x40}, 0)
	l.send(false, at+2400, []byte{3, 0x0a, 0x06, 0x40}, 0)
	l.send(false, at+2000, []byte{2, 0x8a, 0x06, 0x40}, 0)
	l.send(false, at+2400, []byte{3, 0x8a, 0x06, 0x40}, 0)
	l.send(false, at+2000, []byte{2, 0x8a, 0x06, 0x40}, 0)
	l.send(false, at+2400, []byte{3, 0x8a, 0x06, 0x40}, 0)
	l.send(true, at+5600, []byte{3, 0x0a, 0x03, 0x20}, 0) // the same key without an end
	l.send(true, at+7200, []byte{3, 0x8a, 0x03, 0x20}, 0)
	if got := show(hear(l.sent)); got != "1/200ms 2/100ms 3/200ms 3/100ms 3/100ms " {
		t.Errorf("heard %s", got)
	}
}

// Keys are no states: a report without a length is none (RFC 4733 s2.3.5), but for those
// that begin or end a key. What fills a packet up is not the key 0.
func TestDetectorWithoutLength(t *testing.T) {
	l := newLine()
	at := l.stamp
	l.send(false, at, []byte{4, 0x0a, 0, 0}, 0)
	l.send(true, at+800, []byte{1, 0x0a, 0x03, 0x20, 0, 0, 0, 0}, 0)
	l.send(false, at+800, []byte{1, 0x8a, 0x06, 0x40, 0, 0, 0, 0}, 0)
	l.send(true, at+8000, []byte{2, 0x0a, 0, 0}, 0)
	l.send(false, at+8000, []byte{2, 0x0a, 0x03, 0x20}, 0)
	l.send(false, at+8000, []byte{2, 0x8a, 0, 0}, 0)
	if got := show(hear(l.sent)); got != "1/200ms 2/100ms " {
		t.Errorf("heard %s", got)
	}
}

func TestDetectorIgnores(t *testing.T) {
	l := newLine()
	l.send(true, 1, []byte{32, 0x8a, 0, 160}, 0)  // answer tone
	l.send(true, 2, []byte{1, 0x8a, 0}, 0)        // cut off
	l.send(true, 3, nil, 0)                       // empty
	l.send(true, 4, []byte{17, 0x8a, 0, 160}, 0)  // the first that is no key
	l.send(true, 5, []byte{255, 0x8a, 0, 160}, 0) //
	l.send(true, 6, []byte{1, 0x8a, 0, 160}, 0)
	l.sent[5].header.PayloadType = 0
	if got := show(hear(l.sent)); got != "" {
		t.Errorf("heard %s", got)
	}
}

// As long as one packet of each key arrives and none is overtaken by a whole key,
// every key is heard once, in order, and for no longer than it was down; exactly as
// long if an end arrived.
func TestDetectorOverABadLine(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		l := newLine()
		var pressed []dtmf.Press
		var in []arriving
		var exact []bool
		for range 1 + r.IntN(12) {
			p := dtmf.Press{Event: dtmf.Event(r.IntN(17)), Duration: time.Duration(40+r.IntN(400)) * ms}
			from := len(l.sent)
			l.press(t, p, time.Duration(60+r.IntN(1000))*ms)
			pressed = append(pressed, p)
			kept, ended := damage(r, l.sent[from:])
			in, exact = append(in, kept...), append(exact, ended)
		}
		got := hear(in)
		if len(got) != len(pressed) {
			t.Fatalf("seed %d: heard %s of %s", seed, show(got), show(pressed))
		}
		for i, p := range pressed {
			if got[i].Event != p.Event || got[i].Duration > p.Duration || exact[i] && got[i].Duration != p.Duration.Truncate(125*time.Microsecond) {
				t.Errorf("seed %d: heard %s of %s", seed, show(got), show(pressed))
			}
		}
	}
}

// damage loses, repeats and swaps packets of one key; ended says that an end is left
// and nothing was overtaken by it.
func damage(r *rand.Rand, in []arriving) (out []arriving, ended bool) {
	spared := r.IntN(len(in))
	for i, p := range in {
		if i != spared && r.IntN(2) == 0 {
			continue
		}
		out = append(out, p)
		ended = ended || p.payload[1]&0x80 != 0
		if r.IntN(4) == 0 {
			out = append(out, p)
		}
	}
	for i := range len(out) - 1 {
		if r.IntN(5) == 0 {
			out[i], out[i+1] = out[i+1], out[i]
			out[i].at, out[i+1].at = out[i+1].at, out[i].at
		}
	}
	return out, ended
}

// No packets make the detector fail, or tell of more keys than there were packets.
func FuzzDetector(f *testing.F) {
	f.Add([]byte{0, 1, 0, 0, 1, 0x8a, 3, 0x20}, uint64(1))
	f.Add([]byte{0x80, 1, 0, 0, 1, 0x0a, 0xff, 0xff, 0, 2, 0xff, 0xff, 1, 0x8a, 3, 0x20}, uint64(3))
	f.Fuzz(func(t *testing.T, data []byte, pace uint64) {
		keys, blocks := 0, 0
		d := dtmf.NewDetector(map[uint8]uint32{payloadType: 8000}, func(p dtmf.Press) {
			keys++
			if !p.Event.Valid() || p.Duration < 0 {
				t.Errorf("key %d for %v", uint8(p.Event), p.Duration)
			}
		})
		now := time.Unix(0, 0)
		for len(data) >= 8 {
			h := rtp.Header{Version: 2, Marker: data[0]&0x80 != 0, PayloadType: payloadType, SSRC: uint32(data[0] & 1),
				SequenceNumber: uint16(data[1]), Timestamp: uint32(binary.BigEndian.Uint16(data[2:]))}
			n := min(4+int(data[0]&0x0c), len(data)-4)
			d.Packet(&h, data[4:4+n], now)
			blocks += n / dtmf.PayloadSize
			data = data[4+n:]
			now = now.Add(time.Duration(pace%700) * ms)
			d.Expire(now)
		}
		d.Expire(now.Add(dtmf.Quiet))
		if d.Open() || keys > blocks {
			t.Errorf("open %t, %d keys in %d blocks", d.Open(), keys, blocks)
		}
	})
}
