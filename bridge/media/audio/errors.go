package audio

import "errors"

// ErrWAV says that a file is not WAV, or not 8 kHz mono 16-bit PCM.
var ErrWAV = errors.New("not a WAV file of 8 kHz mono 16-bit PCM")
