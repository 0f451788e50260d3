package sdp

import (
	"strconv"
	"strings"
)

// Codec is what a payload type means.
type Codec struct {
	// Format is the payload type as the m-line has it.
	Format string
	// Name is the encoding name as sent, "" if neither a=rtpmap nor RFC 3551 says.
	Name string
	// Clock is the RTP clock in Hz, 0 if unknown.
	Clock int
	// Channels is 1 unless rtpmap says otherwise.
	Channels int
}

// same compares what two payload types mean.
func (c Codec) same(o Codec) bool {
	return strings.EqualFold(c.Name, o.Name) && c.Clock == o.Clock && c.Channels == o.Channels
}

// TelephoneEvent is the DTMF payload type of RFC 4733 with the given clock rate; ok
// is false if the stream has none.
func (s Stream) TelephoneEvent(clock int) (payloadType uint8, ok bool) {
	for _, c := range s.Codecs {
		if strings.EqualFold(c.Name, "telephone-event") && c.Clock == clock {
			if n, err := strconv.ParseUint(c.Format, 10, 7); err == nil {
				return uint8(n), true
			}
		}
	}
	return 0, false
}

// static is RFC 3551 s6 for payload types that need no rtpmap.
func static(format string) (Codec, bool) {
	c := Codec{Format: format, Clock: 8000, Channels: 1}
	switch format {
	case "0":
		c.Name = "PCMU"
	case "3":
		c.Name = "GSM"
	case "4":
		c.Name = "G723"
	case "5":
		c.Name = "DVI4"
	case "7":
		c.Name = "LPC"
	case "8":
		c.Name = "PCMA"
	case "9":
		c.Name = "G722"
	case "10":
		c.Name, c.Clock, c.Channels = "L16", 44100, 2
	case "11":
		c.Name, c.Clock = "L16", 44100
	case "12":
		c.Name = "QCELP"
	case "13":
		c.Name = "CN"
	case "15":
		c.Name = "G728"
	case "18":
		c.Name = "G729"
	case "26", "31", "32", "33", "34":
		c.Clock = 90000
		c.Name = map[string]string{"26": "JPEG", "31": "H261", "32": "MPV", "33": "MP2T", "34": "H263"}[format]
	default:
		return Codec{Format: format, Channels: 1}, false
	}
	return c, true
}

// codecs reads the meaning of each format.
func (m media) codecs() []Codec {
	maps := make(map[string]Codec)
	for _, line := range m.lines {
		if attribute(line) != "rtpmap" {
			continue
		}
		if c, ok := parseRTPMap(value(line)); ok {
			maps[c.Format] = c
		}
	}
	out := make([]Codec, 0, len(m.formats))
	for _, f := range m.formats {
		c, ok := maps[f]
		if !ok {
			c, _ = static(f)
		}
		out = append(out, c)
	}
	return out
}

// params are the values of a=fmtp by format, the last one where there are several.
func (m media) params() map[string]string {
	all := make(map[string]string)
	for _, line := range m.lines {
		if f, v, found := strings.Cut(value(line), " "); found && attribute(line) == "fmtp" {
			all[f] = strings.TrimSpace(v)
		}
	}
	return all
}

// parseRTPMap reads "111 opus/48000/2".
func parseRTPMap(v string) (Codec, bool) {
	f := strings.Fields(v)
	if len(f) != 2 {
		return Codec{}, false
	}
	parts := strings.Split(f[1], "/")
	c := Codec{Format: f[0], Name: parts[0], Channels: 1}
	if len(parts) > 1 {
		if n, err := strconv.ParseUint(parts[1], 10, 31); err == nil {
			c.Clock = int(n)
		}
	}
	if len(parts) > 2 {
		if n, err := strconv.ParseUint(parts[2], 10, 8); err == nil && n > 0 {
			c.Channels = int(n)
		}
	}
	return c, c.Name != ""
}

// codecName maps the words of configuration (Asterisk's) to encoding names.
func codecName(word string) string {
	switch w := strings.ToLower(strings.TrimSpace(word)); w {
	case "alaw":
		return "pcma"
	case "ulaw", "mulaw":
		return "pcmu"
	case "dtmf":
		return "telephone-event"
	default:
		return w
	}
}

// formatOf is the payload type an attribute line speaks of, "" for a line that
// speaks of none (or of all, "*").
func formatOf(line string) string {
	switch attribute(line) {
	case "rtpmap", "fmtp", "rtcp-fb":
		f, _, _ := strings.Cut(value(line), " ")
		if f != "*" {
			return f
		}
	}
	return ""
}
