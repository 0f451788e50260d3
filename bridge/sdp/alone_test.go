package sdp

import (
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const head = "v=0\r\no=- 1 1 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\n"

func TestAlone(t *testing.T) {
	for _, c := range []struct {
		name, offer, want string // want: the m-lines, codec first; "": none
		allow             []string
	}{
		{"the caller's order", "m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:30\r\n", "8: audio 8 101", nil},
		{"the operator's order", "m=audio 4000 RTP/AVP 8 0\r\n", "0: audio 0", []string{"ulaw", "alaw"}},
		{"opus first", "m=audio 4000 RTP/AVP 96 0 9 8 97 98\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:97 telephone-event/48000\r\na=rtpmap:98 telephone-event/8000\r\n", "0: audio 0 98", nil},
		{"events not allowed", "m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n", "0: audio 0", []string{"ulaw"}},
		{"G.711 not allowed", "m=audio 4000 RTP/AVP 0 9\r\n", "", []string{"g722"}},
		{"no G.711", "m=audio 4000 RTP/AVP 9 18\r\n", "", nil},
		{"0 is something else", "m=audio 4000 RTP/AVP 0\r\na=rtpmap:0 opus/48000/2\r\n", "", nil},
		{"PCMU elsewhere", "m=audio 4000 RTP/AVP 96 8\r\na=rtpmap:96 PCMU/8000\r\n", "8: audio 8", nil},
		{"held", "m=audio 4000 RTP/AVP 0\r\na=sendonly\r\n", "", nil},
		{"held by address", "m=audio 4000 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n", "", nil},
		{"only listens", "m=audio 4000 RTP/AVP 0\r\na=recvonly\r\n", "", nil},
		{"refused", "m=audio 0 RTP/AVP 0\r\n", "", nil},
		{"not over UDP", "m=audio 4000 TCP/RTP/AVP 0\r\n", "", nil},
		{"two of audio", "m=audio 4000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\nm=audio 4002 RTP/AVP 8\r\n", "0: audio 0, audio refused", nil},
		{"the second of audio", "m=audio 0 RTP/SAVP 0\r\nm=audio 4002 RTP/AVP 8\r\n", "8: audio refused, audio 8", nil},
		{"with video", "m=audio 4000 RTP/AVP 0\r\nm=video 4002 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n", "", nil},
		{"with video refused", "m=audio 4000 RTP/AVP 0\r\nm=video 0 RTP/AVP 96\r\n", "0: audio 0, video refused", nil},
		{"fax", "m=image 4000 udptl t38\r\n", "", nil},
	} {
		s, ok := parse(t, head+c.offer).Alone(c.allow, "PCMU", "PCMA")
		got := ""
		if ok {
			var streams []string
			for _, st := range s.Answer.Streams() {
				if st.Active() {
					streams = append(streams, st.Media+" "+strings.Join(st.Formats, " "))
				} else {
					streams = append(streams, st.Media+" refused")
				}
			}
			got = s.Codec.Format + ": " + strings.Join(streams, ", ")
			if !s.Answer.Streams()[s.Stream].Active() {
				t.Errorf("%s: stream %d is refused", c.name, s.Stream)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// What only concerns the caller does not come back to it.
func TestAloneEchoesNothing(t *testing.T) {
	d := parse(t, "v=0\r\no=- 1 1 IN IP4 10.0.0.2\r\ns=call\r\ni=secret\r\nc=IN IP4 10.0.0.2\r\nb=AS:64\r\nt=0 0\r\na=tool:x\r\n"+
		"m=audio 4000 RTP/AVP 0 101\r\nb=AS:64\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:30\r\na=ssrc:1 cname:me\r\na=rtcp-mux\r\na=label:1\r\n")
	s, ok := d.Alone(nil, "PCMU")
	if !ok {
		t.Fatal("no answer")
	}
	out, err := s.Answer.Relay(Relay{Addr: netip.MustParseAddr("192.0.2.1"), Ports: []uint16{10000}, Mux: true})
	if err != nil {
		t.Fatal(err)
	}
	want := "v=0\r\no=- 0 0 IN IP4 192.0.2.1\r\ns=call\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 10000 RTP/AVP 0 101\r\n" +
		"a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
	if got := string(out.Bytes()); got != want {
		t.Errorf("answer:\n%s\nwant:\n%s", got, want)
	}
}

// Whatever is offered, Alone answers it properly, and what is offered to others
// afterwards has the answer's formats and no more.
func TestAloneProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		offer, err := Parse([]byte(drawDescription(t)))
		if err != nil {
			t.Skip(err)
		}
		s, ok := offer.Alone(nil, "PCMU", "PCMA")
		if !ok {
			return
		}
		if _, err := Answers(offer, s.Answer); err != nil {
			t.Fatalf("%v\n%s\n%s", err, offer.Bytes(), s.Answer.Bytes())
		}
		later, err := Restrict(offer, s.Answer)
		if err != nil {
			t.Fatal(err)
		}
		for i, st := range later.Streams() {
			if (i == s.Stream) != st.Active() || i == s.Stream && st.Formats[0] != s.Codec.Format {
				t.Fatalf("m-line %d is offered as %v", i, st.Formats)
			}
		}
	})
}
