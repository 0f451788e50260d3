package sdp_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"wakebridge/bridge/sdp"
)

func TestPlain(t *testing.T) {
	for allow, want := range map[string]string{
		"":                                 "8 0 101",
		"opus g722 alaw telephone-event":   "8 101",
		"ulaw alaw":                        "8 0",
		"opus g722 telephone-event":        "9 96 101",
		"mulaw dtmf":                       "0 101",
		"telephone-event cn":               "",
		"g729":                             "18",
		"h264":                             "",
		"gsm ilbc speex g723 g729 opus cn": "96 18 3 97 98 4",
	} {
		words := strings.Fields(allow)
		d, err := sdp.Plain(words)
		if want == "" {
			if !errors.Is(err, sdp.ErrNoCodec) {
				t.Errorf("%q: %v", allow, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%q: %v", allow, err)
		}
		again, err := sdp.Parse(d.Bytes())
		if err != nil {
			t.Fatalf("%q: %v", allow, err)
		}
		s := again.Streams()[0]
		if got := strings.Join(s.Formats, " "); got != want || s.Direction != sdp.SendRecv || slices.ContainsFunc(s.Codecs, func(c sdp.Codec) bool { return c.Name == "" }) {
			t.Errorf("%q: %s %s", allow, got, s.Direction)
		}
		out, err := d.Relay(sdp.Relay{Addr: netip.MustParseAddr("192.0.2.1"), Ports: []uint16{4000}, Allow: words})
		if err != nil || len(out.Streams()[0].Formats) != len(s.Formats) || out.Streams()[0].Held() {
			t.Errorf("%q goes out as\n%s: %v", allow, out, err)
		}
	}
}

const lateHead = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n"

func late(t *testing.T, lines ...string) *sdp.Description {
	t.Helper()
	d, err := sdp.Parse([]byte(lateHead + strings.Join(append(lines, ""), "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A callee that answers with one codec of G.711 gets the other one beside it.
func TestWidened(t *testing.T) {
	offer, err := sdp.Plain(nil)
	if err != nil {
		t.Fatal(err)
	}
	for answer, want := range map[string]string{
		"m=audio 4000 RTP/AVP 8 101": "8 101 0", "m=audio 4000 RTP/AVP 0": "0 8", "m=audio 4000 RTP/AVP 0 8": "0 8",
		"m=audio 4000 RTP/AVP 100 8\r\na=rtpmap:100 pcmu/8000": "100 8", "m=audio 0 RTP/AVP 8": "8", "m=image 4000 udptl t38": "t38",
	} {
		before := late(t, answer)
		out := before.Widened(offer)
		if got := strings.Join(out.Streams()[0].Formats, " "); got != want {
			t.Errorf("%s: %s, want %s", answer, got, want)
		}
		if before.String() != late(t, answer).String() {
			t.Errorf("%s changed", answer)
		}
	}
	opus, err := sdp.Plain([]string{"opus", "g722"})
	if err != nil {
		t.Fatal(err)
	}
	if got := late(t, "m=audio 4000 RTP/AVP 9").Widened(opus).Streams()[0].Formats; len(got) != 1 {
		t.Errorf("beyond G.711: %v", got)
	}
}

func TestUnderstood(t *testing.T) {
	events := "a=rtpmap:101 telephone-event/8000"
	by := late(t, "m=audio 5000 RTP/AVP 8 101", events, "m=video 0 RTP/AVP 96")
	for line, want := range map[string]bool{"RTP/AVP 8": true, "RTP/AVP 101 8 0": true, "RTP/AVP 0 8": false, "RTP/AVP 101": true} {
		if got := late(t, "m=audio 4000 "+line, events, "m=video 4002 RTP/AVP 34").Understood(by); got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
}

func TestDirected(t *testing.T) {
	d := late(t, "a=sendonly", "m=audio 4000 RTP/AVP 0", "m=audio 4002 RTP/AVP 0", "a=recvonly", "m=video 0 RTP/AVP 96", "m=audio 4004 RTP/AVP 0")
	before := d.String()
	out := d.Directed([]sdp.Direction{sdp.SendOnly, sdp.SendRecv, sdp.SendRecv})
	if got := out.Directions(); !slices.Equal(got, []sdp.Direction{sdp.SendOnly, sdp.SendRecv, sdp.Inactive, sdp.SendOnly}) {
		t.Errorf("%v", got)
	}
	if strings.Contains(out.String(), "recvonly") || strings.Count(out.String(), "sendonly") != 1 {
		t.Errorf("lines:\n%s", out)
	}
	if d.String() != before {
		t.Error("the description itself changed")
	}
	if same := d.Directed(d.Directions()); same.String() != before {
		t.Errorf("without a change:\n%s", same)
	}
}

func TestCrosses(t *testing.T) {
	const audio = "m=audio 4000 RTP/AVP 0 8 101"
	events := "a=rtpmap:101 telephone-event/8000"
	was := []string{audio, events}
	peer := []string{"m=audio 5000 RTP/AVP 8 0 101 96", events, "a=rtpmap:96 opus/48000/2"}
	for name, tt := range map[string]struct {
		was, now, peer []string
		want           bool
	}{
		"nothing":                      {was, was, peer, false},
		"address, order, packet time":  {was, []string{"m=audio 4444 RTP/AVP 8 0 101", "c=IN IP4 192.0.2.77", events, "a=ptime:30"}, peer, false},
		"no events":                    {was, []string{"m=audio 4000 RTP/AVP 0 8"}, peer, false},
		"a codec that the peer lacks":  {was, []string{"m=audio 4000 RTP/AVP 0 8 9"}, peer, false},
		"another number for a codec":   {was, []string{"m=audio 4000 RTP/AVP 100 8", "a=rtpmap:100 pcmu/8000"}, peer, false},
		"another codec first":          {was, []string{"m=audio 4000 RTP/AVP 9 0 8"}, peer, true},
		"a codec less":                 {was, []string{"m=audio 4000 RTP/AVP 0"}, peer, true},
		"a codec more":                 {was, []string{"m=audio 4000 RTP/AVP 0 8 96", "a=rtpmap:96 opus/48000/2"}, peer, true},
		"hold":                         {was, []string{audio, events, "a=sendonly"}, peer, true},
		"hold by an address":           {was, []string{audio, events, "c=IN IP4 0.0.0.0"}, peer, true},
		"refused":                      {was, []string{"m=audio 0 RTP/AVP 0"}, peer, true},
		"still refused":                {[]string{"m=audio 0 RTP/AVP 0"}, []string{"m=audio 0 RTP/AVP 8", "a=sendonly"}, peer, false},
		"RTCP apart, the peer does so": {append([]string{audio, events}, "a=rtcp-mux"), was, peer, false},
		"RTCP apart":                   {append([]string{audio, events}, "a=rtcp-mux"), was, append(slices.Clone(peer), "a=rtcp-mux"), true},
		"a line more":                  {was, append(slices.Clone(was), "m=video 4002 RTP/AVP 96"), peer, true},
	} {
		if got := sdp.Crosses(late(t, tt.was...), late(t, tt.now...), late(t, tt.peer...)); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
