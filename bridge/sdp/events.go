package sdp

import (
	"slices"
	"strconv"
	"strings"
)

// eventName is the encoding name of telephone events (RFC 4733 s7.1.1).
const eventName = "telephone-event"

// Events are the payload types of telephone events of a stream, with their clocks in
// Hz.
func (s Stream) Events() map[uint8]uint32 {
	all := make(map[uint8]uint32)
	for _, c := range s.Codecs {
		n, err := strconv.ParseUint(c.Format, 10, 7)
		if err == nil && c.isEvent() && c.Clock >= 1000 && c.Clock <= 192000 { // no other clock can be meant
			all[uint8(n)] = uint32(c.Clock) //nolint:gosec // see above
		}
	}
	return all
}

// otherEvents is the first event that nobody takes who does not say so: those below are
// the keys 0 to D (RFC 4733 s2.5.1.1).
const otherEvents = 16

// TakesEvent says whether the author takes an event under a payload type of telephone
// events: a=fmtp lists them, as "0-15,66" (RFC 4733 s2.4.1).
func (s Stream) TakesEvent(payloadType, event uint8) bool {
	readable := false
	for part := range strings.SplitSeq(s.params[strconv.Itoa(int(payloadType))], ",") {
		from, to, ranged := strings.Cut(strings.TrimSpace(part), "-")
		if !ranged {
			to = from
		}
		first, err := strconv.ParseUint(from, 10, 8)
		last, err2 := strconv.ParseUint(to, 10, 8)
		if err != nil || err2 != nil {
			continue
		}
		if readable = true; uint64(event) >= first && uint64(event) <= last {
			return true
		}
	}
	return !readable && event < otherEvents
}

func (c Codec) isEvent() bool { return strings.EqualFold(c.Name, eventName) }

// isSpeech says that a codec can carry more than tones and comfort noise.
func (c Codec) isSpeech() bool { return !c.isEvent() && !strings.EqualFold(c.Name, "CN") }

// takesEvents says that an m-line could carry telephone events: it is sound over RTP.
func (m media) takesEvents() bool { return m.kind == "audio" && m.port != 0 && isRTP(m.proto) }

func (m media) hasEvents() bool { return slices.ContainsFunc(m.codecs(), Codec.isEvent) }

// WithEvents is the description with the telephone events of another one, whose
// streams are in the same order, where it has none: under their payload types and
// with what is said of them. A payload type that means something else here is left
// out.
func (d *Description) WithEvents(like *Description) *Description {
	out := d.clone()
	for i := range out.media {
		m := &out.media[i]
		if i >= len(like.media) || !m.takesEvents() || m.hasEvents() || like.media[i].kind != m.kind {
			continue
		}
		var added []string
		for _, c := range like.media[i].codecs() {
			if c.isEvent() && !slices.Contains(m.formats, c.Format) && !slices.Contains(added, c.Format) {
				added = append(added, c.Format)
			}
		}
		m.formats = append(m.formats, added...)
		for _, line := range like.media[i].lines {
			if f := formatOf(line); f != "" && slices.Contains(added, f) {
				m.lines = append(m.lines, line)
			}
		}
	}
	return out
}

// OfferEvents is the description with telephone events, keys and flash, on each
// stream of sound that has none, under a payload type that is free there.
func (d *Description) OfferEvents() *Description {
	out := d.clone()
	for i := range out.media {
		m := &out.media[i]
		if !m.takesEvents() || m.hasEvents() {
			continue
		}
		f, ok := m.free()
		if !ok {
			continue
		}
		m.formats = append(m.formats, f)
		m.lines = append(m.lines, "a=rtpmap:"+f+" "+eventName+"/8000", "a=fmtp:"+f+" 0-16")
	}
	return out
}

// free is a dynamic payload type that a stream does not use: 101, which some peers
// take for granted, or another (RFC 3551 s3).
func (m media) free() (string, bool) {
	used := func(f string) bool {
		return slices.Contains(m.formats, f) || slices.ContainsFunc(m.lines, func(l string) bool { return formatOf(l) == f })
	}
	for _, n := range append([]int{101}, dynamic()...) {
		if f := strconv.Itoa(n); !used(f) {
			return f, true
		}
	}
	return "", false
}

// dynamic are the payload types without meaning of their own.
func dynamic() []int {
	var all []int
	for n := 96; n <= 127; n++ {
		all = append(all, n)
	}
	return all
}

// WithoutEvents is the description, an answer, without telephone events on streams
// that another one, the offer that its reader made, has none on.
func (d *Description) WithoutEvents(offer *Description) *Description {
	out := d.clone()
	for i := range out.media {
		m := &out.media[i]
		if i >= len(offer.media) || !m.takesEvents() || offer.media[i].hasEvents() {
			continue
		}
		var kept []string
		for _, c := range m.codecs() {
			if !c.isEvent() {
				kept = append(kept, c.Format)
			}
		}
		m.setFormats(kept)
	}
	return out
}
