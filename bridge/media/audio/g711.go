// Package audio makes, measures and carries sound, for the tones that callers hear
// and for tests, simulators and the demo: G.711, tones, WAV files, level, tone
// share, correlation, and a paced RTP sender and receiver. All sound is 8 kHz, mono, 16 bit.
package audio

import (
	"fmt"
	"math/bits"
	"time"
)

const (
	// SampleRate is samples per second, of every signal in this package.
	SampleRate = 8000
	// FrameTime is the sound in one RTP packet (RFC 3551 s4.2).
	FrameTime = 20 * time.Millisecond
	// FrameSamples are the samples in one RTP packet.
	FrameSamples = SampleRate / 50
)

// Codec is a G.711 law; its value is the static RTP payload type (RFC 3551 s6).
type Codec uint8

// The codecs.
const (
	PCMU Codec = 0 // µ-law
	PCMA Codec = 8 // A-law
)

// String is the encoding name of RFC 3551: "PCMU" or "PCMA".
func (c Codec) String() string {
	switch c {
	case PCMU:
		return "PCMU"
	case PCMA:
		return "PCMA"
	}
	return fmt.Sprintf("Codec(%d)", uint8(c))
}

// Known says that c is one of the codecs here.
func (c Codec) Known() bool { return c == PCMU || c == PCMA }

// Encode appends one octet per sample to dst. A codec that is not Known encodes
// as PCMU.
func (c Codec) Encode(dst []byte, samples []int16) []byte {
	for _, s := range samples {
		if c == PCMA {
			dst = append(dst, encodeALaw(s))
		} else {
			dst = append(dst, encodeULaw(s))
		}
	}
	return dst
}

// Decode appends one sample per octet to dst. A codec that is not Known decodes
// as PCMU.
func (c Codec) Decode(dst []int16, payload []byte) []int16 {
	for _, b := range payload {
		if c == PCMA {
			dst = append(dst, decodeALaw(b))
		} else {
			dst = append(dst, decodeULaw(b))
		}
	}
	return dst
}

// G.711 on 16-bit samples: a sign, a segment (the position of the highest bit)
// and four bits below it. µ-law adds a bias so that all segments have a highest
// bit, A-law has a linear first segment instead. µ-law goes inverted over the
// line, A-law with every other bit inverted.
const (
	signBit   = 0x80
	ulawBias  = 33 << 2
	ulawClip  = 32767 - ulawBias
	alawFlips = 0x55
)

func encodeULaw(s int16) byte {
	v, sign := int(s), byte(0)
	if v < 0 {
		v, sign = -v, signBit
	}
	v = min(v, ulawClip) + ulawBias
	segment := bits.Len(uint(v)) - 8 // v is 132 to 32767
	return ^(sign | byte(segment<<4) | byte(v>>(segment+3)&0xf))
}

func decodeULaw(b byte) int16 {
	b = ^b
	v := (int(b&0xf)<<3+ulawBias)<<(b>>4&7) - ulawBias
	if b&signBit != 0 {
		v = -v
	}
	return int16(v)
}

func encodeALaw(s int16) byte {
	v, sign := int(s), byte(signBit) // set means positive
	if v < 0 {
		v, sign = -v-1, 0
	}
	code := byte(v >> 4)
	if segment := bits.Len(uint(v)) - 8; segment > 0 {
		code = byte(segment<<4) | byte(v>>(segment+3)&0xf)
	}
	return (code | sign) ^ alawFlips
}

func decodeALaw(b byte) int16 {
	b ^= alawFlips
	v := int(b&0xf)<<4 + 8 // the middle of the step
	if segment := b >> 4 & 7; segment > 0 {
		v = (v + 256) << (segment - 1)
	}
	if b&signBit == 0 {
		v = -v
	}
	return int16(v)
}
