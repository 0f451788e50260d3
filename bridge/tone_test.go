package bridge_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/pion/rtp"

	"wakebridge/bridge"
	"wakebridge/bridge/media/audio"
	"wakebridge/bridge/sdes"
	"wakebridge/sipua"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/softphone"
)

// toned lets callers hear the American tone while phones are woken.
func toned(o *options) { o.terms.Ringback = audio.Ringback("us") }

// offering is an audio description of the ua with those payload types.
func (u *ua) offering(types string, more ...string) []byte {
	return []byte(strings.Replace(string(u.sdp(more...)), "RTP/AVP 0 8", "RTP/AVP "+types, 1))
}

// hears are the RTP packets that came.
func (u *ua) hears() []rtp.Packet {
	u.w.t.Helper()
	u.w.settle()
	var all []rtp.Packet
	for {
		if err := u.rtp.SetReadDeadline(time.Now().Add(time.Microsecond)); err != nil {
			u.w.t.Fatal(err)
		}
		buf := make([]byte, 2000)
		n, _, err := u.rtp.ReadFrom(buf)
		if err != nil {
			return all
		}
		var p rtp.Packet
		if err := p.Unmarshal(buf[:n]); err != nil {
			u.w.t.Fatal(err)
		}
		all = append(all, p)
	}
}

// hearsTone checks that a second brings 50 packets of the tone, and nothing else.
func (u *ua) hearsTone(codec audio.Codec) (last rtp.Packet) {
	u.w.t.Helper()
	u.hears()
	u.w.pass(time.Second)
	all := u.hears()
	var sound []int16
	for _, p := range all {
		if p.PayloadType != uint8(codec) || p.SSRC != all[0].SSRC {
			u.w.t.Fatalf("packet %+v, the first %+v", p.Header, all[0].Header)
		}
		sound = codec.Decode(sound, p.Payload)
	}
	if n := len(all); n < 49 || n > 51 {
		u.w.t.Fatalf("%d packets in a second", n)
	}
	if a, b := audio.Tone(sound, 440), audio.Tone(sound, 480); a < 0.4 || b < 0.4 || a+b < 0.95 {
		u.w.t.Fatalf("440 Hz is %.2f and 480 Hz is %.2f of what is heard", a, b)
	}
	return all[len(all)-1]
}

// formats are the payload types that the audio stream of a body has.
func formats(body []byte) string {
	_, rest, _ := strings.Cut(string(body), " RTP/AVP ")
	line, _, _ := strings.Cut(rest, "\r\n")
	return line
}

// early is the SDP of the newest 183 that the dialog got.
func (d *dialog) early() []byte {
	d.u.w.t.Helper()
	var body []byte
	d.u.do(func() {
		for _, e := range d.events {
			if p, ok := e.(leg.Provisional); ok && len(p.Body) > 0 {
				body = p.Body
			}
		}
	})
	if body == nil {
		d.u.w.t.Fatal("no SDP before the answer")
	}
	return body
}

// TestTone: the caller hears the tone from the accepted push to the answer, and then
// the phone alone.
func TestTone(t *testing.T) {
	inWorld(t, toned, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.sleeper("va")
		a := pbx.call("alice", func(inv *leg.Invite) {
			inv.Body = pbx.offering("9 8 0 101", "a=rtpmap:101 telephone-event/8000", "a=ptime:30")
		})
		a.expect("183 sdp")
		promised := a.early()
		if got := formats(promised); got != "8 101" {
			w.t.Errorf("the caller is promised %q", got)
		}
		pbx.hearsTone(audio.PCMA)
		phone.register(alice)
		b := phone.invited(0)
		if got := formats(b.invite.Body()); got != "8 101" {
			w.t.Errorf("the phone is offered %q", got)
		}
		b.ring()
		a.expect("183 sdp")
		w.pass(5800*time.Millisecond - time.Second) // it sounds again after 6 s
		tone := pbx.hearsTone(audio.PCMA)
		b.must(func() error { return b.Answer(phone.offering("8")) })
		a.expect("183 sdp, 200")
		if got := last[leg.Answered](a).Body; string(got) != string(promised) {
			w.t.Errorf("the 200 says\n%s\nthe 183 said\n%s", got, promised)
		}
		pbx.hears() // what was under way
		w.pass(time.Second)
		if n := len(pbx.hears()); n != 0 {
			w.t.Errorf("%d packets after the answer, of nobody", n)
		}
		for i := range 3 {
			if _, err := phone.rtp.WriteTo(rtpPacket(byte(i)), net.UDPAddrFromAddrPort(phone.target())); err != nil {
				w.t.Fatal(err)
			}
		}
		all := pbx.hears()
		if len(all) != 3 {
			w.t.Fatalf("%d packets of speech", len(all))
		}
		for i, p := range all {
			if p.SSRC == tone.SSRC || p.Marker != (i == 0) || p.SequenceNumber != uint16(i) {
				w.t.Errorf("packet %d after the answer: %+v", i, p.Header)
			}
		}
		a.hangUp()
		r := w.record()
		if r.Media[0].Streams[0].Inserted < 250 || r.Media[1].Streams[0].Inserted != 0 {
			w.t.Errorf("media: %+v", r.Media)
		}
		if !slices.ContainsFunc(r.Steps, func(s bridge.Step) bool { return s.What == "ringback tone for the caller in PCMA" }) {
			w.t.Errorf("steps: %+v", r.Steps)
		}
	})
}

// After a tone in PCMU a phone that has PCMA only cannot take the call; another one
// can.
func TestToneBindsTheCodec(t *testing.T) {
	inWorld(t, toned, func(w *world) {
		pbx, one, two := w.ua("100", pbxHost), w.ua("va", phoneHost), w.ua("vb", phone2Host)
		for _, u := range []*ua{one, two} {
			u.register(alice)
			u.sleep()
		}
		a := pbx.call("alice")
		a.expect("183 sdp")
		one.register(alice)
		b := one.invited(0)
		if got := formats(b.invite.Body()); got != "0" {
			w.t.Errorf("the first phone is offered %q", got)
		}
		b.refuse(488)
		pbx.hearsTone(audio.PCMU) // goes on
		two.register(alice)
		c := two.invited(0)
		if got := formats(c.invite.Body()); got != "0" {
			w.t.Errorf("the second phone is offered %q", got)
		}
		c.must(func() error { return c.Answer(two.offering("0")) })
		a.expect("183 sdp, 200")
		if x, y := w.speak(pbx, two); x < 1 || y != 1 {
			w.t.Errorf("%d and %d packets arrived", x, y)
		}
		a.hangUp()
		r := w.record()
		why := func(s bridge.Step) bool {
			return strings.Contains(s.What, "offered only the codecs of the SDP that the caller has")
		}
		if r.Result != bridge.Answered || !strings.Contains(r.Attempts[0].Outcome, "none of the offered media") || !slices.ContainsFunc(r.Steps, why) {
			w.t.Errorf("record: %+v", r)
		}
	})
}

// The only phone has PCMA only: the caller hears why.
func TestToneBindsTheOnlyPhone(t *testing.T) {
	inWorld(t, toned, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.sleeper("va")
		a := pbx.call("alice")
		phone.register(alice)
		phone.invited(0).refuse(488)
		a.expect("183 sdp, 488")
		w.pass(time.Second)
		pbx.hears()
		w.pass(time.Second)
		if n := len(pbx.hears()); n != 0 {
			w.t.Errorf("%d packets after the end", n)
		}
	})
}

// A phone that answers with a codec that it was not offered, or under a payload type
// of its own, would be heard by nobody.
func TestToneIsNotAnsweredByAnotherCodec(t *testing.T) {
	for name, answer := range map[string]func(u *ua) []byte{
		"codec":        func(u *ua) []byte { return u.offering("8") },
		"payload type": func(u *ua) []byte { return u.offering("96", "a=rtpmap:96 PCMU/8000") },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, toned, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.sleeper("va")
				a := pbx.call("alice")
				phone.register(alice)
				b := phone.invited(0)
				b.must(func() error { return b.Answer(answer(phone)) })
				a.expect("183 sdp, 488")
				b.expect("ACK, BYE")
			})
		})
	}
}

func TestToneGivesWayToEarlyMedia(t *testing.T) {
	inWorld(t, toned, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.sleeper("va")
		a := pbx.call("alice")
		phone.register(alice)
		b := phone.invited(0)
		b.must(func() error { return b.Progress(183, phone.offering("0")) })
		a.expect("183 sdp, 183 sdp")
		pbx.hears()
		w.pass(time.Second)
		if n := len(pbx.hears()); n != 0 {
			w.t.Errorf("%d packets of tone beside early media", n)
		}
		if x, y := w.speak(pbx, phone); x != 1 || y != 1 {
			w.t.Errorf("%d and %d packets arrived", x, y)
		}
		b.must(func() error { return b.Answer(phone.offering("0")) })
		a.expect("183 sdp, 183 sdp, 200")
		a.hangUp()
	})
}

// Whoever ends the call ends the tone.
func TestToneEnds(t *testing.T) {
	for name, end := range map[string]func(w *world, a *dialog){
		"CANCEL":   func(_ *world, a *dialog) { a.giveUp() },
		"operator": func(w *world, _ *dialog) { w.bridge.Drain(canceled()) },
		"time":     func(w *world, _ *dialog) { w.pass(31 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, toned, func(w *world) {
				pbx := w.ua("100", pbxHost)
				w.sleeper("va")
				a := pbx.call("alice")
				pbx.hearsTone(audio.PCMU)
				end(w, a)
				w.settle()
				if n := w.relay.PortsInUse(); n != 0 {
					w.t.Errorf("%d ports in use", n)
				}
				pbx.hears()
				w.pass(time.Second)
				if n := len(pbx.hears()); n != 0 {
					w.t.Errorf("%d packets after the end", n)
				}
			})
		})
	}
}

// canceled is a context that waits for nobody.
func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// Callers that cannot be played a tone hear a 180, and keep all their codecs.
func TestNoTone(t *testing.T) {
	for name, c := range map[string]struct {
		offer func(u *ua) []byte
		told  string
		allow []string
		more  func(*options)
	}{
		"no G.711":           {func(u *ua) []byte { return u.offering("9 18") }, "180", nil, toned},
		"G.711 not allowed":  {func(u *ua) []byte { return u.offering("9 0") }, "180", []string{"g722"}, toned},
		"video":              {func(u *ua) []byte { return u.sdp("m=video 40002 RTP/AVP 96", "a=rtpmap:96 VP8/90000") }, "180", nil, toned},
		"held":               {func(u *ua) []byte { return u.sdp("a=sendonly") }, "180", nil, toned},
		"not wanted":         {func(u *ua) []byte { return u.sdp() }, "180", nil, func(*options) {}},
		"only when it rings": {func(u *ua) []byte { return u.sdp() }, "", nil, func(o *options) { toned(o); o.terms.Ringing = bridge.RingTrying }},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(o *options) { c.more(o); o.terms.Codecs = c.allow }, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.sleeper("va")
				a := pbx.call("alice", func(inv *leg.Invite) { inv.Body = c.offer(pbx) })
				w.pass(time.Second)
				a.expect(c.told)
				if n := len(pbx.hears()); n != 0 {
					w.t.Errorf("%d packets", n)
				}
				phone.register(alice)
				if got, want := formats(phone.invited(0).invite.Body()), formats(c.offer(pbx)); got != want && c.allow == nil {
					w.t.Errorf("the phone is offered %q of %q", got, want)
				}
				a.giveUp()
			})
		})
	}
}

// A phone that is awake gets everything that was offered.
func TestNoToneForPhonesAwake(t *testing.T) {
	inWorld(t, func(o *options) { toned(o); o.terms.Ringing = bridge.RingAtOnce }, func(w *world) {
		pbx, one := w.ua("100", pbxHost), w.ua("x", phone2Host)
		w.sleeper("va")
		one.register(alice)
		a := pbx.call("alice")
		a.expect("180")
		if got := formats(one.invited(0).invite.Body()); got != "0 8" {
			w.t.Errorf("the phone is offered %q", got)
		}
		one.invited(0).pickUp()
		a.hangUp()
	})
}

// A caller with SRTP hears the tone by its own keys, and the phone afterwards.
func TestToneBySRTP(t *testing.T) {
	inWorld(t, func(o *options) { toned(o); secure(sdes.Optional, sdes.Off)(o) }, func(w *world) {
		w.listenTLS()
		caller := w.phone("bob", bobHost, 440, func(c *softphone.AudioConfig) { c.Security = softphone.SRTPOnly })
		caller.register(sipua.TLS)
		w.sleeper("va")
		a := caller.call("alice")
		w.pass(2*time.Second - 10*time.Millisecond)
		heard := a.Audio()
		if heard.Refused != 0 || heard.Received < 95 || heard.Suite == "" || heard.Tone(440)+heard.Tone(480) < 0.95 || heard.Sent != 0 {
			w.t.Errorf("received %d, refused %d, suite %q, sent %d, tones %.2f and %.2f", heard.Received, heard.Refused, heard.Suite, heard.Sent,
				heard.Tone(440), heard.Tone(480))
		}
		callee := w.phone("alice", phone2Host, 880, nil)
		callee.connect(sipua.TCP)
		_, _, err := callee.RegisterAndWait(w.t.Context(), softphone.Account{Transport: sipua.TCP, Server: softphone.At(callee.flow.Remote()),
			Contact: func() (uri, params sip.HeaderParams) { return nil, sip.HeaderParams{{K: "+sip.instance", V: "va"}} }})
		w.must(err)
		b := callee.accept()
		w.must(b.Answer())
		w.pass(time.Second)
		w.talk("after the tone", a, b)
		if err := a.Hangup(); err != nil {
			w.t.Fatal(err)
		}
	})
}
