package iphone_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/iphone"
	"wakebridge/sipua/memnet"
)

// roamed is a phone that has taken another network while its call rang, which the server
// did not see.
type roamed struct {
	*world
	in   incoming
	said chan int // final responses to INVITEs that it sent from there
}

// inRoamedWorld runs a test with such a phone. Half a minute has passed.
func inRoamedWorld(t *testing.T, change func(*iphone.Config), f func(t *testing.T, w roamed)) {
	t.Helper()
	elsewhere := netip.MustParseAddr("10.0.0.10")
	var here *memnet.Host
	var said chan int
	inWorld(t, func(c *iphone.Config) {
		if change != nil {
			change(c)
		}
		said = make(chan int, 100) // in the bubble
		c.Network.Tap = func(m sipua.Traffic) {
			if res, ok := m.Message.(*sip.Response); ok && m.Sent && m.Flow.Local().Addr() == elsewhere && res.StatusCode >= 200 && res.CSeq().MethodName == sip.INVITE {
				said <- res.StatusCode
			}
		}
		dial := c.Network.Dial
		c.Network.Dial = func(ctx context.Context, tr sipua.Transport, to sipua.Destination) (net.Conn, error) {
			if here != nil {
				return here.Dial(ctx, netip.AddrPort{}, to.Addr)
			}
			return dial(ctx, tr, to)
		}
	}, func(t *testing.T, w *world) {
		in, _, after := w.ring()
		w.net.Partition(phoneAddr, serverAddr.Addr())
		w.must(w.phone.Airplane(true))
		w.see(after, iphone.FlowLost)
		here = w.net.Host(elsewhere)
		w.must(w.phone.Airplane(false))
		w.registered()
		time.Sleep(30 * time.Second)
		r := roamed{w, in, said}
		r.shown()
		f(t, r)
	})
}

// shown: the call is on the screen.
func (w roamed) shown() {
	w.t.Helper()
	for _, e := range w.phone.Timeline() {
		if e.Kind == iphone.Ended {
			w.t.Fatalf("the call left the screen: %+v", e)
		}
	}
}

// says waits for a final response of the phone.
func (w roamed) says(status int) {
	w.t.Helper()
	select {
	case got := <-w.said:
		if got != status {
			w.t.Errorf("the phone says %d, not %d", got, status)
		}
	case <-time.After(5 * time.Minute):
		w.t.Errorf("the phone says nothing\n%s", w.story(0))
	}
}

// A call rings on over another connection for as long as it lasts.
func TestRoamedWhileItRang(t *testing.T) {
	for name, f := range map[string]func(t *testing.T, w roamed){
		"answered": func(_ *testing.T, w roamed) {
			w.must(w.phone.Answer(w.in.id))
			w.says(200)
			time.Sleep(31500 * time.Millisecond) // longer than a call stands, shorter than a 200 waits for its ACK
			w.shown()
		},
		"answered when the server has just seen it": func(_ *testing.T, w roamed) {
			after := w.seq()
			w.must(w.phone.Answer(w.in.id))
			w.says(200)
			w.answered(w.invite(w.in))
			w.see(after, iphone.AudioStarted)
		},
		"declined": func(_ *testing.T, w roamed) {
			w.must(w.phone.Decline(w.in.id))
			w.says(603)
		},
		"the server sees it late, and sends another INVITE": func(t *testing.T, w roamed) {
			second := w.invite(w.in)
			time.Sleep(2 * time.Minute) // longer than a call stands
			third := w.invite(w.in)     // now it is one too many
			if e := w.ends(third); e.Status != 482 {
				t.Errorf("%+v", e)
			}
			after := w.seq()
			w.must(w.phone.Answer(w.in.id))
			w.answered(second)
			w.see(after, iphone.AudioStarted)
		},
		"over before the server sees it": func(t *testing.T, w roamed) {
			w.mu.Lock()
			w.ended = []string{w.in.id.String() + ";cause=200"}
			w.mu.Unlock()
			after := w.seq()
			w.push("voip", w.in) // whatever has it register
			if e := w.see(after, iphone.Ended); e.Reason != iphone.AnsweredElsewhere {
				t.Errorf("%+v", e)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inRoamedWorld(t, func(c *iphone.Config) { c.OS = 15 }, func(t *testing.T, w roamed) {
				f(t, w)
				synctest.Wait()
				w.clean()
			})
		})
	}
}

// Where CallKit does not end it, a call of which the server says nothing any more is
// refused and ends.
func TestRoamedAndNeverHeardOfAgain(t *testing.T) {
	inRoamedWorld(t, func(c *iphone.Config) { c.OS = 15 }, func(t *testing.T, w roamed) {
		w.says(480)
		if e := w.see(0, iphone.Ended); e.Reason != iphone.Unanswered {
			t.Errorf("%+v", e)
		}
		w.clean()
	})
}
