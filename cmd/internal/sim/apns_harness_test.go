package sim_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/sideshow/apns2"
	"github.com/sideshow/apns2/token"

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

// trust makes an apns2 client trust the CA of the file, and present certs.
func (r *running) trust(c *apns2.Client, host string, certs ...tls.Certificate) *apns2.Client {
	r.t.Helper()
	pem, err := os.ReadFile(r.ready.CAFile)
	if err != nil {
		r.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: certs}}
	c.HTTPClient = &http.Client{Transport: transport, Timeout: 10 * time.Second}
	c.Host = host
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
