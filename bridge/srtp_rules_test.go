package bridge_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	pion "github.com/pion/srtp/v3"

	"wakebridge/bridge/sdes"
	"wakebridge/sipua/leg"
)

// secureTrunk lets the PBX speak SRTP, and the app RTP.
func secureTrunk(o *options) {
	o.terms.SRTP = sdes.Terms{Trunks: sdes.Required, AnyTransport: true}
}

// cryptoLine is a line with a key of n octets, all of them fill.
func cryptoLine(tag int, suite string, n int, fill byte) string {
	return fmt.Sprintf("a=crypto:%d %s inline:%s", tag, suite, base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{fill}, n)))
}

// transform is pion's for an a=crypto line; mki is what packets carry.
func transform(t *testing.T, line string, mki []byte) *pion.Context {
	t.Helper()
	profiles := map[string]pion.ProtectionProfile{
		"AEAD_AES_256_GCM": pion.ProtectionProfileAeadAes256Gcm, "AEAD_AES_128_GCM": pion.ProtectionProfileAeadAes128Gcm,
		"AES_256_CM_HMAC_SHA1_80": pion.ProtectionProfileAes256CmHmacSha1_80, "AES_256_CM_HMAC_SHA1_32": pion.ProtectionProfileAes256CmHmacSha1_32,
		"AES_CM_128_HMAC_SHA1_80": pion.ProtectionProfileAes128CmHmacSha1_80, "AES_CM_128_HMAC_SHA1_32": pion.ProtectionProfileAes128CmHmacSha1_32,
	}
	f := strings.Fields(line)
	profile := profiles[f[1]]
	text, _, _ := strings.Cut(strings.TrimPrefix(f[2], "inline:"), "|")
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	n, err := profile.KeyLen()
	if err != nil {
		t.Fatal(err)
	}
	var options []pion.ContextOption
	if mki != nil {
		options = append(options, pion.MasterKeyIndicator(mki))
	}
	c, err := pion.CreateContext(key[:n], key[n:], profile, options...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// securing makes a ua's SDP that of SRTP with these lines, RTCP on the port of RTP.
func (u *ua) securing(lines ...string) []byte {
	return []byte(strings.Replace(string(u.sdp(append([]string{"a=rtcp-mux"}, lines...)...)), "RTP/AVP", "RTP/SAVP", 1))
}

// numbered is a packet of PCMU with any sequence number.
func numbered(seq uint16) []byte {
	b := rtpPacket(0)
	binary.BigEndian.PutUint16(b[2:], seq)
	return b
}

// receiverReport is RTCP.
func receiverReport() []byte { return []byte{0x80, 201, 0, 1, 1, 2, 3, 4} }

// carries sends a packet and returns what came at the other end, nil if nothing did.
func (w *world) carries(from, to *ua, pkt []byte) []byte {
	w.t.Helper()
	_, err := from.rtp.WriteTo(pkt, net.UDPAddrFromAddrPort(from.target()))
	w.must(err)
	w.settle()
	w.must(to.rtp.SetReadDeadline(time.Now().Add(time.Millisecond)))
	buf := make([]byte, 2000)
	n, _, err := to.rtp.ReadFrom(buf)
	if err != nil {
		return nil
	}
	return buf[:n]
}

// Of several keys that are offered the strongest is answered, by its tag, whatever
// stands beside it; SRTP and SRTCP pass under it in both directions.
func TestOneOfSeveralKeys(t *testing.T) {
	const cm32, cm80, gcm256 = "AES_CM_128_HMAC_SHA1_32", "AES_CM_128_HMAC_SHA1_80", "AEAD_AES_256_GCM"
	tests := map[string]struct {
		lines []string
		want  int // index of the line
		mki   []byte
	}{
		"one, with a tag of 32 bits": {[]string{cryptoLine(7, cm32, 30, 1)}, 0, nil},
		"the weak one first":         {[]string{cryptoLine(1, cm32, 30, 1), cryptoLine(2, cm80, 30, 2)}, 1, nil},
		"AES-256 beside an unknown one": {[]string{cryptoLine(1, "F8_128_HMAC_SHA1_80", 30, 1), cryptoLine(2, "AES_256_CM_HMAC_SHA1_80", 46, 2),
			cryptoLine(3, cm80, 30, 3)}, 1, nil},
		"AES-256 with a tag of 32 bits":      {[]string{cryptoLine(4, "AES_256_CM_HMAC_SHA1_32", 46, 2), cryptoLine(3, cm80, 30, 3)}, 0, nil},
		"all, upside down":                   {[]string{cryptoLine(9, cm80, 30, 1), cryptoLine(8, "AEAD_AES_128_GCM", 28, 2), cryptoLine(5, gcm256, 44, 3)}, 2, nil},
		"a key identifier and a lifetime":    {[]string{cryptoLine(1, cm80, 30, 1) + "|2^31|1:4"}, 0, []byte{0, 0, 0, 1}},
		"the strong one ends soon":           {[]string{cryptoLine(1, gcm256, 44, 1) + "|2^19", cryptoLine(2, cm80, 30, 2)}, 1, nil},
		"a key identifier of one octet":      {[]string{cryptoLine(1, gcm256, 44, 1) + "|200:1"}, 0, []byte{200}},
		"the strongest has too short a key":  {[]string{cryptoLine(1, gcm256, 43, 1), cryptoLine(2, cm80, 30, 2)}, 1, nil},
		"the strong one leaves RTCP open":    {[]string{cryptoLine(1, cm80, 30, 1) + " UNENCRYPTED_SRTCP", cryptoLine(2, cm32, 30, 2)}, 1, nil},
		"the same tag twice: the first line": {[]string{cryptoLine(1, cm80, 30, 1), cryptoLine(1, cm80, 30, 2)}, 0, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, secureTrunk, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
				phone.register(alice)
				a := pbx.call("alice", func(inv *leg.Invite) { inv.Body = pbx.securing(tt.lines...) })
				b := phone.invited(0)
				b.must(func() error { return b.Answer(phone.sdp("a=rtcp-mux")) })
				w.settle()
				answer := cryptos(string(last[leg.Answered](a).Body))
				want, got := strings.Fields(tt.lines[tt.want])[:2], strings.Fields(answer)
				if len(got) != 3 || !slices.Equal(got[:2], want) {
					t.Fatalf("the answer is %q, want %q", answer, want)
				}
				out, in := transform(t, tt.lines[tt.want], tt.mki), transform(t, answer, nil)
				for seq := range uint16(3) {
					for _, rtcp := range []bool{false, true} {
						pkt, seal, open := numbered(seq), out.EncryptRTP, in.DecryptRTP
						if rtcp {
							pkt = receiverReport()
						}
						sealed, err := seal(nil, pkt, nil)
						if rtcp {
							sealed, err = out.EncryptRTCP(nil, pkt, nil)
						}
						w.must(err)
						if heard := w.carries(pbx, phone, sealed); !bytes.Equal(heard, pkt) {
							t.Errorf("RTCP %v: the phone got %x", rtcp, heard)
						}
						heard := w.carries(phone, pbx, pkt)
						if bytes.Equal(heard, pkt) {
							t.Fatal("it was sent in the clear")
						}
						plain, err := open(nil, heard, nil)
						if rtcp {
							plain, err = in.DecryptRTCP(nil, heard, nil)
						}
						if err != nil || !bytes.Equal(plain, pkt) {
							t.Errorf("RTCP %v: the PBX got %x, %v", rtcp, plain, err)
						}
					}
				}
				a.hangUp()
			})
		})
	}
}

// Where SRTP is required nothing goes in the clear beside it: fax and data are refused,
// and the record says so.
func TestRequiredRefusesWhatIsNotRTP(t *testing.T) {
	line := cryptoLine(1, "AEAD_AES_256_GCM", 44, 1)
	const fax = "m=image 40004 udptl t38"
	set := func(o *options) { o.terms.SRTP = sdes.Terms{Apps: sdes.Required, AnyTransport: true} }
	inWorld(t, set, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
		phone.register(alice)
		a := pbx.call("alice", func(inv *leg.Invite) { inv.Body = pbx.sdp(fax) })
		b := phone.invited(0)
		if got := string(b.invite.Body()); !strings.Contains(got, "m=image 0 udptl t38") || !strings.Contains(got, "RTP/SAVP") {
			t.Errorf("the phone is offered\n%s", got)
		}
		secured := func(more ...string) []byte {
			return []byte(strings.Replace(string(phone.sdp(append([]string{line}, more...)...)), "RTP/AVP", "RTP/SAVP", 1))
		}
		b.must(func() error { return b.Answer(secured("m=image 0 udptl t38")) })
		a.expect("200")
		a.must(func() error {
			return a.Reinvite([]byte(strings.Replace(string(pbx.sdp(fax)), "audio 40000", "audio 0", 1)))
		})
		if got := last[leg.OfferAnswered](a); got.Status != 488 {
			t.Errorf("the PBX changes to fax: %d", got.Status)
		}
		w.pass(time.Second)
		b.must(func() error { return b.Reinvite(secured(fax)) })
		if got := parsed(w, last[leg.Offer](a).Body).Streams(); len(got) != 2 || !got[0].Active() || got[1].Active() {
			t.Errorf("the phone adds fax: %+v", got)
		}
		a.must(func() error { return a.AnswerOffer(pbx.sdp("m=image 0 udptl t38")) })
		a.hangUp()
		notes := 0
		for _, s := range w.record().Steps {
			if strings.Contains(s.What, "m-line 2 (image, udptl) is refused: SRTP is required") {
				notes++
			}
		}
		if notes != 2 {
			t.Errorf("%d notes", notes)
		}
	})
}

// A re-INVITE with the key that was keeps the roll-over counter of that direction; one
// with a new key begins at zero (RFC 3711 s3.3.1, RFC 4568 s6.1). Our own key stays
// through all of that, and so does its counter.
func TestRollOverAcrossReinvites(t *testing.T) {
	inWorld(t, secureTrunk, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
		one, two := cryptoLine(1, "AES_CM_128_HMAC_SHA1_80", 30, 1), cryptoLine(1, "AES_CM_128_HMAC_SHA1_80", 30, 2)
		phone.register(alice)
		a := pbx.call("alice", func(inv *leg.Invite) { inv.Body = pbx.securing(one) })
		b := phone.invited(0)
		b.must(func() error { return b.Answer(phone.sdp("a=rtcp-mux")) })
		w.settle()
		answer := cryptos(string(last[leg.Answered](a).Body))
		out, in := transform(t, one, nil), transform(t, answer, nil)
		speak := func(when string, seq uint16) {
			t.Helper()
			sealed, err := out.EncryptRTP(nil, numbered(seq), nil)
			w.must(err)
			if heard := w.carries(pbx, phone, sealed); !bytes.Equal(heard, numbered(seq)) {
				t.Errorf("%s: the phone got %x", when, heard)
			}
			if plain, err := in.DecryptRTP(nil, w.carries(phone, pbx, numbered(seq)), nil); err != nil || !bytes.Equal(plain, numbered(seq)) {
				t.Errorf("%s: the PBX got %x, %v", when, plain, err)
			}
		}
		reinvite := func(line, mode string) {
			t.Helper()
			a.must(func() error { return a.Reinvite(pbx.securing(line, "a="+mode)) })
			back := map[string]string{"sendonly": "recvonly", "sendrecv": "sendrecv"}[mode]
			b.must(func() error { return b.AnswerOffer(phone.sdp("a=rtcp-mux", "a="+back)) })
			w.settle()
			got := last[leg.OfferAnswered](a)
			if cryptos(string(got.Body)) != answer {
				t.Fatalf("our key changed from %q to %q (%d)", answer, cryptos(string(got.Body)), got.Status)
			}
			w.pass(time.Second)
		}
		for _, seq := range []uint16{65534, 65535, 0, 1} {
			speak("at first", seq)
		}
		reinvite(one, "sendonly")
		reinvite(one, "sendrecv")
		speak("after the hold", 2)
		reinvite(two, "sendrecv")
		late, err := out.EncryptRTP(nil, numbered(3), nil)
		w.must(err)
		if heard := w.carries(pbx, phone, late); heard != nil {
			t.Errorf("a packet under the old key was taken: %x", heard)
		}
		out = transform(t, two, nil) // whose counter is zero
		speak("under the new key", 4)
		out = transform(t, one, nil)
		for _, seq := range []uint16{65534, 65535, 0, 1, 2} { // the PBX goes on with the key of before
			_, err := out.EncryptRTP(nil, numbered(seq), nil)
			w.must(err)
		}
		reinvite(one, "sendrecv")
		speak("under the first key again", 5)
		a.hangUp()
	})
}

// The hold of RFC 2543 goes on in the family of the other leg, silences whom it
// should, and ends.
func TestHoldByAddress(t *testing.T) {
	for _, zero := range []string{"IP4 0.0.0.0", "IP6 ::"} {
		inWorld(t, nil, func(w *world) {
			a, b := w.answered()
			w.speak(a.u, b.u)
			held := []byte(strings.Replace(string(a.u.sdp()), "c=IN IP4 "+pbxHost.String(), "c=IN "+zero, 1))
			a.must(func() error { return a.Reinvite(held) })
			if got := string(last[leg.Offer](b).Body); !strings.Contains(got, "c=IN IP4 0.0.0.0\r\n") || strings.Contains(got, "::") {
				t.Errorf("%s: the phone was offered\n%s", zero, got)
			}
			b.must(func() error { return b.AnswerOffer(b.u.sdp("a=recvonly")) })
			w.pass(time.Second)
			if x, y := w.speak(a.u, b.u); x != 0 || y != 1 {
				t.Errorf("%s: on hold %d and %d packets arrived", zero, x, y)
			}
			a.must(func() error { return a.Reinvite(a.u.sdp()) })
			b.must(func() error { return b.AnswerOffer(b.u.sdp()) })
			w.pass(time.Second)
			if x, y := w.speak(a.u, b.u); x != 1 || y != 1 {
				t.Errorf("%s: after it %d and %d", zero, x, y)
			}
			a.hangUp()
		})
	}
}
