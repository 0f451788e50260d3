package config

import (
	"bytes"
	"encoding/binary"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wakebridge/bridge/media/audio"
)

// wav is a WAV file of so many samples, changed where it says how it was recorded.
func wav(t *testing.T, samples int, change func(header []byte)) string {
	t.Helper()
	var b bytes.Buffer
	if err := audio.WriteWAV(&b, make([]int16, samples)); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(b.Bytes())
	}
	return b.String()
}

func TestRingback(t *testing.T) {
	put16 := func(at int, v uint16) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint16(b[at:], v) }
	}
	convert := "convert it: ffmpeg -i FILE -ar 8000 -ac 1 -c:a pcm_s16le ringback.wav"
	files := map[string]struct{ text, problem, cure string }{
		"good":      {wav(t, 8000, nil), "", ""},
		"a minute":  {wav(t, 60*8000, nil), "", ""},
		"44.1 kHz":  {wav(t, 8000, put16(24, 44100)), "r.wav: format 1, 1 channels, 44100 Hz, 16 bits: not a WAV file of 8 kHz mono 16-bit PCM", convert},
		"stereo":    {wav(t, 8000, put16(22, 2)), "r.wav: format 1, 2 channels, 8000 Hz, 16 bits: not a WAV file of 8 kHz mono 16-bit PCM", convert},
		"µ-law":     {wav(t, 8000, put16(20, 7)), "r.wav: format 7, 1 channels, 8000 Hz, 16 bits: not a WAV file of 8 kHz mono 16-bit PCM", convert},
		"MP3":       {"ID3\x04 and so on", "r.wav: no RIFF/WAVE head: not a WAV file of 8 kHz mono 16-bit PCM", convert},
		"no sound":  {wav(t, 0, nil), "r.wav holds no sound", "name a WAV file with sound, or none"},
		"too large": {wav(t, 1<<19, nil), "r.wav is larger than 1 MiB", "name the right file"},
	}
	for name, c := range files {
		folder := t.TempDir()
		path := filepath.Join(folder, "wakebridge.yaml")
		writeFile(t, filepath.Join(folder, "r.wav"), c.text, 0o644)
		writeFile(t, path, "media: { ringback: r.wav }\n", 0o600)
		cfg, err := Load(path, nil)
		var report *Report
		switch {
		case c.problem == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.problem == "":
			if n := (len(c.text) - 44) / 2; len(cfg.Media.RingbackSound) != n {
				t.Errorf("%s: %d samples, want %d", name, len(cfg.Media.RingbackSound), n)
			}
		case !errors.As(err, &report) || len(report.Faults) != 1:
			t.Errorf("%s: %v", name, err)
		default:
			f := report.Faults[0]
			if got := strings.ReplaceAll(f.Problem, folder+"/", ""); f.Key != "media.ringback" || f.Line != 1 || got != c.problem {
				t.Errorf("%s: %s: %q, want %q", name, f.Key, got, c.problem)
			}
			if got := strings.ReplaceAll(f.Cure, filepath.Join(folder, "r.wav"), "FILE"); got != c.cure {
				t.Errorf("%s: cure %q", name, got)
			}
		}
	}
	for _, word := range []string{"none", "eu", "uk", "us"} {
		cfg, err := Load("", []string{"WAKEBRIDGE_MEDIA_RINGBACK=" + word})
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Media.Ringback != word || !slices.Equal(cfg.Media.RingbackSound, audio.Ringback(word)) {
			t.Errorf("%s: %q with %d samples", word, cfg.Media.Ringback, len(cfg.Media.RingbackSound))
		}
	}
}

func TestRingbackThatIsNeverHeard(t *testing.T) {
	folder := t.TempDir()
	for text, want := range map[string]string{
		"media: { ringback: ue }":                                       "media.ringback: ue does not exist",
		`media: { ringback: "" }`:                                       "media.ringback: is empty",
		"media: { ringback: eu }\npush: { ringing: trying }":            "media.ringback: would never be heard: with push.ringing trying a caller hears ringing when a phone rings",
		"media: { ringback: eu, allow: [opus, telephone-event] }":       "media.ringback: would never be heard: it is played in alaw or ulaw, and media.allow has neither",
		"media: { ringback: none, allow: [opus] }":                      "",
		"media: { ringback: eu, allow: [opus, alaw] }":                  "",
		"media: { ringback: none }\npush: { ringing: trying }":          "",
		"media: { ringback: uk }\npush: { ringing: at_once, apps: [] }": "",
	} {
		if got := strings.Join(faultsOf(t, folder, text), "\n"); got != want {
			t.Errorf("%s\ngot %q, want %q", text, got, want)
		}
	}
}
