package audio

import (
	"math"
	"time"
)

// toneLevel is the level of each frequency of a ringback tone in dBm0: that of the
// North American precise tone plan (ITU-T E.300-series Supplement 3). ITU-T E.180
// wants -10 dBm0, give or take 5, where tones are made for all; one of ours may play
// in somebody's ear for the whole of a wake.
const toneLevel = -19

// overload is the level in dBm0 of the loudest sine that G.711 carries, of A-law
// and, within 0.03 dB, of µ-law (ITU-T G.711 tables 1 and 2).
const overload = 3.14

// cadence is a telephone tone: the frequencies that sound together, and for how
// long they sound and are silent in turn.
type cadence struct {
	hz    []float64
	onOff []time.Duration
}

// Ringback is one period of the tone that a caller hears while a phone rings, to be
// played again and again: eu (425 Hz, 1 s of 5), uk (400 and 450 Hz, twice 0.4 s of
// 3) or us (440 and 480 Hz, 2 s of 6), as ITU-T E.180 Supplement 2 lists them. nil
// for other names.
func Ringback(country string) []int16 {
	const ms = time.Millisecond
	switch country {
	case "eu":
		return cadence{hz: []float64{425}, onOff: []time.Duration{1000 * ms, 4000 * ms}}.samples()
	case "uk":
		return cadence{hz: []float64{400, 450}, onOff: []time.Duration{400 * ms, 200 * ms, 400 * ms, 2000 * ms}}.samples()
	case "us":
		return cadence{hz: []float64{440, 480}, onOff: []time.Duration{2000 * ms, 4000 * ms}}.samples()
	}
	return nil
}

// samples is one period of a tone. Each sound begins at a zero of its sines.
func (c cadence) samples() []int16 {
	peak := fullScale * math.Pow(10, (toneLevel-overload)/20)
	var out []int16
	for i, d := range c.onOff {
		n := int(d * SampleRate / time.Second)
		if i%2 == 1 {
			out = append(out, make([]int16, n)...)
			continue
		}
		for t := range n {
			v := 0.0
			for _, hz := range c.hz {
				v += peak * math.Sin(2*math.Pi*hz*float64(t)/SampleRate)
			}
			out = append(out, clip(v))
		}
	}
	return out
}
