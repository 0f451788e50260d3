package dtmf_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"wakebridge/bridge/media/dtmf"
)

// packets are all packets of a key.
func packets(t testing.TB, p dtmf.Press, clock, begins uint32) []dtmf.Packet {
	t.Helper()
	e := dtmf.NewEncoder(p, clock, begins)
	var all []dtmf.Packet
	for {
		next, more := e.Next()
		if !more {
			return all
		}
		if all = append(all, next); len(all) > 1e6 {
			t.Fatal("it never ends")
		}
	}
}

func length(p dtmf.Packet) int { return int(binary.BigEndian.Uint16(p.Payload[2:])) }

func isEnd(p dtmf.Packet) bool { return p.Payload[1]&0x80 != 0 }

// The example of RFC 4733: updates that grow, one marker, three ends.
func TestEncoder(t *testing.T) {
	all := packets(t, dtmf.Press{Event: 5, Duration: 70 * time.Millisecond}, 8000, 4000)
	var got []string
	for _, p := range all {
		got = append(got, fmt.Sprintf("%d m=%t e=%t %d@%d +%v", p.Payload[0], p.Marker, isEnd(p), length(p), p.Timestamp, p.Due))
	}
	want := []string{
		"5 m=true e=false 160@4000 +20ms", "5 m=false e=false 320@4000 +40ms", "5 m=false e=false 480@4000 +60ms",
		"5 m=false e=true 560@4000 +70ms", "5 m=false e=true 560@4000 +90ms", "5 m=false e=true 560@4000 +110ms",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A key shorter than an interval is told by its ends alone, the first with the marker.
func TestEncoderShort(t *testing.T) {
	for _, d := range []time.Duration{0, time.Nanosecond, 10 * time.Millisecond, 20 * time.Millisecond} {
		all := packets(t, dtmf.Press{Event: 11, Duration: d}, 8000, 0)
		if len(all) != 3 || !all[0].Marker || all[1].Marker || all[2].Marker || !isEnd(all[0]) || length(all[0]) == 0 {
			t.Errorf("%v: %+v", d, all)
		}
	}
}

// Whatever the key, its length and the clock: the rules of RFC 4733 s2.5.1.
func TestEncoderRules(t *testing.T) {
	for _, clock := range []uint32{8000, 16000, 44100, 48000, 50} {
		for d := time.Millisecond; d < 20*time.Second; d = d*7/5 + time.Millisecond {
			all := packets(t, dtmf.Press{Event: 16, Duration: d}, clock, 0xffffff00)
			obeys(t, fmt.Sprintf("%v at %d Hz", d, clock), all, 0xffffff00)
			last := all[len(all)-1]
			whole := uint64(last.Timestamp-0xffffff00) + uint64(length(last)) //nolint:gosec // a length
			if want := max(uint64(d)*uint64(clock)/uint64(time.Second), 1); whole != want {
				t.Errorf("%v at %d Hz: %d units, want %d", d, clock, whole, want)
			}
		}
	}
}

// obeys checks what holds for the packets of any key.
func obeys(t *testing.T, name string, all []dtmf.Packet, begins uint32) {
	t.Helper()
	stamp, before, marked, ended := begins, 0, 0, 0
	var due time.Duration
	for i, p := range all {
		if p.Due < due {
			t.Fatalf("%s: packet %d is due before the one in front of it", name, i)
		}
		due = p.Due
		if p.Marker {
			marked++
		}
		if isEnd(p) {
			ended++
		} else if ended > 0 {
			t.Fatalf("%s: packet %d goes on after the end", name, i)
		}
		switch {
		case p.Timestamp == stamp && length(p) >= before:
		case p.Timestamp == stamp+0xffff && before == 0xffff && i >= 3 && length(all[i-2]) == 0xffff && length(all[i-3]) == 0xffff:
			stamp = p.Timestamp // the segment before was full, and told three times
		default:
			t.Fatalf("%s: packet %d: %d@%d after %d@%d", name, i, length(p), p.Timestamp, before, stamp)
		}
		before = length(p)
	}
	if marked != 1 || !all[0].Marker || ended != 3 {
		t.Errorf("%s: %d markers, %d ends", name, marked, ended)
	}
}

func TestParseEvent(t *testing.T) {
	for i, name := range strings.Split("0 1 2 3 4 5 6 7 8 9 * # A B C D !", " ") {
		e, err := dtmf.ParseEvent(name)
		if err != nil || int(e) != i || e.Name() != name || !e.Valid() {
			t.Errorf("%s: %d %v %q", name, uint8(e), err, e.Name())
		}
	}
	if e, err := dtmf.ParseEvent("c"); err != nil || e != 14 {
		t.Errorf("c: %d %v", uint8(e), err)
	}
	for _, bad := range []string{"", "E", "12", " ", "é", "\x00", "$"} {
		if _, err := dtmf.ParseEvent(bad); !errors.Is(err, dtmf.ErrEvent) || bad != "" && strings.Contains(err.Error(), bad) && bad != "E" && bad != " " {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if e := dtmf.Event(17); e.Valid() || e.Name() != "" {
		t.Error("17 is a key")
	}
}

// A key may be one of a PIN: no way of printing shows it.
func TestEventIsSecret(t *testing.T) {
	p := dtmf.Press{Event: 7, Duration: time.Second}
	var b strings.Builder
	for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(h).Info("x", "e", p.Event, "p", p)
	}
	asJSON, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{fmt.Sprint(p), fmt.Sprintf("%v %+v %#v %s %d %x", p, p, p, p.Event, p.Event, p.Event), string(asJSON), withoutTime(b.String())} {
		if strings.Contains(out, "7") {
			t.Errorf("shows the key: %s", out)
		}
	}
}

// withoutTime takes the times out of log lines: they have digits of their own.
func withoutTime(log string) string {
	var out []string
	for line := range strings.Lines(log) {
		_, rest, _ := strings.Cut(line, "INFO")
		out = append(out, rest)
	}
	return strings.Join(out, "")
}
