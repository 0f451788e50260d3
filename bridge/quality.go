package bridge

import (
	"fmt"
	"math"

	"wakebridge/bridge/media"
	"wakebridge/bridge/media/quality"
	"wakebridge/bridge/rules"
	"wakebridge/bridge/sdp"
	"wakebridge/sipua/leg"
)

// mediaParty is one leg's media at the end of a call.
type mediaParty struct {
	leg     string // "A" or "B"
	app     bool   // a user's app, not a trunk
	who     string // for people: "the phone"
	crypto  string
	family  media.Family // of our sockets
	stats   []media.StreamStats
	due     []media.Due
	streams []sdp.Stream // what it said last
}

// leastRated is how many packets a direction needs to be rated: a second of them.
const leastRated = 50

// parties are the legs whose media is recorded: the caller's, and that of the attempt
// that won. Their sides are closed.
func (m *callMedia) parties() []mediaParty {
	var all []mediaParty
	add := func(name string, l *leg.Leg, side *media.Side) {
		p := mediaParty{leg: name, app: m.isApp(l), crypto: m.keys[side].Suite(), family: media.FamilyOf(m.opened[side]),
			stats: side.Stats(), due: side.Due(m.c.rec.Ended)}
		if d := m.agreed[l]; d != nil {
			p.streams = d.Streams()
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
	name(all)
	return all
}

// name says how people call the legs.
func name(all []mediaParty) {
	kind := func(app bool) string {
		if app {
			return "phone"
		}
		return "trunk"
	}
	for i := range all {
		all[i].who = "the " + kind(all[i].app)
	}
	if len(all) == 2 && all[0].app == all[1].app {
		all[0].who, all[1].who = "the calling "+kind(all[0].app), "the called "+kind(all[1].app)
	}
}

// codec is the meaning of a payload type on a stream: as this leg described it, else
// as the other did, whose numbers hold as well.
func codec(pt uint8, i int, own, other []sdp.Stream) (sdp.Codec, bool) {
	for _, streams := range [][]sdp.Stream{own, other} {
		if i >= len(streams) {
			continue
		}
		for j, t := range streams[i].PayloadTypes() {
			if t == pt && j < len(streams[i].Codecs) && streams[i].Codecs[j].Name != "" {
				return streams[i].Codecs[j], true
			}
		}
	}
	return sdp.Codec{}, false
}

// codecWord is a codec as a=rtpmap writes it.
func codecWord(c sdp.Codec) string {
	word := c.Name
	if c.Clock > 0 {
		word += fmt.Sprintf("/%d", c.Clock)
	}
	if c.Channels > 1 {
		word += fmt.Sprintf("/%d", c.Channels)
	}
	return word
}

// streamRecords is what the record says of a leg's streams, other being the leg that
// it talked to, nil if there was none.
func streamRecords(p mediaParty, other *mediaParty) []StreamRecord {
	out := make([]StreamRecord, len(p.stats))
	var partner mediaParty
	if other != nil {
		partner = *other
	}
	for i, s := range p.stats {
		r := StreamRecord{StreamStats: s}
		if i < len(p.streams) {
			r.Media = p.streams[i].Media
		}
		sent, known := codec(s.PayloadType, i, p.streams, partner.streams)
		if known && s.RTP.Packets > 0 {
			r.Codec = codecWord(sent)
		}
		if r.Media == "audio" && s.RTP.Packets >= leastRated {
			r.MOSSent = mos(sentPath(s, sent.Name))
		}
		if r.Media == "audio" && i < len(partner.stats) && s.Sent.Packets >= leastRated && s.Heard.Reports > 0 {
			from := partner.stats[i]
			theirs, _ := codec(from.PayloadType, i, partner.streams, p.streams)
			r.MOSHeard = mos(heardPath(s, from, theirs.Name))
		}
		out[i] = r
	}
	return out
}

// sentPath is the way of what a leg sent, until here.
func sentPath(s media.StreamStats, codec string) quality.Path {
	return quality.Path{Codec: codec, Loss: share(s.Lost, s.RTP.Packets+s.Lost), Delay: s.RoundTrip.Mean / 2, Jitter: s.JitterMean}
}

// heardPath is the whole way of what a leg heard, by its own reports: from was lost on
// its way to us already, and is among what the leg misses.
func heardPath(s, from media.StreamStats, codec string) quality.Path {
	return quality.Path{Codec: codec, Loss: missed(s, from), Delay: (s.RoundTrip.Mean + from.RoundTrip.Mean) / 2, Jitter: s.Heard.Jitter}
}

// missed is the share that a leg did not get of what the other one sent. What we left
// out ourselves is a gap in the sequence numbers too, which the leg reports as lost.
func missed(s, from media.StreamStats) float64 {
	return share(s.Heard.Lost-min(s.Heard.Lost, from.Withheld), s.Sent.Packets+from.Lost)
}

// share is part of all, 0 to 1.
func share(part, all uint64) float64 {
	if all == 0 {
		return 0
	}
	return min(1, float64(part)/float64(all))
}

// mos is a score in hundredths, 0 if there is none.
func mos(p quality.Path) float64 {
	score, ok := p.MOS()
	if !ok {
		return 0
	}
	return math.Round(score*100) / 100
}

// closeMedia gives the ports back and writes what was counted into the record; it does
// nothing the second time.
func (c *Call) closeMedia() {
	if c.media == nil || c.media.closed {
		return
	}
	parties := c.media.close()
	for i, p := range parties {
		r := MediaRecord{Leg: p.leg, Crypto: p.crypto, Streams: streamRecords(p, opposite(parties, i))}
		c.rec.Media = append(c.rec.Media, r)
		c.b.metrics.rated(p.app, r.Streams)
	}
	for _, r := range remarks(parties, c.rec.Answered, c.rec.Ended) {
		if r.text != "" {
			c.rec.Audio = append(c.rec.Audio, r.text)
		}
		c.b.metrics.faults.WithLabelValues(legKind(r.app), string(r.fault)).Inc()
	}
}

func opposite(all []mediaParty, i int) *mediaParty {
	if len(all) != 2 {
		return nil
	}
	return &all[1-i]
}
