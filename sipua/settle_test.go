package sipua_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
)

func ours(method sip.RequestMethod, id string) *sip.Request {
	bob := sip.Uri{Scheme: "sip", User: "bob", Host: "example.com"}
	req := sip.NewRequest(method, bob)
	req.AppendHeader(&sip.FromHeader{Address: bob, Params: sip.HeaderParams{{K: "tag", V: "1"}}})
	req.AppendHeader(&sip.ToHeader{Address: bob})
	callID := sip.CallIDHeader(id)
	req.AppendHeader(&callID)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: method})
	return req
}

// settles says whether Settle is content within a while, and how long it took.
func (w *world) settles(within time.Duration) (bool, time.Duration) {
	ctx, cancel := context.WithTimeout(w.t.Context(), within)
	defer cancel()
	begin := time.Now()
	ok := w.ep.Settle(ctx)
	return ok, time.Since(begin)
}

func TestSettle(t *testing.T) {
	for _, method := range []sip.RequestMethod{sip.BYE, sip.INVITE} {
		for _, status := range []int{200, 486} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				if ok, took := w.settles(time.Second); !ok || took > 0 {
					t.Errorf("nothing was said: %t after %s", ok, took)
				}
				p := w.udp(aliceHost, 5060)
				f := w.connect(sipua.UDP, p.addr())
				if _, err := w.ep.Request(f, ours(method, "s"), func(*sip.Response, error) {}); err != nil {
					t.Fatal(err)
				}
				request := p.read()[0]
				if method == sip.INVITE {
					p.send(answer(request, 180, "t"))
				}
				if ok, took := w.settles(100 * time.Millisecond); ok || took != 100*time.Millisecond {
					t.Errorf("%s without a final response: %t after %s", method, ok, took)
				}
				time.AfterFunc(50*time.Millisecond, func() { p.send(answer(request, status, "t")) })
				if ok, took := w.settles(time.Second); !ok || took < 50*time.Millisecond || took > 60*time.Millisecond {
					t.Errorf("%s answered with %d: %t after %s", method, status, ok, took)
				}
			})
		}
	}
}

func TestSettleWithoutAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.udp(aliceHost, 5060)
		f := w.connect(sipua.UDP, p.addr())
		if _, err := w.ep.Request(f, ours(sip.BYE, "time-out"), func(*sip.Response, error) {}); err != nil {
			t.Fatal(err)
		}
		if ok, took := w.settles(time.Minute); !ok || took < 32*time.Second || took > 33*time.Second {
			t.Errorf("%t after %s", ok, took)
		}
		tx, err := w.ep.Request(f, ours(sip.OPTIONS, "given-up"), func(*sip.Response, error) {})
		if err != nil {
			t.Fatal(err)
		}
		tx.Terminate()
		if ok, took := w.settles(time.Minute); !ok || took > 0 {
			t.Errorf("%t after %s", ok, took)
		}
	})
}

func TestOwe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one, two := w.ep.Owe(), w.ep.Owe()
		one()
		one() // counts once
		if ok, _ := w.settles(100 * time.Millisecond); ok {
			t.Error("something is still owed")
		}
		time.AfterFunc(50*time.Millisecond, two)
		if ok, took := w.settles(time.Second); !ok || took > 60*time.Millisecond {
			t.Errorf("%t after %s", ok, took)
		}
		w.ep.Owe()
		w.ep.Close()
		if ok, took := w.settles(time.Second); ok || took > 0 {
			t.Errorf("after Close: %t after %s", ok, took)
		}
	})
}
