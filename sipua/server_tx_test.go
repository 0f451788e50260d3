package sipua_test

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
)

// Trap 2.1/21: with sipgo alone a 200 after the 487 is not sent at once, but then at
// 0.5, 1.5, 3.5 s in place of the 487. Here nothing follows a final response.
func TestTrapLateResponseAfter487(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.udp(aliceHost, 5060)
		d := draft{method: "INVITE", callID: "c", branch: "z9hG4bKx"}
		p.send(d.String())
		want(t, p, 100)
		d.method = "CANCEL"
		p.send(d.String())
		want(t, p, 200)
		tx := w.invite(0)
		if err := tx.Respond(tx.NewResponse(487, "")); err != nil {
			t.Fatal(err)
		}
		for _, late := range []int{200, 180, 486, 487} {
			if err := tx.Respond(tx.NewResponse(late, "")); !errors.Is(err, sipua.ErrFinalSent) {
				t.Errorf("late %d: %v", late, err)
			}
		}
		tx.Reject(sipua.Reject(603, ""))
		if err := tx.Resend(); err != nil {
			t.Error(err)
		}
		start := time.Now()
		var at []string
		for time.Since(start) < 40*time.Second {
			for _, s := range statuses(t, p.read()) {
				if s != 487 {
					t.Errorf("%d on the wire", s)
				}
				at = append(at, fmt.Sprintf("%.1f", time.Since(start).Seconds()))
			}
			time.Sleep(100 * time.Millisecond)
		}
		// Timer G doubles to T2, timer H ends it at 32 s (RFC 3261 s17.2.1).
		if s := strings.Join(at, " "); s != "0.0 0.5 1.5 3.5 7.5 11.5 15.5 19.5 23.5 27.5 31.5" {
			t.Errorf("487 at %s", s)
		}
		w.wantEmpty()
	})
}

// The notes' table 1.2: sipgo makes a new To tag for each response. Here all of one
// transaction have the same.
func TestTrapOneToTagForAllResponses(t *testing.T) {
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		p := dial(aliceHost)
		d := draft{method: "INVITE", callID: "c", branch: "z9hG4bKx"}
		p.send(d.String())
		got := want(t, p, 100)
		if tag := sipua.ToTag(parse(t, got[0])); tag != "" {
			t.Errorf("100 with To tag %q", tag)
		}
		tx := w.invite(0)
		for _, s := range []int{180, 183, 180} {
			if err := tx.Respond(tx.NewResponse(s, "")); err != nil {
				t.Fatal(err)
			}
		}
		d.method = "CANCEL"
		p.send(d.String())
		synctest.Wait()
		tx.Reject(sipua.Reject(487, ""))
		for _, m := range want(t, p, 180, 183, 180, 200, 487) {
			if tag := sipua.ToTag(parse(t, m)); tag != tx.Tag() || len(tag) < 20 {
				t.Errorf("tag %q in %s", tag, m[:20])
			}
		}
	})
}

// 100 leaves once, at once, and never behind another response: not sipgo's own after
// 200 ms either.
func TestTryingOnceAndFirst(t *testing.T) {
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		p := dial(aliceHost)
		p.send(draft{method: "INVITE", callID: "held"}.String())
		want(t, p, 100)
		time.Sleep(25 * time.Second) // a call that waits for a phone to wake
		want(t, p)
		ok(w.invite(0))
		want(t, p, 200)

		w.onInvite = func(tx *sipua.ServerTx) {
			if err := tx.Respond(tx.NewResponse(180, "")); err != nil {
				t.Error(err)
			}
		}
		p.send(draft{method: "INVITE", callID: "quick"}.String())
		want(t, p, 180)
		time.Sleep(time.Second)
		want(t, p)
		w.invite(1).Reject(sipua.Reject(486, ""))
		w.onInvite = func(tx *sipua.ServerTx) { go tx.Reject(sipua.Reject(486, "")) }
		p.send(draft{method: "INVITE", callID: "race"}.String())
		if s := statuses(t, p.read()); fmt.Sprint(s[len(s)-1:]) != "[486]" {
			t.Errorf("%v", s)
		}
	})
}

func TestRepeatedInviteGetsTheLastResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.udp(aliceHost, 5060)
		d := draft{method: "INVITE", callID: "c", branch: "z9hG4bKx"}
		p.send(d.String())
		want(t, p, 100)
		p.send(d.String())
		want(t, p, 100)
		tx := w.invite(0)
		for _, s := range []int{180, 183} {
			if err := tx.Respond(tx.NewResponse(s, "")); err != nil {
				t.Fatal(err)
			}
			want(t, p, s)
			p.send(d.String())
			want(t, p, s)
		}
		tx.Reject(sipua.Reject(486, ""))
		got := want(t, p, 486)
		p.send(d.String())
		want(t, p, 486)
		d.method, d.toTag = "ACK", tx.Tag()
		p.send(d.String())
		time.Sleep(4 * time.Second) // timer I: 5 s
		d.method, d.toTag = "INVITE", ""
		p.send(d.String()) // a late one is absorbed
		p.send(strings.Replace(got[0], "SIP/2.0 486", "ACK sip:bob@example.com SIP/2.0\r\nX:", 1))
		want(t, p)
		time.Sleep(2 * time.Second)
		w.wantEmpty()
		if in, _ := w.handled(); in != 1 {
			t.Errorf("%d INVITEs", in)
		}
	})
}

// A NAT moves the port in the middle of a call: the answer goes where the repetition
// came from.
func TestRepetitionFromAnotherPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		before, after := w.udp(aliceHost, 5060), w.udp(aliceHost, 40000)
		d := draft{method: "INVITE", callID: "c", branch: "z9hG4bKx"}
		before.send(d.String())
		want(t, before, 100)
		after.send(d.String())
		want(t, after, 100)
		w.invite(0).Reject(sipua.Reject(486, ""))
		want(t, after, 486)
		want(t, before)
	})
}

// RFC 6026: after a 2xx the transaction absorbs what its INVITE's sender repeats, and
// the owner sends the 2xx again.
func TestAnsweredInvite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.udp(aliceHost, 5060)
		d := draft{method: "INVITE", callID: "c", branch: "z9hG4bKx"}
		p.send(d.String())
		want(t, p, 100)
		tx := w.invite(0)
		if err := tx.Resend(); err != nil { // nothing yet
			t.Error(err)
		}
		ok(tx)
		first := want(t, p, 200)
		p.send(d.String())
		want(t, p)
		if err := tx.Resend(); err != nil {
			t.Error(err)
		}
		if again := want(t, p, 200); again[0] != first[0] {
			t.Errorf("the 2xx changed:\n%s%s", first[0], again[0])
		}
		if tx.Final() != 200 {
			t.Errorf("final %d", tx.Final())
		}
		time.Sleep(31 * time.Second)
		p.send(d.String())
		want(t, p)
		time.Sleep(2 * time.Second) // timer L
		w.wantEmpty()
	})
}

func TestRepeatedOptionsGetsItsResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.udp(aliceHost, 5060)
		d := draft{method: "OPTIONS", callID: "c"}
		p.send(d.String())
		p.send(d.String()) // while nobody has answered: silence
		want(t, p)
		ok(w.others[0])
		want(t, p, 200)
		p.send(d.String())
		want(t, p, 200)
		time.Sleep(33 * time.Second) // timer J
		w.wantEmpty()
		if _, o := w.handled(); o != 1 {
			t.Errorf("%d requests", o)
		}
	})
}

// A request that its owner forgets is forgotten when its sender gives up too.
func TestRequestThatNobodyAnswers(t *testing.T) {
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		p := dial(aliceHost)
		p.send(draft{method: "OPTIONS", callID: "c"}.String())
		time.Sleep(31 * time.Second)
		if _, _, s, _ := w.ep.Sizes(); s != 1 {
			t.Errorf("%d transactions", s)
		}
		time.Sleep(2 * time.Second)
		w.wantEmpty()
		if err := w.others[0].Respond(w.others[0].NewResponse(200, "")); !errors.Is(err, sipua.ErrTimeout) {
			t.Errorf("late: %v", err)
		}
		want(t, p)
	})
}

// A request whose connection is gone can have no answer: it is forgotten at once, and
// is new when its sender tries again.
func TestRequestOfADeadConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.tcp(aliceHost)
		d := draft{method: "REGISTER", callID: "c"}
		p.send(d.String())
		synctest.Wait()
		p.conn.Close()
		synctest.Wait()
		w.wantEmpty()
		if err := w.others[0].Respond(w.others[0].NewResponse(200, "")); !errors.Is(err, sipua.ErrFlowGone) {
			t.Errorf("answer: %v", err)
		}
		w.onRequest = ok
		p = w.tcp(aliceHost)
		p.send(d.String())
		want(t, p, 200)
	})
}

// Trap 2.1/7: a held call notices a dead caller at once, and its late answer fails
// without a trace left.
func TestTrapHeldCallNoticesDeadCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		told := make(chan error, 1)
		w.onInvite = func(tx *sipua.ServerTx) { tx.Flow().OnClose(func(err error) { told <- err }) }
		p := w.tcp(aliceHost)
		p.send(draft{method: "INVITE", callID: "c"}.String())
		tx := w.invite(0)
		before := time.Now()
		p.conn.Close()
		if err := <-told; !errors.Is(err, sipua.ErrFlowGone) || time.Since(before) > time.Millisecond {
			t.Errorf("told %v after %s", err, time.Since(before))
		}
		if n := len(w.lost()); n != 1 {
			t.Errorf("FlowGone %d times", n)
		}
		if err := tx.Respond(tx.NewResponse(200, "")); !errors.Is(err, sipua.ErrFlowGone) {
			t.Errorf("answer: %v", err)
		}
		if err := tx.Respond(tx.NewResponse(200, "")); !errors.Is(err, sipua.ErrFinalSent) {
			t.Errorf("answer again: %v", err)
		}
		w.wantEmpty()
	})
}

// RFC 3261 s18.2.2: a trunk's connection is gone, so the response opens one to the
// port in its Via; what was said meanwhile arrives in order.
func TestResponseReopensATrunksConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, trunkParty)
		accept := w.listen(netip.AddrPortFrom(trunkHost, 5080))
		p := w.tcp(trunkHost)
		p.send(draft{method: "INVITE", callID: "c", via: "SIP/2.0/TCP pbx.example.com:5080;branch=z9hG4bKx"}.String())
		want(t, p, 100)
		tx := w.invite(0)
		p.conn.Close()
		synctest.Wait()
		if _, _, s, _ := w.ep.Sizes(); s != 1 {
			t.Fatal("the pending call did not survive")
		}
		for _, s := range []int{180, 183, 200} {
			if err := tx.Respond(tx.NewResponse(s, "")); err != nil {
				t.Fatalf("%d: %v", s, err)
			}
		}
		back := accept()
		want(t, back, 180, 183, 200)
		if err := tx.Resend(); err != nil {
			t.Error(err)
		}
		want(t, back, 200)
		// The new connection is the trunk's: what comes on it may act for the call.
		c := draft{method: "CANCEL", callID: "c", via: "SIP/2.0/TCP pbx.example.com:5080;branch=z9hG4bKx"}
		back.send(c.String())
		want(t, back, 200)
	})
}

func TestResponseThatCannotReopen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, trunkParty)
		p := w.tcp(trunkHost)
		p.send(draft{method: "INVITE", callID: "c", via: "SIP/2.0/TCP pbx.example.com;branch=z9hG4bKx"}.String())
		want(t, p, 100)
		tx := w.invite(0)
		p.conn.Close()
		synctest.Wait()
		if err := tx.Respond(tx.NewResponse(180, "")); err != nil { // it may still work out
			t.Error(err)
		}
		time.Sleep(6 * time.Second)
		accept := w.listen(netip.AddrPortFrom(trunkHost, 5060)) // the PBX is back, at its default port
		tx.Reject(sipua.Reject(480, ""))
		want(t, accept(), 480)
		time40s()
		w.wantEmpty()
	})
}

// An app is never dialled.
func TestResponseDoesNotDialAnApp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, trunkParty)
		w.listen(netip.AddrPortFrom(aliceHost, 5060))
		p := w.tcp(aliceHost)
		p.send(draft{method: "INVITE", callID: "c", via: "SIP/2.0/TCP 10.0.0.2:5060;branch=z9hG4bKx"}.String())
		want(t, p, 100)
		p.conn.Close()
		synctest.Wait()
		if err := w.invite(0).Respond(w.invite(0).NewResponse(200, "")); !errors.Is(err, sipua.ErrFlowGone) {
			t.Error(err)
		}
		w.wantEmpty()
	})
}

// P8: no string that we put into a header makes two of them.
func TestUnsafeHeadersAreRefused(t *testing.T) {
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		p := dial(aliceHost)
		p.send(draft{method: "INVITE", callID: "c"}.String())
		want(t, p, 100)
		tx := w.invite(0)
		evil := []string{"a\r\nInjected: 1", "a\nInjected: 1", "a\rInjected: 1", "a\x00", "a\x1b[31m", "a\x7f", "\r\n\r\nbody"}
		for _, v := range evil {
			for where, res := range map[string]*sip.Response{
				"header value": withHeader(tx.NewResponse(180, ""), "X-Any", v),
				"header name":  withHeader(tx.NewResponse(180, ""), v, "x"),
				"phrase":       tx.NewResponse(180, v),
			} {
				if err := tx.Respond(res); !errors.Is(err, sipua.ErrUnsafeHeader) {
					t.Errorf("%s %q: %v", where, v, err)
				}
			}
		}
		want(t, p)
		f := tx.Flow()
		for _, v := range evil {
			req := request(sip.OPTIONS, "o")
			req.From().DisplayName = v
			if _, err := w.ep.Request(f, req, func(*sip.Response, error) { t.Error("delivered") }); !errors.Is(err, sipua.ErrUnsafeHeader) {
				t.Errorf("From %q: %v", v, err)
			}
			req = request(sip.OPTIONS, "o")
			req.Recipient.User = v
			if err := w.ep.Send(f, req); !errors.Is(err, sipua.ErrUnsafeHeader) {
				t.Errorf("Request-URI %q: %v", v, err)
			}
		}
		want(t, p)
		if !f.Alive() {
			t.Error("the flow was closed for it")
		}
		// A refusal that would be unsafe becomes a plain one: the caller is not left waiting.
		tx.Reject(sipua.Reject(486, "Busy\r\nInjected: 1"))
		want(t, p, 500)
	})
}

func withHeader(res *sip.Response, name, value string) *sip.Response {
	res.AppendHeader(sip.NewHeader(name, value))
	return res
}

// Trap 2.1/18: clones of Max-Forwards, Expires and Content-Length share one number.
func TestTrapClonesDoNotShareNumbers(t *testing.T) {
	both(t, func(t *testing.T, w *world, dial func(netip.Addr) peer) {
		p := dial(aliceHost)
		d := draft{method: "INVITE", callID: "c", body: "v=0\r\n", extra: []string{"Content-Type: application/sdp", "Record-Route: <sip:r;lr>"}}
		p.send(d.String())
		want(t, p, 100)
		tx := w.invite(0)
		before := tx.Request.String()
		res := tx.NewResponse(200, "")
		res.SetBody([]byte("a longer body than the request had"))
		res.To().Params.Add("x", "y")
		res.Via().Params.Add("x", "y")
		res.CSeq().SeqNo++
		ok(tx)
		if after := tx.Request.String(); after != before {
			t.Errorf("the request changed:\n%s\n%s", before, after)
		}
		got := want(t, p, 200)
		if !strings.Contains(got[0], "Record-Route: <sip:r;lr>\r\n") {
			t.Errorf("\n%s", got[0])
		}
	})
}

// Trap 2.1/23: the timers of sipgo belong to the whole process; this is the profile
// that everything here counts on.
func TestTrapTimersAreTheRFCs(t *testing.T) {
	for name, got := range map[string]time.Duration{"T1": sip.T1 * 64, "B": sip.Timer_B, "F": sip.Timer_F, "H": sip.Timer_H, "J": sip.Timer_J, "L": sip.Timer_L, "M": sip.Timer_M} {
		if got != 32*time.Second {
			t.Errorf("%s: %s", name, got)
		}
	}
	if sip.T2 != 4*time.Second || sip.T4 != 5*time.Second {
		t.Errorf("T2 %s, T4 %s", sip.T2, sip.T4)
	}
}

// A finished transaction costs little while its timer J or L runs, and nothing then.
func TestMemoryOfFinishedTransactions(t *testing.T) {
	const n = 2000
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.onRequest = ok
		p := w.udp(aliceHost, 5060)
		before := heap()
		for i := range n {
			p.send(draft{method: "REGISTER", callID: fmt.Sprint(i)}.String())
			if i%100 == 99 {
				p.read()
			}
		}
		w.mu.Lock()
		w.others = nil
		w.mu.Unlock()
		each := (heap() - before) / n
		t.Logf("%d bytes for each of %d finished transactions", each, n)
		if each > 16<<10 {
			t.Errorf("%d bytes each", each)
		}
		time40s()
		w.wantEmpty()
		if left := (heap() - before) / n; left > 512 {
			t.Errorf("%d bytes each are left", left)
		}
	})
}

// I11: a flood from forged sources neither fills the memory nor takes the place of
// those who proved who they are.
func TestFloodOfStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, trunkParty, func(c *sipua.Config) { c.Limits.Transactions = 800 })
		w.onRequest = ok
		evil, pbx := w.udp(evilHost, 5060), w.udp(trunkHost, 5060)
		for i := range 300 {
			evil.send(draft{method: "OPTIONS", callID: fmt.Sprint("evil", i)}.String())
			if i%100 == 0 {
				evil.read()
			}
		}
		synctest.Wait()
		if _, _, s, _ := w.ep.Sizes(); s > 101 {
			t.Errorf("%d transactions", s)
		}
		d := draft{method: "OPTIONS", callID: "pbx"}
		for range 3 { // the trunk's are kept
			pbx.send(d.String())
			want(t, pbx, 200)
		}
		w.mu.Lock()
		n := 0
		for _, tx := range w.others {
			if tx.Request.CallID().Value() == "pbx" {
				n++
			}
		}
		w.mu.Unlock()
		if n != 1 {
			t.Errorf("the trunk's request was handled %d times", n)
		}
		w.onRequest = nil // nobody answers: these stay
		for i := range 900 {
			evil.send(draft{method: "OPTIONS", callID: fmt.Sprint("held", i)}.String())
			if i%100 == 0 {
				evil.read()
			}
		}
		synctest.Wait()
		if _, _, s, _ := w.ep.Sizes(); s != 800 {
			t.Errorf("%d transactions", s)
		}
		if got := evil.read(); len(got) == 0 || !strings.HasPrefix(got[len(got)-1], "SIP/2.0 503") {
			t.Errorf("%d answers", len(got))
		}
		d.callID = "pbx again"
		pbx.send(d.String())
		synctest.Wait()
		if tx := w.others[len(w.others)-1]; tx.Request.CallID().Value() != "pbx again" {
			t.Error("the trunk was refused too")
		}
		time40s()
		w.wantEmpty()
	})
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc) //nolint:gosec // far below
}
