package registration_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/digest"
	"wakebridge/sipua/header"
	"wakebridge/sipua/memnet"
	"wakebridge/sipua/registration"
)

var (
	serverAddr = netip.MustParseAddrPort("10.0.0.1:5060")
	clientAddr = netip.MustParseAddrPort("10.0.0.2:5060")
)

// bench is a client's endpoint, a scripted registrar, and what passed between.
type bench struct {
	t         *testing.T
	net       *memnet.Network
	client    *sipua.Endpoint
	transport sipua.Transport
	cfg       registration.Config
	events    chan registration.Event
	seen      chan seen
	mu        sync.Mutex
	// reply is the registrar: it answers a REGISTER, nil not at all.
	reply func(tx *sipua.ServerTx) *sip.Response
}

// change changes the registrar while it runs.
func (b *bench) change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

type seen struct {
	req  *sip.Request
	flow *sipua.Flow
	at   time.Time
}

// Invite implements sipua.Handler.
func (b *bench) Invite(tx *sipua.ServerTx) { tx.Reject(sipua.Reject(500, "")) }

// Request implements sipua.Handler.
func (b *bench) Request(tx *sipua.ServerTx) {
	b.seen <- seen{tx.Request, tx.Flow(), time.Now()}
	tx.Flow().SetParty("alice") // or it would be closed as a stranger's
	b.mu.Lock()
	defer b.mu.Unlock()
	if res := b.reply(tx); res != nil {
		if err := tx.Respond(res); err != nil {
			b.t.Log(err)
		}
	}
}

// FlowGone implements sipua.Handler.
func (b *bench) FlowGone(*sipua.Flow, error) {}

func run(t *testing.T, transport sipua.Transport, f func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, net: memnet.New(memnet.Options{Seed: 3}), transport: transport,
			events: make(chan registration.Event, 100), seen: make(chan seen, 1000)}
		b.reply = func(tx *sipua.ServerTx) *sip.Response { return b.ok(tx, 60) }
		t.Cleanup(func() { b.net.Close() })
		b.endpoint(serverAddr)
		b.client = b.endpoint(clientAddr)
		b.cfg = registration.Config{
			Endpoint: b.client, Registrar: sip.Uri{Scheme: "sip", Host: "example.com"}, AOR: sipua.NewAOR("alice", "example.com"),
			Flow: func(ctx context.Context) (*sipua.Flow, error) {
				return b.client.Connect(ctx, b.transport, sipua.Destination{Addr: serverAddr})
			},
			Contact: func(f *sipua.Flow) sip.ContactHeader {
				c := sip.ContactHeader{Address: f.Contact("alice"), Params: sip.HeaderParams{{K: "reg-id", V: "1"}}}
				c.Address.UriParams = append(c.Address.UriParams, sip.HeaderKV{K: "pn-provider", V: "apns"})
				return c
			},
			Expires: time.Minute, Emit: func(e registration.Event) { b.events <- e }, Log: slog.New(slog.DiscardHandler),
		}
		f(t, b)
	})
}

func (b *bench) endpoint(at netip.AddrPort) *sipua.Endpoint {
	host := b.net.Host(at.Addr())
	pc, err := host.ListenPacket(at)
	b.must(err)
	ln, err := host.Listen(at)
	b.must(err)
	ep := sipua.New(sipua.Config{Handler: b, Log: slog.New(slog.DiscardHandler),
		Dial: func(ctx context.Context, _ sipua.Transport, to sipua.Destination) (net.Conn, error) {
			return host.Dial(ctx, netip.AddrPort{}, to.Addr)
		}})
	b.t.Cleanup(ep.Close)
	b.must(ep.ServeUDP(pc))
	b.must(ep.ServeStream(ln, sipua.TCP))
	return ep
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// ok is a 200 that binds for expires seconds, with further headers.
func (b *bench) ok(tx *sipua.ServerTx, expires int, headers ...string) *sip.Response {
	res := tx.NewResponse(200, "")
	c := tx.Request.Contact().Clone()
	c.Params.Add("expires", strconv.Itoa(expires))
	res.AppendHeader(c)
	return with(res, headers...)
}

func with(res *sip.Response, headers ...string) *sip.Response {
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		res.AppendHeader(sip.NewHeader(name, value))
	}
	return res
}

func (b *bench) start() *registration.Registration {
	r := registration.Start(b.cfg)
	b.t.Cleanup(r.Close)
	return r
}

func (b *bench) next() registration.Event {
	b.t.Helper()
	select {
	case e := <-b.events:
		return e
	case <-time.After(3 * time.Hour):
		b.t.Fatal("no event")
		return nil
	}
}

func next[E registration.Event](b *bench) E {
	b.t.Helper()
	e := b.next()
	got, ok := e.(E)
	if !ok {
		b.t.Fatalf("event %#v", e)
	}
	return got
}

// request is the next REGISTER that the registrar saw.
func (b *bench) request() seen {
	b.t.Helper()
	select {
	case s := <-b.seen:
		return s
	case <-time.After(3 * time.Hour):
		b.t.Fatal("no REGISTER")
		return seen{}
	}
}

func (b *bench) nothing(d time.Duration) {
	b.t.Helper()
	select {
	case s := <-b.seen:
		b.t.Fatalf("unexpected REGISTER: %s", s.req)
	case <-time.After(d):
	}
}

func TestRefreshesBeforeExpiry(t *testing.T) {
	for _, transport := range []sipua.Transport{sipua.UDP, sipua.TCP} {
		run(t, transport, func(t *testing.T, b *bench) {
			b.start()
			first := b.request()
			e := next[registration.Registered](b)
			if e.Expires != time.Minute || len(e.Contacts) != 1 || e.Flow == nil {
				t.Fatalf("%+v", e)
			}
			last := first
			for range 5 {
				s := b.request()
				if wait := s.at.Sub(last.at); wait < 45*time.Second || wait > 53*time.Second {
					t.Errorf("%s: refreshed a binding of 60 s after %s", transport, wait)
				}
				if s.req.CallID().Value() != first.req.CallID().Value() || s.req.CSeq().SeqNo != last.req.CSeq().SeqNo+1 {
					t.Errorf("%s: Call-ID %s, CSeq %d after %d", transport, s.req.CallID(), s.req.CSeq().SeqNo, last.req.CSeq().SeqNo)
				}
				if s.flow != first.flow {
					t.Errorf("%s: another flow", transport)
				}
				last = s
				next[registration.Registered](b)
			}
			c := first.req.Contact()
			if v, _ := c.Address.UriParams.Get("pn-provider"); v != "apns" || !c.Params.Has("reg-id") || sipua.Value(first.req, "Expires") != "60" {
				t.Errorf("%s: %s", transport, first.req)
			}
		})
	}
}

type users map[string]string

func (u users) HA1(_ context.Context, realm, username string, a digest.Algorithm) (string, bool) {
	password, ok := u[username]
	return digest.HA1(a, username, realm, password), ok
}

// secured makes the registrar ask for a password.
func (b *bench) secured(life time.Duration) {
	v, err := digest.NewVerifier(digest.Options{Realm: "example.com", Credentials: users{"alice": "secret"}, NonceLife: life})
	b.must(err)
	b.reply = func(tx *sipua.ServerTx) *sip.Response { // before Start
		r := v.Verify(b.t.Context(), digest.Request{Method: "REGISTER", URI: tx.Request.Recipient, Authorization: sipua.Values(tx.Request, "Authorization")})
		if r.Outcome == digest.OK {
			return b.ok(tx, 60)
		}
		res := tx.NewResponse(401, "")
		for _, c := range v.Challenge(r.Outcome == digest.Stale) {
			res.AppendHeader(sip.NewHeader("WWW-Authenticate", c))
		}
		return res
	}
}

func TestAnswersChallenges(t *testing.T) {
	run(t, sipua.TCP, func(t *testing.T, b *bench) {
		b.secured(100 * time.Second)
		b.cfg.Credentials = digest.NewClient(digest.Login{Username: "alice", Password: "secret"})
		b.start()
		next[registration.Registered](b)
		one, two := b.request().req, b.request().req
		if two.CSeq().SeqNo != one.CSeq().SeqNo+1 || two.CallID().Value() != one.CallID().Value() ||
			sipua.FromTag(one) != sipua.FromTag(two) || one.Via().Params.GetOr("branch", "") == two.Via().Params.GetOr("branch", "") {
			t.Errorf("after a challenge:\n%s\n%s", one, two)
		}
		// The nonce is used again while it lives, and a stale one costs no event.
		next[registration.Registered](b)
		b.request()
		b.nothing(0)
		for range 3 {
			next[registration.Registered](b)
		}
		stale := 0
		for len(b.seen) > 0 {
			<-b.seen
			stale++
		}
		if stale < 4 || stale > 5 {
			t.Errorf("%d REGISTERs for 3 refreshes with one or two stale nonces", stale)
		}
	})
}

func TestWrongPasswordIsTriedTwiceAndThenSeldom(t *testing.T) {
	run(t, sipua.TCP, func(t *testing.T, b *bench) {
		b.secured(time.Minute)
		b.cfg.Credentials = digest.NewClient(digest.Login{Username: "alice", Password: "wrong"})
		b.start()
		e := next[registration.Failed](b)
		if !errors.Is(e.Err, digest.ErrRefused) || e.Status != 401 || e.Retry < 15*time.Minute {
			t.Errorf("%+v", e)
		}
		if n := len(b.seen); n > 3 {
			t.Errorf("%d REGISTERs", n)
		}
		for len(b.seen) > 0 {
			<-b.seen
		}
		b.nothing(14 * time.Minute)
	})
}

func TestChallengeWithoutCredentialsFails(t *testing.T) {
	run(t, sipua.UDP, func(t *testing.T, b *bench) {
		b.secured(time.Minute)
		b.start()
		if e := next[registration.Failed](b); e.Status != 401 || e.Err != nil {
			t.Errorf("%+v", e)
		}
	})
}

func TestTooBriefIsRaised(t *testing.T) {
	run(t, sipua.TCP, func(t *testing.T, b *bench) {
		b.reply = func(tx *sipua.ServerTx) *sip.Response {
			if sipua.Value(tx.Request, "Expires") == "60" {
				return with(tx.NewResponse(423, ""), "Min-Expires: 600")
			}
			return b.ok(tx, 600)
		}
		b.start()
		if e := next[registration.Registered](b); e.Expires != 10*time.Minute {
			t.Errorf("%+v", e)
		}
		next[registration.Registered](b) // asks for 600 from now on
		if n := len(b.seen); n != 3 {
			t.Errorf("%d REGISTERs", n)
		}
	})
}

func TestTooBriefWithoutEndIsNoLoop(t *testing.T) {
	for name, least := range map[string]func(asked int) string{
		"none":   func(int) string { return "" },
		"lower":  func(asked int) string { return strconv.Itoa(asked - 1) },
		"always": func(asked int) string { return strconv.Itoa(asked + 1) },
	} {
		run(t, sipua.TCP, func(t *testing.T, b *bench) {
			b.reply = func(tx *sipua.ServerTx) *sip.Response {
				asked, err := strconv.Atoi(sipua.Value(tx.Request, "Expires"))
				b.must(err)
				res := tx.NewResponse(423, "")
				if v := least(asked); v != "" {
					with(res, "Min-Expires: "+v)
				}
				return res
			}
			b.start()
			if e := next[registration.Failed](b); !errors.Is(e.Err, registration.ErrBrief) || e.Status != 423 {
				t.Errorf("%s: %+v", name, e)
			}
			if n := len(b.seen); n > 3 {
				t.Errorf("%s: %d REGISTERs", name, n)
			}
		})
	}
}

func TestFailuresBackOff(t *testing.T) {
	run(t, sipua.TCP, func(t *testing.T, b *bench) {
		status, header := 503, ""
		b.reply = func(tx *sipua.ServerTx) *sip.Response {
			if status == 200 {
				return b.ok(tx, 60)
			}
			res := tx.NewResponse(status, "")
			if header != "" {
				with(res, header)
			}
			return res
		}
		b.cfg.Retry = registration.Retry{First: 2 * time.Second, Longest: time.Minute}
		b.start()
		last := b.request().at
		for i, seconds := range []int{2, 4, 8, 16, 32, 60, 60} {
			most := time.Duration(seconds) * time.Second
			e := next[registration.Failed](b)
			if e.Status != 503 || e.Err != nil {
				t.Fatalf("%+v", e)
			}
			s := b.request()
			if wait := s.at.Sub(last); wait != e.Retry || wait > most || wait < most/2 {
				t.Errorf("try %d came after %s, said %s, want up to %s", i+2, wait, e.Retry, most)
			}
			last = s.at
		}
		b.change(func() { header = "Retry-After: 300" })
		next[registration.Failed](b)
		b.request()
		if e := next[registration.Failed](b); e.Retry != 5*time.Minute {
			t.Errorf("Retry-After 300: %s", e.Retry)
		}
		b.change(func() { status = 200 })
		next[registration.Registered](b)
		b.change(func() { status, header = 503, "" })
		if e := next[registration.Failed](b); e.Retry > 2*time.Second {
			t.Errorf("after a success the back-off begins anew: %s", e.Retry)
		}
	})
}

func TestSilentRegistrarTimesOut(t *testing.T) {
	run(t, sipua.UDP, func(t *testing.T, b *bench) {
		b.reply = func(*sipua.ServerTx) *sip.Response { return nil }
		begun := time.Now()
		b.start()
		e := next[registration.Failed](b)
		if !errors.Is(e.Err, sipua.ErrTimeout) || e.Status != 408 || time.Since(begun) != 32*time.Second {
			t.Errorf("%+v after %s", e, time.Since(begun))
		}
	})
}

func TestNobodyThere(t *testing.T) {
	run(t, sipua.TCP, func(t *testing.T, b *bench) {
		b.cfg.Flow = func(ctx context.Context) (*sipua.Flow, error) {
			return b.client.Connect(ctx, sipua.TCP, sipua.Destination{Addr: netip.MustParseAddrPort("10.0.0.1:9")})
		}
		b.start()
		if e := next[registration.Failed](b); e.Err == nil || e.Retry < 15*time.Second || e.Retry > 30*time.Second {
			t.Errorf("%+v", e)
		}
	})
}

func TestLostFlowIsReplaced(t *testing.T) {
	run(t, sipua.TCP, func(t *testing.T, b *bench) {
		b.cfg.Retry.First = time.Second
		b.start()
		first := b.request()
		next[registration.Registered](b)
		first.flow.Shut(errors.New("server restarts"))
		lost := next[registration.Lost](b)
		if !errors.Is(lost.Err, sipua.ErrFlowGone) || lost.Retry > time.Second {
			t.Errorf("%+v", lost)
		}
		second := b.request()
		if second.flow == first.flow || second.req.CSeq().SeqNo != first.req.CSeq().SeqNo+1 {
			t.Errorf("second REGISTER: %s", second.req)
		}
		next[registration.Registered](b)
		b.nothing(40 * time.Second)
	})
}

// A registrar that answers with an error and closes must not be called in a loop.
func TestServerThatRefusesAndCloses(t *testing.T) {
	run(t, sipua.TCP, func(t *testing.T, b *bench) {
		b.reply = func(tx *sipua.ServerTx) *sip.Response {
			if err := tx.Respond(tx.NewResponse(503, "")); err != nil {
				t.Error(err)
			}
			tx.Flow().Shut(errors.New("full"))
			return nil
		}
		b.start()
		b.request()
		e := next[registration.Failed](b)
		b.nothing(e.Retry - time.Millisecond)
	})
}

func TestRefreshNow(t *testing.T) {
	run(t, sipua.TCP, func(t *testing.T, b *bench) {
		var second atomic.Bool
		gate := make(chan struct{}) // holds the second REGISTER until all were asked for
		b.cfg.Contact = func(f *sipua.Flow) sip.ContactHeader {
			user := "alice"
			if second.Load() {
				<-gate
				user = "alice-2"
			}
			return sip.ContactHeader{Address: f.Contact(user)}
		}
		r := b.start()
		b.request()
		next[registration.Registered](b)
		second.Store(true)
		for range 3 {
			r.Refresh()
			synctest.Wait()
		}
		close(gate)
		s := b.request()
		if s.req.Contact().Address.User != "alice-2" {
			t.Errorf("contact %s", s.req.Contact())
		}
		next[registration.Registered](b)
		synctest.Wait()
		if n := len(b.seen); n != 1 { // for both that came while one was under way
			t.Errorf("%d more", n)
		}
	})
}

func TestUnregister(t *testing.T) {
	run(t, sipua.TCP, func(t *testing.T, b *bench) {
		b.secured(time.Hour)
		b.cfg.Credentials = digest.NewClient(digest.Login{Username: "alice", Password: "secret"})
		r := b.start()
		next[registration.Registered](b)
		b.request()
		bound := b.request().req
		b.must(r.Unregister(t.Context()))
		gone := b.request().req
		if sipua.Value(gone, "Expires") != "0" || gone.Contact().Value() != bound.Contact().Value() || gone.CSeq().SeqNo <= bound.CSeq().SeqNo {
			t.Errorf("un-REGISTER: %s", gone)
		}
		if err := r.Unregister(t.Context()); !errors.Is(err, registration.ErrEnded) {
			t.Errorf("twice: %v", err)
		}
		r.Close()
		b.nothing(2 * time.Hour)
	})
}

func TestUnregisterGivesUp(t *testing.T) {
	run(t, sipua.UDP, func(t *testing.T, b *bench) {
		r := b.start()
		next[registration.Registered](b)
		b.change(func() { b.reply = func(*sipua.ServerTx) *sip.Response { return nil } })
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		begun := time.Now()
		if err := r.Unregister(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 2*time.Second {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
	})
}

func TestCloseSaysNothing(t *testing.T) {
	run(t, sipua.TCP, func(t *testing.T, b *bench) {
		r := b.start()
		b.request()
		next[registration.Registered](b)
		r.Close()
		r.Close()
		b.nothing(time.Hour)
	})
}

func TestCloseInTheMiddle(t *testing.T) {
	run(t, sipua.TCP, func(t *testing.T, b *bench) {
		b.reply = func(*sipua.ServerTx) *sip.Response { return nil }
		r := b.start()
		b.request()
		begun := time.Now()
		r.Close()
		if time.Since(begun) != 0 || len(b.events) != 0 {
			t.Errorf("Close took %s, %d events", time.Since(begun), len(b.events))
		}
	})
}

func TestReadsWhatThe200Says(t *testing.T) {
	run(t, sipua.TCP, func(t *testing.T, b *bench) {
		const id = "0f8fad5b-d9cb-469f-a165-70867728950e"
		b.reply = func(tx *sipua.ServerTx) *sip.Response {
			return b.ok(tx, 600, `Feature-Caps: *;+sip.pns="apns";+sip.pnsreg="130"`, "X-Call-Ended: "+id+`;cause=487;text="caller gave up"`)
		}
		b.start()
		e := next[registration.Registered](b)
		if len(e.FeatureCaps) != 1 || e.FeatureCaps[0] != (header.FeatureCaps{PNS: "apns", PNSReg: 130}) {
			t.Errorf("caps %+v", e.FeatureCaps)
		}
		if len(e.CallEnded) != 1 || e.CallEnded[0].UUID.String() != id || e.CallEnded[0].Cause != 487 {
			t.Errorf("fates %+v", e.CallEnded)
		}
		if e.Refresh > (600-130)*time.Second {
			t.Errorf("refresh after %s", e.Refresh)
		}
		b.change(func() {
			b.reply = func(tx *sipua.ServerTx) *sip.Response {
				return b.ok(tx, 600, "Feature-Caps: garbage", "X-Call-Ended: garbage")
			}
		})
		if e := next[registration.Registered](b); e.FeatureCaps != nil || e.CallEnded != nil {
			t.Errorf("from garbage: %+v", e)
		}
	})
}

func TestBoundForNoTimeIsAFailure(t *testing.T) {
	run(t, sipua.TCP, func(t *testing.T, b *bench) {
		b.reply = func(tx *sipua.ServerTx) *sip.Response { return b.ok(tx, 0) }
		b.start()
		if e := next[registration.Failed](b); !errors.Is(e.Err, registration.ErrNotBound) {
			t.Errorf("%+v", e)
		}
	})
}

func TestLostPacketsCostNothing(t *testing.T) {
	run(t, sipua.UDP, func(t *testing.T, b *bench) {
		b.net.ImpairBoth(serverAddr.Addr(), clientAddr.Addr(), memnet.Impairment{Loss: 0.4})
		b.start()
		for range 10 {
			next[registration.Registered](b)
		}
	})
}
