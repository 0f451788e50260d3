package config

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"slices"

	"wakebridge/bridge/media/audio"
)

// ringback finds the sound that media.ringback means, and reports one that nobody
// would ever hear.
func (in *inspector) ringback() {
	m := &in.cfg.Media
	if m.Ringback == "none" || m.Ringback == "" {
		return
	}
	if m.RingbackSound = audio.Ringback(m.Ringback); m.RingbackSound == nil {
		m.RingbackSound = in.sound("media.ringback", m.Ringback)
	}
	if in.cfg.Push.Ringing == "trying" {
		in.at("media.ringback", "would never be heard: with push.ringing trying a caller hears ringing when a phone rings",
			"set push.ringing to on_push or at_once, or remove the key")
	}
	if a := m.Allow; len(a) > 0 && !slices.Contains(a, "alaw") && !slices.Contains(a, "ulaw") {
		in.at("media.ringback", "would never be heard: it is played in alaw or ulaw, and media.allow has neither",
			"add one of them to media.allow, or remove the key")
	}
}

// sound reads a WAV file. One of a minute is within the bounds of in.read.
func (in *inspector) sound(path, file string) []int16 {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		in.at(path, file+" does not exist", "write none, eu, uk or us, or name a WAV file; paths are relative to the configuration's folder")
		return nil
	}
	data, ok := in.read(path, file)
	if !ok {
		return nil
	}
	samples, err := audio.ReadWAV(bytes.NewReader(data))
	switch {
	case err != nil:
		in.at(path, file+": "+err.Error(), "convert it: ffmpeg -i "+file+" -ar 8000 -ac 1 -c:a pcm_s16le ringback.wav")
	case len(samples) == 0:
		in.at(path, file+" holds no sound", "name a WAV file with sound, or none")
	}
	return samples
}
