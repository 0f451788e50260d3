package sipua_test

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
)

// Trap 2.1/1: sipgo gives each message a goroutine of its own; of 500 CANCELs in the
// same segment as their INVITE 459 were first, and the calls rang on.
func TestTrapCancelInTheSegmentOfItsInvite(t *testing.T) {
	const calls = 500
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		cancelled := make(chan string, calls)
		w.onInvite = func(tx *sipua.ServerTx) {
			tx.OnCancel(func(reasons []string) {
				cancelled <- tx.Request.CallID().Value() + fmt.Sprint(reasons)
				tx.Reject(sipua.Reject(487, ""))
			})
		}
		p := dial(aliceHost)
		for i := range calls {
			d := draft{method: "INVITE", callID: fmt.Sprintf("c%d", i), branch: fmt.Sprintf("z9hG4bK%d", i)}
			c := d
			c.method, c.extra = "CANCEL", []string{`Reason: SIP;cause=200;text="elsewhere"`}
			if _, stream := p.(*bytestream); stream {
				p.send(d.String() + c.String())
			} else {
				p.send(d.String())
				p.send(c.String())
			}
			got := want(t, p, 100, 200, 487)
			if t.Failed() {
				t.Fatalf("call %d", i)
			}
			if parse(t, got[1]).CSeq().MethodName != "CANCEL" || sipua.ToTag(parse(t, got[1])) != sipua.ToTag(parse(t, got[2])) {
				t.Fatalf("tags of 200 and 487 differ:\n%s%s", got[1], got[2])
			}
			if s := <-cancelled; s != fmt.Sprintf(`c%d[SIP;cause=200;text="elsewhere"]`, i) {
				t.Fatal(s)
			}
			a := d
			a.method, a.toTag = "ACK", sipua.ToTag(parse(t, got[2]))
			p.send(a.String())
		}
		time40s()
		if s := p.read(); len(s) != 0 {
			t.Errorf("%d more messages", len(s))
		}
		w.wantEmpty()
	})
}

// Trap 2.1/1: pipelined requests keep their order.
func TestTrapPipelinedRequestsKeepTheirOrder(t *testing.T) {
	const n = 2000
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.onRequest = ok
		p := w.tcp(aliceHost)
		var got []string
		for i := 0; i < n; i += 50 {
			var text strings.Builder
			for j := range 50 {
				text.WriteString(draft{method: "OPTIONS", callID: fmt.Sprint(i + j)}.String())
			}
			p.send(text.String())
			got = append(got, p.read()...)
		}
		if len(got) != n {
			t.Fatalf("%d answers", len(got))
		}
		for i, m := range got {
			if id := parse(t, m).CallID().Value(); id != fmt.Sprint(i) {
				t.Fatalf("answer %d is of %s", i, id)
			}
		}
		for i, tx := range w.others {
			if id := tx.Request.CallID().Value(); id != fmt.Sprint(i) {
				t.Fatalf("request %d is %s", i, id)
			}
		}
	})
}

// Trap 2.1/20: the key of a transaction has no source in it. Whoever learnt a branch
// is still a stranger: no CANCEL, no ACK, no repetition, no response of theirs counts.
func TestTrapBranchAloneProvesNothing(t *testing.T) {
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		w.onInvite = func(tx *sipua.ServerTx) {
			tx.OnCancel(func([]string) { t.Error("cancelled by a stranger") })
		}
		alice, evil := dial(aliceHost), dial(evilHost)
		d := draft{method: "INVITE", callID: "c", branch: "z9hG4bKsecret"}
		alice.send(d.String())
		want(t, alice, 100)
		c := d
		c.method = "CANCEL"
		evil.send(c.String())
		want(t, evil, 481)
		evil.send(d.String()) // no 100 for them, and none for alice
		want(t, evil)
		want(t, alice)
		w.invite(0).Reject(sipua.Reject(486, ""))
		got := want(t, alice, 486)
		a := d
		a.method, a.toTag = "ACK", sipua.ToTag(parse(t, got[0]))
		evil.send(a.String())
		if _, udp := alice.(*packets); udp {
			time.Sleep(600 * time.Millisecond)
			want(t, alice, 486) // still repeated
		}
		if _, _, s, _ := w.ep.Sizes(); s != 1 {
			t.Errorf("%d transactions", s)
		}
		alice.send(a.String())
		time.Sleep(6 * time.Second)
		want(t, alice)
		w.wantEmpty()
	})
}

// A CANCEL may come over another connection of the same trunk, and on UDP from
// another port of the same NAT.
func TestCancelFromTheSameParty(t *testing.T) {
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		cancelled := make(chan bool, 1)
		w.onInvite = func(tx *sipua.ServerTx) { tx.OnCancel(func([]string) { cancelled <- true }) }
		a, b := dial(trunkHost), dial(trunkHost)
		d := draft{method: "INVITE", callID: "c"}
		d.branch = "z9hG4bKx"
		a.send(d.String())
		want(t, a, 100)
		d.method = "CANCEL"
		b.send(d.String())
		want(t, b, 200)
		<-cancelled
		b.send(d.String()) // again: 200 again, told once
		want(t, b, 200)
		select {
		case <-cancelled:
			t.Error("told twice")
		default:
		}
		w.invite(0).Reject(sipua.Reject(487, ""))
		want(t, a, 487)
	}, trunkParty)
}

func trunkParty(c *sipua.Config) {
	c.Party = func(_ sipua.Transport, remote netip.AddrPort) string {
		if remote.Addr() == trunkHost {
			return "trunk pbx"
		}
		return ""
	}
}

func TestCancelAfterTheFinalResponse(t *testing.T) {
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		w.onInvite = func(tx *sipua.ServerTx) {
			tx.OnCancel(func([]string) { t.Error("told of a CANCEL that came too late") })
			ok(tx)
		}
		p := dial(aliceHost)
		d := draft{method: "INVITE", callID: "c", branch: "z9hG4bKx"}
		p.send(d.String())
		want(t, p, 200) // answered at once: no 100
		d.method = "CANCEL"
		p.send(d.String())
		want(t, p, 200)
		time40s()
		p.send(d.String()) // the transaction is gone
		want(t, p, 481)
		w.wantEmpty()
	})
}

// RFC 3261 s8.2.2.2: one request over two paths.
func TestMergedRequest(t *testing.T) {
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		p := dial(aliceHost)
		d := draft{method: "INVITE", callID: "c", branch: "z9hG4bKone"}
		p.send(d.String())
		want(t, p, 100)
		d.branch = "z9hG4bKtwo"
		p.send(d.String())
		want(t, p, 482)
		d.seq = 2 // challenged and tried again, it is another request
		p.send(d.String())
		want(t, p, 100)
		w.invite(0).Reject(sipua.Reject(486, ""))
		w.invite(1).Reject(sipua.Reject(486, ""))
		want(t, p, 486, 486)
		time40s()
		p.read()
		w.wantEmpty()
		d.branch = "z9hG4bKthree"
		p.send(d.String()) // nothing is left that it could merge with
		want(t, p, 100)
		w.invite(2).Reject(sipua.Reject(486, ""))
	})
}

// A request that came on two connections of one trunk is handled once, even if both
// read loops are at it at the same time.
func TestSameRequestOnTwoConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, trunkParty)
		w.onRequest = ok
		const n = 20
		var peers []*bytestream
		for range n {
			peers = append(peers, w.tcp(trunkHost))
		}
		for _, p := range peers {
			go io.WriteString(p.conn, draft{method: "REGISTER", callID: "same", branch: "z9hG4bKsame"}.String())
		}
		synctest.Wait()
		good := 0
		for _, p := range peers {
			for _, s := range statuses(t, p.read()) {
				switch s {
				case 200:
					good++
				case 482:
				default:
					t.Errorf("%d", s)
				}
			}
		}
		w.wantEmpty()
		if good == 0 {
			t.Error("nobody was answered")
		}
	})
}

type dialog struct {
	knows func(*sipua.Flow) bool
	got   chan *sipua.ServerTx
	acks  chan *sip.Request
}

func newDialog() *dialog {
	return &dialog{func(*sipua.Flow) bool { return true }, make(chan *sipua.ServerTx, 16), make(chan *sip.Request, 16)}
}

func (d *dialog) Knows(f *sipua.Flow) bool            { return d.knows(f) }
func (d *dialog) Request(tx *sipua.ServerTx)          { d.got <- tx }
func (d *dialog) Ack(req *sip.Request, _ *sipua.Flow) { d.acks <- req }

func TestRequestsOfADialog(t *testing.T) {
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		p, evil := dial(aliceHost), dial(evilHost)
		d := newDialog()
		d.knows = func(f *sipua.Flow) bool { return f.Remote().Addr() == aliceHost }
		w.ep.AddDialog("c", "local", d)
		bye := draft{method: "BYE", callID: "c", toTag: "local"}
		p.send(bye.String())
		synctest.Wait()
		tx := <-d.got
		if tx.Tag() != "local" {
			t.Errorf("tag %q", tx.Tag())
		}
		ok(tx)
		want(t, p, 200)

		for name, other := range map[string]draft{
			"wrong Call-ID": {method: "BYE", callID: "x", toTag: "local"},
			"wrong tag":     {method: "BYE", callID: "c", toTag: "LOCAL", seq: 2},
		} {
			p.send(other.String())
			if s := statuses(t, p.read()); len(s) != 1 || s[0] != 481 {
				t.Errorf("%s: %v", name, s)
			}
		}
		// I8: who learnt the tags is still a stranger.
		bye.seq = 3
		evil.send(bye.String())
		want(t, evil, 481)
		ack := draft{method: "ACK", callID: "c", toTag: "local", seq: 7}
		evil.send(ack.String())
		synctest.Wait()
		if len(d.acks) != 0 {
			t.Error("ACK of a stranger")
		}
		p.send(ack.String())
		synctest.Wait()
		if req := <-d.acks; req.CSeq().SeqNo != 7 {
			t.Errorf("ACK %v", req.CSeq())
		}
		w.ep.RemoveDialog("c", "local")
		bye.seq = 4
		p.send(bye.String())
		want(t, p, 481)
		if i, o := w.handled(); i+o != 0 {
			t.Errorf("the handler got %d", i+o)
		}
		time40s()
		w.wantEmpty()
	})
}

// A REGISTER belongs to no dialog, whatever To tag it has.
func TestRegisterWithToTag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.onRequest = ok
		p := w.udp(aliceHost, 0)
		p.send(draft{method: "REGISTER", callID: "c", toTag: "old"}.String())
		want(t, p, 200)
	})
}

// Trap 2.1/13: sipgo answers an ACK that nobody waits for with 405. Nothing answers
// it, nor a response that nobody waits for.
func TestTrapStrayAckAndResponseAreSilent(t *testing.T) {
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		p := dial(aliceHost)
		ack := draft{method: "ACK", callID: "c", toTag: "nobody's"}
		p.send(ack.String())
		p.send(change(ack.String(), "Max-Forwards", "Max-Forwards: 0"))
		p.send(change(ack.String(), "CSeq", "CSeq: 1 BYE")) // invalid, and still an ACK
		p.send(change(ack.String(), "To", "To: <sip:bob@example.com>"))
		ack.extra = []string{"Require: foo"}
		p.send(ack.String())
		for _, line := range []string{"SIP/2.0 200 OK", "SIP/2.0 099 Low", "SIP/2.0 700 High", "SIP/2.0 65535 Higher", "SIP/2.0 100 "} {
			p.send(strings.Replace(draft{method: "OPTIONS", callID: "c"}.String(), "OPTIONS sip:bob@example.com SIP/2.0", line, 1))
		}
		want(t, p)
		if i, o := w.handled(); i+o != 0 {
			t.Errorf("the handler got %d", i+o)
		}
		w.wantEmpty()
	})
}

// Admit refuses before anything is made: I10, I11.
func TestAdmitRefusesStatelessly(t *testing.T) {
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		p := dial(aliceHost)
		p.send(draft{method: "INVITE", callID: "c"}.String())
		got := want(t, p, 503)
		if !strings.Contains(got[0], "Retry-After: 5\r\n") {
			t.Errorf("\n%s", got[0])
		}
		if _, _, s, _ := w.ep.Sizes(); s != 0 {
			t.Errorf("%d transactions", s)
		}
		time40s()
		want(t, p) // exactly one answer
		if i, o := w.handled(); i+o != 0 {
			t.Errorf("the handler got %d", i+o)
		}
	}, func(c *sipua.Config) {
		c.Admit = func(_ *sipua.Flow, _ *sip.Request) error {
			return sipua.Reject(503, "Too Many Requests", sipua.HeaderLine{Name: "Retry-After", Value: "5"})
		}
	})
}

// Refuse: exactly one answer to a forged source, nothing kept (I10); what comes again
// is new.
func TestRefuseKeepsNothing(t *testing.T) {
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		refuse := func(tx *sipua.ServerTx) {
			tx.Refuse(sipua.Reject(401, "", sipua.HeaderLine{Name: "WWW-Authenticate", Value: "Digest x"}))
			if err := tx.Respond(tx.NewResponse(200, "")); !errors.Is(err, sipua.ErrFinalSent) {
				t.Errorf("then: %v", err)
			}
		}
		w.onInvite, w.onRequest = refuse, refuse
		for i, method := range []string{"INVITE", "REGISTER"} {
			p := dial(aliceHost)
			d := draft{method: method, callID: "c" + method}
			p.send(d.String())
			got := want(t, p, 401)
			w.wantEmpty()
			time.Sleep(20 * time.Second)
			want(t, p)
			p.send(d.String())
			want(t, p, 401)
			if method == "INVITE" {
				d.method, d.toTag, d.branch = "ACK", sipua.ToTag(parse(t, got[0])), "z9hG4bKcINVITEINVITE0"
				p.send(d.String())
				want(t, p)
			}
			if in, o := w.handled(); in+o != 2*(i+1) {
				t.Errorf("%s: the handler got %d, %d", method, in, o)
			}
		}
		w.wantEmpty()
	})
}

// Refuse comes too late for an INVITE that has its 100: its sender does not repeat it
// any more, so the transaction repeats the refusal.
func TestRefuseAfter100IsReject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.udp(aliceHost, 0)
		p.send(draft{method: "INVITE", callID: "c"}.String())
		want(t, p, 100)
		w.invite(0).Refuse(sipua.Reject(403, ""))
		want(t, p, 403)
		time.Sleep(600 * time.Millisecond)
		want(t, p, 403)
	})
}

// S7: a panic ends one message, with 500.
func TestPanicEndsOneMessage(t *testing.T) {
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		panics := func(*sipua.ServerTx) { panic("at the disco") }
		w.onInvite, w.onRequest = panics, panics
		p := dial(aliceHost)
		d := draft{method: "INVITE", callID: "c"}
		p.send(d.String())
		got := want(t, p, 500)
		if _, udp := p.(*packets); udp {
			p.send(d.String()) // its repetition finds the answer
			want(t, p, 500)
		}
		d.method, d.branch, d.toTag = "ACK", "z9hG4bKcINVITE0", sipua.ToTag(parse(t, got[0]))
		p.send(d.String())
		p.send(draft{method: "OPTIONS", callID: "d"}.String())
		want(t, p, 500)
		w.onRequest = ok
		p.send(draft{method: "OPTIONS", callID: "e"}.String())
		want(t, p, 200)
		time40s()
		p.read()
		w.wantEmpty()
	})
}

// So does a panic in a callback of a transaction or flow, in whatever goroutine it
// runs.
func TestPanicInCallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.udp(aliceHost, 5060)
		f := w.connect(sipua.UDP, p.addr())
		f.OnLife(func() { panic("life") })
		f.OnClose(func(error) { panic("close") })
		told := make(chan error, 1)
		f.OnClose(func(err error) { told <- err })
		if _, err := w.ep.Request(f, request(sip.OPTIONS, "c"), func(*sip.Response, error) { panic("response") }); err != nil {
			t.Fatal(err)
		}
		got := p.read()
		if len(got) != 1 {
			t.Fatal(got)
		}
		p.send(answer(got[0], 200, ""))
		synctest.Wait()
		w.wantEmpty()
		f.Shut(sipua.ErrClosed)
		if err := <-told; !errors.Is(err, sipua.ErrFlowGone) {
			t.Error(err)
		}
	})
}

// I9: what a Contact, a Route or a maddr says leads nowhere: answers go where the
// request came from.
func TestAnswersGoWhereTheRequestCameFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.onRequest = ok
		p, canary := w.udp(aliceHost, 5070), w.udp(trunkHost, 5060)
		d := draft{method: "OPTIONS", callID: "c", via: "SIP/2.0/UDP 10.0.0.5:5060;branch=z9hG4bKx;maddr=10.0.0.5;received=10.0.0.5",
			extra: []string{"Route: <sip:10.0.0.5;lr>", "Record-Route: <sip:10.0.0.5;lr>"}}
		p.send(d.String())
		got := want(t, p, 200)
		if !strings.Contains(got[0], "received=10.0.0.2") {
			t.Errorf("received is not corrected\n%s", got[0])
		}
		if s := canary.read(); len(s) != 0 {
			t.Errorf("%q", s)
		}
	})
}
