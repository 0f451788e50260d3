package sipua

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// crlf writes a message with "|" for CRLF.
func crlf(text string) string { return strings.ReplaceAll(text, "|", "\r\n") }

const bare = "OPTIONS sip:a@b SIP/2.0|Via: SIP/2.0/TCP h;branch=z9hG4bK1|From: <sip:a@b>;tag=1|To: <sip:a@b>|Call-ID: c|CSeq: 1 OPTIONS|"

func TestFraming(t *testing.T) {
	const lost, good, fault = "lost", "good", "fault"
	long := strings.Repeat("x", maxLine)
	tests := []struct {
		name             string
		text             string
		stream, datagram string
	}{
		{"plain", bare + "Content-Length: 2||ab", good, good},
		{"compact", bare + "l: 2||ab", good, good},
		{"white space in front of the colon", bare + "Content-Length   : 2||ab", good, good},
		{"folded", bare + "Content-Length:| 2||ab", good, good},
		{"zero, leading zeros", bare + "Content-Length: 000||", good, good},
		{"none, no body", bare + "|", good, good},
		{"none, with a body", bare + "Content-Type: application/sdp||v=0", lost, good},
		{"negative", bare + "Content-Length: -2||ab", lost, fault},
		{"with a plus", bare + "Content-Length: +2||ab", lost, fault},
		{"hexadecimal", bare + "Content-Length: 0x2||ab", lost, fault},
		{"with an underscore", bare + "Content-Length: 1_0||ab", lost, fault},
		{"empty", bare + "Content-Length:||ab", lost, fault},
		{"20 digits", bare + "Content-Length: 18446744073709551616||ab", lost, fault},
		{"2 GiB", bare + "Content-Length: 2147483648||ab", lost, fault},
		{"4 GiB", bare + "Content-Length: 4294967295||ab", lost, fault},
		{"2^63-1", bare + "Content-Length: 9223372036854775807||ab", lost, fault},
		{"over 64 KiB", bare + "Content-Length: 65536||ab", lost, fault},
		{"two numbers", bare + "Content-Length: 2 2||ab", lost, fault},
		{"a list", bare + "Content-Length: 2, 2||ab", lost, fault},
		{"twice the same", bare + "Content-Length: 2|l: 2||ab", fault, fault},
		{"twice, different", bare + "Content-Length: 2|Content-Length: 3||abc", lost, fault},
		{"a header that looks like it in a folded line", bare + "Subject: x| Content-Length: 9|Content-Length: 2||ab", good, good},
		{"first header folded onto the start line", "OPTIONS sip:a@b SIP/2.0| Content-Length: 9|" + bare[len("OPTIONS sip:a@b SIP/2.0|"):] + "l: 2||ab", fault, fault},
		{"bare LF in a header", bare + "Subject: a\nInjected: b|l: 2||ab", fault, fault},
		{"bare CR in a header", bare + "Subject: a\rInjected: b|l: 2||ab", fault, fault},
		{"NUL", bare + "Subject: a\x00b|l: 2||ab", fault, fault},
		{"DEL", bare + "Subject: a\x7fb|l: 2||ab", fault, fault},
		{"tab", bare + "Subject: a\tb|l: 2||ab", good, good},
		{"long line", bare + "Subject: " + long + "|l: 2||ab", fault, fault},
		{"long folded line", bare + "Subject: " + long[:6000] + "| " + long[:6000] + "|l: 2||ab", fault, fault},
		{"many headers", bare + strings.Repeat("X: 1|", maxHeaders) + "l: 2||ab", fault, fault},
		{"huge head", bare + strings.Repeat("Subject: "+long[:8000]+"|", 5) + "l: 2||ab", lost, fault},
		{"line ends of LF only", strings.ReplaceAll(bare, "|", "\n") + "l: 2\n\nab||", fault, fault},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// A good message follows: it must be found where framing lives.
			next := crlf(bare + "l: 0||")
			c := newCutter(strings.NewReader(crlf(tt.text)+next), func() {}, func() {})
			fr, err := c.next()
			got := good
			switch {
			case errors.Is(err, ErrFraming):
				got = lost
			case err != nil:
				t.Fatal(err)
			case fr.fault != nil:
				got = fault
			}
			if got != tt.stream {
				t.Errorf("stream: %s (%v, %v), want %s", got, fr.fault, err, tt.stream)
			}
			if got != lost {
				if fr, err := c.next(); err != nil || fr.fault != nil || string(fr.data) != next {
					t.Errorf("the next message: %q, %v, %v", fr.data, fr.fault, err)
				}
			}
			fr = cutDatagram([]byte(crlf(tt.text)))
			got = good
			if fr.fault != nil {
				got = fault
			}
			if got != tt.datagram {
				t.Errorf("datagram: %s (%v), want %s", got, fr.fault, tt.datagram)
			}
		})
	}
}

func TestDatagramEndsWithItsBody(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"rest is dropped":         {bare + "l: 2||abXXXX", bare + "l: 2||ab"},
		"no length: all is body":  {bare + "|abXXXX", bare + "|abXXXX"},
		"empty lines in front":    {"||" + bare + "l: 0||", bare + "l: 0||"},
		"body short: head only":   {bare + "l: 9||ab", bare + "l: 9||"},
		"second message: dropped": {bare + "l: 0||" + bare + "l: 0||", bare + "l: 0||"},
	} {
		if fr := cutDatagram([]byte(crlf(tt.text))); string(fr.data) != crlf(tt.want) {
			t.Errorf("%s: %q", name, fr.data)
		}
	}
}

// chunks reads at most a few bytes at a time, as a hostile network delivers them.
type chunks struct {
	data []byte
	rng  *rand.Rand
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), 1+c.rng.IntN(40))], c.data)
	c.data = c.data[n:]
	return n, nil
}

func TestStreamInAnyChunks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var wantFrames, all []byte
		pings := 0
		count := rapid.IntRange(1, 6).Draw(t, "messages")
		for range count {
			gap := rapid.IntRange(0, 5).Draw(t, "empty lines")
			pings += gap / 2
			body := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "body")
			m := fmt.Appendf(nil, "%sContent-Length: %d\r\n\r\n%s", crlf(bare), len(body), body)
			all = append(append(all, bytes.Repeat([]byte("\r\n"), gap)...), m...)
			wantFrames = append(wantFrames, m...)
		}
		gotPings, begins := 0, 0
		c := newCutter(&chunks{all, rand.New(rand.NewPCG(1, rapid.Uint64().Draw(t, "seed")))}, func() { gotPings++ }, func() { begins++ })
		var got []byte
		for range count {
			fr, err := c.next()
			if err != nil || fr.fault != nil {
				t.Fatal(err, fr.fault)
			}
			got = append(got, fr.data...)
		}
		if !bytes.Equal(got, wantFrames) || gotPings != pings || begins != count {
			t.Fatalf("%d pings, want %d; %d beginnings, want %d; frames %q", gotPings, pings, begins, count, got)
		}
		if _, err := c.next(); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	})
}

// FuzzStream looks for bytes that the chunking of the network changes the meaning
// of, or that are read as more than they are.
func FuzzStream(f *testing.F) {
	for _, s := range []string{bare + "l: 2||ab||||" + bare + "l: 0||", bare + "l: -1||", "||||", bare + "Subject: a| b|l: 1||x", "\n\n\r\r\n"} {
		f.Add([]byte(crlf(s)), uint64(1))
	}
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		run := func(r io.Reader) (out []string) {
			c := newCutter(r, func() { out = append(out, "ping") }, func() {})
			for {
				fr, err := c.next()
				if err != nil {
					return append(out, fmt.Sprint("end ", errors.Is(err, ErrFraming)))
				}
				if len(fr.data) > maxMessage {
					t.Fatalf("frame of %d bytes", len(fr.data))
				}
				out = append(out, fmt.Sprint(fr.fault != nil, string(fr.data)))
			}
		}
		whole, cut := run(bytes.NewReader(data)), run(&chunks{data, rand.New(rand.NewPCG(seed, 1))})
		if fmt.Sprint(whole) != fmt.Sprint(cut) {
			t.Fatalf("whole %q\nin chunks %q", whole, cut)
		}
	})
}

// FuzzMessage frames and parses datagrams: what parses has the body that framing
// gave it, whatever its headers say, and can be refused.
func FuzzMessage(f *testing.F) {
	for _, s := range []string{bare + "l: 2||ab", bare + "|x", "SIP/2.0 200 OK|Via: SIP/2.0/UDP h|l: 0||", bare + "Via: SIP / 2.0 / UDP [::1] : 5060 ; branch = z , SIP/2.0/TCP \"h\"|l: 0||"} {
		f.Add([]byte(crlf(s)))
	}
	p := newParser()
	f.Fuzz(func(t *testing.T, data []byte) {
		fr := cutDatagram(data)
		if res := rawRefusal(fr.data, Reject(400, ""), "x"); res != nil {
			if _, err := readHead(res); err != nil || bytes.ContainsRune(bytes.ReplaceAll(res, []byte("\r\n"), nil), '\n') {
				t.Fatalf("refusal %q: %v", res, err)
			}
		}
		if fr.fault != nil {
			return
		}
		msg, err := p.parse(fr.data)
		if err != nil {
			return
		}
		_, body, _ := bytes.Cut(fr.data, []byte("\r\n\r\n"))
		if !bytes.Equal(msg.Body(), body) {
			t.Fatalf("body %q, framed %q", msg.Body(), body)
		}
	})
}

// P4: a head that is all continuation lines must not cost more than its length.
func TestFoldedHeadIsCheap(t *testing.T) {
	fold := []byte(crlf(bare + "Subject: a|" + strings.Repeat(" b|", 10000) + "l: 0||"))
	start := time.Now()
	for range 10 {
		if fr := cutDatagram(fold); fr.fault == nil {
			t.Fatal("a line of 20 KiB was accepted")
		}
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("10 heads of %d bytes took %s", len(fold), d)
	}
}

func TestRawRefusal(t *testing.T) {
	rej := Reject(400, "Bad message")
	for name, tt := range map[string]struct {
		text string
		has  []string // nil: silence
		not  []string
	}{
		"as it came": {bare + "l: 0||", []string{"SIP/2.0 400 Bad message|Via: SIP/2.0/TCP h;branch=z9hG4bK1|", "|Call-ID: c|", "|CSeq: 1 OPTIONS|", "To: <sip:a@b>;tag="}, []string{"OPTIONS sip:"}},
		"compact, folded": {"X sip:a SIP/2.0|v: SIP/2.0/TCP h| ;branch=1|f: <sip:a@b>|t: <sip:a@b> ; tag = 7|i: c|cseq: 1 X||",
			[]string{"v: SIP/2.0/TCP h ;branch=1|f: <sip:a@b>|t: <sip:a@b> ; tag = 7|i: c|cseq: 1 X|"}, nil},
		"two Via, one To":          {strings.Replace(bare, "To: <sip:a@b>", "Via: SIP/2.0/UDP i|To: <sip:a@b>;tag=1|To: <sip:c@d>", 1) + "|", []string{"SIP/2.0/UDP i", "sip:a@b"}, []string{"sip:c@d"}},
		"a header with a bare LF":  {bare + "Via: SIP/2.0/UDP a\nEvil: 1|Route: <sip:x>|l: 0||", []string{"SIP/2.0/TCP h"}, []string{"Route"}},
		"a response":               {"SIP/2.0 2xx OK|" + bare[24:] + "|", nil, nil},
		"an ACK":                   {"ACK " + bare[8:] + "|", nil, nil},
		"nobody to answer":         {strings.Replace(bare, "Via", "Vla", 1) + "|", nil, nil},
		"To with control bytes":    {strings.Replace(bare, "To: <", "To: \"\x01\" <", 1) + "|", nil, nil},
		"a method that begins ACK": {"ACKNOWLEDGE" + bare[7:] + "|", []string{"SIP/2.0 400"}, nil},
	} {
		got := string(rawRefusal([]byte(crlf(tt.text)), rej, "agent"))
		if (got == "") != (tt.has == nil) {
			t.Errorf("%s: %q", name, got)
		}
		for _, s := range tt.has {
			if !strings.Contains(got, crlf(s)) {
				t.Errorf("%s: no %q in %q", name, s, got)
			}
		}
		for _, s := range tt.not {
			if strings.Contains(got, crlf(s)) {
				t.Errorf("%s: %q in %q", name, s, got)
			}
		}
	}
}
