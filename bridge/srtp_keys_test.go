package bridge_test

import (
	"encoding/base64"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	pion "github.com/pion/srtp/v3"

	"wakebridge/bridge"
	"wakebridge/bridge/sdes"
	"wakebridge/sipua/leg"
)

// Answers that take no key of ours are no answers.
func TestUnusableKeys(t *testing.T) {
	const key = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0e" // 30 octets
	for name, line := range map[string]string{
		"no key":            "",
		"another suite":     "a=crypto:5 F8_128_HMAC_SHA1_80 inline:" + key,
		"a key too short":   "a=crypto:5 AES_CM_128_HMAC_SHA1_80 inline:AQID",
		"not authenticated": "a=crypto:5 AES_CM_128_HMAC_SHA1_80 inline:" + key + " UNAUTHENTICATED_SRTP",
		"plain":             "plain",
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(o *options) { o.terms.SRTP = sdes.Terms{Apps: sdes.Required, AnyTransport: true} }, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
				phone.register(alice)
				a := pbx.call("alice")
				b := phone.invited(0)
				answer := phone.sdp(line)
				if line != "plain" {
					answer = []byte(strings.Replace(string(answer), "RTP/AVP", "RTP/SAVP", 1))
				}
				b.must(func() error { return b.Answer(answer) })
				w.settle()
				a.expect("488")
				b.expect("ACK, BYE")
			})
		})
	}
}

// There are phones that answer by the tag 1, whichever line they take.
func TestSuiteUnderAnotherTag(t *testing.T) {
	const line = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0e"
	inWorld(t, func(o *options) { o.terms.SRTP = sdes.Terms{Apps: sdes.Required, AnyTransport: true} }, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		b.must(func() error {
			return b.Answer([]byte(strings.Replace(string(phone.sdp(line)), "RTP/AVP", "RTP/SAVP", 1)))
		})
		a.expect("200")
		sealed, err := sealer(t, line).EncryptRTP(nil, rtpPacket(1), nil)
		w.must(err)
		if heard := w.carries(phone, pbx, sealed); !slices.Equal(heard, rtpPacket(1)) {
			t.Errorf("the PBX heard %x", heard)
		}
		a.hangUp()
		if r := w.record(); !slices.ContainsFunc(r.Steps, func(e bridge.Step) bool { return strings.Contains(e.What, "the tag 1, which was offered as 5") }) {
			t.Errorf("the record says nothing of the tag: %v", r.Steps)
		}
	})
}

// Early media of a phone that speaks SRTP is heard by a PBX that does not; the
// answer goes on with the same keys.
func TestEarlySRTP(t *testing.T) {
	const line = "a=crypto:5 AES_CM_128_HMAC_SHA1_80 inline:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0e"
	inWorld(t, func(o *options) { o.terms.SRTP = sdes.Terms{Apps: sdes.Required, AnyTransport: true} }, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		answer := []byte(strings.Replace(string(phone.sdp(line)), "RTP/AVP", "RTP/SAVP", 1))
		sender := sealer(t, line)
		speak := func(seq byte) {
			t.Helper()
			sealed, err := sender.EncryptRTP(nil, rtpPacket(seq), nil)
			w.must(err)
			_, err = phone.rtp.WriteTo(sealed, net.UDPAddrFromAddrPort(phone.target()))
			w.must(err)
			w.settle()
			if n := pbx.heard(); n != 1 {
				t.Errorf("packet %d: heard %d", seq, n)
			}
		}
		b.must(func() error { return b.Progress(183, answer) })
		w.settle()
		a.expect("183 sdp")
		speak(1)
		b.must(func() error { return b.Answer(answer) })
		w.settle()
		speak(2)
		if got := string(last[leg.Answered](a).Body); strings.Contains(got, "crypto") || !strings.Contains(got, "RTP/AVP") {
			t.Errorf("the PBX got\n%s", got)
		}
		if _, err := phone.rtp.WriteTo(rtpPacket(3), net.UDPAddrFromAddrPort(phone.target())); err != nil {
			t.Fatal(err)
		}
		w.settle()
		if n := pbx.heard(); n != 0 {
			t.Error("plain RTP was taken for SRTP")
		}
		a.hangUp()
	})
}

// sealer is pion's transform for the key of an a=crypto line.
func sealer(t *testing.T, line string) *pion.Context {
	t.Helper()
	_, text, _ := strings.Cut(line, "inline:")
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	c, err := pion.CreateContext(key[:16], key[16:], pion.ProtectionProfileAes128CmHmacSha1_80)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A re-INVITE that comes to nothing after the phone accepted it brings the phone
// back; the key that it answers with then is the one that counts.
func TestRestoredSRTP(t *testing.T) {
	const (
		line = "a=crypto:5 AES_CM_128_HMAC_SHA1_80 inline:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0e"
		next = "a=crypto:5 AES_CM_128_HMAC_SHA1_80 inline:Hh0cGxoZGBcWFRQTEhEQDw4NDAsKCQgHBgUEAwIB"
		bad  = "a=crypto:5 F8_128_HMAC_SHA1_80 inline:Hh0cGxoZGBcWFRQTEhEQDw4NDAsKCQgHBgUEAwIB"
	)
	inWorld(t, func(o *options) { o.terms.SRTP = sdes.Terms{Apps: sdes.Optional, AnyTransport: true} }, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		says := func(line string) []byte {
			return []byte(strings.Replace(string(phone.sdp(line)), "RTP/AVP", "RTP/SAVP", 1))
		}
		b.must(func() error { return b.Answer(says(line)) })
		offered := string(b.invite.Body())
		a.must(func() error { return a.Reinvite(pbx.sdp("a=sendonly")) })
		if hold := string(last[leg.Offer](b).Body); cryptos(hold) != cryptos(offered) || !strings.Contains(hold, "RTP/SAVP") {
			t.Errorf("the re-INVITE has other keys:\n%s\nthan the INVITE:\n%s", hold, offered)
		}
		b.must(func() error { return b.AnswerOffer(says(bad)) })
		if got := last[leg.OfferAnswered](a); got.Status != 488 {
			t.Errorf("the PBX got %d", got.Status)
		}
		w.pass(time.Second)
		if back := string(last[leg.Offer](b).Body); cryptos(back) != cryptos(offered) || strings.Contains(back, "sendonly") {
			t.Errorf("brought back by\n%s", back)
		}
		b.must(func() error { return b.AnswerOffer(says(next)) })
		w.pass(time.Second)
		for i, tt := range []struct {
			line string
			want int
		}{{line, 0}, {next, 1}} {
			sealed, err := sealer(t, tt.line).EncryptRTP(nil, rtpPacket(byte(i)), nil)
			w.must(err)
			_, err = phone.rtp.WriteTo(sealed, net.UDPAddrFromAddrPort(phone.target()))
			w.must(err)
			w.settle()
			if n := pbx.heard(); n != tt.want {
				t.Errorf("key %d: heard %d", i, n)
			}
		}
		a.hangUp()
	})
}

// cryptos are the a=crypto lines of an SDP.
func cryptos(body string) string {
	var out []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "a=crypto:") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// A phone that comes back on another connection, after its early media reached the
// caller, is offered what the caller was told, with the attempt's keys; those of the
// caller stay as they were told.
func TestKeysAfterEarlyMedia(t *testing.T) {
	const (
		line  = "a=crypto:5 AES_CM_128_HMAC_SHA1_80 inline:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0e"
		other = "a=crypto:5 AES_CM_128_HMAC_SHA1_80 inline:Hh0cGxoZGBcWFRQTEhEQDw4NDAsKCQgHBgUEAwIB"
	)
	set := func(o *options) {
		o.terms.SRTP = sdes.Terms{Apps: sdes.Required, Trunks: sdes.Optional, AnyTransport: true}
	}
	inWorld(t, set, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		says := func(u *ua, line string) []byte {
			return []byte(strings.Replace(string(u.sdp(line)), "RTP/AVP 0 8", "RTP/SAVP 0", 1))
		}
		phone.register(alice)
		a := pbx.call("alice", func(inv *leg.Invite) {
			inv.Body = []byte(strings.Replace(string(pbx.sdp(line)), "RTP/AVP", "RTP/SAVP", 1))
		})
		x := phone.invited(0)
		x.must(func() error { return x.Progress(183, says(phone, line)) })
		phone.sleep()
		w.pass(time.Second)
		phone.register(alice)
		x.must(func() error { x.Drop(); return nil })
		y := phone.invited(1)
		one, two := string(x.invite.Body()), string(y.invite.Body())
		if !strings.Contains(one, "RTP/SAVP 0 8\r\n") || !strings.Contains(two, "RTP/SAVP 0\r\n") {
			t.Errorf("offers:\n%s\n%s", one, two)
		}
		if cryptos(one) != cryptos(two) || cryptos(one) == cryptos(answerTo(a)) {
			t.Errorf("keys:\n%s\n%s", cryptos(one), cryptos(two))
		}
		y.must(func() error { return y.Answer(says(phone, other)) })
		w.settle()
		early, answer := answerTo(a), string(last[leg.Answered](a).Body)
		if early != answer || strings.Count(answer, "a=crypto:5 ") != 1 || !strings.Contains(answer, "RTP/SAVP") {
			t.Errorf("the caller was told\n%s\nand then\n%s", early, answer)
		}
		opener, voice := sealer(t, cryptos(answer)), sealer(t, other)
		sealed, err := voice.EncryptRTP(nil, rtpPacket(1), nil)
		w.must(err)
		_, err = phone.rtp.WriteTo(sealed, net.UDPAddrFromAddrPort(phone.target()))
		w.must(err)
		w.settle()
		buf := make([]byte, 2000)
		w.must(pbx.rtp.SetReadDeadline(time.Now().Add(time.Second)))
		n, _, err := pbx.rtp.ReadFrom(buf)
		w.must(err)
		if plain, err := opener.DecryptRTP(nil, buf[:n], nil); err != nil || string(plain) != string(rtpPacket(1)) {
			t.Errorf("the caller gets %x, %v", plain, err)
		}
		a.hangUp()
		if got := crypto(w.record()); !slices.Equal(got, []string{"A AES_CM_128_HMAC_SHA1_80", "B AES_CM_128_HMAC_SHA1_80"}) {
			t.Errorf("record: %q", got)
		}
	})
}

// answerTo is the first SDP in a 1xx.
func answerTo(d *dialog) string {
	body := ""
	d.u.do(func() {
		for _, e := range d.events {
			if p, ok := e.(leg.Provisional); ok && len(p.Body) > 0 && body == "" {
				body = string(p.Body)
			}
		}
	})
	return body
}

// What was protected once is never plain again: a hold by port 0 leaves a leg without
// streams and without keys, and what resumes it must be offered with new ones.
func TestResumedSRTPIsNotPlain(t *testing.T) {
	const line = "a=crypto:5 AES_CM_128_HMAC_SHA1_80 inline:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0e"
	for _, apps := range []sdes.Policy{sdes.Required, sdes.Optional} {
		inWorld(t, func(o *options) { o.terms.SRTP = sdes.Terms{Apps: apps, AnyTransport: true} }, func(w *world) {
			pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
			phone.register(alice)
			a := pbx.call("alice")
			b := phone.invited(0)
			secured := func(s string) []byte { return []byte(strings.Replace(s, "RTP/AVP", "RTP/SAVP", 1)) }
			answer := string(secured(string(phone.sdp(line))))
			b.must(func() error { return b.Answer([]byte(answer)) })
			w.pass(time.Second)
			off := func(s string) []byte { return []byte(strings.Replace(s, "m=audio 40000", "m=audio 0", 1)) }
			a.must(func() error { return a.Reinvite(off(string(pbx.sdp()))) })
			b.must(func() error { return b.AnswerOffer(off(strings.Replace(answer, line+"\r\n", "", 1))) })
			w.pass(time.Second)
			a.must(func() error { return a.Reinvite(pbx.sdp()) })
			w.pass(time.Second)
			offer := string(last[leg.Offer](b).Body)
			if !strings.Contains(offer, "RTP/SAVP") || strings.Count(offer, "a=crypto:") < 2 {
				t.Errorf("the phone is offered\n%s", offer)
			}
			b.must(func() error { return b.AnswerOffer([]byte(answer)) })
			w.pass(time.Second)
			a.hangUp()
		})
	}
}

// A peer that answers with our own key would have both directions encrypted alike.
func TestEchoedKeyIsRefused(t *testing.T) {
	inWorld(t, func(o *options) { o.terms.SRTP = sdes.Terms{Apps: sdes.Required, AnyTransport: true} }, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		b := phone.invited(0)
		for line := range strings.Lines(string(b.invite.Body())) {
			if strings.HasPrefix(line, "a=crypto:5 ") {
				answer := strings.Replace(string(phone.sdp(strings.TrimSpace(line))), "RTP/AVP", "RTP/SAVP", 1)
				b.must(func() error { return b.Answer([]byte(answer)) })
			}
		}
		w.settle()
		a.expect("488")
		b.expect("ACK, BYE")
	})
}
