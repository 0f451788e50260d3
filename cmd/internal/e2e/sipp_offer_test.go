package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/bridge/media/audio"
	"wakebridge/bridge/sdp"
	"wakebridge/sipua/softphone"
)

// sdpOf is the description in a message.
func (m sippMessage) sdpOf(t *testing.T) *sdp.Description {
	t.Helper()
	_, body, _ := strings.Cut(m.text, "\r\n\r\n")
	d, err := sdp.Parse([]byte(body))
	if err != nil {
		t.Fatalf("%v:\n%s", err, m.text)
	}
	return d
}

// TestSIPpWithoutOffer: a PBX that sends no offer, neither to begin the call nor to
// refresh, hold and resume it: the phone sees ordinary INVITEs, and sound passes.
func TestSIPpWithoutOffer(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	a := app(t, 620)
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	if _, _, err := a.RegisterAndWait(ctx, account(s, "", "")); err != nil {
		t.Fatal(err)
	}
	tone, err := audio.Take(audio.Sine(440, 0.5), 60*8000)
	if err != nil {
		t.Fatal(err)
	}
	sound := newRTPEndpoint(t, trunkHost, tone)
	side := sippPBX(s, "201", "invite-late", "ringing", "answered-late", "pause 3000", "reinvite-late 2 sendrecv", "pause 500",
		"reinvite-late 3 sendonly", "pause 500", "reinvite-late 4 sendrecv", "pause 4000", "bye")
	side.Sound = strconv.Itoa(int(sound.addr.Port()))
	caller := runSIPp(t, side)
	in, err := a.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Ring(); err != nil {
		t.Fatal(err)
	}
	caller.await(t, false, "SIP/2.0 180")
	if err := in.Answer(); err != nil {
		t.Fatal(err)
	}
	sound.sendTo(caller.await(t, false, "SIP/2.0 200").sdpOf(t).Streams()[0].Target())
	hears(t, "the phone", in, 440)
	for _, kind := range []softphone.Kind{softphone.Held, softphone.Resumed} {
		if _, err := in.Wait(ctx, kind); err != nil {
			t.Fatal(err)
		}
	}
	heard := len(sound.receiver.Samples())
	wait(t, 3*time.Second, "the PBX to hear the phone again", func() (bool, string) {
		samples := sound.receiver.Samples()
		if len(samples) < heard+8000 {
			return false, fmt.Sprint(len(samples), " samples")
		}
		strength := audio.Tone(samples[len(samples)-4000:], 620)
		return strength > 0.8, fmt.Sprintf("tone %.2f", strength)
	})
	caller.ends(t, sippPassed)
	if _, err := in.Ended(ctx); err != nil {
		t.Fatal(err)
	}
	for _, m := range caller.find(false, "SIP/2.0 200") {
		if s := m.header("CSeq"); s == "99 BYE" {
			continue
		}
		if d := m.sdpOf(t); d.Streams()[0].Direction != sdp.SendRecv || d.Streams()[0].Addr != netip.MustParseAddr(serverHost) {
			t.Errorf("the PBX was offered\n%s", d)
		}
	}
	if r := s.record(t, 0); r.Result != bridge.Answered || r.HangupBy != "caller" {
		t.Errorf("record: %+v", r)
	}
}
