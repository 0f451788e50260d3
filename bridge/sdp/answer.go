package sdp

import (
	"fmt"
	"slices"
	"strings"
)

// Answers checks an answer against its offer (RFC 3264 s6): as many m-lines of the
// same types in the same order, nothing accepted that was refused, and for RTP only
// codecs that were offered (under another payload type, if the answerer likes). The
// error wraps ErrNotAnAnswer and names the m-line.
func Answers(offer, answer *Description) error {
	if len(answer.media) != len(offer.media) {
		return fmt.Errorf("%d m-lines for %d: %w", len(answer.media), len(offer.media), ErrNotAnAnswer)
	}
	for i, a := range answer.media {
		o := offer.media[i]
		if a.kind != o.kind {
			return fmt.Errorf("m-line %d is %s, not %s: %w", i+1, a.kind, o.kind, ErrNotAnAnswer)
		}
		if a.port == 0 {
			continue
		}
		if o.port == 0 {
			return fmt.Errorf("m-line %d accepts a stream that was not offered: %w", i+1, ErrNotAnAnswer)
		}
		// RTP/AVP and RTP/AVPF are mixed up by many; SRTP is not a matter of taste.
		if isRTP(a.proto) != isRTP(o.proto) || isSecure(a.proto) != isSecure(o.proto) {
			return fmt.Errorf("m-line %d changes %s to %s: %w", i+1, o.proto, a.proto, ErrNotAnAnswer)
		}
		if f := foreign(o, a); f != "" {
			return fmt.Errorf("m-line %d has the format %s that was not offered: %w", i+1, f, ErrNotAnAnswer)
		}
	}
	return nil
}

// foreign is the first format of an answer that its offer has not, "" if none.
func foreign(offer, answer media) string {
	if !isRTP(offer.proto) {
		for _, f := range answer.formats {
			if !slices.ContainsFunc(offer.formats, func(o string) bool { return strings.EqualFold(o, f) }) {
				return f
			}
		}
		return ""
	}
	offered := offer.codecs()
	for _, c := range answer.codecs() {
		if !slices.ContainsFunc(offered, func(o Codec) bool { return o.Format == c.Format || c.Name != "" && o.same(c) }) {
			return c.Format
		}
	}
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
