package registrar_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/goleak"

	"wakebridge/sipua"
	"wakebridge/sipua/digest"
	"wakebridge/sipua/location"
	"wakebridge/sipua/location/locationtest"
	"wakebridge/sipua/memnet"
	"wakebridge/sipua/registrar"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	serverAddr = netip.MustParseAddrPort("10.0.0.1:5060")
	aliceHost  = netip.MustParseAddr("10.0.0.2")
	bobHost    = netip.MustParseAddr("10.0.0.3")
	alice      = sipua.NewAOR("alice", "example.com")
)

const (
	token1 = "aaaa000000000000000000000000000000000000000000000000000000000001"
	token2 = "aaaa000000000000000000000000000000000000000000000000000000000002"
	phone1 = "urn:uuid:00000000-0000-4000-8000-000000000001"
	phone2 = "urn:uuid:00000000-0000-4000-8000-000000000002"
)

// passwords are the users of example.com. hold, if set, is where a look-up waits.
type passwords struct {
	mu   sync.Mutex
	hold chan struct{}
}

func (p *passwords) HA1(_ context.Context, realm, user string, a digest.Algorithm) (string, bool) {
	p.mu.Lock()
	hold := p.hold
	p.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if user != "alice" && user != "bob" {
		return "", false
	}
	return digest.HA1(a, user, realm, "secret of "+user), true
}

// office is a registrar behind a real endpoint, with a store that obeys the test.
type office struct {
	t         *testing.T
	net       *memnet.Network
	ep        *sipua.Endpoint
	reg       *registrar.Registrar
	mem       *location.Memory
	store     *locationtest.Store
	passwords *passwords
	logged    *strings.Builder

	mu      sync.Mutex
	changes []string
	failed  int
	late    []location.Fate
	// tellsNothing: the device is in a call, or too late.
	tellsNothing bool
	callings     map[location.Ref]bool
	tap          func(sipua.Traffic)
	keep         chan *sipua.ServerTx // gets what should go to the registrar
}

func newOffice(t *testing.T, change ...func(*registrar.Config)) *office {
	t.Helper()
	return newOfficeOf(t, location.Rules{AfterExpiry: true}, change...)
}

func newOfficeOf(t *testing.T, rules location.Rules, change ...func(*registrar.Config)) *office {
	t.Helper()
	o := &office{t: t, net: memnet.New(memnet.Options{Seed: 1}), store: &locationtest.Store{}, passwords: &passwords{},
		logged: &strings.Builder{}, callings: map[location.Ref]bool{}}
	log := slog.New(slog.NewTextHandler(&locked{w: o.logged}, nil))
	var err error
	if o.mem, err = location.NewMemory(t.Context(), o.store, rules); err != nil {
		t.Fatal(err)
	}
	verifier, err := digest.NewVerifier(digest.Options{Realm: "example.com", Credentials: o.passwords})
	if err != nil {
		t.Fatal(err)
	}
	auth := registrar.NewAuth(map[string]*digest.Verifier{"example.com": verifier}, log)
	auth.Failed = func(*sip.Request) { o.locked(func() { o.failed++ }) }
	cfg := registrar.Config{Memory: o.mem, Auth: auth, Node: "node-1", Log: log,
		Domains: []registrar.Domain{{Name: "Example.com", MaxContacts: 5, Expires: registrar.Lease{Min: time.Minute, Default: time.Hour, Max: 30 * 24 * time.Hour}}},
		Push: registrar.PushTerms{Expires: registrar.Lease{Min: 10 * time.Minute, Default: 7 * 24 * time.Hour, Max: 30 * 24 * time.Hour},
			Serves:   func(provider, bundle, _ string) bool { return provider == "apns" && bundle == "com.example.phone" },
			Services: []string{"apns", "fcm"}},
		InCall: func(ref location.Ref) (yes bool) {
			o.locked(func() { yes = o.callings[ref] })
			return yes
		},
		Late: func(_ location.Device, fates []location.Fate) (rest []location.Fate) {
			o.locked(func() {
				if o.tellsNothing {
					rest = fates
					return
				}
				o.late = append(o.late, fates...)
			})
			return rest
		}, Supported: "path, outbound"}
	for _, c := range change {
		c(&cfg)
	}
	o.reg = registrar.New(cfg)
	host := o.net.Host(serverAddr.Addr())
	o.ep = sipua.New(sipua.Config{Handler: o, Log: log, Tap: func(m sipua.Traffic) {
		if o.tap != nil {
			o.tap(m)
		}
	}})
	pc, err := host.ListenPacket(serverAddr)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := host.Listen(serverAddr)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.ep.ServeUDP(pc); err != nil {
		t.Fatal(err)
	}
	if err := o.ep.ServeStream(ln, sipua.TCP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		o.reg.Close()
		o.ep.Close()
		o.net.Close()
	})
	return o
}

func (o *office) locked(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
}

type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// Invite implements sipua.Handler.
func (o *office) Invite(tx *sipua.ServerTx) { tx.Reject(sipua.Reject(404, "")) }

// Request implements sipua.Handler.
func (o *office) Request(tx *sipua.ServerTx) {
	if o.keep != nil {
		o.keep <- tx
		return
	}
	o.reg.Request(tx)
}

// FlowGone implements sipua.Handler.
func (o *office) FlowGone(f *sipua.Flow, _ error) { o.reg.FlowGone(f) }

// watch notes the changes of alice's devices from now on, with their time.
func (o *office) watch() {
	start := time.Now()
	_, stop := o.mem.Watch(alice, func(c location.Change) {
		o.locked(func() {
			o.changes = append(o.changes, fmt.Sprintf("%s@%s", c.Kind, time.Since(start).Round(time.Millisecond)))
		})
	})
	o.t.Cleanup(stop)
}

func (o *office) changed() string {
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	out := strings.Join(o.changes, " ")
	o.changes = nil
	return out
}

// device is alice's only one.
func (o *office) device() location.Device {
	o.t.Helper()
	synctest.Wait()
	all := o.mem.Devices(alice)
	if len(all) != 1 {
		o.t.Fatalf("%d devices", len(all))
	}
	return all[0]
}

func (o *office) wantWakeable(yes bool) {
	o.t.Helper()
	if d := o.device(); d.Wakeable != yes {
		o.t.Errorf("wakeable %t, device %+v", d.Wakeable, d)
	}
}

// phone is a UA that sends REGISTER requests as it is told.
type phone struct {
	t       *testing.T
	o       *office
	ep      *sipua.Endpoint
	flow    *sipua.Flow
	proto   sipua.Transport
	user    string
	domain  string
	login   *digest.Client
	callID  string
	seq     uint32
	waiting chan outcome
}

type outcome struct {
	res *sip.Response
	err error
	at  time.Time
}

type nobody struct{}

func (nobody) Invite(tx *sipua.ServerTx)   { tx.Reject(sipua.Reject(486, "")) }
func (nobody) Request(tx *sipua.ServerTx)  { tx.Reject(sipua.Reject(405, "")) }
func (nobody) FlowGone(*sipua.Flow, error) {}

func (o *office) phone(user string, host netip.Addr, proto sipua.Transport) *phone {
	o.t.Helper()
	h := o.net.Host(host)
	p := &phone{t: o.t, o: o, proto: proto, user: user, domain: "example.com", callID: user + "@" + host.String(), waiting: make(chan outcome, 64),
		login: digest.NewClient(digest.Login{Username: user, Password: "secret of " + user})}
	p.ep = sipua.New(sipua.Config{Handler: nobody{}, Log: slog.New(slog.DiscardHandler),
		Dial: func(ctx context.Context, _ sipua.Transport, to sipua.Destination) (net.Conn, error) {
			return h.Dial(ctx, netip.AddrPort{}, to.Addr)
		}})
	o.t.Cleanup(p.ep.Close)
	pc, err := h.ListenPacket(netip.AddrPortFrom(host, 0))
	if err != nil {
		o.t.Fatal(err)
	}
	if err := p.ep.ServeUDP(pc); err != nil {
		o.t.Fatal(err)
	}
	p.connect()
	return p
}

func (p *phone) connect() {
	p.t.Helper()
	var err error
	if p.flow, err = p.ep.Connect(p.t.Context(), p.proto, sipua.Destination{Addr: serverAddr}); err != nil {
		p.t.Fatal(err)
	}
}

// sleep closes the phone's connection: the app is suspended.
func (p *phone) sleep() {
	p.flow.Shut(sipua.ErrClosed)
	synctest.Wait()
}

// request is a REGISTER with these header lines ("Name: value"), with credentials as
// far as a challenge is known.
func (p *phone) request(lines ...string) *sip.Request {
	p.seq++
	uri := sip.Uri{Scheme: "sip", Host: p.domain}
	req := sip.NewRequest(sip.REGISTER, uri)
	aor := sip.Uri{Scheme: "sip", User: p.user, Host: p.domain}
	req.AppendHeader(&sip.FromHeader{Address: aor, Params: sip.HeaderParams{{K: "tag", V: sipua.NewTag()}}})
	req.AppendHeader(&sip.ToHeader{Address: aor})
	id := sip.CallIDHeader(p.callID)
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: p.seq, MethodName: sip.REGISTER})
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		if name == "To" {
			var to sip.Uri
			if err := sip.ParseUri(value, &to); err != nil {
				p.t.Fatal(err)
			}
			req.To().Address = to
			continue
		}
		req.AppendHeader(sip.NewHeader(name, value))
	}
	for _, h := range p.login.Authorize("REGISTER", uri.String()) {
		req.AppendHeader(h)
	}
	return req
}

// post sends a request and does not wait; the answer comes to waiting.
func (p *phone) post(req *sip.Request) {
	p.t.Helper()
	if p.proto == sipua.UDP {
		p.connect() // the same socket, even if its flow went idle on the phone's side
	}
	if _, err := p.ep.Request(p.flow, req, func(res *sip.Response, err error) { p.waiting <- outcome{res, err, time.Now()} }); err != nil {
		p.t.Fatal(err)
	}
}

// once sends one REGISTER and waits for its answer.
func (p *phone) once(lines ...string) outcome {
	p.t.Helper()
	p.post(p.request(lines...))
	return <-p.waiting
}

// try sends a REGISTER, and again with credentials when it is challenged.
func (p *phone) try(lines ...string) outcome {
	p.t.Helper()
	out := p.once(lines...)
	if out.err != nil || out.res.StatusCode != 401 {
		return out
	}
	ch, _ := digest.ChallengesOf(out.res)
	if _, err := p.login.Attempt().Answer(ch, "REGISTER", "sip:"+p.domain); err != nil {
		p.t.Fatal(err)
	}
	return p.once(lines...)
}

// must is try for what should be answered with a status.
func (p *phone) must(status int, lines ...string) *sip.Response {
	p.t.Helper()
	out := p.try(lines...)
	if out.err != nil {
		p.t.Fatalf("%q: %v", lines, out.err)
	}
	if out.res.StatusCode != status {
		p.t.Errorf("%q: %d %s, want %d", lines, out.res.StatusCode, out.res.Reason, status)
	}
	return out.res
}

// contact is a Contact line of this phone's.
func (p *phone) contact(uriParams, headerParams string) string {
	return fmt.Sprintf("Contact: <sip:%s@%s;transport=%s%s>%s", p.user, p.o.clientAddr(p), p.proto.Param(), uriParams, headerParams)
}

func (o *office) clientAddr(p *phone) netip.AddrPort { return p.flow.Local() }

func push(token string) string {
	return ";pn-provider=apns;pn-prid=" + token + ";pn-param=ABCDE12345.com.example.phone.voip"
}

func instance(id string) string { return `;+sip.instance="<` + id + `>"` }

// values are those of all headers of that name.
func values(res *sip.Response, name string) []string { return sipua.Values(res, name) }

// inBubble runs a test in virtual time.
func inBubble(t *testing.T, f func(t *testing.T)) { synctest.Test(t, f) }
