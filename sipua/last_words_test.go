package sipua_test

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
)

// A phone declines and closes its connection in the same moment: the response
// counts, not the end of the connection behind it.
func TestResponseRightBeforeTheEndOfItsConnection(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	phone := make(chan error, 1)
	go func() { phone <- declineAll(ln) }() // awaited below
	ep := sipua.New(sipua.Config{Handler: nobody{}, Log: slog.New(slog.DiscardHandler),
		Dial: func(ctx context.Context, _ sipua.Transport, to sipua.Destination) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", to.Addr.String())
		}})
	defer ep.Close()
	lost := 0
	const tries = 500
	for range tries {
		f, err := ep.Connect(t.Context(), sipua.TCP, sipua.Destination{Addr: ln.Addr().(*net.TCPAddr).AddrPort()})
		if err != nil {
			t.Fatal(err)
		}
		outcome := make(chan error, 64)
		f.OnClose(func(err error) { outcome <- err }) // as a leg does, before it sends
		_, err = ep.Request(f, bareInvite(), func(res *sip.Response, err error) {
			if err != nil || res.StatusCode >= 200 {
				outcome <- err
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if <-outcome != nil {
			lost++
		}
		for ep.Flow(f.ID()) != nil { // or Connect would find it
			runtime.Gosched()
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d responses were lost", lost, tries)
	}
	ln.Close()
	if err := <-phone; err != nil {
		t.Error(err)
	}
}

// declineAll answers one INVITE per connection with 180 and 603, and closes.
func declineAll(ln net.Listener) error {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return nil //nolint:nilerr // closed by the test
		}
		var echo strings.Builder
		r := bufio.NewReader(conn)
		for line := ""; line != "\r\n"; {
			if line, err = r.ReadString('\n'); err != nil {
				return err
			}
			for _, name := range []string{"Via:", "From:", "To:", "Call-ID:", "CSeq:"} {
				if strings.HasPrefix(line, name) {
					echo.WriteString(line)
				}
			}
		}
		head := strings.Replace(echo.String(), "\r\nCall-ID", ";tag=phone\r\nCall-ID", 1)
		end := head + "Content-Length: 0\r\n\r\n"
		if _, err := conn.Write([]byte("SIP/2.0 180 Ringing\r\n" + end + "SIP/2.0 603 Decline\r\n" + end)); err != nil {
			return err
		}
		if err := conn.Close(); err != nil {
			return err
		}
	}
}

func bareInvite() *sip.Request {
	bob := sip.Uri{Scheme: "sip", User: "bob", Host: "wakebridge.test"}
	req := sip.NewRequest(sip.INVITE, bob)
	req.AppendHeader(&sip.FromHeader{Address: bob, Params: sip.HeaderParams{{K: "tag", V: sipua.NewTag()}}})
	req.AppendHeader(&sip.ToHeader{Address: bob})
	id := sip.CallIDHeader(sipua.NewTag())
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: sip.INVITE})
	return req
}

type nobody struct{}

func (nobody) Invite(*sipua.ServerTx)      {}
func (nobody) Request(*sipua.ServerTx)     {}
func (nobody) FlowGone(*sipua.Flow, error) {}
