package relay

import (
	"testing"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// packetOf is a marshalled RTP packet.
func packetOf(t testing.TB, h rtp.Header, payload int) []byte {
	t.Helper()
	h.Version = 2
	b, err := (&rtp.Packet{Header: h, Payload: make([]byte, payload)}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func reportOf(t testing.TB, ssrc uint32) []byte {
	t.Helper()
	b, err := rtcp.Marshal([]rtcp.Packet{
		&rtcp.ReceiverReport{SSRC: ssrc},
		rtcp.NewCNAMESourceDescription(ssrc, "phone"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCheckRTP(t *testing.T) {
	good := packetOf(t, rtp.Header{PayloadType: 8, SSRC: 7}, 160)
	change := func(b []byte, at int, to byte) []byte {
		c := append([]byte(nil), b...)
		c[at] = to
		return c
	}
	withExt := rtp.Header{SSRC: 1}
	if err := withExt.SetExtension(1, []byte{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	ext := packetOf(t, withExt, 20)
	tests := []struct {
		name string
		pkt  []byte
		want bool
	}{
		{"whole", good, true},
		{"no payload", good[:12], true},
		{"empty", nil, false},
		{"one octet", good[:1], false},
		{"eleven octets", good[:11], false},
		{"version 1", change(good, 0, 0x40), false},
		{"STUN", append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...), false},
		{"15 CSRC announced, none there", change(good[:12], 0, 0x8f), false},
		{"15 CSRC in the payload", change(good, 0, 0x8f), true},
		{"extension", ext, true},
		{"extension cut", ext[:15], false},
		{"extension of 65535 words", change(change(ext, 14, 0xff), 15, 0xff), false},
		{"padding 0", change(change(good, 0, 0xa0), len(good)-1, 0), false},
		{"padding 4", change(change(good, 0, 0xa0), len(good)-1, 4), true},
		{"padding of all the payload", change(change(good, 0, 0xa0), len(good)-1, 160), true},
		{"padding into the header", change(change(good, 0, 0xa0), len(good)-1, 161), false},
		{"padding without payload", change(good[:12], 0, 0xa0), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var h rtp.Header
			if got := checkRTP(&h, tt.pkt); got != tt.want {
				t.Errorf("checkRTP = %v", got)
			}
		})
	}
}

func TestCheckRTCP(t *testing.T) {
	good := reportOf(t, 7)
	tests := []struct {
		name string
		pkt  []byte
		want bool
	}{
		{"compound", good, true},
		{"RR alone", good[:8], true},
		{"goodbye", []byte{0x81, 203, 0, 1, 0, 0, 0, 7}, true},
		{"empty", nil, false},
		{"four octets", []byte{0x80, 201, 0, 0}, false},
		{"cut", good[:len(good)-4], false},
		{"odd length", append(append([]byte(nil), good...), 0), false},
		{"version 1", append([]byte{0x40}, good[1:]...), false},
		{"an RTP payload type", []byte{0x80, 72, 0, 1, 0, 0, 0, 7}, false},
		{"length beyond the packet", []byte{0x80, 201, 0xff, 0xff, 0, 0, 0, 7}, false},
		{"RR of 31 blocks that are not there", []byte{0x9f, 201, 0, 1, 0, 0, 0, 7}, false},
		{"SR without its sender's part", []byte{0x80, 200, 0, 1, 0, 0, 0, 7}, false},
		{"SDES of two chunks in one", []byte{0x82, 202, 0, 1, 0, 0, 0, 7}, false},
		{"BYE of more sources than fit", []byte{0x83, 203, 0, 2, 0, 0, 0, 7, 0, 0, 0, 8}, false},
		{"feedback, whose count is a format", []byte{0x8f, 206, 0, 2, 0, 0, 0, 7, 0, 0, 0, 8}, true},
		{"RR, then BYE of nobody", []byte{0x80, 201, 0, 1, 0, 0, 0, 7, 0x80, 203, 0, 0}, true},
		{"second packet is rubbish", append([]byte{0x80, 201, 0, 1, 0, 0, 0, 7}, 1, 2, 3, 4), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := checkRTCP(tt.pkt); got != tt.want {
				t.Errorf("checkRTCP = %v", got)
			}
		})
	}
}

func TestPayloadTypes(t *testing.T) {
	some := newPayloadTypes([]uint8{0, 63, 64, 101, 127, 200})
	any := newPayloadTypes(nil)
	for pt := range uint8(128) {
		if want := pt == 0 || pt == 63 || pt == 64 || pt == 101 || pt == 127; some.has(pt) != want {
			t.Errorf("%d in the agreed set: %v", pt, some.has(pt))
		}
		if want := pt < 72 || pt > 76; any.has(pt) != want {
			t.Errorf("%d in the open set: %v", pt, any.has(pt))
		}
	}
}

// FuzzCheck: no input panics, and what passes is what the headers say: pion's
// own parsers, which the relay does not use for RTCP, agree.
func FuzzCheck(f *testing.F) {
	f.Add(packetOf(f, rtp.Header{PayloadType: 0, SSRC: 1}, 160))
	f.Add(reportOf(f, 7))
	f.Add([]byte{0xb0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xbe, 0xde, 0, 1, 0x10, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, pkt []byte) {
		var h rtp.Header
		if checkRTP(&h, pkt) {
			var p rtp.Packet
			if err := p.Unmarshal(pkt); err != nil {
				t.Errorf("passed, but pion: %v", err)
			}
		}
		if checkRTCP(pkt) {
			rest := pkt
			for len(rest) > 0 {
				var h rtcp.Header
				if err := h.Unmarshal(rest); err != nil || 4*(int(h.Length)+1) > len(rest) {
					t.Fatalf("passed, but pion: %v, length %d", err, h.Length)
				}
				rest = rest[4*(int(h.Length)+1):]
			}
		}
	})
}
