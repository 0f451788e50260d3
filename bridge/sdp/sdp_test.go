package sdp

import (
	"errors"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var (
	relay4 = netip.MustParseAddr("192.0.2.1")
	relay6 = netip.MustParseAddr("2001:db8::1")
)

func load(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".sdp")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func parse(t testing.TB, text string) *Description {
	t.Helper()
	d, err := Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return d
}

// lines is what a description says, without line ends.
func lines(d *Description) []string {
	return strings.Split(strings.TrimSuffix(string(d.Bytes()), "\r\n"), "\r\n")
}

func relayed(t testing.TB, text string, r Relay) *Description {
	t.Helper()
	out, err := parse(t, text).Relay(r)
	if err != nil {
		t.Fatal(err)
	}
	parse(t, string(out.Bytes()))
	return out
}

func wantLines(t testing.TB, d *Description, want ...string) {
	t.Helper()
	if got := lines(d); !slices.Equal(got, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestUneditedKeepsEveryLine(t *testing.T) {
	for _, name := range []string{"pbx-audio", "phone-ice-crypto-avp", "t38", "browser"} {
		text := load(t, name)
		if got := string(parse(t, strings.ReplaceAll(text, "\n", "\r\n")).Bytes()); got != strings.ReplaceAll(text, "\n", "\r\n") {
			t.Errorf("%s came back as\n%s", name, got)
		}
		if a, b := parse(t, text).Bytes(), parse(t, strings.ReplaceAll(text, "\n", "\r\n")).Bytes(); string(a) != string(b) {
			t.Errorf("%s: bare LF makes a difference", name)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	head := "v=0\no=- 1 1 IN IP4 10.0.0.1\ns=-\nc=IN IP4 10.0.0.1\nt=0 0\n"
	tests := []struct {
		name, text string
		want       error
	}{
		{"empty", "", ErrMalformed},
		{"only blank lines", "\r\n\r\n", ErrMalformed},
		{"not SDP", "Signal=5\r\nDuration=160\r\n", ErrMalformed},
		{"does not begin with v=", "o=- 1 1 IN IP4 10.0.0.1\n", ErrMalformed},
		{"line without a type", head + "audio\n", ErrMalformed},
		{"bare CR", head + "a=x\ry=1\n", ErrMalformed},
		{"NUL", head + "a=x\x00\n", ErrMalformed},
		{"m= too short", head + "m=audio 4000 RTP/AVP\n", ErrMalformed},
		{"m= far too short", head + "m=audio 0\n", ErrMalformed},
		{"port 70000", head + "m=audio 70000 RTP/AVP 0\n", ErrMalformed},
		{"port -1", head + "m=audio -1 RTP/AVP 0\n", ErrMalformed},
		{"port +1", head + "m=audio +1 RTP/AVP 0\n", ErrMalformed},
		{"c= too short", "v=0\nc=IN IP4\n", ErrMalformed},
		{"c= of another network", "v=0\nc=ATM NSAP 47\n", ErrMalformed},
		{"16 KiB and a byte", head + "a=" + strings.Repeat("x", MaxSize-len(head)-2) + "\n", ErrTooLarge},
		{"nine m-lines", head + strings.Repeat("m=audio 4000 RTP/AVP 0\n", 9), ErrTooLarge},
		{"many lines", head + "m=audio 4000 RTP/AVP 0\n" + strings.Repeat("a=x\n", MaxLines+1), ErrTooLarge},
	}
	for _, tt := range tests {
		_, err := Parse([]byte(tt.text))
		var s interface{ SIPStatus() int }
		if !errors.Is(err, tt.want) || !errors.As(err, &s) {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if want := map[error]int{ErrTooLarge: 488, ErrMalformed: 400}[tt.want]; s.SIPStatus() != want {
			t.Errorf("%s: status %d", tt.name, s.SIPStatus())
		}
	}
	if _, err := Parse([]byte(head + strings.Repeat("m=audio 4000 RTP/AVP 0\n", 8))); err != nil {
		t.Errorf("eight m-lines: %v", err)
	}
}

func TestStreams(t *testing.T) {
	s := parse(t, load(t, "phone-ice-crypto-avp")).Streams()
	if len(s) != 2 {
		t.Fatal(s)
	}
	a := s[0]
	if a.Media != "audio" || a.Port != 7078 || a.Proto != "RTP/AVP" || !a.RTCPMux || a.Direction != SendRecv || a.Held() {
		t.Errorf("%+v", a)
	}
	if a.Target() != netip.MustParseAddrPort("203.0.113.80:7078") || a.RTCP != netip.MustParseAddrPort("203.0.113.80:40079") {
		t.Errorf("%v, %v", a.Target(), a.RTCP)
	}
	if got := a.PayloadTypes(); !reflect.DeepEqual(got, []uint8{96, 97, 98, 0, 8, 101, 100}) {
		t.Errorf("%v", got)
	}
	wantCodecs := []Codec{{"96", "opus", 48000, 2}, {"97", "speex", 16000, 1}, {"98", "speex", 8000, 1}, {"0", "PCMU", 8000, 1},
		{"8", "PCMA", 8000, 1}, {"101", "telephone-event", 48000, 1}, {"100", "telephone-event", 8000, 1}}
	if !reflect.DeepEqual(a.Codecs, wantCodecs) {
		t.Errorf("%+v", a.Codecs)
	}
	if pt, ok := a.TelephoneEvent(8000); !ok || pt != 100 {
		t.Errorf("telephone-event %d, %v", pt, ok)
	}
	if _, ok := a.TelephoneEvent(16000); ok {
		t.Error("telephone-event/16000")
	}
	v := s[1]
	if v.Media != "video" || v.Addr != netip.MustParseAddr("192.168.1.20") || v.RTCP.Port() != 9079 || v.Direction != Inactive || !v.Held() {
		t.Errorf("%+v", v)
	}

	s = parse(t, load(t, "t38")).Streams()
	if s[0].Active() || s[0].Target().IsValid() || s[0].RTCP.Port() != 0 || !s[1].Active() || s[1].IsRTP() || s[1].PayloadTypes() != nil || s[1].Target() != netip.MustParseAddrPort("198.51.100.9:18430") {
		t.Errorf("%+v", s)
	}
	s = parse(t, load(t, "odd")).Streams()
	if s[0].Port != 4000 || s[0].Addr.IsValid() || s[0].Host != "pc.example.com" || s[0].Target().IsValid() || !s[0].IsRTP() || s[1].Media != "doom" {
		t.Errorf("%+v", s)
	}
}

func TestHoldInAllSpellings(t *testing.T) {
	const head = "v=0\no=- 1 1 IN IP4 10.0.0.1\ns=-\n"
	const m = "m=audio 4000 RTP/AVP 0\n"
	tests := []struct {
		text            string
		held            bool
		sends, receives bool
		dir             Direction
	}{
		{head + "c=IN IP4 10.0.0.1\n" + m, false, true, true, SendRecv},
		{head + "c=IN IP4 10.0.0.1\n" + m + "a=sendonly\n", true, true, false, SendOnly},
		{head + "c=IN IP4 10.0.0.1\n" + m + "a=inactive\n", true, false, false, Inactive},
		{head + "c=IN IP4 10.0.0.1\n" + m + "a=recvonly\n", false, false, true, RecvOnly},
		{head + "c=IN IP4 10.0.0.1\na=sendonly\n" + m, true, true, false, SendOnly},
		{head + "c=IN IP4 10.0.0.1\na=sendonly\n" + m + "a=sendrecv\n", false, true, true, SendRecv},
		{head + "c=IN IP4 0.0.0.0\n" + m, true, true, false, SendRecv},
		{head + "c=IN IP4 10.0.0.1\n" + m + "c=IN IP4 0.0.0.0\na=sendrecv\n", true, true, false, SendRecv},
		{head + "c=IN IP4 0.0.0.0\n" + m + "c=IN IP4 10.0.0.1\n", false, true, true, SendRecv},
		{head + "c=IN IP6 ::\n" + m, true, true, false, SendRecv},
	}
	for _, tt := range tests {
		d := parse(t, tt.text)
		s := d.Streams()[0]
		if s.Held() != tt.held || d.Held() != tt.held || s.Sends() != tt.sends || s.Receives() != tt.receives || d.Directions()[0] != tt.dir {
			t.Errorf("held %v, sends %v, receives %v, %v of\n%s", s.Held(), s.Sends(), s.Receives(), d.Directions(), tt.text)
		}
		if s.Held() && s.unspecified() == s.Target().IsValid() {
			t.Errorf("target %v of\n%s", s.Target(), tt.text)
		}
		// And the other leg sees the same.
		out := relayed(t, tt.text, Relay{Addr: relay4, Ports: []uint16{20000}}).Streams()[0]
		if out.Held() != tt.held || out.Direction != tt.dir || out.unspecified() != s.unspecified() {
			t.Errorf("relayed %+v of\n%s", out, tt.text)
		}
	}
	ended := parse(t, head+"c=IN IP4 10.0.0.1\nm=audio 0 RTP/AVP 0\n")
	if ended.Held() || ended.Directions()[0] != Inactive {
		t.Error("an ended stream is held")
	}
}

func TestRelay(t *testing.T) {
	wantLines(t, relayed(t, load(t, "pbx-audio"), Relay{Addr: relay4, Ports: []uint16{20000}}),
		"v=0", "o=- 0 0 IN IP4 192.0.2.1", "s=Asterisk", "c=IN IP4 192.0.2.1", "t=0 0",
		"m=audio 20000 RTP/AVP 8 0 9 101",
		"a=rtpmap:8 PCMA/8000", "a=rtpmap:0 PCMU/8000", "a=rtpmap:9 G722/8000", "a=rtpmap:101 telephone-event/8000",
		"a=fmtp:101 0-16", "a=ptime:20", "a=maxptime:150", "a=sendrecv")
}

func TestRelayDropsWhatConcernsThePath(t *testing.T) {
	out := relayed(t, load(t, "phone-ice-crypto-avp"), Relay{Addr: relay6, Ports: []uint16{20000, 0}})
	wantLines(t, out,
		"v=0", "o=- 0 0 IN IP6 2001:db8::1", "s=Talk", "c=IN IP6 2001:db8::1", "t=0 0",
		"a=rtcp-xr:rcvr-rtt=all:10000 stat-summary=loss,dup,jitt,TTL voip-metrics", "a=record:off",
		"m=audio 20000 RTP/AVP 96 97 98 0 8 101 100", "c=IN IP6 2001:db8::1",
		"a=rtpmap:96 opus/48000/2", "a=fmtp:96 useinbandfec=1", "a=rtpmap:97 speex/16000", "a=fmtp:97 vbr=on",
		"a=rtpmap:98 speex/8000", "a=fmtp:98 vbr=on", "a=rtpmap:101 telephone-event/48000", "a=rtpmap:100 telephone-event/8000",
		"a=rtcp:20001", "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid", "a=rtcp-fb:* trr-int 5000", "a=rtcp-fb:* ccm tmmbr",
		"m=video 0 RTP/AVP 99")
	for _, secret := range []string{"192.168.", "203.0.113.", "inline", "alice"} {
		if strings.Contains(string(out.Bytes()), secret) {
			t.Errorf("%s crossed", secret)
		}
	}
	// Plain RTP passes with its SSRC, so the line stays true.
	plain := relayed(t, "v=0\nm=audio 4000 RTP/AVP 0\na=ssrc:7 cname:x\n", Relay{Addr: relay4, Ports: []uint16{20000}})
	if !slices.Contains(lines(plain), "a=ssrc:7 cname:x") {
		t.Errorf("%q", lines(plain))
	}
	mux := lines(relayed(t, load(t, "phone-ice-crypto-avp"), Relay{Addr: relay4, Ports: []uint16{20000, 20002}, Mux: true}))
	if !slices.Contains(mux, "a=rtcp-mux") || !slices.Contains(mux, "a=rtcp:20001") || !slices.Contains(mux, "m=video 20002 RTP/AVP 99") {
		t.Errorf("an offer to mux: %q", mux)
	}
	mux = lines(relayed(t, load(t, "phone-ice-crypto-avp"), Relay{Addr: relay4, Ports: []uint16{20000, 20002}, Mux: true, Answer: true}))
	if !slices.Contains(mux, "a=rtcp-mux") || !slices.Contains(mux, "a=rtcp:20000") {
		t.Errorf("an answer to mux: %q", mux)
	}
	if !strings.Contains(parse(t, load(t, "phone-ice-crypto-avp")).String(), "a=crypto:…") || strings.Contains(parse(t, load(t, "phone-ice-crypto-avp")).String(), "inline") {
		t.Error("String shows the SRTP key")
	}
}

func TestRelayMendsAndPasses(t *testing.T) {
	wantLines(t, relayed(t, load(t, "odd"), Relay{Addr: relay4, Ports: []uint16{20000, 20002}}),
		"v=0", "o=- 0 0 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "y=0100000001", "t=0 0", "a=tool:x",
		"m=audio 20000 RTP/FOO 0 8", "c=IN IP4 192.0.2.1", "a=ptime:20",
		"m=doom 20002 UDP/DOOM iwad", "b=AS:64")
	wantLines(t, relayed(t, load(t, "t38"), Relay{Addr: relay4, Ports: []uint16{20000, 20002}}),
		"v=0", "o=- 0 0 IN IP4 192.0.2.1", "s=FreeSWITCH", "c=IN IP4 192.0.2.1", "t=0 0",
		"m=audio 0 RTP/AVP 0",
		"m=image 20002 udptl t38", "a=T38FaxVersion:0", "a=T38MaxBitRate:14400", "a=T38FaxRateManagement:transferredTCF",
		"a=T38FaxMaxBuffer:2000", "a=T38FaxMaxDatagram:400", "a=T38FaxUdpEC:t38UDPRedundancy")
	wantLines(t, relayed(t, "v=0\nm=audio 4000 RTP/AVP 0\n", Relay{Addr: relay4, Ports: []uint16{65535}}),
		"v=0", "o=- 0 0 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0", "m=audio 65535 RTP/AVP 0")
}

func TestRelayAllow(t *testing.T) {
	tests := []struct {
		name  string
		allow []string
		want  string
		gone  []string
	}{
		{"filter and order", []string{"ulaw", "opus", "telephone-event"}, "m=audio 20000 RTP/AVP 0 96 101 100", []string{"a=rtpmap:97 speex/16000", "a=fmtp:98 vbr=on"}},
		{"without DTMF", []string{"alaw"}, "m=audio 20000 RTP/AVP 8", []string{"a=rtpmap:101 telephone-event/48000", "a=fmtp:96 useinbandfec=1"}},
		{"one name, two payload types keep their order", []string{"Speex"}, "m=audio 20000 RTP/AVP 97 98", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := lines(relayed(t, load(t, "phone-ice-crypto-avp"), Relay{Addr: relay4, Ports: []uint16{20000, 20002}, Allow: tt.allow}))
			if !slices.Contains(got, tt.want) || !slices.Contains(got, "m=video 20002 RTP/AVP 99") || !slices.Contains(got, "a=rtcp-fb:* trr-int 5000") {
				t.Errorf("%q", got)
			}
			for _, line := range tt.gone {
				if slices.Contains(got, line) {
					t.Errorf("%s was left", line)
				}
			}
		})
	}
	for _, allow := range [][]string{{"g729"}, {"telephone-event"}} {
		if out, err := parse(t, load(t, "phone-ice-crypto-avp")).Relay(Relay{Addr: relay4, Ports: []uint16{20000, 20002}, Allow: allow}); !errors.Is(err, ErrNoCodec) {
			t.Errorf("%v: %v, %v", allow, out, err)
		}
	}
}

func TestRelayOfSecureStreams(t *testing.T) {
	const head = "v=0\no=- 1 1 IN IP4 10.0.0.1\ns=-\nc=IN IP4 10.0.0.1\nt=0 0\n"
	const savp = "m=audio 4000 RTP/SAVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\n"
	r := Relay{Addr: relay4, Ports: []uint16{20000, 20002, 20004}}
	for name, text := range map[string]string{
		"SAVP": head + savp, "browser": load(t, "browser"), "SAVP with plain video": head + savp + "m=video 4002 RTP/AVP 99\n",
	} {
		if out, err := parse(t, text).Relay(r); !errors.Is(err, ErrSRTP) {
			t.Errorf("%s: %v, %v", name, out, err)
		}
	}
	// Offered both ways, the plain one is taken.
	got := lines(relayed(t, head+savp+"m=audio 4002 RTP/AVP 0\n", r))
	if !slices.Contains(got, "m=audio 0 RTP/SAVP 0") || !slices.Contains(got, "m=audio 20002 RTP/AVP 0") || strings.Contains(strings.Join(got, "\n"), "inline") {
		t.Errorf("%q", got)
	}
	// A datagram relay carries no TCP, and no call fails for a chat stream.
	got = lines(relayed(t, head+"m=audio 4000 RTP/AVP 0\nm=message 2855 TCP/MSRP *\na=path:msrp://10.0.0.1:2855/x;tcp\n", r))
	if !slices.Contains(got, "m=message 0 TCP/MSRP *") || strings.Contains(strings.Join(got, "\n"), "10.0.0.1") {
		t.Errorf("%q", got)
	}
	// What we refuse ourselves is no fault.
	if _, err := parse(t, head+savp).Relay(Relay{Addr: relay4}); err != nil {
		t.Error(err)
	}
	if _, err := parse(t, head+savp).Relay(Relay{Ports: []uint16{20000}}); err == nil {
		t.Error("relayed without an address")
	}
}

func TestAnswers(t *testing.T) {
	const head = "v=0\no=- 1 1 IN IP4 10.0.0.1\ns=-\nc=IN IP4 10.0.0.1\nt=0 0\n"
	offer := parse(t, head+"m=audio 4000 RTP/AVP 8 96 101\na=rtpmap:96 opus/48000/2\na=rtpmap:101 telephone-event/8000\nm=image 0 udptl t38\nm=image 4004 udptl t38\n")
	const rest = "m=image 0 udptl t38\nm=image 0 udptl t38\n"
	tests := []struct {
		name, answer string
		ok           bool
	}{
		{"subset", "m=audio 5000 RTP/AVP 8\n" + rest, true},
		{"all refused", "m=audio 0 RTP/AVP 8\n" + rest, true},
		{"T.38 accepted", "m=audio 0 RTP/AVP 8\nm=image 0 udptl t38\nm=image 5004 UDPTL t38\n", true},
		{"AVPF for AVP", "m=audio 5000 RTP/AVPF 8\n" + rest, true},
		{"same codec, other payload type", "m=audio 5000 RTP/AVP 111 101\na=rtpmap:111 OPUS/48000/2\na=rtpmap:101 telephone-event/8000\n" + rest, true},
		{"refused with a format nobody knows", "m=audio 0 RTP/AVP 77\n" + rest, true},
		{"m-lines missing at the end", "m=audio 5000 RTP/AVP 8\n", true},
		{"m-lines missing at the beginning", rest, false},
		{"no m-line", "", false},
		{"too many", "m=audio 5000 RTP/AVP 8\n" + rest + "m=audio 0 RTP/AVP 0\n", false},
		{"other order", "m=image 0 udptl t38\nm=audio 5000 RTP/AVP 8\nm=image 0 udptl t38\n", false},
		{"only a codec that was not offered", "m=audio 5000 RTP/AVP 0\n" + rest, false},
		{"tones beside a codec that was not offered", "m=audio 5000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000\n" + rest, false},
		{"the number of a codec, the name of another", "m=audio 5000 RTP/AVP 96\na=rtpmap:96 iLBC/8000\n" + rest, false},
		{"opus in another clock", "m=audio 5000 RTP/AVP 111\na=rtpmap:111 opus/8000/2\n" + rest, false},
		{"SRTP that was not offered", "m=audio 5000 RTP/SAVP 8\n" + rest, false},
		{"accepts what was not offered", "m=audio 5000 RTP/AVP 8\nm=image 5002 udptl t38\nm=image 0 udptl t38\n", false},
		{"other fax format", "m=audio 0 RTP/AVP 8\nm=image 0 udptl t38\nm=image 5004 udptl t37\n", false},
	}
	for _, tt := range tests {
		_, err := Answers(offer, parse(t, head+tt.answer))
		if tt.ok && err != nil || !tt.ok && !errors.Is(err, ErrNotAnAnswer) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// Gateways answer with all that they have: what was not offered is struck from it.
func TestAnswersStrikesWhatWasNotOffered(t *testing.T) {
	const head = "v=0\no=- 1 1 IN IP4 10.0.0.1\ns=-\nc=IN IP4 10.0.0.1\nt=0 0\n"
	const event = "a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\n"
	for name, tt := range map[string]struct{ offer, answer, want string }{
		"telephone events":     {"m=audio 4000 RTP/AVP 0 8\n", "m=audio 5000 RTP/AVP 0 101\n" + event + "a=ptime:20\n", "m=audio 5000 RTP/AVP 0\na=ptime:20"},
		"comfort noise":        {"m=audio 4000 RTP/AVP 0 8\n", "m=audio 5000 RTP/AVP 0 13\na=rtpmap:13 CN/8000\n", "m=audio 5000 RTP/AVP 0"},
		"a codec, first":       {"m=audio 4000 RTP/AVP 8\n", "m=audio 5000 RTP/AVP 18 8\na=fmtp:18 annexb=no\n", "m=audio 5000 RTP/AVP 8"},
		"a number used twice":  {"m=audio 4000 RTP/AVP 96 8\na=rtpmap:96 opus/48000/2\n", "m=audio 5000 RTP/AVP 8 96\na=rtpmap:96 iLBC/8000\n", "m=audio 5000 RTP/AVP 8"},
		"nothing":              {"m=audio 4000 RTP/AVP 0 101\n" + event, "m=audio 5000 RTP/AVP 0 101\n" + event, "m=audio 5000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15"},
		"a format that is fax": {"m=image 4000 udptl t38\n", "m=image 5000 udptl t37 T38\n", "m=image 5000 udptl T38"},
	} {
		got, err := Answers(parse(t, head+tt.offer), parse(t, head+tt.answer))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if text := strings.Join(lines(got)[5:], "\n"); text != tt.want {
			t.Errorf("%s: %q, want %q", name, text, tt.want)
		}
	}
}

// Who knows no video leaves its m-line out, or refuses it without a format.
func TestAnswersRefusesWhatIsLeftOut(t *testing.T) {
	const head = "v=0\no=- 1 1 IN IP4 10.0.0.1\ns=-\nc=IN IP4 10.0.0.1\nt=0 0\n"
	offer := parse(t, head+"m=audio 4000 RTP/AVP 0\nm=video 4002 RTP/AVP 99 34\na=rtpmap:99 H264/90000\nm=image 4004 udptl t38\n")
	want := []string{"m=audio 5000 RTP/AVP 0", "a=ptime:20", "m=video 0 RTP/AVP 99 34", "m=image 0 udptl t38"}
	for _, more := range []string{"", "m=video 0 RTP/AVP\n", "m=video 0 RTP/AVP \nm=image 0 udptl\n"} {
		got, err := Answers(offer, parse(t, head+"m=audio 5000 RTP/AVP 0\na=ptime:20\n"+more))
		if err != nil || !slices.Equal(lines(got)[5:], want) {
			t.Errorf("%q: %v\n%s", more, err, got)
		}
	}
	// In an offer nothing says which formats they were.
	out := relayed(t, head+"m=audio 4000 RTP/AVP 0\nm=video 0 RTP/AVP\n", Relay{Addr: relay4, Ports: []uint16{20000, 20002}})
	if got := lines(out); got[len(got)-1] != "m=video 0 RTP/AVP 0" {
		t.Errorf("%q", got)
	}
}

func TestRestrict(t *testing.T) {
	const head = "v=0\no=- 1 1 IN IP4 10.0.0.1\ns=-\nc=IN IP4 10.0.0.1\nt=0 0\n"
	offer := parse(t, head+"m=audio 4000 RTP/AVP 96 8 0 101\na=rtpmap:96 opus/48000/2\na=fmtp:96 useinbandfec=1\na=rtpmap:8 PCMA/8000\na=rtpmap:101 telephone-event/8000\na=ptime:20\na=rtcp-mux\nm=video 4002 RTP/AVP 99\na=rtpmap:99 H264/90000\n")
	// A tone in PCMU went to the caller, without video.
	tone := parse(t, head+"m=audio 20000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000\nm=video 0 RTP/AVP 99\n")
	got, err := Restrict(offer, tone)
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, got, "v=0", "o=- 1 1 IN IP4 10.0.0.1", "s=-", "c=IN IP4 10.0.0.1", "t=0 0",
		"m=audio 4000 RTP/AVP 0 101", "a=rtpmap:101 telephone-event/8000", "a=ptime:20", "m=video 0 RTP/AVP 99")
	if _, err := Answers(offer, got); err != nil {
		t.Error(err)
	}
	// 96 means something else to the caller now: only what is the same is left.
	moved := parse(t, head+"m=audio 20000 RTP/AVP 96 8\na=rtpmap:96 speex/8000\nm=video 20002 RTP/AVP 99\na=rtpmap:99 H264/90000\n")
	if got, err = Restrict(offer, moved); err != nil || !slices.Equal(got.Streams()[0].Formats, []string{"8"}) || !got.Streams()[1].Active() {
		t.Errorf("%v, %v", got, err)
	}
	early := parse(t, head+"m=audio 20000 RTP/AVP 8\na=rtcp-mux\nm=video 0 RTP/AVP 99\n")
	if got, err = Restrict(offer, early); err != nil || !got.Streams()[0].RTCPMux {
		t.Errorf("the caller was promised rtcp-mux: %v, %v", got, err)
	}
	if _, err := Restrict(offer, parse(t, head+"m=audio 20000 RTP/AVP 18\nm=video 0 RTP/AVP 99\n")); !errors.Is(err, ErrNoCodec) {
		t.Error(err)
	}
	if _, err := Restrict(offer, parse(t, head+"m=audio 20000 RTP/AVP 8\n")); !errors.Is(err, ErrNotAnAnswer) {
		t.Error(err)
	}
	if len(offer.Streams()[0].Formats) != 4 {
		t.Error("Restrict changed the offer")
	}
}

// RFC 3264 s8: one session id per leg, a higher version for every change and only
// for a change.
func TestOrigin(t *testing.T) {
	o := NewOrigin(relay4)
	talk := relayed(t, load(t, "pbx-audio"), Relay{Addr: relay4, Ports: []uint16{20000}})
	hold := relayed(t, load(t, "pbx-audio")+"a=sendonly\n", Relay{Addr: relay4, Ports: []uint16{20000}})
	var ids []string
	for i, step := range []struct {
		d       *Description
		version string
	}{{talk, "1"}, {talk, "1"}, {hold, "2"}, {hold, "2"}, {talk, "3"}} {
		var out *Description
		out, o = o.Sign(step.d)
		f := strings.Fields(lines(out)[1])
		if f[0] != "o=-" || f[2] != step.version || strings.Join(f[3:], " ") != "IN IP4 192.0.2.1" {
			t.Errorf("step %d: %q", i, f)
		}
		if lines(out)[2] != "s=Asterisk" || len(lines(out)) != len(lines(step.d)) {
			t.Errorf("%q", lines(out))
		}
		ids = append(ids, f[1])
	}
	if len(slices.Compact(ids)) != 1 || o.Version() != 3 {
		t.Errorf("%q, version %d", ids, o.Version())
	}
	if again := NewOrigin(relay4); again.id == o.id {
		t.Error("two legs share a session id")
	}
	if lines(talk)[1] != "o=- 0 0 IN IP4 192.0.2.1" {
		t.Error("Sign changed its argument")
	}
}
