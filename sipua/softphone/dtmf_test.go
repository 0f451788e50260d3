package softphone_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"wakebridge/bridge/media/audio"
	"wakebridge/sipua"
	"wakebridge/sipua/softphone"
)

// Keys reach the peer in order and once each, both ways, and the sound goes on
// around them.
func TestPress(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.phone("alice", "10.0.0.1", tone(440)), w.phone("bob", "10.0.0.2", tone(1000))
		a := w.call(alice, sipua.UDP, "10.0.0.2")
		b := w.accept(bob)
		if err := b.Press("1"); err == nil {
			t.Error("pressed before the answer")
		}
		must(t, b.Answer())
		w.wait(b, softphone.Confirmed)
		<-b.Heard()
		must(t, a.Press("1123"))
		must(t, a.Press("#*"))
		must(t, b.Press("d0"))
		if err := a.Press("1x"); !errors.Is(err, audio.ErrDigit) {
			t.Errorf("x is no key: %v", err)
		}
		time.Sleep(6 * 240 * time.Millisecond)
		if got := b.Digits(); got != "1123#*" {
			t.Errorf("bob heard %q", got)
		}
		if got := a.Digits(); got != "D0" {
			t.Errorf("alice heard %q", got)
		}
		before := len(b.Audio().Samples)
		time.Sleep(time.Second)
		heard := b.Audio()
		if share := audio.Tone(heard.Samples[before:], 440); share < 0.9 || heard.Lost != 0 {
			t.Errorf("after the keys: tone %.2f, lost %d", share, heard.Lost)
		}
	})
}

// A key survives the loss of most of its packets.
func TestPressOverABadLine(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.phone("alice", "10.0.0.1", tone(440)), w.phone("bob", "10.0.0.2")
		a := w.call(alice, sipua.TCP, "10.0.0.2")
		b := w.accept(bob)
		must(t, b.Answer())
		<-b.Heard()
		impair(w, 0.5)
		must(t, a.Press("1234567890"))
		time.Sleep(5 * time.Second)
		if got := b.Digits(); got != "1234567890" {
			t.Errorf("heard %q", got)
		}
	})
}

func TestPressForAPeerWithoutEvents(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		bob, p := w.phone("bob", "10.0.0.2"), w.peer("10.0.0.3")
		w.callBy(p, "10.0.0.2", sdpPCMU)
		b := w.accept(bob)
		must(t, b.Answer())
		w.wait(b, softphone.Confirmed)
		if err := b.Press("1"); !errors.Is(err, softphone.ErrNoEvents) {
			t.Errorf("%v", err)
		}
		if got := b.Digits(); got != "" {
			t.Errorf("heard %q", got)
		}
	})
}

// Two phones that have INFO only tell each other keys that way, in order, and their
// descriptions have no events.
func TestPressByInfo(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		byInfo := func(c *softphone.Config) { c.Audio.Keys = softphone.KeysInfo }
		alice, bob := w.phone("alice", "10.0.0.1", byInfo), w.phone("bob", "10.0.0.2", byInfo)
		a := w.call(alice, sipua.UDP, "10.0.0.2")
		b := w.accept(bob)
		must(t, b.Answer())
		w.wait(b, softphone.Confirmed)
		if strings.Contains(string(b.Invite().Body()), "telephone-event") {
			t.Errorf("offer %s", b.Invite().Body())
		}
		must(t, a.Press("12#"))
		must(t, a.Press("d"))
		must(t, b.Press("0"))
		if err := a.Press("x"); !errors.Is(err, audio.ErrDigit) {
			t.Errorf("x is no key: %v", err)
		}
		time.Sleep(time.Second)
		if got := b.Digits() + " " + a.Digits(); got != "12#D 0" {
			t.Errorf("heard %s", got)
		}
		if e := w.wait(a, softphone.KeyAnswered); e.Status != 200 {
			t.Errorf("%+v", e)
		}
	})
}
