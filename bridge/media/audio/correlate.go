package audio

import "math"

const (
	// piece is the length in samples that is aligned on its own: 0.5 s.
	piece = SampleRate / 2
	// slip is how far a piece may lie from where the whole fits best: 0.4 s,
	// twenty packets dropped or doubled by a jitter buffer on the way.
	slip = SampleRate * 2 / 5
	// emphasis takes the weight off the lowest voice frequencies, which all
	// voices share, so that strangers correlate less.
	emphasis = 0.95
)

// Correlate says how much of a is heard in b, from 0 (nothing) to 1 (the same
// sound, at whatever loudness), and by how many samples b is later than a.
// It is the normalised cross-correlation of where the two overlap, each half
// second aligned on its own: delay, lost packets, and frames that a jitter
// buffer dropped or stretched cost little; what is missing in b, or is there
// besides, lowers the peak. Signals under 0.1 s and silence give 0. For tones
// use Tone: they correlate with each other by nature.
func Correlate(a, b []int16) (peak float64, lag int) {
	if len(a) < SampleRate/10 || len(b) < SampleRate/10 {
		return 0, 0
	}
	x, y := emphasised(a), emphasised(b)
	lag = bestLag(x, y)
	from, to := max(0, -lag), min(len(x), len(y)-lag) // of x, where both are
	fit := &fitter{y: y, sums: running(y), transform: newTransform(powerOfTwo(piece + 2*slip))}
	var common, ex, ey float64
	for at := from; at < to; at += piece {
		p := x[at:min(at+piece, to)]
		c, e := fit.best(p, at+lag)
		common += c
		ex += power(p)
		ey += e
	}
	if ex == 0 || ey == 0 {
		return 0, lag
	}
	return max(0, min(1, common/math.Sqrt(ex*ey))), lag
}

func emphasised(samples []int16) []float64 {
	out := make([]float64, len(samples))
	var last float64
	for i, s := range samples {
		out[i] = float64(s) - emphasis*last
		last = float64(s)
	}
	return out
}

// bestLag is the shift of y against x with the greatest common energy.
func bestLag(x, y []float64) int {
	n := powerOfTwo(len(x) + len(y) - 1)
	best, lag := math.Inf(-1), 0
	for k, c := range newTransform(n).products(x, y) {
		if c <= best {
			continue
		}
		switch {
		case k < len(y):
			best, lag = c, k
		case n-k < len(x):
			best, lag = c, k-n
		}
	}
	return lag
}

// fitter looks for pieces in one signal.
type fitter struct {
	y, sums   []float64 // the signal and its running energy
	transform *transform
}

// best looks for piece p in y within slip of its index at: the common energy
// and y's own energy where p fits best.
func (f *fitter) best(p []float64, at int) (common, own float64) {
	low, high := max(0, at-slip), min(len(f.y), at+len(p)+slip)
	if high-low < len(p) {
		return 0, 0
	}
	e := power(p)
	best := math.Inf(-1)
	c := f.transform.products(p, f.y[low:high])
	for k := 0; k+len(p) <= high-low; k++ {
		there := max(0, f.sums[low+k+len(p)]-f.sums[low+k])
		r := 0.0
		if there > float64(len(p)) && e > 0 { // above one step of noise
			r = c[k] / math.Sqrt(e*there)
		}
		// Where nothing fits the piece stays where the whole fits best.
		if low+k == at {
			r += 1e-9
		}
		if r > best {
			best, common, own = r, c[k], there
		}
	}
	return common, own
}

// running is the running sum of squares: the energy of y[i:j] is s[j]-s[i].
func running(y []float64) []float64 {
	s := make([]float64, len(y)+1)
	for i, v := range y {
		s[i+1] = s[i] + v*v
	}
	return s
}

func power(x []float64) float64 {
	var e float64
	for _, v := range x {
		e += v * v
	}
	return e
}
