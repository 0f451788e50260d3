package audio_test

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wakebridge/bridge/media/audio"
)

func take(t testing.TB, s audio.Source, seconds float64) []int16 {
	t.Helper()
	n := int(seconds * audio.SampleRate)
	samples, err := audio.Take(s, n)
	if err != nil || len(samples) != n {
		t.Fatalf("%d samples, %v", len(samples), err)
	}
	return samples
}

func TestLevel(t *testing.T) {
	square := make([]int16, 8000)
	for i := range square {
		square[i] = math.MaxInt16
		if i%20 < 10 {
			square[i] = math.MinInt16
		}
	}
	tests := []struct {
		name    string
		samples []int16
		want    float64
	}{
		{"loudest square", square, 0},
		{"loudest sine", take(t, audio.Sine(440, -3.0103), 1), -3.01},
		{"sine of -20", take(t, audio.Sine(620, -20), 1), -20},
		{"silence", make([]int16, 100), audio.Floor},
		{"nothing", nil, audio.Floor},
	}
	for _, tt := range tests {
		if got := audio.Level(tt.samples); math.Abs(got-tt.want) > 0.01 {
			t.Errorf("%s: %.3f dBFS, want %.2f", tt.name, got, tt.want)
		}
	}
}

func TestTone(t *testing.T) {
	a440 := take(t, audio.Sine(440, -20), 3)
	throughG711 := audio.PCMU.Decode(nil, audio.PCMU.Encode(nil, a440))
	holes := append([]int16(nil), a440...)
	for i := 1600; i < len(holes); i += 3200 { // one packet in twenty
		clear(holes[i : i+160])
	}
	var shifted []int16 // a packet left out now and then: the phase jumps
	for i := 0; i+3200 <= len(a440); i += 3200 {
		shifted = append(shifted, a440[i:i+3040]...)
	}
	both := take(t, audio.Sine(620, -20), 3)
	for i := range both {
		both[i] += a440[i]
	}
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]int16, 24000)
	for i := range noise {
		noise[i] = int16(random.NormFloat64() * 3000)
	}
	tests := []struct {
		name      string
		samples   []int16
		hz        float64
		low, high float64
	}{
		{"itself", a440, 440, 0.99, 1},
		{"through G.711", throughG711, 440, 0.99, 1},
		{"with holes", holes, 440, 0.93, 1},
		{"with jumps", shifted, 440, 0.9, 1},
		{"the other tone", a440, 620, 0, 0.02},
		{"one of two", both, 440, 0.45, 0.55},
		{"noise", noise, 440, 0, 0.05},
		{"silence", make([]int16, 8000), 440, 0, 0},
		{"nothing", nil, 440, 0, 0},
	}
	for _, tt := range tests {
		if got := audio.Tone(tt.samples, tt.hz); got < tt.low || got > tt.high {
			t.Errorf("%s: %.3f, want %.2f to %.2f", tt.name, got, tt.low, tt.high)
		}
	}
}

// speech is noise with a voice's shape: a pitch that wanders, syllables, pauses.
func speech(seed uint64, seconds float64) []int16 {
	random := rand.New(rand.NewPCG(seed, seed))
	out := make([]int16, int(seconds*audio.SampleRate))
	var formant1, formant2, phase float64
	pitch, loud := 120+60*random.Float64(), 1.0
	for i := range out {
		if i%1600 == 0 { // a syllable
			pitch = 90 + 120*random.Float64()
			loud = random.Float64()
			if random.IntN(5) == 0 {
				loud = 0
			}
		}
		phase += pitch / audio.SampleRate
		pulse := 0.2 * random.NormFloat64()
		if phase >= 1 {
			phase--
			pulse += 5
		}
		next := pulse + 1.6*formant1 - 0.81*formant2
		formant1, formant2 = next, formant1
		out[i] = int16(max(-30000, min(30000, 600*loud*next)))
	}
	return out
}

func delayed(samples []int16, by int) []int16 {
	if by < 0 {
		return append([]int16(nil), samples[-by:]...)
	}
	return append(make([]int16, by), samples...)
}

func TestCorrelate(t *testing.T) {
	voice := speech(1, 5)
	coded := audio.PCMA.Decode(nil, audio.PCMA.Encode(nil, voice))
	quiet := append([]int16(nil), voice...)
	for i := range quiet {
		quiet[i] /= 10
	}
	noisy := append([]int16(nil), voice...)
	random := rand.New(rand.NewPCG(3, 4))
	for i := range noisy {
		noisy[i] += int16(100 * random.NormFloat64())
	}
	var lossy, slipped []int16
	for i := 0; i+160 <= len(voice); i += 160 {
		switch packet := voice[i : i+160]; {
		case i/160%33 == 7: // 3 %: silence in one, left out in the other
			lossy = append(lossy, make([]int16, 160)...)
		default:
			lossy, slipped = append(lossy, packet...), append(slipped, packet...)
		}
	}
	half := append(append([]int16(nil), voice[:20000]...), make([]int16, 20000)...)
	mixed := speech(9, 5)
	for i := range mixed {
		mixed[i] = mixed[i]/2 + voice[i]/2
	}
	const anyLag = 1 << 30
	tests := []struct {
		name      string
		a, b      []int16
		low, high float64
		lag       int
	}{
		{"itself", voice, voice, 0.999, 1, 0},
		{"later", voice, delayed(voice, 1234), 0.999, 1, 1234},
		{"earlier", voice, delayed(voice, -4321), 0.999, 1, -4321},
		{"much later", voice, delayed(voice, 20000), 0.999, 1, 20000},
		{"through A-law", voice, delayed(coded, 77), 0.97, 1, 77},
		{"quiet", voice, quiet, 0.99, 1, 0},
		{"noisy", voice, noisy, 0.8, 1, 0},
		{"a part of it", voice, voice[12000:28000], 0.999, 1, -12000},
		{"loss as silence", voice, delayed(lossy, 500), 0.95, 1, 500},
		{"loss left out", voice, delayed(slipped, 500), 0.75, 1, anyLag},
		{"half is missing", voice, half, 0.5, 0.85, 0},
		{"with another voice", voice, mixed, 0.4, 0.9, 0},
		{"another voice", voice, speech(2, 5), 0, 0.35, anyLag},
		{"a tone", voice, take(t, audio.Sine(440, -20), 5), 0, 0.35, anyLag},
		{"silence", voice, make([]int16, 40000), 0, 0, anyLag},
		{"nothing", voice, nil, 0, 0, anyLag},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			peak, lag := audio.Correlate(tt.a, tt.b)
			if peak < tt.low || peak > tt.high || tt.lag != anyLag && lag != tt.lag {
				t.Errorf("%.3f at %d, want %.2f to %.2f at %d", peak, lag, tt.low, tt.high, tt.lag)
			}
			t.Logf("%.3f at %d", peak, lag)
		})
	}
}

func TestCorrelateIsFast(t *testing.T) {
	voice := speech(5, 30)
	start := time.Now()
	if peak, lag := audio.Correlate(voice, delayed(voice, 9999)); peak < 0.999 || lag != 9999 {
		t.Errorf("%.3f at %d", peak, lag)
	}
	took := time.Since(start)
	t.Logf("30 s correlated in %s", took)
	if took > 30*time.Second { // a quadratic search takes minutes, even more with -race
		t.Errorf("took %s", took)
	}
}

func TestWAV(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(rapid.Int16()).Draw(t, "samples")
		var b bytes.Buffer
		if err := audio.WriteWAV(&b, want); err != nil {
			t.Fatal(err)
		}
		got, err := audio.ReadWAV(&b)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d of %d samples, %v", len(got), len(want), err)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("sample %d is %d, want %d", i, got[i], want[i])
			}
		}
	})
}

func TestReadWAV(t *testing.T) {
	var b bytes.Buffer
	if err := audio.WriteWAV(&b, []int16{1, -2, 3}); err != nil {
		t.Fatal(err)
	}
	good := b.Bytes()
	change := func(at int, to ...byte) []byte {
		c := append([]byte(nil), good...)
		copy(c[at:], to)
		return c
	}
	list := append([]byte("LIST\x03\x00\x00\x00abc\x00"), good[12:]...)
	tests := []struct {
		name string
		file []byte
		want int // samples; -1: ErrWAV
	}{
		{"good", good, 3},
		{"its writer was killed: size 0", change(40, 0, 0, 0, 0), 3},
		{"its writer was killed: size unknown", change(40, 0xff, 0xff, 0xff, 0xff), 3},
		{"another chunk of odd size first", append(append([]byte(nil), good[:12]...), list...), 3},
		{"extensible", change(20, 0xfe, 0xff), 3},
		{"stereo", change(22, 2), -1},
		{"16 kHz", change(24, 0x80, 0x3e), -1},
		{"8 bit", change(34, 8), -1},
		{"A-law", change(20, 6), -1},
		{"empty", nil, -1},
		{"cut in the head", good[:30], -1},
		{"no data", good[:36], -1},
		{"data first", append(append([]byte(nil), good[:12]...), good[36:]...), -1},
		{"MP3", []byte("ID3 and so on, and so on"), -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := audio.ReadWAV(bytes.NewReader(tt.file))
			if tt.want < 0 {
				if !errors.Is(err, audio.ErrWAV) {
					t.Errorf("%v, %v", got, err)
				}
				return
			}
			if err != nil || len(got) != tt.want || got[1] != -2 {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

func FuzzReadWAV(f *testing.F) {
	var b bytes.Buffer
	if err := audio.WriteWAV(&b, []int16{1, -2, 3}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, file []byte) {
		samples, err := audio.ReadWAV(bytes.NewReader(file))
		if err == nil && 2*len(samples) > len(file) {
			t.Errorf("%d samples from %d octets", len(samples), len(file))
		}
	})
}

func TestSources(t *testing.T) {
	clip := []int16{1, 2, 3}
	if got := take(t, audio.Loop(clip), 7.0/audio.SampleRate); got[6] != 1 || got[5] != 3 {
		t.Errorf("loop %v", got)
	}
	if got := take(t, audio.Loop(nil), 1.0/audio.SampleRate); got[0] != 0 {
		t.Errorf("empty loop %v", got)
	}
	if got := take(t, audio.Sequence(audio.Clip(nil), audio.Clip(clip), audio.Silence()), 5.0/audio.SampleRate); got[2] != 3 || got[3] != 0 {
		t.Errorf("sequence %v", got)
	}
	got, err := audio.Take(audio.Sequence(audio.Clip(clip), audio.Clip(clip)), 100)
	if err != nil || len(got) != 6 || got[5] != 3 {
		t.Errorf("the end of a sequence: %v, %v", got, err)
	}
}
