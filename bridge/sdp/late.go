package sdp

import (
	"slices"
	"strings"
)

// Plain is an offer of our own, for a peer that has to be offered something before it
// is known what the other end can do: one stream of sound both ways, in G.711 and with
// telephone events. Many answer with one codec only, and that must be one which
// everybody has; so others are offered only where allow (that of Relay) has no G.711.
// The address is none: it is for Relay. The error is ErrNoCodec.
func Plain(allow []string) (*Description, error) {
	var names []string
	for _, w := range allow {
		names = append(names, codecName(w))
	}
	allowed := func(rtpmap string) bool {
		name, _, _ := strings.Cut(strings.ToLower(rtpmap), "/")
		return len(names) == 0 || slices.Contains(names, name)
	}
	m := media{kind: "audio", port: 9, proto: "RTP/AVP"}
	for _, choice := range [][]string{
		{"8 PCMA/8000", "0 PCMU/8000"},
		{"9 G722/8000", "96 opus/48000/2", "18 G729/8000", "3 GSM/8000", "97 iLBC/8000", "98 speex/8000", "4 G723/8000"},
	} {
		for _, c := range choice {
			if format, rtpmap, _ := strings.Cut(c, " "); allowed(rtpmap) {
				m.formats = append(m.formats, format)
				m.lines = append(m.lines, "a=rtpmap:"+c)
			}
		}
		if len(m.formats) > 0 {
			break
		}
	}
	if len(m.formats) == 0 {
		return nil, ErrNoCodec
	}
	d := &Description{session: []string{"v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0"}, media: []media{m}}
	if allowed(eventName) {
		d = d.OfferEvents()
	}
	return d, nil
}

// Widened is an answer with the codecs of G.711 that its offer had and it left out, last:
// who answers with one of them mostly has both, and chose.
func (d *Description) Widened(offer *Description) *Description {
	out := d.clone()
	for i := range out.media {
		m := &out.media[i]
		if i >= len(offer.media) || m.kind != "audio" || m.port == 0 || !isRTP(m.proto) {
			continue
		}
		has := m.codecs()
		for _, c := range offer.media[i].codecs() {
			known, isStatic := static(c.Format)
			g711 := isStatic && c.same(known) && (c.Format == "0" || c.Format == "8")
			if !g711 || slices.Contains(m.formats, c.Format) || slices.ContainsFunc(has, c.same) {
				continue
			}
			m.formats = append(m.formats, c.Format)
			m.lines = append(m.lines, "a=rtpmap:"+c.Format+" "+c.Name+"/8000")
		}
	}
	return out
}

// Understood says that another author has, of each stream, the first codec, which is
// what the author will send.
func (d *Description) Understood(by *Description) bool {
	others := by.Streams()
	for i, s := range d.Streams() {
		if i >= len(others) || !s.Active() || !others[i].Active() || !s.IsRTP() {
			continue
		}
		speech := slices.IndexFunc(s.Codecs, func(c Codec) bool { return !c.isEvent() })
		if speech >= 0 && len(shared(Stream{Codecs: s.Codecs[speech : speech+1]}, others[i])) == 0 {
			return false
		}
	}
	return true
}

// Directed is the description with other directions, by m-line; those beyond the end of
// dirs, and refused streams, stay.
func (d *Description) Directed(dirs []Direction) *Description {
	out := d.clone()
	for i, s := range d.Streams() {
		if i >= len(dirs) || !s.Active() || s.Direction == dirs[i] {
			continue
		}
		m := &out.media[i]
		m.lines = slices.DeleteFunc(m.lines, func(l string) bool {
			_, is := parseDirection(attribute(l))
			return is
		})
		m.lines = append(m.lines, "a="+dirs[i].String())
	}
	return out
}

// Crosses says that what an author says now, in place of before, must be told to its
// peer, which said peer last: it took a stream or gave one up, holds or resumes, does
// RTCP in another way, has not the same of the peer's codecs, or will send one that the
// peer has not. Addresses, keys and packet times are between the author and us. So are
// telephone events.
func Crosses(before, now, peer *Description) bool {
	was, is, others := before.Streams(), now.Streams(), peer.Streams()
	if len(was) != len(is) || len(others) != len(is) {
		return true
	}
	for i, s := range is {
		o := was[i]
		switch {
		case !s.Active() && !o.Active():
		case s.Active() != o.Active(), s.Direction != o.Direction, s.Held() != o.Held():
			return true
		case others[i].RTCPMux && s.RTCPMux != o.RTCPMux:
			return true
		case !slices.Equal(shared(others[i], s), shared(others[i], o)):
			return true
		}
	}
	return !now.Understood(peer)
}

// shared are the codecs of a stream that another has too, in the first one's order.
func shared(of, with Stream) []string {
	var both []string
	for _, c := range of.Codecs {
		same := func(o Codec) bool { return o.same(c) && (c.Name != "" || o.Format == c.Format) }
		if !c.isEvent() && slices.ContainsFunc(with.Codecs, same) && !slices.Contains(both, c.Format) {
			both = append(both, c.Format)
		}
	}
	return both
}
