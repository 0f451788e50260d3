package sipua_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"wakebridge/sipua"
)

func TestRedact(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"nothing secret": {
			"INVITE sip:bob@example.com SIP/2.0\r\nCall-ID: a\r\nContact: <sip:a@h;ob>;+sip.instance=\"<urn:uuid:1>\"\r\n\r\nv=0\r\nm=audio 9 RTP/SAVP 0\r\n",
			"INVITE sip:bob@example.com SIP/2.0\r\nCall-ID: a\r\nContact: <sip:a@h;ob>;+sip.instance=\"<urn:uuid:1>\"\r\n\r\nv=0\r\nm=audio 9 RTP/SAVP 0\r\n",
		},
		"digest": {
			"Authorization: Digest username=\"alice\", realm=\"a,b\", nonce=\"n0\", uri=\"sip:h\", response=\"0a1b\",qop=auth, nc=00000001, cnonce=\"c\\\"n\",opaque=o1\r\n",
			"Authorization: Digest username=\"alice\", realm=\"a,b\", nonce=\"xx\", uri=\"sip:h\", response=\"xxxx\",qop=auth, nc=00000001, cnonce=\"xxxx\",opaque=xx\r\n",
		},
		"folded, spaced, in any case": {
			"proxy-AUTHORIZATION :  digest username=a,\r\n response = \"0a\r\n 1b\"\r\nTo: b\r\n",
			"proxy-AUTHORIZATION :  digest username=a,\r\n response = \"xx\r\n xx\"\r\nTo: b\r\n",
		},
		"broken digest":     {"Authorization: Digest 0a1b, response=\"0a1b\r\n", "Authorization: Digest xxxx, response=xxxxx\r\n"},
		"other schemes":     {"Authorization: Bearer eyJh.b==\r\n", "Authorization: Bearer xxxxxxxx\r\n"},
		"server's proof":    {"Authentication-Info: rspauth=\"0a\", qop=auth\r\n", "Authentication-Info: rspauth=\"xx\", qop=auth\r\n"},
		"challenges remain": {"WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n", "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n"},
		"push tokens": {
			"Contact: <sip:a@h;PN-prid=00ff:voip&11ee:remote;pn-param=T.b;pn-voip-tok=1>;pn-tok=\"a;b\";q=1, <sip:b@h;pn%2dprid=zz>\r\n",
			"Contact: <sip:a@h;PN-prid=xxxxxxxxxxxxxxxxxxxxx;pn-param=T.b;pn-voip-tok=x>;pn-tok=\"xxx\";q=1, <sip:b@h;pn%2dprid=xx>\r\n",
		},
		"token in the request line": {"INVITE sip:a@h;pn-prid=00ff SIP/2.0\r\n", "INVITE sip:a@h;pn-prid=xxxx SIP/2.0\r\n"},
		"password in a URI":         {"Contact: <sips:alice:pa:ss@h:5061>, SIP:b:p@h\r\n", "Contact: <sips:alice:xxxxx@h:5061>, SIP:b:x@h\r\n"},
		"a port is no password":     {"To: <sip:h:5060>;a=b, <sip:c@d>\r\n", "To: <sip:h:5060>;a=b, <sip:c@d>\r\n"},
		"SDES": {
			"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNf/+==|2^20|1:4 FEC_ORDER=FEC_SRTP\r\na=crypto:2 X inline:AAAA;inline:BBBB|2:1\r\na=CRYPTO:3  X  odd\na=mid:1\r\n",
			"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:xxxxxxxx|2^20|1:4 FEC_ORDER=FEC_SRTP\r\na=crypto:2 X inline:xxxx;inline:xxxx|2:1\r\na=CRYPTO:3  X  xxx\na=mid:1\r\n",
		},
		"DTMF": {
			"INFO sip:a@h SIP/2.0\r\nContent-Type: application/dtmf-relay\r\nContent-Length: 24\r\n\r\nSignal= 5\r\nDuration=160\r\n",
			"INFO sip:a@h SIP/2.0\r\nContent-Type: application/dtmf-relay\r\nContent-Length: 24\r\n\r\nSignal= x\r\nDuration=xxx\r\n",
		},
		"a DTMF key alone": {"INFO sip:a@h SIP/2.0\r\nC: Application/DTMF\r\n\r\n 5", "INFO sip:a@h SIP/2.0\r\nC: Application/DTMF\r\n\r\n x"},
		"DTMF in a part": {
			"INFO sip:a@h SIP/2.0\r\nContent-Type: multipart/mixed;boundary=b\r\n\r\n--b\r\nContent-Type: application/dtmf-relay\r\n\r\nSignal=5\r\n--b\r\nContent-Type: application/media_control+xml\r\n\r\n<hello/>\r\n\r\n5\r\n--b\r\nContent-Type: application/dtmf\r\n\r\n6\r\n--b\r\n\r\n7\r\n--b--\r\n",
			"INFO sip:a@h SIP/2.0\r\nContent-Type: multipart/mixed;boundary=b\r\n\r\n--b\r\nContent-Type: application/dtmf-relay\r\n\r\nSignal=x\r\n--b\r\nContent-Type: application/media_control+xml\r\n\r\n<hello/>\r\n\r\n5\r\n--b\r\nContent-Type: application/dtmf\r\n\r\nx\r\n--b\r\n\r\nx\r\n--b--\r\n",
		},
		"DTMF as text": {
			"INFO sip:a@h SIP/2.0\r\nContent-Type: text/plain\r\n\r\nSignal=5\r\nDuration=160\r\n5\r\n\r\n6",
			"INFO sip:a@h SIP/2.0\r\nContent-Type: text/plain\r\n\r\nSignal=x\r\nDuration=xxx\r\nx\r\n\r\nx",
		},
		"text that is none":  {"\r\nMESSAGE sip:a@h SIP/2.0\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\n\r\nSignal=5", "\r\nMESSAGE sip:a@h SIP/2.0\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\n\r\nSignal=5"},
		"DTMF of any type":   {"\r\nINFO sip:a@h SIP/2.0\r\nContent-Type: application/vnd.nortelnetworks.digits\r\n\r\np=Digit-Collection\r\nd=5", "\r\nINFO sip:a@h SIP/2.0\r\nContent-Type: application/vnd.nortelnetworks.digits\r\n\r\nxxxxxxxxxxxxxxxxxx\r\nxxx"},
		"DTMF of no type":    {"INFO sip:a@h SIP/2.0\r\nCSeq: 1 INFO\r\n\r\n5", "INFO sip:a@h SIP/2.0\r\nCSeq: 1 INFO\r\n\r\nx"},
		"DTMF in an answer":  {"SIP/2.0 415 X\r\nCSEQ: 1\r\n INFO\r\n\r\n5", "SIP/2.0 415 X\r\nCSEQ: 1\r\n INFO\r\n\r\nx"},
		"DTMF behind a type": {"c: application/dtmf\r\nc: application/media_control+xml\r\n\r\n5", "c: application/dtmf\r\nc: application/media_control+xml\r\n\r\nx"},
		"DTMF by KPML":       {"NOTIFY sip:a@h SIP/2.0\r\nc: application/kpml-response+xml\r\n\r\n<kpml-response digits=\"5\"/>", "NOTIFY sip:a@h SIP/2.0\r\nc: application/kpml-response+xml\r\n\r\nxxxxxxxxxxxxxx xxxxxxxxxxxx"},
		"video's wishes": {
			"INFO sip:a@h SIP/2.0\r\nContent-Type: application/media_control+xml\r\n\r\n<media_control/>\r\n\r\n<x/>",
			"INFO sip:a@h SIP/2.0\r\nContent-Type: application/media_control+xml\r\n\r\n<media_control/>\r\n\r\n<x/>",
		},
		"events": { // 9, * and B, which are white space
			"INFO sip:a@h SIP/2.0\r\nContent-Type: audio / telephone-event\r\n\r\n\t\x8a\x00\xa0\n\x8a\x00\xa0\r\x8a\r\n",
			"INFO sip:a@h SIP/2.0\r\nContent-Type: audio / telephone-event\r\n\r\nxxxxxxxxxxxx",
		},
		"events in a part": {
			"INVITE sip:a@h SIP/2.0\r\nc: multipart/mixed\r\n\r\n--b\r\nc: audio/telephone-event;rate=8000\r\n\r\n\n\x8a\x00\xa0\r\n--b\r\nc: text/plain\r\n\r\n5\r\n--b--\r\n",
			"INVITE sip:a@h SIP/2.0\r\nc: multipart/mixed\r\n\r\n--b\r\nc: audio/telephone-event;rate=8000\r\n\r\nxxxx\r\n--b\r\nc: text/plain\r\n\r\n5\r\n--b--\r\n",
		},
		"DTMF in a part, base64": {
			"--b\r\nContent-Type: application/dtmf-relay\r\nContent-Transfer-Encoding: base64\r\n\r\nU2lnbmFsPTU=\r\n--b--\r\n",
			"--b\r\nContent-Type: application/dtmf-relay\r\nContent-Transfer-Encoding: base64\r\n\r\nxxxxxxxxxxxx\r\n--b--\r\n",
		},
		"DTMF, spaced type":       {"Content-Type: application /\r\n dtmf\r\n\r\n5", "Content-Type: application /\r\n dtmf\r\n\r\nx"},
		"DTMF before a =":         {"c: application/dtmf\r\n\r\n5=6", "c: application/dtmf\r\n\r\nxxx"},
		"DTMF behind a delimiter": {"--b\r\nc: application/dtmf\r\n\r\n--5\r\n--b\r\n", "--b\r\nc: application/dtmf\r\n\r\nxxx\r\n--b\r\n"},
		"other keys":              {"k=clear:abc\r\na=key-mgmt:mikey AQAF\r\na=ice-pwd:asd88\r\nm=audio\r\n", "k=xxxxxxxxx\r\na=key-mgmt:xxxxx xxxx\r\na=ice-pwd:xxxxx\r\nm=audio\r\n"},
		"SDES, spaced": {
			"a= crypto:1 X inline:AAAA|2^31\r\n\ta =crypto : 1 X AAAA\r\na=crypto:1 X inline: AAAA\r\na=crypto:1 X y FEC_KEY=INLINE:BBBB;a\r\n",
			"a= crypto:1 X inline:xxxx|2^31\r\n\ta =crypto : 1 X xxxx\r\na=crypto:1 X inline: xxxx\r\na=crypto:1 X x FEC_KEY=INLINE:xxxx;a\r\n",
		},
		"capabilities": {
			"a=acap:1 crypto:1 X inline:AAAA|2^31\r\na=acap: 2 key-mgmt:mikey AQAF\r\na=ACAP:3 ice-pwd:asd88\r\na=acap:4 crypto:2 X odd\r\na=acap:5 ptime:20\r\na=acap:\r\n",
			"a=acap:1 crypto:1 X inline:xxxx|2^31\r\na=acap: 2 key-mgmt:xxxxx xxxx\r\na=ACAP:3 ice-pwd:xxxxx\r\na=acap:4 crypto:2 X xxx\r\na=acap:5 ptime:20\r\na=acap:\r\n",
		},
		"folded lines of SDP": {
			"m=audio 9 RTP/SAVP 0\r\n a=crypto:1 X inline:AAAA\r\n a=key-mgmt:mikey AQAF\r\n\tk=clear:abc\r\n inline:\r\n BBBB\r\n",
			"m=audio 9 RTP/SAVP 0\r\n a=crypto:1 X inline:xxxx\r\n a=key-mgmt:xxxxx xxxx\r\n\tk=xxxxxxxxx\r\n inline:\r\n xxxx\r\n",
		},
		"keys in a line that nobody knows": {"x: y inline:AAAA;inline:BBBB|1:1 z\r\n", "x: y inline:xxxx;inline:xxxx|1:1 z\r\n"},
		"octets that are no UTF-8":         {"To: \xff\xff\xff<sip:b:pw@h>\xff\xff\xffsip\r\n", "To: \xff\xff\xff<sip:b:xx@h>\xff\xff\xffsip\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			b := []byte(c.in)
			sipua.Redact(b)
			if string(b) != c.want {
				t.Errorf("got  %q\nwant %q", b, c.want)
			}
		})
	}
}

// Whatever comes, the length and the lines of text stay, what was blanked stays blank, and a
// secret behind it is found.
func FuzzRedact(f *testing.F) {
	f.Add([]byte("Authorization: Digest response=\"a\""))
	f.Add([]byte("k=\r\na=crypto:1 X inline:"))
	f.Add([]byte("a=acap:1 acap:crypto:\r\n a= crypto: inline:"))
	f.Add([]byte("\xff\xff\xff\xffsip"))
	f.Add([]byte("sip:a:\r\n ;pn-prid=\""))
	f.Add([]byte("--b\r\nc: application/dtmf\r\n\r\n5\r\n--b\r\n"))
	f.Add([]byte("INFO \r\n\r\n--b\r\nc: audio/telephone-event\r\n\r\n\n\n\r\n--b\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		const secret = "\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:S3CRET|2^31\r\nAuthorization: Digest nonce=S3CRET\r\n"
		b := append(append([]byte{}, in...), secret...)
		sipua.Redact(b)
		if len(b) != len(in)+len(secret) || strings.Contains(string(b), "S3CRET") && !strings.Contains(string(in), "S3CRET") {
			t.Errorf("%q", b)
		}
		got, want := strings.Count(string(b), "\n"), strings.Count(string(in)+secret, "\n")
		if events := strings.Contains(strings.Join(strings.Fields(strings.ToLower(string(in))), ""), "telephone-event"); got != want && !events || got > want { // of which each octet may be a key
			t.Errorf("%d lines, want %d", got, want)
		}
		again := append([]byte{}, b...)
		sipua.Redact(again)
		if string(again) != string(b) {
			t.Errorf("%q became %q", b, again)
		}
	})
}

// sipgo's errors quote the line that they complain of, which may be the one with the
// secrets; the log names no more than what kind of fault it is.
func TestLogOfWhatDoesNotParseHasNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		w := newWorld(t, func(cfg *sipua.Config) {
			cfg.Log = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
		})
		p := w.udp(aliceHost, 5060)
		bad := []string{
			draft{method: "REGISTER", callID: "a", extra: []string{`Authorization Digest username="alice", response="5ec4e7"`}}.String(),
			change(draft{method: "REGISTER", callID: "b"}.String(), "To", "To: *;pn-prid=5ec4e7"),
			change(draft{method: "REGISTER", callID: "c"}.String(), "From", `From: a"5ec4e7`),
			change(draft{method: "REGISTER", callID: "d"}.String(), "CSeq", "CSeq: 5ec4e7 REGISTER"),
			draft{method: "REGISTER", callID: "e", uri: "sip:a:5ec4e7@h:port"}.String(),
			draft{method: "REGISTER", callID: "f", via: "SIP/2.0/UDP h:5ec4e7;branch=z9hG4bK1"}.String(),
		}
		for _, text := range bad {
			p.send(text)
		}
		p.read()
		w.ep.Close()
		if n := strings.Count(logged.String(), "message does not parse"); n != len(bad) {
			t.Errorf("%d of %d messages are logged:\n%s", n, len(bad), &logged)
		}
		for line := range strings.Lines(logged.String()) {
			if strings.Contains(line, "5ec4e7") {
				t.Errorf("logged: %s", line)
			}
		}
	})
}
