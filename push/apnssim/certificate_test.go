package apnssim_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sideshow/apns2"
	"github.com/sideshow/apns2/certificate"
	"golang.org/x/net/http2"

	"wakebridge/push/apnssim"
)

func (b *bench) certificate(kind apnssim.Kind, env apnssim.Environment) *apnssim.IssuedCertificate {
	b.t.Helper()
	c, err := b.IssueCertificate(team, bundle, kind, env)
	must(b.t, err)
	return c
}

// certClient presents a certificate and trusts the simulator.
func (b *bench) certClient(cert tls.Certificate) *http.Client {
	b.t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b.CAPEM())
	transport := &http2.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}}
	b.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

// certPush pushes with a certificate: no provider token.
func (b *bench) certPush(c *http.Client, env apnssim.Environment, spoil func(*http.Request)) result {
	b.t.Helper()
	return b.push(c, func(r *http.Request) {
		r.URL.Host, r.Host = b.Addr(env).String(), ""
		r.Header.Del("authorization")
		if spoil != nil {
			spoil(r)
		}
	})
}

func TestCertificateChecks(t *testing.T) {
	const production, sandbox = apnssim.Production, apnssim.Sandbox
	header := func(name, value string) func(*bench, *http.Request) {
		return func(_ *bench, r *http.Request) { r.Header.Set(name, value) }
	}
	plain := func(b *bench, r *http.Request) {
		r.URL.Path = "/3/device/" + b.alert
		r.Header.Set("apns-topic", bundle)
		r.Header.Set("apns-push-type", "alert")
	}
	for name, tc := range map[string]struct {
		kind   apnssim.Kind
		only   apnssim.Environment
		spoil  func(*bench, *http.Request)
		status int
		reason string
	}{
		"voip":                       {apnssim.VoIP, "", nil, 200, ""},
		"alert":                      {apnssim.Alert, "", plain, 200, ""},
		"topic from the certificate": {apnssim.VoIP, "", func(_ *bench, r *http.Request) { r.Header.Del("apns-topic") }, 200, ""},
		"production only":            {apnssim.VoIP, production, nil, 200, ""},
		"sandbox only":               {apnssim.VoIP, sandbox, nil, 403, "BadCertificateEnvironment"},
		"voip sends no alert":        {apnssim.VoIP, "", plain, 400, "TopicDisallowed"},
		"alert sends no voip":        {apnssim.Alert, "", nil, 400, "TopicDisallowed"},
		"another app":                {apnssim.VoIP, "", header("apns-topic", "com.example.second.voip"), 400, "TopicDisallowed"},
		"with a provider token":      {apnssim.VoIP, "", func(b *bench, r *http.Request) { r.Header.Set("authorization", b.bearer(b.now())) }, 403, "InvalidProviderToken"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, apnssim.Config{})
			must(t, b.AddApp(team, "com.example.second"))
			c := b.certClient(b.certificate(tc.kind, tc.only).TLS)
			res := b.certPush(c, production, func(r *http.Request) {
				if tc.spoil != nil {
					tc.spoil(b, r)
				}
			})
			if res.status != tc.status || res.Reason != tc.reason {
				t.Fatalf("answer %d %q, want %d %q", res.status, res.Reason, tc.status, tc.reason)
			}
			if tc.status != 200 {
				return
			}
			want := bundle
			if tc.kind == apnssim.VoIP {
				want += ".voip"
			}
			if v := next(t, b.device); v.Topic != want {
				t.Errorf("topic %q, want %q", v.Topic, want)
			}
			if p := b.Requests(apnssim.Filter{})[0].Provider; p == nil || p.TeamID != team || p.Certificate == "" {
				t.Errorf("journal: provider %+v", p)
			}
		})
	}
}

func TestCertificateUnknownRevokedAndExpired(t *testing.T) {
	clock := newClock()
	clock.advance(time.Since(clock.now())) // certificates are made by the real clock
	b := newBench(t, apnssim.Config{Now: clock.now})
	issued := b.certificate(apnssim.VoIP, "")
	c := b.certClient(issued.TLS)
	bad := func(when string) {
		t.Helper()
		if res := b.certPush(c, apnssim.Production, nil); res.status != 403 || res.Reason != "BadCertificate" {
			t.Errorf("%s: %+v", when, res)
		}
	}
	if res := b.certPush(c, apnssim.Production, nil); res.status != 200 {
		t.Fatalf("good: %+v", res)
	}
	b.RemoveCertificate(issued.Leaf)
	bad("revoked, on the open connection")
	must(t, b.PutCertificate(issued.Leaf, apnssim.Certificate{TeamID: team, Topics: []string{bundle, bundle + ".voip"}}))
	if res := b.certPush(c, apnssim.Production, func(r *http.Request) { r.Header.Del("apns-topic") }); res.Reason != "MissingTopic" {
		t.Errorf("two topics, none chosen: %+v", res)
	}
	clock.advance(366 * 24 * time.Hour)
	bad("expired")
	stranger := newBench(t, apnssim.Config{})
	c = b.certClient(stranger.certificate(apnssim.VoIP, "").TLS)
	bad("of another authority")
}

func TestCertificateConnectionsHaveManyStreams(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	p, got := newPeerWith(t, b, &tls.Config{Certificates: []tls.Certificate{b.certificate(apnssim.VoIP, "").TLS}})
	if n := got[http2.SettingMaxConcurrentStreams]; n != 1000 {
		t.Errorf("limit %d before the first push, want 1000", n)
	}
	for id := uint32(1); id < 20; id += 2 { // open at once, the first one answered last
		p.open(id, false)
	}
	must(t, p.WriteData(19, true, []byte(`{"aps":{}}`)))
	if status := p.status(19); status != "403" { // open sends a provider token too
		t.Errorf("status %s", status)
	}
	if s := b.Stats(); s.Refused != 0 || s.Streams != 10 {
		t.Errorf("stats %+v", s)
	}
}

func TestBadCertificates(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	for name, err := range map[string]error{
		"team":        second(b.IssueCertificate("short", bundle, apnssim.VoIP, "")),
		"bundle":      second(b.IssueCertificate(team, "a b", apnssim.VoIP, "")),
		"kind":        second(b.IssueCertificate(team, bundle, "smoke", "")),
		"environment": second(b.IssueCertificate(team, bundle, apnssim.VoIP, "moon")),
		"put nothing": b.PutCertificate(nil, apnssim.Certificate{TeamID: team, Topics: []string{bundle}}),
		"put topics":  b.PutCertificate(b.certificate(apnssim.VoIP, "").Leaf, apnssim.Certificate{TeamID: team}),
		"put team":    b.PutCertificate(b.certificate(apnssim.VoIP, "").Leaf, apnssim.Certificate{TeamID: "x", Topics: []string{bundle}}),
	} {
		if !errors.Is(err, apnssim.ErrBadIdentifier) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestAPNS2Certificate is the contract with apns2 in certificate mode, from the
// files that its users load.
func TestAPNS2Certificate(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	issued := b.certificate(apnssim.VoIP, "")
	p12, err := issued.P12("secret")
	must(t, err)
	dir := t.TempDir()
	p12File, pemFile := filepath.Join(dir, "voip.p12"), filepath.Join(dir, "voip.pem")
	must(t, os.WriteFile(p12File, p12, 0o600))
	must(t, os.WriteFile(pemFile, issued.PEM, 0o600))
	if _, err := certificate.FromP12File(p12File, "guess"); err == nil {
		t.Error("the .p12 opens with any password")
	}
	fromP12, err := certificate.FromP12File(p12File, "secret")
	must(t, err)
	fromPEM, err := certificate.FromPemFile(pemFile, "")
	must(t, err)
	for name, cert := range map[string]tls.Certificate{"p12": fromP12, "pem": fromPEM} {
		t.Run(name, func(t *testing.T) {
			c := apns2.NewClient(cert)
			c.Host = b.URL(apnssim.Production)
			pool := x509.NewCertPool()
			pool.AppendCertsFromPEM(b.CAPEM())
			transport := c.HTTPClient.Transport.(*http2.Transport)
			transport.TLSClientConfig.RootCAs = pool
			defer transport.CloseIdleConnections()
			n := &apns2.Notification{DeviceToken: b.voip, Topic: bundle + ".voip", PushType: apns2.PushTypeVOIP, Payload: []byte(`{"aps":{}}`)}
			res, err := c.Push(n)
			must(t, err)
			if !res.Sent() {
				t.Fatalf("answer %+v", res)
			}
			if v := next(t, b.device); v.APNsID != res.ApnsID {
				t.Errorf("delivery %+v", v)
			}
			n.DeviceToken, n.Topic, n.PushType = b.alert, bundle, apns2.PushTypeAlert
			if res, err = c.Push(n); err != nil || res.Reason != apns2.ReasonTopicDisallowed {
				t.Errorf("alert by the VoIP certificate: %+v, %v", res, err)
			}
		})
	}
}
