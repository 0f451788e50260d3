package sdp

import (
	"strings"
	"testing"
)

// What an answerer adds of its own does not cross to whom offered.
func TestAnswersKeepsToTheOffer(t *testing.T) {
	const head = "v=0\no=- 1 1 IN IP4 10.0.0.1\ns=-\nc=IN IP4 10.0.0.1\nt=0 0\n"
	const key = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0e\n"
	for name, tt := range map[string]struct{ offer, answer, has, hasNot string }{
		"another feedback profile": {"m=audio 4000 RTP/AVP 0\n", "m=audio 5000 RTP/AVPF 0\n", "m=audio 5000 RTP/AVP 0", "AVPF"},
		"a secure one":             {"m=audio 4000 RTP/SAVPF 0\n" + key, "m=audio 5000 RTP/SAVP 0\n" + key, "m=audio 5000 RTP/SAVPF 0", ""},
		"mux unasked":              {"m=audio 4000 RTP/AVP 0\n", "m=audio 5000 RTP/AVP 0\na=rtcp-mux\n", "m=audio 5000", "rtcp-mux"},
		"mux":                      {"m=audio 4000 RTP/AVP 0\na=rtcp-mux\n", "m=audio 5000 RTP/AVP 0\na=rtcp-mux\n", "a=rtcp-mux", ""},
		"keys unasked":             {"m=audio 4000 RTP/AVP 0\n", "m=audio 5000 RTP/AVP 0\n" + key, "m=audio 5000", "crypto"},
		"keys":                     {"m=audio 4000 RTP/AVP 0\n" + key, "m=audio 5000 RTP/AVP 0\n" + key, "crypto", ""},
		"keys, and their profile":  {"m=audio 4000 RTP/AVP 0\n" + key, "m=audio 5000 RTP/SAVP 0\n" + key, "RTP/SAVP", ""},
		"G.729 by another name":    {"m=audio 4000 RTP/AVP 18\na=rtpmap:18 G729/8000\n", "m=audio 5000 RTP/AVP 18\na=rtpmap:18 G729a/8000\n", "5000 RTP/AVP 18", ""},
	} {
		got, err := Answers(parse(t, head+tt.offer), parse(t, head+tt.answer))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text := string(got.Bytes())
		if !strings.Contains(text, tt.has) || tt.hasNot != "" && strings.Contains(text, tt.hasNot) {
			t.Errorf("%s:\n%s", name, text)
		}
	}
}
