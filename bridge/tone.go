package bridge

import (
	"wakebridge/bridge/media"
	"wakebridge/bridge/media/audio"
	"wakebridge/bridge/rules"
	"wakebridge/bridge/sdp"
)

// prepareTone says whether the caller can be played the ringback tone: its offer
// must have a codec that we speak.
func (m *callMedia) prepareTone() bool {
	if len(m.c.b.cfg.Terms.Ringback) == 0 || m.late {
		return false
	}
	var ok bool
	m.sound, ok = m.offer.Alone(m.c.b.cfg.Terms.Codecs, audio.PCMU.String(), audio.PCMA.String())
	return ok
}

// tone lets the caller hear ringing by a 183 and a tone of ours; where that cannot
// be, by a 180.
func (c *Call) tone(a rules.Action) {
	if err := c.media.promise(); err != nil {
		c.note("no ringback tone can be played: %v", err)
		c.ring(a)
		return
	}
	c.ring(a)
	codec := audio.PCMU
	if c.media.sound.Codec.Format != "0" {
		codec = audio.PCMA
	}
	tone := media.Playing{Stream: c.media.sound.Stream, Codec: codec, Source: audio.Loop(c.b.cfg.Terms.Ringback)}
	if err := c.media.a.Play(tone); err != nil {
		c.note("no ringback tone can be played: %v", err)
		return
	}
	c.note("ringback tone for the caller in %s", codec)
}

// promise makes the SDP that the caller gets with the tone. From now on, devices are
// offered what it has.
func (m *callMedia) promise() error {
	lines, keys, err := m.keys[m.a].Answer(m.offer)
	if err != nil {
		return err
	}
	out, err := m.answering(m.sound.Answer, m.a, m.c.a.Flow(), lines)
	if err != nil {
		return err
	}
	m.hold(m.a, m.c.a.Leg, said{m.offer, m.sound.Answer, keys})
	m.sent = out.Bytes()
	return nil
}

// answerable is what an answer of the device to an INVITE must keep to: what it was
// offered, in the caller's words.
func (l *tried) answerable() *sdp.Description { return l.basis.As(l.offered) }
