package audio

import "errors"

// ErrDigit says that something is no key of a telephone: 0 to 9, *, #, A to D.
var ErrDigit = errors.New("not a key of a telephone")

// ErrWAV says that a file is not WAV, or not 8 kHz mono 16-bit PCM.
var ErrWAV = errors.New("not a WAV file of 8 kHz mono 16-bit PCM")
