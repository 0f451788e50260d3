package bridge

import (
	"wakebridge/bridge/media"
	"wakebridge/bridge/quality"
	"wakebridge/bridge/rules"
	"wakebridge/sipua/leg"
)

// parties are the legs whose media is recorded: the caller's, and that of the attempt
// that won. Their sides are closed.
func (m *callMedia) parties() []quality.Party {
	var all []quality.Party
	add := func(name string, l *leg.Leg, side *media.Side) {
		p := quality.Party{Leg: name, App: m.isApp(l), Crypto: m.keys[side].Suite(), Family: media.FamilyOf(m.opened[side]),
			Stats: side.Stats(), Due: side.Due(m.c.rec.Ended)}
		if d := m.agreed[l]; d != nil {
			p.Streams = d.Streams()
		}
		all = append(all, p)
	}
	if m.a != nil && (m.agreed[m.c.a.Leg] != nil || m.c.state.Winner != rules.NoWinner) {
		add(legA, m.c.a.Leg, m.a)
	}
	if w := m.c.state.Winner; w != rules.NoWinner && m.c.attempts[w].side != nil {
		t := m.c.attempts[w]
		add(legB, t.legs[m.c.state.Answer].leg, t.side)
	}
	return all
}

// closeMedia gives the ports back and writes what was counted into the record; it does
// nothing the second time.
func (c *Call) closeMedia() {
	if c.media == nil || c.media.closed {
		return
	}
	parties := c.media.close()
	legs, remarks := quality.Judge(parties, c.rec.Answered, c.rec.Ended)
	c.rec.Media = legs
	for i, p := range parties {
		c.b.metrics.rated(p.App, legs[i].Streams)
	}
	for _, r := range remarks {
		if r.Text != "" {
			c.rec.Audio = append(c.rec.Audio, r.Text)
		}
		c.b.metrics.faults.WithLabelValues(legKind(r.App), string(r.Fault)).Inc()
	}
}
