package apnssim_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"

	"wakebridge/push/apnssim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	team   = "ABCDE12345"
	keyID  = "KEY1234567"
	bundle = "com.example.phone"
)

// bench is a simulator with a team, a key, an app and a device.
type bench struct {
	*apnssim.Sim
	t      testing.TB
	key    *ecdsa.PrivateKey
	device *apnssim.Device
	voip   string
	alert  string
	now    func() time.Time
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// newBench starts a simulator on loopback, unless cfg brings listeners.
func newBench(t testing.TB, cfg apnssim.Config) *bench {
	t.Helper()
	if cfg.Production == nil {
		cfg.Production, cfg.Sandbox = listen(t), listen(t)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	sim, err := apnssim.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	must(t, sim.AddTeam(team, bundle))
	b := &bench{Sim: sim, t: t, key: newKey(t, sim, team, keyID), device: sim.NewDevice("iphone"), now: cfg.Now}
	b.voip, b.alert = b.device.RegisterVoIP(bundle), b.device.RegisterAlert(bundle)
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newKey registers a key and returns its private half, read back from the .p8.
func newKey(t testing.TB, sim *apnssim.Sim, team, id string) *ecdsa.PrivateKey {
	t.Helper()
	p8, err := sim.GenerateKey(team, id)
	must(t, err)
	block, _ := pem.Decode(p8)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	must(t, err)
	return key.(*ecdsa.PrivateKey)
}

// sign makes a compact JWS over any header and claims.
func sign(t testing.TB, key *ecdsa.PrivateKey, header, claims map[string]any) string {
	t.Helper()
	part := func(v any) string {
		b, err := json.Marshal(v)
		must(t, err)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	head := part(header) + "." + part(claims)
	digest := sha256.Sum256([]byte(head))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	must(t, err)
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return head + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func (b *bench) bearer(iat time.Time) string {
	return "bearer " + sign(b.t, b.key,
		map[string]any{"alg": "ES256", "kid": keyID},
		map[string]any{"iss": team, "iat": iat.Unix()})
}

// client is a plain HTTP/2 client that trusts the simulator and talks to one
// environment only.
func (b *bench) client(env apnssim.Environment) *http.Client {
	b.t.Helper()
	return b.clientVia(func(ctx context.Context) (net.Conn, error) {
		addr := b.Addr(env)
		return new(net.Dialer).DialContext(ctx, addr.Network(), addr.String())
	})
}

func (b *bench) clientVia(dial func(context.Context) (net.Conn, error)) *http.Client {
	b.t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b.CAPEM()) {
		b.t.Fatal("CAPEM holds no certificate")
	}
	transport := &http2.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "api.push.apple.com"},
		DialTLSContext: func(ctx context.Context, _, _ string, cfg *tls.Config) (net.Conn, error) {
			raw, err := dial(ctx)
			if err != nil {
				return nil, err
			}
			conn := tls.Client(raw, cfg)
			if err := conn.HandshakeContext(ctx); err != nil {
				return nil, fmt.Errorf("%w (close: %w)", err, raw.Close())
			}
			return conn, nil
		},
	}
	b.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// request builds a correct VoIP push and lets the test spoil it.
func (b *bench) request(ctx context.Context, iat time.Time, spoil func(*http.Request)) *http.Request {
	b.t.Helper()
	payload := []byte(`{"aps":{},"uuid":"1"}`)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://sim/3/device/"+b.voip, bytes.NewReader(payload))
	must(b.t, err)
	r.Header.Set("authorization", b.bearer(iat))
	r.Header.Set("apns-push-type", "voip")
	r.Header.Set("apns-topic", bundle+".voip")
	r.Header.Set("apns-priority", "10")
	r.Header.Set("apns-expiration", "0")
	if spoil != nil {
		spoil(r)
	}
	return r
}

// result is a response, read to its end.
type result struct {
	status int
	header http.Header
	Reason string `json:"reason"`
	// Timestamp in milliseconds.
	Timestamp int64 `json:"timestamp"`
}

func send(c *http.Client, r *http.Request) (result, error) {
	resp, err := c.Do(r)
	if err != nil {
		return result{}, err
	}
	defer resp.Body.Close()
	res := result{status: resp.StatusCode, header: resp.Header}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return res, err
	}
	if len(body) == 0 {
		return res, nil
	}
	return res, json.Unmarshal(body, &res)
}

// push sends a correct push, spoiled, and fails the test on a transport error.
func (b *bench) push(c *http.Client, spoil func(*http.Request)) result {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	res, err := send(c, b.request(ctx, b.now(), spoil))
	must(b.t, err)
	return res
}

// next waits for a delivery.
func next(t testing.TB, d *apnssim.Device) apnssim.Delivery {
	t.Helper()
	select {
	case v := <-d.Deliveries():
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was delivered")
		return apnssim.Delivery{}
	}
}

// body replaces the payload of a request.
func body(r *http.Request, payload string) {
	r.Body = io.NopCloser(bytes.NewReader([]byte(payload)))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader([]byte(payload))), nil }
	r.ContentLength = int64(len(payload))
}

// clock is a clock that a test sets.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 123e6, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}
