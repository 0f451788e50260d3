package audio

import (
	"errors"
	"io"
	"math"
)

// Source gives samples in order. Read fills samples from the front and says how
// many it gave; at the end it gives io.EOF, possibly with the last samples. A
// Source belongs to one goroutine.
type Source interface {
	Read(samples []int16) (n int, err error)
}

// Sine is an endless sine of hz (above 0, below SampleRate/2) at a level in
// dBFS as Level measures it; above -3.01 dBFS it is clipped.
func Sine(hz, level float64) Source {
	return &sine{step: 2 * math.Pi * hz / SampleRate, peak: fullScale * math.Sqrt2 * math.Pow(10, level/20)}
}

type sine struct{ phase, step, peak float64 }

func (s *sine) Read(samples []int16) (int, error) {
	for i := range samples {
		samples[i] = clip(s.peak * math.Sin(s.phase))
		s.phase = math.Mod(s.phase+s.step, 2*math.Pi)
	}
	return len(samples), nil
}

func clip(v float64) int16 {
	return int16(math.Round(max(math.MinInt16, min(math.MaxInt16, v))))
}

// Silence is endless digital silence.
func Silence() Source { return silence{} }

type silence struct{}

func (silence) Read(samples []int16) (int, error) {
	clear(samples)
	return len(samples), nil
}

// Clip plays samples once. It keeps the slice.
func Clip(samples []int16) Source { return &clipSource{rest: samples} }

type clipSource struct{ rest []int16 }

func (c *clipSource) Read(samples []int16) (int, error) {
	n := copy(samples, c.rest)
	c.rest = c.rest[n:]
	if len(c.rest) == 0 {
		return n, io.EOF
	}
	return n, nil
}

// Loop plays samples again and again; no samples are silence. It keeps the
// slice.
func Loop(samples []int16) Source {
	if len(samples) == 0 {
		return Silence()
	}
	return &loop{samples: samples}
}

type loop struct {
	samples []int16
	at      int
}

func (l *loop) Read(samples []int16) (int, error) {
	for n := 0; n < len(samples); {
		c := copy(samples[n:], l.samples[l.at:])
		n, l.at = n+c, (l.at+c)%len(l.samples)
	}
	return len(samples), nil
}

// Sequence plays one source after the other. A phone that plays a clip and
// stays on the line is Sequence(Clip(speech), Silence()).
func Sequence(sources ...Source) Source { return &sequence{rest: sources} }

type sequence struct{ rest []Source }

func (s *sequence) Read(samples []int16) (int, error) {
	n := 0
	for n < len(samples) && len(s.rest) > 0 {
		m, err := s.rest[0].Read(samples[n:])
		n += m
		if errors.Is(err, io.EOF) {
			s.rest = s.rest[1:]
		} else if err != nil {
			return n, err
		}
	}
	if len(s.rest) == 0 {
		return n, io.EOF
	}
	return n, nil
}

// Take is the next n samples of a source, fewer if it ends. Errors other than
// io.EOF come with what was read before.
func Take(s Source, n int) ([]int16, error) {
	samples := make([]int16, n)
	at := 0
	for at < n {
		m, err := s.Read(samples[at:])
		at += m
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return samples[:at], err
		}
	}
	return samples[:at], nil
}
