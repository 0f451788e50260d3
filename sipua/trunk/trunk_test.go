package trunk_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/goleak"

	"wakebridge/sipua"
	"wakebridge/sipua/memnet"
	"wakebridge/sipua/trunk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// The longest prefix wins, whatever the order in the file.
func TestByAddr(t *testing.T) {
	s := trunk.New(trunk.Config{Log: slog.New(slog.DiscardHandler), Peers: []trunk.Peer{
		{Name: "net", Match: prefixes("10.0.0.0/8", "2001:db8::/32")},
		{Name: "host", Match: prefixes("192.0.2.1/32", "10.1.2.3/32")},
		{Name: "branch", Match: prefixes("10.1.0.0/16", "2001:db8:1::/48", "fe80::1/128")},
	}})
	defer s.Close()
	for addr, want := range map[string]string{
		"10.9.9.9": "net", "10.1.9.9": "branch", "10.1.2.3": "host", "192.0.2.1": "host", "192.0.2.2": "", "11.0.0.1": "",
		"::ffff:10.1.2.3": "host", "2001:db8:2::1": "net", "2001:db8:1::1": "branch", "2001:db9::1": "", "fe80::1%eth0": "branch",
	} {
		got := ""
		if found := s.ByAddr(netip.MustParseAddr(addr)); found != nil {
			got = found.Name
		}
		if got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
	if s.ByAddr(netip.Addr{}) != nil {
		t.Error("no address belongs to a trunk")
	}
	if s.ByName("host") == nil || s.ByName("none") != nil || len(s.All()) != 3 || s.All()[2].Name != "branch" {
		t.Error("by name")
	}
}

func TestAcquire(t *testing.T) {
	s := trunk.New(trunk.Config{Log: slog.New(slog.DiscardHandler), Peers: []trunk.Peer{{Name: "two", MaxCalls: 2}, {Name: "any"}}})
	defer s.Close()
	two, unlimited := s.ByName("two"), s.ByName("any")
	a, err := two.Acquire()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := two.Acquire(); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Acquire(); !errors.Is(err, trunk.ErrFull) || sipua.Status(err) != 503 || !strings.Contains(err.Error(), "two has 2") {
		t.Errorf("%v", err)
	}
	a()
	a() // gives back one
	if _, err := two.Acquire(); err != nil {
		t.Error(err)
	}
	if _, err := two.Acquire(); err == nil {
		t.Error("a release counted twice")
	}
	for range 1000 {
		if _, err := unlimited.Acquire(); err != nil {
			t.Fatal(err)
		}
	}
	if n := unlimited.Status().Calls; n != 1000 {
		t.Errorf("%d calls", n)
	}
	// Under load never more than the limit.
	limited := trunk.New(trunk.Config{Log: slog.New(slog.DiscardHandler), Peers: []trunk.Peer{{Name: "x", MaxCalls: 5}}}).All()[0]
	var wg sync.WaitGroup
	var now, most atomic.Int64
	for range 50 {
		wg.Go(func() {
			for range 100 {
				release, err := limited.Acquire()
				if err != nil {
					continue
				}
				if n := now.Add(1); n > most.Load() {
					most.Store(n)
				}
				now.Add(-1)
				release()
			}
		})
	}
	wg.Wait()
	if most.Load() > 5 || limited.Status().Calls != 0 {
		t.Errorf("%d at a time, %d left", most.Load(), limited.Status().Calls)
	}
}

var (
	ourHost = netip.MustParseAddr("10.0.0.1")
	pbxHost = netip.MustParseAddr("10.0.0.5")
)

// pbx answers OPTIONS as the test says.
type pbx struct {
	status  atomic.Int32 // 0: silence
	got     atomic.Int32
	request atomic.Pointer[sip.Request]
	flow    atomic.Pointer[sipua.Flow] // of the last request
	deaf    atomic.Pointer[sipua.Flow] // on which nothing is answered
}

func (p *pbx) Invite(tx *sipua.ServerTx)   { tx.Reject(sipua.Reject(486, "")) }
func (p *pbx) FlowGone(*sipua.Flow, error) {}
func (p *pbx) Request(tx *sipua.ServerTx) {
	p.got.Add(1)
	p.request.Store(tx.Request)
	p.flow.Store(tx.Flow())
	if s := p.status.Load(); s != 0 && p.deaf.Load() != tx.Flow() {
		if err := tx.Respond(tx.NewResponse(int(s), "")); err != nil {
			tx.Reject(err)
		}
	}
}

func endpoint(t *testing.T, n *memnet.Network, host netip.Addr, h sipua.Handler) *sipua.Endpoint {
	t.Helper()
	ep := sipua.New(sipua.Config{Handler: h, Log: slog.New(slog.DiscardHandler),
		Dial: func(ctx context.Context, _ sipua.Transport, to sipua.Destination) (net.Conn, error) {
			return n.Host(host).Dial(ctx, netip.AddrPort{}, to.Addr)
		}})
	t.Cleanup(ep.Close)
	pc, err := n.Host(host).ListenPacket(netip.AddrPortFrom(host, 5060))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := n.Host(host).Listen(netip.AddrPortFrom(host, 5060))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(ep.ServeUDP(pc), ep.ServeStream(ln, sipua.TCP)); err != nil {
		t.Fatal(err)
	}
	return ep
}

// qualified is a set with one trunk that is asked every 30 s over transport.
func qualified(t *testing.T, transport sipua.Transport, log *slog.Logger) (*trunk.Trunk, *pbx) {
	t.Helper()
	n := memnet.New(memnet.Options{Seed: 1})
	t.Cleanup(func() { n.Close() })
	far := &pbx{}
	far.status.Store(200)
	endpoint(t, n, pbxHost, far)
	n.ImpairBoth(ourHost, pbxHost, memnet.Impairment{Delay: 10 * time.Millisecond}) // before the first OPTIONS
	s := trunk.New(trunk.Config{Log: log,
		Peers: []trunk.Peer{{Name: "pbx", Contact: sip.Uri{Scheme: "sip", Host: "pbx.example.com"}, Qualify: 30 * time.Second}},
		Resolve: func(context.Context, sip.Uri) ([]trunk.Target, error) {
			return []trunk.Target{{Transport: transport, Addr: netip.AddrPortFrom(pbxHost, 5060)}}, nil
		}})
	t.Cleanup(s.Close)
	s.Start(endpoint(t, n, ourHost, &pbx{}))
	return s.All()[0], far
}

func TestQualify(t *testing.T) {
	for _, transport := range []sipua.Transport{sipua.UDP, sipua.TCP} {
		t.Run(transport.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var logged strings.Builder
				tr, far := qualified(t, transport, slog.New(slog.NewTextHandler(&logged, nil)))
				state := func(after time.Duration, want trunk.State, cause bool) {
					t.Helper()
					time.Sleep(after)
					synctest.Wait()
					st := tr.Status()
					if st.State != want || (st.Cause != "") != cause || st.Name != "pbx" {
						t.Errorf("%+v, want %s", st, want)
					}
				}
				if s := tr.Status().State; s != trunk.Unknown && s != trunk.Up {
					t.Error(s)
				}
				state(time.Second, trunk.Up, false)
				if rtt := tr.Status().RTT; rtt < 20*time.Millisecond || rtt > 60*time.Millisecond {
					t.Errorf("round trip %s", rtt)
				}
				up := tr.Status().Since
				far.status.Store(403) // a PBX that refuses OPTIONS is there
				state(30*time.Second, trunk.Up, false)
				if tr.Status().Since != up {
					t.Error("since moved without a change")
				}
				far.status.Store(0)
				state(59*time.Second, trunk.Suspect, true)
				state(60*time.Second, trunk.Down, true)
				down := tr.Status().Since
				state(60*time.Second, trunk.Down, true)
				if tr.Status().Since != down {
					t.Error("since moved without a change")
				}
				far.status.Store(200)
				state(60*time.Second, trunk.Up, false)
				far.status.Store(0) // one lost answer costs nothing
				state(35*time.Second, trunk.Suspect, true)
				far.status.Store(200)
				state(60*time.Second, trunk.Up, false)
				if s := logged.String(); strings.Count(s, "trunk is up") != 3 || strings.Count(s, "state=suspect") != 2 || strings.Count(s, "state=down") != 1 {
					t.Errorf("log:\n%s", s)
				}
				req := far.request.Load()
				if req.Method != sip.OPTIONS || req.Recipient.Host != "pbx.example.com" || sipua.FromTag(req) == "" {
					t.Errorf("%s", req)
				}
			})
		})
	}
}

// A stream that a firewall has forgotten takes requests and brings nothing back. When
// that makes the trunk count as down, the next one is tried over another.
func TestQualifyLeavesADeadStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, far := qualified(t, sipua.TCP, slog.New(slog.DiscardHandler))
		time.Sleep(time.Second)
		first := far.flow.Load()
		first.SetParty("us") // a stranger's idle stream would be closed
		far.deaf.Store(first)
		time.Sleep(118 * time.Second) // OPTIONS at 30, 60 and 90 s
		if s := tr.Status().State; s != trunk.Suspect || far.flow.Load() != first {
			t.Errorf("%s before the third failed", s)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if s := tr.Status().State; s != trunk.Up || far.flow.Load() == first {
			t.Errorf("%s, over the first stream: %v", s, far.flow.Load() == first)
		}
		select {
		case <-first.Done():
		default:
			t.Error("the dead stream was left open")
		}
	})
}

// A trunk that never answered OPTIONS is down by that, but its stream is good for calls.
func TestQualifyLeavesTheStreamOfWhoIgnoresOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, far := qualified(t, sipua.TCP, slog.New(slog.DiscardHandler))
		far.status.Store(0)
		time.Sleep(time.Second)
		first := far.flow.Load()
		first.SetParty("us")
		time.Sleep(10 * time.Minute)
		if s := tr.Status().State; s != trunk.Down || far.flow.Load() != first {
			t.Errorf("%s, over the first stream: %v", s, far.flow.Load() == first)
		}
	})
}

// A trunk that cannot even be connected to is down as well.
func TestQualifyWithoutConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Options{})
		defer n.Close()
		s := trunk.New(trunk.Config{Log: slog.New(slog.DiscardHandler),
			Peers: []trunk.Peer{{Name: "a", Qualify: 10 * time.Second}, {Name: "b", Qualify: 10 * time.Second}, {Name: "quiet"}},
			Resolve: func(_ context.Context, uri sip.Uri) ([]trunk.Target, error) {
				return []trunk.Target{{Transport: sipua.TCP, Addr: netip.AddrPortFrom(pbxHost, 5060)}}, nil
			}})
		s.Start(endpoint(t, n, ourHost, &pbx{}))
		time.Sleep(35 * time.Second)
		for name, want := range map[string]trunk.State{"a": trunk.Down, "b": trunk.Down, "quiet": trunk.Unknown} {
			if st := s.ByName(name).Status(); st.State != want {
				t.Errorf("%s: %+v", name, st)
			}
		}
		s.Close()
		s.Close()
	})
}

// Close does not wait for an answer that does not come.
func TestCloseWhileAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Options{})
		defer n.Close()
		far := &pbx{}
		endpoint(t, n, pbxHost, far)
		s := trunk.New(trunk.Config{Log: slog.New(slog.DiscardHandler), Peers: []trunk.Peer{{Name: "a", Contact: sip.Uri{Scheme: "sip", Host: "pbx"}, Qualify: 30 * time.Second}},
			Resolve: func(context.Context, sip.Uri) ([]trunk.Target, error) {
				return []trunk.Target{{Transport: sipua.UDP, Addr: netip.AddrPortFrom(pbxHost, 5060)}}, nil
			}})
		ep := endpoint(t, n, ourHost, &pbx{})
		s.Start(ep)
		time.Sleep(time.Second)
		start := time.Now()
		s.Close()
		if d := time.Since(start); d != 0 {
			t.Errorf("after %s", d)
		}
		synctest.Wait()
		if _, _, _, c := ep.Sizes(); c != 0 {
			t.Errorf("%d transactions", c)
		}
		if st := s.All()[0].Status(); st.State != trunk.Unknown {
			t.Errorf("%+v", st)
		}
	})
}

func TestConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Options{})
		defer n.Close()
		endpoint(t, n, pbxHost, &pbx{})
		var targets []trunk.Target
		var failure error
		s := trunk.New(trunk.Config{Log: slog.New(slog.DiscardHandler), Peers: []trunk.Peer{{Name: "pbx", Contact: sip.Uri{Host: "pbx.example.com"}}},
			Resolve: func(_ context.Context, uri sip.Uri) ([]trunk.Target, error) {
				if uri.Host != "pbx.example.com" {
					return nil, fmt.Errorf("asked for %s", uri.Host)
				}
				return targets, failure
			}})
		defer s.Close()
		s.Start(endpoint(t, n, ourHost, &pbx{}))
		tr := s.All()[0]
		dead := trunk.Target{Transport: sipua.TCP, Addr: netip.MustParseAddrPort("10.0.0.99:5060")}
		good := trunk.Target{Transport: sipua.TCP, Addr: netip.AddrPortFrom(pbxHost, 5060)}
		targets = []trunk.Target{dead, good}
		f, err := tr.Connect(t.Context())
		if err != nil || f.Remote() != good.Addr {
			t.Errorf("the second target: %v, %v", f, err)
		}
		for name, set := range map[string]func(){
			"no target works": func() { targets = []trunk.Target{dead} },
			"no target":       func() { targets = nil },
			"no name":         func() { failure = errors.New("no such host") },
		} {
			set()
			if _, err := tr.Connect(t.Context()); !errors.Is(err, trunk.ErrNoRoute) || sipua.Status(err) != 503 {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestStates(t *testing.T) {
	if s := fmt.Sprint(trunk.Unknown, trunk.Up, trunk.Suspect, trunk.Down); s != "unknown up suspect down" {
		t.Error(s)
	}
}
