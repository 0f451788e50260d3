package audio

import "math"

const (
	// fullScale is 0 dBFS: a square wave of the highest amplitude. The loudest
	// sine has -3.01 dBFS.
	fullScale = 32768
	// Floor is the level of digital silence, in dBFS, so that results stay
	// numbers; the lowest other level of a second is about -129 dBFS.
	Floor = -150.0
	// toneBlock is the length in samples over which Tone measures at once: 50
	// ms, 20 Hz of resolution, short enough that a lost packet spoils little.
	toneBlock = SampleRate / 20
)

// Level is the RMS level in dBFS, Floor for silence and for no samples.
func Level(samples []int16) float64 {
	e := energy(samples)
	if e == 0 {
		return Floor
	}
	return 10 * math.Log10(e/float64(len(samples))/(fullScale*fullScale))
}

func energy(samples []int16) float64 {
	var e float64
	for _, s := range samples {
		e += float64(s) * float64(s)
	}
	return e
}

// Tone is the share of the energy, 0 to 1, that lies at hz (above 0, below
// SampleRate/2) within about 20 Hz: near 1 for a clean tone, near 0 for another
// one or for silence. Gaps and phase jumps do not spoil it.
func Tone(samples []int16, hz float64) float64 {
	var at, all float64
	for len(samples) > 0 {
		block := samples[:min(toneBlock, len(samples))]
		samples = samples[len(block):]
		all += energy(block)
		at += goertzel(block, hz)
	}
	if all == 0 {
		return 0
	}
	return min(1, at/all)
}

// goertzel is the energy of the sine of hz in the block.
func goertzel(block []int16, hz float64) float64 {
	w := 2 * math.Pi * hz / SampleRate
	c := 2 * math.Cos(w)
	var s1, s2 float64
	for _, x := range block {
		s1, s2 = float64(x)+c*s1-s2, s1
	}
	return 2 * (s1*s1 + s2*s2 - c*s1*s2) / float64(len(block))
}
