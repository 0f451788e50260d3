package sdp

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	pion "github.com/pion/sdp/v3"
	"pgregory.net/rapid"
)

// The generator makes descriptions that pion/sdp reads as well, with addresses
// and secrets that it would be a fault to find on the other side.
const (
	theirAddr = "10.66.66.66"
	secret    = "SECRETSECRET"
	ourSecret = "a key of ours"
)

var pathLines = []string{
	"a=candidate:1 1 UDP 2130706303 " + theirAddr + " 7078 typ host",
	"a=ice-ufrag:" + secret, "a=ice-pwd:" + secret, "a=ice-lite", "a=ice-options:trickle", "a=end-of-candidates",
	"a=fingerprint:sha-256 " + secret, "a=setup:actpass", "a=connection:new", "a=mid:0", "a=msid:" + secret,
	"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + secret, "a=key-mgmt:mikey " + secret,
	"a=acap:1 key-mgmt:mikey " + secret, "a=tcap:1 RTP/SAVP", "a=pcfg:1 t=1", "a=sqn:0", "a=cdsc:1 audio RTP/AVP 0",
	"a=altc:1 IP6 2001:db8::66 4000", "a=source-filter: incl IN IP4 * " + theirAddr, "a=group:BUNDLE 0", "k=clear:" + secret,
}

var keptLines = []string{
	"a=ptime:20", "a=maxptime:40", "a=silenceSupp:off - - - -", "a=X-vendor:1 2 3", "a=rtcp-xr:voip-metrics", "a=extmap:1 urn:x", "a=label:7", "b=AS:64", "b=TIAS:64000", "i=a title",
}

var directionLines = []string{"", "a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"}

func drawDescription(t *rapid.T) string {
	var b strings.Builder
	put := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	some := func(from []string, label string) []string {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 0, 5, rapid.ID).Draw(t, label)
	}
	connection := func(label string) string {
		return rapid.SampledFrom([]string{"c=IN IP4 " + theirAddr, "c=IN IP4 0.0.0.0", "c=IN IP6 2001:db8::66", "c=IN IP6 ::"}).Draw(t, label)
	}
	ordered := func(lines []string) {
		// pion wants i=, c=, b=, k=, a= in this order.
		for _, kind := range "icbka" {
			for _, l := range lines {
				if rune(l[0]) == kind {
					put("%s", l)
				}
			}
		}
	}
	put("v=0")
	put("o=alice 1 1 IN IP4 %s", theirAddr)
	put("s=call")
	session := []string{connection("session address")}
	for _, l := range some(pathLines, "session path") {
		if l[0] != 'k' {
			session = append(session, l)
		}
	}
	put("%s", session[0])
	put("t=0 0")
	ordered(session[1:])
	for i := range rapid.IntRange(1, 4).Draw(t, "streams") {
		kind := rapid.SampledFrom([]string{"audio", "audio", "video"}).Draw(t, "kind")
		port := rapid.SampledFrom([]int{4000 + 2*i, 4000 + 2*i, 0}).Draw(t, "port")
		proto := rapid.SampledFrom([]string{"RTP/AVP", "RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF"}).Draw(t, "proto")
		var formats, lines []string
		for _, c := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"0", "8", "9 G722/8000", "96 opus/48000/2", "97 speex/16000", "101 telephone-event/8000"}), 1, 6, rapid.ID).Draw(t, "codecs") {
			f, _, named := strings.Cut(c, " ")
			formats = append(formats, f)
			if named {
				lines = append(lines, "a=rtpmap:"+c)
			}
			if rapid.Bool().Draw(t, "fmtp") {
				lines = append(lines, "a=fmtp:"+f+" x=1")
			}
		}
		put("m=%s %d %s %s", kind, port, proto, strings.Join(formats, " "))
		if rapid.Bool().Draw(t, "own address") {
			lines = append(lines, connection("address"))
		}
		if d := rapid.SampledFrom(directionLines).Draw(t, "direction"); d != "" {
			lines = append(lines, d)
		}
		if rapid.Bool().Draw(t, "rtcp") {
			lines = append(lines, "a=rtcp:5001 IN IP4 "+theirAddr, "a=rtcp-mux")
		}
		lines = append(lines, some(pathLines, "path")...)
		lines = append(lines, some(keptLines, "kept")...)
		ordered(lines)
	}
	return b.String()
}

func drawRelay(t *rapid.T) Relay {
	r := Relay{Addr: rapid.SampledFrom([]netip.Addr{relay4, relay6}).Draw(t, "our address"), Mux: rapid.Bool().Draw(t, "mux")}
	for i := range 4 {
		r.Ports = append(r.Ports, rapid.SampledFrom([]uint16{uint16(20000 + 2*i), 0}).Draw(t, "our port"))
	}
	for i := range 4 {
		var keys []Crypto
		if rapid.Bool().Draw(t, "secure") {
			keys = []Crypto{{Tag: 1 + i, Suite: "AEAD_AES_128_GCM", Secret: []byte(ourSecret)}, {Tag: 9, Suite: "AES_CM_128_HMAC_SHA1_80", Secret: []byte(ourSecret), MKI: []byte{1, 2}}}
		}
		r.Crypto = append(r.Crypto, keys)
	}
	if rapid.Bool().Draw(t, "filter") {
		r.Allow = []string{"alaw", "opus", "telephone-event"}
	}
	return r
}

// Parse, print, parse again: nothing is lost, nothing moves.
func TestPrintIsParse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := drawDescription(t)
		d, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if string(d.Bytes()) != text {
			t.Fatalf("came back as\n%s", d.Bytes())
		}
	})
}

func TestRelayProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, r := drawDescription(t), drawRelay(t)
		in, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		out, err := in.Relay(r)
		if err != nil {
			checkRefusal(t, in, r, err)
			return
		}
		printed := string(out.Bytes())
		for _, leak := range []string{theirAddr, secret, "2001:db8::66", "a=ice-", "a=candidate", "a=group", "a=mid", "alice"} {
			if strings.Contains(printed, leak) {
				t.Fatalf("%s crossed:\n%s", leak, printed)
			}
		}
		if string(in.Bytes()) != text {
			t.Fatal("Relay changed its receiver")
		}
		again, err := Parse(out.Bytes())
		if err != nil {
			t.Fatalf("%v:\n%s", err, printed)
		}
		if len(again.media) != len(in.media) {
			t.Fatalf("%d m-lines of %d", len(again.media), len(in.media))
		}
		twice, err := again.Relay(r)
		if err != nil || string(twice.Bytes()) != printed {
			t.Fatalf("relayed twice it changes, %v:\n%s\n%s", err, printed, twice.Bytes())
		}
		for i, s := range again.Streams() {
			checkStream(t, in.Streams()[i], s, in.media[i], again.media[i], r, r.Ports[i])
		}
		askPion(t, again)
	})
}

// checkStream holds one relayed stream against the original.
func checkStream(t *rapid.T, was, is Stream, from, to media, r Relay, port uint16) {
	if !is.Active() {
		if was.Active() && port != 0 && (!was.IsSecure() || len(was.Crypto) > 0) && len(r.Allow) == 0 {
			t.Fatalf("%s was refused without need", from.line())
		}
		return
	}
	keys := r.Crypto[slices.Index(r.Ports, port)]
	proto := map[bool]string{false: "RTP/AVP", true: "RTP/SAVP"}[len(keys) > 0]
	if strings.HasSuffix(was.Proto, "F") {
		proto += "F"
	}
	if !was.Active() || is.Port != port || was.IsSecure() && len(was.Crypto) == 0 || is.Proto != proto || is.Media != was.Media {
		t.Fatalf("%s became %s", from.line(), to.line())
	}
	if !reflect.DeepEqual(is.Crypto, keys) {
		t.Fatalf("keys %v became %v:\n%s", keys, is.Crypto, strings.Join(to.lines, "\n"))
	}
	if is.unspecified() != was.unspecified() || is.Addr.Is4() != r.Addr.Is4() || !is.unspecified() && is.Addr != r.Addr || is.Direction != was.Direction {
		t.Fatalf("%v %v became %v %v", was.Addr, was.Direction, is.Addr, is.Direction)
	}
	if is.RTCPMux && !r.Mux || slices.ContainsFunc(to.lines, func(l string) bool { return attribute(l) == "rtcp" }) && !is.RTCPMux && is.RTCP.Port() != port+1 {
		t.Fatalf("RTCP at %v, mux %v", is.RTCP, is.RTCPMux)
	}
	for _, f := range is.Formats {
		if !slices.Contains(was.Formats, f) {
			t.Fatalf("format %s was invented", f)
		}
	}
	if len(r.Allow) == 0 && !slices.Equal(is.Formats, was.Formats) {
		t.Fatalf("formats %v became %v", was.Formats, is.Formats)
	}
	for _, l := range from.lines {
		f := formatOf(l)
		if slices.Contains(keptLines, l) || f != "" && slices.Contains(is.Formats, f) {
			if !slices.Contains(to.lines, l) {
				t.Fatalf("%s was lost", l)
			}
		}
	}
}

// checkRefusal: an error is right only if no audio (or nothing) could pass.
func checkRefusal(t *rapid.T, in *Description, r Relay, err error) {
	passes := func(s Stream, port uint16) bool {
		if !s.Active() || port == 0 || s.IsSecure() && len(s.Crypto) == 0 {
			return false
		}
		if s.Media != "audio" || len(r.Allow) == 0 {
			return true
		}
		return slices.ContainsFunc(s.Codecs, func(c Codec) bool { return c.Name == "PCMA" || c.Name == "opus" })
	}
	audio, any := false, false
	for i, s := range in.Streams() {
		p := passes(s, r.Ports[i])
		any = any || p
		audio = audio || p && s.Media == "audio"
	}
	if audio || any && !slices.ContainsFunc(in.Streams(), func(s Stream) bool { return s.Media == "audio" && s.Active() }) {
		t.Fatalf("%v, though something passes:\n%s", err, in)
	}
}

// askPion compares our reading of a well-formed description with pion's.
func askPion(t interface{ Fatalf(string, ...any) }, d *Description) {
	var p pion.SessionDescription
	if err := p.Unmarshal(d.Bytes()); err != nil {
		t.Fatalf("pion: %v:\n%s", err, d)
	}
	if len(p.MediaDescriptions) != len(d.media) {
		t.Fatalf("pion sees %d m-lines", len(p.MediaDescriptions))
	}
	for i, s := range d.Streams() {
		m := p.MediaDescriptions[i]
		c := m.ConnectionInformation
		if c == nil {
			c = p.ConnectionInformation
		}
		if m.MediaName.Media != s.Media || m.MediaName.Port.Value != int(s.Port) || !slices.Equal(m.MediaName.Formats, s.Formats) || c.Address.Address != s.Addr.String() {
			t.Fatalf("pion reads %v at %v, we %+v", m.MediaName, c, s)
		}
		if _, mux := m.Attribute("rtcp-mux"); mux != s.RTCPMux {
			t.Fatalf("pion: mux %v", mux)
		}
	}
}

// An offer restricted to what the caller was told asks for nothing else.
func TestRestrictProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		offer, err := Parse([]byte(drawDescription(t)))
		if err != nil {
			t.Fatal(err)
		}
		told, err := offer.Relay(drawRelay(t))
		if err != nil {
			return
		}
		got, err := Restrict(offer, told)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Answers(offer.As(told), told); err != nil {
			t.Fatal(err)
		}
		for i, s := range got.Streams() {
			allowed := told.Streams()[i]
			if s.Active() != allowed.Active() || s.Active() && !slices.Equal(s.Formats, allowed.Formats) {
				t.Fatalf("offers %v %v, told %v %v", s.Port, s.Formats, allowed.Port, allowed.Formats)
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, text := range corpus(f) {
		f.Add(text)
	}
	f.Add("v=0\nm=audio 9 RTP/SAVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20|1:4 KDR=0 WSH=64\nc=IN IP4 10.0.0.1\n")
	f.Add("v=0\nm=audio 1/9 RTP/AVP 0 0 0\nc=IN IP4 224.2.1.1/127/3\na=rtpmap:0\na=rtcp:\na=fmtp\na=:\n")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Parse([]byte(text))
		if err != nil {
			return
		}
		if again, err := Parse(d.Bytes()); err == nil && string(again.Bytes()) != string(d.Bytes()) {
			t.Errorf("%q is not stable", d.Bytes())
		}
		d.Held()
		d.Directions()
		_ = d.String()
		for _, s := range d.Streams() {
			s.PayloadTypes()
			s.Target()
			checkCryptos(t, s)
		}
		if _, err := Answers(d, d); err != nil {
			t.Errorf("does not answer itself: %v", err)
		}
		out, err := d.Relay(Relay{Addr: relay4, Ports: []uint16{1, 2, 3, 4, 5, 6, 7, 65535}, Allow: []string{"ulaw"},
			Crypto: [][]Crypto{{{Tag: 1, Suite: "AEAD_AES_128_GCM", Secret: []byte(ourSecret)}}}})
		if err != nil {
			return
		}
		signed, _ := NewOrigin(relay4).Sign(out)
		final, err := Parse(signed.Bytes())
		if err != nil && len(signed.Bytes()) <= MaxSize-256 {
			t.Errorf("our own description: %v\n%s", err, signed.Bytes())
		}
		if err != nil {
			return
		}
		if len(final.media) != len(d.media) {
			t.Errorf("%d m-lines of %d", len(final.media), len(d.media))
		}
		for _, s := range final.Streams() {
			if s.Active() && s.Addr != relay4 && !s.unspecified() {
				t.Errorf("sends media to %v", s.Addr)
			}
		}
		if _, err := Restrict(d, out); err != nil && len(out.media) != len(d.media) {
			t.Error(err)
		}
	})
}
