package bridge_test

import (
	"strings"
	"testing"
	"time"

	"wakebridge/bridge/sdp"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/memnet"
)

// answered is an answered call between the PBX and alice's phone.
func (w *world) answered() (a, b *dialog) {
	w.t.Helper()
	pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
	phone.register(alice)
	a = pbx.call("alice")
	b = phone.invited(0)
	b.pickUp()
	return a, b
}

func (d *dialog) offers() []string {
	var out []string
	d.u.do(func() {
		for _, e := range d.events {
			if o, ok := e.(leg.Offer); ok {
				out = append(out, string(o.Body))
			}
		}
	})
	return out
}

// The PBX gives its offer up in the moment in which the phone accepts it: the phone
// must not stay on hold.
func TestWithdrawnOfferIsUndone(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, b := w.answered()
		w.net.ImpairBoth(phoneHost, serverHost, memnet.Impairment{Delay: 100 * time.Millisecond})
		a.must(func() error { return a.Reinvite(a.u.sdp("a=inactive")) })
		w.pass(31950 * time.Millisecond) // the PBX gives up after 32 s
		b.must(func() error { return b.AnswerOffer(b.u.sdp("a=inactive")) })
		w.pass(time.Second)
		if got := last[leg.OfferAnswered](a); got.Status != 487 {
			t.Errorf("the PBX heard %d", got.Status)
		}
		o := b.offers()
		if len(o) != 2 || !strings.Contains(o[0], "inactive") || strings.Contains(o[1], "inactive") {
			t.Fatalf("the phone was offered %q", o)
		}
		b.must(func() error { return b.AnswerOffer(b.u.sdp()) })
		w.pass(time.Second)
		a.hangUp()
		w.pass(time.Second)
	})
}

// An answer that the other side cannot be given does not stay half valid.
func TestUnusableAnswerToReinvite(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, b := w.answered()
		a.must(func() error { return a.Reinvite(a.u.sdp("a=sendonly")) })
		b.must(func() error { return b.AnswerOffer([]byte(strings.ReplaceAll(string(b.u.sdp()), "0 8", "18"))) })
		if got := last[leg.OfferAnswered](a); got.Status != 488 {
			t.Errorf("the PBX heard %d", got.Status)
		}
		if o := b.offers(); len(o) != 2 || strings.Contains(o[1], "sendonly") {
			t.Fatalf("the phone was offered %q", o)
		}
		// Until that is answered, nobody else may offer.
		a.must(func() error { return a.Reinvite(a.u.sdp("a=sendonly")) })
		b.must(func() error { return b.RejectOffer(488, "") })
		w.pass(10 * time.Second)
		if o := b.offers(); len(o) != 3 || !strings.Contains(o[2], "sendonly") {
			t.Errorf("the phone was offered %q", o)
		}
		b.must(func() error { return b.AnswerOffer(b.u.sdp("a=recvonly")) })
		if got := last[leg.OfferAnswered](a); got.Status != 200 {
			t.Errorf("the PBX heard %d", got.Status)
		}
		a.hangUp()
	})
}

const videoLine = "m=video 40002 RTP/AVP 96\r\na=rtpmap:96 H264/90000"

func TestVideoIsRefusedAndAddedLater(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.sleeper("va")
		a := pbx.call("alice", func(inv *leg.Invite) { inv.Body = pbx.sdp(videoLine) })
		if p := w.pushed(1)[0]; !p.Video {
			t.Error("the push says nothing of video")
		}
		phone.register(alice)
		b := phone.invited(0)
		if n := w.relay.PortsInUse(); n != 8 {
			t.Errorf("%d ports for two lines of both legs", n)
		}
		b.must(func() error { return b.Answer(phone.sdp("m=video 0 RTP/AVP 96")) })
		answer, err := sdp.Parse(last[leg.Answered](a).Body)
		if err != nil {
			w.t.Fatal(err)
		}
		if s := answer.Streams(); len(s) != 2 || !s[0].Active() || s[1].Active() {
			t.Errorf("answer:\n%s", answer)
		}
		a.must(func() error { return a.Reinvite(pbx.sdp(videoLine)) })
		b.must(func() error { return b.AnswerOffer(phone.sdp(videoLine)) })
		if got := last[leg.OfferAnswered](a); got.Status != 200 || !strings.Contains(string(got.Body), "m=video 1") {
			t.Errorf("answer: %d\n%s", got.Status, got.Body)
		}
		if x, y := w.speak(pbx, phone); x != 1 || y != 1 {
			t.Errorf("%d and %d packets arrived", x, y)
		}
		a.hangUp()
	})
	inWorld(t, nil, func(w *world) { // one line more than before
		a, b := w.answered()
		a.must(func() error { return a.Reinvite(a.u.sdp(videoLine)) })
		b.must(func() error { return b.AnswerOffer(b.u.sdp(videoLine)) })
		if n := w.relay.PortsInUse(); n != 8 {
			t.Errorf("%d ports for two lines of two legs", n)
		}
		a.hangUp()
	})
}

// A phone that knows no video leaves it out of its answers, or the formats of it.
func TestAnswersWithoutVideo(t *testing.T) {
	for _, less := range []string{"", "m=video 0 RTP/AVP"} {
		inWorld(t, nil, func(w *world) {
			pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
			phone.register(alice)
			a := pbx.call("alice", func(inv *leg.Invite) { inv.Body = pbx.sdp(videoLine) })
			b := phone.invited(0)
			b.must(func() error { return b.Answer(phone.sdp(less)) })
			a.expect("200")
			a.must(func() error { return a.Reinvite(pbx.sdp(videoLine)) })
			b.must(func() error { return b.AnswerOffer(phone.sdp(less)) })
			got := last[leg.OfferAnswered](a)
			for _, body := range [][]byte{last[leg.Answered](a).Body, got.Body} {
				if !strings.Contains(string(body), "m=video 0 RTP/AVP 96\r\n") {
					t.Errorf("%q: answer\n%s", less, body)
				}
			}
			if x, y := w.speak(pbx, phone); got.Status != 200 || x != 1 || y != 1 {
				t.Errorf("%d; %d and %d packets arrived", got.Status, x, y)
			}
			a.hangUp()
		})
	}
}

// The caller has heard one codec: a phone that comes back on another connection is
// offered only that, and the 200 repeats what the caller has.
func TestOffersAfterEarlyMedia(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice")
		pcma := []byte(strings.ReplaceAll(string(phone.sdp()), "AVP 0 8", "AVP 8"))
		first := phone.invited(0)
		first.must(func() error { return first.Progress(183, pcma) })
		a.expect("183 sdp")
		phone.sleep()
		w.pass(time.Second)
		phone.register(alice)
		first.must(func() error { first.Drop(); return nil })
		b := phone.invited(1)
		offer, err := sdp.Parse(b.invite.Body())
		if err != nil {
			w.t.Fatal(err)
		}
		if f := offer.Streams()[0].Formats; len(f) != 1 || f[0] != "8" {
			t.Errorf("offered %v", f)
		}
		b.must(func() error { return b.Answer(pcma) })
		a.expect("183 sdp, 200")
		if x, y := w.speak(pbx, phone); x != 1 || y != 1 {
			t.Errorf("%d and %d packets arrived", x, y)
		}
		a.hangUp()
	})
}
