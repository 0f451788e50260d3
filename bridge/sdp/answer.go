package sdp

import (
	"fmt"
	"slices"
	"strings"
)

// Answers is answer as one to offer (RFC 3264 s6): as many m-lines of the same types in
// the same order, nothing accepted that was refused, and only formats that were offered
// (for RTP under another payload type, if the answerer likes). Formats that were not
// are struck with what is said of them: gateways list all that they have, not what they
// were asked for. M-lines that are missing at the end are refused, as those mean who know
// no video. Keys for plain RTP are struck where none were offered; where they were, the
// secure profile will do as well. The error wraps ErrNotAnAnswer and names the m-line; it
// is one if nothing that was offered is left but tones and comfort noise.
func Answers(offer, answer *Description) (*Description, error) {
	n := len(answer.media)
	if n > len(offer.media) || n == 0 && len(offer.media) > 0 {
		return nil, fmt.Errorf("%d m-lines for %d: %w", n, len(offer.media), ErrNotAnAnswer)
	}
	out := answer.clone()
	for _, o := range offer.media[n:] {
		out.media = append(out.media, refused(o))
	}
	for i := range out.media {
		a, o := &out.media[i], offer.media[i]
		if a.kind != o.kind {
			return nil, fmt.Errorf("m-line %d is %s, not %s: %w", i+1, a.kind, o.kind, ErrNotAnAnswer)
		}
		if a.port == 0 {
			if len(a.formats) == 0 {
				a.formats = slices.Clone(o.formats)
			}
			continue
		}
		if o.port == 0 {
			return nil, fmt.Errorf("m-line %d accepts a stream that was not offered: %w", i+1, ErrNotAnAnswer)
		}
		keyed, _ := o.cryptos()
		open := !isSecure(o.proto) && len(keyed) > 0
		if isRTP(a.proto) != isRTP(o.proto) || isSecure(a.proto) != isSecure(o.proto) && !open {
			return nil, fmt.Errorf("m-line %d changes %s to %s: %w", i+1, o.proto, a.proto, ErrNotAnAnswer)
		}
		if isRTP(o.proto) && isSecure(a.proto) == isSecure(o.proto) {
			a.proto = o.proto // RTP/AVP and RTP/AVPF are mixed up by many; SRTP is not a matter of taste
		}
		a.keepTo(o, len(keyed) > 0)
		if f := a.strike(o); f != "" {
			return nil, fmt.Errorf("m-line %d has the format %s that was not offered: %w", i+1, f, ErrNotAnAnswer)
		}
	}
	return out, nil
}

// keepTo strikes what an answer adds to its offer: keys for plain RTP, and rtcp-mux.
func (m *media) keepTo(offer media, keyed bool) {
	if !isSecure(m.proto) && !keyed {
		m.lines = unkeyed(m.lines)
	}
	if !offer.muxed() {
		m.lines = slices.DeleteFunc(m.lines, func(l string) bool { return strings.HasPrefix(attribute(l), "rtcp-mux") })
	}
}

// strike removes the formats of an answer that its offer has not. If what is left
// carries nothing, the result is the first of them, else "".
func (m *media) strike(offer media) (foreign string) {
	var kept []string
	useful := false
	offered, rtp := offer.codecs(), isRTP(offer.proto)
	for _, c := range m.codecs() {
		_, isStatic := static(c.Format)
		meant := func(o Codec) bool {
			// What a static payload type means is known, however it is spelt (G729a).
			named := isStatic || o.Name == "" || c.Name == "" || strings.EqualFold(o.Name, c.Name)
			return o.Format == c.Format && named || c.Name != "" && o.same(c)
		}
		if !rtp { // there, formats are words
			meant = func(o Codec) bool { return strings.EqualFold(o.Format, c.Format) }
		}
		switch {
		case slices.ContainsFunc(offered, meant):
			kept = append(kept, c.Format)
			useful = useful || !rtp || c.isSpeech()
		case foreign == "":
			foreign = c.Format
		}
	}
	if foreign == "" || !useful {
		return foreign
	}
	m.setFormats(kept)
	return ""
}

// Restrict is offer with only those streams, codecs and payload types that
// answered has too, rtcp-mux included: once an SDP went to the caller, a device that is offered more
// could choose what the caller was not told of. A payload type counts as the same
// if its meaning is. The error is ErrNoCodec if an audio stream the caller was
// promised loses every codec, or wraps ErrNotAnAnswer if answered does not fit.
func Restrict(offer, answered *Description) (*Description, error) {
	if len(offer.media) != len(answered.media) {
		return nil, fmt.Errorf("%d m-lines for %d: %w", len(answered.media), len(offer.media), ErrNotAnAnswer)
	}
	out := offer.clone()
	for i := range out.media {
		m, a := &out.media[i], answered.media[i]
		switch {
		case m.port == 0:
		case a.port == 0:
			*m = refused(*m)
		case isRTP(m.proto):
			formats := common(*m, a)
			if len(formats) == 0 {
				return nil, fmt.Errorf("m-line %d: %w", i+1, ErrNoCodec)
			}
			m.setFormats(formats)
			if !a.muxed() { // what the caller was not promised, no device can agree to
				m.lines = slices.DeleteFunc(m.lines, func(l string) bool { return strings.HasPrefix(attribute(l), "rtcp-mux") })
			}
		}
	}
	return out, nil
}

// common are the formats that mean the same in both, in the order of answered.
func common(offer, answered media) []string {
	var formats []string
	offered := offer.codecs()
	for _, a := range answered.codecs() {
		same := func(o Codec) bool { return o.Format == a.Format && (o.same(a) || o.Name == "" || a.Name == "") }
		if slices.ContainsFunc(offered, same) && !slices.Contains(formats, a.Format) {
			formats = append(formats, a.Format)
		}
	}
	return formats
}
