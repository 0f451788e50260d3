package bridge_test

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	pion "github.com/pion/srtp/v3"

	"wakebridge/bridge/sdes"
	"wakebridge/sipua/leg"
)

// Keys under the profile of plain RTP (RFC 8643), as PJSIP and Asterisk offer where SRTP
// is optional.

// trunksSRTP sets the policy for the PBX; the app speaks RTP.
func trunksSRTP(p sdes.Policy) func(*options) {
	return func(o *options) { o.terms.SRTP = sdes.Terms{Trunks: p, AnyTransport: true} }
}

// offersKeys makes a ua's SDP that of plain RTP with keys.
func (u *ua) offersKeys(lines ...string) []byte {
	return u.sdp(append([]string{"a=rtcp-mux"}, lines...)...)
}

// sealedBoth sends a packet each way between a PBX that speaks SRTP and a phone that does
// not.
func (w *world) sealedBoth(when string, pbx, phone *ua, out, in *pion.Context, seq uint16) {
	w.t.Helper()
	sealed, err := out.EncryptRTP(nil, numbered(seq), nil)
	w.must(err)
	if heard := w.carries(pbx, phone, sealed); !bytes.Equal(heard, numbered(seq)) {
		w.t.Errorf("%s: the phone got %x", when, heard)
	}
	if plain, err := in.DecryptRTP(nil, w.carries(phone, pbx, numbered(seq)), nil); err != nil || !bytes.Equal(plain, numbered(seq)) {
		w.t.Errorf("%s: the PBX got %x, %v", when, plain, err)
	}
}

// The answer takes the keys where the policy does, under the profile that was offered; a
// re-INVITE in either direction keeps both.
func TestPlainOfferWithKeys(t *testing.T) {
	for _, policy := range []sdes.Policy{sdes.Optional, sdes.Required} {
		inWorld(t, trunksSRTP(policy), func(w *world) {
			line := cryptoLine(3, "AES_CM_128_HMAC_SHA1_80", 30, 1)
			pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
			phone.register(alice)
			a := pbx.call("alice", func(inv *leg.Invite) { inv.Body = pbx.offersKeys(line) })
			b := phone.invited(0)
			if got := string(b.invite.Body()); strings.Contains(got, "crypto") || !strings.Contains(got, "RTP/AVP 0 8") {
				t.Errorf("the phone was offered\n%s", got)
			}
			b.must(func() error { return b.Answer(phone.sdp("a=rtcp-mux")) })
			w.settle()
			answer := string(last[leg.Answered](a).Body)
			if !strings.Contains(answer, " RTP/AVP ") || !strings.HasPrefix(cryptos(answer), "a=crypto:3 AES_CM_128_HMAC_SHA1_80 ") {
				t.Fatalf("the answer is\n%s", answer)
			}
			out, in := transform(t, line, nil), transform(t, cryptos(answer), nil)
			w.sealedBoth("at first", pbx, phone, out, in, 1)

			w.pass(time.Second)
			b.must(func() error { return b.Reinvite(phone.sdp("a=rtcp-mux", "a=sendonly")) })
			offer := string(last[leg.Offer](a).Body)
			if !strings.Contains(offer, " RTP/AVP ") || !strings.Contains(offer, strings.Fields(cryptos(answer))[2]) {
				t.Errorf("the hold offers the PBX\n%s", offer)
			}
			var same string
			for l := range strings.Lines(cryptos(offer)) {
				if strings.Contains(l, " AES_CM_128_HMAC_SHA1_80 ") {
					same = strings.Fields(l)[0]
				}
			}
			held := strings.Replace(line, "a=crypto:3", same, 1)
			a.must(func() error { return a.AnswerOffer(pbx.offersKeys(held, "a=recvonly")) })
			w.pass(time.Second)
			a.must(func() error { return a.Reinvite(pbx.offersKeys(line)) })
			b.must(func() error { return b.AnswerOffer(phone.sdp("a=rtcp-mux")) })
			w.settle()
			if again := string(last[leg.OfferAnswered](a).Body); cryptos(again) != cryptos(answer) || !strings.Contains(again, " RTP/AVP ") {
				t.Errorf("the re-INVITE is answered\n%s", again)
			}
			w.sealedBoth("after the hold", pbx, phone, out, in, 2)
			a.hangUp()
		})
	}
}

// Where the policy takes none, or none can be used, it is a plain call.
func TestPlainOfferWithKeysStaysPlain(t *testing.T) {
	good := cryptoLine(1, "AES_CM_128_HMAC_SHA1_80", 30, 1)
	for name, tt := range map[string]struct {
		set  func(*options)
		line string
	}{
		"off":             {trunksSRTP(sdes.Off), good},
		"keys need TLS":   {func(o *options) { o.terms.SRTP = sdes.Terms{Trunks: sdes.Optional} }, good},
		"an unknown one":  {trunksSRTP(sdes.Optional), cryptoLine(1, "F8_128_HMAC_SHA1_80", 30, 1)},
		"a key for hours": {trunksSRTP(sdes.Optional), good + "|2^19"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, tt.set, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
				phone.register(alice)
				a := pbx.call("alice", func(inv *leg.Invite) { inv.Body = pbx.offersKeys(tt.line) })
				b := phone.invited(0)
				// Who answers an offer without keys with some is not taken at its word.
				b.must(func() error { return b.Answer(phone.offersKeys(good)) })
				w.settle()
				if got := string(last[leg.Answered](a).Body); strings.Contains(got, "crypto") || !strings.Contains(got, " RTP/AVP ") {
					t.Errorf("the answer is\n%s", got)
				}
				w.heardBoth(name, pbx, phone)
				a.hangUp()
			})
		})
	}
}

// A caller without an offer cannot refuse SRTP and be asked again: where plain RTP will do
// it is offered that, and keys for whom knows of them.
func TestLateOfferOfOptionalSRTP(t *testing.T) {
	line := cryptoLine(5, "AES_CM_128_HMAC_SHA1_80", 30, 1)
	for name, answers := range map[string]func(u *ua) []byte{
		"plain":  func(u *ua) []byte { return u.sdp() },
		"keys":   func(u *ua) []byte { return u.offersKeys(line) },
		"secure": func(u *ua) []byte { return u.securing(line) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, trunksSRTP(sdes.Optional), func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
				phone.register(alice)
				a := pbx.call("alice", noOffer)
				b := phone.invited(0)
				b.must(func() error { return b.Answer(phone.sdp("a=rtcp-mux")) })
				w.settle()
				offer := string(last[leg.Answered](a).Body)
				if !strings.Contains(offer, " RTP/AVP ") || strings.Count(offer, "a=crypto:") != 6 {
					t.Fatalf("the 200 offers\n%s", offer)
				}
				a.answersLate(answers(pbx))
				w.pass(time.Second)
				if name == "plain" {
					w.heardBoth(name, pbx, phone)
				} else {
					ours := ""
					for l := range strings.Lines(cryptos(offer)) {
						if strings.Contains(l, " AES_CM_128_HMAC_SHA1_80 ") {
							ours = l
						}
					}
					w.sealedBoth(name, pbx, phone, transform(t, line, nil), transform(t, ours, nil), 1)
				}
				a.hangUp()
			})
		})
	}
}

// A stream that is offered twice at one port, with SRTP and without, is taken once.
func TestStreamOfferedTwice(t *testing.T) {
	line := cryptoLine(1, "AES_CM_128_HMAC_SHA1_80", 30, 1)
	for name, tt := range map[string]struct {
		policy sdes.Policy
		first  bool // the secure line stands first
		secure bool // it is taken
	}{
		"optional, secure first": {sdes.Optional, true, true},
		"optional, plain first":  {sdes.Optional, false, true},
		"required":               {sdes.Required, false, true},
		"off":                    {sdes.Off, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, trunksSRTP(tt.policy), func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
				phone.register(alice)
				const plain, secure = "m=audio 40000 RTP/AVP 0", "m=audio 40000 RTP/SAVP 0"
				head, _, _ := strings.Cut(string(pbx.sdp()), "m=audio")
				body := head + strings.Join([]string{plain, "a=rtcp-mux", secure, "a=rtcp-mux", line, ""}, "\r\n")
				if tt.first {
					body = head + strings.Join([]string{secure, "a=rtcp-mux", line, plain, "a=rtcp-mux", ""}, "\r\n")
				}
				a := pbx.call("alice", func(inv *leg.Invite) { inv.Body = []byte(body) })
				b := phone.invited(0)
				active := 0
				offered := parsed(w, b.invite.Body()).Streams()
				for _, s := range offered {
					if s.Active() {
						active++
					}
				}
				if len(offered) != 2 || active != 1 {
					t.Fatalf("the phone was offered\n%s", b.invite.Body())
				}
				own := "m=audio 40000 RTP/AVP 0\r\na=rtcp-mux\r\n"
				both := []string{own, "m=audio 0 RTP/AVP 0\r\n"}
				if !offered[0].Active() {
					both = []string{both[1], own}
				}
				phoneHead, _, _ := strings.Cut(string(phone.sdp()), "m=audio")
				b.must(func() error { return b.Answer([]byte(phoneHead + strings.Join(both, ""))) })
				w.settle()
				answer := last[leg.Answered](a).Body
				for i, s := range parsed(w, answer).Streams() {
					if want := (i == 0) == (tt.first == tt.secure); s.Active() != want || want && s.IsSecure() != tt.secure {
						t.Errorf("line %d of the answer\n%s", i+1, answer)
					}
				}
				a.hangUp()
			})
		})
	}
}

// A re-INVITE that offers our own key as the peer's is refused, and nobody else is asked.
func TestOwnKeyOffered(t *testing.T) {
	line := cryptoLine(1, "AES_CM_128_HMAC_SHA1_80", 30, 1)
	inWorld(t, trunksSRTP(sdes.Optional), func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
		phone.register(alice)
		a := pbx.call("alice", func(inv *leg.Invite) { inv.Body = pbx.securing(line) })
		b := phone.invited(0)
		b.must(func() error { return b.Answer(phone.sdp("a=rtcp-mux")) })
		w.settle()
		answer := cryptos(string(last[leg.Answered](a).Body))
		a.must(func() error { return a.Reinvite(pbx.securing(strings.TrimSpace(answer))) })
		w.pass(time.Second)
		if got := last[leg.OfferAnswered](a); got.Status != 488 {
			t.Errorf("the PBX got %d\n%s", got.Status, got.Body)
		}
		if strings.Contains(b.told(), "re-INVITE") {
			t.Errorf("the phone was told %s", b.told())
		}
		w.sealedBoth("after it", pbx, phone, transform(t, line, nil), transform(t, answer, nil), 1)
		a.hangUp()
	})
}

// What is wrong with the audio is said of the line that has it.
func TestRemarkBesideARefusedLine(t *testing.T) {
	inWorld(t, trunksSRTP(sdes.Off), func(w *world) {
		line := cryptoLine(1, "AES_CM_128_HMAC_SHA1_80", 30, 1)
		pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
		phone.register(alice)
		head, _, _ := strings.Cut(string(pbx.sdp()), "m=audio")
		body := head + "m=audio 40000 RTP/SAVP 0\r\n" + line + "\r\nm=audio 40000 RTP/AVP 0\r\n"
		a := pbx.call("alice", func(inv *leg.Invite) { inv.Body = []byte(body) })
		b := phone.invited(0)
		phoneHead, _, _ := strings.Cut(string(phone.sdp()), "m=audio")
		b.must(func() error {
			return b.Answer([]byte(phoneHead + "m=audio 0 RTP/AVP 0\r\nm=audio 40000 RTP/AVP 0\r\n"))
		})
		w.settle()
		to := pbx.target()
		for _, s := range parsed(w, last[leg.Answered](a).Body).Streams() {
			if s.Active() {
				to = s.Target()
			}
		}
		for range 600 {
			_, err := pbx.rtp.WriteTo(rtpPacket(0), net.UDPAddrFromAddrPort(to))
			w.must(err)
			w.pass(20 * time.Millisecond)
		}
		a.hangUp()
		if r := w.record(); len(r.Audio) != 1 || !strings.Contains(r.Audio[0], "sent nothing") {
			t.Errorf("remarks: %q", r.Audio)
		}
	})
}
