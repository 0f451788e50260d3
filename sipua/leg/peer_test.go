package leg_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/memnet"
)

// peer is a UA of raw messages over UDP.
type peer struct {
	t    *testing.T
	conn net.PacketConn
	to   netip.AddrPort
	got  chan sip.Message
	done chan struct{}
}

func newPeer(t *testing.T, n *memnet.Network, addr netip.Addr, to *side) *peer {
	t.Helper()
	return newPeerAt(t, n, netip.AddrPortFrom(addr, 5060), to)
}

func newPeerAt(t *testing.T, n *memnet.Network, at netip.AddrPort, to *side) *peer {
	t.Helper()
	conn, err := n.ListenPacket(at)
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, conn: conn, to: netip.AddrPortFrom(to.host, 5060), got: make(chan sip.Message, 1000), done: make(chan struct{})}
	go p.read() // ends with the connection, which the cleanup closes
	t.Cleanup(func() {
		conn.Close()
		<-p.done
	})
	return p
}

func (p *peer) read() {
	defer close(p.done)
	buf := make([]byte, 65536)
	for {
		n, _, err := p.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		msg, err := sip.ParseMessage(append([]byte(nil), buf[:n]...))
		if err != nil {
			p.t.Errorf("peer got what does not parse: %v", err)
			continue
		}
		p.got <- msg
	}
}

// send writes a message; lines end in \n in the source.
func (p *peer) send(text string) {
	p.t.Helper()
	if _, err := p.conn.WriteTo([]byte(strings.ReplaceAll(text, "\n", "\r\n")), net.UDPAddrFromAddrPort(p.to)); err != nil {
		p.t.Fatal(err)
	}
	synctest.Wait()
}

// next is the next message, or nil if none is there.
func (p *peer) next() sip.Message {
	synctest.Wait()
	select {
	case m := <-p.got:
		return m
	default:
		return nil
	}
}

// invite is a raw INVITE to bob; more are further headers, each with its \n.
func invite(callID string, cseq int, more, body string) string {
	return raw("INVITE", callID, cseq, "", more+"Contact: <sip:alice@10.0.0.1:5060>\n", body)
}

// raw is a request of the peer at 10.0.0.1; toTag "" is outside a dialog.
func raw(method, callID string, cseq int, toTag, more, body string) string {
	if toTag != "" {
		toTag = ";tag=" + toTag
	}
	if body != "" {
		more += "Content-Type: application/sdp\n"
		body = strings.ReplaceAll(body, "\r\n", "\n")
	}
	number := method
	if method == "CANCEL" || method == "ACK!" { // within the INVITE's transaction
		number = "INVITE"
	}
	method = strings.TrimSuffix(method, "!")
	return fmt.Sprintf("%s sip:bob@10.0.0.2 SIP/2.0\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK-%s-%s-%d\nMax-Forwards: 70\n"+
		"From: <sip:alice@example.com>;tag=alice\nTo: <sip:bob@example.com>%s\nCall-ID: %s\nCSeq: %d %s\n%sContent-Length: %d\n\n%s",
		method, callID, strings.TrimSuffix(number, "!"), cseq, toTag, callID, cseq, method, more, len(strings.ReplaceAll(body, "\n", "\r\n")), body)
}

// reply is a raw response to a request of ours; tag "" adds none.
func reply(req *sip.Request, status int, tag, more, body string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "SIP/2.0 %d %s\n", status, sipua.Phrase(status))
	for _, h := range req.GetHeaders("Via") {
		fmt.Fprintf(&b, "Via: %s\n", h.Value())
	}
	to := req.To().Value()
	if tag != "" && sipua.ToTag(req) == "" {
		to += ";tag=" + tag
	}
	if body != "" {
		more += "Content-Type: application/sdp\n"
		body = strings.ReplaceAll(body, "\r\n", "\n")
	}
	fmt.Fprintf(&b, "From: %s\nTo: %s\nCall-ID: %s\nCSeq: %s\n%sContent-Length: %d\n\n%s", req.From().Value(), to,
		req.CallID().Value(), req.CSeq().Value(), more, len(strings.ReplaceAll(body, "\n", "\r\n")), body)
	return b.String()
}

// response skips to the next response to method; 0 in status means any final one.
func (p *peer) response(method string, status int) *sip.Response {
	p.t.Helper()
	for m := p.next(); m != nil; m = p.next() {
		if r, ok := m.(*sip.Response); ok && string(r.CSeq().MethodName) == method &&
			(r.StatusCode == status || status == 0 && r.StatusCode >= 200) {
			return r
		}
	}
	p.t.Fatalf("no %d to %s came", status, method)
	return nil
}

// request skips to the next request of that method.
func (p *peer) request(method string) *sip.Request {
	p.t.Helper()
	for m := p.next(); m != nil; m = p.next() {
		if r, ok := m.(*sip.Request); ok && string(r.Method) == method {
			return r
		}
	}
	p.t.Fatalf("no %s came", method)
	return nil
}

// silent fails if a message of that kind comes.
func (p *peer) silent(what func(sip.Message) bool) {
	p.t.Helper()
	for m := p.next(); m != nil; m = p.next() {
		if what(m) {
			p.t.Fatalf("unwanted:\n%s", m)
		}
	}
}
