package sdp

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const key30 = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj" // of RFC 4568 s6.1

func TestParseCrypto(t *testing.T) {
	secret, err := base64.StdEncoding.DecodeString(key30)
	if err != nil {
		t.Fatal(err)
	}
	const suite = "AES_CM_128_HMAC_SHA1_80"
	plain := Crypto{Tag: 1, Suite: suite, Secret: secret}
	withMKI := func(mki ...byte) Crypto { return Crypto{Tag: 1, Suite: suite, Secret: secret, MKI: mki} }
	living := func(packets uint64, mki []byte) Crypto {
		return Crypto{Tag: 1, Suite: suite, Secret: secret, MKI: mki, Lifetime: packets}
	}
	good := map[string]Crypto{
		"1 " + suite + " inline:" + key30:                             plain,
		"1  " + suite + "\tinline:" + key30 + " ":                     plain,
		"1 " + suite + " INLINE:" + key30:                             plain,
		"1 " + suite + " inline:" + key30 + "|2^20":                   living(1<<20, nil),
		"1 " + suite + " inline:" + key30 + "|1048577":                living(1<<20+1, nil),
		"1 " + suite + " inline:" + key30 + "|2^99999999999999999999": living(1<<63, nil),
		"1 " + suite + " inline:" + key30 + "|99999999999999999999":   living(1<<63, nil),
		"1 " + suite + " inline:" + key30 + "|2^0":                    living(1, nil),
		"1 " + suite + " inline:" + key30 + "|2^31|1:4":               living(1<<31, []byte{0, 0, 0, 1}),
		"1 " + suite + " inline:" + key30 + "|258:2":                  withMKI(1, 2),
		"1 " + suite + " inline:" + key30 + " KDR=0 WSH=128":          plain,
		"1 " + suite + " inline:" + key30 + " -X-vendor=1 -Y":         plain,
		"999999999 F_1 inline:QQ==":                                   {Tag: 999999999, Suite: "F_1", Secret: []byte("A")},
		"0 F_1 inline:QQ":                                             {Tag: 0, Suite: "F_1", Secret: []byte("A")},
		"1 " + suite + " inline:" + key30 + "|" + zeros(309, 128):     withMKI(make([]byte, 128)...),
	}
	for line, want := range good {
		if got, ok := parseCrypto(line); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v with %x, %v", line, got, got.MKI, ok)
		}
	}
	for _, line := range []string{
		"", "1", "1 " + suite, "1 inline:" + key30,
		"x " + suite + " inline:" + key30, "-1 " + suite + " inline:" + key30, "+1 " + suite + " inline:" + key30,
		"1234567890 " + suite + " inline:" + key30, "1 AES-CM inline:" + key30,
		"1 " + suite + " inline:", "1 " + suite + " inline:=", "1 " + suite + " inline:?" + key30, "1 " + suite + " outline:" + key30,
		"1 " + suite + " inline:" + strings.Repeat("A", 132), "1 " + suite + " inline:" + key30 + "===",
		"1 " + suite + " inline:" + key30 + ";inline:" + key30, "1 " + suite + " inline:" + key30 + "|2^20|1:4;inline:" + key30 + "|2^20|2:4",
		"1 " + suite + " inline:" + key30 + "|", "1 " + suite + " inline:" + key30 + "|2^", "1 " + suite + " inline:" + key30 + "|0", "1 " + suite + " inline:" + key30 + "|1:4|2^20",
		"1 " + suite + " inline:" + key30 + "|2^20|1:4|1", "1 " + suite + " inline:" + key30 + "|2^20|20",
		"1 " + suite + " inline:" + key30 + "|1:0", "1 " + suite + " inline:" + key30 + "|1:129", "1 " + suite + " inline:" + key30 + "|256:1",
		"1 " + suite + " inline:" + key30 + "|x:1", "1 " + suite + " inline:" + key30 + "|1:x", "1 " + suite + " inline:" + key30 + "|:1",
		"1 " + suite + " inline:" + key30 + "|" + zeros(310, 128), "1 " + suite + " inline:" + key30 + "|1:0004",
		"1 " + suite + " inline:" + key30 + " KDR=1", "1 " + suite + " inline:" + key30 + " KDR=", "1 " + suite + " inline:" + key30 + " KDR=24",
		"1 " + suite + " inline:" + key30 + " UNENCRYPTED_SRTP", "1 " + suite + " inline:" + key30 + " UNENCRYPTED_SRTCP",
		"1 " + suite + " inline:" + key30 + " UNAUTHENTICATED_SRTP", "1 " + suite + " inline:" + key30 + " -UNENCRYPTED_SRTP",
		"1 " + suite + " inline:" + key30 + " FEC_ORDER=FEC_SRTP", "1 " + suite + " inline:" + key30 + " FEC_KEY=inline:" + key30,
		"1 " + suite + " inline:" + key30 + " WSH=x", "1 " + suite + " inline:" + key30 + " MANDATORY",
	} {
		if got, ok := parseCrypto(line); ok {
			t.Errorf("%q: %v", line, got)
		}
	}
}

// zeros is an MKI of n digits for some octets.
func zeros(n, octets int) string { return fmt.Sprintf("%s:%d", strings.Repeat("0", n), octets) }

// What we write we read, and nothing that prints a key shows it.
func TestCryptoThereAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Crypto{Tag: rapid.IntRange(0, 999999999).Draw(t, "tag"), Suite: rapid.StringMatching(`[A-Za-z0-9_]{1,30}`).Draw(t, "suite"),
			Secret: rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "secret")}
		if mki := rapid.SliceOfN(rapid.Byte(), 0, 128).Draw(t, "mki"); len(mki) > 0 {
			c.MKI = mki
		}
		line := c.line()
		got, ok := parseCrypto(value(line))
		if !ok || !reflect.DeepEqual(got, c) {
			t.Fatalf("%s is read as %v, %v", line, got, ok)
		}
		want := fmt.Sprintf("%d %s", c.Tag, c.Suite)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
			if printed := fmt.Sprintf(verb, c); printed != want {
				t.Fatalf("%s prints %s", verb, printed)
			}
		}
	})
}

// A stream has a bounded number of keys, one by tag, and only where the profile is
// secure and needs them.
func TestCryptoOfStreams(t *testing.T) {
	const head = "v=0\no=- 1 1 IN IP4 10.0.0.1\ns=-\nc=IN IP4 10.0.0.1\nt=0 0\n"
	line := "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "\n"
	many := ""
	for i := range 100 {
		many += fmt.Sprintf("a=crypto:%d AES_CM_128_HMAC_SHA1_80 inline:%s\n", i, key30)
	}
	for name, tt := range map[string]struct {
		text string
		want int
	}{
		"one":           {"m=audio 4000 RTP/SAVP 0\n" + line, 1},
		"feedback":      {"m=audio 4000 RTP/SAVPF 0\n" + line, 1},
		"the same tag":  {"m=audio 4000 RTP/SAVP 0\n" + line + line, 1},
		"too many":      {"m=audio 4000 RTP/SAVP 0\n" + many, maxCrypto},
		"opportunistic": {"m=audio 4000 RTP/AVP 0\n" + line, 1},
		"not RTP":       {"m=audio 4000 udptl t38\n" + line, 0},
		"DTLS":          {"m=audio 4000 UDP/TLS/RTP/SAVP 0\n" + line, 0},
		"the session's": {line + "m=audio 4000 RTP/SAVP 0\n", 0},
	} {
		if got := len(parse(t, head+tt.text).Streams()[0].Crypto); got != tt.want {
			t.Errorf("%s: %d keys", name, got)
		}
	}
}

// A key that ends in the middle of a call is none.
func TestLifetimeOfKeys(t *testing.T) {
	const line = "\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + key30
	const head = "v=0\nm=audio 4000 RTP/SAVP 0" + line
	for _, tt := range []struct {
		head  string
		short map[string]bool
	}{
		{head, map[string]bool{"": false, "|2^31": false, "|2^20": false, "|1048576|1:4": false, "|1:4": false,
			"|2^19": true, "|1048575": true, "|2^19|1:4": true, "|2^1": true, "|2": true}},
		{"v=0\nm=video 4000 RTP/SAVP 99" + line, map[string]bool{"": false, "|2^24": false, "|16777216|1:4": false, "|2^23": true, "|2^20": true}},
	} {
		for lifetime, short := range tt.short {
			s := parse(t, tt.head+lifetime+"\n").Streams()[0]
			if s.ShortLived != short || (len(s.Crypto) == 0) != short {
				t.Errorf("%s: short %v, %v", lifetime, s.ShortLived, s.Crypto)
			}
		}
	}
	both := parse(t, head+"|2^19\na=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:"+key30+"\n").Streams()[0]
	if len(both.Crypto) != 1 || both.Crypto[0].Suite != "AES_CM_128_HMAC_SHA1_32" {
		t.Errorf("beside one that lasts: %v", both.Crypto)
	}
}

func TestRelayWithKeys(t *testing.T) {
	const head = "v=0\no=- 1 1 IN IP4 10.0.0.1\ns=-\nc=IN IP4 10.0.0.1\nt=0 0\n"
	ours := []Crypto{{Tag: 2, Suite: "AEAD_AES_128_GCM", Secret: []byte("ours")}}
	r := Relay{Addr: relay4, Ports: []uint16{20000, 20002, 20004, 20006}, Crypto: [][]Crypto{ours, nil, ours, ours}}
	theirs := "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "\n"
	out := relayed(t, head+"m=audio 4000 RTP/AVP 0\na=ssrc:1 cname:x\nm=audio 4002 RTP/SAVPF 0\n"+theirs+"m=video 4004 RTP/AVPF 99\na=ptime:20\nm=image 4006 udptl t38\n", r)
	got := lines(out)[5:]
	want := []string{"m=audio 20000 RTP/SAVP 0", "a=crypto:2 AEAD_AES_128_GCM inline:b3Vycw==", "m=audio 20002 RTP/AVPF 0",
		"m=video 20004 RTP/SAVPF 99", "a=ptime:20", "a=crypto:2 AEAD_AES_128_GCM inline:b3Vycw==", "m=image 20006 udptl t38"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if s := out.String(); strings.Contains(s, "inline") || strings.Count(s, "a=crypto:…") != 2 {
		t.Errorf("printed:\n%s", s)
	}
	if _, err := parse(t, head+"m=audio 4000 UDP/TLS/RTP/SAVPF 0\n"+theirs).Relay(r); !errors.Is(err, ErrSRTP) {
		t.Errorf("DTLS: %v", err)
	}
}

func TestWithoutAndAs(t *testing.T) {
	const head = "v=0\no=- 1 1 IN IP4 10.0.0.1\ns=-\nc=IN IP4 10.0.0.1\nt=0 0\n"
	offer := parse(t, head+"m=audio 4000 RTP/SAVP 0\na=x\nm=audio 4002 RTP/AVP 0\nm=video 0 RTP/SAVP 99\n")
	errNo := errors.New("no")
	noSRTP := func(_ int, s Stream) error {
		if s.IsSecure() {
			return errNo
		}
		return nil
	}
	got, err := offer.Without(noSRTP)
	if err != nil || !slices.Equal(lines(got)[5:], []string{"m=audio 0 RTP/SAVP 0", "m=audio 4002 RTP/AVP 0", "m=video 0 RTP/SAVP 99"}) {
		t.Errorf("%v\n%s", err, got)
	}
	if _, err := offer.Without(func(int, Stream) error { return errNo }); !errors.Is(err, errNo) {
		t.Errorf("nothing is left, but %v", err)
	}
	sent := parse(t, head+"m=audio 5000 RTP/AVP 0\nm=audio 0 RTP/SAVP 0\nm=video 0 RTP/AVP 99\n")
	if got := lines(offer.As(sent))[5:]; !slices.Equal(got, []string{"m=audio 4000 RTP/AVP 0", "a=x", "m=audio 0 RTP/SAVP 0", "m=video 0 RTP/AVP 99"}) {
		t.Errorf("%q", got)
	}
}

// checkCryptos holds what was made of anybody's lines against what may be.
func checkCryptos(t *testing.T, s Stream) {
	t.Helper()
	if len(s.Crypto) > maxCrypto || len(s.Crypto) > 0 && (!s.IsSecure() || isDTLS(s.Proto)) {
		t.Errorf("%s with %d keys", s.Proto, len(s.Crypto))
	}
	for _, c := range s.Crypto {
		again, ok := parseCrypto(value(c.line()))
		if !ok || again.Tag != c.Tag || again.Suite != c.Suite || !bytes.Equal(again.Secret, c.Secret) || !bytes.Equal(again.MKI, c.MKI) {
			t.Errorf("%v comes back as %v", c, again)
		}
	}
}
