package softphone_test

import (
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wakebridge/sipua"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/softphone"
)

// peer is a SIP endpoint whose legs the test itself drives, with any SDP.
type peer struct {
	ep     *sipua.Endpoint
	tasks  chan func()
	events chan leg.Event
}

func (p *peer) Invite(tx *sipua.ServerTx)    { tx.Reject(sipua.Reject(500, "")) }
func (p *peer) Request(tx *sipua.ServerTx)   { tx.Reject(sipua.Reject(500, "")) }
func (p *peer) FlowGone(*sipua.Flow, error)  {}
func (p *peer) emit(_ *leg.Leg, e leg.Event) { p.events <- e }
func (p *peer) do(f func() error) (err error) {
	done := make(chan error)
	p.tasks <- func() { done <- f() }
	return <-done
}

func (w *world) peer(addr string) *peer {
	w.t.Helper()
	ip := netip.MustParseAddr(addr)
	pc, err := w.net.Host(ip).ListenPacket(netip.AddrPortFrom(ip, 5060))
	must(w.t, err)
	p := &peer{tasks: make(chan func(), 100), events: make(chan leg.Event, 100)}
	p.ep = sipua.New(sipua.Config{Handler: p, Log: slog.New(slog.DiscardHandler)})
	must(w.t, p.ep.ServeUDP(pc))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for f := range p.tasks {
			f()
		}
	}()
	w.t.Cleanup(func() {
		p.ep.Close()
		time.Sleep(time.Minute) // what legs still post
		close(p.tasks)
		<-done
	})
	return p
}

// call sends an INVITE with any body.
func (w *world) callBy(p *peer, to, body string) *leg.Leg {
	w.t.Helper()
	out := w.outgoing2(p.ep, to)
	var l *leg.Leg
	must(w.t, p.do(func() error {
		out.Body = []byte(body)
		l = leg.NewUAC(leg.Config{Endpoint: p.ep, Post: func(f func()) { p.tasks <- f }, Emit: p.emit, Log: slog.New(slog.DiscardHandler)}, out)
		return nil
	}))
	return l
}

func (w *world) outgoing2(ep *sipua.Endpoint, to string) leg.Invite {
	w.t.Helper()
	f, err := ep.Connect(w.ctx(), sipua.UDP, softphone.At(netip.MustParseAddrPort(to+":5060")))
	must(w.t, err)
	uri := *sipua.NewAOR("bob", to).URI()
	return leg.Invite{Flow: f, RequestURI: uri, From: leg.Address{URI: *sipua.NewAOR("carol", "example.com").URI()}, To: leg.Address{URI: uri}}
}

func expect[E leg.Event](w *world, p *peer) E {
	w.t.Helper()
	for {
		select {
		case e := <-p.events:
			if got, ok := e.(E); ok {
				return got
			}
		case <-time.After(time.Minute):
			w.t.Fatal("event missing")
		}
	}
}

const sdpPCMU = "v=0\r\no=- 1 1 IN IP4 10.0.0.3\r\ns=-\r\nc=IN IP4 10.0.0.3\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"

func TestInviteWithoutOffer(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		bob, p := w.phone("bob", "10.0.0.2", tone(440)), w.peer("10.0.0.3")
		sink, err := w.net.ListenPacket(netip.MustParseAddrPort("10.0.0.3:4000"))
		must(t, err)
		defer sink.Close()
		l := w.callBy(p, "10.0.0.2", "")
		b := w.accept(bob)
		must(t, b.Answer())
		answered := expect[leg.Answered](w, p)
		if !strings.Contains(string(answered.Body), "m=audio") {
			t.Fatalf("no offer in the 200: %q", answered.Body)
		}
		must(t, p.do(func() error { return l.Ack([]byte(sdpPCMU)) }))
		w.wait(b, softphone.Confirmed)
		must(t, sink.SetReadDeadline(time.Now().Add(time.Second)))
		if _, _, err := sink.ReadFrom(make([]byte, 2000)); err != nil {
			t.Errorf("no audio where the ACK wants it: %v", err)
		}
	})
}

func TestBadAnswerInTheAckEndsTheCall(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		bob, p := w.phone("bob", "10.0.0.2"), w.peer("10.0.0.3")
		l := w.callBy(p, "10.0.0.2", "")
		must(t, w.accept(bob).Answer())
		expect[leg.Answered](w, p)
		must(t, p.do(func() error { return l.Ack([]byte("v=0\r\n")) }))
		if e := expect[leg.Ended](w, p); e.Cause != leg.CauseBye || !e.ByRemote {
			t.Errorf("%+v", e)
		}
	})
}

func TestReinviteOfThePeer(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		bob, p := w.phone("bob", "10.0.0.2", tone(440)), w.peer("10.0.0.3")
		l := w.callBy(p, "10.0.0.2", sdpPCMU)
		b := w.accept(bob)
		must(t, b.Answer())
		w.wait(b, softphone.Confirmed)
		for _, c := range []struct {
			body   string
			status int
			has    string
		}{
			{strings.Replace(sdpPCMU, "c=IN IP4 10.0.0.3", "c=IN IP4 0.0.0.0", 1), 200, "a=sendrecv"},
			{sdpPCMU + "a=inactive\r\n", 200, "a=inactive"},
			{strings.Replace(sdpPCMU, "AVP 0", "AVP 18", 1), 488, ""},
			{"", 200, "a=sendrecv"}, // it wants our offer
		} {
			must(t, p.do(func() error { return l.Reinvite([]byte(c.body)) }))
			e := expect[leg.OfferAnswered](w, p)
			if e.Status != c.status || !strings.Contains(string(e.Body), c.has) {
				t.Errorf("%q: %d %q", c.body, e.Status, e.Body)
			}
			if c.body == "" {
				must(t, p.do(func() error { return l.Ack([]byte(sdpPCMU)) }))
			}
			synctest.Wait()
		}
		sent := b.Audio().Sent
		time.Sleep(time.Second)
		if b.Audio().Sent < sent+40 {
			t.Error("the phone stays silent after the hold")
		}
		held := 0
		for _, k := range kinds(b) {
			if k == "held" {
				held++
			}
		}
		if held != 1 { // inactive after 0.0.0.0 is the same hold
			t.Errorf("events %v", kinds(b))
		}
	})
}

func TestHoldThatThePeerRefuses(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		bob, p := w.phone("bob", "10.0.0.2", tone(440)), w.peer("10.0.0.3")
		l := w.callBy(p, "10.0.0.2", sdpPCMU)
		b := w.accept(bob)
		must(t, b.Answer())
		w.wait(b, softphone.Confirmed)
		result := make(chan error, 1)
		go func() { result <- b.Hold(w.ctx()) }()
		expect[leg.Offer](w, p)
		must(t, p.do(func() error { return l.RejectOffer(488, "") }))
		if err := <-result; !errors.Is(err, softphone.ErrRefused) {
			t.Errorf("hold: %v", err)
		}
		sent := b.Audio().Sent
		time.Sleep(time.Second)
		if b.Audio().Sent < sent+40 {
			t.Error("a refused hold silences the phone")
		}
		must(t, p.do(func() error { return l.Bye() }))
		w.wait(b, softphone.Ended)
		if err := b.Hold(w.ctx()); err == nil {
			t.Error("hold of a call that is over")
		}
	})
}
