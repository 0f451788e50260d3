package capture_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/pion/rtp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"wakebridge/bridge/media/capture"
	"wakebridge/bridge/media/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	ours  = netip.MustParseAddrPort("192.0.2.1:5060")
	peer  = netip.MustParseAddrPort("198.51.100.7:40000")
	peer6 = netip.MustParseAddrPort("[2001:db8::7]:40000")
)

// world is a store in virtual time.
type world struct {
	*testing.T
	dir      string
	store    *capture.Store
	registry *prometheus.Registry
	log      bytes.Buffer
}

// inWorld runs a test with an open store.
func inWorld(t *testing.T, change func(*capture.Config), test func(*world)) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "captures")
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, dir: dir}
		w.open(change)
		test(w)
		w.store.Close()
		if left, err := w.registry.Gather(); err != nil || len(left) != 0 {
			t.Errorf("metrics stay after Close: %v %v", left, err)
		}
		if parts, err := filepath.Glob(filepath.Join(dir, "*.part")); err != nil || len(parts) != 0 {
			t.Errorf("left: %v %v", parts, err)
		}
	})
}

func (w *world) open(change func(*capture.Config)) {
	w.Helper()
	w.registry = prometheus.NewPedanticRegistry()
	c := capture.Config{Dir: w.dir, Calls: capture.All, Keep: 24 * time.Hour, MaxBytes: 64 << 20, Version: "test",
		Log: slog.New(slog.NewTextHandler(&w.log, nil)), Registerer: w.registry}
	if change != nil {
		change(&c)
	}
	var err error
	if w.store, err = capture.New(c); err != nil {
		w.Fatal(err)
	}
}

// count is the value of a metric with a label's value, or without.
func (w *world) count(name, label string) float64 {
	w.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		w.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "wakebridge_capture_"+name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// begin starts a recording.
func (w *world) begin() (*capture.Recording, string) {
	w.Helper()
	id := uuid.NewString()
	r := w.store.Begin(id)
	if r == nil {
		w.Fatal("nothing is recorded")
	}
	return r, id
}

// settle waits until ended recordings are written.
func (w *world) settle() {
	time.Sleep(5 * time.Second)
	synctest.Wait()
}

func message(text string) capture.Message {
	return capture.Message{At: time.Now(), From: peer, To: ours, Transport: "UDP", Data: []byte(text)}
}

// voice is an RTP packet with octets of payload.
func voice(t testing.TB, seq uint16, octets int) relay.Seen {
	t.Helper()
	p := rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: seq, SSRC: 7, CSRC: []uint32{1}}, Payload: bytes.Repeat([]byte{0xd5}, octets)}
	if err := p.SetExtension(1, []byte{9}); err != nil {
		t.Fatal(err)
	}
	b, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return relay.Seen{At: time.Now(), From: peer, To: ours, Data: b}
}

// found is one packet of a file.
type found struct {
	face     string
	at       time.Time
	from, to string
	payload  []byte
	length   int // of the payload, before it was cut
	comments []string
}

// contents is a file.
type contents struct {
	packets []found
	stats   map[int]pcapgo.NgInterfaceStatistics
	comment string
}

// of lists the packets of an interface.
func (c contents) of(face string) []found {
	return slices.DeleteFunc(slices.Clone(c.packets), func(f found) bool { return f.face != face })
}

// read reads a file with a reader that is not ours.
func (w *world) read(id string) contents {
	w.Helper()
	f, err := w.store.Open(id)
	if err != nil {
		w.Fatal(err)
	}
	defer f.Close()
	all, err := io.ReadAll(f)
	if err != nil || int64(len(all)) != f.Size {
		w.Fatalf("%d octets of %d: %v", len(all), f.Size, err)
	}
	c := contents{stats: map[int]pcapgo.NgInterfaceStatistics{}}
	r, err := pcapgo.NewNgReader(bytes.NewReader(all), pcapgo.NgReaderOptions{
		StatisticsCallback: func(i int, s pcapgo.NgInterfaceStatistics) { c.stats[i] = s },
	})
	if err != nil {
		w.Fatal(err)
	}
	c.comment = r.SectionInfo().Comment
	if r.LinkType() != layers.LinkTypeEthernet {
		w.Errorf("link type %v: libpcap could not read it", r.LinkType())
	}
	for {
		data, ci, opts, err := r.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			return c
		}
		if err != nil {
			w.Fatal(err)
		}
		face, err := r.Interface(ci.InterfaceIndex)
		if err != nil {
			w.Fatal(err)
		}
		p := gopacket.NewPacket(data, layers.LinkTypeEthernet, gopacket.Default)
		udp, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
		if !ok {
			w.Fatalf("no UDP in %v", p)
		}
		ends := p.NetworkLayer().NetworkFlow()
		c.packets = append(c.packets, found{face: face.Name, at: ci.Timestamp, comments: opts.Comments, payload: udp.Payload,
			from:   fmt.Sprintf("%s %d", ends.Src(), udp.SrcPort),
			to:     fmt.Sprintf("%s %d", ends.Dst(), udp.DstPort),
			length: ci.Length - (len(data) - len(udp.Payload))})
		if int(udp.Length) != 8+c.packets[len(c.packets)-1].length {
			w.Errorf("UDP says %d octets", udp.Length)
		}
	}
}

// files lists the captures.
func (w *world) files() []string {
	w.Helper()
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		w.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, strings.TrimSuffix(e.Name(), ".pcapng"))
	}
	return out
}
