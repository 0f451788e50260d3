package apns_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"software.sslmate.com/src/go-pkcs12"

	"wakebridge/push"
	"wakebridge/push/apns"
	"wakebridge/sipua/memnet"
)

const p12Password = "correct horse battery staple"

// issued is a client certificate with its key.
type issued struct {
	leaf *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate for topics, good for so long from now. env adds
// Apple's mark of one environment.
func issue(t testing.TB, good time.Duration, env push.Environment, topics ...string) issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	arc := func(n int) asn1.ObjectIdentifier {
		return asn1.ObjectIdentifier{1, 2, 840, 113635, 100, 6, 3, n}
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "push"},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(good).Truncate(time.Second),
	}
	if len(topics) > 0 {
		var list []asn1.RawValue
		for _, topic := range topics {
			list = append(list, asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(topic)},
				asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: []byte{asn1.TagUTF8String, 3, 'a', 'p', 'p'}})
		}
		der, err := asn1.Marshal(list)
		must(t, err)
		template.ExtraExtensions = []pkix.Extension{{Id: arc(6), Value: der}}
	}
	for n, e := range map[int]push.Environment{1: push.Sandbox, 2: push.Production} {
		if env == e {
			template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: arc(n), Value: asn1.NullBytes})
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	return issued{leaf, key}
}

func (i issued) p12(t testing.TB, e *pkcs12.Encoder, password string) []byte {
	t.Helper()
	data, err := e.Encode(i.key, i.leaf, nil, password)
	must(t, err)
	return data
}

func (i issued) pem(t testing.TB) []byte {
	t.Helper()
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.leaf.Raw}), pkcs8(t, i.key)...)
}

func (i issued) certificate(t testing.TB) apns.Certificate {
	t.Helper()
	c, err := apns.ParseCertificate(i.pem(t), "")
	must(t, err)
	return c
}

// certApple is an APNs that knows clients by their certificates alone, as the
// one before there were keys.
type certApple struct {
	mu       sync.Mutex
	revoked  map[string]bool // by serial number
	requests []certRequest
}

// certRequest is a request as it came.
type certRequest struct {
	host, serial, topic, pushType, token string
	authorization                        bool
	conn                                 string
}

func serialOf(c *x509.Certificate) string { return c.SerialNumber.String() }

func (a *certApple) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, authorization := r.Header["Authorization"]
	a.mu.Lock()
	a.requests = append(a.requests, certRequest{r.Host, serialOf(r.TLS.PeerCertificates[0]), r.Header.Get("apns-topic"),
		r.Header.Get("apns-push-type"), r.URL.Path, authorization, r.RemoteAddr})
	revoked := a.revoked[serialOf(r.TLS.PeerCertificates[0])]
	a.mu.Unlock()
	if revoked {
		w.WriteHeader(http.StatusForbidden)
		_, err := io.WriteString(w, `{"reason":"BadCertificate"}`)
		if err != nil {
			return
		}
	}
}

func (a *certApple) seen() []certRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests
}

// refuse is the check of a TLS handshake: a certificate that is not valid now,
// or revoked under the name "tls".
func (a *certApple) refuse(raw [][]byte, _ [][]*x509.Certificate) error {
	leaf, err := x509.ParseCertificate(raw[0])
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.revoked["tls "+serialOf(leaf)] {
		return errors.New("revoked")
	}
	return nil
}

func (a *certApple) revoke(name string, revoked bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.revoked[name] = revoked
}

// certWorld is that Apple on a network in memory, and the app's files.
type certWorld struct {
	*certApple
	*world
	folder string
}

// inCertWorld runs test in a bubble. app gets its credentials from setup.
func inCertWorld(t *testing.T, setup func(*certWorld, *apns.App), test func(*testing.T, *certWorld)) {
	t.Helper()
	t.Parallel()
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &certWorld{folder: folder, certApple: &certApple{revoked: make(map[string]bool)}}
		w.world = &world{t: t, network: memnet.New(memnet.Options{}), apple: netip.MustParseAddr("17.0.0.1"), log: &journal{}, metrics: prometheus.NewRegistry()}
		t.Cleanup(func() { must(t, w.network.Close()) })
		w.network.ImpairBoth(w.apple, netip.MustParseAddr("10.0.0.1"), memnet.Impairment{Delay: 20 * time.Millisecond})
		w.serve(w.listen(443), w.listen(2197))
		app := apns.App{BundleID: bundle, TeamID: team}
		setup(w, &app)
		w.config.Dial, w.config.Metrics, w.config.Apps = w.dial, w.metrics, []apns.App{app}
		w.config.Log = slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		w.start()
		test(t, w)
	})
}

func (w *certWorld) serve(listeners ...net.Listener) {
	t := w.t
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	own := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(1000 * time.Hour * 24), IPAddresses: []net.IP{w.apple.AsSlice()}}
	der, err := x509.CreateCertificate(rand.Reader, own, own, key.Public(), key)
	must(t, err)
	own, err = x509.ParseCertificate(der)
	must(t, err)
	w.config.RootCAs = x509.NewCertPool()
	w.config.RootCAs.AddCert(own)
	w.config.Production, w.config.Sandbox = "https://17.0.0.1:443", "https://17.0.0.1:2197"
	server := &http.Server{Handler: w.certApple, ErrorLog: log.New(io.Discard, "", 0), TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"},
		ClientAuth: tls.RequireAnyClientCert, VerifyPeerCertificate: w.refuse,
	}}
	var running sync.WaitGroup
	for _, l := range listeners {
		running.Go(func() {
			if err := server.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { must(t, server.Close()); running.Wait() })
}

// write puts a file into the app's folder.
func (w *certWorld) write(name string, data []byte) string {
	w.t.Helper()
	path := filepath.Join(w.folder, name)
	must(w.t, os.WriteFile(path, data, 0o600))
	return path
}

// load writes a certificate as .p12 with a password and loads it.
func (w *certWorld) load(name string, i issued) apns.Certificate {
	w.t.Helper()
	c, err := apns.LoadCertificate(w.write(name+".p12", i.p12(w.t, pkcs12.Modern, p12Password)), w.write(name+".password", []byte(p12Password+"\n")))
	must(w.t, err)
	return c
}

func (w *certWorld) pushKind(d push.Device) push.Result {
	w.t.Helper()
	d.App = push.App{BundleID: bundle, TeamID: team}
	req := w.request()
	req.Device = d
	mux, err := push.NewMux(w.service.Routes()...)
	must(w.t, err)
	delivery, err := push.NewDelivery(push.Config{Mux: mux})
	must(w.t, err)
	return delivery.Deliver(w.t.Context(), req)
}
