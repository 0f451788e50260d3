package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// zone is a DNS that answers from maps, fails when told to and counts questions.
type zone struct {
	mu    sync.Mutex
	srv   map[string][]*net.SRV
	ip    map[string][]string
	fail  error
	delay time.Duration
	asked map[string]int
}

func (z *zone) question(ctx context.Context, key string) error {
	z.mu.Lock()
	if z.asked == nil {
		z.asked = map[string]int{}
	}
	z.asked[key]++
	fail, delay := z.fail, z.delay
	z.mu.Unlock()
	select {
	case <-time.After(delay):
		return fail
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (z *zone) set(change func()) {
	z.mu.Lock()
	defer z.mu.Unlock()
	change()
}

func (z *zone) count(key string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked[key]
}

func notFound(name string) error {
	return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (z *zone) LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error) {
	key := "_" + service + "._" + proto + "." + name
	if err := z.question(ctx, key); err != nil {
		return "", nil, err
	}
	if records, ok := z.srv[key]; ok {
		return key, records, nil
	}
	return "", nil, notFound(key)
}

func (z *zone) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if err := z.question(ctx, host); err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, a := range z.ip[host] {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	if network != "ip" || addrs == nil {
		return nil, notFound(host)
	}
	return addrs, nil
}

func carriers() *zone {
	return &zone{
		srv: map[string][]*net.SRV{
			"_sip._udp.carrier.example.": {{Target: "b.carrier.example.", Port: 5070, Priority: 20}, {Target: "a.carrier.example.", Port: 5060, Priority: 10}},
			"_sip._tcp.carrier.example.": {{Target: "a.carrier.example.", Port: 5080, Priority: 1}},
			"_sips._tcp.secure.example.": {{Target: "tls.host.example.", Port: 5443}},
			"_sip._udp.closed.example.":  {{Target: "."}},
			"_sip._udp.half.example.":    {{Target: "."}},
			"_sip._tcp.half.example.":    {{Target: "a.carrier.example.", Port: 5060}},
			"_sip._udp.dead.example.":    {{Target: "gone.example.", Port: 5060}},
			"_sip._udp.odd.example.":     {{Target: "192.0.2.77.", Port: 5060}},
		},
		ip: map[string][]string{
			"a.carrier.example": {"192.0.2.10", "2001:db8::10"}, "b.carrier.example": {"192.0.2.20"}, "tls.host.example": {"192.0.2.30"},
			"plain.example": {"::ffff:192.0.2.40"}, "pbx": {"10.0.0.9"}, "closed.example": {"192.0.2.50"}, "dead.example": {"192.0.2.60"},
		},
	}
}

func uri(t testing.TB, s string) (u sip.Uri) {
	t.Helper()
	if err := sip.ParseUri(s, &u); err != nil {
		t.Fatal(err)
	}
	return u
}

func show(targets []Target) []string {
	var out []string
	for _, x := range targets {
		out = append(out, fmt.Sprintf("%s %s %s", x.Transport, x.Addr, x.Host))
	}
	return out
}

func TestResolve(t *testing.T) {
	tests := []struct {
		uri  string
		want []string
		err  error
	}{
		{"sip:10.0.0.5", []string{"UDP 10.0.0.5:5060 10.0.0.5"}, nil},
		{"sip:10.0.0.5:5070;transport=TCP", []string{"TCP 10.0.0.5:5070 10.0.0.5"}, nil},
		{"sip:10.0.0.5;transport=tls", []string{"TLS 10.0.0.5:5061 10.0.0.5"}, nil},
		{"sips:10.0.0.5", []string{"TLS 10.0.0.5:5061 10.0.0.5"}, nil},
		{"sips:10.0.0.5;transport=tcp", []string{"TLS 10.0.0.5:5061 10.0.0.5"}, nil},
		{"sip:[2001:db8::9]:5070", []string{"UDP [2001:db8::9]:5070 2001:db8::9"}, nil},
		{"sip:carrier.example;maddr=192.0.2.99", []string{"UDP 192.0.2.99:5060 carrier.example"}, nil},
		{"sip:alice@CARRIER.example", []string{
			"UDP 192.0.2.10:5060 carrier.example", "UDP [2001:db8::10]:5060 carrier.example", "UDP 192.0.2.20:5070 carrier.example",
			"TCP 192.0.2.10:5080 carrier.example", "TCP [2001:db8::10]:5080 carrier.example"}, nil},
		{"sip:carrier.example.;Transport=tcp", []string{"TCP 192.0.2.10:5080 carrier.example", "TCP [2001:db8::10]:5080 carrier.example"}, nil},
		{"sip:a.carrier.example:5099", []string{"UDP 192.0.2.10:5099 a.carrier.example", "UDP [2001:db8::10]:5099 a.carrier.example"}, nil},
		{"sips:secure.example", []string{"TLS 192.0.2.30:5443 secure.example"}, nil},
		{"sip:secure.example", []string{"TLS 192.0.2.30:5443 secure.example"}, nil},
		{"sip:plain.example", []string{"UDP 192.0.2.40:5060 plain.example"}, nil},
		{"sip:plain.example;transport=tls", []string{"TLS 192.0.2.40:5061 plain.example"}, nil},
		{"sips:plain.example", []string{"TLS 192.0.2.40:5061 plain.example"}, nil},
		{"sip:pbx", []string{"UDP 10.0.0.9:5060 pbx"}, nil},
		{"sip:odd.example", []string{"UDP 192.0.2.77:5060 odd.example"}, nil},
		{"sip:half.example", []string{"TCP 192.0.2.10:5060 half.example", "TCP [2001:db8::10]:5060 half.example"}, nil},
		{"sip:dead.example", []string{"UDP 192.0.2.60:5060 dead.example"}, nil},
		{"sip:closed.example", nil, ErrNoTarget},
		{"sip:nowhere.example", nil, ErrNoTarget},
		{"sip:nowhere.example:5060", nil, ErrNoTarget},
		{"sips:plain.example;transport=udp", nil, ErrUnsupported},
		{"sip:plain.example;transport=ws", nil, ErrUnsupported},
		{"tel:+49301234", nil, ErrUnsupported},
		{"sip:", nil, nil},
	}
	r := New(Options{DNS: carriers()})
	for _, tt := range tests {
		t.Run(tt.uri, func(t *testing.T) {
			var u sip.Uri
			if err := sip.ParseUri(tt.uri, &u); err != nil && tt.want != nil {
				t.Fatal(err)
			}
			for range 2 { // asked, and from the cache
				got, err := r.Resolve(t.Context(), u)
				if tt.want == nil {
					if err == nil || tt.err != nil && !errors.Is(err, tt.err) {
						t.Errorf("%q, %v", show(got), err)
					}
				} else if err != nil || !slices.Equal(show(got), tt.want) {
					t.Errorf("%q, %v", show(got), err)
				}
			}
		})
	}
}

func TestTransportsOfTheHouse(t *testing.T) {
	r := New(Options{DNS: carriers(), Transports: []Transport{TLS, TCP}})
	got, err := r.Resolve(t.Context(), uri(t, "sip:carrier.example"))
	if err != nil || len(got) != 2 || got[0].Transport != TCP {
		t.Errorf("%q, %v", show(got), err)
	}
	got, err = r.Resolve(t.Context(), uri(t, "sip:plain.example"))
	if err != nil || !slices.Equal(show(got), []string{"TLS 192.0.2.40:5061 plain.example"}) {
		t.Errorf("%q, %v", show(got), err)
	}
}

// DNS cannot make us try without end.
func TestAnswersAreBounded(t *testing.T) {
	z := &zone{srv: map[string][]*net.SRV{}, ip: map[string][]string{}}
	for i := range 200 {
		z.srv["_sip._udp.huge.example."] = append(z.srv["_sip._udp.huge.example."], &net.SRV{Target: fmt.Sprintf("h%d.example.", i), Port: 5060, Priority: uint16(i)})
		z.ip[fmt.Sprintf("h%d.example", i)] = []string{"192.0.2.1", "192.0.2.2"}
	}
	r := New(Options{DNS: z})
	got, err := r.Resolve(t.Context(), uri(t, "sip:huge.example"))
	if err != nil || len(got) != maxTargets {
		t.Errorf("%d targets, %v", len(got), err)
	}
	if n := len(z.asked); n > 3+maxTargets {
		t.Errorf("%d questions", n)
	}
	for i := range 3 * maxNames {
		_, _ = r.Resolve(t.Context(), uri(t, fmt.Sprintf("sip:n%d.example:5060", i)))
	}
	if n := r.cache.entries.Len(); n > maxNames {
		t.Errorf("%d names remembered", n)
	}
}

func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := carriers()
		r := New(Options{DNS: z})
		u := uri(t, "sip:plain.example:5060")
		resolve := func() string {
			got, err := r.Resolve(t.Context(), u)
			if err != nil {
				return "error"
			}
			return got[0].Addr.String()
		}
		expect := func(what, want string, questions int) {
			t.Helper()
			if got := resolve(); got != want || z.count("plain.example") != questions {
				t.Errorf("%s: %s after %d questions; want %s after %d", what, got, z.count("plain.example"), want, questions)
			}
		}
		expect("first", "192.0.2.40:5060", 1)
		time.Sleep(59 * time.Second)
		expect("fresh", "192.0.2.40:5060", 1)
		time.Sleep(time.Second)
		z.set(func() { z.ip["plain.example"] = []string{"192.0.2.41"} })
		expect("asked again", "192.0.2.41:5060", 2)

		z.set(func() { z.fail = errors.New("server misbehaving") })
		time.Sleep(2 * time.Minute)
		expect("DNS fails: the last answer", "192.0.2.41:5060", 3)
		time.Sleep(9 * time.Second)
		expect("not asked for a while", "192.0.2.41:5060", 3)
		time.Sleep(time.Second)
		expect("asked after that", "192.0.2.41:5060", 4)
		z.set(func() { z.fail, z.delay = nil, time.Hour })
		time.Sleep(11 * time.Second)
		start := time.Now()
		expect("DNS hangs", "192.0.2.41:5060", 5)
		if d := time.Since(start); d != 4*time.Second {
			t.Errorf("waited %v", d)
		}
		time.Sleep(24 * time.Hour)
		expect("too old", "error", 6)

		z.set(func() { z.delay = 0 })
		expect("back", "192.0.2.41:5060", 7)
		z.set(func() { delete(z.ip, "plain.example") })
		time.Sleep(time.Minute)
		expect("DNS says it is gone", "error", 8)
		expect("which counts as an answer", "error", 8)
	})
}

// Many calls at once ask one question, and one caller's hurry is not the others'.
func TestOneAsksForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := carriers()
		z.delay = 2 * time.Second
		r := New(Options{DNS: z})
		u := uri(t, "sip:plain.example:5060")
		hurried, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		errs := make([]error, 20)
		var wg sync.WaitGroup
		for i := range errs {
			ctx := t.Context()
			if i == 0 {
				ctx = hurried
			}
			wg.Go(func() { _, errs[i] = r.Resolve(ctx, u) })
			synctest.Wait() // the hurried one asks
		}
		wg.Wait()
		if !errors.Is(errs[0], context.DeadlineExceeded) {
			t.Errorf("hurried: %v", errs[0])
		}
		for _, err := range errs[1:] {
			if err != nil {
				t.Error(err)
			}
		}
		if n := z.count("plain.example"); n != 2 {
			t.Errorf("%d questions", n)
		}
	})
}

// A name server that drops SRV questions does not keep a plain host from being
// found.
func TestSRVFailureFallsBackToAddresses(t *testing.T) {
	r := New(Options{DNS: srvFails{carriers()}})
	got, err := r.Resolve(t.Context(), uri(t, "sip:plain.example"))
	if err != nil || !slices.Equal(show(got), []string{"UDP 192.0.2.40:5060 plain.example"}) {
		t.Errorf("%q, %v", show(got), err)
	}
	if _, err = r.Resolve(t.Context(), uri(t, "sip:nowhere.example")); !errors.Is(err, errRefused) || !errors.Is(err, ErrNoTarget) {
		t.Error(err)
	}
}

// And so does one that never answers them: many routers drop what they do not know.
func TestSRVWithoutAnswerLeavesTimeForAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := carriers()
		z.delay = 100 * time.Millisecond // of the addresses
		r := New(Options{DNS: srvHangs{z}})
		for _, hurry := range []time.Duration{time.Hour, time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), hurry)
			defer cancel()
			start := time.Now()
			got, err := r.Resolve(ctx, uri(t, "sip:plain.example"))
			if err != nil || !slices.Equal(show(got), []string{"UDP 192.0.2.40:5060 plain.example"}) {
				t.Errorf("%q, %v", show(got), err)
			}
			if d := time.Since(start); d > min(hurry, 2100*time.Millisecond) {
				t.Errorf("it took %v", d)
			}
		}
	})
}

type srvHangs struct{ *zone }

func (srvHangs) LookupSRV(ctx context.Context, _, _, _ string) (string, []*net.SRV, error) {
	<-ctx.Done()
	return "", nil, ctx.Err()
}

var errRefused = errors.New("refused")

type srvFails struct{ *zone }

func (srvFails) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", nil, errRefused
}

func TestOrder(t *testing.T) {
	// 1:3 by weight, and weight 0 next to nothing.
	records := []*net.SRV{
		{Target: "later", Priority: 2, Weight: 100}, {Target: "one", Priority: 1, Weight: 100}, {Target: "three", Priority: 1, Weight: 300}, {Target: "zero", Priority: 1},
	}
	first := map[string]int{}
	const rounds = 20000
	for range rounds {
		out := order(records)
		first[out[0].Target]++
		if out[3].Target != "later" {
			t.Fatal("priority 2 before priority 1")
		}
	}
	if p := float64(first["three"]) / rounds; p < 0.72 || p > 0.78 {
		t.Errorf("weight 300 of 400 was first in %.3f", p)
	}
	if first["zero"] == 0 || first["zero"] > rounds/50 {
		t.Errorf("weight 0 was first %d times", first["zero"])
	}
	equal := map[string]int{}
	for range 1000 {
		equal[order([]*net.SRV{{Target: "a"}, {Target: "b"}})[0].Target]++
	}
	if equal["a"] < 300 || equal["b"] < 300 {
		t.Errorf("%v", equal)
	}
}

// Whatever the records: all of them, once, by priority.
func TestOrderProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var in []*net.SRV
		for i := range rapid.IntRange(0, 12).Draw(t, "records") {
			in = append(in, &net.SRV{Port: uint16(i), Priority: rapid.Uint16Range(0, 3).Draw(t, "priority"), Weight: rapid.Uint16().Draw(t, "weight")})
		}
		before := slices.Clone(in)
		out := order(in)
		if !slices.Equal(in, before) {
			t.Fatal("the argument was changed")
		}
		if !slices.IsSortedFunc(out, func(a, b *net.SRV) int { return int(a.Priority) - int(b.Priority) }) {
			t.Fatal("not by priority")
		}
		byPort := func(a, b *net.SRV) int { return int(a.Port) - int(b.Port) }
		if slices.SortFunc(out, byPort); !slices.Equal(out, in) {
			t.Fatal("records lost or doubled")
		}
	})
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{"sip:a@b.example:5060;transport=tcp", "sips:[::1]", "sip:x;maddr=10.0.0.1", "sip:[fe80::1%eth0]", "*", "sip:.;transport=tls"} {
		f.Add(s)
	}
	r := New(Options{DNS: &zone{}})
	f.Fuzz(func(t *testing.T, s string) {
		var u sip.Uri
		if sip.ParseUri(s, &u) != nil {
			return
		}
		targets, err := r.Resolve(context.Background(), u)
		if (err == nil) != (len(targets) > 0) {
			t.Errorf("%q: %q, %v", s, show(targets), err)
		}
		for _, x := range targets {
			if !x.Addr.IsValid() || x.Addr.Port() == 0 || x.Transport == "" || x.Host == "" {
				t.Errorf("%q: %+v", s, x)
			}
		}
	})
}
