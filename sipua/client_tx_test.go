package sipua_test

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/memnet"
)

// results collects what a client transaction delivers.
type results struct {
	mu  sync.Mutex
	all []outcome
}

func (r *results) deliver(res *sip.Response, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, outcome{res, err})
}

// take returns what came since the last take, as statuses and errors.
func (r *results) take() string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, o := range r.all {
		switch {
		case o.err == nil:
			out = append(out, fmt.Sprint(o.res.StatusCode))
		case errors.Is(o.err, sipua.ErrTimeout):
			out = append(out, "timeout")
		case errors.Is(o.err, sipua.ErrFlowGone):
			out = append(out, "flow")
		case errors.Is(o.err, sipua.ErrClosed):
			out = append(out, "closed")
		default:
			out = append(out, o.err.Error())
		}
	}
	r.all = nil
	return strings.Join(out, " ")
}

func (r *results) want(t *testing.T, s string) {
	t.Helper()
	if got := r.take(); got != s {
		t.Errorf("delivered %q, want %q", got, s)
	}
}

// sendTo begins a client transaction to a UDP peer or over a dialled stream.
func (w *world) sendTo(f *sipua.Flow, method sip.RequestMethod) (*sipua.ClientTx, *results) {
	w.t.Helper()
	r := &results{}
	tx, err := w.ep.Request(f, request(method, string(method)), r.deliver)
	if err != nil {
		w.t.Fatal(err)
	}
	return tx, r
}

// bothWays gives a test a flow to a peer, over UDP and over a dialled stream.
func bothWays(t *testing.T, test func(t *testing.T, w *world, f *sipua.Flow, p peer)) {
	t.Run("UDP", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			p := w.udp(trunkHost, 5060)
			test(t, w, w.connect(sipua.UDP, p.addr()), p)
		})
	})
	t.Run("TCP", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			accept := w.listen(netip.AddrPortFrom(trunkHost, 5060))
			f := w.connect(sipua.TCP, netip.AddrPortFrom(trunkHost, 5060))
			test(t, w, f, accept())
		})
	})
}

func TestClientInvite(t *testing.T) {
	bothWays(t, func(t *testing.T, w *world, f *sipua.Flow, p peer) {
		tx, r := w.sendTo(f, sip.INVITE)
		got := p.read()
		if len(got) != 1 || tx.Flow() != f {
			t.Fatalf("%q", got)
		}
		invite := got[0]
		for _, h := range []string{"Max-Forwards: 70\r\n", "User-Agent: Wakebridge\r\n", "Content-Length: 0\r\n", "Via: SIP/2.0/" + f.Transport().String() + " 10.0.0.1:5060;branch=z9hG4bK", ";rport"} {
			if !strings.Contains(invite, h) {
				t.Errorf("no %q in\n%s", h, invite)
			}
		}
		p.send(answer(invite, 100, ""))
		p.send(answer(invite, 180, "bob"))
		r.want(t, "100 180")
		// The CANCEL has the branch of the INVITE and is a transaction of its own.
		cancelled := &results{}
		if _, err := w.ep.Request(f, tx.NewCancel(`SIP;cause=200;text="Call completed elsewhere"`), cancelled.deliver); err != nil {
			t.Fatal(err)
		}
		c := p.read()
		if len(c) != 1 || !strings.HasPrefix(c[0], "CANCEL sip:bob@example.com SIP/2.0") || !strings.Contains(c[0], `Reason: SIP;cause=200;text="Call completed elsewhere"`) ||
			line(c[0], "Via") != line(invite, "Via") || line(c[0], "To") != line(invite, "To") || line(c[0], "CSeq") != "CSeq: 1 CANCEL" {
			t.Fatalf("%q", c)
		}
		p.send(answer(c[0], 200, "bob"))
		cancelled.want(t, "200")
		p.send(answer(invite, 487, "bob"))
		r.want(t, "487")
		ack := p.read()
		if len(ack) != 1 || line(ack[0], "CSeq") != "CSeq: 1 ACK" || line(ack[0], "Via") != line(invite, "Via") || !strings.Contains(line(ack[0], "To"), "tag=bob") {
			t.Fatalf("%q", ack)
		}
		time40s()
		r.want(t, "")
		w.wantEmpty()
	})
}

// line is the first header line of that name.
func line(text, name string) string {
	for l := range strings.SplitSeq(text, "\r\n") {
		if strings.HasPrefix(l, name+":") {
			return l
		}
	}
	return ""
}

// Trap 2.1/19: sipgo waits 4 s, holding its lock, before it confirms a repeated 486.
func TestTrapRepeatedRefusalIsConfirmedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.udp(trunkHost, 5060)
		_, r := w.sendTo(w.connect(sipua.UDP, p.addr()), sip.INVITE)
		invite := p.read()[0]
		var acks []string
		for range 5 {
			p.send(answer(invite, 486, "bob"))
			got := p.read()
			if len(got) != 1 || !strings.HasPrefix(got[0], "ACK ") {
				t.Fatalf("%q", got)
			}
			acks = append(acks, got[0])
		}
		for _, a := range acks {
			if line(a, "Via") != line(invite, "Via") || line(a, "To") != line(acks[0], "To") || line(a, "CSeq") != "CSeq: 1 ACK" || line(a, "From") != line(invite, "From") {
				t.Errorf("%q", a)
			}
		}
		r.want(t, "486")
		time40s() // timer D
		p.send(answer(invite, 486, "bob"))
		if got := p.read(); len(got) != 0 {
			t.Errorf("%q", got)
		}
		w.wantEmpty()
	})
}

// Trap 2.1/19: sipgo keeps a finished non-INVITE transaction for 32 s.
func TestTrapFinishedClientTransactionsGo(t *testing.T) {
	bothWays(t, func(t *testing.T, w *world, f *sipua.Flow, p peer) {
		_, r := w.sendTo(f, sip.OPTIONS)
		options := p.read()[0]
		p.send(answer(options, 100, ""))
		p.send(answer(options, 200, "bob"))
		p.send(answer(options, 200, "bob"))
		r.want(t, "100 200")
		w.wantEmpty()
		time40s()
		r.want(t, "")
	})
}

// Trap 2.1/8 and 9: nobody reads, nobody counts: 50 INVITEs with 20 provisional
// responses each leave no goroutine, and each response is delivered.
func TestTrapManyResponses(t *testing.T) {
	bothWays(t, func(t *testing.T, w *world, f *sipua.Flow, p peer) {
		before := runtime.NumGoroutine()
		var all []*results
		var invites []string
		for range 50 {
			_, r := w.sendTo(f, sip.INVITE)
			all = append(all, r)
			invites = append(invites, p.read()...)
		}
		for _, invite := range invites {
			for i := range 20 {
				p.send(answer(invite, 180+i%4, "bob"))
			}
			p.send(answer(invite, 486, "bob"))
			synctest.Wait() // the peer's socket has an end
		}
		for _, r := range all {
			if got := r.take(); strings.Count(got, " ") != 20 || !strings.HasSuffix(got, "486") {
				t.Errorf("delivered %q", got)
			}
		}
		p.read()
		time40s()
		w.wantEmpty()
		// A leak would be one per INVITE; the runtime may start one of its own (cleanups).
		if n := runtime.NumGoroutine(); n > before+5 {
			t.Errorf("%d goroutines, %d before", n, before)
		}
	})
}

// A provisional flood has an end, and does not keep the final response out.
func TestFloodOfProvisionalResponses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.udp(trunkHost, 5060)
		hold, r := make(chan bool), &results{}
		if _, err := w.ep.Request(w.connect(sipua.UDP, p.addr()), request(sip.INVITE, "c"), func(res *sip.Response, err error) {
			<-hold // an owner that is slow to take them
			r.deliver(res, err)
		}); err != nil {
			t.Fatal(err)
		}
		invite := p.read()[0]
		for range 500 {
			p.send(answer(invite, 180, "bob"))
		}
		synctest.Wait()
		p.send(answer(invite, 200, "bob"))
		synctest.Wait()
		close(hold)
		got := r.take()
		if n := strings.Count(got, "180"); !strings.HasSuffix(got, " 200") || n > 70 {
			t.Errorf("%d provisional, ends with %q", n, got[max(0, len(got)-40):])
		}
	})
}

// RFC 6026: after the 2xx each further one is told, a repetition or another fork's.
func TestFurther2xxAreDelivered(t *testing.T) {
	bothWays(t, func(t *testing.T, w *world, f *sipua.Flow, p peer) {
		_, r := w.sendTo(f, sip.INVITE)
		invite := p.read()[0]
		p.send(answer(invite, 200, "one"))
		p.send(answer(invite, 200, "one"))
		p.send(answer(invite, 200, "two"))
		p.send(answer(invite, 180, "three")) // too late
		p.send(answer(invite, 486, "three")) // too late
		r.want(t, "200 200 200")
		if got := p.read(); len(got) != 0 {
			t.Errorf("%q", got) // the ACK is the owner's
		}
		time40s()
		w.wantEmpty()
		r.want(t, "")
	})
}

func TestRequestTimesOut(t *testing.T) {
	for _, method := range []sip.RequestMethod{sip.INVITE, sip.OPTIONS} {
		t.Run(string(method), func(t *testing.T) {
			bothWays(t, func(t *testing.T, w *world, f *sipua.Flow, p peer) {
				start := time.Now()
				_, r := w.sendTo(f, method)
				var at []string
				for time.Since(start) < 31900*time.Millisecond {
					for range p.read() {
						at = append(at, fmt.Sprintf("%.1f", time.Since(start).Seconds()))
					}
					time.Sleep(100 * time.Millisecond)
				}
				wantAt := "0.0"
				if f.Transport() == sipua.UDP {
					wantAt = map[sip.RequestMethod]string{sip.INVITE: "0.0 0.5 1.5 3.5 7.5 15.5 31.5", // timer A
						sip.OPTIONS: "0.0 0.5 1.5 3.5 7.5 11.5 15.5 19.5 23.5 27.5 31.5"}[method] // timer E
				}
				if s := strings.Join(at, " "); s != wantAt {
					t.Errorf("sent at %s, want %s", s, wantAt)
				}
				r.want(t, "")
				time.Sleep(200 * time.Millisecond)
				r.want(t, "timeout")
				time40s()
				r.want(t, "")
				w.wantEmpty()
			})
		})
	}
}

// N1: under loss, doubling and reordering each request is handled once and answered.
func TestRequestsUnderLoss(t *testing.T) {
	for _, loss := range []float64{0.05, 0.3} {
		t.Run(fmt.Sprint(loss), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := newWorld(t)
				server.onRequest = ok
				client := sipua.New(sipua.Config{Handler: funcs{}, Log: server.log()})
				defer client.Close()
				pc, err := server.net.Host(aliceHost).ListenPacket(netip.AddrPortFrom(aliceHost, 5060))
				if err != nil {
					t.Fatal(err)
				}
				if err := client.ServeUDP(pc); err != nil {
					t.Fatal(err)
				}
				server.net.ImpairBoth(aliceHost, serverHost, memnet.Impairment{Loss: loss, Delay: 20 * time.Millisecond, Jitter: 10 * time.Millisecond, Reorder: 0.1, Duplicate: 0.1})
				f, err := client.Connect(t.Context(), sipua.UDP, sipua.Destination{Addr: netip.AddrPortFrom(serverHost, 5060)})
				if err != nil {
					t.Fatal(err)
				}
				const n = 300
				r := &results{}
				for i := range n {
					if _, err := client.Request(f, request(sip.OPTIONS, fmt.Sprint(i)), r.deliver); err != nil {
						t.Fatal(err)
					}
				}
				time40s()
				if got := r.take(); got != strings.TrimSpace(strings.Repeat("200 ", n)) {
					t.Errorf("delivered %s", got)
				}
				if _, o := server.handled(); o != n {
					t.Errorf("%d handled", o)
				}
				time40s()
				server.wantEmpty()
			})
		})
	}
}

// The loss of the flow is told once, at once, and leaves nothing.
func TestFlowLossEndsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		accept := w.listen(netip.AddrPortFrom(trunkHost, 5060))
		f := w.connect(sipua.TCP, netip.AddrPortFrom(trunkHost, 5060))
		p := accept()
		_, invite := w.sendTo(f, sip.INVITE)
		_, ringing := w.sendTo(f, sip.INVITE)
		_, options := w.sendTo(f, sip.OPTIONS)
		_, over := w.sendTo(f, sip.INVITE)
		sent := p.read()
		p.send(answer(sent[1], 180, "bob"))
		p.send(answer(sent[3], 200, "bob"))
		ringing.want(t, "180")
		over.want(t, "200")
		p.conn.Close()
		invite.want(t, "flow")
		ringing.want(t, "flow")
		options.want(t, "flow")
		over.want(t, "")
		w.wantEmpty()
		if _, err := w.ep.Request(f, request(sip.OPTIONS, "x"), func(*sip.Response, error) { t.Error("delivered") }); !errors.Is(err, sipua.ErrFlowGone) {
			t.Errorf("then: %v", err)
		}
		if err := w.ep.Send(f, request(sip.ACK, "x")); !errors.Is(err, sipua.ErrFlowGone) {
			t.Errorf("then: %v", err)
		}
		w.wantEmpty()
		time40s()
		for _, r := range []*results{invite, ringing, options, over} {
			r.want(t, "")
		}
	})
}

func TestTerminateIsSilent(t *testing.T) {
	bothWays(t, func(t *testing.T, w *world, f *sipua.Flow, p peer) {
		tx, r := w.sendTo(f, sip.INVITE)
		invite := p.read()[0]
		tx.Terminate()
		tx.Terminate()
		w.wantEmpty()
		p.send(answer(invite, 200, "bob"))
		time40s()
		r.want(t, "")
		if got := p.read(); len(got) != 0 {
			t.Errorf("%q", got)
		}
	})
}

// A response counts only from where the request was sent to, and only if it is for us.
func TestTrapResponseOfAStranger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p, evil := w.udp(trunkHost, 5060), w.udp(evilHost, 5060)
		_, r := w.sendTo(w.connect(sipua.UDP, p.addr()), sip.INVITE)
		invite := p.read()[0]
		evil.send(answer(invite, 200, "eve"))
		p.send(strings.Replace(answer(invite, 200, "bob"), "From:", "Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKother\r\nFrom:", 1))
		p.send(answer(invite, 200, "bob", "CSeq: 2 INVITE"))
		p.send(change(answer(invite, 200, "bob"), "CSeq", "CSeq: 1 BYE"))
		p.send(change(answer(invite, 200, "bob"), "Call-ID", ""))
		r.want(t, "")
		w.udp(trunkHost, 5061).send(answer(invite, 180, "bob")) // another port of the same host is the same peer
		r.want(t, "180")
	})
}

func TestResend(t *testing.T) {
	bothWays(t, func(t *testing.T, w *world, f *sipua.Flow, p peer) {
		tx, r := w.sendTo(f, sip.INVITE)
		invite := p.read()[0]
		if err := tx.Resend(); err != nil {
			t.Error(err)
		}
		got := p.read()
		if f.Transport() == sipua.UDP && (len(got) != 1 || got[0] != invite) || f.Transport() == sipua.TCP && len(got) != 0 {
			t.Errorf("%q", got)
		}
		p.send(answer(invite, 486, "bob"))
		r.want(t, "486")
		p.read()
		if err := tx.Resend(); err != nil {
			t.Error(err)
		}
		if got := p.read(); len(got) != 0 {
			t.Errorf("after the end: %q", got)
		}
	})
}

// RFC 3261 s18.1.1 wants TCP above 1300 bytes; sipgo refuses to send them at all, and
// responses too. IP fragments them.
func TestTrapUDPOver1300Bytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		big := strings.Repeat("x", 6000)
		w.onRequest = func(tx *sipua.ServerTx) {
			res := tx.NewResponse(200, "")
			res.SetBody([]byte(big))
			if err := tx.Respond(res); err != nil {
				t.Error(err)
			}
		}
		p := w.udp(aliceHost, 5060)
		p.send(draft{method: "OPTIONS", callID: "c", body: big}.String())
		if got := want(t, p, 200); !strings.HasSuffix(got[0], big) {
			t.Errorf("%d bytes", len(got[0]))
		}
	})
}

func TestCloseEndsRequests(t *testing.T) {
	bothWays(t, func(t *testing.T, w *world, f *sipua.Flow, p peer) {
		_, r := w.sendTo(f, sip.INVITE)
		_, o := w.sendTo(f, sip.OPTIONS)
		p.read()
		w.ep.Close()
		w.ep.Close()
		for _, r := range []*results{r, o} {
			if got := r.take(); got != "flow" && got != "closed" {
				t.Errorf("delivered %q", got)
			}
		}
		if flows, d, s, c := w.ep.Sizes(); flows+d+s+c != 0 {
			t.Errorf("left: %d %d %d %d", flows, d, s, c)
		}
		if _, err := w.ep.Request(f, request(sip.OPTIONS, "x"), func(*sip.Response, error) { t.Error("delivered") }); err == nil {
			t.Error("a request after Close")
		}
		if _, err := w.ep.Connect(t.Context(), sipua.UDP, sipua.Destination{Addr: p.addr()}); !errors.Is(err, sipua.ErrClosed) {
			t.Errorf("Connect: %v", err)
		}
	})
}

// A stream that we dialled and that a firewall has forgotten takes whatever is written
// to it: a request in vain is its end, unless something else came meanwhile, for then
// the peer just does not answer this one. A phone's stream is the phone's.
func TestTimeoutEndsASilentStreamOfOurs(t *testing.T) {
	for _, tt := range []struct {
		name          string
		method        sip.RequestMethod
		dialled, pong bool
		gone          bool
	}{
		{"INFO", sip.INFO, true, false, true},
		{"INVITE", sip.INVITE, true, false, true},
		{"sign of life", sip.INFO, true, true, false},
		{"of the peer", sip.INFO, false, false, false},
		{"OPTIONS, which some ignore", sip.OPTIONS, true, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				to := netip.AddrPortFrom(trunkHost, 5060)
				accept := w.listen(to)
				f := w.connect(sipua.TCP, to)
				p := accept()
				if !tt.dialled {
					w.onRequest = ok
					p = w.tcp(trunkHost)
					p.send(draft{method: "OPTIONS", callID: "c"}.String())
					want(t, p, 200)
					f = w.others[0].Flow()
					f.SetParty("alice") // a stranger's idle stream would be closed
				}
				_, r := w.sendTo(f, tt.method)
				time.Sleep(20 * time.Second)
				if tt.pong {
					p.send("\r\n")
				}
				time40s()
				synctest.Wait()
				if got := r.take(); got != "timeout" {
					t.Errorf("the request got %s", got)
				}
				if gone := w.ep.Flow(f.ID()) == nil; gone != tt.gone || p.isClosed() != tt.gone {
					t.Errorf("closed: %v", gone)
				}
				if tt.dialled && (w.connect(sipua.TCP, to) != f) != tt.gone {
					t.Error("the next request goes the wrong way")
				}
				w.wantEmpty()
			})
		})
	}
}
