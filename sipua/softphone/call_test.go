package softphone_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"wakebridge/bridge/media/audio"
	"wakebridge/sipua"
	"wakebridge/sipua/softphone"
)

func TestEachHearsTheOther(t *testing.T) {
	for _, transport := range []sipua.Transport{sipua.UDP, sipua.TCP} {
		inWorld(t, func(t *testing.T, w *world) {
			alice := w.phone("alice", "10.0.0.1", tone(440))
			bob := w.phone("bob", "10.0.0.2", tone(1000), func(c *softphone.Config) { c.Audio.Codecs = []audio.Codec{audio.PCMA, audio.PCMU} })
			a := w.call(alice, transport, "10.0.0.2")
			b := w.accept(bob)
			must(t, b.Ring())
			w.wait(a, softphone.Ringing)
			must(t, b.Answer())
			w.wait(a, softphone.Answered)
			w.wait(b, softphone.Confirmed)
			time.Sleep(2 * time.Second)
			must(t, a.Hangup())
			if e := w.wait(b, softphone.Ended); !e.ByRemote || e.Cause != softphone.CauseBye {
				t.Errorf("%s: bob's call ended %+v", transport, e)
			}
			w.wait(a, softphone.Ended)
			heardA, heardB := a.Audio(), b.Audio()
			for _, h := range []struct {
				name    string
				got     softphone.Audio
				hz, own float64
			}{{"alice", heardA, 1000, 440}, {"bob", heardB, 440, 1000}} {
				if h.got.Received < 95 || h.got.Lost != 0 || h.got.Tone(h.hz) < 0.95 || h.got.Tone(h.own) > 0.05 || h.got.Level < -14 || h.got.Level > -10 {
					t.Errorf("%s %s: %d received, %d lost, level %.1f, tone %.2f, own tone %.2f", transport, h.name,
						h.got.Received, h.got.Lost, h.got.Level, h.got.Tone(h.hz), h.got.Tone(h.own))
				}
				if h.got.Codec != audio.PCMU { // alice offers it first
					t.Errorf("%s %s: codec %s", transport, h.name, h.got.Codec)
				}
			}
			if heardA.Sent < 95 || heardB.Received > heardA.Sent {
				t.Errorf("alice sent %d, bob received %d", heardA.Sent, heardB.Received)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for status, refuse := range map[int]func(*softphone.Call) error{
		603: (*softphone.Call).Decline,
		486: (*softphone.Call).Busy,
		480: func(c *softphone.Call) error { return c.Reject(480, "Asleep") },
	} {
		inWorld(t, func(t *testing.T, w *world) {
			alice, bob := w.phone("alice", "10.0.0.1"), w.phone("bob", "10.0.0.2")
			a := w.call(alice, sipua.UDP, "10.0.0.2")
			must(t, refuse(w.accept(bob)))
			e, err := a.Wait(w.ctx(), softphone.Answered)
			if !errors.Is(err, softphone.ErrCallEnded) || e.Status != status {
				t.Errorf("%d: %+v, %v", status, e, err)
			}
			if a.Audio().Sent != 0 {
				t.Error("sent audio to a call that was refused")
			}
		})
	}
}

func TestHangupBeforeTheAnswerIsCancel(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.phone("alice", "10.0.0.1"), w.phone("bob", "10.0.0.2")
		a := w.call(alice, sipua.UDP, "10.0.0.2")
		b := w.accept(bob)
		must(t, b.Ring())
		w.wait(a, softphone.Ringing)
		must(t, a.Hangup("SIP;cause=200;text=\"elsewhere\""))
		e := w.wait(b, softphone.Ended)
		if e.Cause != softphone.CauseCancelled || !e.ByRemote || !slices.Equal(e.Reasons, []string{`SIP;cause=200;text="elsewhere"`}) {
			t.Errorf("bob: %+v", e)
		}
		if e := w.wait(a, softphone.Ended); e.Status != 487 {
			t.Errorf("alice: %+v", e)
		}
		if err := b.Answer(); err == nil {
			t.Error("a cancelled call was answered")
		}
	})
}

func TestHoldAndResume(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.phone("alice", "10.0.0.1", tone(440)), w.phone("bob", "10.0.0.2", tone(1000))
		a := w.call(alice, sipua.TCP, "10.0.0.2")
		b := w.accept(bob)
		must(t, b.Answer())
		w.wait(a, softphone.Answered)
		time.Sleep(time.Second)
		must(t, a.Hold(w.ctx()))
		w.wait(b, softphone.Held)
		time.Sleep(100 * time.Millisecond)
		sentA, sentB := a.Audio().Sent, b.Audio().Sent
		time.Sleep(5 * time.Second)
		if a.Audio().Sent != sentA || b.Audio().Sent != sentB {
			t.Errorf("on hold alice sent %d, bob %d", a.Audio().Sent-sentA, b.Audio().Sent-sentB)
		}
		must(t, a.Resume(w.ctx()))
		w.wait(b, softphone.Resumed)
		time.Sleep(time.Second)
		if a.Audio().Sent < sentA+40 || b.Audio().Sent < sentB+40 {
			t.Errorf("after hold alice sent %d, bob %d", a.Audio().Sent-sentA, b.Audio().Sent-sentB)
		}
		must(t, b.Hangup())
		w.wait(a, softphone.Ended)
	})
}

func TestManualAudioWaits(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice := w.phone("alice", "10.0.0.1", tone(440))
		bob := w.phone("bob", "10.0.0.2", tone(1000), func(c *softphone.Config) { c.Audio.Manual = true })
		a := w.call(alice, sipua.UDP, "10.0.0.2")
		b := w.accept(bob)
		must(t, b.Answer())
		w.wait(b, softphone.Confirmed)
		time.Sleep(time.Second)
		if n := b.Audio().Sent; n != 0 {
			t.Fatalf("%d packets before StartAudio", n)
		}
		must(t, b.StartAudio())
		time.Sleep(time.Second)
		if n := a.Audio().Received; n < 45 {
			t.Errorf("%d packets in the second after StartAudio", n)
		}
	})
}

func TestNothingInCommonIs488(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice := w.phone("alice", "10.0.0.1", func(c *softphone.Config) { c.Audio.Codecs = []audio.Codec{audio.PCMU} })
		bob := w.phone("bob", "10.0.0.2", func(c *softphone.Config) { c.Audio.Codecs = []audio.Codec{audio.PCMA} })
		a := w.call(alice, sipua.UDP, "10.0.0.2")
		b := w.accept(bob)
		err := b.Answer()
		if !errors.Is(err, softphone.ErrMedia) || sipua.Status(err) != 488 {
			t.Fatalf("answer: %v", err)
		}
		must(t, b.Reject(sipua.Status(err), ""))
		if e := w.wait(a, softphone.Ended); e.Status != 488 {
			t.Errorf("alice: %+v", e)
		}
	})
}

func TestLossIsMeasured(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.phone("alice", "10.0.0.1", tone(440)), w.phone("bob", "10.0.0.2")
		a := w.call(alice, sipua.TCP, "10.0.0.2")
		b := w.accept(bob)
		must(t, b.Answer())
		w.wait(a, softphone.Answered)
		impair(w, 0.2)
		time.Sleep(10 * time.Second)
		got, sent := b.Audio(), a.Audio().Sent
		if got.Lost < 60 || got.Lost > 150 || got.Received+got.Lost > sent {
			t.Errorf("sent %d, received %d, lost %d at 20 %% loss", sent, got.Received, got.Lost)
		}
	})
}

func TestClosedPhoneSaysNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.phone("alice", "10.0.0.1"), w.phone("bob", "10.0.0.2")
		a := w.call(alice, sipua.TCP, "10.0.0.2")
		b := w.accept(bob)
		must(t, b.Answer())
		w.wait(a, softphone.Answered)
		alice.Close()
		w.wait(b, softphone.FlowLost)
		time.Sleep(time.Second)
		if slices.Contains(kinds(b), "ended") {
			t.Errorf("a crash ended the call: %v", kinds(b))
		}
		if err := a.Hangup(); !errors.Is(err, softphone.ErrClosed) {
			t.Errorf("hang up: %v", err)
		}
		if _, err := a.Wait(w.ctx(), softphone.Ended); !errors.Is(err, softphone.ErrClosed) {
			t.Errorf("wait: %v", err)
		}
	})
}
