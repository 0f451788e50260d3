package softphone_test

import (
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge/media/audio"
	"wakebridge/sipua"
	"wakebridge/sipua/softphone"
)

func TestMuteAndStop(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.phone("alice", "10.0.0.1", tone(440)), w.phone("bob", "10.0.0.2")
		a := w.call(alice, sipua.UDP, "10.0.0.2")
		b := w.accept(bob)
		must(t, b.Answer())
		w.wait(b, softphone.Confirmed)
		<-b.Heard()
		a.Mute(true)
		time.Sleep(time.Second)
		before := len(b.Audio().Samples)
		time.Sleep(2 * time.Second)
		if l := audio.Level(b.Audio().Samples[before:]); l > -60 {
			t.Errorf("muted at %.0f dBFS", l)
		}
		a.Mute(false)
		time.Sleep(time.Second)
		before = len(b.Audio().Samples)
		time.Sleep(time.Second)
		if s := audio.Tone(b.Audio().Samples[before:], 440); s < 0.9 {
			t.Errorf("tone %.2f", s)
		}
		must(t, a.StopAudio())
		sent := a.Audio().Sent
		time.Sleep(time.Second)
		if n := a.Audio().Sent - sent; n > 1 {
			t.Errorf("%d packets after StopAudio", n)
		}
		must(t, a.StartAudio())
		time.Sleep(time.Second)
		if n := a.Audio().Sent - sent; n < 45 {
			t.Errorf("%d packets after StartAudio", n)
		}
	})
}

func TestAPhoneAnswersOptions(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.phone("bob", "10.0.0.2")
		p := w.peer("10.0.0.3")
		f, err := p.ep.Connect(w.ctx(), sipua.UDP, softphone.At(addrPort("10.0.0.2:5060")))
		must(t, err)
		req := sip.NewRequest(sip.OPTIONS, sip.Uri{Scheme: "sip", User: "bob", Host: "10.0.0.2"})
		req.AppendHeader(&sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "x", Host: "y"}, Params: sip.HeaderParams{{K: "tag", V: "1"}}})
		req.AppendHeader(&sip.ToHeader{Address: req.Recipient})
		id := sip.CallIDHeader("options")
		req.AppendHeader(&id)
		req.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: sip.OPTIONS})
		got := make(chan *sip.Response, 1)
		_, err = p.ep.Request(f, req, func(res *sip.Response, _ error) { got <- res })
		must(t, err)
		if res := <-got; res == nil || res.StatusCode != 200 || sipua.Value(res, "Allow") == "" {
			t.Errorf("%v", res)
		}
	})
}

// Accept forgets the oldest of too many calls; they all can still be ended.
func TestManyCallsAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		bob := w.phone("bob", "10.0.0.2")
		alice := w.phone("alice", "10.0.0.1")
		var calls []*softphone.Call
		for range 100 {
			calls = append(calls, w.call(alice, sipua.TCP, "10.0.0.2"))
		}
		for _, c := range calls {
			w.wait(c, softphone.Trying)
		}
		n := 0
		for range 64 {
			c := w.accept(bob)
			if c.Incoming() && c.Invite() != nil && c.CallID() != "" && !c.Started().IsZero() {
				n++
			}
			must(t, c.Busy())
		}
		if n != 64 {
			t.Errorf("%d calls", n)
		}
		for _, c := range calls {
			if err := c.Hangup(); err == nil || n > 0 { // busy is over already
				w.wait(c, softphone.Ended)
			}
		}
	})
}
