package sdp

import (
	"slices"
	"strings"
)

// Sound is an answer of our own, before any callee's: it takes one stream, to play
// something there.
type Sound struct {
	Answer *Description
	Stream int   // its m-line, from 0
	Codec  Codec // the only one for sound
}

// Alone answers an offer with the first audio stream that goes both ways and has one
// of the codecs, by name and under a payload type of RFC 3551. The stream keeps that
// codec and telephone events of its clock, because who plays a sound of one codec may
// not be sent another by a callee that is found later; other audio streams are
// refused, and so is rtcp-mux, which that callee may not have. allow is that of Relay, and says which of several codecs it is; else the
// offer's order does. ok is false if there is no such stream, or if the offer has one
// that is no audio: the call would lose it.
func (d *Description) Alone(allow []string, names ...string) (s Sound, ok bool) {
	out := &Description{session: keep(d.session, "v", "s", "t"), media: make([]media, len(d.media))}
	for i, st := range d.Streams() {
		m := d.media[i].clone()
		out.media[i] = refused(m)
		switch {
		case !st.Active():
			continue
		case st.Media != "audio":
			return Sound{}, false
		case ok, !st.IsRTP(), !isUDP(st.Proto), !st.Sends(), !st.Receives():
			continue
		}
		if len(allow) > 0 {
			m.allow(allow)
		}
		codec, found := m.first(names)
		if !found {
			continue
		}
		formats := []string{codec.Format}
		for _, c := range m.codecs() {
			if strings.EqualFold(c.Name, "telephone-event") && c.Clock == codec.Clock {
				formats = append(formats, c.Format)
			}
		}
		m.lines = keep(m.lines, "rtpmap", "fmtp", "crypto")
		m.setFormats(formats)
		out.media[i] = m
		s.Stream, s.Codec, ok = i, codec, true
	}
	s.Answer = out
	return s, ok
}

// first is the first codec of a stream that is called so under its static payload
// type.
func (m media) first(names []string) (Codec, bool) {
	for _, c := range m.codecs() {
		known, isStatic := static(c.Format)
		named := slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, c.Name) })
		if isStatic && named && c.same(known) {
			return c, true
		}
	}
	return Codec{}, false
}

// keep are the lines of the types or attributes named.
func keep(lines []string, names ...string) []string {
	var kept []string
	for _, l := range lines {
		name := attribute(l)
		if name == "" {
			name = l[:1]
		}
		if slices.Contains(names, name) {
			kept = append(kept, l)
		}
	}
	return kept
}
