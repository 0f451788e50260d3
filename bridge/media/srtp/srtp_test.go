package srtp_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // SRTP's, RFC 3711
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"pgregory.net/rapid"

	"wakebridge/bridge/media/srtp"
)

func key(t testing.TB, s srtp.Suite) srtp.Key {
	t.Helper()
	k, err := srtp.NewKey(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func ends(t testing.TB, k srtp.Key) (*srtp.Sender, *srtp.Receiver) {
	t.Helper()
	s, err := srtp.NewSender(k)
	if err != nil {
		t.Fatal(err)
	}
	r, err := srtp.NewReceiver(k)
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

func voice(t testing.TB, ssrc uint32, seq uint16, text string) []byte {
	t.Helper()
	p := rtp.Packet{Header: rtp.Header{Version: 2, SSRC: ssrc, SequenceNumber: seq, Timestamp: uint32(seq) * 160}, Payload: []byte(text)}
	b, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func report(t testing.TB, ssrc uint32) []byte {
	t.Helper()
	b, err := rtcp.Marshal([]rtcp.Packet{&rtcp.SenderReport{SSRC: ssrc}, &rtcp.SourceDescription{Chunks: []rtcp.SourceDescriptionChunk{{Source: ssrc,
		Items: []rtcp.SourceDescriptionItem{{Type: rtcp.SDESCNAME, Text: "a@b"}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What one end sends the other one reads, with each suite and with an MKI.
func TestThereAndBack(t *testing.T) {
	for _, suite := range srtp.Suites() {
		for _, mki := range [][]byte{nil, {0, 0, 0, 1}} {
			t.Run(fmt.Sprintf("%s mki %x", suite, mki), func(t *testing.T) {
				k, err := srtp.ParseKey(suite, key(t, suite).Secret(), mki)
				if err != nil {
					t.Fatal(err)
				}
				s, r := ends(t, k)
				for seq := uint16(65530); seq != 10; seq++ { // over the roll-over
					plain := voice(t, 7, seq, "hello")
					sealed, err := s.RTP(slices.Clone(plain))
					if err != nil {
						t.Fatal(err)
					}
					if bytes.Contains(sealed, []byte("hello")) {
						t.Fatal("the payload is readable")
					}
					got, err := r.RTP(slices.Clone(sealed))
					if err != nil || !bytes.Equal(got, plain) {
						t.Fatalf("%d: %x, %v", seq, got, err)
					}
				}
				for range 3 {
					plain := report(t, 7)
					sealed, err := s.RTCP(slices.Clone(plain))
					if err != nil {
						t.Fatal(err)
					}
					got, err := r.RTCP(slices.Clone(sealed))
					if err != nil || !bytes.Equal(got, plain) {
						t.Fatalf("%x, %v", got, err)
					}
				}
			})
		}
	}
}

// What is forged, spoilt, cut short or repeated is refused, and leaves the next
// packet unharmed.
func TestRefused(t *testing.T) {
	for _, suite := range srtp.Suites() {
		t.Run(suite.String(), func(t *testing.T) {
			s, r := ends(t, key(t, suite))
			other, _ := ends(t, key(t, suite))
			sealed, err := s.RTP(voice(t, 7, 1, "hello"))
			if err != nil {
				t.Fatal(err)
			}
			good := slices.Clone(sealed)
			refused := func(what string, pkt []byte) {
				t.Helper()
				if got, err := r.RTP(slices.Clone(pkt)); !errors.Is(err, srtp.ErrAuth) {
					t.Errorf("%s: %x, %v", what, got, err)
				}
			}
			for i := range good {
				spoilt := slices.Clone(good)
				spoilt[i] ^= 0x10
				refused(fmt.Sprint("octet ", i, " spoilt"), spoilt)
			}
			for n := range good {
				refused(fmt.Sprint("cut to ", n), good[:n])
			}
			foreign, err := other.RTP(voice(t, 7, 1, "hello"))
			if err != nil {
				t.Fatal(err)
			}
			refused("another key", foreign)
			refused("plain RTP", voice(t, 7, 1, "hello"))
			if _, err := r.RTP(slices.Clone(good)); err != nil {
				t.Errorf("the good one: %v", err)
			}
			refused("repeated", good)
		})
	}
}

// A far end that uses a sequence number again gets no second packet under it; one
// that begins anew is heard under another SSRC. No (SSRC, number) goes out twice.
func TestNoIndexTwice(t *testing.T) {
	s, r := ends(t, key(t, srtp.AEADAES128GCM))
	seen := make(map[string]bool)
	send := func(seq uint16, text string) (string, uint32, error) {
		sealed, err := s.RTP(voice(t, 7, seq, text))
		if err != nil {
			return "", 0, err
		}
		id := string(sealed[8:12]) + string(sealed[2:4])
		if seen[id] {
			t.Fatalf("%x was used twice", id)
		}
		seen[id] = true
		plain, err := r.RTP(slices.Clone(sealed))
		if err != nil {
			t.Fatal(err)
		}
		var p rtp.Packet
		if err := p.Unmarshal(plain); err != nil {
			t.Fatal(err)
		}
		return string(p.Payload), p.SSRC, nil
	}
	for _, seq := range []uint16{1000, 1002, 1001, 1003} { // out of order is no reuse
		if _, _, err := send(seq, "first"); err != nil {
			t.Fatalf("%d: %v", seq, err)
		}
	}
	if _, _, err := send(1002, "other"); !errors.Is(err, srtp.ErrReplayed) {
		t.Errorf("a number again: %v", err)
	}
	if _, _, err := send(500, "anew"); !errors.Is(err, srtp.ErrReplayed) {
		t.Errorf("one stray: %v", err)
	}
	text, ssrc, err := send(501, "anew")
	if err != nil || text != "anew" || ssrc == 7 {
		t.Errorf("a new beginning: %q from %d, %v", text, ssrc, err)
	}
	if _, again, err := send(502, "anew"); err != nil || again != ssrc {
		t.Errorf("its next packet: from %d, not %d, %v", again, ssrc, err)
	}
	sealed, err := s.RTCP(report(t, 7))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := r.RTCP(slices.Clone(sealed))
	if err != nil {
		t.Fatal(err)
	}
	all, err := rtcp.Unmarshal(plain)
	if err != nil || all[0].(*rtcp.SenderReport).SSRC != ssrc {
		t.Errorf("its reports: %v, %v", all, err)
	}
}

// Whatever a far end sends under whatever numbers, in any order: no keystream of ours
// is used twice. A packet of zeros shows it.
func TestNoKeystreamTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k, err := srtp.NewKey(rapid.SampledFrom(srtp.Suites()).Draw(t, "suite"))
		if err != nil {
			t.Fatal(err)
		}
		s, err := srtp.NewSender(k)
		if err != nil {
			t.Fatal(err)
		}
		r, err := srtp.NewReceiver(k)
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[string]bool)
		seq := rapid.Uint16().Draw(t, "first number")
		for range rapid.IntRange(1, 60).Draw(t, "packets") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				seq += uint16(rapid.IntRange(0, 40000).Draw(t, "jump")) //nolint:gosec // numbers wrap
			case 1:
				seq -= uint16(rapid.IntRange(0, 200).Draw(t, "back")) //nolint:gosec // numbers wrap
			default:
				seq++
			}
			p := rtp.Packet{Header: rtp.Header{Version: 2, SSRC: rapid.Uint32Range(1, 3).Draw(t, "SSRC"), SequenceNumber: seq}, Payload: make([]byte, 16)}
			b, err := p.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			sealed, err := s.RTP(b)
			if errors.Is(err, srtp.ErrReplayed) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			stream := string(sealed[12:28])
			if seen[stream] {
				t.Fatalf("number %d: a keystream came again", seq)
			}
			seen[stream] = true
			if _, err := r.RTP(slices.Clone(sealed)); err != nil && !errors.Is(err, srtp.ErrAuth) {
				t.Fatal(err)
			}
		}
	})
}

// The state that a peer can make us keep has an end, and what is refused leaves
// none at all.
func TestBounded(t *testing.T) {
	s, r := ends(t, key(t, srtp.AESCM128HMACSHA180))
	stranger, _ := ends(t, key(t, srtp.AESCM128HMACSHA180))
	for ssrc := range uint32(1000) {
		forged, err := stranger.RTP(voice(t, 5000, uint16(ssrc), "x"))
		if err != nil {
			t.Fatal(err)
		}
		forged = slices.Clone(forged)
		forged[11], forged[10] = byte(ssrc), byte(ssrc>>8)
		if _, err := r.RTP(forged); !errors.Is(err, srtp.ErrAuth) {
			t.Fatal(err)
		}
	}
	made, heard := 0, 0
	for ssrc := range uint32(1000) {
		sealed, err := s.RTP(voice(t, ssrc, 1, "x"))
		if errors.Is(err, srtp.ErrSenders) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		made++
		if _, err := r.RTP(slices.Clone(sealed)); err == nil {
			heard++
		}
	}
	if made != 256 || heard != 256 {
		t.Errorf("%d senders of 1000 could send, %d were heard", made, heard)
	}
}

// The library against RFC 3711 s4.1.1, s4.2 and s4.3, written down here once more
// from the standard library's AES and HMAC: what SIP phones speak.
func TestByTheLetterOfRFC3711(t *testing.T) {
	k := key(t, srtp.AESCM128HMACSHA180)
	master, salt := k.Secret()[:16], k.Secret()[16:]
	stream := func(key, iv []byte, n int) []byte {
		block, err := aes.NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		out := make([]byte, n)
		cipher.NewCTR(block, iv).XORKeyStream(out, out)
		return out
	}
	derive := func(label byte, n int) []byte { // index 0, key derivation rate 0
		iv := make([]byte, 16)
		copy(iv, salt)
		iv[7] ^= label
		return stream(master, iv, n)
	}
	const ssrc, seq = 0xcafebabe, 0x1234
	plain := voice(t, ssrc, seq, "abcdefgh")
	iv := make([]byte, 16)
	copy(iv, derive(2, 14))
	for i, b := range []byte{0xca, 0xfe, 0xba, 0xbe} {
		iv[4+i] ^= b
	}
	iv[12] ^= seq >> 8
	iv[13] ^= seq & 0xff
	want := slices.Clone(plain)
	for i, b := range stream(derive(0, 16), iv, 8) {
		want[12+i] ^= b
	}
	mac := hmac.New(sha1.New, derive(1, 20))
	mac.Write(want)
	mac.Write([]byte{0, 0, 0, 0}) // the roll-over counter
	want = append(want, mac.Sum(nil)[:10]...)

	s, _ := ends(t, k)
	got, err := s.RTP(plain)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%x, want %x, %v", got, want, err)
	}
}

func TestKeys(t *testing.T) {
	for _, suite := range srtp.Suites() {
		if got, ok := srtp.ParseSuite(suite.String()); !ok || got != suite {
			t.Errorf("%s: %v %v", suite, got, ok)
		}
		if _, err := srtp.ParseKey(suite, make([]byte, suite.KeyLength()-1), nil); !errors.Is(err, srtp.ErrSuite) {
			t.Errorf("%s with a short key: %v", suite, err)
		}
		a, b := key(t, suite), key(t, suite)
		if a.Equal(b) || !a.Equal(a) {
			t.Errorf("%s: two random keys are equal, or one is not itself", suite)
		}
	}
	if _, ok := srtp.ParseSuite("aes_cm_128_hmac_sha1_80"); ok {
		t.Error("names are exact")
	}
	for _, err := range []error{func() error { _, err := srtp.NewKey(0); return err }(), func() error { _, err := srtp.NewSender(srtp.Key{}); return err }()} {
		if !errors.Is(err, srtp.ErrSuite) {
			t.Errorf("no suite: %v", err)
		}
	}
}

// A key is never seen by accident.
func TestKeysAreSecret(t *testing.T) {
	k := key(t, srtp.AEADAES256GCM)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", k)
	asJSON, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	shown := log.String() + string(asJSON) + fmt.Sprintf("%v %+v %#v %s %x %d", k, k, k, k, k, k)
	for _, form := range []string{string(k.Secret()), hex.EncodeToString(k.Secret()), base64.StdEncoding.EncodeToString(k.Secret()), fmt.Sprint(k.Secret())} {
		if strings.Contains(shown, form) || strings.Contains(shown, strings.Trim(form, "[]")) {
			t.Errorf("the key shows in %s", shown)
		}
	}
}

func TestNoAllocationPerPacket(t *testing.T) {
	for _, suite := range srtp.Suites() {
		s, r := ends(t, key(t, suite))
		pkt, buf := voice(t, 7, 0, strings.Repeat("x", 160)), make([]byte, 0, 1500)
		seq := uint16(0)
		n := testing.AllocsPerRun(500, func() {
			seq++
			pkt[2], pkt[3] = byte(seq>>8), byte(seq)
			sealed, err := s.RTP(pkt)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.RTP(append(buf[:0], sealed...)); err != nil {
				t.Fatal(err)
			}
		})
		if n > 1 { // with -race pools forget at random; BenchmarkSeal and BenchmarkOpen say 0
			t.Errorf("%s: %v allocations", suite, n)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	for _, suite := range srtp.Suites() {
		b.Run(suite.String(), func(b *testing.B) {
			s, _ := ends(b, key(b, suite))
			pkt := voice(b, 7, 0, strings.Repeat("x", 160))
			for i := 0; b.Loop(); i++ {
				pkt[2], pkt[3] = byte(i>>8), byte(i)
				if _, err := s.RTP(pkt); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, suite := range srtp.Suites() {
		b.Run(suite.String(), func(b *testing.B) {
			const ahead = 4096
			k := key(b, suite)
			var sealed [ahead][]byte
			pkt := voice(b, 7, 0, strings.Repeat("x", 160))
			s, _ := ends(b, k)
			for i := range sealed {
				pkt[2], pkt[3] = byte(i>>8), byte(i)
				out, err := s.RTP(pkt)
				if err != nil {
					b.Fatal(err)
				}
				sealed[i] = slices.Clone(out)
			}
			buf := make([]byte, 0, 1500)
			var r *srtp.Receiver
			for i := 0; b.Loop(); i++ {
				if i%ahead == 0 {
					_, r = ends(b, k)
				}
				if _, err := r.RTP(append(buf[:0], sealed[i%ahead]...)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
