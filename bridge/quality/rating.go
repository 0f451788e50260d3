package quality

import (
	"fmt"
	"math"
	"time"

	"wakebridge/bridge/media"
	"wakebridge/bridge/sdp"
)

// Party is one leg's media at the end of a call.
type Party struct {
	Leg     string              // "A" or "B"
	App     bool                // a user's app, not a trunk
	Crypto  string              // the suite of SRTP; "": plain RTP
	Family  media.Family        // of our sockets
	Stats   []media.StreamStats // by m-line, as the rest
	Due     []media.Due
	Streams []sdp.Stream // what it said last

	who string // for people: "the phone"
}

// Leg is what the relay counted for one side.
type Leg struct {
	Leg     string   `json:"leg"`              // "A" or "B"
	Crypto  string   `json:"crypto,omitempty"` // the suite of SRTP; "": plain RTP
	Streams []Stream `json:"streams"`          // by m= line
}

// Stream is one stream of a leg.
type Stream struct {
	media.StreamStats
	Media string `json:"media,omitempty"` // of the m= line: "audio"
	// Codec is what most of its packets held, as a=rtpmap has it: "PCMA/8000".
	Codec string `json:"codec,omitempty"`
	// MOSSent rates what the leg sent, as it came here; MOSHeard what it heard of the
	// other leg, from end to end, by its own reports. Estimates of 1 to 4.41 (ITU-T
	// G.107); 0: less than a second of audio, a codec without values, or no reports.
	MOSSent  float64 `json:"mos_sent,omitempty"`
	MOSHeard float64 `json:"mos_heard,omitempty"`
}

// leastRated is how many packets a direction needs to be rated: a second of them.
const leastRated = 50

// Judge says how the media of each leg was, in numbers, and what was wrong with the audio
// of an answered call. Times that never were are zero.
func Judge(all []Party, answered, ended time.Time) ([]Leg, []Remark) {
	name(all)
	legs := make([]Leg, 0, len(all))
	for i, p := range all {
		legs = append(legs, Leg{Leg: p.Leg, Crypto: p.Crypto, Streams: streams(p, opposite(all, i))})
	}
	return legs, remarks(all, answered, ended)
}

func opposite(all []Party, i int) *Party {
	if len(all) != 2 {
		return nil
	}
	return &all[1-i]
}

// name says how people call the legs.
func name(all []Party) {
	kind := func(app bool) string {
		if app {
			return "phone"
		}
		return "trunk"
	}
	for i := range all {
		all[i].who = "the " + kind(all[i].App)
	}
	if len(all) == 2 && all[0].App == all[1].App {
		all[0].who, all[1].who = "the calling "+kind(all[0].App), "the called "+kind(all[1].App)
	}
}

// codecOf is the meaning of a payload type on a stream: as this leg described it, else
// as the other did, whose numbers hold as well.
func codecOf(pt uint8, i int, own, other []sdp.Stream) (sdp.Codec, bool) {
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

// streams is what the record says of a leg's streams, other being the leg that
// it talked to, nil if there was none.
func streams(p Party, other *Party) []Stream {
	out := make([]Stream, len(p.Stats))
	var partner Party
	if other != nil {
		partner = *other
	}
	for i, s := range p.Stats {
		r := Stream{StreamStats: s}
		if i < len(p.Streams) {
			r.Media = p.Streams[i].Media
		}
		sent, known := codecOf(s.PayloadType, i, p.Streams, partner.Streams)
		if known && s.RTP.Packets > 0 {
			r.Codec = codecWord(sent)
		}
		if r.Media == "audio" && s.RTP.Packets >= leastRated {
			r.MOSSent = mos(sentPath(s, sent.Name))
		}
		if r.Media == "audio" && i < len(partner.Stats) && s.Sent.Packets >= leastRated && s.Heard.Reports > 0 {
			from := partner.Stats[i]
			theirs, _ := codecOf(from.PayloadType, i, partner.Streams, p.Streams)
			r.MOSHeard = mos(heardPath(s, from, theirs.Name))
		}
		out[i] = r
	}
	return out
}

// sentPath is the way of what a leg sent, until here.
func sentPath(s media.StreamStats, codec string) Path {
	return Path{Codec: codec, Loss: share(s.Lost, s.RTP.Packets+s.Lost), Delay: s.RoundTrip.Mean / 2, Jitter: s.JitterMean}
}

// heardPath is the whole way of what a leg heard, by its own reports: from was lost on
// its way to us already, and is among what the leg misses.
func heardPath(s, from media.StreamStats, codec string) Path {
	return Path{Codec: codec, Loss: missed(s, from), Delay: (s.RoundTrip.Mean + from.RoundTrip.Mean) / 2, Jitter: s.Heard.Jitter}
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
func mos(p Path) float64 {
	score, ok := p.MOS()
	if !ok {
		return 0
	}
	return math.Round(score*100) / 100
}
