package sipua_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"wakebridge/sipua"
)

// Trap: sipgo passes messages without From, To or Call-ID (CVE-2025-68274), with
// two of them, with a CSeq of another method, of SIP/7.0, in lower case. Each rule
// of validation, by a request that breaks it alone.
func TestTrapValidationIsOurs(t *testing.T) {
	many := func(line string, n int) []string { return strings.Split(strings.Repeat(line+"\n", n-1)+line, "\n") }
	long := strings.Repeat("x", 5000)
	plain := draft{method: "OPTIONS", callID: "v"}
	with := func(extra ...string) string { d := plain; d.extra = extra; return d.String() }
	base := plain.String()
	const handled, silent = 200, 0
	tests := []struct {
		name   string
		text   string
		status int
		has    string // in the answer
	}{
		{"nothing wrong", base, handled, ""},
		{"no From", change(base, "From", ""), silent, ""},
		{"no To", change(base, "To", ""), silent, ""},
		{"no Call-ID", change(base, "Call-ID", ""), silent, ""},
		{"no CSeq", change(base, "CSeq", ""), silent, ""},
		{"no Via", change(base, "Via", ""), silent, ""},
		{"two From", with("From: <sip:eve@example.com>;tag=9"), 400, "From more than once"},
		{"two From, one compact", with("f: <sip:eve@example.com>;tag=9"), 400, "From more than once"},
		{"two To", with("To: <sip:eve@example.com>"), 400, "To more than once"},
		{"two Call-ID", with("i: other"), 400, "Call-ID more than once"},
		{"two CSeq", with("CSeq: 2 OPTIONS"), 400, "CSeq more than once"},
		{"two Max-Forwards", with("Max-Forwards: 5"), 400, "Max-Forwards more than once"},
		{"two Content-Type", with("Content-Type: a/b", "c: a/b"), 400, "Content-Type more than once"},
		{"two Expires", with("Expires: 5", "expires: 7"), 400, "Expires more than once"},
		{"two Content-Length", with("Content-Length: 0"), 400, "Content-Length twice"},
		{"From without tag", change(base, "From", "From: <sip:alice@example.com>"), 400, "From without tag"},
		{"From with an empty tag", change(base, "From", "From: <sip:alice@example.com>;tag="), 400, "From without tag"},
		{"From without host", change(base, "From", "From: <sip:@>;tag=1"), 400, ""},
		{"From that is a phone number", change(base, "From", "From: <tel:+4930123>;tag=1"), handled, ""},
		{"To of a strange scheme", change(base, "To", "To: <isbn:2983792873>"), handled, ""},
		{"long tag", change(base, "From", "From: <sip:a@b>;tag="+long), 400, "Tag too long"},
		{"long Call-ID", change(base, "Call-ID", "Call-ID: "+long), 400, "Bad Call-ID"},
		{"empty Call-ID", change(base, "Call-ID", "Call-ID: "), 400, ""},
		{"CSeq of another method", change(base, "CSeq", "CSeq: 1 INVITE"), 400, "CSeq method"},
		{"CSeq in lower case", change(base, "CSeq", "CSeq: 1 options"), 400, "CSeq method"},
		{"CSeq of 2^31", change(base, "CSeq", "CSeq: 2147483648 OPTIONS"), 400, ""},
		{"CSeq of 2^31-1", change(base, "CSeq", "CSeq: 2147483647 OPTIONS"), handled, ""},
		{"SIP/7.0", strings.Replace(base, "SIP/2.0\r\n", "SIP/7.0\r\n", 1), 505, "SIP/2.0 505 Version Not Supported"},
		{"sip/2.0", strings.Replace(base, "SIP/2.0\r\n", "sip/2.0\r\n", 1), handled, ""},
		{"unknown method", draft{method: "DANCE", callID: "v"}.String(), 501, "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER"},
		{"lower-case method", draft{method: "options", callID: "v"}.String(), 501, "Allow: "},
		{"known method that does not work here", draft{method: "MESSAGE", callID: "v"}.String(), 405, "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER"},
		{"method that is no token", draft{method: "OPT(IONS", callID: "v"}.String(), 400, ""},
		{"sips", draft{method: "OPTIONS", callID: "v", uri: "sips:bob@example.com"}.String(), handled, ""},
		{"tel Request-URI", draft{method: "OPTIONS", callID: "v", uri: "tel:+4930123"}.String(), 416, ""},
		{"Request-URI without host", draft{method: "OPTIONS", callID: "v", uri: "sip:"}.String(), 400, ""},
		{"Request-URI with headers", draft{method: "OPTIONS", callID: "v", uri: "sip:bob@example.com?Route=x"}.String(), 400, "Request-URI with headers"},
		{"Request-URI in brackets", draft{method: "OPTIONS", callID: "v", uri: "<sip:bob@example.com>"}.String(), 400, ""},
		{"Request-URI is a star", draft{method: "OPTIONS", callID: "v", uri: "*"}.String(), 400, ""},
		{"Via of another protocol", draft{method: "OPTIONS", callID: "v", via: "HTTP/2.0/UDP h;branch=z9hG4bKx"}.String(), 400, "Bad Via"},
		{"Via of another version", draft{method: "OPTIONS", callID: "v", via: "SIP/3.0/UDP h;branch=z9hG4bKx"}.String(), 400, "Bad Via"},
		{"Via without a branch, as RFC 2543 had it", draft{method: "OPTIONS", callID: "v", via: "SIP/2.0/UDP h"}.String(), handled, ""},
		{"Via with a long branch", draft{method: "OPTIONS", callID: "v", branch: long}.String(), 400, "Branch too long"},
		{"71 Via", with(many("Via: SIP/2.0/UDP h;branch=1", 70)...), 400, ""},
		{"70 Via", with(many("Via: SIP/2.0/UDP h;branch=1", 69)...), handled, ""},
		{"17 Contacts", with(many("Contact: <sip:a@b>", 16)...), 400, "Too many Contacts"},
		{"16 Contacts", with(many("Contact: <sip:a@b>", 15)...), handled, ""},
		{"17 Contacts in a list", with("Contact: " + strings.Repeat("<sip:a@b>,", 15) + "<sip:a@b>"), 400, "Too many Contacts"},
		{"bad Contact", change(base, "Contact", "Contact: \"unbalanced <sip:a@b>"), 400, ""},
		{"no Max-Forwards", change(base, "Max-Forwards", ""), handled, ""},
		{"Max-Forwards 256", change(base, "Max-Forwards", "Max-Forwards: 256"), 400, "Max-Forwards out of range"},
		{"Max-Forwards of words", change(base, "Max-Forwards", "Max-Forwards: many"), 400, ""},
		{"OPTIONS has arrived: Max-Forwards 0", change(base, "Max-Forwards", "Max-Forwards: 0"), handled, ""},
		{"REGISTER has arrived: Max-Forwards 0", change(draft{method: "REGISTER", callID: "v"}.String(), "Max-Forwards", "Max-Forwards: 0"), handled, ""},
		{"INVITE would go on: Max-Forwards 0", change(draft{method: "INVITE", callID: "v"}.String(), "Max-Forwards", "Max-Forwards: 0"), 483, "Too Many Hops"},
		{"BYE of a dialog: Max-Forwards 0", change(draft{method: "BYE", callID: "v", toTag: "none"}.String(), "Max-Forwards", "Max-Forwards: 0"), 481, ""},
		{"Require", with("Require: 100rel, timer", "require: foo"), 420, "Unsupported: 100rel, foo\r\n"},
		{"Require of what works", with("Require: Timer"), handled, ""},
		{"Proxy-Require is for proxies", with("Proxy-Require: foo"), handled, ""},
		{"Require in CANCEL", draft{method: "CANCEL", callID: "v", extra: []string{"Require: foo"}}.String(), 481, ""},
		{"a line that is no header", with("Foobar roobar"), 400, ""},
		{"a strange header", with("!-.%*_+`'~: x", "Authorization: nonsense,,,\"", "Date: Friday"), handled, ""},
	}
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		w.onInvite, w.onRequest = ok, ok
		for _, tt := range tests {
			p := dial(aliceHost)
			p.send(tt.text)
			got := p.read()
			s := statuses(t, got)
			if tt.status == silent && len(s) != 0 || tt.status != silent && fmt.Sprint(s) != fmt.Sprintf("[%d]", tt.status) {
				t.Errorf("%s: %v, want %d", tt.name, s, tt.status)
				continue
			}
			if tt.has != "" && !strings.Contains(got[0], tt.has) {
				t.Errorf("%s: no %q in\n%s", tt.name, tt.has, got[0])
			}
			// Whatever was wrong, the peer is still served.
			p.send(draft{method: "OPTIONS", callID: "after", branch: "z9hG4bKafter" + tt.name[:2] + fmt.Sprint(p.addr())}.String())
			if s := statuses(t, p.read()); len(s) != 1 || s[0] != 200 {
				t.Errorf("%s: then %v", tt.name, s)
			}
			time40s()
		}
	}, func(c *sipua.Config) { c.Supported = []string{"timer"} })
}

// I6: methods that nobody asked for get no further than the door.
func TestMethodsOfStrangers(t *testing.T) {
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		p := dial(aliceHost)
		for method, status := range map[string]int{"MESSAGE": 405, "SUBSCRIBE": 405, "NOTIFY": 405, "REFER": 405, "INFO": 405, "PUBLISH": 405, "UPDATE": 405,
			"PRACK": 405, "BYE": 481, "CANCEL": 481, "PING": 501, "GET": 501} {
			for _, tag := range []string{"", "guessed"} {
				if tag == "" && method == "BYE" {
					continue // outside a dialog it is the handler's
				}
				p.send(draft{method: method, callID: "i6", toTag: tag, branch: "z9hG4bK" + method + tag}.String())
				if s := statuses(t, p.read()); fmt.Sprint(s) != fmt.Sprintf("[%d]", status) {
					t.Errorf("%s: %v, want %d", method, s, status)
				}
			}
		}
		if in, o := w.handled(); in+o != 0 {
			t.Errorf("the handler got %d", in+o)
		}
		w.wantEmpty()
	})
}

// A refusal follows the rules of any response (RFC 3261 s8.2.6).
func TestRefusalIsAResponse(t *testing.T) {
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		p := dial(aliceHost)
		d := draft{method: "OPTIONS", callID: "r", via: "SIP/2.0/UDP 192.168.1.2:5060;rport;branch=z9hG4bKr", extra: []string{"Via: SIP/2.0/UDP behind", "Require: foo"}}
		p.send(d.String())
		got := want(t, p, 420)
		res := parse(t, got[0])
		if sipua.ToTag(res) == "" || sipua.FromTag(res) != "from-1" || res.CallID().Value() != "r" || res.CSeq().Value() != "1 OPTIONS" {
			t.Errorf("\n%s", got[0])
		}
		if v := fmt.Sprintf("Via: SIP/2.0/UDP 192.168.1.2:5060;rport=%d;branch=z9hG4bKr;received=%s\r\nVia: SIP/2.0/UDP behind\r\n", p.addr().Port(), p.addr().Addr()); !strings.Contains(got[0], v) {
			t.Errorf("no %q in\n%s", v, got[0])
		}
		if !strings.Contains(got[0], "Server: Wakebridge\r\n") || !strings.Contains(got[0], "Content-Length: 0\r\n") {
			t.Errorf("\n%s", got[0])
		}
		w.wantEmpty()
	})
}

// Trap 2.2: sipgo drops a datagram with one odd header in silence, and closes the
// connection that brought it: a registered phone's flow was lost. It gets 400, and the
// flow lives.
func TestTrapOddHeaderKeepsTheConnection(t *testing.T) {
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		p := dial(aliceHost)
		f := w.flowOf(p)
		f.SetParty("alice")
		good := draft{method: "REGISTER", callID: "odd"}.String()
		for i, bad := range []string{
			change(good, "Contact", `Contact: "Alice <sip:alice@10.0.0.2>`),
			change(good, "From", `From: "Alice <sip:alice@example.com>;tag=1`),
			change(good, "To", "To: <sip:bob@example.com"),
			change(good, "Max-Forwards", "Max-Forwards: -1"),
			change(good, "Via", "Via: SIP/2.0/UDP;branch=z9hG4bKodd"),
			strings.Replace(good, "\r\nContact", "\nContact", 1),
			strings.Replace(good, "REGISTER sip", "REGISTER  sip", 1),
			strings.Replace(good, "Contact: ", "Contact: ,", 1),
		} {
			p.send(bad)
			if s := statuses(t, p.read()); fmt.Sprint(s) != "[400]" {
				t.Errorf("%d: %v", i, s)
			}
		}
		if again := w.flowOf(p); again != f {
			t.Error("the phone lost its flow")
		}
	})
}
