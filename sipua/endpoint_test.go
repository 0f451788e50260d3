package sipua_test

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
)

// funcs is a Handler of functions; nil ones ignore.
type funcs struct {
	invite  func(*sipua.ServerTx)
	request func(*sipua.ServerTx)
	gone    func(*sipua.Flow, error)
}

func (h funcs) Invite(tx *sipua.ServerTx) {
	if h.invite != nil {
		h.invite(tx)
	}
}

func (h funcs) Request(tx *sipua.ServerTx) {
	if h.request != nil {
		h.request(tx)
	}
}

func (h funcs) FlowGone(f *sipua.Flow, err error) {
	if h.gone != nil {
		h.gone(f, err)
	}
}

func newEndpoint(t *testing.T, h sipua.Handler) *sipua.Endpoint {
	t.Helper()
	ep := sipua.New(sipua.Config{Handler: h, Log: slog.New(slog.DiscardHandler),
		Dial: func(ctx context.Context, _ sipua.Transport, to sipua.Destination) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", to.Addr.String())
		}})
	t.Cleanup(ep.Close)
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ep.ServeUDP(pc); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ep.ServeStream(ln, sipua.TCP); err != nil {
		t.Fatal(err)
	}
	return ep
}

func request(method sip.RequestMethod, callID string) *sip.Request {
	req := sip.NewRequest(method, sip.Uri{Scheme: "sip", User: "bob", Host: "example.com"})
	req.AppendHeader(&sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "alice", Host: "example.com"},
		Params: sip.HeaderParams{{K: "tag", V: sipua.NewTag()}}})
	req.AppendHeader(&sip.ToHeader{Address: sip.Uri{Scheme: "sip", User: "bob", Host: "example.com"}})
	id := sip.CallIDHeader(callID)
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: method})
	return req
}

type outcome struct {
	res *sip.Response
	err error
}

func TestRequestAndResponse(t *testing.T) {
	server := newEndpoint(t, funcs{request: func(tx *sipua.ServerTx) {
		res := tx.NewResponse(200, "")
		if err := tx.Respond(res); err != nil {
			t.Error(err)
		}
		if err := tx.Respond(tx.NewResponse(486, "")); err == nil {
			t.Error("a second final response was sent")
		}
	}})
	client := newEndpoint(t, funcs{})
	for _, transport := range []sipua.Transport{sipua.UDP, sipua.TCP} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		f, err := client.Connect(ctx, transport, sipua.Destination{Addr: server.Listening(transport)[0]})
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan outcome, 4)
		if _, err := client.Request(f, request(sip.OPTIONS, transport.String()), func(r *sip.Response, err error) {
			got <- outcome{r, err}
		}); err != nil {
			t.Fatal(err)
		}
		select {
		case o := <-got:
			if o.err != nil || o.res.StatusCode != 200 {
				t.Fatalf("%s: %v, %v", transport, o.res, o.err)
			}
			if sipua.ToTag(o.res) == "" {
				t.Errorf("%s: response without To tag", transport)
			}
		case <-ctx.Done():
			t.Fatalf("%s: no response", transport)
		}
	}
}

func TestCancelFindsTheInviteRightInFrontOfIt(t *testing.T) {
	cancelled := make(chan *sipua.ServerTx, 1)
	server := newEndpoint(t, funcs{invite: func(tx *sipua.ServerTx) {
		tx.OnCancel(func([]string) { cancelled <- tx })
	}})
	client := newEndpoint(t, funcs{})
	f, err := client.Connect(t.Context(), sipua.TCP, sipua.Destination{Addr: server.Listening(sipua.TCP)[0]})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan outcome, 8)
	tx, err := client.Request(f, request(sip.INVITE, "c1"), func(r *sip.Response, err error) { got <- outcome{r, err} })
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan outcome, 1)
	if _, err := client.Request(f, tx.NewCancel(), func(r *sip.Response, err error) { answered <- outcome{r, err} }); err != nil {
		t.Fatal(err)
	}
	stx := <-cancelled
	if o := <-answered; o.err != nil || o.res.StatusCode != 200 {
		t.Fatalf("CANCEL: %v %v", o.res, o.err)
	}
	stx.Reject(sipua.Reject(487, ""))
	for o := range got {
		if o.err != nil {
			t.Fatal(o.err)
		}
		if o.res.StatusCode == 100 {
			continue
		}
		if o.res.StatusCode != 487 {
			t.Fatalf("INVITE: %s", o.res.StartLine())
		}
		return
	}
}
