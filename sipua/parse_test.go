package sipua

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// Trap: sipgo loses the branch of a Via list, behind a quoted parameter and behind
// white space, and reads "SIP / 2.0 / UDP host" as a host with spaces.
func TestTrapViaWhiteSpaceAndLists(t *testing.T) {
	const bad = "bad"
	tests := []struct{ via, want string }{
		{"SIP/2.0/UDP h;branch=z9hG4bK1", "SIP/2.0/UDP h;branch=z9hG4bK1"},
		{"SIP / 2.0 / TCP   h : 5061  ; Branch = z9hG4bK1 ;  RPORT", "SIP/2.0/TCP h:5061;branch=z9hG4bK1;rport"},
		{"SIP/2.0/UDP\t[2001:db8::1]:5060;branch=z", "SIP/2.0/UDP [2001:db8::1]:5060;branch=z"},
		{"SIP/2.0/UDP a.example.com, SIP/2.0/TCP b;branch=2", "SIP/2.0/UDP a.example.com|SIP/2.0/TCP b;branch=2"},
		{`SIP/2.0/UDP h;x="a;b,c\"d";branch=1`, `SIP/2.0/UDP h;x="a;b,c\"d";branch=1`},
		{"SIP/2.0/UDP h;;branch=1;", "SIP/2.0/UDP h;branch=1"},
		{"SIP/2.0/UDP h", "SIP/2.0/UDP h"},
		{"SIP/2.0/UDP", bad},
		{"SIP/2.0 UDP h", bad},
		{"SIP/2.0/UDP ;branch=1", bad},
		{"SIP/2.0/UDP h:port;branch=1", bad},
		{"SIP/2.0/UDP h:65536;branch=1", bad},
		{"SIP/2.0/UDP h:-1;branch=1", bad},
		{"SIP/2.0/UDP a b;branch=1", bad},
		{"SIP/2.0/UDP [::1;branch=1", bad},
		{"SIP/2.0/UDP [::1]x;branch=1", bad},
		{"SIP/2.0/UDP h,,SIP/2.0/UDP i", bad},
		{"SIP/2.0/UDP h;branch=1,", bad},
		{strings.Repeat("SIP/2.0/UDP h,", maxVias) + "SIP/2.0/UDP h", bad},
	}
	p := newParser()
	for _, tt := range tests {
		msg, err := p.parse([]byte(crlf(strings.Replace(bare, "SIP/2.0/TCP h;branch=z9hG4bK1", tt.via, 1) + "l: 0||")))
		if err != nil {
			if tt.want != bad {
				t.Errorf("%.60q: %v", tt.via, err)
			}
			continue
		}
		var got []string
		for _, h := range msg.GetHeaders("Via") {
			got = append(got, h.Value())
		}
		if s := strings.Join(got, "|"); s != tt.want {
			t.Errorf("%.60q: %q, want %q", tt.via, s, tt.want)
		}
		if top := msg.Via(); top == nil || top.Value() != got[0] {
			t.Errorf("%.60q: topmost is %v", tt.via, top)
		}
	}
}

func TestViaHeadersKeepTheirOrder(t *testing.T) {
	text := crlf("OPTIONS sip:a@b SIP/2.0|VIA: SIP/2.0/UDP a;branch=1|From: <sip:a@b>;tag=1|v: SIP/2.0/UDP b;branch=2, SIP/2.0/UDP c|To: <sip:a@b>|Via: SIP/2.0/UDP d|Call-ID: c|CSeq: 1 OPTIONS||")
	msg, err := newParser().parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	req, ok := msg.(*sip.Request)
	if !ok {
		t.Fatal("no request")
	}
	res := NewResponse(req, 200, "", "t").String()
	if !strings.Contains(res, crlf("Via: SIP/2.0/UDP a;branch=1|Via: SIP/2.0/UDP b;branch=2|Via: SIP/2.0/UDP c|Via: SIP/2.0/UDP d|")) {
		t.Errorf("response\n%s", res)
	}
	if req.Via().Host != "a" {
		t.Errorf("topmost %s", req.Via())
	}
}

// Trap: sipgo finds ";tag" and ";branch" only in lower case and without spaces, and
// calls each method by its upper case.
func TestTrapCaseAndSpaces(t *testing.T) {
	text := crlf("invite sip:a@b SIP/2.0|Via: SIP/2.0/UDP a;BRANCH=1|From: \"x ; tag = 9\" <sip:a@b;tag=8> ; TAG = 1|To : sip:a@b ; tag= 2|Call-ID: c|CSeq:  7 \t invite||")
	msg, err := newParser().parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	req, ok := msg.(*sip.Request)
	if !ok || req.Method != "invite" || req.CSeq().MethodName != "invite" || req.CSeq().SeqNo != 7 {
		t.Errorf("request %v", msg)
	}
	if FromTag(msg) != "1" || ToTag(msg) != "2" || viaBranch(msg.Via()) != "1" {
		t.Errorf("tags %q %q, branch %q", FromTag(msg), ToTag(msg), viaBranch(msg.Via()))
	}
	if a := msg.To().Address; a.Host != "b" {
		t.Errorf("To %+v", a)
	}
	if d := msg.From().DisplayName; d != "x ; tag = 9" {
		t.Errorf("display name %q", d)
	}
}

func TestReadCSeq(t *testing.T) {
	for text, want := range map[string]string{
		"1 INVITE": "1 INVITE", "2147483647\tACK": "2147483647 ACK", "0009  INVITE": "9 INVITE",
		"2147483648 INVITE": "", "-1 INVITE": "", "1": "", "": "", "INVITE 1": "", "1 INVITE x": "", "0x1 INVITE": "",
	} {
		h, err := readCSeq(nil, text)
		if (err == nil) != (want != "") || err == nil && h.Value() != want {
			t.Errorf("%q: %v, %v", text, h, err)
		}
	}
}

// What the parser returns must not share memory with the buffer of the socket: the
// next datagram overwrites that while a held INVITE waits.
func TestMessageOutlivesItsBuffer(t *testing.T) {
	text := crlf("INVITE sip:bob@b SIP/2.0|Via: SIP/2.0/UDP a;branch=1|From: <sip:a@b>;tag=1|To: <sip:a@b>|Call-ID: c|CSeq: 1 INVITE|X-Any: thing|Content-Length: 4||body")
	buf := []byte(text)
	msg, err := newParser().parse(cutDatagram(buf).data)
	if err != nil {
		t.Fatal(err)
	}
	before := msg.String()
	for i := range buf {
		buf[i] = '#'
	}
	if after := msg.String(); after != before || !strings.HasSuffix(after, "body") {
		t.Errorf("changed to\n%s", after)
	}
}

func TestServerKey(t *testing.T) {
	key := func(via, rest string) string {
		msg, err := newParser().parse([]byte(crlf("INVITE sip:bob@b SIP/2.0|Via: " + via + "|" + rest + "||")))
		if err != nil {
			t.Fatal(err)
		}
		req, ok := msg.(*sip.Request)
		if !ok {
			t.Fatal("no request")
		}
		return serverKey(req, req.Method)
	}
	const a, b = "From: <sip:a@b>;tag=1|To: <sip:a@b>|Call-ID: c|CSeq: 1 INVITE", "From: <sip:a@b>;tag=2|To: <sip:a@b>|Call-ID: c|CSeq: 1 INVITE"
	same := func(v1, r1, v2, r2 string) bool { return key(v1, r1) == key(v2, r2) }
	for name, ok := range map[string]bool{
		"branch decides":          same("SIP/2.0/UDP h;branch=z9hG4bKx", a, "SIP/2.0/UDP H;branch=z9hG4bKx;rport", b),
		"sent-by decides":         !same("SIP/2.0/UDP h;branch=z9hG4bKx", a, "SIP/2.0/UDP i;branch=z9hG4bKx", a),
		"port decides":            !same("SIP/2.0/UDP h;branch=z9hG4bKx", a, "SIP/2.0/UDP h:5070;branch=z9hG4bKx", a),
		"branch in its own case":  !same("SIP/2.0/UDP h;branch=z9hG4bKx", a, "SIP/2.0/UDP h;branch=z9hG4bKX", a),
		"RFC 2543: no branch":     same("SIP/2.0/UDP h", a, "SIP/2.0/UDP h", a) && !same("SIP/2.0/UDP h", a, "SIP/2.0/UDP h", b),
		"the cookie and no more":  !same("SIP/2.0/UDP h;branch=z9hG4bK", a, "SIP/2.0/UDP h;branch=z9hG4bK", b),
		"a branch without cookie": !same("SIP/2.0/UDP h;branch=1", a, "SIP/2.0/UDP h;branch=1", b),
	} {
		if !ok {
			t.Error(name)
		}
	}
}
