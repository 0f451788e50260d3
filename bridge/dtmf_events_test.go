package bridge

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"wakebridge/bridge/sdp"
)

// What goes to a leg means what that leg says; where it has no word for a payload type,
// what the other one says.
func TestEventTypes(t *testing.T) {
	streams := func(formats ...string) []sdp.Stream {
		body := "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0"
		var maps string
		for _, f := range formats {
			pt, name, _ := strings.Cut(f, " ")
			body += " " + pt
			maps += "a=rtpmap:" + pt + " " + name + "\r\n"
		}
		d, err := sdp.Parse([]byte(body + "\r\n" + maps))
		if err != nil {
			t.Fatal(err)
		}
		return d.Streams()
	}
	const events, opus = " telephone-event/8000", " opus/48000/2"
	for name, c := range map[string]struct {
		theirs, others []sdp.Stream
		want           string
	}{
		"none":                    {streams(), streams(), "[]"},
		"theirs":                  {streams("101" + events), streams(), "[101]"},
		"theirs, two clocks":      {streams("101"+events, "96 telephone-event/48000"), streams("101" + opus), "[96 101]"},
		"the other's, another":    {streams("101" + events), streams("96" + events), "[96 101]"},
		"the other's, not theirs": {streams("96" + opus), streams("96" + events), "[]"},
		"nobody else's":           {streams("101" + events), nil, "[101]"},
	} {
		got := eventTypes(c.theirs[0], c.others, 0)
		slices.Sort(got)
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Keys go out at a clock that both have, best at that of telephone sound.
func TestPreferredEvents(t *testing.T) {
	type types = map[uint8]uint32
	for name, c := range map[string]struct {
		theirs, ours types
		payloadType  uint8
		clock        uint32
	}{
		"one":                   {types{101: 8000}, types{101: 8000}, 101, 8000},
		"theirs under another":  {types{96: 8000}, types{101: 8000}, 96, 8000},
		"both of two":           {types{96: 48000, 97: 8000}, types{96: 48000, 97: 8000}, 97, 8000},
		"one was left":          {types{96: 48000, 97: 8000}, types{96: 48000}, 96, 48000},
		"the other one":         {types{96: 48000, 97: 8000}, types{97: 8000}, 97, 8000},
		"no clock in common":    {types{96: 16000, 97: 48000}, types{101: 8000}, 96, 16000},
		"two of the same clock": {types{110: 8000, 101: 8000}, types{110: 8000}, 101, 8000},
	} {
		if payloadType, clock := preferred(c.theirs, c.ours); payloadType != c.payloadType || clock != c.clock {
			t.Errorf("%s: %d at %d Hz", name, payloadType, clock)
		}
	}
}
