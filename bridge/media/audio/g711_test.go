package audio_test

import (
	"math"
	"testing"

	"wakebridge/bridge/media/audio"
)

// Points of G.711's tables 1a, 2a and 2b, scaled to 16 bits.
func TestG711Points(t *testing.T) {
	tests := []struct {
		codec   audio.Codec
		octet   byte
		decoded int16
	}{
		{audio.PCMU, 0xff, 0}, {audio.PCMU, 0x7f, 0}, {audio.PCMU, 0x80, 32124}, {audio.PCMU, 0x00, -32124},
		{audio.PCMU, 0xfe, 8}, {audio.PCMU, 0x7e, -8}, {audio.PCMU, 0xef, 132}, {audio.PCMU, 0xf0, 120},
		{audio.PCMU, 0x8f, 16764}, {audio.PCMU, 0x90, 15996},
		{audio.PCMA, 0xd5, 8}, {audio.PCMA, 0x55, -8}, {audio.PCMA, 0xaa, 32256}, {audio.PCMA, 0x2a, -32256},
		{audio.PCMA, 0xda, 248}, {audio.PCMA, 0xc5, 264}, {audio.PCMA, 0xf5, 528}, {audio.PCMA, 0xa5, 16896},
	}
	for _, tt := range tests {
		if got := tt.codec.Decode(nil, []byte{tt.octet}); got[0] != tt.decoded {
			t.Errorf("%s %#02x decodes to %d, want %d", tt.codec, tt.octet, got[0], tt.decoded)
		}
	}
	if got := audio.PCMU.Encode(nil, []int16{0, math.MaxInt16, math.MinInt16}); got[0] != 0xff || got[1] != 0x80 || got[2] != 0x00 {
		t.Errorf("PCMU of the extremes: %x", got)
	}
	if got := audio.PCMA.Encode(nil, []int16{0, math.MaxInt16, math.MinInt16}); got[0] != 0xd5 || got[1] != 0xaa || got[2] != 0x2a {
		t.Errorf("PCMA of the extremes: %x", got)
	}
}

// Each sample goes to the nearest value there is or to a neighbour of it that
// shares its step; each octet comes back as itself.
func TestG711RoundTrip(t *testing.T) {
	for _, c := range []audio.Codec{audio.PCMU, audio.PCMA} {
		for b := range 256 {
			back := c.Encode(nil, c.Decode(nil, []byte{byte(b)}))
			if back[0] != byte(b) && !(c == audio.PCMU && b == 0x7f) { // -0
				t.Errorf("%s: %#02x comes back as %#02x", c, b, back[0])
			}
		}
		last := int16(math.MinInt16)
		for v := math.MinInt16; v <= math.MaxInt16; v++ {
			s := int16(v)
			d := c.Decode(nil, c.Encode(nil, []int16{s}))[0]
			size := math.Abs(float64(v))
			if worst := max(16, size/16); math.Abs(float64(d)-float64(s)) > worst && size < 32635 {
				t.Fatalf("%s: %d becomes %d", c, s, d)
			}
			if d < last {
				t.Fatalf("%s: %d becomes %d, less than the one before", c, s, d)
			}
			last = d
		}
	}
}

func TestCodecNames(t *testing.T) {
	if audio.PCMU.String() != "PCMU" || audio.PCMA.String() != "PCMA" || audio.Codec(18).Known() {
		t.Error(audio.PCMU, audio.PCMA, audio.Codec(18))
	}
}
