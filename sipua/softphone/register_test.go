package softphone_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/header"
	"wakebridge/sipua/softphone"
)

// registrar is a phone that registers everybody.
func (w *world) registrar(addr string, seen chan<- *sipua.ServerTx, status int) *softphone.Phone {
	return w.phone("pbx", addr, tone(440), func(c *softphone.Config) {
		c.Requests = func(tx *sipua.ServerTx) {
			res := tx.NewResponse(status, "")
			if contact := tx.Request.Contact(); contact != nil {
				res.AppendHeader(contact.Clone())
			}
			if err := tx.Respond(res); err != nil {
				w.t.Error(err)
			}
			seen <- tx
		}
	})
}

func account(t sipua.Transport, addr string) softphone.Account {
	return softphone.Account{Transport: t, Server: softphone.At(addrPort(addr)), Expires: 10 * time.Minute,
		Contact: func() (uri, params sip.HeaderParams) {
			return sip.HeaderParams{{K: "pn-provider", V: "apns"}}, sip.HeaderParams{softphone.InstanceParam("urn:uuid:00000000-0000-1000-8000-000000000001"), {K: "reg-id", V: "1"}}
		}}
}

func TestRegisterAndBeCalledOverTheFlow(t *testing.T) {
	for _, transport := range []sipua.Transport{sipua.UDP, sipua.TCP} {
		inWorld(t, func(t *testing.T, w *world) {
			seen := make(chan *sipua.ServerTx, 10)
			pbx := w.registrar("10.0.0.1", seen, 200)
			bob := w.phone("bob", "10.0.0.2", tone(1000))
			r, e, err := bob.RegisterAndWait(w.ctx(), account(transport, "10.0.0.1:5060"))
			must(t, err)
			if e.Expires != 10*time.Minute {
				t.Errorf("%+v", e)
			}
			tx := <-seen
			c := tx.Request.Contact()
			id, err := header.Instance(*c)
			if err != nil || id != "urn:uuid:00000000-0000-1000-8000-000000000001" || !slices.Contains(sipua.Tokens(sipua.Values(tx.Request, "Supported")), "outbound") {
				t.Errorf("%s", tx.Request)
			}
			call, err := pbx.Call(softphone.Outgoing{Target: c.Address, Flow: tx.Flow()})
			must(t, err)
			b := w.accept(bob)
			must(t, b.Answer())
			w.wait(call, softphone.Answered)
			time.Sleep(time.Second)
			must(t, call.Hangup())
			w.wait(b, softphone.Ended)
			if b.Audio().Tone(440) < 0.9 || call.Audio().Tone(1000) < 0.9 {
				t.Error("they did not hear each other")
			}
			must(t, r.Unregister(w.ctx()))
			if last := <-seen; sipua.Value(last.Request, "Expires") != "0" {
				t.Errorf("%s", last.Request)
			}
		})
	}
}

func TestRegisterRefused(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.registrar("10.0.0.1", make(chan *sipua.ServerTx, 10), 403)
		bob := w.phone("bob", "10.0.0.2")
		_, _, err := bob.RegisterAndWait(w.ctx(), account(sipua.TCP, "10.0.0.1:5060"))
		var rej *sipua.Rejection
		if !errors.As(err, &rej) || rej.Status != 403 {
			t.Errorf("%v", err)
		}
	})
}

func TestPhonesAreNoRegistrars(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.phone("alice", "10.0.0.1")
		bob := w.phone("bob", "10.0.0.2")
		_, _, err := bob.RegisterAndWait(w.ctx(), account(sipua.TCP, "10.0.0.1:5060"))
		var rej *sipua.Rejection
		if !errors.As(err, &rej) || rej.Status != 405 {
			t.Errorf("%v", err)
		}
	})
}

func TestEstablishedCallMovesToTheNewFlow(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		seen := make(chan *sipua.ServerTx, 10)
		pbx := w.registrar("10.0.0.1", seen, 200)
		bob := w.phone("bob", "10.0.0.2", tone(1000))
		a := account(sipua.TCP, "10.0.0.1:5060")
		a.Retry.First = time.Second
		_, _, err := bob.RegisterAndWait(w.ctx(), a)
		must(t, err)
		tx := <-seen
		tx.Flow().SetParty("bob")
		call, err := pbx.Call(softphone.Outgoing{Target: tx.Request.Contact().Address, Flow: tx.Flow()})
		must(t, err)
		b := w.accept(bob)
		must(t, b.Answer())
		w.wait(b, softphone.Confirmed)
		bob.Disconnect(b.Flow())
		w.wait(b, softphone.FlowLost)
		again := <-seen
		again.Flow().SetParty("bob")
		time.Sleep(time.Second)
		must(t, b.Hangup())
		w.wait(call, softphone.Ended)
	})
}

func TestCloseEndsRegistrations(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		seen := make(chan *sipua.ServerTx, 100)
		w.registrar("10.0.0.1", seen, 200)
		bob := w.phone("bob", "10.0.0.2")
		_, _, err := bob.RegisterAndWait(w.ctx(), account(sipua.UDP, "10.0.0.1:5060"))
		must(t, err)
		bob.Close()
		<-seen
		time.Sleep(time.Hour)
		if len(seen) != 0 {
			t.Errorf("%d REGISTERs of a closed phone", len(seen))
		}
		if _, err := bob.Accept(w.ctx()); !errors.Is(err, softphone.ErrClosed) {
			t.Errorf("accept: %v", err)
		}
		late := bob.Register(account(sipua.UDP, "10.0.0.1:5060")) // ends by itself
		late.Close()
	})
}
