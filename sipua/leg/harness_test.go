package leg_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/goleak"

	"wakebridge/sipua"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	offerSDP  = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=offer\r\n"
	answerSDP = "v=0\r\no=- 2 2 IN IP4 10.0.0.2\r\ns=answer\r\n"
)

var (
	aliceHost = netip.MustParseAddr("10.0.0.1")
	bobHost   = netip.MustParseAddr("10.0.0.2")
	evilHost  = netip.MustParseAddr("10.0.0.66")
)

// side is one endpoint with the owner of its legs and what they told.
type side struct {
	t     *testing.T
	net   *memnet.Network
	ep    *sipua.Endpoint
	host  netip.Addr
	owner *owner
	conf  func(*leg.Config) // changes the configuration of new legs

	// Everything below is the owner's.
	legs   []*leg.Leg
	events map[*leg.Leg][]leg.Event
	on     func(*leg.Leg, leg.Event) // reacts, inside Emit
	admit  func(*leg.Leg, *sipua.ServerTx)
}

// owner is the goroutine that owns legs: a list without bound and a signal, as a
// call has it.
type owner struct {
	mu    sync.Mutex
	queue []func()
	more  chan struct{}
	quit  chan struct{}
	done  chan struct{}
}

func newOwner() *owner {
	o := &owner{more: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	go o.run() // ends with stop, which waits
	return o
}

func (o *owner) post(f func()) {
	o.mu.Lock()
	o.queue = append(o.queue, f)
	o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
}

func (o *owner) run() {
	defer close(o.done)
	for {
		select {
		case <-o.quit:
			return
		case <-o.more:
		}
		for {
			o.mu.Lock()
			if len(o.queue) == 0 {
				o.mu.Unlock()
				break
			}
			f := o.queue[0]
			o.queue = o.queue[1:]
			o.mu.Unlock()
			f()
		}
	}
}

func (o *owner) stop() {
	select {
	case <-o.quit:
	default:
		close(o.quit)
	}
	<-o.done
}

// do runs f on the owner and waits for it.
func (o *owner) do(f func()) {
	done := make(chan struct{})
	o.post(func() {
		defer close(done)
		f()
	})
	<-done
}

func newNetwork(t *testing.T, seed uint64) *memnet.Network {
	t.Helper()
	n := memnet.New(memnet.Options{Seed: seed})
	t.Cleanup(func() { n.Close() })
	return n
}

// newSide makes an endpoint at port 5060 of host that answers each INVITE with a
// UAS leg.
func newSide(t *testing.T, n *memnet.Network, addr netip.Addr, change ...func(*sipua.Config)) *side {
	t.Helper()
	return newLossySide(t, n, addr, func() bool { return false }, change...)
}

// newLossySide is newSide with a socket that does not send what lose says.
func newLossySide(t *testing.T, n *memnet.Network, addr netip.Addr, lose func() bool, change ...func(*sipua.Config)) *side {
	t.Helper()
	s := &side{t: t, net: n, host: addr, owner: newOwner(), events: map[*leg.Leg][]leg.Event{}}
	host := n.Host(addr)
	cfg := sipua.Config{Handler: s, Log: slog.New(slog.DiscardHandler),
		Dial: func(ctx context.Context, _ sipua.Transport, to sipua.Destination) (net.Conn, error) {
			return host.Dial(ctx, netip.AddrPort{}, to.Addr)
		}}
	for _, c := range change {
		c(&cfg)
	}
	s.ep = sipua.New(cfg)
	at := netip.AddrPortFrom(addr, 5060)
	pc, err := host.ListenPacket(at)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ep.ServeUDP(lossy{pc, lose}); err != nil {
		t.Fatal(err)
	}
	ln, err := host.Listen(at)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ep.ServeStream(ln, sipua.TCP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.owner.stop()
		s.ep.Close()
	})
	return s
}

type lossy struct {
	net.PacketConn
	lose func() bool
}

func (c lossy) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.lose() {
		return len(b), nil
	}
	return c.PacketConn.WriteTo(b, to)
}

// Invite implements sipua.Handler.
func (s *side) Invite(tx *sipua.ServerTx) {
	l := leg.NewUAS(s.config(), tx)
	s.owner.post(func() {
		s.legs = append(s.legs, l)
		if s.admit != nil {
			s.admit(l, tx)
		}
	})
}

// Request implements sipua.Handler.
func (s *side) Request(tx *sipua.ServerTx) { tx.Reject(sipua.Reject(405, "")) }

// FlowGone implements sipua.Handler.
func (s *side) FlowGone(*sipua.Flow, error) {}

func (s *side) config() leg.Config {
	cfg := leg.Config{Endpoint: s.ep, Post: s.owner.post, Log: slog.New(slog.DiscardHandler), ContactUser: "u",
		Emit: func(l *leg.Leg, e leg.Event) {
			if n := len(s.events[l]); n > 0 {
				if _, over := s.events[l][n-1].(leg.Ended); over {
					s.t.Errorf("%T after Ended", e)
				}
			}
			s.events[l] = append(s.events[l], e)
			if s.on != nil {
				s.on(l, e)
			}
		}}
	if s.conf != nil {
		s.conf(&cfg)
	}
	return cfg
}

// flow connects to another side.
func (s *side) flow(t sipua.Transport, to *side) *sipua.Flow {
	s.t.Helper()
	f, err := s.ep.Connect(s.t.Context(), t, sipua.Destination{Addr: netip.AddrPortFrom(to.host, 5060)})
	if err != nil {
		s.t.Fatal(err)
	}
	return f
}

func uri(user, host string) sip.Uri { return sip.Uri{Scheme: "sip", User: user, Host: host} }

// call begins a UAC leg.
func (s *side) call(f *sipua.Flow, change ...func(*leg.Invite)) *leg.Leg {
	inv := leg.Invite{Flow: f, RequestURI: uri("bob", "10.0.0.2"), From: leg.Address{Name: "Alice", URI: uri("alice", "example.com")},
		To: leg.Address{URI: uri("bob", "example.com")}, Body: []byte(offerSDP)}
	for _, c := range change {
		c(&inv)
	}
	var l *leg.Leg
	s.owner.do(func() {
		l = leg.NewUAC(s.config(), inv)
		s.legs = append(s.legs, l)
	})
	return l
}

// uas is the i-th leg of a side.
func (s *side) uas(i int) *leg.Leg {
	s.t.Helper()
	synctest.Wait()
	var l *leg.Leg
	s.owner.do(func() {
		if i < len(s.legs) {
			l = s.legs[i]
		}
	})
	if l == nil {
		s.t.Fatalf("no leg %d", i)
	}
	return l
}

// try runs a verb on the owner.
func (s *side) try(verb func() error) error {
	var err error
	s.owner.do(func() { err = verb() })
	return err
}

func (s *side) must(verb func() error) {
	s.t.Helper()
	if err := s.try(verb); err != nil {
		s.t.Fatal(err)
	}
	synctest.Wait()
}

// told is what a leg told so far, 100 Trying left out.
func (s *side) told(l *leg.Leg) []leg.Event {
	synctest.Wait()
	var out []leg.Event
	s.owner.do(func() {
		for _, e := range s.events[l] {
			if p, ok := e.(leg.Provisional); !ok || p.Status != 100 {
				out = append(out, e)
			}
		}
	})
	return out
}

// names lists events by type, with the status or cause.
func names(events []leg.Event) string {
	var out []string
	for _, e := range events {
		name := reflect.TypeOf(e).Name()
		switch e := e.(type) {
		case leg.Provisional:
			name += fmt.Sprint(" ", e.Status)
		case leg.Failed:
			name += fmt.Sprint(" ", e.Status)
		case leg.OfferAnswered:
			name += fmt.Sprint(" ", e.Status)
		case leg.Ended:
			name += " " + e.Cause.String()
			if e.ByRemote {
				name += " by remote"
			}
		}
		out = append(out, name)
	}
	return strings.Join(out, ", ")
}

func (s *side) expect(l *leg.Leg, want string) {
	s.t.Helper()
	if got := names(s.told(l)); got != want {
		s.t.Fatalf("%s was told [%s], want [%s]", s.host, got, want)
	}
}

// last is the last event of type E that a leg told.
func last[E leg.Event](s *side, l *leg.Leg) E {
	s.t.Helper()
	events := s.told(l)
	for i := len(events) - 1; i >= 0; i-- {
		if e, ok := events[i].(E); ok {
			return e
		}
	}
	var none E
	s.t.Fatalf("no %T among [%s]", none, names(events))
	return none
}

// empty waits until all that a finished call may leave behind is over and checks
// that it is: dialogs and transactions.
func empty(t *testing.T, sides ...*side) {
	t.Helper()
	time.Sleep(70 * time.Second)
	synctest.Wait()
	for _, s := range sides {
		if _, dialogs, servers, clients := s.ep.Sizes(); dialogs+servers+clients > 0 {
			t.Errorf("%s: %d dialogs, %d server and %d client transactions are left", s.host, dialogs, servers, clients)
		}
	}
}

// wire notes each SIP message that passes the network.
type wire struct {
	mu   sync.Mutex
	seen []passed
}

type passed struct {
	at   time.Time
	from netip.Addr
	line string // start line and, of responses, the method
	msg  sip.Message
	lost bool
}

func watch(t *testing.T, n *memnet.Network) *wire {
	w := &wire{}
	t.Cleanup(n.Tap(func(p memnet.Packet) {
		if !strings.Contains(string(p.Data), "SIP/2.0") {
			return
		}
		msg, err := sip.ParseMessage(p.Data) // our endpoints write a message at a time
		if err != nil {
			return
		}
		line := ""
		switch m := msg.(type) {
		case *sip.Request:
			line = string(m.Method)
		case *sip.Response:
			line = fmt.Sprint(m.StatusCode, " ", m.CSeq().MethodName)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.seen = append(w.seen, passed{p.At, p.Src.Addr(), line, msg, p.Outcome != memnet.Delivered})
	}))
	return w
}

// from lists what one host sent.
func (w *wire) from(host netip.Addr) []passed {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []passed
	for _, p := range w.seen {
		if p.from == host {
			out = append(out, p)
		}
	}
	return out
}

func (w *wire) count(host netip.Addr, line string) int {
	n := 0
	for _, p := range w.from(host) {
		if p.line == line {
			n++
		}
	}
	return n
}
