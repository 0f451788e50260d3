package sipua_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
)

// verdict is what we do with a message of RFC 4475, and why.
type verdict struct {
	file     string
	udp, tcp string // methods that reached the handler, or the status of our refusal; "closed": and the connection with it
	reason   string
}

// The RFC calls 13 of the messages valid and 37 invalid; EXPECT.tsv of the set names
// them. Where we differ, the reason begins with "although".
var rfc4475 = []verdict{
	{"badaspec.dat", "400", "400", "To and From do not parse: a blank inside the angle brackets"},
	{"badbranch.dat", "OPTIONS", "OPTIONS", "a branch that is nothing but the cookie is matched as RFC 2543 would"},
	{"baddate.dat", "INVITE", "INVITE", "although Date is wrong: nobody reads it"},
	{"baddn.dat", "400", "", "no empty line after the headers: a datagram is refused, a stream waits for the rest and is closed after 10 s"},
	{"badinv01.dat", "400", "400", "Via and Contact do not parse"},
	{"badvers.dat", "505", "505", "SIP/7.0"},
	{"bcast.dat", "", "", "a response that no transaction waits for"},
	{"bext01.dat", "420", "420", "Require names extensions that do not exist"},
	{"bigcode.dat", "", "", "a response with status 4294967301"},
	{"clerr.dat", "400", "", "Content-Length says more than there is: a datagram is refused, a stream waits and is closed after 10 s"},
	{"cparam01.dat", "REGISTER", "REGISTER", "a Contact parameter outside the brackets belongs to the header; the registrar keeps it"},
	{"cparam02.dat", "REGISTER", "REGISTER", "an unknown URI parameter in Contact; the registrar keeps it"},
	{"dblreq.dat", "REGISTER", "REGISTER INVITE", "what follows the body in a datagram is dropped, in a stream it is the next message"},
	{"esc01.dat", "INVITE", "INVITE", "escapes in URIs"},
	{"esc02.dat", "501", "501", "a method is compared as it stands: RE%47IST%45R is not REGISTER"},
	{"escnull.dat", "REGISTER", "REGISTER", "an escaped NUL is no control character; whether such a user exists, the registrar says"},
	{"escruri.dat", "400", "400", "a Request-URI must not have headers"},
	{"insuf.dat", "", "", "no To, From, Call-ID: a response could not be made"},
	{"intmeth.dat", "", "", "although valid: control characters, even escaped ones in a display name, are refused everywhere, and a line with one is not repeated in an answer"},
	{"inv2543.dat", "400", "400 closed", "although RFC 2543 had From without a tag: our dialogs are found by tags. On a stream its body has no Content-Length, so framing is lost"},
	{"invut.dat", "INVITE", "INVITE", "what an unknown Content-Type means, the call decides"},
	{"longreq.dat", "INVITE", "INVITE", "long, but below our limits"},
	{"ltgtruri.dat", "400", "400", "Request-URI in angle brackets"},
	{"lwsdisp.dat", "OPTIONS", "OPTIONS", "no blank between display name and bracket"},
	{"lwsruri.dat", "400", "400", "blanks in the Request-URI"},
	{"lwsstart.dat", "400", "400", "more than one blank in the start line"},
	{"mcl01.dat", "400", "400 closed", "two different Content-Length: on a stream nobody knows where the next message begins"},
	{"mismatch01.dat", "400", "400", "CSeq names another method"},
	{"mismatch02.dat", "400", "400", "CSeq names another method, this one unknown"},
	{"mpart01.dat", "405", "405", "MESSAGE does not work here"},
	{"multi01.dat", "400", "400", "headers twice that may be there once"},
	{"ncl.dat", "400", "400 closed", "negative Content-Length"},
	{"noreason.dat", "", "", "a response that no transaction waits for"},
	{"novelsc.dat", "400", "400", "although the scheme is only unknown: the parser does not read such a Request-URI, and 400 ends it as well as 416"},
	{"quotbal.dat", "400", "400", "a quote that does not end"},
	{"regaut01.dat", "REGISTER", "REGISTER", "an unknown authentication scheme counts as none: the registrar challenges"},
	{"regbadct.dat", "REGISTER", "REGISTER", "a Contact with ? outside brackets; the registrar decides"},
	{"regescrt.dat", "REGISTER", "REGISTER", "an escaped Route in Contact is kept and never obeyed"},
	{"scalar02.dat", "400", "400", "numbers out of range"},
	{"scalarlg.dat", "", "", "a response that no transaction waits for"},
	{"sdp01.dat", "INVITE", "INVITE", "what Accept leaves over, the call decides"},
	{"semiuri.dat", "OPTIONS", "OPTIONS", "a semicolon in the user part"},
	{"test.dat", "", "", "no version, no Via: a response could not be made"},
	{"transports.dat", "OPTIONS", "OPTIONS", "unknown transports in Via are not ours to judge"},
	{"trws.dat", "400", "400", "a blank at the end of the start line"},
	{"unkscm.dat", "416", "416", "unknown scheme in the Request-URI"},
	{"unksm2.dat", "REGISTER", "REGISTER", "unknown schemes in To and From; the registrar knows no such user"},
	{"unreason.dat", "", "", "a response that no transaction waits for"},
	{"wsinv.dat", "481", "481", "white space wherever it may stand: it parses, and its To tag belongs to no dialog here"},
	{"zeromf.dat", "OPTIONS", "OPTIONS", "Max-Forwards 0 at its destination"},
}

// What we do with our own messages of the same kind; they are always there.
var torture = []verdict{
	{"white-space.sip", "OPTIONS", "OPTIONS", "white space and folding wherever RFC 3261 s25 allows them"},
	{"smuggled-length.sip", "400", "400", "a Content-Length that hangs folded at the start line"},
	{"two-lengths.sip", "400", "400 closed", "Content-Length and l differ"},
	{"bare-lf.sip", "400", "400", "a header behind a bare LF"},
	{"no-tag.sip", "400", "400", "From without a tag"},
	{"via-list.sip", "OPTIONS", "OPTIONS", "four hops in two headers, one with a quoted comma"},
	{"ipv6.sip", "OPTIONS", "OPTIONS", "IPv6 everywhere"},
	{"unicode.sip", "OPTIONS", "OPTIONS", "UTF-8 in display name, subject and an unknown header"},
	{"push-contact.sip", "REGISTER", "REGISTER", "RFC 8599 parameters with escapes in Contact"},
	{"response-two-vias.sip", "", "", "a response for somebody behind us"},
}

func TestRFC4475(t *testing.T) {
	if dir := os.Getenv("RFC4475_DIR"); dir != "" {
		files, err := filepath.Glob(filepath.Join(dir, "*.dat"))
		if err != nil || len(files) != len(rfc4475) {
			t.Fatalf("%d files in %s (%v), and the table has %d", len(files), dir, err, len(rfc4475))
		}
		runTorture(t, dir, rfc4475)
	}
	runTorture(t, "testdata", torture)
}

func runTorture(t *testing.T, dir string, table []verdict) {
	for _, v := range table {
		data, err := os.ReadFile(filepath.Join(dir, v.file))
		if err != nil {
			t.Fatal(err)
		}
		t.Run(v.file, func(t *testing.T) {
			if v.reason == "" {
				t.Error("no reason")
			}
			both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
				expect := v.udp
				if strings.HasSuffix(t.Name(), "TCP") {
					expect = v.tcp
				}
				w.onInvite, w.onRequest = ok, ok
				p := dial(aliceHost)
				p.send(string(data))
				responses := p.read()
				if got := w.verdict(responses, p); got != expect {
					t.Errorf("%q, want %q because %s", got, expect, v.reason)
				}
				// Whatever it was, it concerned nobody else.
				good := dial(evilHost)
				good.send(draft{method: "OPTIONS", callID: "good"}.String())
				want(t, good, 200)
				time40s()
				w.wantEmpty()
			})
		})
	}
}

// verdict says what became of what a peer sent.
func (w *world) verdict(responses []string, p peer) string {
	var out []string
	synctest.Wait()
	for _, tx := range append(w.others, w.invites...) {
		out = append(out, string(tx.Request.Method))
	}
	if len(out) == 0 {
		for _, s := range statuses(w.t, responses) {
			out = append(out, fmt.Sprint(s))
		}
	} else if len(responses) != len(out) {
		w.t.Errorf("%d answers to %v", len(responses), out)
	}
	if s, ok := p.(*bytestream); ok && s.isClosed() {
		out = append(out, "closed")
	}
	return strings.Join(out, " ")
}

// The messages are kept with CRLF; an editor that changes that breaks the test's sense.
func TestTortureFilesHaveCRLF(t *testing.T) {
	for _, v := range torture {
		data, err := os.ReadFile(filepath.Join("testdata", v.file))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(data, []byte("\r\n\r\n")) {
			t.Errorf("%s has no end of headers", v.file)
		}
	}
}
