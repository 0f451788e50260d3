package audio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

const wavHeader = 44 // RIFF, fmt and data headers as WriteWAV writes them

// wavFormat is the fmt chunk.
type wavFormat struct {
	Format, Channels uint16
	Rate, ByteRate   uint32
	Align, Bits      uint16
}

func phoneFormat() wavFormat {
	return wavFormat{Format: 1, Channels: 1, Rate: SampleRate, ByteRate: 2 * SampleRate, Align: 2, Bits: 16}
}

// WriteWAV writes samples as a WAV file.
func WriteWAV(w io.Writer, samples []int16) error {
	if len(samples) > (math.MaxUint32-wavHeader)/2 {
		return fmt.Errorf("%d samples are too many for a WAV file", len(samples))
	}
	size := uint32(2 * len(samples))
	b := make([]byte, 0, wavHeader+int(size))
	b = append(b, "RIFF"...)
	b = binary.LittleEndian.AppendUint32(b, wavHeader-8+size)
	b = append(b, "WAVEfmt "...)
	b = binary.LittleEndian.AppendUint32(b, 16)
	b, err := binary.Append(b, binary.LittleEndian, phoneFormat())
	if err != nil {
		return fmt.Errorf("write WAV: %w", err)
	}
	b = append(b, "data"...)
	b = binary.LittleEndian.AppendUint32(b, size)
	for _, s := range samples {
		b = binary.LittleEndian.AppendUint16(b, uint16(s))
	}
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("write WAV: %w", err)
	}
	return nil
}

// ReadWAV reads the samples of a WAV file. A file whose writer was killed has a
// data size of 0 or of more than there is: the samples there are count. Errors
// wrap ErrWAV or come from r.
func ReadWAV(r io.Reader) ([]int16, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read WAV: %w", err)
	}
	if len(b) < 12 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WAVE" {
		return nil, fmt.Errorf("no RIFF/WAVE head: %w", ErrWAV)
	}
	formatted := false
	for b = b[12:]; len(b) >= 8; {
		id, size := string(b[:4]), int64(binary.LittleEndian.Uint32(b[4:8]))
		b = b[8:]
		if id == "data" {
			if !formatted {
				return nil, fmt.Errorf("data before fmt: %w", ErrWAV)
			}
			if size > 0 && size <= int64(len(b)) {
				b = b[:size]
			}
			return pcm(b), nil
		}
		size += size % 2 // chunks are padded to even sizes
		if size > int64(len(b)) {
			break
		}
		if id == "fmt " {
			if err := checkFormat(b[:size]); err != nil {
				return nil, err
			}
			formatted = true
		}
		b = b[size:]
	}
	return nil, fmt.Errorf("no data: %w", ErrWAV)
}

func checkFormat(b []byte) error {
	var f wavFormat
	if err := binary.Read(bytes.NewReader(b), binary.LittleEndian, &f); err != nil {
		return errors.Join(fmt.Errorf("short fmt: %w", ErrWAV), err)
	}
	const extensible = 0xfffe // the true format follows; bits and channels say enough
	if f.Format != 1 && f.Format != extensible || f.Channels != 1 || f.Rate != SampleRate || f.Bits != 16 {
		return fmt.Errorf("format %d, %d channels, %d Hz, %d bits: %w", f.Format, f.Channels, f.Rate, f.Bits, ErrWAV)
	}
	return nil
}

func pcm(b []byte) []int16 {
	samples := make([]int16, len(b)/2)
	for i := range samples {
		samples[i] = int16(binary.LittleEndian.Uint16(b[2*i:]))
	}
	return samples
}
