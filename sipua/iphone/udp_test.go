package iphone_test

import (
	"testing"
	"testing/synctest"
	"time"

	"wakebridge/sipua"
	"wakebridge/sipua/iphone"
)

func overUDP(c *iphone.Config) { c.Account.Transport = sipua.UDP }

// iOS takes the socket of a suspended app, too: what is sent to it is lost, and the
// app that a push wakes registers from another port.
func TestAWokenCallOverUDP(t *testing.T) {
	inWorld(t, overUDP, func(t *testing.T, w *world) {
		w.must(w.phone.Open())
		w.must(w.phone.Ready(w.ctx()))
		before := w.registered().Contact().Address.Port
		w.must(w.phone.Sleep())
		after, in := w.seq(), newIncoming()
		lost := w.invite(in)
		time.Sleep(2 * time.Second)
		if story := w.story(after); story != "" {
			t.Errorf("asleep: %s", story)
		}
		w.must(lost.Hangup())
		in = newIncoming()
		w.push("voip", in)
		if port := w.registered().Contact().Address.Port; port == before {
			t.Error("its socket outlived its sleep")
		}
		c := w.invite(in)
		w.see(after, iphone.Ringing)
		w.must(w.phone.Answer(in.id))
		w.see(after, iphone.AudioStarted)
		w.tells(after, "push received", "app resumed", "call reported", "registering", "registered", "INVITE received", "180 sent", "user answered",
			"200 sent", "answer fulfilled", "audio started")
		if share, _ := hears(c); share < 0.9 {
			t.Errorf("tone %.2f", share)
		}
		w.must(w.phone.End(in.id))
		w.ends(c)
	})
}

// Without a network there is no socket either.
func TestAirplaneModeOverUDP(t *testing.T) {
	inWorld(t, overUDP, func(t *testing.T, w *world) {
		w.must(w.phone.Open())
		w.must(w.phone.Ready(w.ctx()))
		w.registered()
		after := w.seq()
		w.must(w.phone.Airplane(true))
		w.see(after, iphone.FlowLost)
		synctest.Wait()
		w.must(w.phone.Airplane(false))
		w.registered()
		w.see(after, iphone.Registered)
		w.clean()
	})
}
