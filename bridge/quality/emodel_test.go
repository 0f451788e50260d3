package quality

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// R against MOS as G.107 prints it (table B.1, in hundredths), and beyond.
func TestScore(t *testing.T) {
	for r, want := range map[float64]float64{90: 4.34, 80: 4.03, 70: 3.60, 60: 3.10, 50: 2.58, 0: 1, -5: 1, 3: 1, 93.2: 4.41, 100: 4.5, 120: 4.5} {
		if got := score(r); math.Abs(got-want) > 0.01 {
			t.Errorf("R %v: %.3f, want %.2f", r, got, want)
		}
	}
}

func TestPath(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name string
		Path
		r, mos float64
		ok     bool
	}{
		// 60 ms are coding and jitter buffer.
		{"nothing wrong", Path{Codec: "PCMU"}, 93.2 - 1.44, 4.38, true},
		{"in lower case", Path{Codec: "pcma"}, 93.2 - 1.44, 4.38, true},
		{"1 % lost", Path{Codec: "PCMA", Loss: 0.01}, 93.2 - 1.44 - 3.64, 4.29, true},
		{"5 % lost", Path{Codec: "PCMA", Loss: 0.05}, 93.2 - 1.44 - 15.78, 3.86, true},
		{"30 % lost", Path{Codec: "PCMA", Loss: 0.3}, 93.2 - 1.44 - 51.72, 2.07, true},
		{"all lost", Path{Codec: "PCMA", Loss: 1}, 93.2 - 1.44 - 75.94, 1.14, true},
		{"more than all", Path{Codec: "PCMA", Loss: 7}, 93.2 - 1.44 - 75.94, 1.14, true},
		{"a slow way", Path{Codec: "PCMU", Delay: 300 * ms}, 93.2 - 0.024*360 - 0.11*(360-177.3), 3.33, true},
		{"much jitter", Path{Codec: "PCMU", Jitter: 100 * ms}, 93.2 - 0.024*220 - 0.11*(220-177.3), 4.14, true},
		{"a codec of few bits", Path{Codec: "G729"}, 93.2 - 0.024*65 - 11, 4.05, true},
		{"and loss", Path{Codec: "G729", Loss: 0.02}, 93.2 - 0.024*65 - 11 - 8, 3.72, true},
		{"broad band", Path{Codec: "opus", Loss: 0.01}, 93.2 - 0.024*67 - 3.64, 4.29, true},
		{"beyond measure", Path{Codec: "PCMU", Delay: 10 * time.Second}, 0, 1, true},
		{"unknown codec", Path{Codec: "iSAC"}, 0, 1, false},
		{"no codec", Path{}, 0, 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, ok := tt.R()
			mos, known := tt.MOS()
			if ok != tt.ok || known != ok || math.Abs(r-tt.r) > 0.01 || ok && math.Abs(mos-tt.mos) > 0.01 {
				t.Errorf("R %.3f, MOS %.3f, %v; want %.3f, %.2f", r, mos, ok, tt.r, tt.mos)
			}
		})
	}
}

// Whatever is measured, the score is one, and worse numbers never give a better one.
func TestWorseIsNeverBetter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := func() Path {
			return Path{
				Codec:  "PCMU",
				Loss:   rapid.Float64Range(-1, 2).Draw(t, "loss"),
				Delay:  time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "delay")),
				Jitter: time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "jitter")),
			}
		}
		a, b := path(), path()
		both := Path{Codec: a.Codec, Loss: max(a.Loss, b.Loss), Delay: max(a.Delay, b.Delay), Jitter: max(a.Jitter, b.Jitter)}
		good, _ := a.MOS()
		worse, _ := both.MOS()
		if worse > good || worse < 1 || good > 4.41 || math.IsNaN(good) {
			t.Fatalf("%+v: %f; %+v: %f", a, good, both, worse)
		}
	})
}
