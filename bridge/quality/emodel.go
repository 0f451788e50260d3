// Package quality says how the media of a call was: it names what was wrong with the audio,
// for a person, and estimates what it sounded like from what the network did to it, by a
// simplified E-model (ITU-T G.107).
//
//	R   = 93.2 - Id - Ie,eff                                  G.107 s7.1, all else by default
//	Id  = 0.024 d + 0.11 max(0, d - 177.3)                    d: delay from mouth to ear in ms (Cole and Rosenbluth, 2001)
//	Ie,eff = Ie + (95 - Ie) Ppl / (Ppl / BurstR + Bpl)        G.107 s7.1, eq. 7-29
//	MOS = 1 + 0.035 R + 7e-6 R (R - 60) (100 - R)             G.107 Annex B; 1 below R = 0
//
// Ppl is the loss in percent; it is taken for random (BurstR = 1), so that the MOS of
// bursty loss comes out too good. Ie and Bpl are the codec's, of G.113 Appendix I. The
// scale is that of narrow-band telephony, on which nothing gets more than 4.41: that
// HD codecs sound better than that is not in it. It is an estimate: it knows neither
// echo nor level nor what the phones do.
package quality

import (
	"strings"
	"time"
)

// Path is the way of one direction's speech.
type Path struct {
	// Codec is the encoding name of a=rtpmap, in any case.
	Codec string
	// Loss is the share of packets that were lost, 0 to 1.
	Loss float64
	// Delay is that of the network in one direction; 0 if it is not known.
	Delay time.Duration
	// Jitter is the interarrival jitter of RFC 3550.
	Jitter time.Duration
}

// codec is what a codec does to speech.
type codec struct {
	ie, bpl float64
	// delay is that of coding a packet of 20 ms (30 for G.723.1), look-ahead included.
	delay time.Duration
}

// ofCodec knows a codec by its encoding name. G.711's receivers are taken to conceal
// loss (G.711 Appendix I), as those of all phones of today do. G.722 and Opus have no
// values in narrow band: they lose nothing of it, and their concealment is taken to be
// as good as that of G.711. That is our approximation.
func ofCodec(name string) (codec, bool) {
	const ms = time.Millisecond
	switch strings.ToUpper(name) {
	case "PCMU", "PCMA":
		return codec{0, 25.1, 20 * ms}, true
	case "G722":
		return codec{0, 25.1, 22 * ms}, true
	case "OPUS":
		return codec{0, 25.1, 27 * ms}, true
	case "G729": // G.729A with VAD
		return codec{11, 19.0, 25 * ms}, true
	case "G723": // G.723.1 with VAD, 6.3 kbit/s
		return codec{15, 16.1, 38 * ms}, true
	case "GSM-EFR":
		return codec{5, 10.0, 20 * ms}, true
	}
	return codec{}, false
}

const (
	// leastBuffer is the jitter buffer that a phone has at least. Beyond it, it is taken to
	// grow to twice the jitter, and so to lose nothing more.
	leastBuffer = 40 * time.Millisecond

	base     = 93.2
	knee     = 177.3 // ms, from where delay disturbs a conversation
	burstR   = 1.0
	maxScore = 4.5
)

// R is the transmission rating, 0 (as bad as it gets) to 93.2; false for a codec of
// unknown impairment.
func (p Path) R() (float64, bool) {
	c, ok := ofCodec(p.Codec)
	if !ok {
		return 0, false
	}
	d := float64(p.Delay+c.delay+max(leastBuffer, 2*p.Jitter)) / float64(time.Millisecond)
	id := 0.024*d + 0.11*max(0, d-knee)
	ppl := 100 * min(max(p.Loss, 0), 1)
	ie := c.ie + (95-c.ie)*ppl/(ppl/burstR+c.bpl)
	return max(0, base-id-ie), true
}

// MOS is the mean opinion score that the path would get, 1 (bad) to 4.41; false for a
// codec of unknown impairment.
func (p Path) MOS() (float64, bool) {
	r, ok := p.R()
	return score(r), ok
}

// score turns R into a MOS. Just above 0 the polynomial dips below 1, which no opinion
// does.
func score(r float64) float64 {
	switch {
	case r <= 0:
		return 1
	case r >= 100:
		return maxScore
	}
	return max(1, 1+0.035*r+7e-6*r*(r-60)*(100-r))
}
