package audio

import (
	"math"
	"testing"
)

// Each tone sounds when and as high as its country wants it, at the level of the
// tone plan, and survives G.711.
func TestRingback(t *testing.T) {
	for _, c := range []struct {
		country string
		hz      []float64
		on      [][2]float64 // seconds from and to
		period  float64
	}{
		{"eu", []float64{425}, [][2]float64{{0, 1}}, 5},
		{"uk", []float64{400, 450}, [][2]float64{{0, 0.4}, {0.6, 1}}, 3},
		{"us", []float64{440, 480}, [][2]float64{{0, 2}}, 6},
	} {
		sound := Ringback(c.country)
		if got := float64(len(sound)) / SampleRate; got != c.period {
			t.Fatalf("%s: a period of %g s, want %g", c.country, got, c.period)
		}
		for _, codec := range []Codec{PCMU, PCMA} {
			heard := codec.Decode(nil, codec.Encode(nil, sound))
			at := 0
			for _, on := range c.on {
				from, to := int(on[0]*SampleRate), int(on[1]*SampleRate)
				if level := Level(heard[at:from]); at < from && level > -70 {
					t.Errorf("%s by %s: %.1f dBFS in the pause at %d", c.country, codec, level, at)
				}
				// Level counts a full sine as -3.01 dBFS, which is 3.14 dBm0.
				want := -19 - 3.14 - 3.01 + 10*math.Log10(float64(len(c.hz)))
				if level := Level(heard[from:to]); math.Abs(level-want) > 0.3 {
					t.Errorf("%s by %s: %.2f dBFS, want %.2f", c.country, codec, level, want)
				}
				for _, hz := range c.hz {
					// Two tones 40 Hz apart are just apart in 50 ms.
					if share := Tone(heard[from:to], hz); math.Abs(share-1/float64(len(c.hz))) > 0.06 {
						t.Errorf("%s by %s: %g Hz is %.3f of the tone", c.country, codec, hz, share)
					}
				}
				at = to
			}
			if level := Level(heard[at:]); level > -70 {
				t.Errorf("%s by %s: %.1f dBFS in the last pause", c.country, codec, level)
			}
		}
	}
	if Ringback("none") != nil {
		t.Error("a tone called none")
	}
}
