package sipua_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/goleak"

	"wakebridge/sipua"
	"wakebridge/sipua/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	serverHost = netip.MustParseAddr("10.0.0.1")
	aliceHost  = netip.MustParseAddr("10.0.0.2")
	evilHost   = netip.MustParseAddr("10.0.0.66")
	trunkHost  = netip.MustParseAddr("10.0.0.5")
)

// world is one endpoint at serverHost:5060, UDP and TCP, in a network of its own,
// with everything that its Handler got.
type world struct {
	t   *testing.T
	net *memnet.Network
	ep  *sipua.Endpoint

	mu      sync.Mutex
	invites []*sipua.ServerTx
	others  []*sipua.ServerTx
	gone    []error

	onInvite  func(*sipua.ServerTx)
	onRequest func(*sipua.ServerTx)
}

func newWorld(t *testing.T, change ...func(*sipua.Config)) *world {
	t.Helper()
	w := &world{t: t, net: memnet.New(memnet.Options{Seed: 1})}
	host := w.net.Host(serverHost)
	cfg := sipua.Config{Handler: w, Log: slog.New(slog.DiscardHandler),
		Dial: func(ctx context.Context, _ sipua.Transport, to sipua.Destination) (net.Conn, error) {
			return host.Dial(ctx, netip.AddrPort{}, to.Addr)
		}}
	for _, c := range change {
		c(&cfg)
	}
	w.ep = sipua.New(cfg)
	at := netip.AddrPortFrom(serverHost, 5060)
	pc, err := host.ListenPacket(at)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := host.Listen(at)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.ep.ServeUDP(pc), w.ep.ServeStream(ln, sipua.TCP)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.ep.Close()
		w.net.Close()
	})
	return w
}

// Invite implements sipua.Handler.
func (w *world) Invite(tx *sipua.ServerTx) {
	w.mu.Lock()
	w.invites = append(w.invites, tx)
	w.mu.Unlock()
	if w.onInvite != nil {
		w.onInvite(tx)
	}
}

// Request implements sipua.Handler.
func (w *world) Request(tx *sipua.ServerTx) {
	w.mu.Lock()
	w.others = append(w.others, tx)
	w.mu.Unlock()
	if w.onRequest != nil {
		w.onRequest(tx)
	}
}

// FlowGone implements sipua.Handler.
func (w *world) FlowGone(_ *sipua.Flow, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone = append(w.gone, err)
}

// invite is the i-th INVITE that the handler got.
func (w *world) invite(i int) *sipua.ServerTx {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if i >= len(w.invites) {
		w.t.Fatalf("the handler got %d INVITEs", len(w.invites))
	}
	return w.invites[i]
}

func (w *world) handled() (invites, others int) {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.invites), len(w.others)
}

func (w *world) lost() []error {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]error(nil), w.gone...)
}

// wantEmpty checks that nothing is left but flows.
func (w *world) wantEmpty() {
	w.t.Helper()
	synctest.Wait()
	if _, d, s, c := w.ep.Sizes(); d+s+c != 0 {
		w.t.Errorf("left: %d dialogs, %d server and %d client transactions", d, s, c)
	}
}

func ok(tx *sipua.ServerTx) {
	if err := tx.Respond(tx.NewResponse(200, "")); err != nil && !errors.Is(err, sipua.ErrFlowGone) {
		tx.Reject(err)
	}
}

// peer speaks SIP by hand.
type peer interface {
	send(text string)
	// read is what has arrived, split into messages.
	read() []string
	addr() netip.AddrPort
}

type packets struct {
	t  *testing.T
	pc net.PacketConn
	to net.Addr
}

// udp binds a peer's socket; port 0 picks one.
func (w *world) udp(host netip.Addr, port uint16) *packets {
	w.t.Helper()
	pc, err := w.net.Host(host).ListenPacket(netip.AddrPortFrom(host, port))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { pc.Close() })
	return &packets{w.t, pc, net.UDPAddrFromAddrPort(netip.AddrPortFrom(serverHost, 5060))}
}

func (p *packets) addr() netip.AddrPort { return netip.MustParseAddrPort(p.pc.LocalAddr().String()) }

func (p *packets) send(text string) {
	p.t.Helper()
	if _, err := p.pc.WriteTo([]byte(text), p.to); err != nil {
		p.t.Fatal(err)
	}
}

func (p *packets) read() []string {
	p.t.Helper()
	synctest.Wait()
	var out []string
	buf := make([]byte, 65536)
	for {
		if err := p.pc.SetReadDeadline(time.Now().Add(1)); err != nil {
			p.t.Fatal(err)
		}
		n, _, err := p.pc.ReadFrom(buf)
		if err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				p.t.Fatal(err)
			}
			return out
		}
		out = append(out, string(buf[:n]))
	}
}

type bytestream struct {
	t    *testing.T
	conn net.Conn
	rest string
	end  error // of the connection
}

// tcp dials the endpoint.
func (w *world) tcp(host netip.Addr) *bytestream {
	w.t.Helper()
	conn, err := w.net.Host(host).Dial(w.t.Context(), netip.AddrPort{}, netip.AddrPortFrom(serverHost, 5060))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	return &bytestream{t: w.t, conn: conn}
}

func (s *bytestream) addr() netip.AddrPort {
	return netip.MustParseAddrPort(s.conn.LocalAddr().String())
}

func (s *bytestream) send(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s.conn, text); err != nil {
		s.t.Fatal(err)
	}
}

func (s *bytestream) read() []string {
	s.t.Helper()
	synctest.Wait()
	buf := make([]byte, 65536)
	for s.end == nil {
		if err := s.conn.SetReadDeadline(time.Now().Add(1)); err != nil {
			s.t.Fatal(err)
		}
		n, err := s.conn.Read(buf)
		s.rest += string(buf[:n])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		s.end = err
	}
	var out []string
	for {
		s.rest = strings.TrimLeft(s.rest, "\r\n")
		head, _, ok := strings.Cut(s.rest, "\r\n\r\n")
		if !ok {
			return out
		}
		n := len(head) + 4
		for line := range strings.SplitSeq(head, "\r\n") {
			if v, ok := strings.CutPrefix(strings.ToLower(line), "content-length:"); ok {
				body, err := strconv.Atoi(strings.TrimSpace(v))
				if err != nil {
					s.t.Fatal(err)
				}
				n += body
			}
		}
		if n > len(s.rest) {
			return out
		}
		out, s.rest = append(out, s.rest[:n]), s.rest[n:]
	}
}

// isClosed says that the endpoint ended the connection.
func (s *bytestream) isClosed() bool {
	s.read()
	return s.end != nil
}

// draft is a request by hand. Empty fields have usable defaults.
type draft struct {
	method, uri, via, callID, branch string
	fromTag, toTag                   string
	seq                              int
	extra                            []string // whole header lines
	body                             string
}

func (d draft) String() string {
	def := func(v *string, to string) {
		if *v == "" {
			*v = to
		}
	}
	def(&d.uri, "sip:bob@example.com")
	def(&d.callID, "call-1")
	def(&d.fromTag, "from-1")
	def(&d.branch, "z9hG4bK"+d.callID+d.method+strconv.Itoa(d.seq))
	def(&d.via, "SIP/2.0/UDP 10.0.0.2:5060;branch="+d.branch)
	if d.seq == 0 {
		d.seq = 1
	}
	to := "To: <sip:bob@example.com>"
	if d.toTag != "" {
		to += ";tag=" + d.toTag
	}
	lines := append([]string{
		d.method + " " + d.uri + " SIP/2.0", "Via: " + d.via, "Max-Forwards: 70", "From: <sip:alice@example.com>;tag=" + d.fromTag, to,
		"Call-ID: " + d.callID, fmt.Sprintf("CSeq: %d %s", d.seq, d.method), "Contact: <sip:alice@10.0.0.2>",
	}, d.extra...)
	return strings.Join(append(lines, fmt.Sprintf("Content-Length: %d", len(d.body)), "", d.body), "\r\n")
}

// change replaces one header line (by its name) of a message; "" removes it.
func change(text, name, line string) string {
	lines := strings.Split(text, "\r\n")
	for i, l := range lines {
		if n, _, ok := strings.Cut(l, ":"); ok && strings.EqualFold(n, name) {
			if line == "" {
				lines = append(lines[:i], lines[i+1:]...)
			} else {
				lines[i] = line
			}
			break
		}
	}
	return strings.Join(lines, "\r\n")
}

// statuses are the status codes of responses.
func statuses(t *testing.T, messages []string) []int {
	t.Helper()
	var out []int
	for _, m := range messages {
		var status int
		if _, err := fmt.Sscanf(m, "SIP/2.0 %d ", &status); err != nil {
			t.Fatalf("no response: %.80q", m)
		}
		out = append(out, status)
	}
	return out
}

func parse(t *testing.T, text string) *sip.Response {
	t.Helper()
	msg, err := sip.ParseMessage([]byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	res, ok := msg.(*sip.Response)
	if !ok {
		t.Fatalf("no response:\n%s", text)
	}
	return res
}

// want checks the statuses of what has arrived at a peer.
func want(t *testing.T, p peer, statusesWanted ...int) []string {
	t.Helper()
	got := p.read()
	if s := statuses(t, got); fmt.Sprint(s) != fmt.Sprint(statusesWanted) {
		t.Errorf("got %v, want %v", s, statusesWanted)
	}
	return got
}

// both runs a test over UDP and over TCP, each in a bubble of its own.
func both(t *testing.T, test func(t *testing.T, w *world, dial func(netip.Addr) peer), change ...func(*sipua.Config)) {
	t.Run("UDP", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, change...)
			test(t, w, func(a netip.Addr) peer { return w.udp(a, 0) })
		})
	})
	t.Run("TCP", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, change...)
			test(t, w, func(a netip.Addr) peer { return w.tcp(a) })
		})
	})
}

// time40s lets the transactions of a test end before the next one.
func time40s() { time.Sleep(40 * time.Second) }

// connect makes a flow of the endpoint to a peer.
func (w *world) connect(t sipua.Transport, to netip.AddrPort) *sipua.Flow {
	w.t.Helper()
	f, err := w.ep.Connect(w.t.Context(), t, sipua.Destination{Addr: to})
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// listen accepts one stream that the endpoint dials.
func (w *world) listen(at netip.AddrPort) (accept func() *bytestream) {
	w.t.Helper()
	ln, err := w.net.Host(at.Addr()).Listen(at)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { ln.Close() })
	return func() *bytestream {
		w.t.Helper()
		conn, err := ln.Accept()
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { conn.Close() })
		return &bytestream{t: w.t, conn: conn}
	}
}

// answer is the response to a request as text; tag "" leaves To as it is.
func answer(request string, status int, tag string, extra ...string) string {
	lines := []string{fmt.Sprintf("SIP/2.0 %d %s", status, sipua.Phrase(status))}
	for _, l := range strings.Split(request, "\r\n")[1:] {
		name, _, _ := strings.Cut(l, ":")
		switch name {
		case "Via", "From", "Call-ID", "CSeq":
			lines = append(lines, l)
		case "To":
			if tag != "" && !strings.Contains(l, "tag=") {
				l += ";tag=" + tag
			}
			lines = append(lines, l)
		}
	}
	return strings.Join(append(append(lines, extra...), "Content-Length: 0", "", ""), "\r\n")
}

func (w *world) log() *slog.Logger { return slog.New(slog.DiscardHandler) }
