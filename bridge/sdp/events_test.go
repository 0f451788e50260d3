package sdp_test

import (
	"fmt"
	"strings"
	"testing"

	"wakebridge/bridge/sdp"
)

// described is a description of the m-lines and attributes given.
func described(t *testing.T, lines ...string) *sdp.Description {
	t.Helper()
	d, err := sdp.Parse([]byte("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n" + strings.Join(lines, "\r\n") + "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// mediaOf are the lines from the first m-line on.
func mediaOf(d *sdp.Description) string {
	_, m, _ := strings.Cut(strings.ReplaceAll(string(d.Bytes()), "\r\n", "|"), "t=0 0|")
	return strings.TrimSuffix(m, "|")
}

const (
	plain  = "m=audio 4000 RTP/AVP 0 8|a=sendrecv"
	events = "m=audio 4000 RTP/AVP 0 8 101 97|a=rtpmap:101 telephone-event/8000|a=fmtp:101 0-15|a=rtpmap:97 telephone-event/48000|a=sendrecv"
)

func lines(s string) []string { return strings.Split(s, "|") }

func TestWithEvents(t *testing.T) {
	for name, c := range map[string]struct{ d, like, want string }{
		"added":           {plain, events, "m=audio 4000 RTP/AVP 0 8 101 97|a=sendrecv|a=rtpmap:101 telephone-event/8000|a=fmtp:101 0-15|a=rtpmap:97 telephone-event/48000"},
		"had some":        {"m=audio 4000 RTP/AVP 0 96|a=rtpmap:96 telephone-event/8000", events, "m=audio 4000 RTP/AVP 0 96|a=rtpmap:96 telephone-event/8000"},
		"nothing to add":  {plain, plain, plain},
		"type in use":     {"m=audio 4000 RTP/AVP 101|a=rtpmap:101 opus/48000/2", events, "m=audio 4000 RTP/AVP 101 97|a=rtpmap:101 opus/48000/2|a=rtpmap:97 telephone-event/48000"},
		"refused":         {"m=audio 0 RTP/AVP 0", events, "m=audio 0 RTP/AVP 0"},
		"no sound":        {"m=video 4000 RTP/AVP 34", "m=video 4000 RTP/AVP 101|a=rtpmap:101 telephone-event/8000", "m=video 4000 RTP/AVP 34"},
		"T.38":            {"m=image 4000 udptl t38", events, "m=image 4000 udptl t38"},
		"fewer to follow": {plain + "|" + plain, events, "m=audio 4000 RTP/AVP 0 8 101 97|a=sendrecv|a=rtpmap:101 telephone-event/8000|a=fmtp:101 0-15|a=rtpmap:97 telephone-event/48000|" + plain},
	} {
		if got := mediaOf(described(t, lines(c.d)...).WithEvents(described(t, lines(c.like)...))); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// Without a list the keys are taken and nothing else (RFC 4733 s2.5.1.1).
func TestTakesEvent(t *testing.T) {
	for fmtp, want := range map[string]string{
		"":                      "0 11 15",
		"a=fmtp:101 0-15":       "0 11 15",
		"a=fmtp:101 0-16":       "0 11 15 16",
		"a=fmtp:101 0-9, 11,16": "0 11 16",
		"a=fmtp:101 32-49":      "",
		"a=fmtp:101 16":         "16",
		"a=fmtp:101 all":        "0 11 15",
		"a=fmtp:96 0-16":        "0 11 15",
		"a=fmtp:101 0-999":      "0 11 15",
		"a=fmtp:101 0-15,-,7-":  "0 11 15",
	} {
		s := described(t, lines(strings.TrimSuffix("m=audio 4000 RTP/AVP 0 101|a=rtpmap:101 telephone-event/8000|"+fmtp, "|"))...).Streams()[0]
		var got []string
		for _, event := range []uint8{0, 11, 15, 16, 66} {
			if s.TakesEvent(101, event) {
				got = append(got, fmt.Sprint(event))
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %s, want %s", fmtp, got, want)
		}
	}
}

func TestOfferEvents(t *testing.T) {
	var all []string
	for n := 96; n <= 127; n++ {
		all = append(all, fmt.Sprint(n))
	}
	full := "m=audio 4000 RTP/AVP " + strings.Join(all, " ")
	for name, c := range map[string]struct{ d, want string }{
		"added":        {plain, "m=audio 4000 RTP/AVP 0 8 101|a=sendrecv|a=rtpmap:101 telephone-event/8000|a=fmtp:101 0-16"},
		"had some":     {events, events},
		"101 is taken": {"m=audio 4000 RTP/AVP 101|a=rtpmap:101 opus/48000/2", "m=audio 4000 RTP/AVP 101 96|a=rtpmap:101 opus/48000/2|a=rtpmap:96 telephone-event/8000|a=fmtp:96 0-16"},
		"left over":    {"m=audio 4000 RTP/AVP 0|a=rtpmap:101 opus/48000/2", "m=audio 4000 RTP/AVP 0 96|a=rtpmap:101 opus/48000/2|a=rtpmap:96 telephone-event/8000|a=fmtp:96 0-16"},
		"none is free": {full, full},
		"refused":      {"m=audio 0 RTP/AVP 0", "m=audio 0 RTP/AVP 0"},
		"video":        {"m=video 4000 RTP/AVP 34", "m=video 4000 RTP/AVP 34"},
	} {
		if got := mediaOf(described(t, lines(c.d)...).OfferEvents()); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestWithoutEvents(t *testing.T) {
	for name, c := range map[string]struct{ d, offer, want string }{
		"taken away":       {events, plain, plain},
		"offered":          {events, events, events},
		"under other ones": {events, "m=audio 4000 RTP/AVP 0 96|a=rtpmap:96 telephone-event/8000", events},
		"none":             {plain, plain, plain},
	} {
		if got := mediaOf(described(t, lines(c.d)...).WithoutEvents(described(t, lines(c.offer)...))); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestStreamEvents(t *testing.T) {
	d := described(t, "m=audio 4000 RTP/AVP 0 101 97 98 200", "a=rtpmap:101 Telephone-Event/8000", "a=rtpmap:97 telephone-event/48000",
		"a=rtpmap:98 telephone-event", "a=rtpmap:200 telephone-event/8000")
	if got := fmt.Sprint(d.Streams()[0].Events()); got != "map[97:48000 101:8000]" {
		t.Errorf("%s", got)
	}
}
