package softphone_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"wakebridge/bridge/media/audio"
	"wakebridge/sipua"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/softphone"
)

// A phone goes to another address in the middle of a call: both hear each other again,
// and the stream is the same one. A held call stays held.
func TestACallMoves(t *testing.T) {
	for name, hold := range map[string]bool{"talking": false, "held": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				at := netip.MustParseAddr("10.0.0.1")
				alice := w.phone("alice", "10.0.0.1", tone(440), func(c *softphone.Config) {
					c.Media = func() (net.PacketConn, error) { return w.net.Host(at).ListenPacket(netip.AddrPortFrom(at, 0)) }
					c.Audio.Security = softphone.SRTPOnly
				})
				bob := w.phone("bob", "10.0.0.2", tone(880))
				a := w.call(alice, sipua.UDP, "10.0.0.2")
				b := w.accept(bob)
				must(t, b.Answer())
				<-b.Heard()
				time.Sleep(time.Second)
				if hold {
					must(t, a.Hold(w.ctx()))
				}
				at = netip.MustParseAddr("10.0.0.9")
				must(t, a.Move(w.ctx(), a.Flow()))
				time.Sleep(100 * time.Millisecond)
				heard := a.Audio().Received
				time.Sleep(time.Second)
				if n := a.Audio().Received - heard; hold && n != 0 {
					t.Errorf("held, but %d packets came", n)
				}
				if hold {
					must(t, a.Resume(w.ctx()))
					time.Sleep(100 * time.Millisecond)
				}
				was := b.Audio()
				heard = a.Audio().Received
				time.Sleep(2 * time.Second)
				is := b.Audio()
				if s := audio.Tone(is.Samples[len(was.Samples):], 440); s < 0.9 || is.Lost != 0 || is.Refused != 0 {
					t.Errorf("bob hears a tone of %.2f, lost %d, refused %d", s, is.Lost, is.Refused)
				}
				if n := a.Audio().Received - heard; n < 95 {
					t.Errorf("alice received %d packets", n)
				}
				must(t, a.Hangup())
				w.wait(b, softphone.Ended)
				if err := a.Move(w.ctx(), a.Flow()); err == nil {
					t.Error("a call moved after its end")
				}
			})
		})
	}
}

// A peer that does not take the new address is an error.
func TestAMoveIsRefused(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		bob, p := w.phone("bob", "10.0.0.2"), w.peer("10.0.0.3")
		l := w.callBy(p, "10.0.0.2", sdpPCMU)
		b := w.accept(bob)
		must(t, b.Answer())
		expect[leg.Answered](w, p)
		w.wait(b, softphone.Confirmed)
		moved := make(chan error)
		go func() { moved <- b.Move(w.ctx(), b.Flow()) }() // awaited below
		expect[leg.Offer](w, p)
		must(t, p.do(func() error { return l.RejectOffer(488, "") }))
		if err := <-moved; !errors.Is(err, softphone.ErrRefused) {
			t.Errorf("%v", err)
		}
	})
}
