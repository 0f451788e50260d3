package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/store"
	"wakebridge/config"
	"wakebridge/sipua"
	"wakebridge/sipua/location"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStartServeStop(t *testing.T) {
	d := start(t, nil)
	for _, transport := range []sipua.Transport{sipua.UDP, sipua.TCP} {
		if !d.Addr(transport).IsValid() {
			t.Errorf("not listening on %s", transport)
		}
	}
	if d.Addr(sipua.TLS).IsValid() {
		t.Error("listening on TLS")
	}
	for path, want := range map[string]string{"/healthz": "ok", "/readyz": `"ready":true`, "/metrics": "wakebridge_calls_active 0"} {
		if status, body := get(t, d, path); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("GET %s: %d %s; want %q", path, status, body, want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	d.Drain(ctx)
	d.Drain(ctx) // twice is fine
	if status, body := get(t, d, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, `"ready":false`) || !strings.Contains(body, "draining") {
		t.Errorf("ready while draining: %d %s", status, body)
	}
	stopped := stopping(d, 5*time.Second)
	d.Stop(ctx) // at the same time, and twice
	<-stopped
	d.Stop(ctx)
	conn, err := net.DialTimeout("tcp", d.HTTPAddr().String(), time.Second)
	if err == nil {
		conn.Close()
		t.Error("HTTP goes on after Stop")
	}
}

// What a failure to start names, and that it takes back what was opened: once it
// is mended, the same configuration starts, on the same ports and data.
func TestStartFails(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	taken := netip.MustParseAddrPort(busy.Addr().String())
	tests := []struct {
		name  string
		spoil func(*config.Config)
		want  []string
	}{
		{"HTTP port in use", func(c *config.Config) { c.HTTP.Bind = taken }, []string{"http.bind " + taken.String(), "another program"}},
		{"data folder is a file", func(c *config.Config) { c.Node.DataDir = c.Push.Apps[0].Keys[0].File }, []string{"node.data_dir"}},
		{"bad trunk", func(c *config.Config) { c.Trunks[0].Contact = "sip:[" }, []string{"trunks[pbx].contact"}},
		{"bad algorithm", func(c *config.Config) { c.Domains[0].Auth = []string{"rot13"} }, []string{"domains[" + DevDomain + "].auth"}},
		{"bad route", func(c *config.Config) { c.Routes[0].Match = "(" }, []string{"routes", "out"}},
		{"bad media ports", func(c *config.Config) { c.Media.RTPStart, c.Media.RTPEnd = 10001, 10001 }, []string{"media.rtp_start"}},
		{"bad push key", func(c *config.Config) { c.Push.Apps[0].Keys[0].File += ".gone" }, []string{"push.apps[" + DevBundle + "].keys[" + DevKey + "]"}},
		{"SIP port in use", func(c *config.Config) { c.Listen[1].Bind = taken }, []string{"listen[1] (tcp " + taken.String() + ")", "another program"}},
		{"no such address", func(c *config.Config) { c.Listen[1].Bind = netip.MustParseAddrPort("192.0.2.1:5060") }, []string{"listen[1] (tcp 192.0.2.1:5060)"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dev := development(t)
			for i := range dev.Config.Listen {
				dev.Config.Listen[i].Bind = freePort(t)
			}
			dev.Config.HTTP.Bind = freePort(t)
			before := goleak.IgnoreCurrent()
			spoilt := *dev.Config
			spoilt.Listen = append([]config.Listener(nil), spoilt.Listen...)
			spoilt.Trunks = append([]config.Trunk(nil), spoilt.Trunks...)
			spoilt.Domains = append([]config.Domain(nil), spoilt.Domains...)
			spoilt.Routes = append([]config.Route(nil), spoilt.Routes...)
			app := spoilt.Push.Apps[0]
			app.Keys = append([]config.Key(nil), app.Keys...)
			spoilt.Push.Apps = []config.App{app}
			tt.spoil(&spoilt)
			d, err := New(t.Context(), &spoilt, quiet())
			if err == nil {
				stop(d)
				t.Fatal("it starts")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in: %v", want, err)
				}
			}
			goleak.VerifyNone(t, before)
			if d, err = New(t.Context(), dev.Config, quiet()); err != nil {
				t.Fatalf("mended, it does not start: %v", err)
			}
			stop(d)
		})
	}
}

// freePort is one that UDP and TCP have free on all addresses, and that the system
// gives to nobody by itself (Linux chooses above 32767).
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	for range 100 {
		port := uint16(20000 + rand.IntN(10000))
		ln, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			continue
		}
		pc, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
		ln.Close()
		if err == nil {
			pc.Close()
			return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
		}
	}
	t.Fatal("no free port")
	return netip.AddrPort{}
}

func TestTwoServersOnOneFolder(t *testing.T) {
	first := start(t, nil)
	dev := development(t)
	dev.Config.Node.DataDir = first.cfg.Node.DataDir
	d, err := New(t.Context(), dev.Config, quiet())
	if err == nil {
		stop(d)
		t.Fatal("two servers write one database")
	}
	if !strings.Contains(err.Error(), "node.data_dir "+first.cfg.Node.DataDir) {
		t.Errorf("%v", err)
	}
}

// The registrar's loop starts with what the store holds, and asks at once whether
// the devices are in a call.
func TestStartWithWhatIsDue(t *testing.T) {
	dev := development(t)
	db, err := store.Open(t.Context(), store.Options{Dir: dev.Config.Node.DataDir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-time.Minute)
	aor := sipua.NewAOR("alice", DevDomain)
	device := location.Device{AOR: aor, Key: "urn:uuid:1", Instance: "urn:uuid:1", LastSeen: past, TokensDue: past,
		Bindings: []location.Binding{{Contact: "<sip:alice@10.0.0.3>", Instance: "urn:uuid:1", Registered: past, Expires: time.Now().Add(time.Hour)}},
		Push: location.PushInfo{Provider: "apns", BundleID: DevBundle, TeamID: DevTeam,
			VoIP: location.Token{Value: strings.Repeat("ab", 32), Kind: location.VoIP, Source: location.FromSIP, Updated: past}}}
	if err := db.Commit(t.Context(), location.Batch{Put: []location.Device{device}}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := New(t.Context(), dev.Config, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer stop(d)
	late := time.Now().Add(10 * time.Second)
	for {
		got, ok := d.Memory().Device(device.Ref())
		if ok && got.Push.VoIP.IsZero() {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("the tokens that were due are still there: %t %+v", ok, got)
		}
		time.Sleep(time.Millisecond)
	}
}

// stopping runs Stop and says when it has returned.
func stopping(d *Daemon, within time.Duration) (stopped chan struct{}) {
	stopped = make(chan struct{})
	go func() {
		defer close(stopped)
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		d.Stop(ctx)
	}()
	return stopped
}

// Stop hangs up first; while it waits for the call's peers, HTTP says so and the
// flows live. The record is stored before the store closes.
func TestStopInOrder(t *testing.T) {
	for _, confirmed := range []bool{true, false} {
		t.Run(fmt.Sprintf("confirmed %t", confirmed), func(t *testing.T) {
			p := peerAt(t, trunkHost)
			dev := development(t)
			dev.Config.Trunks[0].Contact, dev.Config.Trunks[0].Qualify = "sip:"+p.addr(), 0
			dev.Config.Routes = []config.Route{{Name: "back", From: "pbx", Match: "^5", To: "trunk", Trunk: "pbx"}}
			opts := quiet()
			told := make(chan bridge.Record, 2)
			opts.Recorded = func(r bridge.Record) { told <- r }
			d, err := New(t.Context(), dev.Config, opts)
			if err != nil {
				t.Fatal(err)
			}
			invite := p.of(d).unconfirmed()
			if confirmed {
				p.confirm(invite)
			}
			if n := d.Bridge().Active(); n != 1 {
				t.Fatalf("%d calls", n)
			}
			stopped := stopping(d, 10*time.Second)
			first := p.read("BYE ")
			p.request("OPTIONS", "sip:127.0.0.1", "")
			p.read("SIP/2.0 503")
			if status, body := get(t, d, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "stopping") {
				t.Errorf("%d %s", status, body)
			}
			p.reply(first, "200 OK", "")
			if !confirmed { // until then the caller must not get a BYE (RFC 3261 s15)
				p.confirm(invite)
			}
			var second string
			for second = p.read("BYE "); headerOf(second, "Call-ID") == headerOf(first, "Call-ID"); second = p.read("BYE ") {
			}
			p.read("BYE ") // it is repeated until it is answered
			select {
			case <-stopped:
				t.Error("it does not wait for the answers to its BYEs")
			default:
			}
			p.reply(second, "200 OK", "")
			<-stopped
			rec := <-told
			if rec.Result != bridge.Answered || rec.Status != 200 || len(rec.Attempts) != 1 {
				t.Errorf("record: %+v", rec)
			}
			wantStored(t, dev.Config.Node.DataDir, rec.ID)
		})
	}
}

func wantStored(t *testing.T, dir, id string) {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatalf("the store was not closed: %v", err)
	}
	defer db.Close()
	rows, err := db.Records(t.Context(), 10, store.Position{})
	if err != nil || len(rows) != 1 || rows[0].ID != id {
		t.Errorf("stored: %v %+v", err, rows)
	}
}

// Peers that say nothing keep Stop no longer than its context.
func TestStopDoesNotWaitForTheDead(t *testing.T) {
	d, p := hairpin(t, nil)
	p.answered()
	begin := time.Now()
	<-stopping(d, 300*time.Millisecond)
	if took := time.Since(begin); took < 300*time.Millisecond || took > 3*time.Second {
		t.Errorf("it took %s", took)
	}
}

// calls.drain_timeout bounds a drain; what is left is hung up.
func TestDrainTimeout(t *testing.T) {
	d, p := hairpin(t, func(c *config.Config) { c.Calls.DrainTimeout = 300 * time.Millisecond })
	p.answered()
	begin := time.Now()
	d.Drain(t.Context())
	if took := time.Since(begin); took < 300*time.Millisecond || took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	p.reply(p.read("BYE "), "200 OK", "")
	p.reply(p.read("BYE "), "200 OK", "")
}

func TestReadyWhileStarting(t *testing.T) {
	d := &Daemon{}
	if checks := d.Ready(); len(checks) != 1 || checks[0].OK || !strings.Contains(checks[0].Text, "starting") {
		t.Errorf("%+v", checks)
	}
}

func TestReadyNeedsTheStore(t *testing.T) {
	d := start(t, nil)
	if err := d.store.Close(); err != nil {
		t.Fatal(err)
	}
	if status, body := get(t, d, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "node.data_dir") {
		t.Errorf("%d %s", status, body)
	}
}

func TestToken(t *testing.T) {
	const token = "0123456789abcdef-token"
	var log syncLog
	dev := development(t)
	dev.Config.HTTP.Token = config.NewSecret(token)
	d, err := New(t.Context(), dev.Config, Options{Log: log.logger(), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(d)
	tests := []struct {
		path, authorization string
		want                int
	}{
		{"/healthz", "", 200},
		{"/readyz", "", 401},
		{"/metrics", "", 401},
		{"/metrics", "Bearer wrong", 401},
		{"/metrics", token, 401},
		{"/metrics", "Bearer " + token, 200},
		{"/readyz", "Bearer " + token, 200},
	}
	for _, tt := range tests {
		if status, body := get(t, d, tt.path, "Authorization", tt.authorization); status != tt.want || strings.Contains(body, token) {
			t.Errorf("%s with %q: %d", tt.path, tt.authorization, status)
		}
	}
	for _, secret := range []string{token, dev.Config.Domains[0].Users[0].Password.Reveal()} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log holds a secret:\n%s", &log)
		}
	}
}

func TestWithoutHTTP(t *testing.T) {
	d := start(t, func(c *config.Config) { c.HTTP.Bind = netip.AddrPort{} })
	if d.HTTPAddr().IsValid() {
		t.Error("HTTP is served")
	}
}

// Somebody who reads too slowly does not keep the server alive.
func TestSlowReaderDoesNotKeepHTTP(t *testing.T) {
	t.Parallel()
	d := start(t, nil)
	conn, err := net.Dial("tcp", d.HTTPAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprint(conn, "GET /metrics HTTP/1.1\r\nHost: h\r\nX-Unfinished: "); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	stop(d)
	if took := time.Since(begin); took > lastAnswers+3*time.Second {
		t.Errorf("Stop took %s", took)
	}
	if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is open after Stop: %v", err)
	}
}

// http.bind 0.0.0.0 is IPv4 alone, as it is for SIP.
func TestHTTPFamily(t *testing.T) {
	needsIPv6(t)
	for bind, want := range map[string]bool{"0.0.0.0:0": false, "[::]:0": true} {
		d := start(t, func(c *config.Config) { c.HTTP.Bind = netip.MustParseAddrPort(bind) })
		for host, served := range map[string]bool{"127.0.0.1": true, "::1": want} {
			conn, err := net.Dial("tcp", net.JoinHostPort(host, fmt.Sprint(d.HTTPAddr().Port())))
			if err == nil {
				conn.Close()
			}
			if (err == nil) != served {
				t.Errorf("%s at %s: %v", bind, host, err)
			}
		}
	}
}

func TestDataFolderIsMadeForUsAlone(t *testing.T) {
	d := start(t, func(c *config.Config) { c.Node.DataDir = filepath.Join(c.Node.DataDir, "deep", "er") })
	if status, _ := get(t, d, "/readyz"); status != 200 {
		t.Errorf("%d", status)
	}
}
