package relay

import (
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"

	"wakebridge/bridge/media/dtmf"
	"wakebridge/bridge/media/srtp"
)

// key are the packets of one key, as a phone sends them.
func key(t *testing.T) []rtp.Packet {
	t.Helper()
	e := dtmf.NewEncoder(dtmf.Press{Event: 5, Duration: 100 * time.Millisecond}, 8000, 7000)
	var all []rtp.Packet
	for p, more := e.Next(); more; p, more = e.Next() {
		all = append(all, rtp.Packet{Header: rtp.Header{Version: 2, Marker: p.Marker, PayloadType: 101, SSRC: 7,
			SequenceNumber: uint16(100 + len(all)), Timestamp: p.Timestamp}, Payload: p.Payload[:]}) //nolint:gosec // small
	}
	return all
}

func (p *party) sends(t *testing.T, pkt rtp.Packet) {
	t.Helper()
	b, err := pkt.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	write(t, p.rtp, p.seal(t, false, b), addrOf(t, p.pair.RTP))
}

// Telephone events pass as they are, marker, timestamps and repeated ends, between
// plain RTP and SRTP in every mix, also while somebody listens.
func TestEventsPass(t *testing.T) {
	for _, suites := range [][2]srtp.Suite{{0, 0}, {srtp.AESCM128HMACSHA180, 0}, {0, srtp.AEADAES128GCM}, {srtp.AESCM128HMACSHA132, srtp.AEADAES256GCM}} {
		engines(t, func(t *testing.T, e Engine) {
			a, b := newParty(t, e, suites[0]), newParty(t, e, suites[1])
			a.stream.Forward(b.stream)
			for _, listening := range []bool{false, true} {
				heard := 0
				if listening {
					a.stream.Tap(&Tap{PayloadTypes: []uint8{101}, Packet: func(*rtp.Header, []byte, time.Time) { heard++ }})
				}
				for i, p := range key(t) {
					if listening {
						p.SequenceNumber += 100
					}
					a.sends(t, p)
					got := b.next(t)
					if !reflect.DeepEqual(got.Header, p.Header) || string(got.Payload) != string(p.Payload) {
						t.Errorf("packet %d: got %+v, sent %+v", i, got, p)
					}
				}
				a.stream.Tap(nil) // after which heard is ours
				if want := len(key(t)); listening && heard != want {
					t.Errorf("heard %d of %d", heard, want)
				}
			}
		})
	}
}

// A tap that takes keeps its packets from the partner, and only those; it gets them
// opened and without extension and padding.
func TestTapTakes(t *testing.T) {
	for _, suite := range []srtp.Suite{0, srtp.AESCM128HMACSHA180} {
		engines(t, func(t *testing.T, e Engine) {
			a, b := newParty(t, e, suite), newParty(t, e, 0)
			a.stream.Forward(b.stream)
			var mu sync.Mutex
			var heard []rtp.Packet
			a.stream.Tap(&Tap{PayloadTypes: []uint8{101, 96}, Take: true, Packet: func(h *rtp.Header, payload []byte, at time.Time) {
				mu.Lock()
				defer mu.Unlock()
				if at.IsZero() {
					t.Error("no time")
				}
				heard = append(heard, rtp.Packet{Header: rtp.Header{PayloadType: h.PayloadType, Timestamp: h.Timestamp, Marker: h.Marker}, Payload: append([]byte(nil), payload...)})
			}})
			all := key(t)
			if err := all[1].SetExtension(1, []byte{9}); err != nil {
				t.Fatal(err)
			}
			all[2].Padding, all[2].PaddingSize = true, 8
			for _, p := range all {
				a.sends(t, p)
			}
			a.says(t, 7, 200)
			if got := b.next(t); got.SequenceNumber != 200 || got.PayloadType != 0 {
				t.Errorf("the partner heard %+v", got)
			}
			mu.Lock()
			defer mu.Unlock()
			if len(heard) != len(all) {
				t.Fatalf("heard %d packets of %d", len(heard), len(all))
			}
			for i, p := range all {
				if got := heard[i]; got.Timestamp != p.Timestamp || got.Marker != p.Marker || string(got.Payload) != string(p.Payload) {
					t.Errorf("packet %d: %+v, sent %+v", i, got, p)
				}
			}
			if s := a.stream.Stats(); s.Rejected[Converted] != uint64(len(all)) || s.RTP.Packets != uint64(len(all))+1 {
				t.Errorf("stats %+v", s)
			}
		})
	}
}
