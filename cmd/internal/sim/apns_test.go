package sim_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sideshow/apns2"
	"github.com/sideshow/apns2/certificate"
	"github.com/sideshow/apns2/token"
	"golang.org/x/net/http2"

	"wakebridge/cmd/internal/daemon"
	"wakebridge/cmd/internal/sim"
	"wakebridge/push/apnssim"
)

func options() sim.APNsOptions {
	return sim.APNsOptions{
		Listen: sim.APNsListen{Sandbox: "127.0.0.1:0", Production: "127.0.0.1:0", Admin: "127.0.0.1:0"},
		Apps:   sim.DefaultAPNsApps(), Devices: []string{"iphone", "mine:sandbox"},
		For: 20 * time.Second, Log: slog.New(slog.DiscardHandler),
	}
}

// readyDocument is the first line with JSON.
type readyDocument struct {
	Event, Sandbox, Production, Admin string
	CAFile                            string `json:"ca_file"`
	KeyFile                           string `json:"key_file"`
	KeyID                             string `json:"key_id"`
	TeamID                            string `json:"team_id"`
	PasswordFile                      string `json:"p12_password_file"`
	Certificates                      []struct {
		Kind apnssim.Kind
		P12  string `json:"p12_file"`
		PEM  string `json:"pem_file"`
	}
	Devices []struct {
		Name        string
		Environment apnssim.Environment
		Bundle      string `json:"bundle_id"`
		VoIP        string `json:"voip_token"`
		Alert       string `json:"alert_token"`
	}
}

// running is a run whose output is read line by line.
type running struct {
	t     *testing.T
	lines *bufio.Scanner
	stop  context.CancelFunc
	ended chan error
	ready readyDocument
	apns2 []*apns2.Client
}

func start(t *testing.T, opts sim.APNsOptions) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	run := &running{t: t, lines: bufio.NewScanner(r), stop: cancel, ended: make(chan error, 1)}
	run.lines.Buffer(nil, 1<<20)
	go func() { // awaited by end, or by the cleanup
		err := sim.RunAPNs(ctx, opts, w)
		w.Close()
		run.ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Error(err)
		}
		for _, c := range run.apns2 {
			c.CloseIdleConnections()
		}
	})
	if opts.JSON {
		run.document(&run.ready)
		if run.ready.Event != "ready" {
			t.Fatalf("first document %+v", run.ready)
		}
	}
	return run
}

func (r *running) line() string {
	r.t.Helper()
	if !r.lines.Scan() {
		r.t.Fatalf("the output has ended: %v", <-r.ended)
	}
	return r.lines.Text()
}

func (r *running) document(into any) {
	r.t.Helper()
	text := r.line()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		r.t.Fatalf("%v in %s", err, text)
	}
}

// pushed is a document about a push.
type pushed struct {
	Event    string
	Payload  string
	Delivery apnssim.Delivered
	Fault    apnssim.Fault
	Verdict  apnssim.Verdict
	Header   []apnssim.Field
}

func (r *running) push() pushed {
	r.t.Helper()
	var p pushed
	r.document(&p)
	if p.Event != "push" {
		r.t.Fatalf("document %+v", p)
	}
	return p
}

// end reads the sum and waits for the end.
func (r *running) end() (accepted, refused, failed int, err error) {
	r.t.Helper()
	var sum struct {
		Event                     string
		Accepted, Refused, Failed int
	}
	r.document(&sum)
	if sum.Event != "end" {
		r.t.Fatalf("document %+v", sum)
	}
	return sum.Accepted, sum.Refused, sum.Failed, <-r.ended
}

// trust makes an apns2 client trust the CA of the file.
func (r *running) trust(c *apns2.Client, host string) *apns2.Client {
	r.t.Helper()
	pem, err := os.ReadFile(r.ready.CAFile)
	if err != nil {
		r.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	transport, ok := c.HTTPClient.Transport.(*http2.Transport)
	if !ok {
		r.t.Fatalf("apns2 has a %T", c.HTTPClient.Transport)
	}
	if transport.TLSClientConfig == nil {
		transport.TLSClientConfig = &tls.Config{}
	}
	transport.TLSClientConfig.RootCAs = pool
	c.Host = host
	c.HTTPClient.Timeout = 10 * time.Second
	r.apns2 = append(r.apns2, c)
	return c
}

// sender is apns2 with the key of the file.
func (r *running) sender(host string) *apns2.Client {
	r.t.Helper()
	key, err := token.AuthKeyFromFile(r.ready.KeyFile)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.trust(apns2.NewTokenClient(&token.Token{AuthKey: key, KeyID: r.ready.KeyID, TeamID: r.ready.TeamID}), host)
}

func (r *running) send(c *apns2.Client, hex string) *apns2.Response {
	r.t.Helper()
	res, err := c.Push(&apns2.Notification{
		DeviceToken: hex, Topic: daemon.DevBundle + ".voip", PushType: apns2.PushTypeVOIP, Payload: []byte(`{"aps":{},"uuid":"1"}`),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return res
}

// TestAPNsAsAVendorUsesIt: a sender with a key, a sender with a certificate, a
// phone in another process, and a CI job that reads JSON.
func TestAPNsAsAVendorUsesIt(t *testing.T) {
	opts := options()
	opts.JSON, opts.Apps.Certificates, opts.Expect = true, true, 4
	r := start(t, opts)
	if len(r.ready.Devices) != 2 || r.ready.Devices[0].Environment != apnssim.Production || r.ready.Devices[1].Environment != apnssim.Sandbox {
		t.Fatalf("devices %+v", r.ready.Devices)
	}
	byKey := r.sender(r.ready.Production)
	if res := r.send(byKey, r.ready.Devices[0].VoIP); !res.Sent() {
		t.Fatalf("by key: %+v", res)
	}
	p := r.push()
	if p.Verdict.Status != 200 || p.Delivery != apnssim.Handed || p.Payload != `{"aps":{},"uuid":"1"}` {
		t.Errorf("push %+v", p)
	}
	for _, h := range p.Header {
		if h.Name == "authorization" && h.Value != "****" {
			t.Error("a provider token is printed")
		}
	}
	if res := r.send(r.sender(r.ready.Sandbox), r.ready.Devices[1].VoIP); !res.Sent() {
		t.Errorf("sandbox: %+v", res)
	}
	r.push()
	if res := r.send(byKey, r.ready.Devices[1].VoIP); res.Reason != apns2.ReasonBadDeviceToken {
		t.Errorf("token of the other environment: %+v", res)
	}
	if p := r.push(); p.Verdict.Reason != "BadDeviceToken" {
		t.Errorf("push %+v", p)
	}
	password, err := os.ReadFile(r.ready.PasswordFile)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := certificate.FromP12File(r.ready.Certificates[0].P12, string(password))
	if err != nil {
		t.Fatal(err)
	}
	if res := r.send(r.trust(apns2.NewClient(cert), r.ready.Production), r.ready.Devices[0].VoIP); !res.Sent() {
		t.Errorf("by certificate: %+v", res)
	}
	r.push()

	phone, err := apnssim.NewClient(r.ready.Admin, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer phone.Close()
	if _, err := phone.AddDevice(t.Context(), "theirs", apnssim.Production); err != nil {
		t.Fatal(err)
	}
	hex, err := phone.Register(t.Context(), "theirs", daemon.DevBundle, apnssim.VoIP)
	if err != nil {
		t.Fatal(err)
	}
	rung := make(chan apnssim.Delivery, 1)
	heard := make(chan error, 1)
	enough := errors.New("enough")
	go func() {
		heard <- phone.Deliveries(t.Context(), "theirs", 0, func(d apnssim.Delivery) error { rung <- d; return enough })
	}()
	if res := r.send(byKey, hex); !res.Sent() {
		t.Errorf("to the phone: %+v", res)
	}
	if d := <-rung; string(d.Payload) != `{"aps":{},"uuid":"1"}` {
		t.Errorf("phone got %+v", d)
	}
	if err := <-heard; !errors.Is(err, enough) {
		t.Error(err)
	}
	r.push()
	accepted, refused, failed, err := r.end() // Expect is reached
	if accepted != 4 || refused != 1 || failed != 0 || err != nil {
		t.Errorf("%d accepted, %d refused, %d failed, %v", accepted, refused, failed, err)
	}
	if _, err := os.Stat(r.ready.CAFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the temporary folder is still there: %v", err)
	}
}

func TestAPNsFaultsFromAFile(t *testing.T) {
	opts := options()
	opts.JSON, opts.FailRefused = true, true
	opts.FaultsFile = filepath.Join(t.TempDir(), "faults.yaml")
	text := "faults:\n  - match: { nth: 2 }\n    action: { fault: respond, status: 503, reason: ServiceUnavailable }\nnetwork: { lose: 1 }\n"
	if err := os.WriteFile(opts.FaultsFile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, opts)
	c := r.sender(r.ready.Production)
	r.send(c, r.ready.Devices[0].VoIP)
	if p := r.push(); p.Verdict.Status != 200 || p.Delivery != apnssim.Lost {
		t.Errorf("first %+v", p)
	}
	r.send(c, r.ready.Devices[0].VoIP)
	if p := r.push(); p.Verdict.Status != 503 || p.Fault != apnssim.Respond {
		t.Errorf("second %+v", p)
	}
	r.stop()
	if accepted, refused, failed, err := r.end(); accepted != 1 || refused != 0 || failed != 1 || err != nil {
		t.Errorf("%d accepted, %d refused, %d failed, %v", accepted, refused, failed, err)
	}
}

func TestAPNsFailsAsAsked(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		opts := options()
		opts.JSON, opts.FailRefused = true, true
		r := start(t, opts)
		r.send(r.sender(r.ready.Production), strings.Repeat("ab", 32))
		r.push()
		r.stop()
		if _, _, _, err := r.end(); !errors.Is(err, sim.ErrAPNsRefused) {
			t.Error(err)
		}
	})
	t.Run("fewer", func(t *testing.T) {
		opts := options()
		opts.Expect, opts.For = 1, time.Millisecond
		if err := sim.RunAPNs(t.Context(), opts, io.Discard); !errors.Is(err, sim.ErrAPNsFewer) {
			t.Error(err)
		}
	})
	t.Run("output gone", func(t *testing.T) {
		r, w := io.Pipe()
		r.Close()
		if err := sim.RunAPNs(t.Context(), options(), w); !errors.Is(err, io.ErrClosedPipe) {
			t.Error(err)
		}
	})
}

// TestAPNsTellsPeople checks that what is printed can be used as it stands.
func TestAPNsTellsPeople(t *testing.T) {
	opts := options()
	opts.Dir = filepath.Join(t.TempDir(), "apns")
	opts.Apps.Certificates = true
	old := filepath.Join(opts.Dir, "apns-ca.pem")
	if err := errors.Join(os.Mkdir(opts.Dir, 0o700), os.WriteFile(old, []byte("old"), 0o644)); err != nil { //nolint:gosec // too open on purpose
		t.Fatal(err)
	}
	r := start(t, opts)
	var all []string
	for {
		all = append(all, r.line())
		if strings.HasPrefix(all[len(all)-1], "ready:") {
			break
		}
	}
	text := strings.Join(all, "\n")
	begin, end := strings.Index(text, "push:\n"), strings.Index(text, "For other senders")
	if begin < 0 || end < begin {
		t.Fatalf("no snippet in\n%s", text)
	}
	file := filepath.Join(t.TempDir(), "wakebridge.yaml")
	if err := os.WriteFile(file, []byte(text[begin:end]), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := daemon.Load(file, nil)
	if err != nil {
		t.Fatalf("the snippet is no configuration: %v\n%s", err, text[begin:end])
	}
	if cfg.Push.APNs.CAFile != old || len(cfg.Push.Apps) != 1 || cfg.Push.Apps[0].BundleID != daemon.DevBundle {
		t.Errorf("configuration %+v", cfg.Push)
	}
	files, err := os.ReadDir(opts.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 7 { // CA, key, password, two certificates in two forms
		t.Errorf("%d files", len(files))
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f.Name(), info, err)
		}
	}
	r.ready.CAFile, r.ready.KeyFile, r.ready.KeyID, r.ready.TeamID = old, cfg.Push.Apps[0].Keys[0].File, daemon.DevKey, daemon.DevTeam
	c := r.sender(cfg.Push.APNs.Production)
	hex := strings.Fields(text[strings.Index(text, "voip token"):])[2]
	r.send(c, hex)
	if line := r.line(); !strings.Contains(line, "production  voip  "+daemon.DevBundle+".voip  …"+hex[60:]+"  200  delivered") {
		t.Errorf("push %q", line)
	}
	if _, err := c.Push(&apns2.Notification{DeviceToken: hex, Topic: "two words\x7f", Payload: []byte(`{}`)}); err == nil {
		if line := r.line(); !strings.Contains(line, "400 BadTopic") {
			t.Errorf("push %q", line)
		}
	}
	r.stop()
	if line := r.line(); !strings.HasPrefix(line, "end: 1 accepted") {
		t.Errorf("last %q", line)
	}
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(old); err != nil {
		t.Errorf("a folder of the user's: %v", err)
	}
}

func TestAPNsBadOptions(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "faults.yaml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for name, tt := range map[string]struct {
		spoil func(*sim.APNsOptions)
		want  error // nil: any
	}{
		"admin for everybody":  {func(o *sim.APNsOptions) { o.Listen.Admin = "0.0.0.0:0" }, sim.ErrAPNsOption},
		"admin without a host": {func(o *sim.APNsOptions) { o.Listen.Admin = ":0" }, sim.ErrAPNsOption},
		"admin without a port": {func(o *sim.APNsOptions) { o.Listen.Admin = "127.0.0.1" }, sim.ErrAPNsOption},
		"port taken":           {func(o *sim.APNsOptions) { o.Listen.Admin = taken.Addr().String() }, nil},
		"no app":               {func(o *sim.APNsOptions) { o.Apps.Bundles = nil }, sim.ErrAPNsOption},
		"bundle":               {func(o *sim.APNsOptions) { o.Apps.Bundles = []string{"../x"} }, sim.ErrAPNsOption},
		"team":                 {func(o *sim.APNsOptions) { o.Apps.TeamID = "short" }, sim.ErrAPNsOption},
		"key":                  {func(o *sim.APNsOptions) { o.Apps.KeyID = "../../etc/" }, sim.ErrAPNsOption},
		"device":               {func(o *sim.APNsOptions) { o.Devices = []string{"x:moon"} }, sim.ErrAPNsOption},
		"nameless device":      {func(o *sim.APNsOptions) { o.Devices = []string{":sandbox"} }, sim.ErrAPNsOption},
		"expect":               {func(o *sim.APNsOptions) { o.Expect = -1 }, sim.ErrAPNsOption},
		"folder is a file":     {func(o *sim.APNsOptions) { o.Dir = file("") }, nil},
		"no file of faults":    {func(o *sim.APNsOptions) { o.FaultsFile = "/none" }, sim.ErrAPNsFaults},
		"no YAML":              {func(o *sim.APNsOptions) { o.FaultsFile = file("{") }, sim.ErrAPNsFaults},
		"a list":               {func(o *sim.APNsOptions) { o.FaultsFile = file("- x") }, sim.ErrAPNsFaults},
		"keys are numbers":     {func(o *sim.APNsOptions) { o.FaultsFile = file("faults: [{ 1: 2 }]") }, sim.ErrAPNsFaults},
		"unknown fault":        {func(o *sim.APNsOptions) { o.FaultsFile = file("faults: [{action: {fault: explode}}]") }, sim.ErrAPNsFaults},
		"network":              {func(o *sim.APNsOptions) { o.FaultsFile = file("network: { lose: 7 }") }, sim.ErrAPNsFaults},
	} {
		t.Run(name, func(t *testing.T) {
			opts := options()
			tt.spoil(&opts)
			var out strings.Builder
			err := sim.RunAPNs(t.Context(), opts, &out)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error %v", err)
			}
			if out.Len() > 0 {
				t.Errorf("printed %s", &out)
			}
		})
	}
	opts := options()
	opts.FaultsFile, opts.For = file(""), time.Millisecond
	if err := sim.RunAPNs(t.Context(), opts, io.Discard); err != nil {
		t.Errorf("an empty file of faults: %v", err)
	}
}

// TestAPNsEndsWithAWatcher: a stream of the admin API does not hold up the end.
func TestAPNsEndsWithAWatcher(t *testing.T) {
	opts := options()
	opts.JSON = true
	opts.Listen.Names = []string{"apns.test"}
	r := start(t, opts)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	resp, err := client.Get(r.ready.Admin + "/v1/journal")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	r.stop()
	if _, _, _, err := r.end(); err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err)
	}
}
