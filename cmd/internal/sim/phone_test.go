package sim_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/cmd/internal/sim"
	"wakebridge/push/apnssim"
	"wakebridge/sipua"
	"wakebridge/sipua/header"
	"wakebridge/sipua/iphone"
	"wakebridge/sipua/softphone"
)

// world is a SIP server, which registers everybody, and an APNs simulator.
type world struct {
	t      *testing.T
	server *softphone.Phone
	apns   *apnssim.Sim
	admin  *httptest.Server

	mu       sync.Mutex
	contacts []sip.ContactHeader
	flow     *sipua.Flow
	// before runs before the 200 to a REGISTER. nil: nothing does.
	before func(*sipua.ServerTx)
	wg     sync.WaitGroup
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	w.server, err = softphone.New(softphone.Config{AOR: sipua.NewAOR("100", "example.com"), Log: slog.New(slog.DiscardHandler),
		Listeners: []softphone.Listener{{Net: ln, Transport: sipua.TCP}}, Requests: w.register,
		Media: func() (net.PacketConn, error) { return net.ListenPacket("udp", "127.0.0.1:0") }})
	w.must(err)
	t.Cleanup(w.server.Close)
	var lns [2]net.Listener
	for i := range lns {
		lns[i], err = net.Listen("tcp", "127.0.0.1:0")
		w.must(err)
	}
	w.apns, err = apnssim.New(apnssim.Config{Sandbox: lns[0], Production: lns[1], Log: slog.New(slog.DiscardHandler)})
	w.must(err)
	t.Cleanup(func() { w.apns.Close() })
	w.admin = httptest.NewServer(w.apns.AdminHandler())
	t.Cleanup(w.admin.Close)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) register(tx *sipua.ServerTx) {
	if w.before == nil {
		w.accept(tx)
		return
	}
	w.wg.Go(func() { // awaited by who sets before: the connection has to be read meanwhile
		w.before(tx)
		w.accept(tx)
	})
}

func (w *world) accept(tx *sipua.ServerTx) {
	res := tx.NewResponse(200, "")
	c := tx.Request.Contact().Clone()
	c.Params.Add("expires", "3600")
	res.AppendHeader(c)
	w.mu.Lock()
	w.contacts = append(w.contacts, *tx.Request.Contact())
	w.flow = tx.Flow()
	w.mu.Unlock()
	tx.Respond(res)
}

// options are those of a phone of this world.
func (w *world) options(change ...func(*sim.PhoneOptions)) sim.PhoneOptions {
	o := sim.PhoneOptions{Script: true, JSON: true, Log: slog.New(slog.DiscardHandler)}
	o.Account = sim.PhoneAccount{Server: w.server.Listening(sipua.TCP).String(), User: "bob", Domain: "example.com"}
	o.App = iphone.App{TeamID: sim.DefaultTeam, BundleID: sim.DefaultBundle}
	o.Pushes.URL = w.admin.URL
	for _, c := range change {
		c(&o)
	}
	return o
}

// run runs a script to its end.
func (w *world) run(o sim.PhoneOptions, script string) (string, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	err := sim.RunPhone(ctx, o, strings.NewReader(script), &out)
	return out.String(), err
}

// The phone announces the tokens that the simulator gave it, in its environment.
func TestTokensComeFromTheSimulator(t *testing.T) {
	w := newWorld(t)
	const id = "0f8fad5b-d9cb-469f-a165-70867728950e"
	out, err := w.run(w.options(func(o *sim.PhoneOptions) {
		o.Pushes.Device, o.Pushes.Environment, o.Account.Instance = "mine", "sandbox", id
	}), "wait registered\nreinstall\nforeground\nwait registered\n")
	w.must(err)
	status := w.apns.Device("mine").Status()
	if len(status.Tokens) != 2 || status.Environment != apnssim.Sandbox {
		t.Fatalf("%+v", status)
	}
	instances := make(map[string]bool)
	tokens := make(map[string]bool)
	for _, c := range w.contacts {
		p, err := header.ParsePush(c)
		w.must(err)
		instance, err := header.Instance(c)
		w.must(err)
		instances[instance], tokens[p.VoIPToken] = true, true
	}
	if len(instances) != 2 || !instances["urn:uuid:"+id] || len(tokens) != 2 {
		t.Errorf("instances %v, %d tokens\n%s", instances, len(tokens), out)
	}
	for _, now := range status.Tokens {
		if now.Kind == apnssim.VoIP && !tokens[now.Token] {
			t.Error("the new token was not announced")
		}
	}
}

// Without a simulator there are no tokens, and without CallKit none for VoIP.
func TestPhonesWithoutTokens(t *testing.T) {
	for name, c := range map[string]struct {
		change      func(*sim.PhoneOptions)
		voip, alert bool
	}{
		"no simulator": {func(o *sim.PhoneOptions) { o.Pushes.URL = "" }, false, false},
		"iOS 9":        {func(o *sim.PhoneOptions) { o.IOS = "9.3.5" }, false, true},
		"no CallKit":   {func(o *sim.PhoneOptions) { o.NoCallKit = true }, false, true},
		"iOS 26.4":     {func(o *sim.PhoneOptions) { o.IOS = "26.4" }, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			_, err := w.run(w.options(c.change), "wait registered\n")
			w.must(err)
			p, err := header.ParsePush(w.contacts[len(w.contacts)-1])
			w.must(err)
			if (p.VoIPToken != "") != c.voip || (p.AlertToken != "") != c.alert {
				t.Errorf("%s", p)
			}
		})
	}
}

// A phone that was offline gets what waited for it, and nothing of earlier runs.
func TestAirplaneModeOfASimulatedDevice(t *testing.T) {
	w := newWorld(t)
	const script = "wait registered\nairplane on\nairplane off\nwait registered\n"
	for range 2 {
		out, err := w.run(w.options(), script)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if !w.apns.Device("iphone").IsOnline() {
			t.Error("the simulator has it offline")
		}
	}
	out, err := w.run(w.options(), "wait registered\nairplane on\n")
	w.must(err)
	if w.apns.Device("iphone").IsOnline() {
		t.Errorf("the simulator has it online\n%s", out)
	}
	// The next run's phone is another one by the same name: switched on.
	if _, err := w.run(w.options(), "wait registered\n"); err != nil || !w.apns.Device("iphone").IsOnline() {
		t.Errorf("%v", err)
	}
}

func TestAPhoneCallsAndIsHungUp(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		c, err := w.server.Accept(ctx)
		if err != nil {
			t.Error(err)
			return
		}
		if to := c.Invite().Recipient.User; to != "100" {
			t.Errorf("called %s", to)
		}
		c.Ring()
		c.Answer()
		if _, err := c.Ended(ctx); err != nil {
			t.Error(err)
		}
	})
	out, err := w.run(w.options(), "wait registered\ncall 100\nwait call-connected\nwait talking 5s\nmute\nwait muted\nunmute\nwait unmuted\ndtmf 1\n"+
		"cellular on\nwait held\ncellular off\nwait resumed\nhangup\nwait ended hungUp\n")
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	wg.Wait()
}

func TestOptions(t *testing.T) {
	file := t.TempDir() + "/none.pem"
	for name, c := range map[string]struct {
		change func(*sim.PhoneOptions)
		want   string
	}{
		"no user":           {func(o *sim.PhoneOptions) { o.Account.User = "" }, "user is missing"},
		"SCTP":              {func(o *sim.PhoneOptions) { o.Account.Transport = "sctp" }, "udp, tcp and tls"},
		"no port":           {func(o *sim.PhoneOptions) { o.Account.Server = "127.0.0.1" }, "host:port"},
		"port 0":            {func(o *sim.PhoneOptions) { o.Account.Server = "127.0.0.1:0" }, `port "0"`},
		"instance":          {func(o *sim.PhoneOptions) { o.Account.Instance = "me" }, "UUID"},
		"CA":                {func(o *sim.PhoneOptions) { o.Account.TLSCA = file }, "tls-ca"},
		"policy":            {func(o *sim.PhoneOptions) { o.Policy = "perfect" }, "no such policy"},
		"iOS 7":             {func(o *sim.PhoneOptions) { o.IOS = "7" }, "from 8 on"},
		"iOS x":             {func(o *sim.PhoneOptions) { o.IOS = "26.x" }, "from 8 on"},
		"no team":           {func(o *sim.PhoneOptions) { o.App.TeamID = "" }, "team"},
		"apns":              {func(o *sim.PhoneOptions) { o.Pushes.URL = "localhost:80" }, "not an http URL"},
		"environment":       {func(o *sim.PhoneOptions) { o.Pushes.Environment = "beta" }, "neither production nor sandbox"},
		"whose environment": {func(o *sim.PhoneOptions) { o.Pushes = sim.PhonePushes{Environment: "production"} }, "there is none (apns)"},
		"whose device":      {func(o *sim.PhoneOptions) { o.Pushes = sim.PhonePushes{Device: "mine"} }, "there is none (apns)"},
		"to roam nowhere":   {func(o *sim.PhoneOptions) { o.Policy = "changes-address" }, "name two by bind"},
		"to roam to itself": {func(o *sim.PhoneOptions) {
			o.Policy, o.Bind = "changes-address", []netip.Addr{netip.IPv6Loopback(), netip.IPv6Loopback()}
		}, "name two by bind"},
		"another team": {func(o *sim.PhoneOptions) { o.App = iphone.App{} }, "bundle and team"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			_, err := w.run(w.options(c.change), "")
			if err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, sim.ErrOption) {
				t.Errorf("%v", err)
			}
		})
	}
}

// A push service that is away for a moment costs no push, and the phone gets each
// once.
func TestPushesOutliveAFailure(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	var asked []string
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/devices", func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, `{"received":7,"online":true}`) })
	mux.HandleFunc("POST /v1/devices/iphone/tokens", func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, `{"token":"aabb"}`) })
	mux.HandleFunc("GET /v1/devices/iphone/stream", func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.URL.Query().Get("after"))
		n := len(asked)
		mu.Unlock()
		switch n {
		case 1:
			http.Error(rw, "no", http.StatusBadGateway)
		case 2:
			io.WriteString(rw, `{"seq":8,"token":"aabb","push_type":"alert","payload":{"type":"call","uuid":"0f8fad5b-d9cb-469f-a165-70867728950e"}}`)
		default:
			rw.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	})
	service := httptest.NewServer(mux)
	t.Cleanup(service.Close)
	o := w.options(func(o *sim.PhoneOptions) { o.Pushes.URL = service.URL + "/" })
	if out, err := w.run(o, "wait registered\nwait push alert 10s\nwait notification-shown\nkill\ntap\nwait registered\n"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(asked, " "); got != "7 7 8" {
		t.Errorf("asked for what came after %s", got)
	}
}

// A push service that answers nonsense is none.
func TestNoPushService(t *testing.T) {
	w := newWorld(t)
	for name, answer := range map[string]http.HandlerFunc{
		"no JSON": func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "hello") },
		"no API":  http.NotFound,
	} {
		service := httptest.NewServer(answer)
		if out, err := w.run(w.options(func(o *sim.PhoneOptions) { o.Pushes.URL = service.URL }), ""); err == nil {
			t.Errorf("%s: %s", name, out)
		}
		service.Close()
	}
}

// The phone goes to the next of its addresses.
func TestRoaming(t *testing.T) {
	w := newWorld(t)
	o := w.options(func(o *sim.PhoneOptions) {
		o.Policy = "changes-address"
		o.Bind = []netip.Addr{netip.MustParseAddr("127.0.0.5"), netip.MustParseAddr("127.0.0.6")}
	})
	in, typed := io.Pipe()
	out, printed := io.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() {
		for sc := bufio.NewScanner(out); sc.Scan(); {
			if !strings.Contains(sc.Text(), `"command":"wait registered"`) {
				continue
			}
			w.mu.Lock()
			flow, contact := w.flow, w.contacts[0]
			w.mu.Unlock()
			if _, err := w.server.Call(softphone.Outgoing{Target: header.StripPush(contact.Address), Flow: flow}); err != nil {
				t.Error(err)
			}
			break
		}
		io.Copy(io.Discard, out)
	})
	wg.Go(func() {
		defer typed.Close()
		// With a call alive, the next REGISTER moves it.
		io.WriteString(typed, "wait registered\nwait ringing\nbackground\nforeground\nwait registered\nwait registered\n")
	})
	err := sim.RunPhone(t.Context(), o, in, printed)
	in.Close()
	printed.Close()
	wg.Wait()
	w.must(err)
	hosts := make([]string, 0, len(w.contacts))
	for _, c := range w.contacts {
		hosts = append(hosts, c.Address.Host)
	}
	if hosts[0] != "127.0.0.5" || hosts[len(hosts)-1] != "127.0.0.6" {
		t.Errorf("registered from %v", hosts)
	}
}

// Over TLS the server is known by its CA, and strangers are refused.
func TestTLS(t *testing.T) {
	w := newWorld(t)
	secure := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate
	t.Cleanup(secure.Close)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	server, err := softphone.New(softphone.Config{AOR: sipua.NewAOR("100", "example.com"), Log: slog.New(slog.DiscardHandler), Requests: w.register,
		Listeners: []softphone.Listener{{Net: tls.NewListener(ln, &tls.Config{Certificates: secure.TLS.Certificates}), Transport: sipua.TLS}}})
	w.must(err)
	t.Cleanup(server.Close)
	ca := t.TempDir() + "/ca.pem"
	w.must(os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600))
	for script, file := range map[string]string{"wait registered": ca, "wait register-failed": ""} {
		o := w.options(func(o *sim.PhoneOptions) {
			o.Account.Server, o.Account.Transport, o.Account.TLSCA = ln.Addr().String(), "tls", file
		})
		if out, err := w.run(o, script); err != nil {
			t.Errorf("CA %q: %v\n%s", file, err, out)
		}
	}
}
