package sipua_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
)

const (
	sdpPart  = "Content-Type: application/sdp\n\nv=0\nm=audio 9 RTP/AVP 0\n"
	isupPart = "Content-Type: application/ISUP;version=itu-t92+;base=itu-t92+\nContent-Disposition: signal;handling=optional\n\n\x01\x00\x49\xff\n"
	locPart  = "Content-Type: application/pidf+xml\nContent-ID: <a@b>\n\n<presence/>\n"
	mixed    = "multipart/mixed;boundary=b"
)

// mixedOf is a body of parts with the delimiter b.
func mixedOf(parts ...string) string { return "--b\n" + strings.Join(parts, "\n--b\n") + "\n--b--\n" }

// withBody is an INVITE; head are further headers.
func withBody(t testing.TB, head, body string) sip.Message {
	t.Helper()
	body = strings.ReplaceAll(body, "\n", "\r\n")
	text := "INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n" +
		strings.ReplaceAll(head, "\n", "\r\n") + "Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
	msg, err := sip.ParseMessage([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func TestSessionBody(t *testing.T) {
	const sdp = "v=0\nm=audio 9 RTP/AVP 0\n"
	other := strings.ReplaceAll(sdpPart, "AVP 0", "AVP 8")
	required := strings.ReplaceAll(isupPart, "optional", "required")
	early := strings.ReplaceAll(other, "\n\n", "\nContent-Disposition: early-session;handling=required\n\n")
	nested := func(kind string, parts ...string) string {
		return "Content-Type: multipart/" + kind + ";boundary=c\n\n" + strings.ReplaceAll(mixedOf(parts...), "--b", "--c")
	}
	for name, tt := range map[string]struct {
		kind, body, want string
		status           int // 0: no error
	}{
		"none":                       {"", "", "", 0},
		"a type without a body":      {"text/plain", "", "", 0},
		"SDP":                        {"application/sdp", sdp, sdp, 0},
		"SDP in any case":            {"Application/SDP ; charset=utf-8", sdp, sdp, 0},
		"SDP without a type":         {"", sdp, sdp, 0},
		"another type":               {"text/plain", sdp, "", 415},
		"another type, optional":     {"text/plain\nContent-Disposition: render;handling=optional", sdp, "", 0},
		"SDP in base64":              {"application/sdp\nContent-Transfer-Encoding: base64", "dj0w\n", "", 415},
		"SDP and ISUP":               {mixed, mixedOf(sdpPart, isupPart), sdp, 0},
		"ISUP and SDP":               {mixed, mixedOf(isupPart, sdpPart), sdp, 0},
		"a location":                 {mixed, mixedOf(sdpPart, locPart), sdp, 0},
		"only a location":            {mixed, mixedOf(locPart), "", 0},
		"what must be known":         {mixed, mixedOf(sdpPart, required), sdp, 415},
		"a boundary without quotes":  {"multipart/mixed;boundary=----=_Part_1", strings.ReplaceAll(mixedOf(sdpPart, locPart), "--b", "------=_Part_1"), sdp, 0},
		"a boundary in quotes":       {"multipart/mixed;boundary=\"b\"", mixedOf(sdpPart, locPart), sdp, 0},
		"no boundary":                {"multipart/mixed", mixedOf(sdpPart), "", 400},
		"no end":                     {mixed, "--b\n" + sdpPart, "", 400},
		"no part":                    {mixed, sdp, "", 400},
		"preamble and epilogue":      {mixed, "hello\n" + mixedOf(sdpPart) + "bye\n", sdp, 0},
		"two descriptions":           {mixed, mixedOf(sdpPart, other), sdp, 400},
		"an early session beside":    {mixed, mixedOf(early, sdpPart), sdp, 415},
		"an optional early session":  {mixed, mixedOf(strings.ReplaceAll(early, "required", "optional"), sdpPart), sdp, 0},
		"nested":                     {mixed, mixedOf(nested("related", sdpPart, locPart), isupPart), sdp, 0},
		"nested, must be known":      {mixed, mixedOf(sdpPart, nested("related", required)), sdp, 415},
		"alternatives: the last":     {"multipart/alternative;boundary=b", mixedOf(sdpPart, other, required), strings.ReplaceAll(sdp, "AVP 0", "AVP 8"), 0},
		"alternatives beside one":    {mixed, mixedOf(sdpPart, nested("alternative", other)), sdp, 400},
		"nested too deep":            {mixed, mixedOf(nested("mixed", strings.ReplaceAll(nested("mixed", sdpPart), "--c", "--d"))), "", 0},
		"sixteen parts":              {mixed, mixedOf(append([]string{sdpPart}, repeated(locPart, 15)...)...), sdp, 0},
		"seventeen parts":            {mixed, mixedOf(append([]string{sdpPart}, repeated(locPart, 16)...)...), sdp, 400},
		"seventeen on two levels":    {mixed, mixedOf(sdpPart, nested("mixed", repeated(locPart, 15)...)), sdp, 400},
		"seventeen, though optional": {mixed + "\nContent-Disposition: session;handling=optional", mixedOf(repeated(locPart, 17)...), "", 400},
	} {
		t.Run(name, func(t *testing.T) {
			head := ""
			if tt.kind != "" {
				head = "Content-Type: " + tt.kind + "\n"
			}
			got, err := sipua.SessionBody(withBody(t, head, tt.body))
			// The line end before a delimiter is the delimiter's.
			if trimmed := strings.TrimSpace(strings.ReplaceAll(string(got), "\r\n", "\n")); trimmed != strings.TrimSpace(tt.want) {
				t.Errorf("got %q", got)
			}
			if err == nil && tt.status == 0 {
				return
			}
			if status := sipua.Status(err); status != tt.status {
				t.Errorf("%d: %v", status, err)
			}
		})
	}
}

func repeated(part string, n int) []string {
	var all []string
	for range n {
		all = append(all, part)
	}
	return all
}

// Whatever comes, it is read to an end; a description is a piece of the body.
func FuzzSessionBody(f *testing.F) {
	f.Add(mixed, mixedOf(sdpPart, isupPart))
	f.Add("multipart/alternative;boundary=b", mixedOf(sdpPart, mixedOf(sdpPart)))
	f.Add("multipart/mixed;boundary=\"", "--\n\n")
	f.Fuzz(func(t *testing.T, kind, body string) {
		req := sip.NewRequest(sip.INVITE, sip.Uri{Host: "h"})
		req.AppendHeader(sip.NewHeader("Content-Type", kind))
		req.SetBody([]byte(body))
		got, err := sipua.SessionBody(req)
		if !strings.Contains(body, string(got)) {
			t.Errorf("%q is not in %q", got, body)
		}
		if err != nil && sipua.Status(err) != 415 && sipua.Status(err) != 400 {
			t.Error(err)
		}
	})
}
